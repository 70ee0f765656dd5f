#include "result_figures.h"

#include "result_links.h"
#include "sim/base/mem.h"
#include "sim/base/nearest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct result_figure result_figure[RESULT_FIGURES] = {
    {"finished_requests", FIGURE_COUNT, false}, /* the only one that a stopped run has */
    {"tpot_mean_s", FIGURE_TIME, false},
    {"tpot_p50_s", FIGURE_TIME, false},
    {"tpot_p99_s", FIGURE_TIME, false},
    {"ttft_mean_s", FIGURE_TIME, false},
    {"ttft_p50_s", FIGURE_TIME, false},
    {"ttft_p99_s", FIGURE_TIME, false},
    {"tokens_per_s", FIGURE_RATE, false},
    {"requests_per_s", FIGURE_RATE, false},
    {"hit_rate", FIGURE_SHARE, false},
    {"gpu_busy", FIGURE_SHARE, false},
    {"link_bytes", FIGURE_BYTES, false},
    {"gpu_peak_bytes", FIGURE_BYTES, false},
    {"gap_to_offline", FIGURE_SHARE, true},
    {"stall_share", FIGURE_SHARE, false},
    {"prefetch_precision", FIGURE_SHARE, false},
    {"imbalance", FIGURE_COUNT, false},
    {"fullest_gpu", FIGURE_COUNT, false},
    {"exposed_communication_share", FIGURE_SHARE, false},
    {"padding", FIGURE_COUNT, false},
    {"dropped_share", FIGURE_SHARE, false},
    {"gap_to_balanced", FIGURE_SHARE, true},
    {"gap_to_free_network", FIGURE_SHARE, true},
    {"busiest_port_bytes", FIGURE_BYTES, false},
    {"busiest_port_busy", FIGURE_SHARE, false},
    {"changed_share", FIGURE_SHARE, false}, /* these of a select */
    {"fewer_share", FIGURE_SHARE, false},
    {"mass_lost", FIGURE_SHARE, false},
    {"top1_kept", FIGURE_SHARE, false},
    {"experts_saved", FIGURE_SHARE, false},
};

/* Rows of the GPU with most of the whole run over the mean; NaN on one GPU. */
static double fullest_gpu(const struct run_result *run)
{
    double most = 0, sum = 0;

    for (uint32_t i = 0; i < run->gpus; i++) {
        double rows = (double)run->gpu_rows[i];

        most = rows > most ? rows : most;
        sum += rows;
    }
    return sum > 0 ? most * run->gpus / sum : NAN;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

/* Of the GPU that has most in use; NaN where there was no pass. */
static double gpu_peak(const struct run_result *run)
{
    return run->passes > 0 ? (double)run_memory_bytes(&run->total.memory) : NAN;
}

void result_figures(const struct result *r, const struct result_policy *p,
                    double value[RESULT_FIGURES])
{
    const struct run_result *run = &p->run;
    const struct run_counts *c = &run->total.counts;
    struct result_summary s = result_summarise(p);
    struct result_port port = {.busiest_bytes = NAN, .busiest_time = NAN};
    bool sent = result_links_busiest(r, run, &port);
    const double all[RESULT_FIGURES] = {
        (double)s.requests,
        s.tpot_mean,
        s.tpot_p50,
        s.tpot_p99,
        s.ttft_mean,
        s.ttft_p50,
        s.ttft_p99,
        s.tokens_per_s,
        ratio((double)s.requests, result_seconds(run, run->elapsed)),
        s.hit_rate,
        s.gpu_busy,
        s.link_bytes,
        gpu_peak(run),
        s.gap,
        ratio((double)run->total.share[SHARE_COPY], (double)run->total.latency),
        ratio((double)c->prefetch_used, (double)c->prefetches),
        s.imbalance,
        fullest_gpu(run),
        s.comm_share,
        s.padding,
        s.drop_share,
        s.balanced_gap,
        s.network_gap,
        port.busiest_bytes,
        sent ? result_busy_share(run, port.busiest_time) : NAN,
        s.select.changed,
        s.select.fewer,
        s.select.mass_lost,
        s.select.top1_kept,
        s.select.saved,
    };

    memcpy(value, all, sizeof all);
    /* Those of a part of a run are no figures of it. */
    for (size_t i = 1; i < RESULT_FIGURES && !run->finished; i++)
        value[i] = NAN;
}

/* The length of a name without its unit. */
static size_t stem(const char *name)
{
    static const char *const unit[] = {"_bytes", "_s"};
    size_t length = strlen(name);

    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        size_t tail = strlen(unit[i]);

        if (length > tail && strcmp(name + length - tail, unit[i]) == 0 &&
            strstr(name, "_per_s") == NULL)
            return length - tail;
    }
    return length;
}

int result_figure_find(const char *name, struct err *e)
{
    struct nearest near = nearest_to(name);
    char *list = mem_strdup("");

    for (int i = 0; i < RESULT_FIGURES; i++) {
        const char *own = result_figure[i].name;
        char *longer;

        if (strcmp(own, name) == 0 ||
            (strlen(name) == stem(own) && strncmp(own, name, stem(own)) == 0)) {
            free(list);
            return i;
        }
        nearest_try(&near, own);
        longer = mem_format("%s%s%.*s", list, i == 0 ? "" : ", ", (int)stem(own), own);
        free(list);
        list = longer;
    }
    (void)err_set(e, "there is no figure '%.40s'%s (there are %s)", name,
                  nearest_hint(&near).text, list);
    free(list);
    return -1;
}

struct text_figure result_figure_text(int figure, double value)
{
    switch (result_figure[figure].kind) {
    case FIGURE_TIME:
        return text_time(value);
    case FIGURE_SHARE:
        return text_share(value);
    case FIGURE_BYTES:
        return text_bytes(value);
    case FIGURE_COUNT:
    case FIGURE_RATE:
        break;
    }
    return text_number(value);
}
