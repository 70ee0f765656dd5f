#include "result_hdf.h"

#include <stddef.h>
#include <string.h>

const struct result_text result_head_texts[] = {
    {"trace_path", offsetof(struct result, trace_path)},
    {"trace_source", offsetof(struct result, trace_source)},
    {"model", offsetof(struct result, model)},
    {"machine", offsetof(struct result, machine)},
    {"machine_source", offsetof(struct result, machine_source)},
    {"watch", offsetof(struct result, watch)},
    {"moesim", offsetof(struct result, version)},
    {NULL, 0},
};

/* An attribute holds at most 64 KiB; these may be longer. */
const struct result_text result_long_texts[] = {
    {"config", offsetof(struct result, config)},
    {"notes", offsetof(struct result, notes)},
    {NULL, 0},
};

#define DESCRIPTION(name, slot)                                                          \
    {                                                                                    \
        name, offsetof(struct result_policy, description[slot])                          \
    }

const struct result_text result_policy_texts[] = {
    {"label", offsetof(struct result_policy, label)},
    {"variant", offsetof(struct result_policy, variant)},
    DESCRIPTION("gate", SLOT_GATE),
    DESCRIPTION("select", SLOT_SELECT),
    DESCRIPTION("place", SLOT_PLACE),
    DESCRIPTION("cache", SLOT_CACHE),
    DESCRIPTION("prefetch", SLOT_PREFETCH),
    DESCRIPTION("offload", SLOT_OFFLOAD),
    DESCRIPTION("schedule", SLOT_SCHEDULE),
    {NULL, 0},
};

hid_t result_hdf_disk_type(enum result_kind kind)
{
    switch (kind) {
    case RESULT_TIME:
        return H5T_STD_I64LE;
    case RESULT_BYTES:
    case RESULT_RATE:
    case RESULT_U64:
    case RESULT_TIMED:
        return H5T_STD_U64LE;
    case RESULT_U32:
        return H5T_STD_U32LE;
    case RESULT_U16:
        return H5T_STD_U16LE;
    case RESULT_FLAG:
        break;
    }
    return H5T_STD_U8LE;
}

hid_t result_hdf_memory_type(enum result_kind kind)
{
    switch (kind) {
    case RESULT_TIME:
        return H5T_NATIVE_INT64;
    case RESULT_BYTES:
    case RESULT_RATE:
    case RESULT_U64:
    case RESULT_TIMED:
        return H5T_NATIVE_UINT64;
    case RESULT_U32:
        return H5T_NATIVE_UINT32;
    case RESULT_U16:
        return H5T_NATIVE_UINT16;
    case RESULT_FLAG:
        break;
    }
    return H5T_NATIVE_UINT8;
}

const char *result_hdf_unit(enum result_kind kind)
{
    return kind == RESULT_TIME    ? "ps"
           : kind == RESULT_BYTES ? "bytes"
           : kind == RESULT_RATE  ? "bytes/s"
                                  : "1";
}

void result_hdf_gather(const struct result_field *f, const void *records, size_t stride,
                       size_t count, void *dense)
{
    const char *from = (const char *)records + f->offset;
    size_t size = result_field_size(f);
    char *to = dense;

    for (size_t i = 0; i < count; i++) {
        if (f->kind == RESULT_FLAG)
            to[i] = *(const bool *)(const void *)(from + i * stride) ? 1 : 0;
        else
            memcpy(to + i * size, from + i * stride, size);
    }
}

void result_hdf_scatter(const struct result_field *f, const void *dense, size_t stride,
                        size_t count, void *records)
{
    size_t size = result_field_size(f);
    const char *from = dense;
    char *to = (char *)records + f->offset;

    for (size_t i = 0; i < count; i++) {
        if (f->kind == RESULT_FLAG)
            *(bool *)(void *)(to + i * stride) = from[i] != 0;
        else
            memcpy(to + i * stride, from + i * size, size);
    }
}
