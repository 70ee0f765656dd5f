"""The options of `capture`, and its steps from a model and prompts to a trace."""

import argparse
import os
import re
import sys
import time

from moesim.say import Absent, Failure, Misuse, note

TEXT_MAX = 4096
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
EXTRA = "pip install 'moesim[capture]' brings them, or give PYTHON an interpreter that has them"


class Parser(argparse.ArgumentParser):
    """Says what is wrong as the program does."""

    def error(self, message):
        raise Misuse(f"{message}; {self.prog} --help shows how it is called")


def parser(called):
    p = Parser(prog=called, allow_abbrev=False,
               formatter_class=argparse.RawDescriptionHelpFormatter,
               usage=f"{called} --model NAME_OR_PATH --prompts FILE -o TRACE",
               description="Runs a model of the transformers library on prompts and writes down "
               "what its routers\nchoose: executed experts, all router logits, tokens, passes, "
               "and what the routers of later\nlayers would choose already. The outputs of the "
               "model stay as they are.",
               epilog=f"example:\n  {called} --model allenai/OLMoE-1B-7B-0924 --prompts "
               "prompts.txt --max-new-tokens 64 -o olmoe.h5")
    p.add_argument("--model", required=True, metavar="NAME_OR_PATH",
                   help="what from_pretrained takes: a name, or a folder")
    p.add_argument("--prompts", required=True, metavar="FILE",
                   help="one prompt a line; FILE.jsonl: {\"prompt\", \"messages\" or "
                   "\"token_ids\", \"group\", \"max_new_tokens\"} a line")
    p.add_argument("-o", "--out", "--output", required=True, metavar="TRACE", help="the new trace")
    p.add_argument("--batch", type=int, default=1, metavar="N", help="prompts at a time (1)")
    p.add_argument("--max-new-tokens", type=int, default=32, metavar="N",
                   help="tokens to generate a prompt, at most (32); 0: prefill alone")
    p.add_argument("--sample", action="store_true", help="draw tokens; else the likeliest")
    p.add_argument("--temperature", type=float, metavar="X", help="with --sample (1)")
    p.add_argument("--top-p", type=float, metavar="P", help="with --sample (1)")
    p.add_argument("--seed", type=int, metavar="N", help="with --sample (0)")
    p.add_argument("--scores", choices=("all", "executed", "none"), default="all",
                   help="router logits of all experts, the weights of those executed, or none "
                   "(all)")
    p.add_argument("--predict", type=int, default=1, metavar="D",
                   help="what the router D layers on would choose from the present hidden "
                   "state (1); 0: do not ask")
    p.add_argument("--side", choices=("decoder", "encoder", "both"),
                   help="which layers of an encoder-decoder model (decoder)")
    p.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1 (cpu)")
    p.add_argument("--dtype", choices=DTYPES, default="auto",
                   help="what the weights are loaded as (auto: as stored)")
    p.add_argument("--model-name", metavar="NAME",
                   help="the model's name in the trace; where omitted that of models/arch, if "
                   "one has this shape")
    p.add_argument("--write-model", metavar="FILE.yaml",
                   help="also write the file of models/arch that `model:` in a study takes")
    p.add_argument("--source", metavar="TEXT",
                   help="where it was recorded (default: the model, and the file of prompts)")
    return p


def check(o):
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


def check_apart(o):
    """What is written must not take the place of what is read, or of each other."""
    for written in (o.out, o.write_model):
        if written and os.path.exists(written) and os.path.exists(o.prompts) and \
                os.path.samefile(written, o.prompts):
            raise Failure(f"{written}: is what the prompts are read from; give what is written "
                          "another name")
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
    options = parser(called).parse_args(arguments)
    check(options)
    check_apart(options)
    if not os.path.isfile(options.prompts):
        raise Failure(f"{options.prompts}: is no file; --prompts names one with a prompt a line")
    load_libraries(called)
    from moesim.capture import session
    done = session.capture(options, Progress)
    note(f"{options.out}: {done.requests} requests, {done.rows} rows of {done.model}")
