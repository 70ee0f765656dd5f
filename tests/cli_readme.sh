#!/bin/sh
# The README's first study, word by word: its commands run as they stand there, from a folder that
# holds nothing else, and the study that it shows is the one that ships.
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
# What needs a recording that the reader has to bring, and what only lists, is left out.
grep '^build/moesim ' "$folder/blocks" | grep -v -e RECORDING -e ' list ' >"$folder/commands"
[ "$(wc -l <"$folder/commands")" -eq 4 ]
report $? readme_commands
sh -e "$folder/commands" >"$folder/out" 2>&1 || cat "$folder/out"
[ -s out/study/report.html ] && [ -s out/study/result.h5 ] && [ -s out/study/summary.csv ] &&
    [ "$(grep -c '^my mixture ' "$folder/out")" -eq 1 ]
report $? readme_first_study
exit $failed
