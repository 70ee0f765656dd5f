"""Prompts through a model, a batch at a time: greedy or sampled, recorded pass by pass.

Tokens are drawn with a stream of their own for each prompt, so that neither the batch nor
what other prompts do changes them.
"""

import inspect
from typing import NamedTuple

import numpy as np
import torch

from moesim.say import Failure
from moesim.trace_writer import DECODE, PREFILL


class Request:
    """A prompt on its way: what it was given, what it answered, and its rows."""

    def __init__(self, number, prompt, ids):
        self.number, self.prompt, self.ids = number, prompt, ids
        self.answer = []
        self.begin = []  # what the decoder of an encoder-decoder model begins with
        self.tokens, self.positions, self.phases, self.rows = [], [], [], []
        self.count = 0
        self.ended = prompt.max_new_tokens == 0

    def add(self, tokens, positions, phase, rows):
        self.tokens += tokens
        self.positions += positions
        self.phases += [phase] * len(tokens)
        self.rows.append(rows)
        self.count += len(tokens)

    def column(self, name):
        """One part of its rows; None where it is not recorded."""
        parts = [getattr(rows, name) for rows in self.rows]
        return None if parts[0] is None else np.concatenate(parts)


class Sampling(NamedTuple):
    sample: bool
    temperature: float
    top_p: float
    seed: int

    def pick(self, logits, request):
        """The next token of a request: `logits` is float64 [vocabulary]."""
        if not np.isfinite(logits.max()):
            raise Failure(f"{request.prompt.place}: the model returns logits that are no numbers; "
                          "another --dtype may help")
        if not self.sample:
            return int(logits.argmax())
        order = np.argsort(-logits, kind="stable")
        share = np.exp((logits[order] - logits[order[0]]) / self.temperature)
        total = np.cumsum(share / share.sum())
        kept = int(np.searchsorted(total, self.top_p, side="left")) + 1
        total = total[:min(kept, len(total))]
        key = np.random.Philox(key=[self.seed, request.number],
                               counter=[len(request.answer), 0, 0, 0])
        draw = np.random.Generator(key).random() * total[-1]
        return int(order[min(int(np.searchsorted(total, draw, side="right")), len(total) - 1)])


def to_set(value):
    return set() if value is None else set(value) if isinstance(value, (list, tuple)) else {value}


def end_tokens(model):
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return to_set(model.config.get_text_config(decoder=True).eos_token_id if found is None
                  else found)


def padded(batch, fill, on_left):
    """(token ids, 1 where they are the prompt's), a prompt a line."""
    widest = max(len(request.ids) for request in batch)
    ids = np.full((len(batch), widest), fill, dtype=np.int64)
    mask = np.zeros_like(ids)
    for line, held, request in zip(ids, mask, batch):
        first = widest - len(request.ids) if on_left else 0
        line[first:first + len(request.ids)] = request.ids
        held[first:first + len(request.ids)] = 1
    return ids, mask


def of_prompts(batch):
    """What a pass over all prompts records."""
    return [(i, request.ids, list(range(len(request.ids))), PREFILL)
            for i, request in enumerate(batch)]


class Runner:
    """A model with a Recorder on it. `passes` holds, for each pass since it was emptied, pairs
    (place in the batch, row of the request) of what it recorded."""

    def __init__(self, model, recorder, sampling, side=""):
        self.model, self.recorder, self.sampling, self.side = model, recorder, sampling, side
        self.device = model.device
        self.ends = end_tokens(model)
        self.passes = []
        known = inspect.signature(model.forward).parameters
        self.cache_name = "cache" if "cache" in known else "past_key_values"
        self.last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self.layers = {name: [i for i, router in enumerate(recorder.routers)
                              if router.side == name] for name in ("encoder", "decoder")}

    def tensor(self, values):
        return torch.as_tensor(np.asarray(values), device=self.device)

    def run(self, batch):
        """All passes of a batch; fills the requests."""
        self.passes = []
        with torch.inference_mode():
            (self.run_both_sides if self.side else self.run_decoder)(batch)

    def keep_rows(self, batch, each, rows):
        """`each`: (place in the batch, tokens, positions, phase) of what the pass recorded, in
        order."""
        at, entry = 0, []
        for place, tokens, positions, phase in each:
            request = batch[place]
            entry.append((place, request.count, len(tokens)))
            request.add(tokens, positions, phase, rows.part(at, len(tokens)))
            at += len(tokens)
        self.passes.append(entry)

    def answer(self, batch, logits):
        """The next token of every request that has not ended."""
        logits = logits[:, -1].detach().to("cpu", torch.float64).numpy()
        for request, row in zip(batch, logits):
            if request.ended:
                continue
            request.answer.append(self.sampling.pick(row, request))
            request.ended = (request.answer[-1] in self.ends or
                             len(request.answer) == request.prompt.max_new_tokens)

    # ---- decoder-only models ----

    def run_decoder(self, batch):
        ids, mask = padded(batch, 0, on_left=True)
        position = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        self.recorder.begin(mask.ravel() == 1)
        out = self.forward(ids, mask, position, None)
        self.keep_rows(batch, of_prompts(batch), self.recorder.end())
        self.answer(batch, out.logits)
        while not all(request.ended for request in batch):
            going = np.array([not request.ended for request in batch])
            ids = np.array([[request.answer[-1] if request.answer else 0] for request in batch])
            mask = np.concatenate([mask, np.ones((len(batch), 1), dtype=np.int64)], axis=1)
            position = position[:, -1:] + 1
            self.recorder.begin(going)
            out = self.forward(ids, mask, position, getattr(out, self.cache_name))
            self.keep_rows(batch, [(int(i), [int(ids[i, 0])], [int(position[i, 0])], DECODE)
                                   for i in np.flatnonzero(going)], self.recorder.end())
            self.answer(batch, out.logits)

    def forward(self, ids, mask, position, cache):
        return self.model(input_ids=self.tensor(ids), attention_mask=self.tensor(mask),
                          position_ids=self.tensor(position), use_cache=True,
                          **{self.cache_name: cache}, **self.last_only)

    # ---- encoder-decoder models ----

    def run_both_sides(self, batch):
        """Padding is on the right: it must not take room in the experts before a prompt does."""
        ids, mask = padded(batch, self.model.config.pad_token_id or 0, on_left=False)
        record = self.side != "decoder"
        if record:
            self.recorder.begin(mask.ravel() == 1)
        encoded = self.model.get_encoder()(input_ids=self.tensor(ids),
                                           attention_mask=self.tensor(mask))
        if record:
            self.keep_rows(batch, of_prompts(batch), self.recorder.end(self.layers["encoder"]))
        if self.side != "encoder":
            self.decode(batch, encoded, self.tensor(mask))

    def decode(self, batch, encoded, mask):
        start = [self.start_token()]
        for request in batch:
            request.begin = request.prompt.decoder_token_ids or start
            request.ended = False  # its first tokens are rows, whatever it is to answer
        offset = [len(request.ids) if self.side == "both" else 0 for request in batch]
        cache, step = None, 0
        while not all(request.ended for request in batch):
            fed = [(request.begin + request.answer)[step] if not request.ended else 0
                   for request in batch]
            self.recorder.begin(np.array([not request.ended for request in batch]))
            out = self.model(encoder_outputs=encoded, attention_mask=mask,
                             decoder_input_ids=self.tensor([[token] for token in fed]),
                             use_cache=True, **{self.cache_name: cache})
            cache = getattr(out, self.cache_name)
            self.keep_rows(batch, [
                (i, [fed[i]], [offset[i] + step], self.phase_of(request, step))
                for i, request in enumerate(batch) if not request.ended],
                self.recorder.end(self.layers["decoder"]))
            logits, step = out.logits[:, -1].to("cpu", torch.float64).numpy(), step + 1
            for request, row in zip(batch, logits):
                if not request.ended and step >= len(request.begin):
                    self.go_on(request, row)

    def phase_of(self, request, step):
        """Of a decoder's row: beside an encoder's rows, which are the prompt, all decode."""
        return PREFILL if self.side == "decoder" and step < len(request.begin) else DECODE

    def go_on(self, request, row):
        """The next token after those it was made to begin with; or its end."""
        most = request.prompt.max_new_tokens
        if most > 0:
            request.answer.append(self.sampling.pick(row, request))
        request.ended = len(request.answer) == most or request.answer[-1] in self.ends

    def start_token(self):
        config = self.model.config
        for found in (getattr(getattr(self.model, "generation_config", None),
                              "decoder_start_token_id", None),
                      getattr(config, "decoder_start_token_id", None), config.pad_token_id):
            if found is not None:
                return int(found)
        raise Failure("the model does not say which token its answers begin with; give "
                      "decoder_token_ids with each prompt")
