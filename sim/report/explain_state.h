/* What the files of explain share: pieces of sentences, and the part of several GPUs. */
#ifndef MOESIM_REPORT_EXPLAIN_STATE_H
#define MOESIM_REPORT_EXPLAIN_STATE_H

#include "explain.h"
#include "lossy.h"
#include "sim/base/text.h"

/* Appends a sentence, which it takes, to the owned `*text`. */
void explain_add(char **text, char *sentence);
struct text_figure explain_part(double seconds, double total);
/* Where its experts in place ran: "on the host", or "near the data". */
const char *explain_place(const struct run_counts *c);
/* The policy of this result with the least time, if it is clearly below this one's. */
const struct result_policy *explain_better_policy(const struct result *r,
                                                  uint32_t policy);
/* What is left of a time; 0 where that is no more than the means over several GPUs were
 * rounded by. */
double explain_rest(double all, double part);
/* a / b; NaN without b. */
double explain_share(double a, double b);
/* A line of a table: total, per pass, share of `all`. */
void explain_print_share(FILE *out, const char *name, double seconds, double passes,
                         double all);

/* Behind what is said of the link: the misses that a watch could have foretold, or that
 * none was kept. Nothing where none missed. */
void explain_print_watch(const struct result *r, const struct run_result *run, FILE *out);

/* ---- several GPUs: explain_parallel_find.c, explain_parallel.c ---- */

/* Rows of the GPU with most of the whole run over the mean, and which that is. NaN
 * without rows. */
double explain_fullest_gpu(const struct run_result *run, uint32_t *gpu);
/* Policies of this result that differ from this one, which moved experts, only in where
 * experts are, and moved none. Fills `other` with as many as fit; how many. */
uint32_t explain_unmoved(const struct result *r, uint32_t policy, uint32_t *other,
                         uint32_t room);
struct explain_finding explain_parallel_find(const struct result_policy *p);
char *explain_parallel_verdict(const struct explain_finding *f, const struct result *r,
                               uint32_t policy);
char *explain_parallel_help(const struct explain_finding *f, const struct result *r,
                            uint32_t policy);
/* The tables: bounds, layers, GPUs, ports, migrations. 0 or -1. */
int explain_parallel_print(const struct result *r, uint32_t policy,
                           const struct explain_finding *f, FILE *out, struct err *e);

/* ---- selects: explain_select.c ---- */

/* All policies of a result beside each other. */
struct explain_selects {
    struct lossy lossy; /* owned; numbers are those of the policies */
    bool first_token;   /* times are to the first token, for no request has two */
};
void explain_selects_find(const struct result *r, struct explain_selects *x);
/* What the select of a policy changed, and against controls; nothing without one. */
void explain_select_print(const struct result *r, uint32_t policy,
                          const struct explain_selects *x, FILE *out);
/* A select against its controls, in a sentence; "": there can be none. Owned. */
char *explain_select_control(const struct result *r, const struct explain_selects *x,
                             const struct lossy_point *p);
/* "it is faster, by 7.7 %", or that it is not. Owned. */
char *explain_select_lead(double lead);

/* ---- hits against time: explain_hits.c ---- */

/* Whether `p` hits more than the other and takes longer for the same tokens; neither
 * knows what comes, and the other does not lose more of what the model computes. */
bool explain_hits_mislead(const struct result_policy *p,
                          const struct result_policy *other);
/* The fastest policy of the result that hits less and takes less time; or NULL. */
const struct result_policy *explain_hits_rival(const struct result *r, uint32_t policy);
/* That it is so, and why: more experts, more bytes, misses that the other runs on the
 * host, late copies, a busy link. `name`: what the sentence begins with, "It". Owned. */
char *explain_hits_text(const char *name, const struct result_policy *p,
                        const struct result_policy *rival);

#endif
