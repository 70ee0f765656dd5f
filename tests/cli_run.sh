#!/bin/sh
# moesim run and report: where a configuration's paths count from, what a run may not write to,
# what each way of printing gives, and what a page is made of.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

mkdir "$folder/sub"
generate "$folder/sub/trace.h5" requests=2 prompt_tokens=5 output_tokens=6 >/dev/null || exit 1
cp "$folder/sub/trace.h5" "$folder/sub/profile.h5"
sed 's/^name: .*/name: mine/' models/machine/h200.yaml >"$folder/sub/mine.yaml"
sed 's/^name: .*/name: ours/' models/arch/gpt-oss-20b.yaml >"$folder/sub/ours.yaml"
printf 'TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:00.0,5,6\n' >"$folder/sub/requests.csv"
cat >"$folder/sub/study.yaml" <<'END'
trace: trace.h5
profile: profile.h5
model: ours.yaml
machine: mine.yaml
workload: {lengths: file, file: requests.csv}
policies:
  - {name: pinned, cache: {name: pin, slots: 8}}
  - {name: lru, cache: {name: lru, slots: 8}}
END
study=$folder/sub/study.yaml

# Each path counts from the configuration's folder, wherever one is and however it is named.
program=$(realpath "$moesim")
"$moesim" run "$study" --csv >"$folder/far.csv" 2>"$folder/said" && [ ! -s "$folder/said" ] &&
    (cd "$folder/sub" && "$program" run study.yaml --csv) >"$folder/near.csv" &&
    sed "s|$folder/sub/||g" "$folder/far.csv" | cmp - "$folder/near.csv" &&
    [ "$(cut -d, -f 1-6 "$folder/near.csv" | tail -n 2)" = "pinned,complete,standard,ours,mine,trace.h5
lru,complete,standard,ours,mine,trace.h5" ]
report $? run_paths
# What is named in the file is looked for there, what --set names is looked for here.
for key in trace profile model machine file; do
    case $key in
    trace) place=1:8 value=none.h5 words="cannot be opened" whole=trace ;;
    profile) place=2:10 value=none words="cannot be opened" whole=profile ;;
    model) place=3:8 value=n.yaml words="cannot open" whole=model ;;
    machine) place=4:10 value=./none words="cannot open" whole=machine ;;
    file) place=5:33 value=none.csv words="cannot be opened" whole=workload.file ;;
    esac
    sed "s,\(^\| \)$key: [a-z]*\.[a-z0-9]*,\1$key: $value," "$study" >"$folder/sub/wrong.yaml"
    prints "run_wrong_$key" 1 run "$folder/sub/wrong.yaml" <<END
moesim: $folder/sub/wrong.yaml:$place: $folder/sub/$value: $words: No such file or directory
END
    prints "run_set_$key" 1 run "$study" --set "$whole=$value" <<END
moesim: --set $whole=$value: $value: $words: No such file or directory
END
    sed "s,\(^\| \)$key: [a-z]*\.[a-z0-9]*,\1$key: /nowhere/x.yaml," "$study" >"$folder/sub/wrong.yaml"
    prints "run_absolute_$key" 1 run "$folder/sub/wrong.yaml" <<END
moesim: $folder/sub/wrong.yaml:$place: /nowhere/x.yaml: $words: No such file or directory
END
done
prints run_without_a_file 1 run "$folder/none.yaml" <<END
moesim: $folder/none.yaml: cannot open: No such file or directory
END
# A model or machine without a slash or an ending is a name, as is the bare ending.
for key in model machine; do
    for value in none .yaml; do
        sed "s|^$key: .*|$key: $value|" "$study" >"$folder/sub/wrong.yaml"
        "$moesim" run "$folder/sub/wrong.yaml" >"$folder/out.txt" 2>"$folder/said"
        [ $? -eq 1 ] && [ ! -s "$folder/out.txt" ] && grep -q ": there is no $key '$value'; " "$folder/said"
        report $? "run_name_${key}_$value"
    done
done

# None of what is read is written to: each input under each name that a run writes.
mkdir "$folder/own"
for input in study.yaml trace.h5 profile.h5 ours.yaml mine.yaml requests.csv; do
    for own in result.h5 timeline.json summary.csv; do
        ln "$folder/sub/$input" "$folder/own/$own"
        prints "run_onto_${input}_$own" 1 run "$study" --out "$folder/own" <<END
moesim: $folder/own/$own: is $folder/sub/$input, which is read here; give the output another name
END
        rm "$folder/own/$own"
    done
done

# The table, and what was written where; CSV is the file's; threads change nothing.
"$moesim" run "$study" -t 2 >"$folder/table" && "$moesim" run "$study" --out "$folder/out" >"$folder/printed" &&
    {
        cat "$folder/table"
        printf '\nWritten: %s/result.h5, timeline.json (opens in ui.perfetto.dev), summary.csv\n' "$folder/out"
    } | diff - "$folder/printed" && grep -q '^pinned .* %$' "$folder/table"
report $? run_table
"$moesim" run "$study" --csv --out "$folder/csv" >"$folder/printed" && cmp "$folder/printed" "$folder/csv/summary.csv" &&
    cmp "$folder/printed" "$folder/far.csv" && cmp "$folder/csv/result.h5" "$folder/out/result.h5"
report $? run_csv
"$moesim" run "$study" --json --out "$folder/json" >"$folder/printed" && cmp "$folder/json/summary.csv" "$folder/far.csv" &&
    "$moesim" run "$study" --json | cmp - "$folder/printed" && ! grep -q Written "$folder/printed"
report $? run_json
# What one must know beforehand is a note; --quiet leaves it out.
"$moesim" run "$study" --set "parallel={gpus: 1024}" --set "policies=[{name: one}]" --set workload.requests=1 \
    --csv >/dev/null 2>"$folder/said"
"$moesim" run "$study" --set "parallel={gpus: 1024}" --set "policies=[{name: one}]" --set workload.requests=1 \
    --csv -q >/dev/null 2>"$folder/quiet"
diff "$folder/said" "$folder/quiet" >"$folder/notes"
grep -q '^< moesim: note: exchanges between all pairs of 1024 GPUs take time that grows with the square of their number: about 4 times that of 512$' "$folder/notes" &&
    ! grep -q 'note:' "$folder/quiet"
report $? run_notes

# A disk that takes 20 kB of a file: without a timeline, the result is the first that does not fit.
(ulimit -f 40 && "$moesim" run "$study" --set timeline_passes=0 --out "$folder/full" >"$folder/printed" 2>"$folder/said")
[ $? -eq 1 ] && grep -q "^moesim: $folder/full/result.h5: .*File too large" "$folder/said" &&
    ! grep -q Written "$folder/printed" && [ ! -e "$folder/full" ]
report $? run_no_room

# A page of one result and of two; of none where one of them is missing or in the way.
result=$folder/out/result.h5
"$moesim" report "$result" "$folder/csv/result.h5" -o "$folder/page" >"$folder/printed" 2>"$folder/said" &&
    [ "$(cat "$folder/printed")" = "Written: $folder/page/report.html" ] && [ -s "$folder/page/report.html" ]
report $? report_two
PATH=/nonexistent "$moesim" report "$result" -o "$folder/bare" >"$folder/printed" 2>"$folder/said" &&
    [ "$(cat "$folder/printed" "$folder/said")" = "Written: $folder/bare/report.html
moesim: note: figures are missing, because gnuplot is not installed or failed; the page names their data" ] &&
    [ -s "$folder/bare/passes.csv" ] && [ ! -e "$folder/bare/passes.svg" ]
report $? report_without_figures
prints report_missing 1 report "$result" "$folder/none.h5" "$result" -o "$folder/none" <<END
moesim: $folder/none.h5: cannot be opened: No such file or directory
END
prints report_onto_a_file 1 report "$result" -o "$study" <<END
moesim: $study: exists and is no folder; choose another name
END
mkdir "$folder/away" && ln "$folder/csv/result.h5" "$folder/away/report.html"
prints report_onto_the_second 1 report "$result" "$folder/csv/result.h5" -o "$folder/away" <<END
moesim: $folder/away/report.html: is $folder/csv/result.h5, which is read here; give the output another name
END
cmp "$folder/csv/result.h5" "$folder/away/report.html"
report $? report_leaves_results
(ulimit -f 20 && PATH=/nonexistent "$moesim" report "$result" -o "$folder/none" >"$folder/printed" 2>"$folder/said")
[ $? -eq 1 ] && [ ! -s "$folder/printed" ] && [ ! -e "$folder/none" ] &&
    [ "$(cat "$folder/said")" = "moesim: $folder/none/report.html: writing failed: File too large" ]
report $? report_no_room
exit "$failed"
