"""Optuna's samplers (pip install optuna, or python3-optuna) on a study of moesim, by ask and tell:

    python3 traces/samples/optuna_tune.py STUDY.yaml POLICY [TRIALS]

Each trial is one `moesim run --params-json`; moesim is taken from PATH.
"""
import json
import subprocess
import sys

import optuna


def ask(trial):
    """The point: keys as `sweep:` of a study has them."""
    return {
        "cache.name": trial.suggest_categorical("cache.name", ["lru", "s3fifo", "sieve"]),
        "cache.slots": trial.suggest_int("cache.slots", 2, 8),
    }


def tell(path, policy, point):
    """The objective of a point, or None where it cannot run."""
    done = subprocess.run(["moesim", "run", path, "--policy", policy, "--params-json", "-",
                           "--objective", "tpot_p99"], input=json.dumps(point),
                          stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout).get("objective")


def main():
    path, policy = sys.argv[1:3]
    study = optuna.create_study(direction="minimize",
                                sampler=optuna.samplers.TPESampler(seed=1))
    for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 30):
        trial = study.ask()
        value = tell(path, policy, ask(trial))
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, value)
    print(f"best: {study.best_value:.6f} s at {study.best_params}")


main()
