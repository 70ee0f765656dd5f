#!/bin/sh
# moesim fit of measured steps: a replay whose passes take four round trips each (three layers, and
# the tokens) and something that does not depend on them, so that least squares have a closed form;
# every printed figure from that, weights and splits, the machine file, and what is refused.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip fit: needs python3 with numpy and h5py"
    exit 0
fi
cat >"$folder/tiny.yaml" <<'END'
{name: tiny, source: made up, layers: 3, hidden: 64, expert_ffn: 48, experts: 8, top_k: 2,
 heads: 4, kv_heads: 2, head_dim: 16, vocab: 96, gate: softmax, expert_bits: 16,
 dense_bits: 16, activation_bits: 16}
END
cat >"$folder/run.yaml" <<'END'
trace: trace.h5
model: ./tiny.yaml
machine: rtx4090-pcie4
launch: eager
workload: {max_passes: 9}
policies: [{name: p, cache: {name: lru, slots: 4}}]
END
sed 's/round_trip: {value: 12 us/round_trip: {value: 31 us/' models/machine/rtx4090-pcie4.yaml \
    >"$folder/truth.yaml"
generate "$folder/trace.h5" model=tiny layers=3 experts=8 top_k=2 requests=1 prompt_tokens=0 \
    output_tokens=10 output_spread=0 &&
    "$moesim" run "$folder/run.yaml" -q --set "machine=$folder/truth.yaml" --out "$folder/out" >/dev/null ||
    exit 1
# Passes 1 to 8 of that, the first half a tenth too slow or too fast, the second by other factors.
"$python" - "$folder" <<'END'
import sys
import h5py
folder = sys.argv[1]
pass_s = h5py.File(f"{folder}/out/result.h5")["policy/0/pass/latency_ps"][1:] * 1e-12
with open(f"{folder}/steps.csv", "w") as out:
    out.write("wall_ms,part_us,rest_us\n")
    for s, factor in zip(pass_s, (1.1, 0.9, 1.1, 0.9, 0.8, 2, 0.8, 1.6)):
        out.write(f"{s * factor * 1e3:.12g},{s * factor * .25e6:.12g},{s * factor * .75e6:.12g}\n")
END

# fit NAME [flags]: leaves NAME.text, or NAME.csv with --csv.
fit() {
    name=$1
    shift
    "$moesim" fit "$folder/run.yaml" -m "$folder/steps.csv" -p host.round_trip --first-pass 1 "$@" \
        >"$folder/$name" 2>"$folder/said" && [ ! -s "$folder/said" ]
}
bad=0
for weight in absolute duration relative; do
    fit $weight.csv --csv --weight $weight && fit $weight.text --weight $weight || bad=1
done
fit default.csv --csv && fit default.text && fit six.text --train 6 && fit six.csv --train 6 --csv &&
    fit match.text --match part_us+rest_us=latency --match wall_ms=latency --total part_us &&
    fit match.csv --csv --match part_us+rest_us=latency --match wall_ms=latency || bad=1
report $bad fit_runs
cmp "$folder/default.text" "$folder/duration.text" && cmp "$folder/default.csv" "$folder/duration.csv"
report $? fit_defaults
"$python" - "$folder" <<'END'
import csv
import statistics
import sys
import h5py
folder = sys.argv[1]
truth = list(h5py.File(f"{folder}/out/result.h5")["policy/0/pass/latency_ps"][1:] * 1e-12)
measured = [float(r["wall_ms"]) * 1e-3 for r in csv.DictReader(open(f"{folder}/steps.csv"))]


def figures(error, predicted, measured):
    """As they are printed."""
    size = [abs(x) for x in error]
    total = sum(predicted) / sum(measured) - 1
    return [f"{100 * x:.2f}" for x in (statistics.mean(size), statistics.median(size),
                                       statistics.mean(error), total)]


for name, train, power in (("absolute", 4, 0), ("duration", 4, 1), ("relative", 4, 2), ("six", 6, 1),
                           ("match", 4, 1)):
    weight = [m ** -power for m in measured[:train]]
    # Least squares of a constant: the weighted mean of what is left.
    add = sum(w * (m - t) for w, m, t in zip(weight, measured, truth)) / sum(weight)
    fitted = 31e-6 + add / 4
    rows = list(csv.DictReader(open(f"{folder}/{name}.csv")))
    assert list(rows[0]) == ["step", "fitted", "measured_s", "predicted_s", "error"], rows[0]
    assert [r["step"] for r in rows] == [str(k) for k in range(1, 9)]
    assert [r["fitted"] for r in rows] == ["1"] * train + ["0"] * (8 - train)
    predicted = [float(r["predicted_s"]) for r in rows]
    for r, m, t, p in zip(rows, measured, truth, predicted):
        assert abs(float(r["measured_s"]) / m - 1) < 1e-8
        assert abs(p / (t + add) - 1) < 1e-5, (name, p, t + add)
        assert abs(float(r["error"]) - (p / m - 1)) < 2e-6
    text = open(f"{folder}/{name}.text").read().split("\n")
    assert text[0].startswith(f"Fitted to steps 1 to {train} of {folder}/steps.csv (")
    assert text[0].endswith(" iterations):") and int(text[0].split("(")[-1].split()[0]) > 0
    assert text[1] == "" and text[4] == ""
    assert text[2] == f"{'number':<28} {'before':>12} {'fitted':>12}   standard error", text[2]
    words = text[3].split()
    assert words[:2] == ["host.round_trip", "12"] and words[3] == "us" and words[5] == "%", words
    assert abs(float(words[2]) / (fitted * 1e6) - 1) < 1e-4, (name, words, fitted)
    if name != "match":
        # The residuals' variance over the sum of weights; each pass has four round trips.
        left = sum(w * (m - p) ** 2 for w, m, p in zip(weight, measured, predicted)) / (train - 1)
        error = (left / sum(weight)) ** .5 / 4 / fitted
        assert abs(float(words[4]) / (100 * error) - 1) < 0.06, (name, words, 100 * error)
    assert text[5].startswith("Predicted against measured, in percent: mean and median of the absolute")
    assert text[6] == "signed error, error of the sum."
    assert text[8] == f"{'':<34} {'fitted steps':>29}   {'steps held out':>29}"
    head = f"{'mean':>6} {'median':>6} {'signed':>7} {'sum':>7}"
    assert text[9] == f"{'':<34} {head}   {head}"
    error = [p / m - 1 for p, m in zip(predicted, measured)]
    want = (figures(error[:train], predicted[:train], measured[:train])
            + figures(error[train:], predicted[train:], measured[train:]))
    names = ["wall_ms=latency", "wall_ms"]
    if name == "match":
        names = ["part_us+rest_us=latency", "wall_ms=latency"]
    for line, label in zip(text[10:12], names):
        got = line.split()
        assert got[0] == label and len(got) == 9
        for g, w in zip(got[1:], want):
            assert abs(float(g) - float(w)) < 0.011, (name, line, want)
        assert line == f"{label:<34} " + "   ".join(
            f"{g[0]:>6} {g[1]:>6} {g[2]:>7} {g[3]:>7}" for g in (got[1:5], got[5:]))
    assert text[10 + len(names):] == ([""] if name != "match" else text[12:13] + [""])
    if name == "match":  # a quarter of the time was measured: each error is 4 (1 + e) - 1
        four = [4 * (1 + x) - 1 for x in error]
        want = figures(four[:4], [4 * p for p in predicted[:4]], measured[:4])
        assert text[12].split()[0] == "part_us"
        for g, w in zip(text[12].split()[1:5], want):
            assert abs(float(g) - float(w)) < 0.05, (text[12], want)
END
report $? fit_figures

# What does not act on the passes is not determined.
"$moesim" fit "$folder/run.yaml" -m "$folder/steps.csv" -p storage.bandwidth --first-pass 1 \
    -o "$folder/idle.yaml" >"$folder/text" &&
    grep -q '^storage.bandwidth  *6.5  *6.5 GB/s   not determined by these steps$' "$folder/text" &&
    grep -q 'steps.csv by moesim fit (not determined by these steps)"' "$folder/idle.yaml"
report $? fit_not_determined

# The machine file: the number, its source, its error.
wrote() { # NAME SOURCE [flags]
    name=$1 source=$2
    shift 2
    rm -f "$folder/mine.yaml"
    fit "$name" --weight absolute -o "$folder/mine.yaml" "$@" &&
        grep -A 3 '^  round_trip:$' "$folder/mine.yaml" | tr -d '\n' |
        grep -q "value: 29.4[0-9]* us *source: \"$source (standard error .*)\" *error: 0[.][0-9]*$"
    report $? "$name"
}
wrote fit_writes "fitted to steps 1 to 4 of steps.csv by moesim fit"
wrote fit_writes_source "as I say" --source "as I say"
"$moesim" run "$folder/run.yaml" --set "machine=$folder/mine.yaml" >/dev/null
report $? fit_machine_runs

# refused NAME SENTENCE [flags]
refused() {
    name=$1 sentence=$2
    shift 2
    prints "$name" 1 fit "$folder/run.yaml" -m "$folder/steps.csv" -p host.round_trip "$@" <<END
moesim: $sentence
END
}
refused fit_weight "--weight equal: expected absolute, duration or relative" --weight equal
refused fit_passes "the replay has 9 passes, but $folder/steps.csv has 8 steps, the first of them pass 0; name the first one's pass with --first-pass (up to 1), and end the replay with the last one's (--set workload.max_passes=8)"
"$moesim" fit "$folder/run.yaml" -m "$folder/steps.csv" -p host.round_trip --set workload.max_passes=8 >/dev/null
report $? fit_first_pass_0
for name in run steps; do
    file=$(ls "$folder/$name".*)
    sum=$(cksum <"$file")
    refused "fit_apart_$name" "$file: is the input itself, which is read here; give the output another name" \
        -o "$file"
    [ "$(cksum <"$file")" = "$sum" ]
    report $? "fit_apart_${name}_stays"
done
# What was found is shown though it cannot be kept.
"$moesim" fit "$folder/run.yaml" -m "$folder/steps.csv" -p host.round_trip --first-pass 1 \
    -o "$folder/none/m.yaml" >"$folder/text" 2>"$folder/said"
[ $? -eq 1 ] && grep -q '^Fitted to steps' "$folder/text" &&
    grep -q "none/m.yaml: cannot make a file in that folder: No such file or directory$" "$folder/said"
report $? fit_unwritable
exit $failed
