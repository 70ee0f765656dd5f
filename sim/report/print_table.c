#include "print_table.h"

#include "sim/base/mem.h"

#include <stdlib.h>

struct result_summary *print_summaries(const struct result *r)
{
    struct result_summary *s = mem_alloc(r->policies, sizeof *s);

    for (uint32_t i = 0; i < r->policies; i++)
        s[i] = result_summarise(&r->policy[i]);
    return s;
}

struct text_figure print_whole_number(double count)
{
    struct text_figure f = {""};

    if (count > 999999)
        return text_number(count);
    (void)snprintf(f.text, sizeof f.text, "%.0f", count);
    return f;
}

void print_table(const struct result *r, const struct result_summary *s,
                 const struct print_table *t, FILE *out)
{
    const char **label = mem_alloc(r->policies, sizeof *label);
    char **stopped = mem_alloc(r->policies, sizeof *stopped);
    struct text_figure *figure = mem_alloc(r->policies, t->columns * sizeof *figure);
    struct text_table table = {.column = t->column,
                               .columns = t->columns,
                               .label_columns = t->label_columns,
                               .label = label,
                               .figure = figure,
                               .sentence = stopped};

    for (uint32_t i = 0; i < r->policies; i++) {
        const struct result_policy *p = &r->policy[i];
        size_t row = table.rows;

        if (t->whole_only && !p->run.finished)
            continue;
        label[row] = p->label;
        stopped[row] = result_stopped_text(p);
        for (size_t c = 0; c < t->columns; c++)
            figure[row * t->columns + c] = t->figure(p, &s[i], c, t->context);
        table.rows++;
    }
    text_print_table(out, &table);
    for (size_t i = 0; i < table.rows; i++)
        free(stopped[i]);
    free(label);
    free(stopped);
    free(figure);
}
