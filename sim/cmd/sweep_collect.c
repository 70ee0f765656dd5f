#include "sweep_collect.h"

#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"
#include "sim/result/columns.h"
#include "sim/report/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "moesim-sweep"

struct gather {
    const struct sweep *s;
    FILE *out;
    size_t columns; /* of a result */
    struct sweep_collected *c;
};

static void print_head(struct gather *g)
{
    const struct sweep_points *points = sweep_get_points(g->s);

    (void)fputs("point,identity,outcome,why", g->out);
    for (size_t k = 0; k < sweep_points_keys(points); k++) {
        char *column = mem_format("sweep.%s", sweep_points_key(points, k));

        (void)fputc(',', g->out);
        csv_string(g->out, column);
        free(column);
    }
    (void)fputc(',', g->out);
    g->columns = result_print_csv_head(g->out);
    (void)fputc('\n', g->out);
}

/* What all lines of a point begin with. */
static void print_point(const struct gather *g, uint64_t point, const char *outcome,
                        const char *why)
{
    const struct sweep_points *points = sweep_get_points(g->s);

    (void)fprintf(g->out, "%" PRIu64 ",%s,%s,", point, sweep_point_name(g->s, point).text,
                  outcome);
    csv_string(g->out, why);
    for (size_t k = 0; k < sweep_points_keys(points); k++) {
        char *value = sweep_points_value(points, point, k);

        (void)fputc(',', g->out);
        csv_string(g->out, value);
        free(value);
    }
}

static void print_nothing(const struct gather *g)
{
    for (size_t i = 0; i < g->columns; i++)
        (void)fputc(',', g->out);
    (void)fputc('\n', g->out);
}

/* Enters a policy among the best, if it is one; a bound is none. */
static void rank(struct sweep_collected *c, uint64_t point, const struct result_policy *p)
{
    struct result_summary s = result_summarise(p);
    size_t at = c->best_count;

    if (!(s.tokens_per_s > 0) || !p->run.finished || result_is_reference(p))
        return;
    while (at > 0 && s.tokens_per_s > c->best[at - 1].tokens_per_s)
        at--;
    if (at == SWEEP_BEST)
        return;
    if (c->best_count == SWEEP_BEST)
        free(c->best[--c->best_count].label);
    memmove(&c->best[at + 1], &c->best[at], (c->best_count - at) * sizeof *c->best);
    c->best[at] = (struct sweep_best){s.tokens_per_s, s.tpot_p50, s.hit_rate, point,
                                      mem_strdup(p->label)};
    c->best_count++;
}

static int gather_result(struct gather *g, uint64_t point, const char *file,
                         struct err *e)
{
    struct result r;

    struct err why = {.text = ""};

    if (result_read(file, &r, &why) != 0)
        return err_set(e, "%s is no whole result; delete it, and run the sweep again",
                       file);
    for (uint32_t i = 0; i < r.policies; i++) {
        print_point(g, point, "done", "");
        (void)fputc(',', g->out);
        result_print_csv_row(&r, &r.policy[i], g->out);
        (void)fputc('\n', g->out);
        rank(g->c, point, &r.policy[i]);
    }
    g->c->done++;
    result_release(&r);
    return 0;
}

/* The sentence of a point that failed, or NULL; owned. */
static char *read_sentence(const struct sweep *s, uint64_t point)
{
    enum { LIMIT = 4096 };
    struct err ignored = {.text = ""};
    char *file = sweep_point_file(s, point, true);
    char *text = file_read(file, LIMIT, &(size_t){0}, &ignored);

    free(file);
    if (text != NULL)
        text[strcspn(text, "\n")] = '\0';
    return text;
}

static int gather_point(struct gather *g, uint64_t point, struct err *e)
{
    char *file, *why;
    int status = 0;

    if (sweep_point_done(g->s, point)) {
        file = sweep_point_file(g->s, point, false);
        status = gather_result(g, point, file, e);
        free(file);
        return status;
    }
    why = read_sentence(g->s, point);
    print_point(g, point, why == NULL ? "missing" : "failed", why == NULL ? "" : why);
    print_nothing(g);
    if (why == NULL)
        g->c->missing++;
    else
        g->c->failed++;
    if (g->c->first_failure == NULL)
        g->c->first_failure = why;
    else
        free(why);
    return 0;
}

static int gather_all(struct gather *g, void *line, struct err *e)
{
    uint64_t count = sweep_points_count(sweep_get_points(g->s));

    print_head(g);
    for (uint64_t p = 0; p < count; p++) {
        if (file_interrupted())
            return 1;
        if (gather_point(g, p, e) != 0)
            return -1;
        progress_points(line, p + 1, count);
    }
    return 0;
}

int sweep_collect(const struct sweep *s, const char *folder, void *line,
                  struct sweep_collected *c, struct err *e)
{
    char *table = mem_format("%s/sweep.csv", folder);
    char *columns = mem_format("%s/sweep.h5", folder);
    struct file_out *f = file_out_new(table, e);
    struct gather g = {.s = s, .c = c};
    int status = f == NULL ? -1 : 0;

    *c = (struct sweep_collected){.done = 0};
    if (status == 0) {
        g.out = file_out_stream(f);
        status = gather_all(&g, line, e);
    }
    if (status == 0 && fflush(g.out) != 0)
        status = err_set(e, "%s cannot be written; is the disk full?", table);
    if (status == 0)
        status = columns_write(columns, file_out_name(f), FORMAT, e);
    if (status == 0)
        status = file_out_commit(f, e);
    else
        file_out_abandon(f);
    free(columns);
    free(table);
    return status;
}

void sweep_collected_release(struct sweep_collected *c)
{
    for (size_t i = 0; i < c->best_count; i++)
        free(c->best[i].label);
    free(c->first_failure);
    *c = (struct sweep_collected){.done = 0};
}

static void print_best(const struct sweep *s, const struct sweep_best *b, FILE *out)
{
    const struct sweep_points *points = sweep_get_points(s);

    (void)fprintf(out, "%10.4g %9s %8.1f %%  %6" PRIu64 "  %s", b->tokens_per_s,
                  text_time(b->tpot_p50).text, 100 * b->hit_rate, b->point, b->label);
    for (size_t k = 0; k < sweep_points_keys(points); k++) {
        char *value = sweep_points_value(points, b->point, k);

        (void)fprintf(out, ", %s %s", sweep_points_key(points, k), value);
        free(value);
    }
    (void)fputc('\n', out);
}

void sweep_collected_print(const struct sweep *s, const struct sweep_collected *c,
                           FILE *out)
{
    (void)fprintf(out,
                  "%" PRIu64 " points: %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64
                  " missing\n",
                  c->done + c->failed + c->missing, c->done, c->failed, c->missing);
    if (c->first_failure != NULL)
        (void)fprintf(out, "the first failure: %s\n", c->first_failure);
    if (c->best_count == 0)
        return;
    (void)fprintf(out, "\n%10s %9s %10s  %6s  %s\n", "tokens/s", "TPOT p50", "hit rate",
                  "point", "policy and keys");
    for (size_t i = 0; i < c->best_count; i++)
        print_best(s, &c->best[i], out);
}
