/* The JSON of a curve. */
#include "print_curve.h"

#include "sim/base/json.h"

#include <inttypes.h>
#include <math.h>

/* Lists are of numbers that a function gives for each place. */
typedef double at_place(const struct curve *c, const struct curve_policy *p, uint32_t i);

static void print_list(FILE *out, const char *key, const struct curve *c,
                       const struct curve_policy *p, uint32_t count, at_place *at)
{
    (void)fprintf(out, "\"%s\": [", key);
    for (uint32_t i = 0; i < count; i++) {
        (void)fputs(i > 0 ? ", " : "", out);
        json_number(out, at(c, p, i));
    }
    (void)fputc(']', out);
}

static void print_text(FILE *out, const char *key, const char *text)
{
    (void)fprintf(out, "\"%s\": ", key);
    json_string(out, text);
}

/* ---- by layer ---- */

static double decoder_layer(const struct curve *c, const struct curve_policy *p,
                            uint32_t l)
{
    (void)p;
    return c->layer[l].decoder_layer;
}

static double expert_bytes(const struct curve *c, const struct curve_policy *p,
                           uint32_t l)
{
    (void)p;
    return (double)c->layer[l].expert_bytes;
}

static double accesses(const struct curve *c, const struct curve_policy *p, uint32_t l)
{
    (void)p;
    return (double)c->layer[l].accesses;
}

static double mean_distinct(const struct curve *c, const struct curve_policy *p,
                            uint32_t l)
{
    (void)p;
    return (double)c->layer[l].accesses / (double)c->passes;
}

static double most_distinct(const struct curve *c, const struct curve_policy *p,
                            uint32_t l)
{
    (void)p;
    return c->layer[l].most_distinct;
}

static double used(const struct curve *c, const struct curve_policy *p, uint32_t l)
{
    (void)p;
    return c->layer[l].used;
}

/* ---- by point ---- */

static double slots(const struct curve *c, const struct curve_policy *p, uint32_t i)
{
    (void)c;
    return p->slots[i];
}

static double memory_bytes(const struct curve *c, const struct curve_policy *p,
                           uint32_t i)
{
    return (double)curve_slots_bytes(c, p->slots[i]);
}

static double hits(const struct curve *c, const struct curve_policy *p, uint32_t i)
{
    return (double)curve_point(c, p, i, CURVE_ALL).hits;
}

static double hit_rate(const struct curve *c, const struct curve_policy *p, uint32_t i)
{
    return curve_point(c, p, i, CURVE_ALL).hit_rate;
}

static double load_bytes(const struct curve *c, const struct curve_policy *p, uint32_t i)
{
    return (double)curve_point(c, p, i, CURVE_ALL).load_bytes;
}

/* ---- the whole ---- */

static void print_layer_hits(const struct curve *c, const struct curve_policy *p,
                             FILE *out)
{
    (void)fputs(",\n   \"layer_hits\": [", out);
    for (uint32_t l = 0; l < c->layers; l++) {
        (void)fputs(l > 0 ? ",\n    [" : "\n    [", out);
        for (uint32_t i = 0; i < p->points; i++)
            (void)fprintf(out, "%s%" PRIu64, i > 0 ? ", " : "",
                          p->hits[(size_t)i * c->layers + l]);
        (void)fputc(']', out);
    }
    (void)fputc(']', out);
}

static void print_policy(const struct curve *c, const struct curve_policy *p, FILE *out)
{
    uint32_t knee = curve_knee(c, p), half = curve_half(c, p);

    (void)fputs("  {", out);
    print_text(out, "policy", p->label);
    (void)fprintf(out, ", \"replayed\": %s, \"knee\": ", p->replayed ? "true" : "false");
    json_number(out, knee > 0 ? (double)knee : NAN);
    (void)fputs(", \"half_hits\": ", out);
    json_number(out, half > 0 ? (double)half : NAN);
    (void)fputs(",\n   ", out);
    print_list(out, "slots", c, p, p->points, slots);
    (void)fputs(",\n   ", out);
    print_list(out, "memory_bytes", c, p, p->points, memory_bytes);
    (void)fputs(",\n   ", out);
    print_list(out, "hits", c, p, p->points, hits);
    (void)fputs(",\n   ", out);
    print_list(out, "hit_rate", c, p, p->points, hit_rate);
    (void)fputs(",\n   ", out);
    print_list(out, "load_bytes", c, p, p->points, load_bytes);
    if (!c->global)
        print_layer_hits(c, p, out);
    (void)fputc('}', out);
}

static void print_layers(const struct curve *c, FILE *out)
{
    static const struct {
        const char *key;
        at_place *at;
    } lists[] = {{"layer", decoder_layer},         {"expert_bytes", expert_bytes},
                 {"accesses", accesses},           {"mean_distinct", mean_distinct},
                 {"most_distinct", most_distinct}, {"used", used}};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        (void)fputs(" ", out);
        print_list(out, lists[i].key, c, NULL, c->layers, lists[i].at);
        (void)fputs(",\n", out);
    }
    (void)fputs(" \"reuse\": [", out);
    for (uint32_t l = 0; l < c->layers; l++) {
        (void)fputs(l > 0 ? ",\n  [" : "\n  [", out);
        for (uint32_t b = 0; b < curve_buckets(c); b++)
            (void)fprintf(out, "%s%" PRIu64, b > 0 ? ", " : "", c->layer[l].reuse[b]);
        (void)fputc(']', out);
    }
    (void)fputs("],\n", out);
}

void curve_print_json(const struct curve *c, FILE *out)
{
    struct curve_working_set w = curve_batch(c);

    (void)fputs("{", out);
    print_text(out, "moesim", c->version);
    (void)fputs(", ", out);
    print_text(out, "model", c->model);
    (void)fputs(", ", out);
    print_text(out, "trace", c->trace_path);
    (void)fprintf(
        out,
        ",\n \"scope\": \"%s\", \"layers\": %u, \"experts\": %u, \"top_k\": %u, "
        "\"passes\": %" PRIu64 ",\n",
        c->global ? "global" : "layer", c->layers, c->experts, c->top_k, c->passes);
    (void)fprintf(out, " \"token_bytes\": %" PRIu64 ", \"pass_mean_distinct\": ",
                  curve_token_bytes(c));
    json_number(out, w.mean);
    (void)fprintf(out, ", \"pass_most_distinct\": %.0f, \"pass_mean_bytes\": ", w.most);
    json_number(out, w.mean_bytes);
    (void)fputs(", \"pass_most_bytes\": ", out);
    json_number(out, w.most_bytes);
    (void)fputs(",\n", out);
    print_layers(c, out);
    (void)fputs(" \"policies\": [\n", out);
    for (uint32_t i = 0; i < c->policies; i++) {
        print_policy(c, &c->policy[i], out);
        (void)fputs(i + 1 < c->policies ? ",\n" : "\n", out);
    }
    (void)fputs(" ]}\n", out);
}
