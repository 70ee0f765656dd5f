/* Writing the rows of a fitted model as a trace; shared by the two ways to generate. */
#ifndef MOESIM_TRACES_GENERATE_WRITE_H
#define MOESIM_TRACES_GENERATE_WRITE_H

#include "draw.h"
#include "generate.h"
#include "trace.h"

enum trace_score_kind generate_score_kind(enum generate_scores scores);

/* Requests are dealt to `sources` ranks in turn; 0: their rows' source is unknown.
 * Rows, requests and passes of `info` are not looked at. Its score_kind is none, softmax
 * (its candidates are the executed experts), or logit (they are all experts). 0 or -1. */
int generate_write(struct draw_model *m, const struct trace_info *info,
                   const struct draw_request *requests, size_t count, uint32_t sources,
                   const char *out, struct err *e);

/* Requests whose rows and numbers a trace cannot hold. 0 or -1. */
int generate_check(const char *out, const struct draw_request *requests, size_t count,
                   struct err *e);

#endif
