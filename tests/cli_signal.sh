#!/bin/sh
# Ctrl-C during a long replay leaves no broken file, and the files of an earlier run as
# they were; a progress line shows on a terminal only.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! generate "$folder/trace.h5"; then
    report 1 signal_trace
    exit 1
fi
# Sixty requests of 200,000 tokens each: far more than anybody waits for.
{
    echo TIMESTAMP,ContextTokens,GeneratedTokens
    for second in $(seq -w 0 59); do
        echo "2023-11-16 18:15:$second.0,20,200000"
    done
} >"$folder/requests.csv"
cat >"$folder/long.yaml" <<'END'
trace: trace.h5
machine: rtx4090-pcie4
bounds: no
workload: {lengths: file, file: requests.csv}
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
  - {name: markov, cache: {name: lru, slots: 8}, prefetch: markov}
END

"$python" - "$moesim" "$folder" <<'END'
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
import time

moesim, folder = sys.argv[1:]
# What a half-done row says instead of figures.
HALF = re.compile(r"^lru +stopped after [0-9]+ of 60 requests$", re.MULTILINE)
failed = False


def report(good, name):
    global failed
    print("ok" if good else "not ok", name, flush=True)
    failed = failed or not good


def contents(path):
    """Its files; none if it is not there."""
    files = {}
    for name in os.listdir(path) if os.path.isdir(path) else ():
        with open(os.path.join(path, name), "rb") as stream:
            files[name] = stream.read()
    return files


def start(out, *flags, **streams):
    command = [moesim, "run", f"{folder}/long.yaml", "--out", out, *flags]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, **streams)
    # It runs once the new folder beside the one that is meant has a file.
    new = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.new")
    for _ in range(600):
        if run.poll() is not None or os.path.isdir(new) and os.listdir(new):
            break
        time.sleep(0.05)
    time.sleep(0.2)
    return run


def stop(run, signals):
    """Sends the signals at once; returns status, what it said and its table."""
    for number in signals:
        run.send_signal(number)
    try:
        table, said = run.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        run.kill()
        run.communicate()
        return "hangs", "", ""
    return run.returncode, said, table


out = f"{folder}/out"
short = ["--set", "workload.max_passes=20"]
done = subprocess.run([moesim, "run", f"{folder}/long.yaml", "--out", out, *short],
                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
earlier = contents(out)
report(done.returncode == 0 and done.stderr == "" and "result.h5" in earlier,
       "signal_no_progress_line_without_terminal")
for name, number, threads in (("int", signal.SIGINT, "1"), ("term", signal.SIGTERM, "1"),
                              ("int_two_threads", signal.SIGINT, "2")):
    for kind, target in (("fresh", f"{folder}/{name}"), ("earlier", out)):
        run = start(target, "--threads", threads, stderr=subprocess.PIPE, text=True)
        status, said, table = stop(run, [number])
        good = (status == 128 + number and said.startswith("moesim: stopped by a signal")
                and said.count("\n") == 1 and HALF.search(table) is not None
                and contents(target) == (earlier if kind == "earlier" else {}))
        if not good:
            print(status, said, table, sorted(contents(target)))
        report(good, f"signal_{name}_{kind}")
run = start(f"{folder}/twice", stderr=subprocess.PIPE, text=True)
status = stop(run, [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGTERM])[0]
report(status in (130, 143) and contents(f"{folder}/twice") == {},
       "signal_twice")


def on_terminal(*flags):
    """What appears on a terminal within two seconds."""
    master, slave = pty.openpty()
    run = start(f"{folder}/terminal", *flags, stderr=slave)
    time.sleep(1.5)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    os.close(slave)
    seen = b""
    try:
        while block := os.read(master, 4096):
            seen += block
    except OSError:  # the other end is closed
        pass
    os.close(master)
    return seen


# Two policies on one request of 20 prompt tokens and 200,000 more, the last of which is no row:
# per cent, rate and time left are of these rows, five times a second at most. Most lines come
# soon after that fifth: a clock that runs by the second, or back, would have them further apart.
rows = 2 * (20 + 200000 - 1)
begun = time.monotonic()
lines = on_terminal("--set", "workload.requests=1").decode().split("\r")
took = time.monotonic() - begun
times = [0.0]
good = len(lines) > 3 and lines[0] == "" and lines[-2].startswith("\x1b[K")
for i, line in enumerate(lines[1:-2]):
    said = re.fullmatch(r"replaying ([ \d]{3}) %, (\d+) tokens/s, (\d+) s left   \x1b\[K", line)
    if said is None:
        good = False
        break
    percent, rate, left = (int(said[n]) for n in (1, 2, 3))
    elapsed, blur = rows * percent / 100 / (rate + 0.5), rows * 0.005 / rate + 0.02
    times.append(elapsed)
    good = (good and 0.2 * (i + 1) - blur <= elapsed <= took + blur
            and abs((1 - percent / 100) * rows / rate - left) <= 0.5 + blur)
if good:
    apart = [after - before for before, after in zip(times, times[1:])]
    good = 0.2 - 2 * blur <= statistics.median(apart) < 0.6 + 2 * blur
if not good:
    print(took, lines)
report(good, "signal_progress_line_on_terminal")
report(b"replaying" not in on_terminal("--quiet"), "signal_quiet")
sys.exit(failed)
END
exit $?
