#!/bin/sh
# What the program advises can be done: every "such as" is run as it stands; a fault in a
# configuration names file, line and key; a mistyped name gets a suggestion; a file of
# another kind is called by its kind; sizes that differ are shown so; a table fits a narrow
# terminal.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

generate "$folder/trace.h5" requests=6 prompt_tokens=6 output_tokens=10 || exit 1
cat >"$folder/good.yaml" <<'END'
trace: trace.h5
machine: rtx4090-pcie4
workload:
  batch: 1
policies:
  - {name: a, cache: {name: lru, slots: 8}}
END

# said STATUS WORDS COMMAND...: whether moesim ends so and says so.
said() {
    want=$1 words=$2
    shift 2
    "$moesim" "$@" >/dev/null 2>"$folder/said" </dev/null
    got=$?
    [ "$got" -eq "$want" ] && { [ -z "$words" ] || grep -qF -- "$words" "$folder/said"; } && return 0
    echo "moesim $*: status $got, wanted $want and '$words', said:"
    cat "$folder/said"
    return 1
}

# edited SED: the good configuration with one change, as edited.yaml.
edited() { sed "$1" "$folder/good.yaml" >"$folder/edited.yaml"; }

bad=0
while IFS='	' read -r change words; do
    edited "$change"
    said 1 "$words" run "$folder/edited.yaml" || bad=1
done <<'END'
s/trace.h5/nix.h5/	edited.yaml:1:8: 
s/rtx4090-pcie4/h20/	edited.yaml:2:10: there is no machine 'h20'; did you mean 'h200'?
s/rtx4090-pcie4/RTX4090/	did you mean 'rtx4090-pcie4'?
1s/$/\nmodel: gpt-oss-20/	edited.yaml:2:8: there is no model 'gpt-oss-20'; did you mean 'gpt-oss-20b'?
s/batch: 1/requests: 100/	edited.yaml:4:13: workload: requests is 100
s/batch: 1/first_request: 40/	edited.yaml:4:18: workload: first_request is 40
s/batch: 1/mode: recorded/	edited.yaml:4:9: 
s/batch: 1/arrivals: trace/	edited.yaml:4:13: 
s/batch: 1/file: x.csv/	edited.yaml:4:9: workload: file is given
s/slots: 8/slots: 0/	edited.yaml:6:41: policy 'a': 
s/lru, slots: 8/lru/	policy 'a': 
s/lru, slots: 8/lru, bytes: 1 kB/	edited.yaml:6:41: policy 'a': 
1s/$/\ngpu_memory: 4 GB/	edited.yaml:7:41: policy 'a': model gpt-oss-20b needs 
1s/$/\ngpu_memory: 1 TB/	edited.yaml:2:13: gpu_memory is 1.00 TB
1s/$/\nhost_memory: 1 MB\nhome: host/	edited.yaml:2:14: the experts of gpt-oss-20b take 
s/- {.*/- lru/	'lru' is a cache, not a preset; choose it with {cache: {name: lru, slots: 4}}
s/lru, slots/lur, slots/	did you mean 'lru'?
s/batch: 1/btach: 1/	edited.yaml:4:3: unknown key 'btach' in workload; did you mean 'batch'?
END
report $bad advice_names_places

bad=0
said 2 "did you mean 'run'?" rum || bad=1
said 2 "did you mean 'info'?" trace inof || bad=1
said 2 "did you mean '--threads'?" run --treads 2 x.yaml || bad=1
said 2 "did you mean 'models'?" list modles || bad=1
said 1 "did you mean 'moeshard'?" check --papers moesahrd || bad=1
report $bad advice_suggests_names

# What sentences advise, done.
bad=0
said 1 "such as seed=2" run "$folder/good.yaml" --set x || bad=1
said 0 "" run "$folder/good.yaml" --set seed=2 || bad=1
said 1 "such as seed=2" trace gen -o "$folder/x.h5" --set x || bad=1
said 0 "" trace gen -o "$folder/x.h5" --set seed=2 --set requests=4 || bad=1
said 1 "[{preset: s3fifo, cache: {slots: 4}}]" run "$folder/good.yaml" --set policies=x || bad=1
said 0 "" run "$folder/good.yaml" --set 'policies=[{preset: s3fifo, cache: {slots: 4}}]' || bad=1
said 0 "" run "$folder/good.yaml" --set 'policies=[{cache: {name: lru, slots: 4}}]' || bad=1
said 1 "such as 64 MiB" run "$folder/good.yaml" --set chunk=x || bad=1
said 0 "" run "$folder/good.yaml" --set "chunk=64 MiB" || bad=1
for range in 1:3 2: :4 2; do
    said 0 "" trace slice "$folder/trace.h5" -o "$folder/x.h5" --requests $range || bad=1
done
said 0 "" trace slice "$folder/trace.h5" -o "$folder/x.h5" --layers 0,4:8,23 || bad=1
report $bad advice_can_be_followed

# A file of another kind.
"$moesim" run "$folder/good.yaml" --out "$folder/out" >/dev/null || bad=1
bad=0
said 1 "trace.h5: is a trace where a configuration is needed" run "$folder/trace.h5" || bad=1
said 1 "result.h5: is a result of moesim where a configuration" run "$folder/out/result.h5" || bad=1
said 1 "is a folder where a configuration" run "$folder" || bad=1
said 1 "is a machine where a configuration" run models/machine/h200.yaml || bad=1
said 1 "is a model where a configuration" run models/arch/dbrx.yaml || bad=1
said 1 "make a trace of it with \`moesim trace gen\`" run traces/samples/rebalance-prompts.yaml || bad=1
said 1 "is a trace where a result" explain "$folder/trace.h5" || bad=1
said 1 "is a configuration where a result" explain "$folder/good.yaml" || bad=1
said 1 "is a result of moesim where a trace" trace info "$folder/out/result.h5" || bad=1
said 1 "is a configuration where a trace" trace info "$folder/good.yaml" || bad=1
said 1 "is a model where a machine" run "$folder/good.yaml" --set machine=models/arch/dbrx.yaml || bad=1
said 1 "is a trace where a text table" run "$folder/good.yaml" \
    --set "workload={lengths: file, file: $folder/trace.h5}" || bad=1
said 1 "is a configuration where a file of parameters" trace gen "$folder/good.yaml" -o "$folder/x.h5" || bad=1
report $bad advice_calls_kinds

# The KV cache of these requests grows by the token: some size of memory is enough for the
# weights and a few tokens short. Refused before a pass was run, both sizes told apart.
bad=0
said 1 "together 6.16 GB, but 6.15 GB" run "$folder/good.yaml" --set "gpu_memory=6.15 GB" || bad=1
said 1 "pass 10 needs 737.28 kB for its KV cache, but only 215.68 kB" run "$folder/good.yaml" \
    --set "gpu_memory=6160 MB" || bad=1
report $bad advice_tells_sizes_apart

# Where passes depend on time it is the first that needs more than there is room for, of
# 49152 bytes a token, on one GPU as on each of four.
bad=0
while IFS='	' read -r memory words; do
    for more in "policies=[{name: a, cache: {slots: 8}}]" "policies=[{name: a}]"; do
        case $more in *cache*) gpus= ;; *) gpus="{gpus: 4}" ;; esac
        said 1 "$words" run "$folder/good.yaml" --set machine=h100-80g --set "$more" \
            --set "parallel=$gpus" --set "gpu_memory=$memory" \
            --set workload.arrivals=poisson --set workload.rate=1000 || bad=1
    done
done <<'END'
6160 MB	pass 1 needs 245.76 kB for its KV cache, but only 215.68 kB
6160.2 MB	pass 4 needs 442.37 kB for its KV cache, but only 415.68 kB
END
report $bad advice_tells_the_pass

bad=0
"$moesim" list machines | grep -q "1000000000" && bad=1
"$moesim" list machines | grep -q "phone-flash .* GB .* GB/s *one memory" || bad=1
report $bad advice_lists_units

# gnuplot is not found: said where the command was given, too.
mkdir "$folder/bin"
PATH=$folder/bin "$moesim" report "$folder/out/result.h5" -o "$folder/page" \
    >/dev/null 2>"$folder/said"
[ $? -eq 0 ] && grep -q "figures are missing, because gnuplot" "$folder/said"
report $? advice_says_that_figures_are_missing

# A terminal of 40, 60 and 80 columns; its bytes without one stay the same.
cat >"$folder/terminal.py" <<'END'
import os, pty, subprocess, sys
columns, command = sys.argv[1], sys.argv[2:]
ours, theirs = pty.openpty()
run = subprocess.Popen(command, stdout=theirs, env=dict(os.environ, COLUMNS=columns))
os.close(theirs)
text = b""
while True:
    try:
        data = os.read(ours, 65536)
    except OSError: # the last writer has gone
        break
    if not data:
        break
    text += data
lines = text.decode().replace("\r", "").split("\n")
wide = sum(len(l) > int(columns) for l in lines)
print(run.wait(), wide, sum(l.startswith("policy") for l in lines))
END
"$moesim" run "$folder/good.yaml" >"$folder/plain"
COLUMNS=40 "$moesim" run "$folder/good.yaml" >"$folder/narrow"
bad=0
cmp "$folder/plain" "$folder/narrow" || bad=1
for columns in 40 60 80 100; do
    got=$("$python" "$folder/terminal.py" $columns "$moesim" run -q "$folder/good.yaml" </dev/null)
    case $columns,$got in
    "40,0 0 4" | "60,0 0 2" | "80,0 0 2" | "100,0 0 1") ;;
    *) echo "$columns columns: status, wide lines, tables: $got"; bad=1 ;;
    esac
done
report $bad advice_fits_the_terminal

# Pairs too, whose verdict goes below two long names.
cat >"$folder/pairs.yaml" <<'END'
trace: trace.h5
machine: rtx4090-pcie4
policies:
  - {name: a-name-of-24-characters-, cache: {name: lru, slots: 8}}
  - {name: b-name-of-24-characters-, cache: {name: lru, slots: 20}}
END
bad=0
for columns in 40 60 100; do
    got=$("$python" "$folder/terminal.py" $columns "$moesim" run -q "$folder/pairs.yaml" </dev/null)
    case $got in
    "0 0 "*) ;;
    *) echo "$columns columns: status, wide lines, tables: $got"; bad=1 ;;
    esac
done
report $bad advice_pairs_fit_the_terminal

# What takes much is said before the start, and what cannot be is refused before it.
many_gpus() {
    "$moesim" run "$@" "$folder/good.yaml" --set machine=h100-80g \
        --set 'parallel={gpus: 520}' --set 'policies=[{name: a}]' \
        --set workload.max_passes=1 2>&1 >/dev/null
}
said=$(many_gpus)
[ $? -eq 0 ] && echo "$said" | grep -q "^moesim: note: exchanges between all pairs of 520 GPUs take time that grows with the square of their number: about 1 times that of 512$"
report $? advice_says_that_gpus_are_many
said 1 "680 GPUs have 4080 links and their nodes 170 more; event-driven runs can have 4096: take fewer GPUs" \
    run -q "$folder/good.yaml" --set machine=h100-80g --set 'parallel={gpus: 680}' \
    --set 'policies=[{name: a}]' --set workload.max_passes=1 --set engine=event
report $? advice_counts_links
said=$(many_gpus --quiet)
[ $? -eq 0 ] && [ -z "$said" ]
report $? advice_quiet_says_nothing
# One request with a prompt of so many tokens, on a GPU whose memory is no limit.
sed 's/\( memory: {value: \)[^,]*/\11000 TB/' models/machine/rtx4090-pcie4.yaml >"$folder/vast.yaml"
large_pass() {
    printf 'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:00.0,%s,1\n' "$1" \
        >"$folder/long.csv"
    "$moesim" run "$folder/good.yaml" --set "machine=$folder/vast.yaml" \
        --set engine=count --set workload.lengths=file \
        --set "workload.file=$folder/long.csv" 2>&1 >/dev/null
}
said=$(large_pass 500000000)
[ $? -eq 1 ] && echo "$said" | grep -q "a pass of 500000000 rows needs more than .* GiB"
report $? advice_refuses_a_pass_that_is_too_large

exit $failed
