"""Bad files: attributes, limits, and how values are stored."""

import h5py
import numpy as np

import tiny
from bad import add, bad, in_file, plain_with

ROUTING = "/routing/expert"

# ---- attributes ----

for _name in tiny.attributes():
    def _delete(trace, name=_name):
        del trace.attributes[name]
    add(f"missing_attribute_{_name}", tiny.counts, _delete, "attributes",
        (f"attribute {_name} of / is missing",), f"no attribute {_name}")

for _name, _key, _value, _words, _said in [
        ("format_other", "format", "another-trace", "attribute format of / is not",
         "another format"),
        ("format_spaces", "format", "moesim-trace ", "attribute format of / is not",
         "a format that ends in a space"),
        ("format_number", "format", np.uint32(1), "attribute format of / must be one string",
         "a number for the format"),
        ("version_0", "version", np.uint32(0), "attribute version of / is 0", "version 0"),
        ("version_2", "version", np.uint32(2), "attribute version of / is 2", "version 2"),
        ("version_text", "version", "1", "attribute version of / must be one integer",
         "a version in letters"),
        ("model_number", "model", np.uint32(5), "attribute model of / must be one string",
         "a number for the model"),
        ("model_two", "model", np.array([b"ab", b"cd"]),
         "attribute model of / must be one string", "a list of two models"),
        ("source_number", "source", np.uint32(5), "attribute source of / must be one string",
         "a number for the source"),
        ("capture_number", "capture", np.uint32(5), "attribute capture of / must be one string",
         "a number for the capture"),
        ("capture_long", "capture", "c" * 65536,
         "attribute capture of / is damaged or longer than 65535 bytes",
         "a capture of 65536 bytes"),
        ("experts_0", "experts", np.uint32(0), "attribute experts of / is 0", "0 experts"),
        ("experts_4097", "experts", np.uint32(4097), "attribute experts of / is 4097",
         "4097 experts"),
        ("experts_negative", "experts", np.int32(-8), "attribute experts of / is -8",
         "-8 experts"),
        ("experts_huge", "experts", np.uint64(2**64 - 8), "attribute experts of / is",
         "2^64 - 8 experts, which is -8 to who takes it for signed"),
        ("experts_float", "experts", np.float64(8), "attribute experts of / must be one integer",
         "8.0 experts"),
        ("experts_two", "experts", np.array([8, 8], "u4"),
         "attribute experts of / must be one integer", "a list of two numbers of experts"),
        ("top_k_0", "top_k", np.uint32(0), "attribute top_k of / is 0", "top_k 0"),
        ("top_k_9", "top_k", np.uint32(9), "attribute top_k of / is 9; it must be from 1 to 8",
         "top_k 9 of 8 experts"),
        ("top_k_text", "top_k", "two", "attribute top_k of / must be one integer",
         "a top_k in letters"),
        ("candidates_1", "candidates", np.uint32(1),
         "attribute candidates of / is 1; it must be from 2 to 8", "fewer candidates than top_k"),
        ("candidates_9", "candidates", np.uint32(9), "attribute candidates of / is 9",
         "more candidates than experts"),
        ("candidates_float", "candidates", np.float32(2),
         "attribute candidates of / must be one integer", "2.0 candidates"),
        ("score_kind_unknown", "score_kind", "softmix", "attribute score_kind of / is not one of",
         "scores of a kind that is not there"),
        ("score_kind_capital", "score_kind", "None", "attribute score_kind of / is not one of",
         "None for none"),
        ("score_kind_number", "score_kind", np.uint32(0),
         "attribute score_kind of / must be one string", "a number for the kind of scores"),
        ("sorted_2", "sorted", np.uint8(2), "attribute sorted of / is 2", "sorted 2"),
        ("sorted_text", "sorted", "no", "attribute sorted of / must be one integer",
         "a sorted in letters")]:
    def _set(trace, key=_key, value=_value):
        trace.attributes[key] = value
    add(_name, tiny.counts, _set, "attributes", (_words,), _said)


@bad(tiny.counts, "attributes", "attribute model of / is damaged")
def model_null(trace):
    """a string of variable length that was never written"""
    del trace.attributes["model"]
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(h5py.h5t.VARIABLE)
    trace.finish.append(lambda file: h5py.h5a.create(
        file.id, b"model", kind, h5py.h5s.create(h5py.h5s.SCALAR)) and None)


for _name, _value, _words, _said in [
        ("distance_missing", None, "attribute distance of /routing/predicted is missing",
         "predictions without a distance"),
        ("distance_0", np.uint32(0), "attribute distance of /routing/predicted is 0",
         "predictions 0 layers ahead"),
        ("distance_1025", np.uint32(1025), "attribute distance of /routing/predicted is 1025",
         "predictions 1025 layers ahead"),
        ("distance_text", np.bytes_(b"1"),
         "attribute distance of /routing/predicted must be one integer", "a distance in letters")]:
    def _set_distance(trace, value=_value):
        trace["/routing/predicted"].attributes = {} if value is None else {"distance": value}
    add(_name, plain_with(tiny.add_predicted), _set_distance, "attributes", (_words,), _said)


# ---- limits ----

@bad(lambda: tiny.plain((1,), layers=1025), "limits", "/moe_layer has 1025 rows; at most 1024")
def layers_1025(trace):
    """1025 layers"""
    for name in ("/moe_layer", "/routing/expert"):
        trace[name].chunked()


@bad(tiny.counts, "limits", "/group_name has 65536 rows; at most 65535")
def groups_65536(trace):
    """65536 names of groups, one more than /request/group tells apart"""
    trace["/group_name"] = tiny.Set([b"g"] * 65536, h5py.string_dtype("ascii", 1))
    trace["/group_name"].chunked()


@bad(plain_with(tiny.add_predicted), "limits",
     "/routing/predicted is 9 wide, more than attribute experts (8)")
def predicted_wide(trace):
    """predictions of nine of eight experts"""
    values = trace["/routing/predicted"].values
    trace["/routing/predicted"].values = np.concatenate(
        [values, np.full((tiny.ROWS, tiny.LAYERS, 6), 65535, "<u2")], axis=2)


# ---- storage ----


@bad(tiny.plain, "Storage", "/token/phase is stored in other files")
def external_storage(trace):
    """values that lie in another file"""
    def put(file):
        file.create_dataset("/token/phase", (tiny.ROWS,), "u1", track_times=False,
                            external=[("nowhere.raw", 0, h5py.h5f.UNLIMITED)])
    del trace["/token/phase"]
    trace.finish.append(put)


@bad(tiny.plain, "Storage", "/token/phase has a storage layout that a trace may not use")
def virtual_storage(trace):
    """values that are those of another data set"""
    def put(file):
        space = h5py.h5s.create_simple((tiny.ROWS,))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        plist.set_virtual(space, b".", b"/phases", space)
        h5py.h5d.create(file.id, b"/token/phase", h5py.h5t.STD_U8LE, space, plist)
    trace["/phases"] = trace["/token/phase"]
    del trace["/token/phase"]
    trace.finish.append(put)


@bad(tiny.plain, "Storage", "/token/phase is a link to another file or to nothing")
def external_link(trace):
    """a link to another file"""
    del trace["/token/phase"]
    trace.finish.append(lambda file: file.__setitem__(
        "/token/phase", h5py.ExternalLink("nowhere.h5", "/token/phase")))


@bad(tiny.plain, "Storage", "/token/source is a link to another file or to nothing")
def external_link_optional(trace):
    """a link to another file in the place of what may be absent"""
    in_file(lambda file: file.__setitem__(
        "/token/source", h5py.ExternalLink("nowhere.h5", "/token/source")))(trace)


@bad(tiny.counts, "Storage", "/expert_bytes is a link to another file or to nothing")
def soft_link_to_nothing(trace):
    """a link to what is not there"""
    in_file(lambda file: file.__setitem__("/expert_bytes", h5py.SoftLink("/bytes")))(trace)


for _filter, _number in (("lzf", 32000), ("scaleoffset", 6)):
    def _filtered(trace, name=_filter):
        trace[ROUTING].chunked(filters=(name,))
    add(f"filter_{_filter}", tiny.plain, _filtered, "Storage",
        (f"/routing/expert uses filter {_number}",), f"a chunk packed by {_filter}")


@bad(tiny.plain, "Storage", "/token/phase has chunks above 16 MiB")
def chunk_too_large(trace):
    """a chunk of 16 MiB and a byte"""
    trace["/token/phase"].chunked((1 << 24) + 1, filters=("deflate", "deflate"))


@bad(tiny.plain, "Storage", "/routing/expert claims 12 rows in 3 chunks but holds 2 chunks")
def chunks_unwritten(trace):
    """the last of three chunks was never written"""
    trace[ROUTING].chunked(4, 3, 2)
    trace[ROUTING].written = 8


@bad(tiny.plain, "Storage", "/routing/expert claims 12 rows but their values were never written")
def contiguous_unwritten(trace):
    """one piece that was never written"""
    trace[ROUTING].layout = "contiguous"
    trace[ROUTING].written = 0


@bad(tiny.plain, "Storage", "/routing/expert claims 1152921504606846976 rows")
def rows_claimed(trace):
    """2^60 rows, of which one chunk is there"""
    def grow(file):
        file[ROUTING].resize(1 << 60, axis=0)
    trace[ROUTING].chunked()
    trace.finish.append(grow)


def change_bytes(path, change):
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        data = change(data)
        file.seek(0)
        file.truncate()
        file.write(data)


@bad(tiny.plain, "Storage", "truncated, damaged or still being written")
def truncated(trace):
    """the last 200 bytes are gone"""
    trace.bytes.append(lambda path: change_bytes(path, lambda data: data[:-200]))


@bad(tiny.plain, "Storage", "is not an HDF5 file")
def no_hdf5(trace):
    """the first byte is another, so that this is no HDF5 file"""
    trace.bytes.append(lambda path: change_bytes(path, lambda data: b"?" + data[1:]))


@bad(tiny.plain, "Storage", "is not an HDF5 file")
def no_bytes(trace):
    """a file of no bytes"""
    trace.bytes.append(lambda path: change_bytes(path, lambda data: b""))


@bad(tiny.plain, "Storage", "/routing/expert, rows 0 to 11 cannot be read: the file is damaged")
def bit_flipped(trace):
    """a flipped bit in a chunk, which its fletcher32 finds"""
    where = []
    trace[ROUTING].chunked(filters=("fletcher32",))
    trace.finish.append(lambda file: where.append(
        file[ROUTING].id.get_chunk_info(0).byte_offset))

    def flip(data):
        data[where[0] + 5] ^= 4
        return data
    trace.bytes.append(lambda path: change_bytes(path, flip))


@bad(tiny.plain, "Storage", "/token/phase is not a data set, or damaged")
def bit_flipped_metadata(trace):
    """a flipped bit in the header of a data set, which its checksum finds"""
    where = []
    trace.finish.append(lambda file: where.append(
        h5py.h5o.get_info(file["/token/phase"].id).addr))

    def flip(data):
        data[where[0] + 20] ^= 1
        return data
    trace.bytes.append(lambda path: change_bytes(path, flip))
