#!/bin/sh
# The recorded Qwen3-30B-A3B run on a phone: hits and bytes step by step as the device
# counted them, and step times predicted after a fit (validate/README.md).
set -u
cd "$(dirname "$0")/.." || exit 1
moesim=${MOESIM:-build/moesim}
python=${PYTHON:-/usr/bin/python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

report() { # status name
    if [ "$1" -eq 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2"
        failed=1
    fi
}

refuses() { # NAME STATUS WORDS COMMAND...
    name=$1 status=$2 words=$3
    shift 3
    "$@" >/dev/null 2>"$folder/said"
    [ $? -eq "$status" ] && grep -q -- "$words" "$folder/said"
    report $? "$name"
}

config=validate/phone/qwen3.yaml
refuses fit_without_measurements 2 'such as --measured' "$moesim" fit "$config"
refuses fit_weight 1 'expected absolute, duration or relative' \
    "$moesim" fit "$config" -m nowhere.csv -p storage.bandwidth --weight heavy
refuses fit_no_file 1 'nowhere.csv' "$moesim" fit "$config" -m nowhere.csv -p storage.bandwidth

if [ -z "${MOESIM_DATA:-}" ]; then
    echo "skip phone: needs MOESIM_DATA"
    exit $failed
fi
if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip phone: needs python3 with numpy and h5py"
    exit $failed
fi
metrics=$MOESIM_DATA/routing/qwen3-30b-a3b_route_metrics.csv
"$python" traces/python import --from route_trace \
    "$MOESIM_DATA/routing/qwen3-30b-a3b_route_trace_v1.csv" -o "$folder/qwen.h5" &&
    "$moesim" run "$config" -q --set trace="$folder/qwen.h5" -o "$folder/lru" >/dev/null &&
    "$moesim" run "$config" -q --set trace="$folder/qwen.h5" \
        --set policies.0.cache.order=id -o "$folder/by_id" >/dev/null &&
    "$moesim" run "$config" -q --set trace="$folder/qwen.h5" --set policies.0.cache.name=belady \
        -o "$folder/belady" >/dev/null
report $? phone_replay

cat >"$folder/check.py" <<'END'
import csv
import sys
import h5py
import numpy as np

def passes(name):
    group = h5py.File(f"{sys.argv[1]}/{name}/result.h5")["policy/0/pass"]
    return {key: group[key][:] for key in ("accesses", "hits", "loads", "demand_bytes", "latency_ps")}

with open(sys.argv[2], encoding="utf-8") as stream:
    lines = [line for line in csv.DictReader(stream) if not line["step"].startswith("#")]
steps = {key: np.array([float(line[key]) for line in lines])
         for key in ("cache_hit_pct", "read_bytes", "wall_ms")}

def rates(p):
    """Cumulative hit rate after the prompt and each step."""
    return np.cumsum(p["hits"]) / np.cumsum(p["accesses"]) * 100

def counts():
    p = passes("lru")
    assert len(p["hits"]) == 129 and len(lines) == 128
    # The device prints two digits. It reads three blocks of 4 KiB more per expert, one for
    # each matrix, as its matrices do not begin on a block's edge; 512 bytes fewer in the
    # one step that reads the file's last block.
    assert np.abs(rates(p)[1:] - steps["cache_hit_pct"]).max() <= .005 + 1e-9
    more = p["demand_bytes"][1:] + p["loads"][1:] * 3 * 4096 - steps["read_bytes"]
    assert (more == 0).sum() == 127 and more.max() == 512 and more.min() == 0

def by_id():
    rate = rates(passes("by_id"))
    assert abs(rate[-1] - 74.9) <= .1, rate[-1]
    assert np.abs(rate[1:] - steps["cache_hit_pct"]).max() <= .1

def belady():
    rate = rates(passes("belady"))[-1]
    assert abs(rate - 86.5) <= .1, rate

def times():
    predicted = passes("lru")["latency_ps"][1:] * 1e-9
    error = np.abs(predicted / steps["wall_ms"] - 1)[64:].mean()
    print(f"# machine phone-flash, steps 65 to 128: mean error {error * 100:.2f} %")
    assert error <= .10, error

globals()[sys.argv[3]]()
END
for check in counts by_id belady times; do
    "$python" "$folder/check.py" "$folder" "$metrics" $check
    report $? "phone_$check"
done

# What is stored of it is found again: inputs, counts, times, and how far those are off.
mkdir "$folder/guard" && cp validate/phone/*.yaml "$folder/guard" && cp "$metrics" "$folder/guard" &&
    cp "$folder/qwen.h5" "$folder/guard/qwen3-phone.h5" && "$moesim" check "$folder/guard/guard.yaml"
report $? phone_guard

# From far-off numbers the fit finds those of models/machine/phone-flash.yaml again.
sed -e '/memory_efficiency/s/value: 0.3032/value: 0.6/' -e '/round_trip/s/value: 22.5/value: 100/' \
    -e '/copy_call/s/value: 343/value: 5/' -e '/bandwidth/s/value: 3.573/value: 2/' \
    models/machine/phone-flash.yaml >"$folder/start.yaml"
! cmp -s "$folder/start.yaml" models/machine/phone-flash.yaml &&
    "$moesim" fit "$config" --set trace="$folder/qwen.h5" --set machine="$folder/start.yaml" \
        --measured "$metrics" --first-pass 1 --train 64 \
        --match compute_ms=dense+expert --match stall_ms=copy --match mgmt_ms=host \
        -p gpu.memory_efficiency -p storage.bandwidth -p host.round_trip -p host.copy_call \
        -o "$folder/fitted.yaml" >"$folder/fit.txt"
report $? phone_fit
sed 's/^/# /' "$folder/fit.txt"
awk '$1 == "gpu.memory_efficiency" { n += $3 > 0.302 && $3 < 0.304 }
     $1 == "storage.bandwidth" { n += $3 > 3.55 && $3 < 3.60 }
     $1 == "host.round_trip" { n += $3 > 22 && $3 < 23 }
     $1 == "host.copy_call" { n += $3 > 341 && $3 < 345 }
     $1 == "wall_ms" { n += $6 <= 10.0 }
     END { exit n != 5 }' "$folder/fit.txt"
report $? phone_fit_numbers
"$moesim" run "$config" -q --set trace="$folder/qwen.h5" --set machine="$folder/fitted.yaml" \
    -o "$folder/lru" >/dev/null && "$python" "$folder/check.py" "$folder" "$metrics" times
report $? phone_fitted_file
exit $failed
