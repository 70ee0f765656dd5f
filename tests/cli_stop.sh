#!/bin/sh
# Any command ends at the first Ctrl-C (130) or SIGTERM (143), soon, and leaves no file and
# no other program running. `moesim run`, which ends in good order, is in cli_signal.sh.
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/shell.sh

if ! generate "$folder/trace.h5" requests=800 output_tokens=100 scores=no independent=yes >/dev/null ||
    ! generate "$folder/small.h5" requests=2 >/dev/null; then
    report 1 stop_traces
    exit 1
fi
cat >"$folder/small.yaml" <<'END'
trace: small.h5
machine: rtx4090-pcie4
policies: [{name: lru, cache: {name: lru, slots: 8}}]
END
"$moesim" run "$folder/small.yaml" --out "$folder/result" >/dev/null || exit 1
# A program that takes forever, in the place of gnuplot. What it runs does, too.
mkdir "$folder/bin"
printf '#!/bin/sh\necho $$ >%s/pid\necho half >"$6"\nsleep 1000\n' "$folder" >"$folder/bin/gnuplot"
chmod +x "$folder/bin/gnuplot"

"$python" - "$moesim" "$folder" <<'END'
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time

moesim, folder = sys.argv[1:]
failed = False
environment = dict(os.environ, PATH=f"{folder}/bin:" + os.environ["PATH"])


def report(good, name):
    global failed
    print("ok" if good else "not ok", name, flush=True)
    failed = failed or not good


def wait_for(condition, process):
    for _ in range(20000):
        if process.poll() is not None or condition():
            return
        time.sleep(0.001)


def has_opened(process, name):
    """Whether it reads a file."""
    try:
        fds = f"/proc/{process.pid}/fd"
        return any(os.readlink(f"{fds}/{fd}").endswith(name) for fd in os.listdir(fds))
    except OSError:
        return False


def is_gone(name):
    """Whether its group ends: what was killed may take a moment to."""
    with open(name, encoding="utf-8") as stream:
        group = stream.read().strip()
    return any(is_empty(group) or time.sleep(0.01) for _ in range(1000))


def is_empty(group):
    """Whether no process of it is left, but for dead ones that nobody asked after."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
                state, _, its_group = stream.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if its_group == group and state != "Z":
            return False
    return True


def stop(name, arguments, number, begun=None, keeps=(), more=None, signals=1):
    """Starts it; signals it once it has begun, or has a file in its folder."""
    out = f"{folder}/{name}"
    os.mkdir(out)
    command = [moesim, *(a.replace("OUT", out) for a in arguments)]
    run = subprocess.Popen(command, env=dict(environment, **(more or {})), text=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: begun(run) if begun else os.listdir(out), run)
    for _ in range(signals):
        run.send_signal(number)
    try:
        said = run.communicate(timeout=30)[1]
    except subprocess.TimeoutExpired:
        run.kill()
        said = run.communicate()[1] + " (hangs)"
    left = [file for file in sorted(os.listdir(out)) if file not in keeps]
    good = run.returncode == 128 + number and said == "moesim: stopped by a signal\n" and not left
    if not good:
        print(name, run.returncode, said, left)
    return good


trace = f"{folder}/trace.h5"


def read(process):
    return has_opened(process, "trace.h5")


def asleep(_):
    return os.path.exists(f"{folder}/pid") and os.path.getsize(f"{folder}/pid") > 0


report(stop("gen", ["trace", "gen", "-o", "OUT/x.h5", "--set", "requests=100000",
                    "--set", "output_tokens=1000", "--set", "independent=yes"], signal.SIGINT),
       "stop_gen")
report(stop("fit", ["trace", "gen", "-o", "OUT/x.h5", "--like", trace], signal.SIGTERM, read),
       "stop_gen_like")
report(stop("slice", ["trace", "slice", trace, "-o", "OUT/x.h5"], signal.SIGINT), "stop_slice")
report(stop("csv", ["trace", "export", trace, "-o", "OUT/x.csv"], signal.SIGTERM),
       "stop_export_csv")
report(stop("oracle", ["trace", "export", trace, "--to", "oracleGeneral", "-o", "OUT/x"],
            signal.SIGINT, lambda _: len(os.listdir(f"{folder}/oracle")) == 2),
       "stop_export_oracle")
report(stop("info", ["trace", "info", trace], signal.SIGINT, read), "stop_info")
report(stop("papers", ["check", "--papers", "--junit", "OUT/x.xml"], signal.SIGTERM,
            lambda process: has_opened(process, ".h5")), "stop_check")
if importlib.util.find_spec("h5py"):
    with open(f"{folder}/a.csv", "w", encoding="utf-8") as table:
        table.write("row,layer,slot,expert\n")
        table.writelines(f"{row},{layer},0,{row % 7}\n" for row in range(200000)
                         for layer in range(4))
    report(stop("import", ["trace", "import", "--from", "csv", f"{folder}/a.csv", "-o",
                           "OUT/x.h5", "--model", "mine", "--experts", "8"],
                signal.SIGTERM, lambda process: has_opened(process, "a.csv")), "stop_import")
else:
    print("skip stop_import: needs python3 with numpy and h5py")
for name, signals in (("report", 1), ("report_twice", 2)):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{folder}/pid")
    report(stop(name, ["report", f"{folder}/result/result.h5", "-o", "OUT"], signal.SIGINT,
                asleep, keeps=("shares.csv",), signals=signals) and is_gone(f"{folder}/pid"),
           f"stop_{name}")

# What measures stops in good order: with its own sentence, and no table.
out = f"{folder}/calibrate"
os.mkdir(out)
run = subprocess.Popen([moesim, "calibrate", "--quick", "-o", f"{out}/x.yaml"], text=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
wait_for(lambda: os.path.isdir(f"{out}/.x-tables.new"), run)
run.send_signal(signal.SIGTERM)
said = run.communicate()[1]
report(run.returncode == 143 and said.startswith("moesim: stopped by a signal")
       and not os.listdir(out), "stop_calibrate")

# A reader that has enough leaves nothing behind either, and is told nothing.
run = subprocess.Popen([moesim, "list", "policies"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
run.stdout.close()
run.wait()
report(run.returncode == 141 and run.stderr.read() == b"", "stop_closed_pipe")
sys.exit(failed)
END
exit $?
