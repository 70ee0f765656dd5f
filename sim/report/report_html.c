/* Pieces of the pages' HTML. */
#include "report_state.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <stdlib.h>

/* Copies a file of the plots' folder into the page, as it is. */
static int copy_in(FILE *out, const char *plots, const char *name, struct err *e)
{
    enum { LIMIT = 1 << 20 };
    char *path = mem_format("%s/%s", plots, name);
    char *text = file_read(path, LIMIT, &(size_t){0}, e);

    if (text != NULL)
        (void)fputs(text, out);
    free(text);
    free(path);
    return text == NULL ? -1 : 0;
}

int report_html_begin(FILE *out, const char *title, const char *plots, struct err *e)
{
    (void)fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\n"
                "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
                "<meta name=color-scheme content=\"light dark\">\n"
                "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
                "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src "
                "data:\">\n<link rel=icon href=\"data:,\">\n<title>",
                out);
    text_markup(out, title);
    (void)fputs("</title>\n<style>\n", out);
    if (copy_in(out, plots, "report.css", e) != 0)
        return -1;
    (void)fputs("</style></head><body><main>\n", out);
    return 0;
}

int report_html_end(FILE *out, const char *plots, struct err *e)
{
    (void)fputs("</main>\n<script>\n", out);
    if (copy_in(out, plots, "report.js", e) != 0)
        return -1;
    (void)fputs("</script></body></html>\n", out);
    return 0;
}

void report_html_fact(FILE *out, const char *name, const char *value)
{
    (void)fprintf(out, "<tr><th>%s</th><td>", name);
    text_markup(out, value);
    (void)fputs("</td></tr>\n", out);
}

int report_html_figure(FILE *out, const struct plot *plot, const char *caption,
                       const char *none, const char *folder, const char *plots, bool pdf,
                       bool *undrawn, struct err *e)
{
    enum plot_drawn drawn = NOT_DRAWN_NO_DATA;

    if (plot->series > 0 && plot_draw(plot, folder, plots, pdf, &drawn, e) != 0)
        return -1;
    (void)fprintf(out, "<figure id=figure-%s>\n", plot->name);
    switch (drawn) {
    case DRAWN:
        if (plot_inline(plot, folder, out, e) != 0)
            return -1;
        break;
    case NOT_DRAWN_NO_GNUPLOT:
        (void)fprintf(out,
                      "<p class=note>gnuplot is not installed, so this figure is not "
                      "drawn; its data are in %s.csv.</p>\n",
                      plot->name);
        break;
    case NOT_DRAWN_FAILED:
        (void)fprintf(out,
                      "<p class=note>gnuplot could not draw this figure; its data are in "
                      "%s.csv.</p>\n",
                      plot->name);
        break;
    case NOT_DRAWN_NO_DATA:
        (void)fprintf(out, "<p class=note>%s</p>\n", none);
        break;
    }
    *undrawn = *undrawn || drawn == NOT_DRAWN_NO_GNUPLOT || drawn == NOT_DRAWN_FAILED;
    (void)fprintf(out, "<figcaption>");
    text_markup(out, caption);
    (void)fputs("</figcaption></figure>\n", out);
    return 0;
}
