"""The good files: each function makes a trace; its docstring says what is special about it.

`notes` are words of what `moesim trace check` remarks on, one entry a remark: legal, and
perhaps not meant. Every file of a model that is no file of models/arch gets the first.
"""

import h5py
import numpy as np

import tiny

UNKNOWN_MODEL = "no file of models/arch is called tiny"
CASES = {}


def good(*notes):
    def keep(function):
        CASES[function.__name__] = (function, notes)
        return function
    return keep


@good(UNKNOWN_MODEL)
def plain():
    """what must be there and no more; one request of the four has no rows"""
    return tiny.plain()


@good(UNKNOWN_MODEL)
def full():
    """every optional data set together, and both kinds of rows"""
    return tiny.full()


@good(UNKNOWN_MODEL)
def counts():
    """tokens per expert alone"""
    return tiny.counts()


@good(UNKNOWN_MODEL)
def scores():
    """/routing/score, softmax, sorted"""
    return tiny.add_scores(tiny.plain())


@good(UNKNOWN_MODEL)
def scores_sigmoid_unsorted():
    """scores of a sigmoid, in no order; 0 and 1 are scores, and so is -0"""
    trace = tiny.add_scores(tiny.plain(), "sigmoid", 0)
    trace["/routing/score"].values[0] = [[0, 1], [-0.0, 1], [0.25, 0.75]]
    return trace


@good(UNKNOWN_MODEL)
def scores_logit():
    """logits: below 0 and above 1, up to the largest that a half holds"""
    trace = tiny.add_scores(tiny.plain(), "logit")
    trace["/routing/score"].values[0] = [[65504, -65504], [-1, -2], [3, -0.5]]
    return trace


@good(UNKNOWN_MODEL)
def scores_equal_neighbours():
    """sorted, and two candidates of a cell have the same score"""
    trace = tiny.add_scores(tiny.plain())
    trace["/routing/score"].values[3] = 0.5
    return trace


@good(UNKNOWN_MODEL)
def passes():
    """/pass, whose rows are in any order; the start of one was not recorded"""
    trace = tiny.add_passes(tiny.plain())
    trace["/pass/start_ns"].values[1] = -1
    return trace


@good(UNKNOWN_MODEL)
def passes_group_empty():
    """a group /pass with none of its data sets: no passes"""
    trace = tiny.plain()
    trace.finish.append(lambda file: tiny.put_group(file, "pass"))
    return trace


@good(UNKNOWN_MODEL)
def predicted():
    """/routing/predicted, wider than top_k; one cell without a prediction"""
    trace = tiny.add_predicted(tiny.plain())
    trace["/routing/predicted"].values[2, 1] = [65535, 65535, 65535]
    trace["/routing/predicted"].values[2, 2] = [4, 65535, 65535]
    return trace


@good(UNKNOWN_MODEL)
def predicted_farthest():
    """a prediction of every expert, 1024 layers ahead"""
    trace = tiny.add_predicted(tiny.plain(), tiny.EXPERTS)
    trace["/routing/predicted"].attributes["distance"] = np.uint16(1024)
    return trace


@good(UNKNOWN_MODEL)
def expert_bytes():
    """/expert_bytes at its bounds, 1 and 2^48"""
    trace = tiny.add_expert_bytes(tiny.plain())
    trace["/expert_bytes"].values[:2] = [1, 1 << 48]
    return trace


@good(UNKNOWN_MODEL)
def groups():
    """/group_name with a name that is no ASCII"""
    return tiny.add_groups(tiny.plain())


@good(UNKNOWN_MODEL)
def group_of_256_bytes():
    """a group's name of 256 bytes, the longest"""
    trace = tiny.plain()
    trace["/group_name"] = tiny.Set([b"g" * 256], h5py.string_dtype("ascii", 256))
    return trace


@good(UNKNOWN_MODEL)
def token_id():
    """/token/token_id, one unknown"""
    return tiny.add_token_id(tiny.plain())


@good(UNKNOWN_MODEL)
def source():
    """/token/source, one unknown"""
    return tiny.add_source(tiny.plain())


@good(UNKNOWN_MODEL)
def resident():
    """/routing/resident: yes, no, and one not recorded"""
    return tiny.add_resident(tiny.plain())


@good(UNKNOWN_MODEL)
def arrivals():
    """arrivals that are not in order; one was not recorded"""
    trace = tiny.plain()
    trace["/request/arrival_ns"].values[:] = [7, 2**62, -1, 0]
    return trace


@good(UNKNOWN_MODEL)
def all_phases():
    """prefill, decode, draft and verify; drafts and verified rows may repeat positions"""
    trace = tiny.plain((8,))
    trace["/token/phase"].values[:] = [0, 0, 1, 2, 2, 3, 3, 1]
    trace["/token/position"].values[:] = [0, 1, 2, 3, 4, 3, 4, 5]
    return trace


@good(UNKNOWN_MODEL)
def prompt_in_part():
    """fewer rows than tokens as served: positions begin at 100 and skip"""
    trace = tiny.plain()
    trace["/request/prompt_tokens"].values[:] = 150
    trace["/token/position"].values[:4] = [100, 101, 149, 150]
    return trace


@good(UNKNOWN_MODEL)
def not_recorded():
    """cells of which nothing, or less than top_k, was recorded; their scores are 0"""
    trace = tiny.add_scores(tiny.plain())
    trace["/routing/expert"].values[0, 2] = 65535
    trace["/routing/score"].values[0, 2] = 0
    trace["/routing/expert"].values[5, 0, 1] = 65535
    trace["/routing/score"].values[5, 0, 1] = 0
    return trace


@good(UNKNOWN_MODEL)
def not_recorded_logit():
    """the same with logits below 0, sorted: a 0 that ends them is no score"""
    trace = tiny.add_scores(tiny.plain(), "logit")
    trace["/routing/score"].values[:] = np.array([-1.5, -2.5], "f2")
    trace["/routing/score"].values[::2] = np.array([-1, -2.25], "f2")
    trace["/routing/expert"].values[5, 0, 1] = 65535
    trace["/routing/score"].values[5, 0, 1] = 0
    return trace


@good(UNKNOWN_MODEL)
def candidates_more():
    """four candidates of which two were executed"""
    trace = tiny.plain(top_k=4)
    trace.attributes["top_k"] = np.uint32(2)
    return tiny.add_scores(trace)


@good(UNKNOWN_MODEL)
def candidates_all():
    """the whole distribution: as many candidates as experts"""
    trace = tiny.plain(top_k=tiny.EXPERTS)
    trace.attributes["top_k"] = np.uint32(2)
    return tiny.add_scores(trace)


@good(UNKNOWN_MODEL)
def every_expert_executed():
    """top_k is the number of experts"""
    return tiny.plain(experts=2, top_k=2)


@good(UNKNOWN_MODEL)
def one_of_each():
    """one row, one request, one layer, one expert"""
    return tiny.plain((1,), layers=1, experts=1, top_k=1)


@good(UNKNOWN_MODEL)
def layers_with_gaps():
    """decoder layers 0, 7 and 65535 have experts"""
    trace = tiny.plain()
    trace["/moe_layer"].values[:] = [0, 7, 65535]
    return trace


@good(UNKNOWN_MODEL)
def most_layers():
    """1024 layers"""
    trace = tiny.plain((2,), layers=1024)
    for name in ("/moe_layer", "/routing/expert"):
        trace[name].chunked()
    return trace


@good(UNKNOWN_MODEL)
def most_experts():
    """4096 experts, all of them recorded"""
    trace = tiny.plain((1,), layers=1, experts=4096, top_k=4096)
    trace.attributes["top_k"] = np.uint32(8)
    trace["/routing/expert"].values = trace["/routing/expert"].values[:, :, ::-1]
    trace["/routing/expert"].chunked()
    return trace


@good(UNKNOWN_MODEL)
def as_written():
    """everything, stored as this project writes it: chunks, shuffle, deflate, fletcher32"""
    trace = tiny.full()
    for part in trace.sets.values():
        part.chunked()
    return trace


@good(UNKNOWN_MODEL)
def chunks_ragged():
    """chunks that are no power of two, cut rows and layers, and do not fit the lengths"""
    trace = tiny.add_scores(tiny.plain())
    trace["/routing/expert"].chunked(5, 2, 1)
    trace["/routing/score"].chunked(7, 3, 2, filters=("deflate",))
    trace["/token/position"].chunked(5, filters=("fletcher32",))
    trace["/token/request"].chunked(5, filters=("shuffle",))
    trace["/token/phase"].chunked(5, filters=())
    return trace


@good(UNKNOWN_MODEL)
def chunk_of_16_mib():
    """a chunk of 16 MiB, the largest, deflated twice"""
    trace = tiny.plain()
    trace["/token/phase"].chunked(1 << 24, filters=("deflate", "deflate"))
    return trace


@good(UNKNOWN_MODEL)
def contiguous():
    """no chunks at all"""
    trace = tiny.plain()
    for part in trace.sets.values():
        part.layout = "contiguous"
    return trace


@good(UNKNOWN_MODEL)
def big_endian():
    """all integers the other way round, attributes too"""
    trace = tiny.full()
    for part in trace.sets.values():
        if part.values.dtype.kind in "iu":
            part.set_type(part.values.dtype.newbyteorder(">"))
    for name, value in trace.attributes.items():
        if isinstance(value, np.integer):
            trace.attributes[name] = np.asarray(value, value.dtype.newbyteorder(">"))
    return trace


@good(UNKNOWN_MODEL)
def older_layout():
    """everything in the layout of the first HDF5 1.x, which has no checksums"""
    trace = tiny.full()
    trace.libver = ("earliest", "v110")
    return trace


@good(UNKNOWN_MODEL)
def variable_strings():
    """text attributes of variable length"""
    trace = tiny.plain()
    trace.strings = "variable"
    return trace


@good(UNKNOWN_MODEL)
def attributes_otherwise():
    """integers as i8, i64, a bool of h5py and a list of one; text in ASCII, ended by a NUL"""
    trace = tiny.plain()
    trace.attributes |= {"version": np.int8(1), "experts": np.int64(tiny.EXPERTS),
                         "top_k": np.array([tiny.TOP_K], "u1"), "sorted": np.bool_(True)}
    del trace.attributes["source"]

    def put(file):
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(9)
        made_one = h5py.h5a.create(file.id, b"source", kind, h5py.h5s.create(h5py.h5s.SCALAR))
        made_one.write(np.array(b"by hand\0", "S9"), mtype=kind)
    trace.finish.append(put)
    return trace


@good(UNKNOWN_MODEL)
def unknown_others():
    """data sets, groups, attributes and links by other names are ignored"""
    trace = tiny.plain()
    trace.attributes["engine"] = "another"

    def put(file):
        kind = np.dtype([("a", "<i4"), ("b", "<f8")])
        file.create_dataset("/routing/gate", data=np.zeros(2, kind), track_times=False)
        file.create_dataset("/token/text", data=np.zeros((0, 3)), track_times=False)
        file["/elsewhere"] = h5py.ExternalLink("nowhere.h5", "/x")
    trace.finish.append(put)
    return trace


@good(UNKNOWN_MODEL)
def soft_link():
    """a data set under another name of the same file, by a link"""
    trace = tiny.plain()
    trace["/phases"] = trace["/token/phase"]
    del trace["/token/phase"]
    trace.finish.append(lambda file: file.__setitem__("/token/phase", h5py.SoftLink("/phases")))
    return trace


@good(UNKNOWN_MODEL)
def user_block():
    """512 bytes of something else before the HDF5 file"""
    trace = tiny.plain()
    trace.userblock = 512
    return trace


# ---- legal, and perhaps not meant ----


def known_model(layers=24, experts=32, top_k=4):
    trace = tiny.plain(layers=layers, experts=experts, top_k=top_k)
    trace.attributes["model"] = "gpt-oss-20b"
    trace["/moe_layer"].values[:] = range(layers)
    return trace


@good()
def model_known():
    """the shape of a model of models/arch: nothing to remark on"""
    return known_model()


@good("attribute experts is 16, but models/arch/gpt-oss-20b.yaml has 32",
      "attribute top_k is 2, but models/arch/gpt-oss-20b.yaml has 4")
def note_model_differs():
    """other experts and top_k than the model has"""
    return known_model(experts=16, top_k=2)


@good("/moe_layer holds 23 of the 24 MoE layers of models/arch/gpt-oss-20b.yaml")
def note_layers_fewer():
    """a layer less than the model has"""
    return known_model(layers=23)


@good("/moe_layer, row 23: decoder layer 24 is no MoE layer of models/arch/gpt-oss-20b.yaml")
def note_layer_unknown():
    """layers counted from 1"""
    trace = known_model()
    trace["/moe_layer"].values[:] = range(1, 25)
    return trace


@good(UNKNOWN_MODEL, "/routing/expert lists experts 0 to 1 in every layer of 2 of 12 rows")
def note_rows_unfilled():
    """two rows that hold 0 to k - 1 in every layer"""
    trace = tiny.plain(layers=4)
    trace["/routing/expert"].values[5:7] = [0, 1]
    return trace


@good(UNKNOWN_MODEL, "/routing/expert lists the same experts in all rows of 1 of 3 layers")
def note_layer_constant():
    """a layer that never changes"""
    trace = tiny.plain((16,))
    trace["/routing/expert"].values[:, 1] = [3, 5]
    return trace


@good(UNKNOWN_MODEL, "/routing/score: all 72 scores are 0.5")
def note_scores_equal():
    """one score everywhere"""
    trace = tiny.add_scores(tiny.plain())
    trace["/routing/score"].values[:] = 0.5
    return trace


@good(UNKNOWN_MODEL, "/token/position: all 4 positions are 0")
def note_positions_0():
    """a position that was never set; each request has one row"""
    return tiny.plain((1, 1, 1, 1))


@good(UNKNOWN_MODEL, "/routing/expert: no layer uses an expert above 5; is attribute experts (8)")
def note_experts_unused():
    """more experts than the recording knows"""
    trace = tiny.plain((30,), experts=6)
    trace.attributes["experts"] = np.uint32(8)
    return trace


@good(UNKNOWN_MODEL, "/routing/expert: no cell of it was recorded")
def note_nothing_recorded():
    """65535 everywhere"""
    trace = tiny.plain()
    trace["/routing/expert"].values[:] = 65535
    return trace
