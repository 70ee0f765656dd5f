#!/usr/bin/env python3
"""Hit counts of libCacheSim on an oracleGeneral trace, and whether moesim's are equal.

usage: compare.py TRACE OBJECTS [--bench BENCH_CACHE] [--pairs N] [--policies a,b,...]
                  [--hashpower H]

Prints JSON: per policy libCacheSim's hits and seconds. With --bench (the path of the
bench_cache program) the same stream also goes through moesim's cache, in turns with
libCacheSim, N pairs of runs; then there are also moesim's hits, the median seconds of
both, the median of the pairwise ratios (libCacheSim / moesim, above 1: moesim is faster),
and the exit status is 1 if any count differs. The trace: records of 24 bytes, u32 time,
u64 object, u32 size, i64 next access (-1: never). Sizes are ignored. OBJECTS must be 20
or more: libCacheSim's S3-FIFO keeps nothing when its small queue has a single slot.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import libcachesim

# moesim's policy, libCacheSim's class.
POLICIES = {
    "lru": "LRU",
    "fifo": "FIFO",
    "lfu-evict": "LFU",
    "clock": "Clock",
    "sieve": "Sieve",
    "s3fifo": "S3FIFO",
    "arc": "ARC",
    "slru:segments=4": "SLRU",
    "belady": "Belady",
}
RECORD = 24


def run_libcachesim(trace, policy, objects, hashpower, accesses):
    reader = libcachesim.TraceReader(
        trace,
        libcachesim.TraceType.ORACLE_GENERAL_TRACE,
        libcachesim.ReaderInitParam(ignore_obj_size=True),
    )
    cache = getattr(libcachesim, POLICIES[policy])(cache_size=objects, hashpower=hashpower)
    start = time.perf_counter()
    miss_ratio, _ = cache.process_trace(reader)
    seconds = time.perf_counter() - start
    return round((1.0 - miss_ratio) * accesses), seconds


def run_moesim(bench, trace, policy, objects):
    line = subprocess.run(
        [bench, trace, policy, str(objects)], check=True, capture_output=True, text=True
    ).stdout.split(",")
    return int(line[3]), float(line[4])


def compare(args, policy, accesses):
    hits, mine, times, ratios = None, None, {"libcachesim": [], "moesim": []}, []
    for _ in range(args.pairs):
        hits, seconds = run_libcachesim(
            args.trace, policy, args.objects, args.hashpower, accesses
        )
        times["libcachesim"].append(seconds)
        if args.bench:
            mine, own = run_moesim(args.bench, args.trace, policy, args.objects)
            times["moesim"].append(own)
            ratios.append(seconds / own)
    row = {"hits": hits, "seconds": round(statistics.median(times["libcachesim"]), 4)}
    if args.bench:
        row["moesim_hits"] = mine
        row["moesim_seconds"] = round(statistics.median(times["moesim"]), 4)
        row["ratio"] = round(statistics.median(ratios), 2)
        row["equal"] = mine == hits
    return row


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trace")
    parser.add_argument("objects", type=int)
    parser.add_argument("--bench")
    parser.add_argument("--pairs", type=int, default=1)
    # A hash table of 2^16 buckets stays in the processor's caches; libCacheSim's default
    # of 2^24 would count against it.
    parser.add_argument("--hashpower", type=int, default=16)
    parser.add_argument("--policies", default=",".join(POLICIES))
    args = parser.parse_args()
    policies = args.policies.split(",")
    unknown = [p for p in policies if p not in POLICIES]
    if args.objects < 20 or args.pairs < 1 or unknown:
        parser.error(
            f"unknown policies {unknown}" if unknown else "20 objects, 1 pair at least"
        )
    size = os.path.getsize(args.trace)
    if size == 0 or size % RECORD:
        parser.error(f"{args.trace} is not a whole number of {RECORD}-byte records")
    result = {
        "trace": args.trace,
        "accesses": size // RECORD,
        "objects": args.objects,
        "policies": {p: compare(args, p, size // RECORD) for p in policies},
    }
    json.dump(result, sys.stdout, indent=2)
    print()
    return 0 if all(r.get("equal", True) for r in result["policies"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
