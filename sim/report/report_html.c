#include "report_html.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"

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

static int begin(FILE *out, const char *title, const char *plots, struct err *e)
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

static int end(FILE *out, const char *plots, struct err *e)
{
    (void)fputs("</main>\n<script>\n", out);
    if (copy_in(out, plots, "report.js", e) != 0)
        return -1;
    (void)fputs("</script></body></html>\n", out);
    return 0;
}

int report_html_write(const struct report_place *place, const char *title,
                      int (*print)(void *page, struct report_html *h, struct err *e),
                      void *page, struct err *e)
{
    struct report_html h = {.place = place};
    char *path = mem_format("%s/report.html", place->folder);
    struct file_out *out =
        file_make_folder(place->folder, e) == 0 ? file_out_new(path, e) : NULL;

    free(path);
    if (out == NULL)
        return -1;
    h.out = file_out_stream(out);
    if (begin(h.out, title, place->plots, e) != 0 || print(page, &h, e) != 0 ||
        end(h.out, place->plots, e) != 0) {
        file_out_abandon(out);
        return -1;
    }
    if (file_out_commit(out, e) != 0)
        return -1;
    return h.undrawn ? 1 : 0;
}

void report_html_paragraph(const struct report_html *h, const char *tag, char *text)
{
    if (*text != '\0') {
        (void)fprintf(h->out, "<p><b class=tag>%s</b> ", tag);
        text_markup(h->out, text);
        (void)fputs("</p>\n", h->out);
    }
    free(text);
}

void report_html_cell(const struct report_html *h, double value, struct text_figure text,
                      bool best)
{
    (void)fputs("<td data-v=\"", h->out);
    csv_number(h->out, value);
    (void)fprintf(h->out, "\"%s>%s</td>", best ? " class=best" : "", text.text);
}

void report_html_fact(const struct report_html *h, const char *name, const char *value)
{
    (void)fprintf(h->out, "<tr><th>%s</th><td>", name);
    text_markup(h->out, value);
    (void)fputs("</td></tr>\n", h->out);
}

/* Draws what has been written, and puts it into the page. */
static int show_figure(struct report_html *h, const struct plot *plot,
                       const char *caption, const char *none, struct err *e)
{
    enum plot_drawn drawn = NOT_DRAWN_NO_DATA;

    if (plot->series > 0 &&
        plot_draw(plot, h->place->folder, h->place->plots, h->place->pdf, &drawn, e) != 0)
        return -1;
    (void)fprintf(h->out, "<figure id=figure-%s>\n", plot->name);
    switch (drawn) {
    case DRAWN:
        if (plot_inline(plot, h->place->folder, h->out, e) != 0)
            return -1;
        break;
    case NOT_DRAWN_NO_GNUPLOT:
        (void)fprintf(h->out,
                      "<p class=note>gnuplot is not installed, so this figure is not "
                      "drawn; its data are in %s.csv.</p>\n",
                      plot->name);
        break;
    case NOT_DRAWN_FAILED:
        (void)fprintf(h->out,
                      "<p class=note>gnuplot could not draw this figure; its data are in "
                      "%s.csv.</p>\n",
                      plot->name);
        break;
    case NOT_DRAWN_NO_DATA:
        (void)fprintf(h->out, "<p class=note>%s</p>\n", none);
        break;
    }
    h->undrawn = h->undrawn || drawn == NOT_DRAWN_NO_GNUPLOT || drawn == NOT_DRAWN_FAILED;
    (void)fprintf(h->out, "<figcaption>");
    text_markup(h->out, caption);
    (void)fputs("</figcaption></figure>\n", h->out);
    return 0;
}

int report_html_figure(struct report_html *h, struct plot *plot, const char *caption,
                       const char *none,
                       int (*print)(void *context, struct plot *plot, FILE *out,
                                    struct err *e),
                       void *context, struct err *e)
{
    char *path = mem_format("%s/%s.csv", h->place->folder, plot->name);
    struct file_out *out = file_out_new(path, e);
    int status;

    free(path);
    if (out == NULL)
        return -1;
    status = print(context, plot, file_out_stream(out), e);
    if (status != 0 || (plot->series == 0 && none == NULL)) {
        file_out_abandon(out);
        return status;
    }
    if (file_out_commit(out, e) != 0)
        return -1;
    return show_figure(h, plot, caption, none, e);
}
