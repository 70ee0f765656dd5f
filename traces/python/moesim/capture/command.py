"""The options of `capture`, and its steps from a model and prompts to a trace."""

import os
import re
import sys
import time

from moesim.files import check_apart
from moesim.flags import Command, Flag
from moesim.say import Absent, Failure, Misuse, note

TEXT_MAX = 4096
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
EXTRA = ("the extra `capture` (pip install torch transformers numpy h5py) brings them; PYTHON "
         "names another interpreter")


def command(called):
    return Command(
        called, "--model NAME_OR_PATH --prompts FILE --out TRACE",
        "Runs a model of the transformers library on prompts and writes down what its routers\n"
        "choose: executed experts, all router logits, tokens, passes, and what the routers of\n"
        "later layers would choose already. The model's outputs stay as they are.",
        "--model allenai/OLMoE-1B-7B-0924 --prompts prompts.txt -o olmoe.h5", (
            Flag("model", "NAME", "what from_pretrained takes: a name, or a folder",
                 required=True),
            Flag("prompts", "FILE", "a prompt a line; FILE.jsonl: an object a line",
                 required=True),
            Flag("out", "TRACE", "the new trace", letter="o", required=True),
            Flag("batch", "N", "prompts at a time (1)", kind=int),
            Flag("max-new-tokens", "N", "tokens to generate a prompt (32); 0: prefill alone",
                 kind=int),
            Flag("sample", None, "draw tokens; by default the likeliest"),
            Flag("temperature", "X", "with --sample (1)", kind=float),
            Flag("top-p", "P", "with --sample (1)", kind=float),
            Flag("seed", "N", "with --sample (0)", kind=int),
            Flag("scores", "KIND", "all (default): logits; executed: weights; none"),
            Flag("predict", "D", "ask the router D layers on, too (1); 0: do not", kind=int),
            Flag("side", "SIDE", "of an encoder-decoder model: decoder (default), encoder, both"),
            Flag("device", "NAME", "cpu (default), cuda, cuda:1"),
            Flag("dtype", "TYPE", "auto (default, as stored), " + ", ".join(DTYPES[1:])),
            Flag("model-name", "NAME", "in the trace; by default that of models/arch"),
            Flag("write-model", "FILE", "also a file NAME.yaml for `model:` in a study"),
            Flag("source", "TEXT", "where it was recorded (default: model and prompts)")),
        files=None)


DEFAULTS = {"batch": 1, "max_new_tokens": 32, "scores": "all", "predict": 1, "device": "cpu",
            "dtype": "auto"}
CHOICES = {"scores": ("all", "executed", "none"), "side": ("decoder", "encoder", "both"),
           "dtype": DTYPES}


def parse(called, arguments):
    """The options, checked; None where help was asked for."""
    options = command(called).parse(arguments)
    if options is None:
        return None
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    check(options)
    return options


def check(o):
    for name, known in CHOICES.items():
        if getattr(o, name) not in (None, *known):
            raise Misuse(f"--{name} is {' or '.join(known)}, as in --{name} {known[0]}")
    for name, least, most in (("batch", 1, 1 << 16), ("max_new_tokens", 0, 1 << 20),
                              ("predict", 0, 1024), ("seed", 0, (1 << 63) - 1)):
        value = getattr(o, name)
        if value is not None and not least <= value <= most:
            raise Misuse(f"--{name.replace('_', '-')} must be from {least} to {most}")
    for name in ("temperature", "top_p", "seed"):
        if getattr(o, name) is not None and not o.sample:
            raise Misuse(f"--{name.replace('_', '-')} is for --sample; give both or neither")
    o.temperature = 1.0 if o.temperature is None else o.temperature
    o.top_p = 1.0 if o.top_p is None else o.top_p
    o.seed = 0 if o.seed is None else o.seed
    if not 1e-6 <= o.temperature <= 1e6:
        raise Misuse("--temperature must be from 0.000001 to 1000000; without --sample the "
                     "likeliest token is taken")
    if not 0 < o.top_p <= 1:
        raise Misuse("--top-p must be above 0 and at most 1")
    for name in ("model", "model_name", "source"):
        text = getattr(o, name)
        if text is not None and not 0 < len(os.fsencode(text)) <= TEXT_MAX:
            raise Misuse(f"--{name.replace('_', '-')} must have from 1 to {TEXT_MAX} bytes")
    if o.write_model is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*\.yaml",
                                                      os.path.basename(o.write_model), re.ASCII):
        raise Misuse("--write-model takes the name of a file NAME.yaml; NAME is of letters, "
                     "digits, '-', '_' and '.'")


def check_written(o):
    """What is written must not take the place of what is read, or of each other."""
    check_apart(o.out, [o.prompts])
    if o.write_model:
        check_apart(o.write_model, [o.prompts])
    if o.write_model and os.path.exists(o.write_model) and not os.path.isfile(o.write_model):
        raise Failure(f"{o.write_model}: is no plain file; give the model's file another name")
    if o.write_model and os.path.abspath(o.out) == os.path.abspath(o.write_model):
        raise Failure(f"{o.out}: is to be the trace and the model's file; name another one")


def load_libraries(called):
    # Before CUDA begins: its products are else not the same each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        import torch
        import transformers
    except ImportError as failure:
        raise Absent(f"{called} needs torch and transformers ({failure}); {EXTRA}") from None
    try:
        import h5py  # noqa: F401
        import numpy  # noqa: F401
    except ImportError as failure:
        raise Absent(f"{called} needs numpy and h5py ({failure}); {EXTRA}") from None
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = False


class Progress:
    """A line on a terminal, written over; elsewhere one every half minute."""

    def __init__(self, total):
        self.total, self.begun, self.said = total, time.monotonic(), time.monotonic()
        self.terminal = sys.stderr.isatty()

    def show(self, done, rows):
        now = time.monotonic()
        if now - self.said < (0.5 if self.terminal else 30) and done < self.total:
            return
        rate = rows / max(1e-9, now - self.begun)
        line = f"moesim: {done} of {self.total} prompts, {rows} rows, {rate:.0f} rows/s"
        if self.terminal:
            print(f"\r{line}\x1b[K", end="" if done < self.total else "\n", file=sys.stderr,
                  flush=True)
        elif now - self.said >= 30:
            print(line, file=sys.stderr, flush=True)
        self.said = now


def main(called, arguments):
    options = parse(called, arguments)
    if options is None:
        return
    check_written(options)
    if not os.path.isfile(options.prompts):
        raise Failure(f"{options.prompts}: is no file; --prompts names one with a prompt a line")
    load_libraries(called)
    from moesim.capture import session
    done = session.capture(options, Progress)
    note(f"{options.out}: {done.requests} requests, {done.rows} rows of {done.model}")
