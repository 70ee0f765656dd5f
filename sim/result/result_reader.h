/* Reading pieces of a result file. Nothing in the file is believed: every string, scalar
 * and column is checked for type and size before memory is taken for it. Functions return
 * 0, or -1 with a sentence that names the file and the piece.
 *
 * `where` is the path of the group that is read ("" for the root), for the sentence. */
#ifndef MOESIM_RESULT_RESULT_READER_H
#define MOESIM_RESULT_RESULT_READER_H

#include "result_hdf.h"

/* Deflate shrinks at most 1032 times; a file that claims more rows than that lies. */
#define RESULT_READER_EXPANSION 1100

struct result_reader {
    const char *path;
    hid_t file;
    uint64_t file_bytes;
    struct err *e;
};

/* Sets the sentence; -1. */
int result_reader_damaged(struct result_reader *r, const char *where, const char *name);

/* Whether a group or data set is there, in this very file. */
bool result_reader_has(hid_t parent, const char *name);
/* Opens a group that must be there; to be closed. Negative with the sentence. */
hid_t result_reader_group(struct result_reader *r, hid_t parent, const char *where,
                          const char *name);

/* Attributes. Strings are owned by the caller, those of a table by its record. */
int result_reader_text(struct result_reader *r, hid_t object, const char *where,
                       const char *name, char **text);
int result_reader_texts(struct result_reader *r, hid_t object, const char *where,
                        const struct result_text *table, void *record);
int result_reader_scalar(struct result_reader *r, hid_t object, const char *where,
                         const struct result_field *f, void *record);
int result_reader_scalars(struct result_reader *r, hid_t object, const char *where,
                          const struct result_field *table, void *record);

/* Strings that are data sets of the root: result_long_texts. */
int result_reader_long_texts(struct result_reader *r, struct result *result);

/* Rows [first, first + count) of an integer column that must have `rows` of them; of all
 * columns of a group, into records. */
int result_reader_column(struct result_reader *r, hid_t parent, const char *where,
                         const char *name, enum result_kind kind, uint64_t rows,
                         uint64_t first, uint64_t count, void *values);
int result_reader_table(struct result_reader *r, hid_t parent, const char *where,
                        const struct result_field *table, uint64_t rows, uint64_t first,
                        uint64_t count, void *records, size_t stride);
/* Whether a group has all those columns, with `rows` rows each; reads none. 0 or -1. */
int result_reader_check(struct result_reader *r, hid_t parent, const char *where,
                        const struct result_field *table, uint64_t rows);
/* A whole column that must have `rows` integers of 8 bytes. Owned; NULL with the
 * sentence. */
uint64_t *result_reader_array(struct result_reader *r, hid_t parent, const char *where,
                              const char *name, enum result_kind kind, uint64_t rows);
/* A whole column of strings, `rows` of them, of `what` ("groups"). They go to *names and
 * on, `stride` bytes apart; owned by the caller. */
int result_reader_names(struct result_reader *r, hid_t parent, const char *where,
                        const char *name, uint32_t rows, const char *what, char **names,
                        size_t stride);

#endif
