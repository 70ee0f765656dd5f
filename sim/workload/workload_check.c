/* A workload's options, and whether a trace has what they ask for. */
#include "workload.h"

#include <assert.h>
#include <stddef.h>

static const char *const mode_names[] = {"recorded", "static", "continuous", NULL};
static const char *const arrival_names[] = {"closed", "poisson", "trace", "file", NULL};
static const char *const length_names[] = {"trace", "file", NULL};
static const char *const prefill_names[] = {"resample", "skip", "recorded", NULL};

#define AT(field) offsetof(struct workload_params, field)
const struct option workload_options[] = {
    {"mode", OPT_CHOICE, AT(mode), "static", 0, 0, mode_names,
     "how requests form passes: the trace's own, lock-step batches, or continuous"},
    {"batch", OPT_INT, AT(batch), "1", 1, 1e6, NULL, "static: requests per batch"},
    {"max_sequences", OPT_INT, AT(max_sequences), "32", 1, 1e6, NULL,
     "continuous: most requests that run at once"},
    {"token_budget", OPT_INT, AT(token_budget), "0", 0, 1e9, NULL,
     "most rows of a pass (continuous) or of a prefill pass (static); 0: no limit"},
    {"arrivals", OPT_CHOICE, AT(arrivals), "closed", 0, 0, arrival_names,
     "when requests come: as there is room, at random, or as the trace or file says"},
    {"rate", OPT_DOUBLE, AT(rate), "1", 1e-6, 1e9, NULL, "poisson: requests per second"},
    {"file", OPT_STRING, AT(file), "", 0, 0, NULL,
     "request file, Azure (CSV) or Mooncake (JSON lines)"},
    {"lengths", OPT_CHOICE, AT(lengths), "trace", 0, 0, length_names,
     "where prompt and output lengths come from"},
    {"prefill", OPT_CHOICE, AT(prefill), "resample", 0, 0, prefill_names,
     "prompt rows that were not recorded: drawn from the request's rows, left out, or "
     "refused"},
    {"first_request", OPT_INT, AT(first_request), "0", 0, 4e9, NULL,
     "index of the first request in the trace"},
    {"requests", OPT_INT, AT(requests), "0", 0, 4e9, NULL, "how many; 0: all"},
    {"max_passes", OPT_INT, AT(max_passes), "0", 0, 1e15, NULL,
     "stop after so many passes; 0: no limit"},
    {"context", OPT_INT, AT(context), "0", 0, 1e9, NULL,
     "tokens of KV cache of each sequence that GPU memory keeps room for, as engines' "
     "context length; 0: for those that passes have"},
    {.name = NULL},
};
#undef AT

/* `key` is what asks for the field. */
static int need_field(const struct trace *t, enum trace_field field, const char *key,
                      const char *why, struct err *e)
{
    if ((trace_fields(t) & (unsigned)field) != 0)
        return 0;
    return err_set_key(e, key, "%s: has no %s, which %s", trace_path(t),
                       trace_field_name(field), why);
}

static int check_fields(const struct trace *t, const struct workload_params *p,
                        bool scores, bool predicted, struct err *e)
{
    if (need_field(t, TRACE_HAS_IDS, "trace", "every replay needs", e) != 0)
        return -1;
    if (scores && need_field(t, TRACE_HAS_SCORES, "trace", "a policy needs", e) != 0)
        return -1;
    if (predicted &&
        need_field(t, TRACE_HAS_PREDICTED, "trace", "a policy needs", e) != 0)
        return -1;
    if (p->mode == WORKLOAD_RECORDED &&
        need_field(t, TRACE_HAS_PASSES, "workload.mode",
                   "mode: recorded needs; choose mode: static or continuous", e) != 0)
        return -1;
    if (p->arrivals == ARRIVALS_TRACE &&
        need_field(t, TRACE_HAS_ARRIVALS, "workload.arrivals",
                   "arrivals: trace needs; choose arrivals: closed or poisson", e) != 0)
        return -1;
    return 0;
}

static int check_recorded(const struct workload_params *p, struct err *e)
{
    if (p->arrivals != ARRIVALS_CLOSED || p->lengths != LENGTHS_TRACE)
        return err_set_key(e, "workload.mode",
                           "workload: mode: recorded replays the trace's own passes, so "
                           "arrivals must be closed and lengths trace");
    if (p->first_request != 0 || p->requests != 0)
        return err_set_key(
            e, "workload.mode",
            "workload: mode: recorded serves whole passes, so first_request "
            "and requests must be 0; use max_passes, or slice the trace");
    if (p->context != 0)
        return err_set_key(
            e, "workload.context",
            "workload: mode: recorded has the sequences that were recorded, so context "
            "must be 0; choose mode: static or continuous");
    return 0;
}

static int check_params(const struct trace *t, const struct workload_params *p,
                        struct err *e)
{
    const struct trace_info *info = trace_get_info(t);
    bool by_file = p->arrivals == ARRIVALS_FILE || p->lengths == LENGTHS_FILE;
    bool has_file = p->file != NULL && p->file[0] != '\0';

    assert(p->batch > 0 && p->max_sequences > 0 && p->token_budget >= 0);
    assert(p->first_request >= 0 && p->requests >= 0 && p->max_passes >= 0);
    if (by_file && !has_file)
        return err_set_key(e, "workload",
                           "workload: arrivals or lengths is file, but no file is given; "
                           "name it with file: requests.csv");
    if (has_file && !by_file)
        return err_set_key(e, "workload.file",
                           "workload: file is given, but neither arrivals nor lengths is "
                           "file; say lengths: file, or leave it out");
    if (p->arrivals == ARRIVALS_POISSON && !(p->rate > 0.0))
        return err_set_key(e, "workload.rate",
                           "workload: arrivals: poisson needs a rate above 0");
    if (p->mode == WORKLOAD_CONTINUOUS && p->token_budget > 0 &&
        p->token_budget < p->max_sequences)
        return err_set_key(
            e, "workload.token_budget",
            "workload: token_budget %lld is below max_sequences %lld, so a pass "
            "could not take a row of each request",
            (long long)p->token_budget, (long long)p->max_sequences);
    if ((uint64_t)p->first_request >= info->requests)
        return err_set_key(
            e, "workload.first_request",
            "workload: first_request is %lld, but %s has %llu requests, counted from 0",
            (long long)p->first_request, trace_path(t),
            (unsigned long long)info->requests);
    return p->mode == WORKLOAD_RECORDED ? check_recorded(p, e) : 0;
}

int workload_check(const struct trace *t, const struct workload_params *p, bool scores,
                   bool predicted, struct err *e)
{
    return check_fields(t, p, scores, predicted, e) != 0 || check_params(t, p, e) != 0
               ? -1
               : 0;
}
