"""From a model and prompts to a trace: what `capture` does once its libraries are there."""

import contextlib
import os
from typing import NamedTuple

import numpy as np
import torch
import transformers

from moesim import temporaries
from moesim.capture import architecture, prompts, routers
from moesim.capture.generate import Request, Runner, Sampling
from moesim.capture.recorder import Recorder
from moesim.say import Failure, Misuse, note
from moesim.trace_writer import TraceWriter, writing


class Done(NamedTuple):
    requests: int
    rows: int
    model: str


def first_line(failure):
    lines = str(failure).strip().splitlines()
    return lines[0][:300] if lines else type(failure).__name__


def load_model(o):
    """The model, ready to be asked, and the dtype that it is stored as. Code that comes with a
    checkpoint is never run."""
    try:
        device = torch.device(o.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as failure:
        raise Failure(f"--device {o.device}: cannot be used here: {first_line(failure)}; "
                      "--device cpu always can") from None
    try:
        config = transformers.AutoConfig.from_pretrained(o.model)
        kind = (transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else
                transformers.AutoModelForCausalLM)
        dtype = config.dtype if o.dtype == "auto" else getattr(torch, o.dtype)
        # The kernels that take all experts at once know no float64.
        more = {"experts_implementation": "eager"} if dtype == torch.float64 else {}
        model = kind.from_pretrained(
            o.model, dtype="auto" if o.dtype == "auto" else dtype, **more)
        return model.eval().requires_grad_(False).to(device), config.dtype or model.dtype
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as failure:
        raise Failure(f"{o.model}: cannot be loaded as a model: {first_line(failure)}") from None


def choose_side(o, model):
    """"" for a decoder-only model."""
    if not model.config.is_encoder_decoder:
        if o.side is not None:
            raise Misuse(f"--side is for encoder-decoder models, which {o.model} is not; leave it "
                         "out")
        return ""
    return o.side or "decoder"


def layer_numbers(found, side, config):
    """Decoder layer numbers, as in models/arch: of both sides the encoder's come first."""
    before = architecture.layer_counts(config, side)[1]
    return [router.layer + (before if router.side == "decoder" else 0) for router in found]


def capture_text(o, side, recorder, family):
    """Engine, versions and flags."""
    parts = [f"moesim capture with transformers {transformers.__version__}, torch "
             f"{torch.__version__}", f"device {torch.device(o.device).type}", f"dtype {o.dtype}",
             f"batch {o.batch}", f"at most {o.max_new_tokens} new tokens",
             f"sampled (temperature {o.temperature:g}, top-p {o.top_p:g}, seed {o.seed})"
             if o.sample else "greedy"]
    if o.scores == "all":
        parts.append("candidates: those executed, then the others by router logit; scores are "
                     "raw router logits")
    elif o.scores == "executed":
        parts.append("scores are the weights of the executed experts before a factor common to "
                     "all")
    if not family.ordered:
        parts.append("executed ids by descending weight")
    if recorder.distance:
        parts.append(f"predicted: the router of layer l on the hidden state that enters the "
                     f"router {recorder.distance} MoE layers before")
    if side == "decoder":
        parts.append("decoder layers of an encoder-decoder model: the rows are the decoder's "
                     "tokens, the encoder's are not recorded")
    elif side == "encoder":
        parts.append("encoder layers of an encoder-decoder model: the rows are the encoder's "
                     "tokens, nothing was generated")
    elif side == "both":
        parts.append("encoder-decoder model: rows of the prompt went through encoder layers, rows "
                     "of the answer through decoder layers")
    return "; ".join(parts)


class Session:
    """A capture from its first batch to its last."""

    def __init__(self, o, model, family, found, shape, side):
        self.o, self.model, self.side = o, model, side
        self.moe, self.experts, self.top_k = shape
        self.recorder = Recorder(family, found, self.experts, self.top_k, scores=o.scores,
                                 distance=o.predict)
        if o.predict and not self.recorder.distance:
            note(f"--predict {o.predict}: there are no two MoE layers so far apart; nothing is "
                 "predicted")
        self.runner = Runner(model, self.recorder,
                             Sampling(o.sample, o.temperature, o.top_p, o.seed), side)
        self.prompt_tokens, self.output_tokens = [], []
        self.rows_of, self.group = [], []
        self.rows = 0
        self.family = family

    def writer(self, name, groups):
        o, fields = self.o, ["token_id"]
        fields += ["predicted"] if self.recorder.distance else []
        kind = {"all": "logit", "executed": self.family.kind, "none": "none"}[o.scores]
        return TraceWriter(
            o.out, model=name, experts=self.experts, top_k=self.top_k,
            candidates=self.recorder.candidates, moe_layer=self.moe, score_kind=kind,
            source=o.source or f"{o.model} on {os.path.basename(o.prompts)}",
            capture=capture_text(o, self.side, self.recorder, self.family),
            places=[router.name for router in self.recorder.routers], group_names=groups,
            fields=fields, predictions=self.top_k, distance=max(1, self.recorder.distance))

    def run(self, writer, all_prompts, encode, groups, progress):
        with self.recorder:
            for at in range(0, len(all_prompts), self.o.batch):
                batch = [Request(number, prompt, encode(prompt)) for number, prompt in
                         enumerate(all_prompts[at:at + self.o.batch], at)]
                try:
                    self.runner.run(batch)
                except torch.OutOfMemoryError as failure:
                    raise Failure(f"{batch[0].prompt.place}: {first_line(failure)}; take a "
                                  "smaller --batch, or shorter prompts") from None
                except (RuntimeError, ValueError, TypeError, AttributeError, IndexError,
                        NotImplementedError) as failure:
                    raise Failure(f"{batch[0].prompt.place}: the model fails on this batch: "
                                  f"{first_line(failure)}; another --dtype or --batch may "
                                  "help") from None
                self.put(writer, batch, groups)
                progress.show(len(self.rows_of), self.rows)

    def put(self, writer, batch, groups):
        """The rows of a batch, request by request, and its passes."""
        first = []
        for request in batch:
            first.append(self.rows)
            number = np.full(request.count, request.number)
            writer.rows(self.o.out, number, request.positions, request.phases,
                        request.column("expert"), request.column("score"),
                        token_id=request.tokens, predicted=request.column("predicted"))
            self.rows += request.count
            self.rows_of.append(request.count)
            self.prompt_tokens.append(self.tokens_before(request))
            self.output_tokens.append(len(request.answer))
            self.group.append(groups.index(request.prompt.group))
        writer.add_passes([np.concatenate([np.arange(first[place] + row, first[place] + row + count)
                                           for place, row, count in entry])
                           for entry in self.runner.passes])

    def tokens_before(self, request):
        """Of the prompt, as the recorded layers see it."""
        return {"": len(request.ids), "encoder": len(request.ids), "decoder": len(request.begin),
                "both": len(request.ids)}[self.side]

    def remarks(self):
        if self.recorder.partial:
            note(f"in {self.recorder.partial} cells an expert had no room for the token; those "
                 "list what was executed and nothing after it")
        if self.recorder.strange:
            name = self.recorder.routers[min(self.recorder.strange)].name
            note(f"{len(self.recorder.strange)} layers, {name} first, ran experts that their "
                 f"routers did not choose: transformers {transformers.__version__} computes this "
                 "model otherwise than it routes; the trace has what the routers chose")


@contextlib.contextmanager
def beside(path, text):
    """A small file that gets its name when all inside has succeeded."""
    if path is None:
        yield
        return
    with writing(path):
        temporary = temporaries.begin(path)
    try:
        with writing(path):
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(text)
            temporaries.sync(temporary)  # what fails is said before the trace is finished
        yield
        with writing(path):
            temporaries.finish(temporary, path)
    finally:
        temporaries.forget(temporary)


def name_of(o, text):
    """The name in the trace, with a note where no file of models/arch has it."""
    if o.model_name:
        return o.model_name
    if o.write_model:
        return os.path.basename(o.write_model).removesuffix(".yaml")
    model = architecture.known(text, o.model) if text else None
    if model is not None:
        return model.name
    name = architecture.plain_name(o.model)
    note(f"no file of models/arch has the shape of {o.model}; the trace calls it {name}, and a "
         "study of it needs `model: FILE.yaml`, which --write-model makes")
    return name


def describe(o, config, family, shape, side, stored):
    """The model's file for models/arch; None where there can be none and nobody asked for it."""
    stem = os.path.basename(o.write_model or "x.yaml").removesuffix(".yaml")
    try:
        return architecture.describe(config, family, shape, side, stem, o.model, stored,
                                     note if o.write_model else lambda _: None)
    except Failure:
        if o.write_model:
            raise
    except (AttributeError, TypeError) as failure:
        if o.write_model:
            raise Failure(f"{o.model}: its configuration lacks what a file of models/arch needs "
                          f"({failure}); leave out --write-model") from None
    return None


def capture(o, make_progress):
    all_prompts = prompts.read(o.prompts, o.max_new_tokens)
    model, stored = load_model(o)
    config = (model.config if model.config.is_encoder_decoder else
              model.config.get_text_config(decoder=True))
    side = choose_side(o, model)
    family, found, experts, top_k = routers.find(model)
    if family.kind is None and o.scores == "executed":
        raise Failure(f"{o.model}: what the weights of a {config.model_type} model are is not "
                      "known; take --scores all, or --scores none")
    if side in ("encoder", "decoder"):
        found = [router for router in found if router.side == side]
    if not found:
        raise Failure(f"{o.model}: has no MoE layer on the side of the {side}; --side names the "
                      "other one")
    shape = (layer_numbers(found, side, config), experts, top_k)
    text = describe(o, config, family, shape, side, stored)
    encode = prompts.Encoder(o.model, config.vocab_size,
                             getattr(config, "max_position_embeddings", None))
    for prompt in all_prompts:  # what is wrong is said before hours have passed
        encode(prompt)
    groups = list(dict.fromkeys(prompt.group for prompt in all_prompts))
    session = Session(o, model, family, found, shape, side)
    name = name_of(o, text)
    with beside(o.write_model, text):
        with session.writer(name, groups) as writer:
            session.run(writer, all_prompts, encode, groups, make_progress(len(all_prompts)))
            writer.commit(prompt_tokens=session.prompt_tokens,
                          output_tokens=session.output_tokens, rows=session.rows_of,
                          group=session.group)
    session.remarks()
    return Done(len(session.rows_of), session.rows, name)
