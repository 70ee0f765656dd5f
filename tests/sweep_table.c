#include "sweep_table.h"

void sweep_table_head(FILE *out, const char *keys)
{
    (void)fprintf(
        out,
        "point,identity,outcome,why,%slabel,status,lossless,select,cache,prefetch,"
        "unknown,"
        "tokens_per_s,tpot_p50_s,tpot_p99_s,ttft_p50_s,hit_rate,link_bytes,passes,"
        "peak_weight_bytes,peak_buffer_bytes,peak_kv_bytes,"
        "peak_activation_bytes,mass_lost,top1_kept,total_select_rows,last\n",
        keys);
}

static void number(FILE *out, double x)
{
    if (x >= 0)
        (void)fprintf(out, "%.17g", x);
    (void)fputc(',', out);
}

void sweep_table_line(FILE *out, const struct sweep_line *line)
{
    (void)fprintf(out, "%u,%s,%s,%s,%s%s,%s,%s,%s,%s,none,?,", line->point,
                  line->identity, line->outcome == NULL ? "done" : line->outcome,
                  line->why == NULL ? "" : line->why, line->keys, line->label,
                  line->status == NULL ? "complete" : line->status,
                  line->select == NULL ? "true" : "false",
                  line->select == NULL ? "none" : line->select, line->cache);
    number(out, line->tokens);
    number(out, line->tpot);
    number(out, line->tail);
    number(out, 0.25);
    number(out, line->hits);
    number(out, 1e9);
    number(out, 100);
    number(out, line->memory);
    (void)fputs("0,0,0,", out);
    number(out, line->select == NULL ? -1 : line->lost);
    number(out, line->select == NULL ? -1 : line->top1);
    number(out, line->select == NULL ? -1 : 100);
    (void)fputs("end\n", out);
}
