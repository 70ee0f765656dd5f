#!/bin/sh
# How moesim is called: the help of the program and of each command, its flags in every way that they
# can be written, and what is said of those that cannot.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

cat >"$folder/usage" <<'END'
usage: moesim COMMAND ...

What will this Mixture-of-Experts policy cost on that machine, and why?

  moesim run       replay a trace under one or more policies, side by side
  moesim sweep     run a study at many points: grids, random and Sobol points
  moesim tune      the best point of a study within so many runs
  moesim curve     hit rate and bytes against capacity: how many slots?
  moesim check     stored predictions, published tables against new predictions
  moesim explain   where the time of a result went, and what would help
  moesim report    the HTML page and the figures of results
  moesim fit       fit a machine file to measured tables, or to the steps of a run
  moesim calibrate measure this machine, and fit a machine file
  moesim validate  predicted against executed on this machine's device
  moesim trace     look at traces, make, import, export, slice them
  moesim list      policies, presets, models, machines, configuration keys
  moesim help      what a word means, such as moesim help TPOT

moesim COMMAND --help tells more, with an example. Exit status: 0 success, 1 the answer
is no or the input is bad, 2 misuse, 77 cannot run here, 130 stopped by Ctrl-C (SIGINT),
143 by SIGTERM.
END
cat >"$folder/trace_usage" <<'END'
usage: moesim trace COMMAND ...

  moesim trace info     what a trace holds and how its routing looks
  moesim trace check    whether traces keep every rule of the format
  moesim trace gen      draw a synthetic trace, or one like another
  moesim trace import   from what an engine recorded
  moesim trace capture  from a model that runs here
  moesim trace export   for other tools
  moesim trace slice    a part of a trace
END

# Asked for it goes to standard output, as an answer to misuse to standard error.
bad=0
for word in --help -h; do
    "$moesim" $word >"$folder/out" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
        cmp "$folder/usage" "$folder/out" || bad=1
done
for word in --help -h; do
    "$moesim" trace $word >"$folder/out" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
        cmp "$folder/trace_usage" "$folder/out" || bad=1
done
report $bad help_asked_for
bad=0
"$moesim" >"$folder/out" 2>"$folder/said"
[ $? -eq 2 ] && [ ! -s "$folder/out" ] && cmp "$folder/usage" "$folder/said" || bad=1
"$moesim" trace >"$folder/out" 2>"$folder/said"
[ $? -eq 2 ] && [ ! -s "$folder/out" ] && cmp "$folder/trace_usage" "$folder/said" || bad=1
report $bad help_of_nothing
"$moesim" help >"$folder/out" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
    head -n "$(wc -l <"$folder/usage")" "$folder/out" | cmp - "$folder/usage" &&
    grep -q '^moesim help WORD tells what it means' "$folder/out" &&
    tail -n 1 "$folder/out" | grep -q ', working set$'
report $? help_alone
prints help_word 0 help tpot_p50_s <<'END'
TPOT: Time per output token: of a request, from its first token to its last, over the tokens after
  the first. p50 is the median over requests, p99 what 1 in 100 exceeds.
  See sim/report/README.md.
END
prints help_words 0 help Gap to OFFLINE <<'END'
gap: How far the time of all passes is above a bound: offline (least compute and least bytes), even
  (balanced rows, all experts resident), no net (a free network).
  See sim/experiment/README.md.
END
prints help_no_word 2 help belday <<'END'
moesim: there is no word 'belday' to explain; did you mean 'Belady'?
Try moesim help.
END
prints help_no_word_but_command 2 help sweeep <<'END'
moesim: there is no word 'sweeep' to explain; did you mean 'sweep'?
Try moesim help.
END
prints help_nothing_near 2 help 'what is all this' <<'END'
moesim: there is no word 'what is all this' to explain
Try moesim help.
END
bad=0
for words in run sweep curve check explain report fit calibrate validate list "trace check" "trace gen" "trace info"; do
    # shellcheck disable=SC2086
    "$moesim" $words --help >"$folder/wanted" && "$moesim" help $words | cmp - "$folder/wanted" || bad=1
done
"$moesim" help trace | cmp - "$folder/trace_usage" || bad=1
report $bad help_with_commands
version=$(sed -n 's/^## \([0-9.]*\).*/\1/p' CHANGELOG.md | head -1)
prints help_version 0 --version <<END
moesim $version
END
"$moesim" --version >/dev/full 2>"$folder/said"
status=$?
[ ! -w /dev/full ] ||
    { [ $status -eq 1 ] && grep -q '^moesim: standard output cannot be written: ' "$folder/said"; }
report $? help_version_unwritten
prints help_no_command 2 exlpain <<'END'
moesim: there is no command 'exlpain'; did you mean 'explain'?
Try moesim --help.
END
prints help_no_trace_command 2 trace lsice <<END
moesim: there is no trace command 'lsice'; did you mean 'slice'?
$(cat "$folder/trace_usage")
END

# flags WORDS...: the flags of a command, each with its letter or - for none, as its help has them.
flags() {
    "$moesim" "$@" --help | sed -n 's/^  -\(.\), --\([a-z-]*\)\( \?\).*/\1:\2/p
s/^      --\([a-z-]*\) .*/-:\1/p' | tr '\n' ' '
}
bad=0
while IFS='	' read -r command wanted; do
    # shellcheck disable=SC2086 # words
    got=$(flags $command)
    # shellcheck disable=SC2086
    "$moesim" $command -h >"$folder/out" || bad=1
    [ "$got" = "$wanted${wanted:+ }" ] && [ "$(sed -n 1p "$folder/out" | cut -d' ' -f1-2)" = "usage: moesim" ] &&
        [ "$(grep -c '^example: moesim ' "$folder/out")" -eq 1 ] &&
        ! LC_ALL=C grep -q '[^ -~]' "$folder/out" && continue
    echo "$command: $got" && bad=1
done <<'END'
run	o:out s:set t:threads -:json -:csv -:params-json -:objective -:policy q:quiet
tune	o:out s:set t:threads -:largest-batch -:n-cpu-moe -:context -:json q:quiet
curve	p:policy s:slots b:batch -:scope -:protect -:order m:model -:set o:out t:threads -:json -:csv q:quiet
check	u:update -:study s:set p:papers -:refit -:json -:junit -:markdown t:threads q:quiet
explain	-:placement m:map -:policy -:pass -:layer
report	o:out -:pdf
fit	m:measured p:parameter -:match -:total -:first-pass -:train -:weight o:out -:source s:set -:csv -:tables
calibrate	o:out d:device -:tables -:quick q:quiet
validate	d:device m:machine o:out n:passes w:warmup r:repeat -:expert-memory s:set -:json q:quiet
trace info	-:json q:quiet
trace check	-:json q:quiet
trace gen	o:out s:set -:like -:requests -:seed -:scores -:all-scores
trace import	-:from o:out -:model -:experts -:source -:requests -:top-k
trace capture	-:model -:prompts o:out -:batch -:max-new-tokens -:sample -:temperature -:top-p -:seed -:scores -:predict -:side -:device -:dtype -:model-name -:write-model -:source
trace export	o:out -:to -:batch -:layers
trace slice	o:out -:requests -:rows -:layers
list	
END
report $bad help_flags
prints help_of_a_command 0 trace slice --help <<'END'
usage: moesim trace slice TRACE -o FILE [--requests A:B] [--rows A:B] [--layers LIST]

Writes a part of a trace as a new trace.

  -o, --out FILE             the new trace
      --requests A:B         requests A to B - 1
      --rows A:B             rows A to B - 1
      --layers LIST          MoE layers, e.g. 0,4:8

example: moesim trace slice gptoss.h5 -o first100.h5 --requests 0:100
END
prints help_without_flags 0 list --help <<'END'
usage: moesim list policies|presets|models|machines|config|formats

Shows what there is to choose from, with parameters, defaults and sources.

example: moesim list policies
END
"$moesim" trace gen --help >"$folder/out" &&
    grep -q '^parameters (YAML, or --set):$' "$folder/out" &&
    grep -q '^  layers                     MoE layers (an integer from 1 to 1024; default 24)$' "$folder/out"
report $? help_of_parameters
"$moesim" check --help >"$folder/out" &&
    grep -q '^figures of a replay that a row may name:$' "$folder/out" &&
    grep -q '^formulas:$' "$folder/out" && [ "$(grep -c '^$' "$folder/out")" -eq 6 ]
report $? help_of_figures

# Each way to write a flag.
generate "$folder/-t.h5" model=tiny layers=2 experts=4 top_k=1 requests=2 prompt_tokens=1 prompt_spread=0 \
    output_tokens=3 output_spread=0 || exit 1
cd "$folder" || exit 1
case $moesim in
/*) ;;
*) moesim=$OLDPWD/$moesim ;;
esac
bad=0
for words in "-o x -- -t.h5" "-ox ./-t.h5" "--out x ./-t.h5" "--out=x ./-t.h5" "./-t.h5 -o y --out x" \
    "--out -x- ./-t.h5" "./-t.h5 -o x --"; do
    # shellcheck disable=SC2086
    "$moesim" trace export --to=csv $words || bad=1
    [ -s x ] && [ "$(wc -l <x)" -eq 13 ] || { [ "$words" = "--out -x- ./-t.h5" ] && [ -s ./-x- ]; } || bad=1
    rm -f x ./-x-
    [ ! -e y ] || bad=1
done
report $bad help_flags_written
prints help_dash_is_a_file 1 trace export - -o x <<'END'
moesim: -: cannot be opened: No such file or directory
END
prints help_behind_dashes 1 trace export -o x -- --json <<'END'
moesim: --json: cannot be opened: No such file or directory
END

usage='usage: moesim trace export TRACE -o FILE [--to FORMAT]
Try --help.'
# misused NAME SENTENCE ARGUMENT...: misuse of trace export.
misused() {
    name=$1 sentence=$2
    shift 2
    prints "help_$name" 2 trace export "$@" <<END
moesim: $sentence
$usage
END
}
misused no_value "--out needs a value" ./-t.h5 -o
misused count_0 "--batch takes a whole number from 1 to 65536" ./-t.h5 -o x --to oracleGeneral --batch 0
misused count_above "--batch takes a whole number from 1 to 65536" ./-t.h5 -o x --batch=65537
misused count_words "--batch takes a whole number from 1 to 65536" ./-t.h5 -o x --batch 1x
misused count_sign "--batch takes a whole number from 1 to 65536" ./-t.h5 -o x --batch +1
misused count_empty "--batch takes a whole number from 1 to 65536" ./-t.h5 -o x --batch=
misused count_letters "--batch takes a whole number from 1 to 65536" ./-t.h5 -o x --batch :
misused unknown "there is no flag --otu=3; did you mean '--out'?" ./-t.h5 --otu=3
misused longer "there is no flag --outlier=3" ./-t.h5 --outlier=3
misused letter "there is no flag -x" ./-t.h5 -x
misused operands "trace export takes one trace and --out FILE" ./-t.h5 more -o x
misused no_out "trace export takes one trace and --out FILE" ./-t.h5
misused no_trace "trace export takes one trace and --out FILE" -o x
misused format "--to is csv or oracleGeneral, as in --to csv" ./-t.h5 -o x --to oracle
misused batch "--batch and --layers are for oracleGeneral; leave them out, or say --to oracleGeneral" \
    ./-t.h5 -o x --batch 1
misused layers "--batch and --layers are for oracleGeneral; leave them out, or say --to oracleGeneral" \
    ./-t.h5 -o x --layers 0
[ ! -e x ]
report $? help_misuse_writes_nothing
"$moesim" trace export ./-t.h5 -o x --to oracleGeneral --batch 65536 && [ -s x ]
report $? help_count_largest
"$moesim" validate none.yaml --warmup 65537 2>said
[ $? -eq 2 ] && grep -q '^moesim: --warmup takes a whole number from 0 to 65536$' said &&
    ! "$moesim" validate none.yaml --warmup 0 2>said && grep -q 'none.yaml: cannot open' said
report $? help_number_from_0
prints help_switch 2 list --json <<'END'
moesim: there is no flag --json
usage: moesim list policies|presets|models|machines|config|formats
Try --help.
END
for word in --json=1 --quiet=yes -q1; do
    "$moesim" trace info $word ./-t.h5 >out 2>said
    [ $? -eq 2 ] && [ ! -s out ] && head -n 1 said | grep -q '^moesim: --[a-z]* takes no value$'
    report $? "help_switch_$word"
done
"$moesim" trace gen -o y --set layers=1 -s experts=2 -stop_k=1 --set=requests=1 &&
    "$moesim" trace info y | grep -q ': 1 MoE layers, 2 experts, top-1$'
report $? help_lists_add_up

# Commands and how many operands they take. What is misused ends so before anything is read.
bad=0
while IFS='	' read -r sentence words; do
    # shellcheck disable=SC2086
    "$moesim" $words >out 2>said
    [ $? -eq 2 ] && [ ! -s out ] && [ "$(head -n 1 said)" = "moesim: $sentence" ] &&
        [ "$(sed -n 2p said | cut -d' ' -f1-2)" = "usage: moesim" ] && continue
    echo "$words" && cat said && bad=1
done <<'END'
run takes one configuration file, such as demo.yaml	run
run takes one configuration file, such as demo.yaml	run a b
--json and --csv exclude each other; choose one	run a --json --csv
explain takes one result file	explain
explain takes one result file	explain a b
--policy and --pass go with --placement or --map	explain a --policy p
--layer goes with --placement	explain a --map m --layer 3
report takes one or more results and --out FOLDER	report
report takes one or more results and --out FOLDER	report a
report takes one or more results and --out FOLDER	report -o a
list takes one word, such as policies	list
validate takes one configuration file, such as study.yaml	validate
validate takes one configuration file, such as study.yaml	validate a b
calibrate takes flags only	calibrate a
calibrate needs --out	calibrate
check takes baselines (files or folders), or --papers	check
check takes baselines (files or folders), or --papers	check --json
--update compares nothing; leave --json, --junit and --markdown out	check --update a --json
--update compares nothing; leave --json, --junit and --markdown out	check --update a --markdown b
--study starts one new baseline: moesim check --update FILE --study STUDY	check a --study b
--study starts one new baseline: moesim check --update FILE --study STUDY	check --update a b --study c
--set goes with --study; in a baseline that is there, change set:	check a --set b=c
--update and --study are for baselines; one with papers: all stores what --papers predicts	check --papers --update
--refit takes one table and nothing else	check --refit a
--refit takes one table and nothing else	check --papers --refit a b
--refit takes one table and nothing else	check --papers --refit a --json
--refit takes one table and nothing else	check --papers --refit a --junit b
fit takes one configuration file, such as run.yaml	fit
fit takes one configuration file, such as run.yaml	fit a b
fit needs what was measured and what to fit, such as --measured steps.csv --parameter storage.bandwidth	fit a
fit needs what was measured and what to fit, such as --measured steps.csv --parameter storage.bandwidth	fit a -m b
fit needs what was measured and what to fit, such as --measured steps.csv --parameter storage.bandwidth	fit a -p b
--source is for the machine file; say where that goes with --out, or leave it out	fit a -m b -p c --source d
trace info takes one trace	trace info
trace info takes one trace	trace info a b
trace slice takes one trace and --out FILE	trace slice a
trace slice takes one trace and --out FILE	trace slice -o a
trace slice takes one trace and --out FILE	trace slice a b -o c
trace gen takes --out FILE, and either --like or at most one parameter file	trace gen
trace gen takes --out FILE, and either --like or at most one parameter file	trace gen -o a b c
trace gen takes --out FILE, and either --like or at most one parameter file	trace gen -o a --like b c
trace gen takes --set or --like, not both	trace gen -o a --like b --set c=1
--requests, --seed, --scores and --all-scores go with --like; give parameters instead, such as --set requests=8	trace gen -o a --requests 1
--requests, --seed, --scores and --all-scores go with --like; give parameters instead, such as --set requests=8	trace gen -o a --seed 1
--requests, --seed, --scores and --all-scores go with --like; give parameters instead, such as --set requests=8	trace gen -o a --scores
--requests, --seed, --scores and --all-scores go with --like; give parameters instead, such as --set requests=8	trace gen -o a --all-scores
trace import takes [--from FORMAT] FILE... --out TRACE	trace import a --from npz
trace import takes [--from FORMAT] FILE... --out TRACE	trace import --from npz -o b
trace capture takes --model NAME_OR_PATH --prompts FILE --out TRACE	trace capture --model a -o b
--batch must be from 1 to 65536	trace capture --model a --prompts b -o c --batch 0
npz takes one file, not 2; import them one by one	trace import a b --from npz -o c
argument --experts: invalid int value: 'x'	trace import a --from npz -o b --experts x
--experts must be from 1 to 4096	trace import a --from npz -o b --experts 4097
END
report $bad help_misuse
"$moesim" trace import a --from np -o b 2>said
[ $? -eq 2 ] && grep -q "^moesim: --from np is no format (did you mean npz?); there are .*npz" said &&
    ! "$moesim" trace import a --from route_trace -o b --requests c 2>said &&
    grep -q "^moesim: --requests is for .*npz.*, not for route_trace; leave it out$" said
report $? help_misuse_formats
for flag in csv "out x" "measured a" "parameter a" "match a" "set a" "total a" "weight duration" "source a" \
    "first-pass 1" "train 1"; do
    # shellcheck disable=SC2086
    "$moesim" fit --tables nowhere --$flag >out 2>said
    status=$?
    case $flag in
    csv | "out x") wanted=1 words="^moesim: nowhere/device.csv: " ;;
    *) wanted=2 words="^moesim: --tables goes with --out and --csv only; leave CONFIG and the other flags out$" ;;
    esac
    [ $status -eq $wanted ] && [ ! -s out ] && head -n 1 said | grep -q "$words"
    report $? "help_tables_$flag"
done
long=$(printf '%04096d' 0)
for flag in model source; do
    "$moesim" trace import --from npz none -o x --$flag "${long}0" >out 2>said
    [ $? -eq 2 ] && grep -q "^moesim: --$flag is longer than 4096 bytes$" said
    report $? "help_too_long_$flag"
done
exit $failed
