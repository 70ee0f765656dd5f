"""`moesim capture` on tiny models of every architecture, against the rules of
capture_models.py; called by tests/slow/capture with an interpreter that has torch.

    capture_check.py MOESIM [NAME ...]
"""

import copy
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "traces/python"), str(ROOT / "tests/slow")]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # the models are tiny

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import capture_models  # noqa: E402
from capture_models import MODELS, NOT_RECORDED, Inputs  # noqa: E402
from moesim import models  # noqa: E402
from moesim.capture import architecture, command, routers, session  # noqa: E402
from moesim.capture.recorder import Recorder  # noqa: E402
from moesim.say import Failure, remarks  # noqa: E402

PROMPTS = [[5, 9, 23, 44, 71, 8, 90, 12, 33, 61, 5, 9], [17, 3, 88, 41],
           [64, 29, 29, 7, 52, 11, 95]]
NEW = 6
failed = 0


def report(name, problems):
    """One test; its problems, if it has any."""
    global failed
    for problem in problems[:8]:
        print(f"  {problem}")
    failed += bool(problems)
    print(("not ok " if problems else "ok ") + name, flush=True)


def capture(model, out, *options, prompts="prompts.jsonl", dtype="float64"):
    """Runs it here; what it would say."""
    remarks.clear()
    command.main("capture", ["--model", str(model), "--prompts", str(model.parent / prompts),
                             "-o", str(out), "--max-new-tokens", str(NEW), "--dtype", dtype,
                             *map(str, options)])
    return " ".join(remarks)


def load(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]})
                        if isinstance(item, h5py.Dataset) else None)
        found |= {f"@{key}": value for key, value in file.attrs.items()}
        if "routing/predicted" in found:
            found["@distance"] = file["routing/predicted"].attrs["distance"]
        return found


def differ(a, b, keys):
    return [f"{key} differs" for key in keys if not np.array_equal(a[key], b[key])]


ROUTING = ("routing/expert", "routing/score", "routing/predicted", "token/token_id",
           "token/position", "token/phase", "token/request", "request/rows",
           "request/prompt_tokens", "request/output_tokens", "request/group")


# ---- against the rules ----

def inputs_again(model, trace, request, side):
    """What enters the routers when the tokens of a request go through all at once."""
    rows = trace["token/request"] == request
    tokens = trace["token/token_id"][rows].astype(int)
    if not side:
        return rows, Inputs(model, lambda: model(input_ids=torch.tensor(tokens[None]))).found
    answer = {"encoder": [0], "decoder": tokens, "both": tokens[len(PROMPTS[request]):]}[side]
    return rows, Inputs(model, lambda: model(
        input_ids=torch.tensor([PROMPTS[request]]),
        decoder_input_ids=torch.tensor([list(answer)]))).found


def give_room(model):
    """Tokens of an answer come one by one, so that each expert has room: here they do not."""
    for name, router in capture_models.routers_of(model):
        if "decoder." in name and hasattr(router, "expert_capacity"):
            router.expert_capacity = 1000


def check_rules(name, model, path, distance, scores, side=""):
    """The trace against the rule of the architecture, row by row."""
    rule = MODELS[name][0]
    trace = load(path)
    found = capture_models.routers_of(model)
    found = [one for one in found if side in ("", "both") or f"{side}." in one[0]]
    problems = []
    if trace["routing/expert"].shape[1] != len(found):
        return [f"{trace['routing/expert'].shape[1]} layers, not {len(found)}"]
    if len({tuple(cell) for cell in trace["routing/expert"][:, 0]}) < (
            2 if side else 4):
        problems.append("hardly any row differs from another")
    for request in range(len(PROMPTS)):
        rows, given = inputs_again(model, trace, request, side)
        for layer, (where, router) in enumerate(found):
            p = capture_models.numbers(router)
            mine = trace["routing/expert"][rows, layer].astype(int)
            begins = len(PROMPTS[request]) if side == "both" else 0
            part = slice(None)
            if side == "both":
                part = slice(0, begins) if "encoder." in where else slice(begins, None)
            config = copy.copy(model.config)
            if "decoder." in where:  # one token a pass: room for all
                config.expert_capacity = 1000
            ids, weights, logits = rule(given[where], p, config)
            mine = mine[part]
            k = ids.shape[1]
            if not np.array_equal(mine[:, :k], ids):
                at = np.argwhere(mine[:, :k] != ids)[0]
                problems.append(f"request {request}, {where}, row {at[0]}: {mine[at[0], :k]}, "
                                f"by the rule {ids[at[0]]}")
                continue
            if scores != "none":
                score = trace["routing/score"][rows, layer][part].astype(float)
                problems += compare_scores(where, scores, mine, score, ids, weights, logits)
            if distance:
                problems += compare_predicted(trace, rows, part, layer, distance, found, given,
                                              rule, p, model.config, name)
    return problems


def compare_scores(where, scores, mine, score, ids, weights, logits):
    none = mine == NOT_RECORDED
    if scores == "executed":
        near = np.allclose(score, np.where(none, 0, weights), rtol=2e-3, atol=2e-3)
        return [] if near else [f"{where}: weights differ from the rule's"]
    wanted = np.where(none, 0, np.take_along_axis(logits, np.where(none, 0, mine), axis=1))
    if not np.allclose(score, wanted, rtol=2e-3, atol=2e-3):
        return [f"{where}: logits differ from the rule's"]
    k = ids.shape[1]
    rest = wanted[~none.any(axis=1), k:]
    full = (ids != NOT_RECORDED).all(axis=1)
    if (np.diff(rest, axis=1) > 1e-6).any():
        return [f"{where}: the experts that were not executed do not descend"]
    if not np.array_equal(np.sort(mine[full], axis=1),
                          np.broadcast_to(np.arange(logits.shape[1]), mine[full].shape)):
        return [f"{where}: not every expert is a candidate"]
    return [] if (mine[~full, k:] == NOT_RECORDED).all() else [f"{where}: ids after a gap"]


def compare_predicted(trace, rows, part, layer, distance, found, given, rule, p, config, name):
    """The rule of this layer on what entered the router `distance` layers before."""
    mine = trace["routing/predicted"][rows, layer][part].astype(int)
    where = found[layer][0]
    kind = "encoder." if "encoder." in where else "decoder." if "decoder." in where else ""
    if layer < distance or kind not in found[layer - distance][0]:
        return [] if (mine == NOT_RECORDED).all() else [f"{where}: predicted from nowhere"]
    ids, _, logits = rule(given[found[layer - distance][0]], p, config)
    if name == "switch":  # the choice, whether or not there is room
        ids = logits.argmax(axis=1)[:, None]
    return [] if np.array_equal(mine, ids) else [f"{where}: predictions differ from the rule's"]


# ---- one architecture ----

def check_outputs(model_folder, name):
    """Hooks on or off, the outputs are the same bits."""
    options = command.parse(
        "capture", ["--model", str(model_folder), "--prompts", "x", "-o", "x", "--dtype",
                    "float32"])
    model, _ = session.load_model(options)
    family, found, experts, top_k = routers.find(model)
    ids = torch.tensor([PROMPTS[0]])
    more = {"decoder_input_ids": ids[:, :5]} if model.config.is_encoder_decoder else {}

    def outputs():
        with torch.inference_mode():
            return model(input_ids=ids, output_hidden_states=not more, **more)

    def same(a, b):
        states = zip(a.hidden_states or (), b.hidden_states or ()) if not more else ()
        return torch.equal(a.logits, b.logits) and all(torch.equal(x, y) for x, y in states)

    def hooks():
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]

    bare, before = outputs(), hooks()  # the library puts hooks of its own there
    side = {"encoder": len(PROMPTS[0]), "decoder": 5}
    problems = []
    for kept in ([""] if not more else ["encoder", "decoder"]):
        part = [router for router in found if router.side == kept]
        recorder = Recorder(family, part, experts, top_k)
        with recorder:
            recorder.begin(np.ones(side.get(kept, ids.numel()), dtype=bool))
            hooked = outputs()
            if len(recorder.end().expert) != side.get(kept, ids.numel()):
                problems.append("rows are missing")
        if not same(bare, hooked):
            problems.append("outputs differ with hooks")
        if not same(bare, outputs()):
            problems.append("outputs differ after hooks were taken off")
        if recorder.handles or hooks() != before:
            problems.append("hooks are left")
    report(f"capture_{name}_outputs", problems)


def moesim(program, *words, cwd=None):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True,
                          timeout=120, check=False, cwd=cwd)
    return [] if done.returncode == 0 else [f"moesim {words[0]}: {done.stderr[:400]}"], done.stdout


def check_study(program, name, model, folder, trace):
    """`trace info` and `run` take what was written; the model's file has the weights' sizes."""
    problems, said = moesim(program, "trace", "info", trace)
    problems += [] if "tiny-model" in said else ["trace info does not name the model"]
    (folder / "study.yaml").write_text(
        f"trace: {trace.name}\nmodel: ./tiny-model.yaml\nmachine: rtx4090-pcie4\n"
        "workload: {batch: 2}\npolicies:\n  - {preset: lru-on-demand, cache: {slots: 3}}\n")
    problems += moesim(program, "run", "study.yaml", "--out", "out", cwd=folder)[0]
    one = models.read(str(folder / "tiny-model.yaml"))
    block = model.get_submodule(capture_models.routers_of(model)[0][0].rpartition(".")[0])
    counted = sum(w.numel() for key, w in block.experts.named_parameters() if "bias" not in key)
    if one.weights * one.experts != counted:
        problems.append(f"{one.weights} weights an expert, the model has {counted} in all")
    report(f"capture_{name}_study", problems)


def check_model(program, name, folder):
    folder = folder / name
    folder.mkdir()
    here = folder / "model"
    model = capture_models.make(name, here)
    give_room(model)
    groups = ("a", "b", "a")
    (folder / "prompts.jsonl").write_text("".join(
        json.dumps({"token_ids": ids, "group": group}) + "\n"
        for ids, group in zip(PROMPTS, groups)))
    both = model.config.is_encoder_decoder
    sides = ("decoder", "encoder", "both") if both else ("",)
    for side in sides:
        label = f"{name}_{side}" if side else name
        flags = ["--side", side] if side else []
        first = folder / f"first{side}.h5"
        said = capture(here, first, *flags, "--write-model", folder / "tiny-model.yaml")
        report(f"capture_{label}_rule", check_rules(name, model, first, 1, "all", side))
        if name == "switch" and side == "encoder":
            dropped = (load(first)["routing/expert"][:, :, 0] == NOT_RECORDED).sum()
            report("capture_switch_drops", [] if dropped > 0 and "no room" in said else
                   ["no cell without room"])
        if name == "nllb":
            report(f"capture_{label}_says", [] if "did not choose" in said else
                   ["nothing is said of experts that ran unasked"])
        capture(here, folder / "again.h5", *flags, "--write-model", folder / "tiny-model.yaml")
        report(f"capture_{label}_twice", [] if first.read_bytes() ==
               (folder / "again.h5").read_bytes() else ["two captures differ"])
        check_study(program, label, model, folder, first)
        check_batches(label, model, here, folder, flags, first)
        capture(here, folder / "executed.h5", *flags, "--scores", "executed", "--predict", 2)
        deep = load(folder / "executed.h5").get("@distance", 0)
        report(f"capture_{label}_executed",
               check_rules(name, model, folder / "executed.h5", int(deep), "executed", side))
    check_outputs(here, name)


def check_batches(label, model, here, folder, flags, first):
    """Three prompts at once give the rows of three by themselves, drawn tokens too."""
    one, keys = load(first), [key for key in ROUTING if key != "routing/score"]
    capture(here, folder / "three.h5", *flags, "--batch", 3)
    three = load(folder / "three.h5")
    problems = differ(one, three, keys)
    # Some routers are computed in float32, whose last digits other shapes change.
    if not np.allclose(one["routing/score"].astype(float), three["routing/score"].astype(float),
                       rtol=2e-3, atol=1e-4):
        problems.append("scores differ")
    problems += check_passes(one, 1) + check_passes(three, 3)
    if not model.config.is_encoder_decoder:
        drawn = ["--sample", "--temperature", 1.5, "--top-p", 0.9, "--seed", 7]
        capture(here, folder / "drawn.h5", *flags, *drawn)
        capture(here, folder / "drawn3.h5", *flags, *drawn, "--batch", 3)
        a, b = load(folder / "drawn.h5"), load(folder / "drawn3.h5")
        problems += differ(a, b, keys)
        if np.array_equal(a["token/token_id"], one["token/token_id"]):
            problems.append("drawn tokens are the likeliest ones")
    report(f"capture_{label}_batch", problems)


def check_passes(trace, batch):
    """Every row is in one pass; a pass has rows of at most a batch of requests."""
    rows, first = trace["pass/row"], trace["pass/first"]
    problems = [] if np.array_equal(np.sort(rows), np.arange(len(trace["token/phase"]))) else \
        ["not every row is in one pass"]
    for a, b in zip(first, first[1:]):
        part = rows[a:b]
        if b <= a or len(set(trace["token/request"][part])) > batch or \
                len(set(trace["token/phase"][part])) != 1:
            problems.append(f"pass {part}")
    return problems


# ---- the command itself ----

def check_published():
    """Configurations of published models give what models/arch says of them, and its name."""
    problems = []
    for name, (kind, keys, (moe, *sizes), side) in capture_models.PUBLISHED.items():
        config, shape = kind(**keys), (list(moe), *sizes)
        text = architecture.describe(config, routers.FAMILIES[config.model_type], shape, side,
                                     "x", "y", torch.bfloat16, problems.append)
        made, shipped = (dict(re.findall(r"^(\w+): (\S+)$", one, re.M)) for one in (
            text, (ROOT / f"models/arch/{name}.yaml").read_text()))
        shipped.setdefault("kv_heads", shipped["heads"])
        made.setdefault("kv_heads", made["heads"])
        problems += [f"{name}: {key} is {made.get(key)}, not {shipped.get(key)}"
                     for key in (made.keys() | shipped.keys()) - {
                         "name", "source", "from_memory", "expert_bits", "dense_bits",
                         "activation_bits"} if made.get(key) != shipped.get(key)]
        known = architecture.known(text, "y")
        problems += [] if known and known.name == name else [f"{name} is not known"]
    report("capture_published", problems)


def make_tokenizer(folder):
    """Words of the alphabet's letters: enough for prompts as text."""
    from tokenizers import Tokenizer, models as kinds, pre_tokenizers
    words = {word: i for i, word in enumerate(
        ["<pad>", "<s>", "</s>", "<unk>"] + [a + b for a in "abcdefgh" for b in "klmnopqrst"])}
    made = Tokenizer(kinds.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>")
    fast.chat_template = ("{% for m in messages %}<s> {{ m['content'] }} {% endfor %}"
                          "{% if add_generation_prompt %}ak{% endif %}")
    fast.save_pretrained(folder)
    return words


def run(*words, **more):
    return subprocess.run(
        [sys.executable, str(ROOT / "traces/python"), "capture", *map(str, words)],
        capture_output=True, text=True, timeout=300, check=False, **more)


def check_text(folder):
    """Prompts as text and as messages, in a process of its own."""
    here = folder / "olmoe/model"
    words = make_tokenizer(here)
    (folder / "olmoe/prompts.txt").write_text("ak bl cm\n\ndn eo nothing fp\n")
    (folder / "olmoe/chat.jsonl").write_text(json.dumps(
        {"messages": [{"role": "user", "content": "ak bl cm"}], "max_new_tokens": 0}) + "\n")
    out = folder / "text.h5"
    done = run("--model", here, "--prompts", folder / "olmoe/prompts.txt", "-o", out,
               "--max-new-tokens", 2, "--predict", 0, "--scores", "none")
    problems = [] if done.returncode == 0 else [done.stderr]
    if not problems:
        trace = load(out)
        wanted = [words[w] for w in ("ak", "bl", "cm")]
        got = trace["token/token_id"]
        problems += [] if list(got[:3]) == wanted and got[6] == words["<unk>"] else [str(got)]
        problems += [] if "routing/predicted" not in trace and "routing/score" not in trace and \
            trace["routing/expert"].shape[2] == 3 and "olmoe" not in str(trace["@model"]) else \
            ["more is recorded than was asked for"]
    capture(here, folder / "chat.h5", prompts="chat.jsonl")
    chat = load(folder / "chat.h5")
    wanted = [words[w] for w in ("<s>", "ak", "bl", "cm", "ak")]
    problems += [] if list(chat["token/token_id"]) == wanted and \
        list(chat["request/output_tokens"]) == [0] else [str(chat["token/token_id"])]
    report("capture_text", problems)
    # In another process, with another order of sets.
    first, words = folder / "olmoe/first.h5", ["--write-model", folder / "tiny-model.yaml"]
    done = run("--model", here, "--prompts", folder / "olmoe/prompts.jsonl", "-o",
               folder / "other.h5", "--max-new-tokens", NEW, "--dtype", "float64", *words,
               env={**os.environ, "PYTHONHASHSEED": "77"})
    report("capture_other_process", [] if done.returncode == 0 and first.read_bytes() ==
           (folder / "other.h5").read_bytes() else [done.stderr or "it writes another file"])


def check_refusals(folder):
    """Sentences, and no file."""
    here = folder / "olmoe/model"
    problems = []
    lines = {'{"token_ids": [5, 97]}': "not below 97", '{"token_ids": []}': "not empty",
             '{"token_ids": [5], "prompt": "a"}': "give one of",
             '{"prompt": "a", "grup": "b"}': "says nothing here", "[1]": "is no object",
             '{"token_ids": [5]': "is no JSON", json.dumps({"token_ids": [5] * 125}): "more than"}
    for line, words in lines.items():
        (folder / "olmoe/bad.jsonl").write_text('{"token_ids": [5, 6]}\n' + line + "\n")
        try:
            capture(here, folder / "bad.h5", prompts="bad.jsonl")
            problems.append(f"{line} is taken")
        except Failure as failure:
            if words not in str(failure) or "bad.jsonl:2" not in str(failure):
                problems.append(str(failure))
    left = [p.name for p in folder.iterdir() if "bad" in p.name]
    report("capture_refuses", problems + left)


def check_unknown(folder):
    """Of an architecture without a line in the table: taken if its routers are as usual, else
    refused by name; a dense model has none."""
    t = transformers
    problems = []
    torch.manual_seed(5)
    base = {**capture_models.BASE, "num_key_value_heads": 4}
    dots = t.Dots1Config(**base, n_routed_experts=8, num_experts_per_tok=2,
                         moe_intermediate_size=16, first_k_dense_replace=1, n_group=1,
                         topk_group=1, n_shared_experts=1)
    (folder / "odd").mkdir()
    (folder / "odd/prompts.jsonl").write_text('{"token_ids": [5, 6, 7]}\n')
    t.AutoModelForCausalLM.from_config(dots).save_pretrained(folder / "odd/dots")
    said = capture(folder / "odd/dots", folder / "odd/dots.h5", dtype="float32")
    if "dots1 has no line" not in said:
        problems.append(said)
    try:
        capture(folder / "odd/dots", folder / "odd/x.h5", "--scores", "executed", dtype="float32")
        problems.append("weights of an unknown kind are taken")
    except Failure as failure:
        problems += [] if "not known" in str(failure) else [str(failure)]
    t.AutoModelForCausalLM.from_config(t.LlamaConfig(**base)).save_pretrained(folder / "odd/llama")
    try:
        capture(folder / "odd/llama", folder / "odd/llama.h5", dtype="float32")
        problems.append("a dense model is taken")
    except Failure as failure:
        problems += [] if "'llama' has no line" in str(failure) else [str(failure)]
    report("capture_unknown", problems)


def check_interrupted(folder):
    """Ctrl-C leaves nothing."""
    here = folder / "olmoe/model"
    (folder / "cut").mkdir()
    (folder / "olmoe/many.jsonl").write_text('{"token_ids": [5, 6, 7]}\n' * 20000)
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "traces/python"), "capture", "--model", str(here),
         "--prompts", str(folder / "olmoe/many.jsonl"), "-o", str(folder / "cut/x.h5")],
        stderr=subprocess.DEVNULL)
    for _ in range(600):
        if list((folder / "cut").iterdir()):
            break
        time.sleep(0.1)
    time.sleep(0.5)
    began = list((folder / "cut").iterdir())
    started.send_signal(signal.SIGINT)
    status = started.wait(timeout=60)
    left = list((folder / "cut").iterdir())
    report("capture_interrupted", [] if began and status == 130 and not left else
           [f"status {status}, {began} before, {left} after"])


def main():
    program, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or list(MODELS)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for one in names:
            try:
                check_model(program, one, folder)
            except Exception:  # the other models are tried all the same
                report(f"capture_{one}", traceback.format_exc().splitlines()[-8:])
        check_published()
        if "olmoe" in names:
            for check in (check_text, check_refusals, check_unknown, check_interrupted):
                check(folder)
    return 1 if failed else 0


sys.exit(main())
