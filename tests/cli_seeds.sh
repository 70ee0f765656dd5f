#!/bin/sh
# The first inputs of every fuzzer, and those that broke something once, tried without the
# fuzzer. With address and leak sanitizers in MODE=asan.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
TMPDIR=$folder
export TMPDIR PYTHONDONTWRITEBYTECODE=1

for target in tests/fuzz/fuzz_*.c; do
    name=$(basename "$target" .c)
    name=${name#fuzz_}
    seeds=tests/fuzz/fuzz_$name.seeds
    [ -d "$seeds" ] && "$(dirname "$moesim")/replay_$name" "$seeds" >"$folder/said" 2>&1
    status=$?
    [ $status -eq 0 ] || tail -n 20 "$folder/said" >&2
    report $status "seeds_of_$name"
done
if "$python" -c 'import numpy, h5py' 2>/dev/null; then
    for target in tests/fuzz/fuzz_*.py; do
        name=$(basename "$target" .py)
        name=${name#fuzz_}
        "$python" "tests/fuzz/fuzz_$name.py" --program "$moesim" --keep "$folder" \
            "tests/fuzz/fuzz_$name.seeds/"* >"$folder/said" 2>&1
        status=$?
        [ $status -eq 0 ] || tail -n 20 "$folder/said" >&2
        report $status "seeds_of_$name"
    done
else
    echo "skip seeds_of_importers: needs python3 with numpy and h5py"
fi
exit $failed
