"""Instructions that a command takes, which callgrind counts alike on every machine."""
import re
import subprocess
import tempfile


def output(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-800:]}")
    return done


def counted(folder, *command):
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        said = output("valgrind", "--tool=callgrind", f"--callgrind-out-file={file.name}",
                      *command).stderr
    return int(re.search(r"Collected : (\d+)", said)[1])


def scored_trace(build, path):
    """Draws a trace with the scores of all experts, of 128 and top-8, for selects."""
    sets = ("model=qwen3-30b-a3b", "layers=12", "experts=128", "top_k=8", "requests=32",
            "prompt_tokens=0", "output_tokens=48", "output_spread=0", "autoregressive=yes",
            "scores=all")
    output(f"{build}/moesim", "trace", "gen", "-o", path,
           *(word for s in sets for word in ("--set", s)))


# Every select at the setting of its preset.
SELECTS = ("affinity-binning", "budget", "eras-bias", "eras-threshold", "lynx",
           "{name: naee, calibrate: 64}", "oea", "{name: top-k, k: 6}")

# Caches that weigh uses, layers and sequences, at the scope that they are meant for; and the
# most instructions per activation that one may take, of a replay of one row a pass.
CACHES = {"heat-protected-lru": "layer", "least-stale-ewma": "layer", "least-stale-layer": "global",
          "least-stale-queue": "global", "lfru": "layer", "lfru-heat": "layer",
          "moe-infinity": "layer"}
CACHE_MOST = 900

# Offloads of a replay of one row a pass: machine and policy. Those in SHARING load beside experts on
# the CPU, for which the engine has to be driven by events, as "events" is: LRU in all else.
OFFLOADS = {
    "host": ("h200", "{cache: {name: pin, slots: 16}, offload: host}"),
    "layers": ("h200", "{cache: {name: lru, slots: 16}, offload: {name: layers, count: 12}}"),
    "monde": ("a100-monde", "{cache: {slots: none}, offload: monde, "
                            "schedule: {name: overlapped, loads: each}}"),
    "monde best": ("a100-monde", "{cache: {slots: none}, offload: {name: monde, hot: best}}"),
    "fiddler": ("h200", "{cache: {name: pin, slots: 16}, offload: fiddler}"),
    "hybrid": ("h200", "{cache: {name: lru, slots: 16}, offload: hybrid}"),
    "hybrid fixed": ("h200", "{cache: {name: lru, slots: 16}, "
                             "offload: {name: hybrid, rule: fixed, fetch: 2}}"),
    "events": ("h200", "{cache: {name: lru, slots: 16}, offload: {name: hybrid, rule: fixed}}"),
}
SHARING = ("fiddler", "hybrid", "hybrid fixed")


def weighing(cache):
    """A policy with such a cache of half of GPT-OSS-20B's experts, in slots of a set."""
    slots = 24 * 16 if CACHES[cache] == "global" else 16
    return f"{{cache: {{name: {cache}, scope: {CACHES[cache]}, slots: {slots}}}}}"


def scored(select):
    """The replay of such a trace, 16 rows a pass."""
    chosen = f"select: {select}, " if select else ""
    return f"{{{chosen}cache: {{name: lru, slots: 64}}}}"
