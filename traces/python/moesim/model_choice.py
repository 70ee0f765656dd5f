"""What a file says of the model that it was recorded from, and which model that is.

Layers of a file are known by number: the decoder layers that have experts, all decoder
layers, or the MoE layers counted from 0. Those without experts are left out.
"""

from moesim import filled
from moesim.models import (EXPERTS_MAX, LAYERS_MAX, all_models, named, plainest,
                           unknown)
from moesim.say import Failure


class Recorded:
    """layers: what the file calls each of its layers, ascending; top_k, experts: where the
    file says so, else None; model: the name that the file has for it, else None."""

    def __init__(self, path, where, format_name, *, layers, top_k, experts, model=None):
        for count, most, what in ((len(layers), LAYERS_MAX, "layers"),
                                  (1 if experts is None else experts, EXPERTS_MAX, "experts")):
            if not 1 <= count <= most:
                raise Failure(f"{where}: has {count} {what}; from 1 to {most} can be written")
        self.path, self.where, self.layers = path, where, list(layers)
        self.top_k, self.experts, self.model = top_k, experts, model
        self.capture = f"moesim trace import --from {format_name}"
        self.chosen = None  # the model that it suits, once that is known

    def fits(self, model):
        """Whether its layers are those of the file, by number, or counted from the first."""
        return (self.top_k in (None, model.top_k) and self.experts in (None, model.experts) and
                self.kept_of(model) is not None)

    def kept_of(self, model):
        """Which layers of the file are the model's MoE layers; None where it has others."""
        every = range(len(self.layers))
        if self.layers == list(model.moe) or self.layers == list(range(len(model.moe))):
            return list(every)
        if self.layers == list(range(model.layers)):
            return list(model.moe)
        return self.part_of(model)

    def part_of(self, _model):
        """The same for a file of some of the model's layers; None: there must be all."""
        return None

    def choose_model(self, look, options):
        """(name, experts, top_k, decoder layer of each MoE layer, which layers those are)."""
        if options.experts and self.experts not in (None, options.experts):
            raise Failure(f"{self.path}: has {self.experts} experts, not {options.experts}; leave "
                          "out --experts")
        asked = options.model or self.model
        if asked:
            model = named(asked)
        else:
            fitting = [model for model in all_models() if self.fits(model)]
            model = plainest(look.likeliest(fitting))
        experts = options.experts or self.experts
        top_k = self.top_k or options.top_k
        if model is None and top_k and experts and top_k > experts:
            raise Failure(f"{self.where}: a token has {top_k} experts, of {experts}; give the "
                          "model's own numbers with --experts" +
                          ("" if self.top_k else " and --top-k"))
        if model is None and asked and experts and top_k:
            return asked, experts, top_k, self.layers, list(range(len(self.layers)))
        if model is None:
            raise Failure(f"{self.path}: {self.no_model(look, asked)}; name it with --model "
                          "(moesim list models has the names; a file NAME.yaml of your own will "
                          "do), or give --model NAME with --experts N" +
                          ("" if self.top_k else " and --top-k K"))
        if not self.fits(model):
            raise Failure(f"{self.path}: {model.name} has {len(model.moe)} MoE layers "
                          f"({model.layers} in all), {model.experts} experts and "
                          f"{model.top_k} of them per token, the file {self.shape()}; name "
                          "another with --model")
        if options.experts not in (None, model.experts):
            raise Failure(f"{self.path}: {model.name} has {model.experts} experts, not "
                          f"{options.experts}; leave out --experts, or name another model")
        self.chosen, kept = model, self.kept_of(model)
        moe = list(model.moe) if len(kept) == len(model.moe) else [self.layers[i] for i in kept]
        return model.name, model.experts, model.top_k, moe, kept

    def shape(self):
        """Part of a sentence."""
        return (f"{len(self.layers)} ({filled.listed(self.layers)})" +
                (f", {self.experts}" if self.experts else "") +
                (f" and {self.top_k}" if self.top_k else ""))

    def no_model(self, look, asked):
        if asked:
            return unknown(asked)
        return (f"not one model of models/arch alone has {len(self.layers)} layers"
                f"{look.without()}" + (f", {self.experts} experts" if self.experts else "") +
                (f" and {self.top_k} experts per token" if self.top_k else ""))
