/* Ranges and lists of a slice, "4:8" and "0,4:8,23". */
#include "input.h"

#include "sim/base/mem.h"
#include "traces/slice.h"

#include <stdlib.h>
#include <string.h>

FUZZ_TEXT_MUTATOR

enum { COUNT = 100 };

static void check_range(const char *text)
{
    struct err e = {.text = ""};
    uint64_t first = 0, last = 0;
    int status = slice_parse_range(text, &first, &last, &e);

    fuzz_require_sentence(status, &e);
    fuzz_require(status != 0 || first < last);
}

/* What a list keeps is what its ranges, one by one, keep. */
static void check_list(const char *text)
{
    struct err e = {.text = ""};
    bool keep[COUNT] = {false};
    int status = slice_parse_list(text, COUNT, keep, &e);
    size_t kept = 0, named = 0;
    char *copy = mem_strdup(text), *rest = copy;

    fuzz_require_sentence(status, &e);
    while (status == 0 && rest != NULL) {
        uint64_t first, last;
        char *one = rest;

        rest = strchr(rest, ',');
        if (rest != NULL)
            *rest++ = '\0';
        fuzz_require(slice_parse_range(one, &first, &last, &e) == 0);
        for (uint64_t i = first; i < last && i < COUNT; i++, named++)
            fuzz_require(keep[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        kept += keep[i];
    fuzz_require(status != 0 || (kept == named && kept > 0));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_zalloc(size + 1, 1);

    if (size > 0)
        memcpy(text, data, size);
    check_range(text);
    check_list(text);
    free(text);
    return 0;
}
