"""Bad files: types, dimensions, lengths, and what must be there (rule 1)."""

import h5py
import numpy as np

import tiny
from bad import add, bad, plain_with

FOREIGN = {"u1": "<u2", "<u2": "<i4", "<u4": "<i4", "<u8": "<u4", "<i8": "<u8", "<i4": "<i8",
           "<f2": "<f4"}  # by type: one that is not it
KINDS = {"u1": "u8", "<u2": "u16", "<u4": "u32", "<u8": "u64", "<i8": "i64", "<i4": "i32",
         "<f2": "f16"}
REQUESTS = "/request/first_row"
ROUTING = "/routing/expert"
# Every data set of the page, in the smallest trace that has it.
SETS = {
    "/moe_layer": ("<u2", tiny.counts),
    "/expert_bytes": ("<u8", lambda: tiny.add_expert_bytes(tiny.counts())),
    "/request/arrival_ns": ("<i8", tiny.plain),
    "/request/prompt_tokens": ("<u4", tiny.plain),
    "/request/output_tokens": ("<u4", tiny.plain),
    "/request/first_row": ("<u8", tiny.plain),
    "/request/rows": ("<u4", tiny.plain),
    "/request/group": ("<u2", tiny.plain),
    "/token/request": ("<u4", tiny.plain),
    "/token/position": ("<u4", tiny.plain),
    "/token/phase": ("u1", tiny.plain),
    "/token/token_id": ("<i4", lambda: tiny.add_token_id(tiny.plain())),
    "/token/source": ("<u2", lambda: tiny.add_source(tiny.plain())),
    "/routing/expert": ("<u2", tiny.plain),
    "/routing/score": ("<f2", lambda: tiny.add_scores(tiny.plain())),
    "/routing/predicted": ("<u2", lambda: tiny.add_predicted(tiny.plain())),
    "/routing/resident": ("u1", lambda: tiny.add_resident(tiny.plain())),
    "/pass/first": ("<u8", lambda: tiny.add_passes(tiny.plain())),
    "/pass/row": ("<u8", lambda: tiny.add_passes(tiny.plain())),
    "/pass/start_ns": ("<i8", lambda: tiny.add_passes(tiny.plain())),
    "/load/count": ("<u4", tiny.counts),
}
# Data sets that may not be missing where the others of the file are there.
NEEDED = ["/moe_layer", "/request/arrival_ns", "/request/prompt_tokens", "/request/output_tokens",
          "/request/first_row", "/request/rows", "/request/group", "/token/request",
          "/token/position", "/token/phase", "/routing/expert", "/pass/first", "/pass/row",
          "/pass/start_ns", "/load/count"]


def file_name(set_name):
    return set_name[1:].replace("/", "_")


def other_type(name, kind):
    return lambda trace: trace[name].set_type(FOREIGN[kind])


def other_rank(name):
    def change(trace):
        trace[name].values = trace[name].values[..., np.newaxis]
    return change


def no_rows(name):
    def change(trace):
        trace[name].values = trace[name].values[:0]
        trace[name].chunked()
    return change


def shorter(name, axis):
    def change(trace):
        values = trace[name].values
        trace[name].values = np.take(values, range(values.shape[axis] - 1), axis)
    return change


for _name, (_kind, _base) in SETS.items():
    _rank = _base()[_name].values.ndim
    add(f"type_{file_name(_name)}", _base, other_type(_name, _kind), "rule 1",
        (f"{_name} must be of type {KINDS[_kind]}",), f"{_name} is of type {FOREIGN[_kind]}")
    add(f"dimensions_{file_name(_name)}", _base, other_rank(_name), "rule 1",
        (f"{_name} must have {_rank} dimension", f"and has {_rank + 1}"),
        f"{_name} has one dimension more")
for _name in ("/moe_layer", "/request/first_row", "/token/request", "/routing/expert",
              "/pass/start_ns", "/load/count"):
    add(f"empty_{file_name(_name)}", SETS[_name][1], no_rows(_name), "rule 1",
        (f"{_name} is empty (dimension 0 is 0)",), f"{_name} has no rows")
for _name in NEEDED:
    def _leave_out(trace, name=_name):
        del trace[name]
    _missing = "/routing/expert" if _name == "/load/count" else _name
    add(f"missing_{file_name(_name)}", SETS[_name][1], _leave_out, "rule 1",
        (f"data set {_missing} is missing",), f"{_name} is not there")

for _name, _axis, _of in [
        ("/expert_bytes", 0, "/moe_layer"), ("/request/arrival_ns", 0, REQUESTS),
        ("/request/prompt_tokens", 0, REQUESTS), ("/request/output_tokens", 0, REQUESTS),
        ("/request/rows", 0, REQUESTS), ("/request/group", 0, REQUESTS),
        ("/token/request", 0, ROUTING), ("/token/position", 0, ROUTING),
        ("/token/phase", 0, ROUTING), ("/token/token_id", 0, ROUTING),
        ("/token/source", 0, ROUTING), ("/routing/expert", 1, "/moe_layer"),
        ("/routing/expert", 2, "attribute candidates"), ("/routing/score", 0, ROUTING),
        ("/routing/score", 1, "/moe_layer"), ("/routing/score", 2, "attribute candidates"),
        ("/routing/predicted", 0, ROUTING), ("/routing/predicted", 1, "/moe_layer"),
        ("/routing/resident", 0, ROUTING), ("/routing/resident", 1, "/moe_layer"),
        ("/routing/resident", 2, "attribute candidates"),
        ("/pass/first", 0, "/pass/start_ns plus one"), ("/load/count", 1, "/moe_layer"),
        ("/load/count", 2, "attribute experts")]:
    add(f"length_{file_name(_name)}" + (f"_{_axis}" if _axis else ""), SETS[_name][1],
        shorter(_name, _axis), "rule 1",
        (f"dimension {_axis} of {_name} is", f"but {_of} says"),
        f"dimension {_axis} of {_name} is one less than it should be")


@bad(tiny.plain, "rule 1", "dimension 0 of /token/request is 12 but /routing/expert says 11")
def length_routing_expert(trace):
    """a row less in /routing/expert than in /token"""
    shorter(ROUTING, 0)(trace)


@bad(tiny.plain, "rule 1", "dimension 0 of /request/rows is 4 but /request/first_row says 3")
def length_request_first_row(trace):
    """a request less in /request/first_row than in the rest of /request"""
    shorter(REQUESTS, 0)(trace)


@bad(tiny.plain, "rule 1", "dimension 1 of /routing/expert is 3 but /moe_layer says 2")
def length_moe_layer(trace):
    """a layer less in /moe_layer than in /routing/expert"""
    shorter("/moe_layer", 0)(trace)


@bad(plain_with(tiny.add_groups), "rule 1", "/request/group, row 3: group 1 is not below 1")
def length_group_name(trace):
    """a name less than there are groups"""
    shorter("/group_name", 0)(trace)


@bad(plain_with(tiny.add_passes), "rule 1", "dimension 0 of /pass/first is 4",
     "but /pass/start_ns plus one says 3")
def length_pass_start_ns(trace):
    """a start less than there are passes"""
    shorter("/pass/start_ns", 0)(trace)


@bad(plain_with(tiny.add_passes), "rule 1", "/pass/first, row 2", "of the 11 rows of /pass/row")
def length_pass_row(trace):
    """a row less than the last pass ends with"""
    shorter("/pass/row", 0)(trace)


@bad(tiny.plain, "rule 1", "/routing/expert must have 3 dimensions and has 0")
def dimensions_none(trace):
    """/routing/expert is a single number"""
    trace[ROUTING].values = trace[ROUTING].values[0, 0, 0]


@bad(plain_with(tiny.add_predicted), "rule 1", "/routing/predicted is empty (dimension 2 is 0)")
def empty_predicted_width(trace):
    """predictions of no experts"""
    trace["/routing/predicted"].values = trace["/routing/predicted"].values[:, :, :0]
    trace["/routing/predicted"].chunked()


@bad(tiny.counts, "rule 1", "/group_name must be of type text")
def type_group_name(trace):
    """names of groups that are numbers"""
    trace["/group_name"] = tiny.Set([1, 2], "<u2")


@bad(tiny.counts, "rule 1", "/group_name must be of type text", "fixed length")
def group_name_variable(trace):
    """names of groups as strings of variable length"""
    trace["/group_name"] = tiny.Set(["a", "b"], h5py.string_dtype("utf-8"))
    trace["/group_name"].layout = "contiguous"


@bad(tiny.counts, "rule 1", "/group_name must be of type text", "at most 256 bytes")
def group_name_long(trace):
    """a name of 257 bytes"""
    trace["/group_name"] = tiny.Set([b"g" * 257], h5py.string_dtype("ascii", 257))


@bad(tiny.counts, "rule 1", "/group_name must have 1 dimension and has 2")
def dimensions_group_name(trace):
    """names of groups in a table"""
    trace["/group_name"] = tiny.Set([[b"a"], [b"b"]], h5py.string_dtype("ascii", 1))


@bad(tiny.counts, "rule 1", "/group_name is empty")
def empty_group_name(trace):
    """no group at all"""
    trace["/group_name"] = tiny.Set(np.zeros(0, "S1"), h5py.string_dtype("ascii", 1))
    trace["/group_name"].chunked(1)


@bad(tiny.counts, "rule 1", "/group_name, row 1: is not UTF-8")
def group_name_latin_1(trace):
    """a name in Latin-1"""
    kind = h5py.string_dtype("ascii", 4)
    trace["/group_name"] = tiny.Set(np.array([b"code", "Köln".encode("latin-1")], "S4"), kind)


@bad(plain_with(tiny.add_scores), "rule 1", "/routing/score must be of type f16")
def score_big_endian(trace):
    """halves the other way round"""
    trace["/routing/score"].set_type(">f2")


@bad(plain_with(tiny.add_scores), "rule 1", "/routing/score must be of type f16")
def score_bfloat16(trace):
    """bfloat16: as wide as a half, and no half"""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    kind.set_ebias(127)
    trace["/routing/score"].file_type = kind


@bad(tiny.plain, "rule 1", "/token/phase must be of type u8")
def phase_signed(trace):
    """phases as i8"""
    trace["/token/phase"].set_type("i1")


@bad(tiny.plain, "rule 1", "/routing/expert is not a data set")
def expert_is_a_group(trace):
    """a group in the place of /routing/expert"""
    del trace[ROUTING]
    trace.finish += [lambda file: tiny.put_group(file, "/routing"),
                     lambda file: tiny.put_group(file, "/routing/expert")]


@bad(tiny.plain, "rule 1", "data set /token/request is missing")
def token_is_a_data_set(trace):
    """a data set in the place of /token"""
    for name in ("request", "position", "phase"):
        del trace[f"/token/{name}"]
    trace["/token"] = tiny.Set([0] * tiny.ROWS, "<u4")
