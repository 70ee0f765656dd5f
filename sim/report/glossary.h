/* What the words mean that results, tables and messages use. One table: `moesim help
 * WORD` prints it, and whoever shows a column may say what it is. */
#ifndef MOESIM_REPORT_GLOSSARY_H
#define MOESIM_REPORT_GLOSSARY_H

struct glossary_word {
    const char *word; /* as one would look it up: "TPOT", "hit rate" */
    const char *text; /* one or two sentences */
    const char *also; /* other spellings, heads of columns and keys, "|" between; or "" */
    const char *more; /* where to read on: a file of the source, or a command */
};

/* In alphabetical order; ends with a word of NULL. */
extern const struct glossary_word glossary_words[];

/* The word, by itself or another spelling, letters of either size alike, "-" and "_" as
 * spaces; of a column "total_hits" or "peak_kv_bytes" what stands behind the prefix is
 * enough. NULL: there is none. */
const struct glossary_word *glossary_find(const char *text);

#endif
