/* What the fuzz targets share: what must hold, the fuzzer's bytes taken as choices, and
 * paths under which bytes can be opened by name.
 *
 * A target is one file, fuzz_NAME.c, that defines LLVMFuzzerTestOneInput(): it reads
 * foreign bytes as the program does and ends the process with fuzz_require() where a
 * promise is broken. Its first inputs are in NAME.seeds. */
#ifndef MOESIM_TESTS_FUZZ_INPUT_H
#define MOESIM_TESTS_FUZZ_INPUT_H

#include "sim/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void fuzz_require(bool holds);
/* A failure comes with one sentence, without control characters; a success without. With
 * FUZZ_SAY in the environment the sentences are shown. */
void fuzz_require_sentence(int status, const struct err *e);

/* The fuzzer's bytes, taken one after another. Where they end there are zeros. */
struct fuzz_bytes {
    const uint8_t *next;
    size_t left;
};
uint64_t fuzz_take(struct fuzz_bytes *b, size_t count);
/* 0 to count - 1. */
size_t fuzz_choose(struct fuzz_bytes *b, size_t count);
/* Small values, and some that lie at the edges of types. */
int64_t fuzz_value(struct fuzz_bytes *b);

/* The path of a file in memory that holds these bytes; it stands until the next call.
 * Borrowed. */
const char *fuzz_file(const void *data, size_t size);
/* An empty folder for files. It is removed, with the files in it, when the process ends
 * well. Borrowed. */
const char *fuzz_folder(void);
/* Writes a file of that folder. */
void fuzz_write(const char *path, const void *data, size_t size);

/* For targets that read text: changes it by whole words, numbers and lines as well as by
 * bytes. Define it as the target's mutator with FUZZ_TEXT_MUTATOR. */
size_t fuzz_mutate_text(uint8_t *data, size_t size, size_t room, unsigned seed);
#define FUZZ_TEXT_MUTATOR                                                                \
    size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room,              \
                                   unsigned seed);                                       \
    size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room,              \
                                   unsigned seed)                                        \
    {                                                                                    \
        return fuzz_mutate_text(data, size, room, seed);                                 \
    }

#endif
