/* Request files, of both formats. */
#include "input.h"

#include "sim/workload/arrivals.h"

FUZZ_TEXT_MUTATOR

static uint64_t read_some(const char *path, uint64_t limit)
{
    struct err e = {.text = ""};
    struct arrivals a = {0};
    int status = arrivals_read(&a, path, limit, &e);
    uint64_t count = a.count;
    sim_time earliest = INT64_MAX;

    fuzz_require_sentence(status, &e);
    if (status != 0)
        return 0;
    fuzz_require(count > 0 && (limit == 0 || count <= limit));
    for (uint64_t i = 0; i < count; i++) {
        const struct arrivals_request *q = &a.request[i];

        fuzz_require(q->arrival >= 0 && q->prompt_tokens <= ARRIVALS_MAX_TOKENS &&
                     q->output_tokens <= ARRIVALS_MAX_TOKENS &&
                     (q->prompt_tokens > 0 || q->output_tokens > 0));
        if (q->arrival < earliest)
            earliest = q->arrival;
    }
    fuzz_require(earliest == 0);
    arrivals_release(&a);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    uint64_t all = read_some(path, 0), two = read_some(path, 2);

    /* What is right as a whole is right from its beginning. */
    fuzz_require(all == 0 || two == (all < 2 ? all : 2));
    return 0;
}
