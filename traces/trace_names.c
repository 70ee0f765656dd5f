/* Words for what a trace has, in files and in what is printed. */
#include "trace.h"

const char *trace_phase_name(enum trace_phase phase)
{
    static const char *const names[TRACE_PHASES] = {
        [TRACE_PREFILL] = "prefill",
        [TRACE_DECODE] = "decode",
        [TRACE_DRAFT] = "draft",
        [TRACE_VERIFY] = "verify",
    };

    return names[phase];
}

const char *trace_score_kind_name(enum trace_score_kind kind)
{
    static const char *const names[TRACE_SCORE_KINDS] = {
        [TRACE_SCORE_NONE] = "none",
        [TRACE_SCORE_SOFTMAX] = "softmax",
        [TRACE_SCORE_SIGMOID] = "sigmoid",
        [TRACE_SCORE_LOGIT] = "logit",
    };

    return names[kind];
}

const char *trace_field_name(enum trace_field field)
{
    switch (field) {
    case TRACE_HAS_IDS:
        return "/routing/expert";
    case TRACE_HAS_SCORES:
        return "/routing/score";
    case TRACE_HAS_ALL_SCORES:
        return "/routing/score of every expert";
    case TRACE_HAS_PREDICTED:
        return "/routing/predicted";
    case TRACE_HAS_PASSES:
        return "/pass";
    case TRACE_HAS_SOURCE:
        return "/token/source";
    case TRACE_HAS_PREFILL:
        return "prefill rows in /token/phase";
    case TRACE_HAS_ARRIVALS:
        return "/request/arrival_ns";
    case TRACE_HAS_BYTES:
        return "/expert_bytes";
    }
    return "unknown field";
}
