"""Bad files: what the data sets hold, and rules 2 to 6."""

import numpy as np

import tiny
from bad import add, bad, plain_with, poke

REQUESTS = "/request/first_row"
ROUTING = "/routing/expert"


# ---- what a data set holds ----

for _name, _base, _add, _change, _words, _said in [
        ("moe_layer_descends", tiny.counts, None, poke("/moe_layer", 1, 0),
         ("/moe_layer, row 1: layer 0 does not follow 1",), "decoder layers 1, 0, 3"),
        ("moe_layer_twice", tiny.counts, None, poke("/moe_layer", 2, 2),
         ("/moe_layer, row 2: layer 2 does not follow 2",), "decoder layers 1, 2, 2"),
        ("expert_bytes_0", tiny.counts, tiny.add_expert_bytes, poke("/expert_bytes", 2, 0),
         ("/expert_bytes, row 2: 0 bytes",), "an expert of 0 bytes"),
        ("expert_bytes_large", tiny.counts, tiny.add_expert_bytes,
         poke("/expert_bytes", 0, (1 << 48) + 1), ("/expert_bytes, row 0: 281474976710657 bytes",),
         "an expert of 2^48 + 1 bytes"),
        ("group_unknown", tiny.plain, None, poke("/request/group", 2, 1),
         ("/request/group, row 2: group 1 is not below 1",),
         "group 1 where there is one group"),
        ("arrival_negative", tiny.plain, None, poke("/request/arrival_ns", 1, -2),
         ("/request/arrival_ns, row 1: -2 is negative",), "an arrival of -2"),
        ("position_repeats", tiny.plain, None, poke("/token/position", 6, 1),
         ("/token/position, row 6: position 1 does not follow 1 of row 5",),
         "two rows of a request at one position"),
        ("position_descends", tiny.plain, None, poke("/token/position", 8, 7),
         ("/token/position, row 9: position 2 does not follow 7 of row 8",),
         "positions 0, 7, 2"),
        ("phase_unknown", tiny.plain, None, poke("/token/phase", 9, 4),
         ("/token/phase, row 9: phase 4",), "phase 4"),
        ("resident_2", tiny.plain, tiny.add_resident, poke("/routing/resident", (7, 2, 1), 2),
         ("/routing/resident, row 7, layer 2: 2 is not one of",), "2 for yes or no"),
        ("pass_empty", tiny.plain, tiny.add_passes, poke("/pass/first", 1, 0),
         ("/pass/first, row 0: a pass from 0 to 0",), "a pass without rows"),
        ("pass_backward", tiny.plain, tiny.add_passes, poke("/pass/first", 2, 3),
         ("/pass/first, row 1: a pass from 5 to 3",), "a pass that ends before it begins"),
        ("pass_first_not_0", tiny.plain, tiny.add_passes, poke("/pass/first", 0, 1),
         ("/pass/first, row 0: a pass from 1 to 5",), "a first pass that begins at 1"),
        ("pass_last_short", tiny.plain, tiny.add_passes, poke("/pass/first", 3, 11),
         ("/pass/first, row 2: a pass from 10 to 11 of the 12",),
         "a last pass that leaves a row of /pass/row"),
        ("pass_beyond", tiny.plain, tiny.add_passes, poke("/pass/first", 3, 13),
         ("/pass/first, row 2: a pass from 10 to 13 of the 12",),
         "a last pass that ends behind /pass/row"),
        ("pass_row_beyond", tiny.plain, tiny.add_passes, poke("/pass/row", 4, 12),
         ("/pass/row, row 4: 12 is not below 12",), "row 12 of 12 rows"),
        ("pass_start_negative", tiny.plain, tiny.add_passes, poke("/pass/start_ns", 1, -2),
         ("/pass/start_ns, row 1: -2 is negative",), "a pass that began at -2")]:
    add(_name, (lambda base=_base, more=_add: more(base())) if _add else _base, _change,
        "What is in it", _words, _said)


@bad(lambda: tiny.plain((8,)), "What is in it",
     "/token/position, row 6: position 2 does not follow 2 of row 2")
def position_after_drafts(trace):
    """a decode row at the position of the one before, with drafts between them"""
    trace["/token/phase"].values[:] = [0, 1, 1, 2, 2, 2, 1, 1]
    trace["/token/position"].values[:] = [0, 1, 2, 3, 4, 5, 2, 3]


@bad(tiny.counts, "What is in it", "/load/count is there beside /pass")
def counts_with_passes(trace):
    """/pass in a trace of counts"""
    trace["/pass/start_ns"] = tiny.Set([0, 1], "<i8")


@bad(tiny.plain, "What is in it", "/load/count is there beside /routing")
def counts_with_routing(trace):
    """/load/count in a trace of rows"""
    trace["/load/count"] = tiny.counts()["/load/count"]


@bad(tiny.counts, "What is in it", "/load/count is there beside /request")
def counts_with_requests(trace):
    """/request in a trace of counts"""
    trace["/request/rows"] = tiny.Set([3], "<u4")


@bad(tiny.counts, "What is in it", "/load/count is there beside /token")
def counts_with_tokens(trace):
    """/token in a trace of counts"""
    trace["/token/phase"] = tiny.Set([3], "u1")


# ---- rules 2 and 5: ids ----

for _set, _base, _rule, _width in [
        ("expert", tiny.plain, "rule 2", 2),
        ("predicted", plain_with(tiny.add_predicted), "rule 5", 3)]:
    _name = f"/routing/{_set}"
    _at = f"{_name}, row 7, layer 1: "
    for _case, _cell, _words, _said in [
            ("high", [8, 0], "expert 8 is not below 8", "expert 8 of 8"),
            ("65534", [65534, 0], "expert 65534 is not below 8",
             "65534, next to what is not recorded"),
            ("twice", [5, 5], "expert 5 occurs twice", "an expert twice"),
            ("gap", [65535, 5], "expert 5 follows one that was not recorded",
             "an expert behind one that was not recorded")]:
        _cell = _cell + [65535] * (_width - 2)
        add(f"{_set}_{_case}", _base, poke(_name, (7, 1), _cell), _rule, (_at + _words,),
            f"{_said} in {_name}")


@bad(lambda: tiny.plain(top_k=4), "rule 2",
     "/routing/expert, row 3, layer 2: expert 1 occurs twice")
def expert_twice_apart(trace):
    """an expert twice among candidates of which two were executed"""
    trace.attributes["top_k"] = np.uint32(2)
    trace[ROUTING].values[3, 2] = [1, 0, 6, 1]


@bad(lambda: tiny.plain(experts=32, top_k=12), "rule 2",
     "/routing/expert, row 11, layer 0: expert 3 occurs twice")
def expert_twice_of_many(trace):
    """an expert twice in a list of twelve"""
    trace[ROUTING].values[11, 0] = [3, *range(4, 14), 3]


@bad(tiny.plain, "rule 2", "/routing/expert, row 0, layer 0: expert 0 occurs twice")
def expert_not_captured(trace):
    """0 in every place of a row that was not captured"""
    trace[ROUTING].values[0] = 0


# ---- rule 3: scores ----

for _case, _kind, _cell, _words, _said in [
        ("nan", "softmax", [np.nan, 0], "a score is not a finite number", "a score that is NaN"),
        ("infinite", "softmax", [np.inf, 0], "a score is not a finite number",
         "an infinite score"),
        ("nan_logit", "logit", [1, np.nan], "a score is not a finite number",
         "a logit that is NaN"),
        ("infinite_logit", "logit", [1, -np.inf], "a score is not a finite number",
         "a logit of minus infinity, as masks leave it"),
        ("above_1", "softmax", [1.001, 0], "score 1.00098 is not in [0, 1]",
         "a score of softmax above 1"),
        ("above_1_sigmoid", "sigmoid", [1.5, 0], "score 1.5 is not in [0, 1]",
         "a score of sigmoid above 1"),
        ("negative", "sigmoid", [0.5, -0.25], "score -0.25 is not in [0, 1]",
         "a score of sigmoid below 0"),
        ("ascends", "softmax", [0.25, 0.75], "the scores do not descend",
         "scores that ascend though sorted is 1"),
        ("ascends_logit", "logit", [-2, -1], "the scores do not descend",
         "logits that ascend though sorted is 1")]:
    add(f"score_{_case}", lambda kind=_kind: tiny.add_scores(tiny.plain(), kind),
        poke("/routing/score", (7, 1), _cell), "rule 3",
        ("/routing/score, row 7, layer 1: ", _words), _said)


@bad(plain_with(tiny.add_scores), "rule 3", "data set /routing/score is missing though")
def score_missing(trace):
    """no scores though score_kind is softmax"""
    del trace["/routing/score"]


@bad(plain_with(tiny.add_scores), "rule 3", "attribute score_kind of / is none but")
def score_kind_none(trace):
    """scores though score_kind is none"""
    trace.attributes["score_kind"] = "none"


@bad(tiny.counts, "rule 3", "attribute score_kind of / must be none in a trace of counts")
def score_kind_of_counts(trace):
    """a kind of scores in a trace of counts, which has none"""
    trace.attributes["score_kind"] = "softmax"


# ---- rule 4: requests ----

for _case, _name, _at, _value, _words, _said in [
        ("first_not_0", REQUESTS, 0, 1, "/request/first_row, row 0 is 1; it must be 0",
         "a first request that begins at row 1"),
        ("gap", REQUESTS, 2, 5, "/request/first_row, row 2 is 5; it must be 4",
         "a row of no request"),
        ("overlap", REQUESTS, 3, 6, "/request/first_row, row 3 is 6; it must be 7",
         "a row of two requests"),
        ("too_long", "/request/rows", 3, 6, "/request/rows, row 3: the request ends at row 13",
         "a last request that ends behind the rows"),
        ("huge", "/request/rows", 3, 4294967295, "/request/rows, row 3: the request ends at row",
         "a last request of 2^32 - 1 rows"),
        ("too_short", "/request/rows", 3, 4, "/request/rows covers 11 rows but",
         "a last row of no request"),
        ("of_another", "/token/request", 4, 1,
         "/token/request, row 4 says request 1, but /request/first_row gives the row to request 2",
         "a row that says it is of a request that has no rows"),
        ("unknown", "/token/request", 11, 4, "/token/request, row 11 says request 4",
         "a row of a request that is not there")]:
    add(f"request_{_case}", tiny.plain, poke(_name, _at, _value), "rule 4", (_words,), _said)


# ---- rule 6: nothing is invented ----

@bad(plain_with(tiny.add_scores), "rule 6",
     "/routing/score, row 7, layer 1: candidate 1 was not recorded but has the score")
def score_of_nothing(trace):
    """a score of a candidate that was not recorded"""
    trace[ROUTING].values[7, 1, 1] = 65535
