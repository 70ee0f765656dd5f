#!/bin/sh
# Several GPUs through the program: what is refused, by a sentence that names the place
# and the cure; results that survive a file; Ctrl-C.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
trap 'rm -rf "$folder" "$folder.said"' EXIT

generate "$folder/trace.h5" requests=6 prompt_tokens=6 output_tokens=10 || exit 1
cat >"$folder/good.yaml" <<'END'
trace: trace.h5
machine: h100-80g
parallel: {gpus: 4}
policies: [{name: p}]
END
"$moesim" run "$folder/good.yaml" --out "$folder/out" >/dev/null
report $? parallel_good_run

# refused WORDS ARGUMENTS...: one sentence with the words in it, exit status 1, no file.
refused() {
    words=$1
    shift
    timeout 60 "$moesim" run "$folder/good.yaml" --out "$folder/none" "$@" \
        >/dev/null 2>"$folder.said" </dev/null
    got=$?
    case $(cat "$folder.said") in
    "moesim: "*"$words"*) good=1 ;;
    *) good= ;;
    esac
    [ "$got" -eq 1 ] && [ -n "$good" ] && [ "$(wc -l <"$folder.said")" -eq 1 ] &&
        [ -z "$(ls "$folder/none" 2>/dev/null)" ] && return 0
    echo "$*: status $got, wanted '$words', said:"
    cat "$folder.said"
    rm -rf "$folder/none"
    return 1
}

# Two GPUs a node, joined by PCIe alone, and a network.
sed 's/^gpus: 1$/gpus: 2/' models/machine/l40s.yaml >"$folder/pcie.yaml"
cat >>"$folder/pcie.yaml" <<'END'
network:
  latency: {value: 5 us, source: "by hand"}
  bandwidth: {value: 25 GB/s, source: "by hand"}
END
# accepted NAME KEY=VALUE...: it runs.
accepted() {
    name=$1
    shift
    with_settings timeout 60 "$moesim" run "$folder/good.yaml" --out "$folder/out" -- "$@" \
        >/dev/null
    report $? "$name"
}

# table NAME: lines of WORDS<tab>KEY=VALUE[<tab>KEY=VALUE]; @ stands for the folder.
table() {
    bad=0
    while IFS='	' read -r words one two; do
        case $one in machine=@*) one=machine=$folder/${one#machine=@/} ;; esac
        if [ -n "$two" ]; then
            refused "$words" --set "$one" --set "$two" || bad=1
        else
            refused "$words" --set "$one" || bad=1
        fi
    done
    report $bad "$1"
}

table parallel_sizes <<'END'
'gpus' is 0; expected an integer from 1	parallel={gpus: 0}
'gpus' is 4096; expected an integer from 1	parallel={gpus: 4096}
'gpus' is missing	parallel={}
unknown key 'gpu'	parallel={gpu: 4}
a single value stands	parallel=4
a list stands	parallel=[4]
12 GPUs are no whole number of nodes of h100-80g, which have 8 each; take a multiple of 8, or at most 8	parallel={gpus: 12}
which has no network; take at most	parallel={gpus: 16}	machine=rtx4090-pcie4
'attention' is pipeline	parallel={gpus: 4, attention: pipeline}
'tensor' is 1; expected an integer from 2	parallel={gpus: 4, attention: tensor, tensor: 1}
attention over 8 GPUs does not divide the 4 of a node; choose tensor:	parallel={gpus: 4, attention: tensor}
attention over 3 GPUs does not divide the 4 of a node; choose tensor:	parallel={gpus: 4, attention: tensor, tensor: 3}
heads 64 is not a multiple of 6 GPUs; share it among as many as divide it	parallel={gpus: 6, attention: tensor, tensor: 6}
host and GPU of phone-flash are one; choose another machine	machine=phone-flash	parallel={gpus: 1}
take more GPUs, fewer slots, a larger gpu_memory or another machine	gpu_memory=1GB
take more GPUs, fewer slots, a larger gpu_memory or another machine	gpu_memory=4GB	policies.0.cache={name: lru, total_slots: 40, scope: global}
GB of host memory	host_memory=1 B	home=host
END

table parallel_parts <<'END'
is an oracle, which knows where experts are only if they stay there; leave interval out	policies.0.cache={name: belady, slots: 4}	policies.0.place.interval=1
which engine: fifo cannot do	policies.0.cache={name: lru, slots: 4, write_back: yes}	engine=fifo
which engine: fifo cannot do	policies.0.cache={name: lru, slots: 4}	engine=fifo
which engine: fifo cannot do	policies.0.place={name: eplb, interval: 2, migrate: background}	engine=fifo
schedule: empty needs experts: serial, which launches expert by expert	policies.0.schedule={name: overlapped, empty: yes}
'experts' is one	policies.0.schedule={name: overlapped, experts: one}
'exchange' is ring	policies.0.schedule={name: overlapped, exchange: ring}
is made for NVLink in a node, which the machine does not have; choose exchange: flat or rails	machine=@/pcie.yaml	policies.0.schedule={name: overlapped, exchange: forward}
is made for NVLink in a node, which the machine does not have; choose exchange: flat or rails	machine=@/pcie.yaml	policies.0.schedule={name: overlapped, exchange: low-latency}
END

table parallel_places <<'END'
place: slots is 30; 32 experts on 4 GPUs need a multiple of 4, at least 32	policies.0.place={name: eplb, slots: 30}
place: slots is 34; 32 experts on 4 GPUs need a multiple of 4, at least 32	policies.0.place={name: eplb, slots: 34}
replicas and shards have no rule; choose gate: dropless	policies.0.place={name: eplb, slots: 36}	policies.0.gate=capacity-factor
replicas and shards have no rule; choose gate: dropless	policies.0.place=moeshard	policies.0.gate=capacity-factor
makes some of the spare slots; choose another, or GPUs that divide the experts	policies.0={name: p, place: eplb, gate: capacity-factor}	parallel={gpus: 5}
makes some of the spare slots; choose another, or GPUs that divide the experts	policies.0={name: p, place: {name: linear, spare: wrap}, gate: capacity-fraction}	parallel={gpus: 5}
nothing to rebalance; leave interval out	policies.0.place={name: moeshard, interval: 3}
rebalances, but its caches do not hold all experts of a GPU; leave cache: slots out, or interval	policies.0.place={name: eplb, interval: 3}	policies.0.cache={name: lru, slots: 4}
'interval' is -1	policies.0.place={name: eplb, interval: -1}
place: foresee tells of the coming pass, for which interval must be 1	policies.0.place={name: eplb, interval: 2, foresee: 1}
'window' is 0	policies.0.place={name: eplb, interval: 3, window: 0}
'replica' is best	policies.0.place={name: eplb, replica: best}
'migrate' is later	policies.0.place={name: eplb, interval: 3, migrate: later}
expected one of	policies.0.place=nowhere
32 experts cannot be split into 5 groups of one size	policies.0.place={name: eplb, groups: 5}
a search over 32 slots takes too long	policies.0.place=optimal
is not a multiple of 7 GPUs	policies.0.place=moeshard	parallel={gpus: 7}
END

table parallel_alone <<'END'
places experts on GPUs, which the runner of one GPU does not know; say parallel: {gpus: 1} (or more)	policies=[{cache: {slots: 4}, place: eplb}]	parallel=
END
# Hosts run what is in their memory, however many GPUs ask them.
refused 'policy '"'p'"' runs experts where they are stored (offload: fiddler), but not all of them are in host memory' \
    --set machine=rtx4090-pcie4 --set parallel.gpus=1 --set home=storage \
    --set 'policies=[{name: p, cache: {slots: 4}, offload: fiddler}]'
report $? parallel_offload_from_storage
accepted parallel_pcie "machine=$folder/pcie.yaml" 'policies.0.schedule={name: overlapped, exchange: rails}'
# 192 experts of 13 MB would be on each GPU; the cache holds 20 of them.
accepted parallel_global_cache gpu_memory=4GB 'policies.0.cache={name: lru, total_slots: 20, scope: global}'
accepted parallel_bytes_cache gpu_memory=4GB 'policies.0.cache={name: lru, bytes: 300 MB, scope: global}'
table parallel_count_without_time <<'END'
which rows a pass has depends on time here, and engine: count has no times; choose arrivals: closed	engine=count	workload={mode: continuous, arrivals: poisson, rate: 20}
END
accepted parallel_count engine=count 'policies.0.place={name: eplb, interval: 2, migrate: background}'
exit $failed
