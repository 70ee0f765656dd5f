#!/bin/sh
# Output that is the input is refused by whatever name and both stay; files of one run appear
# together, drop a stale page and keep what is the user's; a second run into the same folder
# is refused; a file system without room is named.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

generate "$folder/in.h5" || exit 1
cat >"$folder/run.yaml" <<'END_OF_CONFIG'
trace: in.h5
machine: rtx4090-pcie4
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
END_OF_CONFIG
ln "$folder/in.h5" "$folder/hard.h5"
ln -s in.h5 "$folder/soft.h5"
before=$(ls -A "$folder")
sum=$(cksum <"$folder/in.h5")

# refused NAME ARGUMENT...: exit 1, one sentence, input and folder as they were.
refused() {
    name=$1
    shift
    said=$("$moesim" "$@" 2>&1 >/dev/null)
    status=$?
    case $said in
    moesim:*"which is read here; give the output another name") ;;
    *) status=99 ;;
    esac
    [ $status -eq 1 ] && [ "$(cksum <"$folder/in.h5")" = "$sum" ] &&
        [ "$(ls -A "$folder")" = "$before" ]
    report $? "files_$name"
}
for out in in.h5 ./in.h5 hard.h5 soft.h5; do
    refused "slice_$out" trace slice "$folder/in.h5" -o "$folder/$out"
done
refused export trace export "$folder/in.h5" -o "$folder/hard.h5"
refused oracle trace export "$folder/in.h5" --to oracleGeneral -o "$folder/soft.h5"
refused gen_like trace gen --like "$folder/in.h5" -o "$folder/hard.h5"
refused import trace import --from npz "$folder/in.h5" -o "$folder/soft.h5"
mkdir "$folder/own"
ln "$folder/in.h5" "$folder/own/result.h5"
before=$(ls -A "$folder")
refused run run "$folder/run.yaml" --set trace="$folder/own/result.h5" --out "$folder/own"
refused run_link run "$folder/run.yaml" --out "$folder/own"

# Output by way of a link goes to the file behind it, in whatever folder; the link stays.
mkdir "$folder/far"
echo old >"$folder/far/kept.csv"
ln -s far/kept.csv "$folder/link.csv"
ln -s none.csv "$folder/dangling.csv"
"$moesim" trace export "$folder/in.h5" -o "$folder/link.csv" && [ -L "$folder/link.csv" ] &&
    "$moesim" trace export "$folder/in.h5" -o "$folder/plain.csv" &&
    "$moesim" trace export "$folder/in.h5" -o "$folder/dangling.csv" &&
    [ ! -L "$folder/dangling.csv" ] && [ ! -e "$folder/none.csv" ] &&
    cmp "$folder/plain.csv" "$folder/far/kept.csv" && cmp "$folder/plain.csv" "$folder/dangling.csv" &&
    [ "$(ls -A "$folder/far")" = kept.csv ]
report $? files_links_stay

# Where stdin is closed, a file of ours is the first descriptor there is.
"$moesim" run "$folder/run.yaml" --out "$folder/closed" <&- >/dev/null 2>"$folder.said" &&
    [ -s "$folder/closed/result.h5" ] && rm -r "$folder/closed"
report $? files_without_stdin
rm -f "$folder.said"
# A file that has lost its name, as the one that a shell sent its output to.
link=$folder/lost.csv
(
    ln -s "/proc/self/fd/7" "$link"
    exec 7<>"$folder/gone.csv"
    rm "$folder/gone.csv"
    "$moesim" trace export "$folder/in.h5" -o "$link" && [ -L "$link" ] &&
        cmp "$folder/plain.csv" /proc/self/fd/7
)
report $? files_without_a_name
rm "$link"

# An old page with its figures goes with the old result; other files stay.
mkdir "$folder/out"
for name in result.h5 report.html shares.csv shares.svg mine.txt; do
    echo "old $name" >"$folder/out/$name"
done
"$moesim" run "$folder/run.yaml" --out "$folder/out" >/dev/null 2>&1 &&
    [ "$(ls -A "$folder/out" | tr '\n' ' ')" = "mine.txt result.h5 summary.csv timeline.json " ] &&
    [ "$(cat "$folder/out/mine.txt")" = "old mine.txt" ] &&
    "$moesim" explain "$folder/out/result.h5" >/dev/null
report $? files_stale_page_goes

# Without a page, what has the name of a figure is the user's.
echo "my load" >"$folder/out/load.csv"
"$moesim" run "$folder/run.yaml" --out "$folder/out" >/dev/null 2>&1 &&
    [ "$(cat "$folder/out/load.csv")" = "my load" ]
report $? files_no_page_no_figures

# The page stands beside the result it is made of.
"$moesim" report "$folder/out/result.h5" -o "$folder/out" >/dev/null &&
    [ -s "$folder/out/report.html" ] && [ -s "$folder/out/result.h5" ] &&
    [ -s "$folder/out/mine.txt" ]
report $? files_page_beside_result

# While another holds the lock, a run is refused, and names it; the files stay.
sum=$(cksum <"$folder/out/result.h5")
printf 'process 77, which began at 2026-01-01 00:00:00 UTC,' >"$folder/.out.lock"
said=$(flock "$folder/.out.lock" "$moesim" run "$folder/run.yaml" --out "$folder/out" 2>&1)
status=$?
case $said in
*"out: process 77, which began at 2026-01-01 00:00:00 UTC, is writing there; wait for it to end, or choose another folder") ;;
*) status=99 ;;
esac
[ $status -eq 1 ] && [ "$(cksum <"$folder/out/result.h5")" = "$sum" ]
report $? files_second_run_refused
# Whom a crash left there is nobody.
"$moesim" run "$folder/run.yaml" --out "$folder/out" >/dev/null 2>&1 &&
    [ ! -e "$folder/.out.lock" ]
report $? files_lock_of_the_dead

# Too little memory ends in a sentence, not in a crash, wherever it ends. A sanitizer's build
# reserves more than any limit.
limited() { # KIB: what it says; the status is the program's
    (
        ulimit -v "$1"
        "$moesim" run "$folder/run.yaml" 2>&1 >/dev/null
    )
}
if ! limited 4000000 >/dev/null; then
    echo "skip files_little_memory: this build needs more than 4 GB of addresses"
    exit $failed
fi
told=0 other=0
for kib in $(seq 16000 1000 48000); do
    said=$(limited "$kib" 2>&1)
    case "$? $said" in
    "0 "*) ;;
    "1 moesim: out of memory"*) told=1 ;;
    "127 "*) ;; # the loader itself has too little
    *) other=1 && echo "$kib: $said" ;;
    esac
done
[ $told -eq 1 ] && [ $other -eq 0 ]
report $? files_little_memory
exit $failed
