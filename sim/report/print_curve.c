#include "print_curve.h"

#include "plot.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

#define CONTINUED "             "

enum { LEAST_WIDTH = 8, LABEL_WIDTH = 20, LOADS_WIDTH = 9 };

static double loads_per_pass(const struct curve *c, const struct curve_point *p)
{
    return c->passes > 0 ? (double)p->load_bytes / (double)c->passes : 0;
}

static void fill_row(const struct curve *c, uint32_t slots, struct text_figure *figure)
{
    *figure++ = text_bytes((double)curve_slots_bytes(c, slots));
    for (uint32_t i = 0; i < c->policies; i++) {
        const struct curve_policy *p = &c->policy[i];
        struct curve_point point = curve_point(c, p, curve_find(p, slots), CURVE_ALL);

        *figure++ = text_share(point.hit_rate);
        *figure++ = text_bytes(loads_per_pass(c, &point));
    }
}

/* A label as the table's head has it; owned. */
static char *short_label(const char *label)
{
    struct mem_stream m;

    mem_stream_open(&m);
    text_name(m.out, label, LABEL_WIDTH);
    return mem_stream_close(&m);
}

static void print_table_of(const struct curve *c, FILE *out)
{
    size_t columns = 1 + 2 * (size_t)c->policies;
    struct text_column *column = mem_zalloc(columns, sizeof *column);
    struct text_figure *figure = mem_alloc(c->rows * columns, sizeof *figure);
    char **head = mem_alloc(c->policies, sizeof *head);
    char **label = mem_alloc(c->rows, sizeof *label);
    char **sentence = mem_zalloc(c->rows, sizeof *sentence);

    column[0] = (struct text_column){{"", "memory"}, LOADS_WIDTH};
    for (uint32_t i = 0; i < c->policies; i++) {
        size_t width;

        head[i] = short_label(c->policy[i].label);
        width = text_width(head[i], LABEL_WIDTH);
        column[1 + 2 * i] = (struct text_column){
            {head[i], "hits"}, width < LEAST_WIDTH ? LEAST_WIDTH : width};
        column[2 + 2 * i] = (struct text_column){{"loads", "per pass"}, LOADS_WIDTH};
    }
    for (uint32_t r = 0; r < c->rows; r++) {
        label[r] = mem_format("%u", c->row[r]);
        fill_row(c, c->row[r], figure + r * columns);
    }
    text_print_table(out, &(struct text_table){.column = column,
                                               .columns = columns,
                                               .rows = c->rows,
                                               .label_columns = LEAST_WIDTH,
                                               .label_head = "slots",
                                               .label = (const char *const *)label,
                                               .figure = figure,
                                               .sentence = sentence});
    for (uint32_t i = 0; i < c->policies; i++)
        free(head[i]);
    for (uint32_t r = 0; r < c->rows; r++)
        free(label[r]);
    free(head);
    free(label);
    free(sentence);
    free(column);
    free(figure);
}

/* ---- sentences ---- */

static const char *slots_of(const struct curve *c)
{
    return c->global ? "of all layers" : "of each layer";
}

static void say_head(const struct curve *c, FILE *out)
{
    plain_printf(out, "%s: %u MoE layers of %u experts; trace %s, %" PRIu64 " passes\n",
                 c->model, c->layers, c->experts, c->trace_path, c->passes);
    text_paragraph(out, "", "",
                   "Slots %s, and their GPU memory; of all layers together: hits of all "
                   "accesses, and bytes loaded per pass.",
                   slots_of(c));
    (void)fputc('\n', out);
}

static void say_knees(const struct curve *c, FILE *out)
{
    for (uint32_t i = 0; i < c->policies; i++) {
        const struct curve_policy *p = &c->policy[i];
        uint32_t knee = curve_knee(c, p);
        struct curve_point at;

        if (knee == 0)
            continue;
        at = curve_point(c, p, curve_find(p, knee), CURVE_ALL);
        text_paragraph(out, "knee         ", CONTINUED,
                       "%s: %u slots (%s), %s hits, %s loaded per pass", p->label, knee,
                       text_bytes((double)curve_slots_bytes(c, knee)).text,
                       text_share(at.hit_rate).text,
                       text_bytes(loads_per_pass(c, &at)).text);
    }
}

static void say_thrashing(const struct curve *c, FILE *out)
{
    for (uint32_t i = 0; i < c->policies; i++) {
        const struct curve_policy *p = &c->policy[i];
        uint32_t half = curve_half(c, p);

        if (p->bound && half == 0)
            text_paragraph(out, "thrashing    ", CONTINUED,
                           "with any number of slots even %s loads more often "
                           "than it hits",
                           p->label);
        else if (p->bound && half > 1)
            text_paragraph(out, "thrashing    ", CONTINUED,
                           "below %u slots even %s loads more often than it hits", half,
                           p->label);
    }
}

static void say_working_set(const struct curve *c, FILE *out)
{
    struct curve_working_set w = curve_batch(c);
    uint32_t used = 0;

    for (uint32_t l = 0; l < c->layers; l++)
        used += c->layer[l].used;
    text_paragraph(out, "working set  ", CONTINUED,
                   "a token uses %u experts of each layer (%s over all layers), a pass "
                   "%.1f (%s), at most %.0f (%s), the trace %u of all %u",
                   c->top_k, text_bytes((double)curve_token_bytes(c)).text, w.mean,
                   text_bytes(w.mean_bytes).text, w.most, text_bytes(w.most_bytes).text,
                   used, c->layers * c->experts);
}

static void say_reuse(const struct curve *c, FILE *out)
{
    uint64_t reuse[CURVE_BUCKETS], accesses = 0;
    struct mem_stream m;
    char *text;

    mem_stream_open(&m);
    curve_reuse(c, reuse);
    for (uint32_t b = 0; b < CURVE_BUCKETS; b++)
        accesses += reuse[b];
    for (uint32_t b = 0; accesses > 0 && b < curve_buckets(c); b++) {
        double share = (double)reuse[b] / (double)accesses;

        if (b == 0)
            (void)fprintf(m.out, "first use %s", text_share(share).text);
        else if (curve_bucket_from(b) == curve_bucket_to(b))
            (void)fprintf(m.out, ", %" PRIu64 ": %s", curve_bucket_to(b),
                          text_share(share).text);
        else
            (void)fprintf(m.out, ", %" PRIu64 "-%" PRIu64 ": %s", curve_bucket_from(b),
                          curve_bucket_to(b), text_share(share).text);
    }
    text = mem_stream_close(&m);
    text_paragraph(out, "reuse        ", CONTINUED,
                   "accesses by distance, the least slots that LRU hits with: %s", text);
    free(text);
}

static void say_replays(const struct curve *c, FILE *out)
{
    for (uint32_t i = 0; i < c->policies; i++) {
        const struct curve_policy *p = &c->policy[i];

        if (p->replayed && p->points < c->largest)
            text_paragraph(out, "sizes        ", CONTINUED,
                           "%s was replayed at %u of %u sizes; --slots chooses others",
                           p->label, p->points, c->largest);
    }
}

void curve_print(const struct curve *c, FILE *out)
{
    say_head(c, out);
    print_table_of(c, out);
    (void)fputc('\n', out);
    say_knees(c, out);
    say_thrashing(c, out);
    say_working_set(c, out);
    say_reuse(c, out);
    say_replays(c, out);
}

/* ---- CSV ---- */

static void print_csv_row(const struct curve *c, const struct curve_policy *p,
                          uint32_t point, uint32_t layer, FILE *out)
{
    struct curve_point at = curve_point(c, p, point, layer);
    uint32_t slots = p->slots[point];
    uint64_t memory = layer == CURVE_ALL ? curve_slots_bytes(c, slots)
                                         : c->layer[layer].expert_bytes * slots;

    csv_string(out, p->label);
    if (layer == CURVE_ALL)
        (void)fputs(",all", out);
    else
        (void)fprintf(out, ",%u", c->layer[layer].decoder_layer);
    (void)fprintf(out, ",%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", slots, memory,
                  at.accesses, at.hits);
    csv_number(out, at.hit_rate);
    (void)fprintf(out, ",%" PRIu64 "\n", at.load_bytes);
}

void curve_print_csv(const struct curve *c, FILE *out)
{
    (void)fputs("policy,layer,slots,memory_bytes,accesses,hits,hit_rate,load_bytes\n",
                out);
    for (uint32_t i = 0; i < c->policies; i++) {
        const struct curve_policy *p = &c->policy[i];

        for (uint32_t k = 0; k < p->points; k++)
            print_csv_row(c, p, k, CURVE_ALL, out);
        for (uint32_t l = 0; !c->global && l < c->layers; l++)
            for (uint32_t k = 0; k < p->points; k++)
                print_csv_row(c, p, k, l, out);
    }
}

void curve_print_reuse_csv(const struct curve *c, FILE *out)
{
    (void)fputs("layer,from,to,accesses\n", out);
    for (uint32_t l = 0; l < c->layers; l++) {
        const uint64_t *reuse = c->layer[l].reuse;

        for (uint32_t b = 0; b < curve_buckets(c); b++)
            (void)fprintf(out, "%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
                          c->layer[l].decoder_layer, curve_bucket_from(b),
                          curve_bucket_to(b), reuse[b]);
    }
}

size_t curve_figure_series(const struct curve *c)
{
    return c->policies < PLOT_LINES ? c->policies : PLOT_LINES;
}

void curve_print_figure(const struct curve *c, FILE *out)
{
    size_t series = curve_figure_series(c);

    (void)fprintf(out, "slots %s", slots_of(c));
    for (size_t i = 0; i < series; i++) {
        (void)fputc(',', out);
        plot_label(out, c->policy[i].label);
    }
    (void)fputc('\n', out);
    for (size_t i = 0; i < series; i++) {
        const struct curve_policy *p = &c->policy[i];

        for (uint32_t k = 0; k < p->points; k++) {
            (void)fprintf(out, "%u", p->slots[k]);
            for (size_t column = 0; column < series; column++) {
                (void)fputc(',', out);
                if (column == i)
                    csv_number(out, 100 * curve_point(c, p, k, CURVE_ALL).hit_rate);
            }
            (void)fputc('\n', out);
        }
    }
}
