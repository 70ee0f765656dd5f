/* What policies of a page are ranked by, in words. */
#include "report_state.h"

#include "sim/base/text.h"

const char *report_measure_name(const struct report_page *p)
{
    switch (p->measure) {
    case MEASURE_TPOT:
        return "per output token";
    case MEASURE_TTFT:
        return "to the first token";
    case MEASURE_HITS:
        break;
    }
    return "of the accesses hit";
}

struct text_figure report_measure_text(const struct report_page *p,
                                       const struct report_entry *entry)
{
    return p->measure == MEASURE_HITS ? text_share(-entry->measure)
                                      : text_time(entry->measure);
}
