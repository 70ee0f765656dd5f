#!/bin/sh
# validate/cluster: what is gathered of made results, to the figure; what a node and a batch
# job would run.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
cluster=validate/cluster

# gather ARGUMENT...: leaves $status, and what it said in out and err.
gather() {
    "$python" $cluster/gather "$@" >"$folder/out" 2>"$folder/err"
    status=$?
}
# refuses NAME STATUS WORDS ARGUMENT...: one sentence with the words, nothing on stdout.
refuses() {
    name=$1 wanted=$2 words=$3
    shift 3
    gather "$@"
    [ "$status" -eq "$wanted" ] && [ ! -s "$folder/out" ] && grep -q -- "$words" "$folder/err"
    report $? "$name"
}
# result RUN/WHERE DEVICE FLOPS H2D LATENCY ERROR FAILED: a folder as the kit's check leaves it.
result() {
    at=$folder/$1
    mkdir -p "$at/demand" "$at/ahead"
    cat >"$at/SUMMARY" <<END
check: moesim 0.1.0, cuda:0, 2026-11-29T12:00:00Z, 300 s
host: ${1#*/}
device: $2
driver: CUDA driver 13.0
clocks: unknown
tests: 42 passed, 0 failed, 0 skipped, 9 s
calibration: full, 120 s
machine file: machine.yaml, fitted here
failed: $7

== calibration: the fit's errors ==
END
    cat >"$at/machine.yaml" <<END
name: "machine"
source: "$2, measured"
gpus: 1
gpu:
  name: "$2"
  bf16_flops: {value: $3 TFLOP/s, source: "measured, gemm.csv", error: 0.0856}
  tile_rows: {value: [16, 128], source: "measured"}
  fill_rows: {value: 64, source: "estimate"}
host:
  dram_bandwidth: {value: $3 GB/s, source: "measured, cpu.csv"}
h2d_pinned:
  latency: {value: $5 us, source: "measured, copy.csv", error: 0.1}
  bandwidth: {value: $4 GB/s, source: "measured, copy.csv", error: 0.1}
END
    echo "{\"pass\": {\"median_abs_error\": $6}, \"tau_b\": 1.0}" >"$at/demand/summary.json"
    echo "{\"pass\": {\"median_abs_error\": $6}, \"tau_b\": null}" >"$at/ahead/summary.json"
}

# Medians 800 TFLOP/s and 50 GB/s. The nearest to them is b: log(808/800) < log(50/49) + 0,
# a and d are further; of a rate 5 % off is out of line (d: 50 to 44), a latency may be.
result fleet/a "NVIDIA H100 (cuda)" 800 49 2 0.04 nothing
result fleet/b "NVIDIA H100 (cuda)" 808 50 9 0.08 nothing
result fleet/c "NVIDIA H100 (cuda)" 780 51.5 2.5 0.05 nothing
result fleet/d "NVIDIA H100 (cuda)" 800 44 2 0.10 nothing
result fleet/e "NVIDIA H100 (cuda)" 790 50 3 0.02 "validation of ahead.yaml: stopped after 100 s"
result fleet/nest/f "NVIDIA A100 (cuda)" 250 24 2 0.06 nothing
gather "$folder/fleet"
cat >"$folder/wanted" <<END
NVIDIA A100 (cuda): 1 checked, 1 with a machine file; driver: CUDA driver 13.0
  number                             median              least     most
  gpu.bf16_flops                        250 TFLOP/s      +0.0 %    +0.0 %
  gpu.fill_rows                          64              +0.0 %    +0.0 %
  host.dram_bandwidth                   250 GB/s         +0.0 %    +0.0 %
  h2d_pinned.latency                      2 us           +0.0 %    +0.0 %
  h2d_pinned.bandwidth                   24 GB/s         +0.0 %    +0.0 %
  demand: median error of a pass 6.0 % (6.0 to 6.0), Kendall tau-b 1 (1 to 1)
  ahead: median error of a pass 6.0 % (6.0 to 6.0)
  every rate of GPU and link is within 5 % of its median
  machine file: $folder/fleet/gathered/nvidia-a100-cuda.yaml, that of nest/f

NVIDIA H100 (cuda): 5 checked, 5 with a machine file; driver: CUDA driver 13.0
  FAILED e: validation of ahead.yaml: stopped after 100 s
  number                             median              least     most
  gpu.bf16_flops                        800 TFLOP/s      -2.5 %    +1.0 %
  gpu.fill_rows                          64              +0.0 %    +0.0 %
  host.dram_bandwidth                   800 GB/s         -2.5 %    +1.0 %
  h2d_pinned.latency                    2.5 us          -20.0 %  +260.0 %
  h2d_pinned.bandwidth                   50 GB/s        -12.0 %    +3.0 %
  demand: median error of a pass 5.0 % (2.0 to 10.0), Kendall tau-b 1 (1 to 1)
  ahead: median error of a pass 5.0 % (2.0 to 10.0)
  OUT OF LINE d: h2d_pinned.bandwidth 44 GB/s, -12.0 % off the median 50
  machine file: $folder/fleet/gathered/nvidia-h100-cuda.yaml, that of b
END
[ $status -eq 1 ] && [ ! -s "$folder/err" ] && diff "$folder/wanted" "$folder/out"
report $? cluster_report
grep -v '^ *$' "$folder/fleet/gathered/report.txt" >"$folder/kept"
grep -v '^ *$' "$folder/wanted" | cmp -s - "$folder/kept"
report $? cluster_report_kept
{
    echo "# Of 5 measured of this kind, the one nearest to their medians: b."
    sed 's/"machine"/"nvidia-h100-cuda"/' "$folder/fleet/b/machine.yaml"
} | cmp - "$folder/fleet/gathered/nvidia-h100-cuda.yaml"
report $? cluster_machine_file
[ "$(grep -c . "$folder/fleet/gathered/figures.csv")" -eq 31 ] &&
    grep -qx 'NVIDIA H100 (cuda),c,c,h2d_pinned.bandwidth,51.5,GB/s,1.03' "$folder/fleet/gathered/figures.csv"
report $? cluster_figures

# With more room nobody is out of line; where a check failed the answer stays no.
gather "$folder/fleet" --off 12.5 --out "$folder/wide"
[ $status -eq 1 ] && ! grep -q 'OUT OF LINE' "$folder/out" && [ -e "$folder/wide/figures.csv" ]
report $? cluster_wide
rm -r "$folder/fleet/e"
gather "$folder/fleet" --off 12.5
[ $status -eq 0 ] && grep -q 'every rate of GPU and link is within 12.5 % of its median' "$folder/out"
report $? cluster_in_line
# The host's rates are not the GPU's.
sed -i 's/dram_bandwidth: {value: 780/dram_bandwidth: {value: 390/' "$folder/fleet/c/machine.yaml"
gather "$folder/fleet" --off 12.5
[ $status -eq 0 ] && grep -q '  host.dram_bandwidth  *800 GB/s  *-51.2 % ' "$folder/out"
report $? cluster_host_not_judged
# Without a machine file a GPU is told of, and counts in no median.
result bare/a "NVIDIA L4 (cuda)" 100 12 2 0.04 "calibration: status 1"
rm "$folder/bare/a/machine.yaml"
echo "cuda:0 is not on node7" >"$folder/bare/node7-has-no-gpu"
gather "$folder/bare"
[ $status -eq 1 ] && grep -q '^FAILED node7-has-no-gpu: cuda:0 is not on node7$' "$folder/out" &&
    grep -q '1 checked, 0 with a machine file' "$folder/out" &&
    [ -z "$(find "$folder/bare/gathered" -name '*.yaml')" ]
report $? cluster_unfitted

# A machine file as calibrate writes it comes through, and moesim takes it.
result real/a "Xeon (host)" 1 1 1 0.04 nothing
cp validate/measured/host/host.yaml "$folder/real/a/machine.yaml"
gather "$folder/real" && grep -q '  host.dram_bandwidth  *12.551 GB/s ' "$folder/out" &&
    generate "$folder/trace.h5" >/dev/null && cat >"$folder/run.yaml" <<'END' &&
trace: trace.h5
machine: ./real/gathered/xeon-host.yaml
host_memory: 100 GB
workload: {batch: 2}
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
END
    "$moesim" run "$folder/run.yaml" -q >"$folder/out" 2>&1
report $? cluster_file_runs

mkdir "$folder/empty"
echo "cuda:0 is not on node8" >"$folder/empty/node8-has-no-gpu"
gather "$folder/empty"
[ $status -eq 1 ] && [ "$(cat "$folder/out")" = "FAILED node8-has-no-gpu: cuda:0 is not on node8" ]
report $? cluster_no_gpu_at_all
rm -r "$folder/empty" && mkdir "$folder/empty"
refuses cluster_empty 1 'no SUMMARY below it' "$folder/empty"
refuses cluster_nowhere 1 'no SUMMARY below it' "$folder/nowhere"
refuses cluster_misuse 2 'above 0' "$folder/fleet" --off -3
result odd/a "NVIDIA H100 (cuda)" 800 49 2 0.04 nothing
result odd/b "NVIDIA H100 (cuda)" 800 49 2 0.04 nothing
sed -i '/^  bandwidth/s/GB/MB/' "$folder/odd/b/machine.yaml"
refuses cluster_units 1 'h2d_pinned.bandwidth has the units GB/s, MB/s' "$folder/odd"
echo "not yaml" >"$folder/odd/b/machine.yaml"
refuses cluster_no_number 1 'odd/b/machine.yaml: no number in it' "$folder/odd"
echo "{" >"$folder/odd/a/ahead/summary.json"
refuses cluster_json 1 'ahead/summary.json: is no JSON' "$folder/odd"
sed -i /^device:/d "$folder/odd/a/SUMMARY"
refuses cluster_summary_lacks 1 "lacks its line 'device:'" "$folder/odd"
echo "what" >"$folder/odd/a/SUMMARY"
refuses cluster_no_summary 1 'not a SUMMARY' "$folder/odd"

# ---- a node, and the batch job ----

# A kit whose check knows two GPUs, and says how it was called.
kit=$folder/kit
mkdir -p "$kit/cluster" "$folder/node"
cp $cluster/node $cluster/gather $cluster/gpus.sbatch "$kit/cluster/"
cat >"$kit/check" <<'END'
#!/bin/sh
echo "$*"
for device in "$@"; do :; done
case $device in
cuda:0 | host) exit 0 ;;
cuda:1) exit 1 ;;
esac
echo "moesim: $device: this machine has 2 such devices, counted from 0" >&2
exit 77
END
chmod +x "$kit/check"
host=$(uname -n)
host=${host%%.*}
"$kit/cluster/node" "$kit" "$folder/node" --quick >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && printf -- "--quick --out $folder/node/$host-%s cuda:%s\n" cuda0 0 cuda1 1 cuda2 2 |
    diff - "$folder/out"
report $? cluster_node
DEVICES=host "$kit/cluster/node" "$kit" "$folder/node" >"$folder/out" 2>"$folder/err" &&
    [ "$(cat "$folder/out")" = "--out $folder/node/$host-host host" ]
report $? cluster_node_devices
sed -i 's/^cuda:0 | host/host/' "$kit/check"
"$kit/cluster/node" "$kit" "$folder/node" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && [ "$(cat "$folder/node/$host-has-no-gpu")" = "cuda:0 is not on $host" ]
report $? cluster_node_without

batch() { # STATUS ARGUMENT...
    wanted=$1
    shift
    env -u SLURM_JOB_ID -u SLURM_SUBMIT_DIR sh $cluster/gpus.sbatch "$@" \
        >"$folder/out" 2>"$folder/err"
    [ $? -eq "$wanted" ]
}
batch 0 --dry-run "$kit" out --quick && diff - "$folder/out" <<END
srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 --label $kit/cluster/node $kit $PWD/out --quick
python3 $kit/cluster/gather $PWD/out
END
report $? cluster_dry_run
batch 77 "$kit" && grep -q 'this is no Slurm job' "$folder/err"
report $? cluster_no_job
batch 2 && grep -q 'usage: sbatch' "$folder/err"
report $? cluster_no_kit
batch 1 "$folder/empty" && grep -q 'is not the unpacked kit' "$folder/err"
report $? cluster_not_a_kit
exit $failed
