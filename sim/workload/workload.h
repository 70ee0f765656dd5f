/* The workload: requests, arrivals and batching, cut into passes (one forward pass of the
 * model over a batch). It reads routing from the trace and hands out one pass at a time.
 *
 * Modes. *recorded*: the trace's own passes. *static*: `batch` requests run in lock-step
 * (prefill of all in one pass, then one row each per pass); the next batch starts when
 * the whole one is done. *continuous*: up to `max_sequences` requests run; every pass
 * takes one row of each decoding request and fills the rest of `token_budget` with
 * prefill rows (chunked: a prompt may be cut), requests joining in order of arrival.
 *
 * Arrivals. *closed*: a request is there when there is room for it. *poisson*: `rate`
 * requests per second. *trace*: /request/arrival_ns. *file*: an Azure (CSV) or Mooncake
 * (JSON lines) request file; with `lengths: file` prompt and output lengths too.
 *
 * Prefill routing. A request's prompt rows come from the trace where they were recorded;
 * otherwise, by `prefill`: *resample* draws each prompt row from the same request's rows
 * (the result says so), *skip* runs without prefill passes (TTFT is then that of the
 * first decode pass, and the result says so), *recorded* refuses. Output rows beyond the
 * recorded ones are resampled likewise. The first output token comes from the prefill
 * pass, or from the first decode pass where prefill is skipped.
 *
 * An encoder-decoder model (encoder_layers) reads a prompt in one pass, through its
 * encoder's layers alone, and gives no token for it; output rows go through its decoder's
 * layers alone. Of a pass the encoder's rows come first. A prompt that does not fit into
 * what is left of `token_budget` waits, and nobody joins before it.
 *
 * A request is one trace request (in trace order, `requests` of them); with a request
 * file longer than the trace, trace requests are used again from the start. */
#ifndef MOESIM_WORKLOAD_WORKLOAD_H
#define MOESIM_WORKLOAD_WORKLOAD_H

#include "models/cost.h"
#include "sim/base/config.h"
#include "sim/base/units.h"
#include "sim/policy/view.h"
#include "traces/trace.h"

enum workload_mode { WORKLOAD_RECORDED, WORKLOAD_STATIC, WORKLOAD_CONTINUOUS };
enum workload_arrivals {
    ARRIVALS_CLOSED,
    ARRIVALS_POISSON,
    ARRIVALS_TRACE,
    ARRIVALS_FILE
};
enum workload_lengths { LENGTHS_TRACE, LENGTHS_FILE };
enum workload_prefill { PREFILL_RESAMPLE, PREFILL_SKIP, PREFILL_RECORDED };

struct workload_params {
    int mode;              /* enum workload_mode */
    int64_t batch;         /* static: requests per batch */
    int64_t max_sequences; /* continuous */
    int64_t token_budget; /* continuous: rows per pass; also the prefill chunk, 0: none */
    int arrivals;         /* enum workload_arrivals */
    double rate;          /* poisson: requests per second */
    const char *file;     /* request file */
    int lengths;          /* enum workload_lengths */
    int prefill;          /* enum workload_prefill */
    int64_t first_request; /* index in the trace */
    int64_t requests;      /* how many; 0: all */
    int64_t max_passes;    /* stop after so many; 0: no limit */
    int64_t context; /* tokens of KV cache of each sequence that GPU memory keeps room
                        for; 0: for those that passes have */
};
extern const struct option workload_options[];

/* One request as it is served. `output_tokens` is what the trace or file says until the
 * request is admitted, then the number of output tokens that passes give it. */
struct workload_request {
    uint64_t trace_request; /* index in the trace */
    uint16_t group;
    uint32_t prompt_tokens, output_tokens;
    sim_time arrival; /* 0 in closed loop until it is admitted, then that time */
};

struct pass {
    uint64_t index;
    sim_time not_before; /* no earlier: the next arrival, when nothing was ready */
    uint32_t rows;
    const struct view_row *row; /* [rows]; request is the workload's request index */
    const uint16_t *expert;     /* (row, layer, candidate) */
    const float *score;         /* same shape, or NULL */
    const uint16_t *predicted;  /* (row, layer, P), or NULL */
    struct cost_batch batch;    /* of all rows but the encoder's */
    struct cost_batch encoder;  /* of rows [0, encoder.tokens), which are an encoder's */
    uint32_t finished_count;    /* requests whose last row is in this pass */
    const uint32_t *finished;
    uint32_t first_count; /* requests whose first output token it gives */
    const uint32_t *first;
    uint32_t output_count; /* requests that get an output token from it */
    const uint32_t *output;
};

/* Refuses, by key of the configuration, options that contradict each other and a trace
 * that lacks what they, or a policy, need. 0 or -1. */
int workload_check(const struct trace *t, const struct workload_params *p, bool scores,
                   bool predicted, struct err *e);

struct workload;

/* Borrows `t`, `m` and the strings of `p` until freed. `scores`, `predicted`: also read
 * them. Refuses, by name of the field, a trace that lacks what the mode needs. */
struct workload *workload_new(struct trace *t, const struct model *m,
                              const struct workload_params *p, bool scores,
                              bool predicted, uint64_t seed, struct err *e);
void workload_free(struct workload *w);

/* How large the passes of a workload get. */
struct workload_sizes {
    uint64_t rows; /* most of a pass */
    /* Most KV entries that the requests of a pass have in one home, those of prompts that
     * a decoder attends to included, and that pass. */
    uint64_t kv_tokens, kv_pass;
    uint64_t longest; /* most KV entries of one request */
    /* KV entries in a home that room is kept for: `context` of each sequence that runs at
     * once. kv_tokens are never fewer, and WORKLOAD_NO_PASS where these are the most. */
    uint64_t kept_tokens;
};
#define WORKLOAD_NO_PASS UINT64_MAX
/* Walks through the passes of a workload by their sizes, without reading routing. Its
 * requests live in `homes` places, as a crew deals them out. What is not known beforehand
 * is 0: all but what `context` keeps where passes depend on time, KV entries of recorded
 * passes in several homes. Refuses a `context` that is shorter than a request. */
int workload_measure(struct trace *t, const struct model *m,
                     const struct workload_params *p, uint32_t homes, uint64_t seed,
                     struct workload_sizes *sizes, struct err *e);

/* The next pass at the host's time `now`, valid until the next call. 1, 0: no more, -1.
 * A pass whose not_before is later than `now` must wait for that time. */
int workload_next(struct workload *w, sim_time now, const struct pass **pass,
                  struct err *e);

/* True if passes do not depend on time (closed loop, recorded): oracles are possible. */
bool workload_is_timeless(const struct workload *w);
/* Requests that will be served. */
uint64_t workload_request_count(const struct workload *w);
const struct workload_request *workload_get_request(const struct workload *w, uint64_t r);
/* Rows handed out so far, and rows in all where that is known beforehand (else 0). */
uint64_t workload_rows_done(const struct workload *w);
uint64_t workload_rows_total(const struct workload *w);
/* Rows whose routing was resampled, and prompts that were skipped, so far. */
uint64_t workload_rows_resampled(const struct workload *w);
uint64_t workload_prompts_skipped(const struct workload *w);

#endif
