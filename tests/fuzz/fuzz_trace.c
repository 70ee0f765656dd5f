/* The trace reader, on traces made in memory (memory_trace.h): everything that follows
 * HDF5 in reading one. Real files are fuzz_trace_file.c's. */
#include "memory_trace.h"
#include "read_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes b = {data, size};
    /* Now and then a cache with room for one block only. */
    size_t cache_bytes = fuzz_take(&b, 1) % 2 == 0 ? 1 : 0;

    memory_trace_make(&b, &(struct memory_trace_shape){.model = "fuzz"});
    read_trace("trace", cache_bytes);
    return 0;
}
