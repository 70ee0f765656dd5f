#include "plot.h"

#include "sim/base/child.h"
#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LABEL_COLUMNS = 40, WIDE = 900, NARROW = 360 };

#define MAX_SVG_BYTES ((size_t)32 << 20)

/* No quotes, commas, controls. */
void plot_label(FILE *out, const char *label)
{
    struct mem_stream m;
    char *text;

    mem_stream_open(&m);
    text_name(m.out, label, LABEL_COLUMNS);
    text = mem_stream_close(&m);
    for (char *c = text; *c != '\0'; c++)
        if (strchr(",\"\\", *c) != NULL)
            *c = ' ';
    csv_string(out, *text == '\0' ? "-" : text);
    free(text);
}

/* ---- gnuplot ---- */

/* gnuplot takes a name that begins with "<" or "|" for a command: none may begin so. */
static char *safe_path(const char *folder, const char *name, const char *ending)
{
    return mem_format("%s%s%s%s%s", folder[0] == '/' ? "" : "./", folder,
                      *name == '\0' ? "" : "/", name, ending);
}

/* Runs gnuplot without a shell, silent, its messages in the C locale. */
static enum plot_drawn run_gnuplot(char *const argument[])
{
    const char *search = getenv("PATH");
    char *path = mem_format("PATH=%s", search == NULL ? "/usr/bin:/bin" : search);
    char locale[] = "LC_ALL=C";
    char *environment[] = {path, locale, NULL};
    int status = child_run(argument, environment, true);

    free(path);
    if (status < 0 || status == 127)
        return NOT_DRAWN_NO_GNUPLOT;
    return status == 0 ? DRAWN : NOT_DRAWN_FAILED;
}

/* One drawing of a plot. */
struct drawing {
    const char *terminal; /* gnuplot's name */
    const char *ending;   /* of the file's name */
    int width;
};
static const struct drawing drawings[] = {
    {"svg", ".svg", WIDE}, {"svg", "-narrow.svg", NARROW}, {"pdf", ".pdf", WIDE}};
enum { DRAWINGS = sizeof drawings / sizeof *drawings, NARROW_ONE = 1, PDF_ONE = 2 };

static int draw(const struct plot *p, const struct drawing *d, const char *folder,
                const char *plots_folder, enum plot_drawn *drawn, struct err *e)
{
    char *script = safe_path(plots_folder, "figure", ".gp");
    char *kind = safe_path(plots_folder, p->kind, ".gp");
    char *data = safe_path(folder, p->name, ".csv");
    char *target = safe_path(folder, p->name, d->ending);
    char *width = mem_format("%d", d->width);
    char *series = mem_format("%zu%s", p->series, p->log ? " log" : "");
    char *title = mem_strdup(p->title), *x = mem_strdup(p->x), *y = mem_strdup(p->y);
    char *terminal = mem_strdup(d->terminal);
    struct file_out *out = NULL;
    int status = -1;

    if (access(script, R_OK) != 0 || access(kind, R_OK) != 0)
        (void)err_set(e, "%s: cannot be read: %s; give the folder of the plot scripts",
                      access(script, R_OK) != 0 ? script : kind, strerror(errno));
    else
        out = file_out_new(target, e);
    if (out != NULL) {
        char *output = mem_strdup(file_out_name(out));
        char gnuplot[] = "gnuplot", defaults[] = "-d", call[] = "-c";
        char *argument[] = {gnuplot,  defaults, call,  script, kind, data,   output,
                            terminal, width,    title, x,      y,    series, NULL};

        *drawn = run_gnuplot(argument);
        free(output);
        status = 0;
        if (*drawn == DRAWN)
            status = file_out_commit(out, e);
        else
            file_out_abandon(out);
    }
    free(script);
    free(kind);
    free(data);
    free(target);
    free(width);
    free(series);
    free(title);
    free(x);
    free(y);
    free(terminal);
    return status;
}

int plot_draw(const struct plot *p, const char *folder, const char *plots_folder,
              bool pdf, enum plot_drawn *drawn, struct err *e)
{
    int status = 0;

    *drawn = DRAWN;
    for (int i = 0; i < (pdf ? DRAWINGS : PDF_ONE) && *drawn == DRAWN && status == 0; i++)
        status = draw(p, &drawings[i], folder, plots_folder, drawn, e);
    return status;
}

void plot_own(struct folder_out *f, const char *name)
{
    char *data = mem_format("%s.csv", name);

    folder_out_own(f, data);
    free(data);
    for (int i = 0; i < DRAWINGS; i++) {
        char *drawing = mem_format("%s%s", name, drawings[i].ending);

        folder_out_own(f, drawing);
        free(drawing);
    }
}

/* ---- into the page ---- */

/* Where an id or a reference to one begins, behind these; all of it inside of tags. */
static size_t id_prefix(const char *s)
{
    static const char *const before[] = {"id='",     "id=\"", "href='#",
                                         "href=\"#", "url(#", "url('#"};

    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (strncmp(s, before[i], strlen(before[i])) == 0)
            return strlen(before[i]);
    return 0;
}

/* Copies one drawing, its ids made unique by `prefix`. */
static int copy_in(const struct plot *p, const struct drawing *d, const char *prefix,
                   const char *folder, FILE *out, struct err *e)
{
    static const char title[] = "<title>Gnuplot</title>", svg[] = "<svg";
    char *path = safe_path(folder, p->name, d->ending);
    bool in_tag = false;
    size_t size;
    char *text = file_read(path, MAX_SVG_BYTES, &size, e), *s;

    if (text != NULL && strstr(text, "</svg>") == NULL) {
        (void)err_set(e, "%s: gnuplot did not write it to its end; is the disk full?",
                      path);
        free(text);
        text = NULL;
    }
    free(path);
    if (text == NULL)
        return -1;
    s = strstr(text, svg);
    if (s != NULL) {
        (void)fprintf(out, "<svg class=%s role=img aria-label=\"", prefix);
        text_markup(out, p->title);
        (void)fputc('"', out);
        s += sizeof svg - 1;
        in_tag = true;
    }
    while (s != NULL && *s != '\0') {
        size_t known = in_tag ? id_prefix(s) : 0;

        if (!in_tag && strncmp(s, title, sizeof title - 1) == 0) {
            s += sizeof title - 1;
        } else if (known > 0) {
            (void)fwrite(s, 1, known, out);
            (void)fprintf(out, "%s-%s-", p->name, prefix);
            s += known;
        } else {
            in_tag = *s == '<' || (in_tag && *s != '>');
            (void)fputc(*s++, out);
        }
    }
    free(text);
    return 0;
}

int plot_inline(const struct plot *p, const char *folder, FILE *out, struct err *e)
{
    if (copy_in(p, &drawings[0], "wide", folder, out, e) != 0)
        return -1;
    return copy_in(p, &drawings[NARROW_ONE], "narrow", folder, out, e);
}
