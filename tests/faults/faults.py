"""Every disk call and allocation of a command fails in turn; then it is killed in turn.

    python3 tests/faults/faults.py MOESIM PRELOAD [--most N] [--kills N] [--seed S] [NAME ...]

A point is one call that fails, once or from then on. Right is: exit status not 0 and one
sentence on standard error, or output equal to the undisturbed one; the output folder holds
what it held before or all of the new, and nothing else. A kill (SIGKILL, SIGINT, SIGTERM
at a random moment) may leave temporaries if it is SIGKILL; no file under its own name is
half-written, and the next run succeeds and leaves nothing. At most N points of the disk for
each command, once and from then on, drawn by the seed; all if N is 0. Of allocations all up
to 300, else 300. Calibrate, whose runs take seconds, gets few.
"""

import argparse
import concurrent.futures
import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
WORKERS = 2
MEMORY_POINTS = 300  # of a command; all if there are fewer
HANGS = 300  # seconds
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}

CONFIG = """\
trace: in.h5
machine: rtx4090-pcie4
policies:
  - {name: lru, cache: {name: lru, slots: 8}}
  - {name: markov, cache: {name: lru, slots: 8}, prefetch: markov}
"""
SWEEP = CONFIG + """\
sweep: {policies.0.cache.slots: [4, 6, 9]}
"""
TUNE = CONFIG + """\
tune: {minimise: tpot_p99, over: {cache.slots: 4..9}, evaluations: 5, seeds: 1}
"""
SHAPE = ["model=gpt-oss-20b", "requests=4", "prompt_tokens=6", "output_tokens=8",
         "scores=yes"]


class Command:
    """What is run, what it leaves, and what was there before."""

    def __init__(self, name, argv, *, old=(), program="moesim", kinds=("disk", "memory"),
                 same=True, share=1, keeps=False, once=False):
        self.name, self.argv, self.program, self.kinds = name, argv, program, kinds
        self.old = old  # names in the output folder before; "own" ones go, others stay
        self.same = same  # whether two runs give equal bytes
        self.share = share  # of the points that others get
        self.once = once  # refuses to do again what is done
        self.keeps = keeps  # files that are whole stay, and the next run goes on from them


def settings(values):
    return [part for value in values for part in ("--set", value)]


def commands(moesim, inputs):
    importer = [PYTHON, f"{ROOT}/traces/python", "import", "--from"]
    return [
        Command("run", [moesim, "run", f"{inputs}/run.yaml", "--out", "out"],
                old=("result.h5", "timeline.json", "report.html", "mine.txt")),
        Command("gen", [moesim, "trace", "gen", "-o", "out/t.h5", *settings(SHAPE)]),
        Command("slice", [moesim, "trace", "slice", f"{inputs}/in.h5", "-o", "out/s.h5",
                          "--requests", "1:3"], old=("s.h5",)),
        Command("import", [*importer, "npz", f"{inputs}/x.npz", "-o", "out/i.h5"],
                program=os.path.basename(PYTHON), kinds=("disk",)),
        Command("export", [moesim, "trace", "export", f"{inputs}/in.h5", "-o", "out/e.csv"]),
        Command("oracle", [moesim, "trace", "export", f"{inputs}/in.h5", "--to",
                           "oracleGeneral", "-o", "out/e.bin"], old=("e.bin",)),
        Command("report", [moesim, "report", f"{inputs}/result/result.h5", "-o", "out"],
                old=("report.html", "shares.csv", "result.h5")),
        Command("curve", [moesim, "curve", f"{inputs}/in.h5", "--out", "out"],
                old=("curve.csv", "hit_rate.svg", "mine.txt")),
        Command("sweep", [moesim, "sweep", f"{inputs}/sweep.yaml", "--out", "out"],
                old=("mine.txt",), keeps=True),
        Command("tune", [moesim, "tune", f"{inputs}/tune.yaml", "--quiet", "--out", "out"],
                old=("best.yaml", "mine.txt")),
        Command("baseline", [moesim, "check", "--update", "out/guard.yaml", "--study",
                             f"{inputs}/run.yaml"], once=True),
        Command("calibrate", [moesim, "calibrate", "--quick", "--quiet", "-o",
                              "out/m.yaml"], same=False, share=0.03),
    ]


def make_inputs(moesim, folder):
    def run(*argv):
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    run(moesim, "trace", "gen", "-o", f"{folder}/in.h5", *settings(SHAPE))
    with open(f"{folder}/run.yaml", "w") as stream:
        stream.write(CONFIG)
    with open(f"{folder}/sweep.yaml", "w") as stream:
        stream.write(SWEEP)
    with open(f"{folder}/tune.yaml", "w") as stream:
        stream.write(TUNE)
    run(moesim, "run", f"{folder}/run.yaml", "--out", f"{folder}/result")
    run(PYTHON, "-c", f"""
import numpy as np
rng = np.random.default_rng(1)
ids = np.argsort(rng.random((8, 24, 32)), axis=2)[:, :, :4].astype(np.uint16)
np.savez("{folder}/x.npz", ids=ids, probs=np.full((8, 24, 4), 0.25, np.float16),
         off=np.array([0, 5, 8]))
""")


class Work:
    """One folder in which a command runs."""

    def __init__(self, command, base):
        self.command = command
        self.folder = tempfile.mkdtemp(dir=base)
        self.out = f"{self.folder}/out"
        os.mkdir(self.out)
        self.before = {name: f"old {name}".encode() for name in command.old}
        for name, text in self.before.items():
            with open(f"{self.out}/{name}", "wb") as stream:
                stream.write(text)

    def start(self, **environment):
        with open(f"{self.folder}/stdout", "wb") as stdout:
            return subprocess.Popen(
                self.command.argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=subprocess.PIPE, text=True, errors="replace",
                # Without gnuplot: the filter would be inherited, its handler not.
                env={**os.environ, "PATH": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1",
                     "OPENBLAS_NUM_THREADS": "1", **environment})

    def run(self, **environment):
        process = self.start(**environment)
        try:
            said = process.communicate(timeout=HANGS)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return "hangs", ""
        return process.returncode, said

    def contents(self):
        """Names below the output folder, and what is beside it."""
        found = {}
        for at, folders, files in os.walk(self.folder):
            place = os.path.relpath(at, self.out)
            for name in files:
                with open(f"{at}/{name}", "rb") as stream:
                    found[os.path.normpath(f"{place}/{name}")] = stream.read()
            for name in folders:
                if not os.listdir(f"{at}/{name}") and f"{at}/{name}" != self.out:
                    found[os.path.normpath(f"{place}/{name}/")] = b"empty folder"
        found.pop("../stdout", None)
        found.pop(".lock", None)  # of a sweep, which others may share
        return found

    def remove(self):
        shutil.rmtree(self.folder)


class Tester:
    def __init__(self, moesim, preload, base, inputs):
        self.moesim, self.preload, self.base, self.inputs = moesim, preload, base, inputs
        self.points = 0

    def fault(self, kind, program, at, mode="once", cause=errno.ENOSPC, log=None):
        return {"LD_PRELOAD": self.preload, "FAULT_KIND": kind, "FAULT_AT": str(at),
                "FAULT_ON": mode, "FAULT_CAUSE": str(cause), "FAULT_PROGRAM": program,
                **({"FAULT_LOG": log} if log else {})}

    def reference(self, command, **environment):
        """What it leaves undisturbed, with nothing but the counting."""
        work = Work(command, self.base)
        status, said = work.run(**environment)
        found = work.contents()
        work.remove()
        if status not in (0, 77):
            raise SystemExit(f"{command.name} fails undisturbed: {status} {said}")
        return found if status == 0 else None

    def count(self, command, kind):
        """How often it asks, and what it leaves; None where a program cannot be filtered."""
        with tempfile.NamedTemporaryFile(dir=self.base) as log:
            log.write(bytes(8))
            log.flush()
            wanted = self.reference(command,
                                    **self.fault(kind, command.program, 0, log=log.name))
            log.seek(0)
            return wanted and (int.from_bytes(log.read(), sys.byteorder), wanted)

    def is_whole(self, command, found, wanted):
        """The new files, all of them."""
        if command.same:
            return found == wanted
        return found.keys() == wanted.keys() and self.is_machine(found["m.yaml"])

    def is_machine(self, text):
        with tempfile.TemporaryDirectory(dir=self.base) as folder:
            with open(f"{folder}/m.yaml", "wb") as stream:
                stream.write(text)
            return subprocess.run(
                [self.moesim, "run", f"{self.inputs}/run.yaml", "--quiet", "--csv", "--set",
                 f"machine={folder}/m.yaml", "--set", "host_memory=64 GiB", "--set",
                 "policies.0.cache.slots=4", "--set", "policies.1.cache.slots=4"],
                capture_output=True).returncode == 0

    def is_unchanged(self, command, found, before, wanted):
        if command.keeps:  # why a point failed is there, too, and tables that say so
            failed = any(name.endswith(".failed") for name in found)
            return all(text in (wanted.get(name), before.get(name), b"empty folder")
                       or name.endswith(".failed") or failed and name.startswith("sweep.")
                       for name, text in found.items())
        if command.name == "calibrate":  # its tables stand alone: all of them or none
            found = {name: text for name, text in found.items()
                     if not name.startswith("m-tables/")}
        return found == before

    def goes_on(self, work, wanted):
        return work.run()[0] == 0 and work.contents() == wanted

    def judge(self, command, wanted, kind, at, mode, cause):
        work = Work(command, self.base)
        status, said = work.run(**self.fault(kind, command.program, at, mode, cause))
        found = work.contents()
        whole = self.is_whole(command, found, wanted)
        if status == "hangs":
            wrong = "hangs"
        elif status == 0:
            wrong = "" if whole else "exit 0 and other files"
        elif status < 0 or status not in (1, 77):
            wrong = f"status {status}"
        elif not said.startswith("moesim: ") or "Traceback" in said:
            wrong = "no sentence"
        elif not whole and not self.is_unchanged(command, found, work.before, wanted):
            wrong = "half of the files, or something left behind"
        elif command.keeps and not self.goes_on(work, wanted):
            wrong = "the next run fails or gives other files"
        else:
            wrong = ""
        work.remove()
        if wrong:
            wrong = (f"{command.name} {kind} {at} {mode} {os.strerror(cause)}: {wrong}: "
                     f"{status} {said.strip()[-300:]!r} {sorted(found)}")
        return wrong

    def faults(self, command, kind, most, seed):
        """Returns what went wrong and how many points there were; None: cannot."""
        counted = self.count(command, kind)
        if counted is None:
            return None
        calls, wanted = counted
        rng = random.Random(f"{seed} {command.name} {kind}")
        limit = max(2, round(most * command.share)) if most else calls
        if kind == "memory":
            limit = max(2, round(MEMORY_POINTS * command.share))
        chosen = range(1, calls + 1)
        if calls > limit:
            chosen = sorted({1, calls, *rng.sample(chosen, limit)})
        causes = itertools.cycle((errno.ENOSPC, errno.EIO))
        points = [(at, mode, next(causes)) for mode in ("once", "from") for at in chosen]
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            wrong = list(pool.map(
                lambda point: self.judge(command, wanted, kind, *point), points))
        self.points += len(points)
        return [one for one in wrong if one], len(points)

    def kill(self, command, wanted, number, delay):
        work = Work(command, self.base)
        process = work.start()
        time.sleep(delay)
        process.send_signal(number)
        try:
            said = process.communicate(timeout=HANGS)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1]
            return f"{command.name} hangs at {signal.Signals(number).name}"
        status = process.returncode
        found = work.contents()
        visible = found
        if number == signal.SIGKILL:  # its temporaries stay until the next run
            visible = {name: text for name, text in found.items()
                       if not os.path.basename(name).startswith(".")
                       and not name.startswith("../.")}
        wrong = ""
        early = (status == -number  # before it could say how signals are answered
                 or command.program != "moesim" and said.endswith("KeyboardInterrupt\n"))
        if status not in (0, STOPPED[number]) and not early:
            wrong = f"status {status}"
        elif not (self.is_whole(command, visible, wanted)
                  or self.is_unchanged(command, visible, work.before, wanted)):
            wrong = "a half-written file or something left behind"
        elif command.once and self.is_whole(command, visible, wanted):
            pass
        elif number == signal.SIGKILL or command.keeps:
            status, said = work.run()
            found = work.contents()
            if status != 0 or not self.is_whole(command, found, wanted):
                wrong = "the next run fails or leaves something"
        work.remove()
        if wrong:
            wrong = (f"{command.name} {signal.Signals(number).name} after {delay:.3f} s: "
                     f"{wrong}: {status} {said.strip()[-300:]!r} {sorted(found)}")
        return wrong

    def kills(self, command, count, seed):
        begun = time.monotonic()
        wanted = self.reference(command)
        lasts = time.monotonic() - begun
        rng = random.Random(f"{seed} {command.name} kills")
        wrong = []
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            share = count if number == signal.SIGKILL else (count + 1) // 2
            jobs = [(number, rng.uniform(0, 1.1 * lasts)) for _ in range(share)]
            with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
                wrong += pool.map(lambda job: self.kill(command, wanted, *job), jobs)
        self.points += len(wrong)
        return [one for one in wrong if one], len(wrong)


def report(name, outcome):
    """One line of a test; 1 if it failed."""
    if outcome is None:
        print(f"skip {name}: the kernel lets no program filter its system calls")
        return 0
    wrong, points = outcome
    for one in wrong[:8]:
        print("   ", one)
    print("not ok" if wrong else "ok", f"{name} ({points - len(wrong)} of {points} points)",
          flush=True)
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("moesim")
    parser.add_argument("preload")
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    moesim, preload = os.path.abspath(options.moesim), os.path.abspath(options.preload)
    failed = 0
    with tempfile.TemporaryDirectory() as base:
        inputs = f"{base}/inputs"
        os.mkdir(inputs)
        make_inputs(moesim, inputs)
        tester = Tester(moesim, preload, base, inputs)
        for command in commands(moesim, inputs):
            if options.names and command.name not in options.names:
                continue
            for kind in command.kinds:
                failed += report(f"faults_{command.name}_{kind}", tester.faults(
                    command, kind, options.most, options.seed))
            if options.kills and command.same:
                failed += report(f"faults_{command.name}_kills", tester.kills(
                    command, options.kills, options.seed))
    print(f"points: {tester.points}")
    return 1 if failed else 0


sys.exit(main())
