#!/bin/sh
# The conformance suite of the trace format: its files are what its script makes, moesim trace check says
# of each what expected.tsv says, and every rule of FORMAT.md has a file that breaks it.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! "$python" -c 'import numpy, h5py' 2>/dev/null; then
    echo "skip conformance: needs python3 with numpy and h5py"
    exit 0
fi
suite=traces/conformance
"$python" $suite/make.py "$folder/made" || failed=1
"$python" -B - "$moesim" $suite "$folder/made" <<'END' || failed=1
import filecmp
import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np

moesim, suite, made = sys.argv[1:]
failed = False


def report(name, wrong):
    """One test; what is wrong, a line each."""
    global failed
    for line in wrong[:20]:
        print(line)
    print(("not ok " if wrong else "ok ") + name)
    failed = failed or bool(wrong)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def run(*words):
    return subprocess.run([moesim, "trace", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)


def names(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder)
                  for at, _, files in os.walk(folder) for name in files
                  if name.endswith((".h5", ".tsv")))


def content(path):
    """Attributes and values of all that h5py can open, as text; floats by their bits."""
    told = []

    def tell(name, thing):
        for key, value in sorted(thing.attrs.items()):
            told.append((name, key, repr(value)))
        if isinstance(thing, h5py.Dataset) and thing.size < 1 << 20:
            values = thing[()]
            told.append((name, thing.dtype.str, thing.shape, np.asarray(values).tobytes()
                         if thing.dtype.kind != "O" else repr(values)))
    with h5py.File(path, "r") as file:
        tell("/", file)
        file.visititems(tell)
    return told


# ---- the files are what the script makes ----

# Byte by byte under the version of HDF5 that made them, which others may lay out otherwise.
same_version = h5py.version.hdf5_version in read(f"{suite}/README.md")
wrong = [f"{name}: only in one" for name in set(names(suite)) ^ set(names(made))]
for name in set(names(suite)) & set(names(made)):
    pair = os.path.join(suite, name), os.path.join(made, name)
    if filecmp.cmp(*pair, shallow=False):
        continue
    if same_version or name.endswith(".tsv"):
        wrong.append(f"{name}: differs from what make.py makes")
    elif name.startswith("good/") and content(pair[0]) != content(pair[1]):
        wrong.append(f"{name}: holds other values than what make.py makes")
if content(f"{suite}/good/full.h5") != content(f"{made}/good/full.h5"):
    wrong.append("good/full.h5: holds other values than what make.py makes")
if content(f"{suite}/good/scores.h5") == content(f"{suite}/good/scores_equal_neighbours.h5"):
    wrong.append("other values are not told apart")
report("conformance_made", wrong)

# ---- what is said of each ----

rows = [line.split("\t") for line in read(f"{suite}/expected.tsv").splitlines()[1:]]
paths = [os.path.join(suite, row[0]) for row in rows]
told = run("check", "--json", *paths)
said = json.loads(told.stdout)
wrong = [] if told.returncode == 1 and told.stderr == "" else ["status and silence"]
wrong += [] if len(said) == len(rows) else ["one entry a file"]
for (name, verdict, _, words, _), path, answer in zip(rows, paths, said):
    words = [word for word in words.split(" | ") if word]
    if answer["file"] != path or answer["good"] != (verdict == "good"):
        wrong.append(f"{name} should be {verdict}: {answer}")
    elif verdict == "good":
        notes = answer["notes"]
        if len(notes) != len(words) or any(w not in n for w, n in zip(words, notes)):
            wrong.append(f"{name}: noted {notes}, expected {words}")
    elif not answer["error"].startswith(f"{path}: ") or "\n" in answer["error"] \
            or any(word not in answer["error"] for word in words):
        wrong.append(f"{name}: said {answer['error']}, expected {words}")
report("conformance_verdicts", wrong)

# In words: the good ones on standard output, the sentences on standard error, and on to the next.
told = run("check", *paths)
wrong = [] if told.returncode == 1 else ["status"]
if told.stderr != "".join(f"moesim: {a['error']}\n" for a in said if not a["good"]):
    wrong.append("standard error")
for answer in said:
    if not answer["good"]:
        continue
    head, *notes = told.stdout.partition(f"{answer['file']}: good\n")[2].split("\n")
    lines = [note for note in notes[:len(answer["notes"]) + 1]]
    if lines[:-1] != [f"  note: {note}" for note in answer["notes"]] or \
            lines[-1].startswith("  note: "):
        wrong.append(f"{answer['file']}: {head} {lines}")
report("conformance_in_words", wrong)

good = [path for path, row in zip(paths, rows) if row[1] == "good"]
told = run("check", *good)
report("conformance_good_status",
       [] if told.returncode == 0 and told.stderr == "" else [told.stderr])
plain, full = f"{suite}/good/plain.h5", f"{suite}/good/full.h5"
told = run("check", plain, full, f"{suite}/good/counts.h5", f"{suite}/good/model_known.h5")
note = "  note: no file of models/arch is called tiny; a run needs model: FILE, a file of your own\n"
report("conformance_lines", [] if told.stdout == f"""{plain}: good
  12 rows in 4 requests, 3 layers, 8 experts, top-2, 2 candidates; /routing/expert, prefill rows in \
/token/phase
{note}{full}: good
  12 rows in 4 requests, 3 recorded passes, 3 layers, 8 experts, top-2, 2 candidates; /routing/expert, \
/routing/score, /routing/predicted, /pass, /token/source, prefill rows in /token/phase, \
/request/arrival_ns, /expert_bytes
{note}{suite}/good/counts.h5: good
  2 recorded passes, 3 layers, 8 experts, top-2, 2 candidates; /load/count
{note}{suite}/good/model_known.h5: good
  12 rows in 4 requests, 24 layers, 32 experts, top-4, 4 candidates; /routing/expert, prefill rows in \
/token/phase
""" else [told.stdout])
answer = said[paths.index(full)]
report("conformance_json", [] if {k: v for k, v in answer.items() if k != "notes"} == {
    "file": full, "good": True, "model": "tiny", "rows": 12, "requests": 4, "passes": 3, "layers": 3,
    "experts": 8, "top_k": 2, "candidates": 2,
    "fields": ["/routing/expert", "/routing/score", "/routing/predicted", "/pass", "/token/source",
               "prefill rows in /token/phase", "/request/arrival_ns", "/expert_bytes"]} else [answer])
told = run("check", f"{suite}/good/nowhere.h5", plain)
report("conformance_goes_on", [] if told.returncode == 1 and told.stdout.startswith(f"{plain}: good\n")
       and told.stderr == f"moesim: {suite}/good/nowhere.h5: cannot be opened: No such file or "
       "directory\n" else [told.stdout + told.stderr])
told = run("check")
report("conformance_misuse", [] if told.returncode == 2 and "takes one or more traces" in told.stderr
       else [told.stderr])

# Others that read a trace refuse what is wrong in its structure with the same sentence: one of each kind.
wrong, tried = [], set()
for (name, verdict, breaks, _, _), path, answer in zip(rows, paths, said):
    kind = breaks, name.split("_")[0]
    if verdict == "bad" and kind not in tried and \
            breaks in ("rule 1", "rule 4", "attributes", "limits", "Storage"):
        tried.add(kind)
        told = run("info", path)
        if (told.returncode, told.stderr) != (1, f"moesim: {answer['error']}\n"):
            wrong.append(f"{name}: {told.stderr} is not {answer['error']}")
report("conformance_info", wrong)

# ---- nothing of the page is without a file ----

page = read("traces/FORMAT.md")
rules = re.findall(r"^([0-9]+)\. ", page.split("## Rules")[1].split("\n## ")[0], re.M)
broken = {row[2] for row in rows if row[1] == "bad"}
known = {f"rule {rule}" for rule in rules} | {"What is in it", "attributes", "limits", "Storage"}
wrong = [f"{part}: no bad file breaks it" for part in known - broken]
wrong += [f"{part}: is no part of FORMAT.md" for part in broken - known]
if len(rules) < 6 or "## What is in it" not in page or "## Storage" not in page:
    wrong.append("FORMAT.md: where are its rules?")
report("conformance_every_rule", wrong)

sets = re.findall(r"^\| `(/[a-z_/]+)`( \?)? \| ([a-z0-9]+) \[", page, re.M)
texts = re.findall(r"^\| `([a-z_]+)` \| (?:text|integer) \|", page, re.M)
wrong = [] if len(sets) == 22 and len(texts) == 10 else ["FORMAT.md: where are its tables?"]
words = "\n".join(row[3] for row in rows if row[1] == "bad")
held, alone = set(), set()
for path in good:
    with h5py.File(path, "r") as file:
        here = {name for name, _, _ in sets if name in file}
    held |= here
    if len(here) <= 12 or any(name.startswith("/pass") for name in here):
        alone |= here
for name, optional, kind in sets:
    for word in (f"{name} must be of type {kind}", f"{name} must have "):
        if word not in words:
            wrong.append(f"no bad file whose {word}")
    if name not in held or name not in alone:
        wrong.append(f"{name}: is in no good file, or in none that has little else")
    if not optional and name != "/load/count" and f"data set {name} is missing" not in words:
        wrong.append(f"{name}: is missing in no bad file")
for name in texts:
    wrong += [f"attribute {name}: no bad file with '{word}'" for word in
              (f"attribute {name} of / is missing", f"attribute {name} of / must be one ")
              if word not in words]
report("conformance_every_field", wrong)
# The page's own writer: four of 32 experts in 24 layers, as the model has them.
code = page.split("```python\n")[1].split("```")[0].replace('"t.h5"', "path")
exec(code, {"h5py": h5py, "np": np, "path": f"{made}/t.h5", "T": 9,  # pylint: disable=exec-used
            "ids": (np.arange(9 * 24 * 4) * 5 % 32).reshape(9, 24, 4)})
told = run("check", f"{made}/t.h5")
report("conformance_writer_of_the_page", [] if told.stdout == f"""{made}/t.h5: good
  9 rows in 1 requests, 24 layers, 32 experts, top-4, 4 candidates; /routing/expert
""" else [told.stdout + told.stderr])
size = sum(os.path.getsize(path) for path in paths)
report("conformance_is_small", [] if size < 750000 else [f"{size} bytes"])
sys.exit(failed)
END
exit $failed
