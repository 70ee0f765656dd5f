#include "chunk.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANK = 8, CHECKSUM_BYTES = 4 };

struct chunk_reader {
    hid_t set;
    int rank;
    uint64_t rows;           /* of a chunk */
    size_t width, row_bytes; /* of a value, of a row */
    size_t bytes;            /* of a chunk, unpacked */
    bool shuffled, summed;
    struct libdeflate_decompressor *inflater;
    size_t packed_room;
    unsigned char *packed; /* [packed_room] a chunk as it lies in the file */
    unsigned char *plain;  /* [bytes] inflated; NULL until the first read */
};

/* ---- opening ---- */

static bool find_filters(struct chunk_reader *c, hid_t plist)
{
    const H5Z_filter_t order[] = {H5Z_FILTER_SHUFFLE, H5Z_FILTER_DEFLATE,
                                  H5Z_FILTER_FLETCHER32};
    bool has[3] = {false, false, false};
    int filters = H5Pget_nfilters(plist);
    int at = 0;

    for (int i = 0; i < filters; i++) {
        unsigned flags, config, value[1] = {0};
        size_t values = 1;
        H5Z_filter_t id =
            H5Pget_filter2(plist, (unsigned)i, &flags, &values, value, 0, NULL, &config);

        while (at < 3 && order[at] != id)
            at++;
        if (at == 3 || (id == H5Z_FILTER_SHUFFLE && value[0] != c->width))
            return false;
        has[at++] = true;
    }
    c->shuffled = has[0];
    c->summed = has[2];
    return has[1];
}

/* The shape of a chunk: rows of the whole width. */
static bool find_shape(struct chunk_reader *c, hid_t plist)
{
    hsize_t dim[H5S_MAX_RANK], chunk[MAX_RANK];
    hid_t space = H5Dget_space(c->set);
    bool fits;

    if (space < 0)
        return false;
    c->rank = H5Sget_simple_extent_ndims(space);
    fits = c->rank >= 1 && c->rank <= MAX_RANK &&
           H5Sget_simple_extent_dims(space, dim, NULL) == c->rank &&
           H5Pget_chunk(plist, MAX_RANK, chunk) == c->rank;
    (void)H5Sclose(space);
    if (!fits)
        return false;
    c->row_bytes = c->width;
    for (int i = 1; i < c->rank; i++) {
        if (chunk[i] != dim[i])
            return false;
        c->row_bytes *= (size_t)chunk[i];
    }
    c->rows = chunk[0];
    c->bytes = (size_t)c->rows * c->row_bytes;
    return true;
}

struct chunk_reader *chunk_reader_new(hid_t set, hid_t disk, hid_t memory, hid_t plist)
{
    struct chunk_reader c = {.set = set, .width = H5Tget_size(memory)};
    struct chunk_reader *made;

    if (H5Pget_layout(plist) != H5D_CHUNKED || H5Tequal(disk, memory) <= 0 ||
        !find_shape(&c, plist) || !find_filters(&c, plist))
        return NULL;
    made = mem_alloc(1, sizeof *made);
    *made = c;
    return made;
}

void chunk_reader_free(struct chunk_reader *c)
{
    if (c == NULL)
        return;
    libdeflate_free_decompressor(c->inflater);
    free(c->packed);
    free(c->plain);
    free(c);
}

/* ---- unpacking ---- */

/* Brings a sum to 16 bits, modulo 65535, where 0 stands for no sum at all. */
static uint32_t fold(uint64_t sum)
{
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint32_t)sum;
}

/* Fletcher's checksum over big-endian pairs of bytes, as HDF5 defines it. 64 bits hold
 * both sums of the largest chunk, so that folding can wait until the end. */
static uint32_t checksum(const unsigned char *p, size_t size)
{
    uint64_t sum = 0, sums = 0;

    assert(size < (size_t)1 << 25);
    for (; size >= 2; size -= 2, p += 2) {
        sum += (uint32_t)p[0] << 8 | p[1];
        sums += sum;
    }
    if (size > 0) {
        sum += (uint32_t)p[0] << 8;
        sums += sum;
    }
    return fold(sums) << 16 | fold(sum);
}

/* Takes the checksum off the end of *size bytes. */
static bool checksum_holds(const unsigned char *packed, size_t *size)
{
    const unsigned char *p;

    if (*size < CHECKSUM_BYTES)
        return false;
    *size -= CHECKSUM_BYTES;
    p = packed + *size;
    return checksum(packed, *size) == ((uint32_t)p[0] | (uint32_t)p[1] << 8 |
                                       (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

/* Value i of `values` has byte b at plane b, place i; there are `all` places. */
static void unshuffle(const struct chunk_reader *c, size_t values, unsigned char *out)
{
    size_t all = c->bytes / c->width;

    if (c->width == 2) { /* expert ids and scores: most of the file */
        const unsigned char *low = c->plain, *high = c->plain + all;

        for (size_t i = 0; i < values; i++) {
            out[2 * i] = low[i];
            out[2 * i + 1] = high[i];
        }
        return;
    }
    for (size_t b = 0; b < c->width; b++)
        for (size_t i = 0; i < values; i++)
            out[i * c->width + b] = c->plain[b * all + i];
}

static bool reserve(struct chunk_reader *c, hsize_t packed)
{
    /* What cannot be deflated grows by a few bytes; more is damage. */
    if (packed > c->bytes + c->bytes / 8 + 1024)
        return false;
    if (c->plain == NULL) {
        c->inflater = libdeflate_alloc_decompressor();
        c->plain = mem_alloc(c->bytes, 1);
    }
    if (c->packed_room < packed) {
        c->packed = mem_resize(c->packed, (size_t)packed, 1);
        c->packed_room = (size_t)packed;
    }
    return c->inflater != NULL;
}

static bool read_one(struct chunk_reader *c, uint64_t first, uint64_t count,
                     unsigned char *out)
{
    hsize_t offset[MAX_RANK] = {first}, stored = 0;
    uint32_t left_out = 0; /* filters that were skipped for this chunk */
    size_t size;

    if (H5Dget_chunk_storage_size(c->set, offset, &stored) < 0 || stored == 0 ||
        !reserve(c, stored) ||
        H5Dread_chunk(c->set, H5P_DEFAULT, offset, &left_out, c->packed) < 0 ||
        left_out != 0)
        return false;
    size = (size_t)stored;
    if (c->summed && !checksum_holds(c->packed, &size))
        return false;
    if (libdeflate_zlib_decompress(c->inflater, c->packed, size, c->plain, c->bytes,
                                   NULL) != LIBDEFLATE_SUCCESS)
        return false;
    if (c->shuffled)
        unshuffle(c, (size_t)count * (c->row_bytes / c->width), out);
    else
        memcpy(out, c->plain, (size_t)count * c->row_bytes);
    return true;
}

bool chunk_reader_read(struct chunk_reader *c, uint64_t first, uint64_t count,
                       void *values)
{
    unsigned char *out = values;

    assert(first % c->rows == 0);
    while (count > 0) {
        uint64_t n = count < c->rows ? count : c->rows;

        if (!read_one(c, first, n, out))
            return false;
        out += n * c->row_bytes;
        first += n;
        count -= n;
    }
    return true;
}
