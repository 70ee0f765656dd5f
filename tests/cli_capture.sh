#!/bin/sh
# `moesim trace capture` where torch is not installed: help, options, and what it says then.
# What it captures: tests/slow/capture.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    echo "skip capture_model: needs python3"
    exit 0
fi

# Ahead of anything that is installed: as if it were not.
mkdir "$folder/none"
echo 'raise ImportError("No module named torch")' >"$folder/none/torch.py"
PYTHONPATH=$folder/none
PYTHON=$python
export PYTHONPATH PYTHON
echo 'a prompt' >"$folder/prompts.txt"

# ends NAME STATUS WORDS ARGUMENT...: with that status, one sentence that has the words (misuse:
# and two lines of help), no file.
ends() {
    name=$1 status=$2 words=$3 lines=1
    [ "$status" -ne 2 ] || lines=3
    shift 3
    "$moesim" trace capture "$@" -o "$folder/out.h5" >"$folder/printed" 2>"$folder/said"
    [ $? -eq "$status" ] && [ "$(wc -l <"$folder/said")" -eq "$lines" ] && [ ! -s "$folder/printed" ] &&
        head -n 1 "$folder/said" | grep -q -- "$words" && [ ! -e "$folder/out.h5" ] &&
        ! ls -A "$folder" | grep -q '\.part$'
    report $? "capture_model_$name"
}

"$moesim" trace capture --help >"$folder/printed" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
    grep -q -- '--write-model' "$folder/printed"
report $? capture_model_help
"$python" traces/python capture --help | grep -q 'python -m moesim capture --model'
report $? capture_model_help_of_package

set -- --model a/b --prompts "$folder/prompts.txt"
ends without_torch 77 'the extra .capture. (pip install torch transformers' "$@"
ends without_prompts 1 'none.txt: is no file' --model a/b --prompts "$folder/none.txt"
ends no_model 2 'capture takes --model NAME_OR_PATH --prompts FILE --out TRACE' --prompts "$folder/prompts.txt"
ends no_batch 2 'batch must be from 1' "$@" --batch 0
ends seed_alone 2 'seed is for --sample' "$@" --seed 3
ends too_hot 2 'temperature must be from' "$@" --sample --temperature 0
ends top_p 2 'top-p must be above 0' "$@" --sample --top-p 1.5
ends side 2 'side is decoder or encoder or both' "$@" --side left
ends no_yaml 2 'NAME.yaml' "$@" --write-model "$folder/x.txt"
ln "$folder/prompts.txt" "$folder/p.yaml"
ends over_prompts 1 'is .*prompts.txt, which is read here' "$@" --write-model "$folder/p.yaml"
exit $failed
