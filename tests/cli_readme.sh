#!/bin/sh
# The README's studies, word by word: their commands run as they stand there, from a folder that
# holds nothing else, and the study that it shows is the one that ships. Of the second, RECORDING
# is a dump made here.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh
moesim=$(realpath "$moesim")
root=$PWD

# The blocks of the section, four columns to the left, one behind the other.
sed -n '/^## Your own study$/,/^## /s/^    //p' README.md >"$folder/blocks"
sed -n '/^trace: /,/^ *prefetch: /p' "$folder/blocks" >"$folder/shown"
grep -v '^#' traces/samples/study.yaml | diff - "$folder/shown"
report $? readme_study_ships

mkdir -p "$folder/clone/build" && ln -s "$moesim" "$folder/clone/build/moesim" &&
    ln -s "$root/traces" "$folder/clone/traces" && cd "$folder/clone" || exit 1
MOESIM_HOME=$root
export MOESIM_HOME
grep '^build/moesim ' "$folder/blocks" >"$folder/commands"
[ "$(wc -l <"$folder/commands")" -eq 3 ]
report $? readme_commands
sh -e "$folder/commands" >"$folder/out" 2>&1 || cat "$folder/out"
[ -s out/study/report.html ] && [ -s out/study/result.h5 ] && [ -s out/study/summary.csv ] &&
    [ "$(grep -c '^my mixture ' "$folder/out")" -eq 1 ]
report $? readme_first_study

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip readme_second_study: needs python3 with numpy and h5py"
    exit $failed
fi
rm mine.h5
"$python" - "$folder" <<'END'
import sys
import numpy as np
ids = np.argsort(np.random.default_rng(9).random((60, 16, 64)), axis=2)[:, :, :8]
np.savez(f"{sys.argv[1]}/dump.npz", ids=ids.astype(np.uint8), off=[0, 20, 60])
END
sed -n '/^## From your engine/,/^## /s/^    //p' "$root/README.md" | grep '^build/moesim ' |
    sed "s|RECORDING|$folder/dump.npz|" >"$folder/commands"
[ "$(wc -l <"$folder/commands")" -eq 4 ]
report $? readme_second_commands
sh -e "$folder/commands" >"$folder/out" 2>&1 || cat "$folder/out"
[ -s out/own/result.h5 ] && grep -q '^olmoe-1b-7b on rtx4090-pcie4' "$folder/out"
report $? readme_second_study
exit $failed
