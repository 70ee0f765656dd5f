/* What a file is, by its beginning: for those who get one of another kind than they need.
 * Guesses only; a file of no known kind is nobody's fault. */
#ifndef MOESIM_BASE_FILE_KIND_H
#define MOESIM_BASE_FILE_KIND_H

#include "err.h"

enum file_kind {
    FILE_OTHER,
    FILE_FOLDER,
    FILE_TRACE,
    FILE_RESULT,
    FILE_HDF5, /* neither of those */
    FILE_NUMPY,
    FILE_CONFIGURATION,
    FILE_PARAMETERS, /* of the trace generator */
    FILE_MACHINE,
    FILE_MODEL,
    FILE_TABLE,    /* published figures */
    FILE_BASELINE, /* of moesim check */
    FILE_TEXT,     /* wanted only: lines of values */
    FILE_MAP,      /* wanted only: of a placement */
    FILE_KINDS
};

enum file_kind file_kind_of(const char *path);
/* Refuses a file that is of another known kind than `wanted`, and says what it is good
 * for. 0: it may be of that kind, or is not there. */
int file_kind_check(const char *path, enum file_kind wanted, struct err *e);

#endif
