/* The figures of a policy's run by name, as JSON and CSV have them and as objectives and
 * constraints name them. Units are in the names: seconds, bytes; shares are of 1. */
#ifndef MOESIM_RESULT_RESULT_FIGURES_H
#define MOESIM_RESULT_RESULT_FIGURES_H

#include "result.h"
#include "sim/base/text.h"

enum figure_kind { FIGURE_COUNT, FIGURE_TIME, FIGURE_RATE, FIGURE_SHARE, FIGURE_BYTES };

struct result_figure {
    const char *name; /* as in CSV: "tpot_p99_s" */
    enum figure_kind kind;
    bool bounds; /* there only with `bounds: yes` */
};

enum { RESULT_FIGURES = 30 };
extern const struct result_figure result_figure[RESULT_FIGURES];

/* All of a run; NaN where there is none, and in one that was stopped but for the first,
 * the finished requests. */
void result_figures(const struct result *r, const struct result_policy *p,
                    double value[RESULT_FIGURES]);

/* The figure of a name, with or without its unit ("tpot_p99_s", "tpot_p99"), or -1 with a
 * sentence that names the nearest. */
int result_figure_find(const char *name, struct err *e);
/* A value of it with its unit: "12.3 ms". */
struct text_figure result_figure_text(int figure, double value);

#endif
