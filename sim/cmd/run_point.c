#include "run_point.h"

#include "sim/base/file.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/experiment/loops.h"
#include "sim/experiment/sweep_axes.h"
#include "sim/result/result_figures.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20 };

static const char *name_of(const struct run_point *p)
{
    return strcmp(p->params, "-") == 0 ? "standard input" : p->params;
}

/* Owned, or NULL. */
static char *read_input(size_t *size, struct err *e)
{
    char *text = mem_alloc(MOST_BYTES + 1, 1);

    *size = fread(text, 1, MOST_BYTES + 1, stdin);
    if (ferror(stdin))
        (void)err_set(e, "standard input cannot be read: %s", strerror(errno));
    else if (*size > MOST_BYTES)
        (void)err_set(e,
                      "standard input has more than %d bytes; expected one JSON object",
                      MOST_BYTES);
    else
        return text;
    free(text);
    return NULL;
}

/* A JSON object is YAML in flow style. Owned, or NULL. */
static struct cfg *read_object(const struct run_point *p, struct err *e)
{
    size_t size = 0, at = 0;
    char *text = strcmp(p->params, "-") == 0 ? read_input(&size, e)
                                             : file_read(p->params, MOST_BYTES, &size, e);
    struct cfg *c = NULL;

    while (text != NULL && at < size && strchr(" \t\r\n", text[at]) != NULL)
        at++;
    if (text != NULL && (at == size || text[at] != '{'))
        (void)err_set(e,
                      "%s: expected one JSON object of keys to values, such as "
                      "{\"cache.slots\": 8}",
                      name_of(p));
    else if (text != NULL)
        c = cfg_parse(name_of(p), text, size, e);
    free(text);
    return c;
}

static int check_values(const struct sweep_axes *axes, const struct run_point *p,
                        struct err *e)
{
    for (size_t k = 0; k < sweep_axes_count(axes); k++) {
        if (sweep_axes_values(axes, k) != 1)
            return err_set(e, "%s: '%s' has several values; a point has one for each key",
                           name_of(p), sweep_axes_key(axes, k));
    }
    return 0;
}

/* Puts what the object says into the study. Owned, or NULL. */
static struct cfg *put_values(const struct cfg *study, const struct cfg_node *object,
                              const struct run_point *p, struct err *e)
{
    struct sweep_axes *axes;
    struct sweep_value *value;
    struct cfg *c = NULL;
    bool empty = cfg_count(object) == (cfg_find(object, "policy") != NULL);

    if (empty) {
        c = cfg_copy(cfg_root(study));
        cfg_remove(c, "sweep");
        cfg_remove(c, "tune");
        return c;
    }
    axes = sweep_axes_new(study, object, name_of(p), "policy", AXES_GRID, e);
    if (axes == NULL)
        return NULL;
    value = mem_zalloc(sweep_axes_count(axes), sizeof *value);
    if (check_values(axes, p, e) == 0)
        c = sweep_axes_config(axes, value, e);
    free(value);
    sweep_axes_free(axes);
    return c;
}

/* Which policy it is: by the flag, or by the object. */
static int choose_policy(struct cfg *c, const struct cfg_node *object,
                         const struct run_point *p, struct err *e)
{
    const struct cfg_node *n = cfg_find(object, "policy");

    if (n != NULL && p->policy != NULL)
        return cfg_error(n, e, "'policy' is given by --policy already; give it once");
    if (n != NULL && cfg_text(n) == NULL)
        return cfg_error(n, e, "expected the name of a policy");
    return experiment_keep_policy(c, n != NULL ? cfg_text(n) : p->policy, e);
}

/* Leaves out what no figure needs, unless the study asks for it. */
static int lighten(struct cfg *c, int figure, struct err *e)
{
    const struct cfg_node *root = cfg_root(c);

    if (cfg_find(root, "passes") == NULL && cfg_override(c, "passes=no", e) != 0)
        return -1;
    return cfg_find(root, "bounds") == NULL && !result_figure[figure].bounds
               ? cfg_override(c, "bounds=no", e)
               : 0;
}

static void print_line(const struct result *r, int figure, const double *value)
{
    (void)fputs("{\"objective\": ", stdout);
    json_number(stdout, value[figure]);
    (void)fputs(", \"policy\": ", stdout);
    json_string(stdout, r->policy[0].label);
    (void)fputs(", \"figures\": {", stdout);
    for (int i = 0; i < RESULT_FIGURES; i++) {
        (void)fprintf(stdout, "%s\"%s\": ", i > 0 ? ", " : "", result_figure[i].name);
        json_number(stdout, value[i]);
    }
    (void)fputs("}}\n", stdout);
}

static int run(struct cfg *c, const struct experiment_folders *folders,
               const struct run_point *p, int figure, struct err *e)
{
    static const struct experiment_hooks none = {.progress = NULL};
    double value[RESULT_FIGURES];
    struct result r;
    int status = experiment_run(c, folders, p->threads, &none, &r, e);

    if (status < 0)
        return -1;
    result_figures(&r, &r.policy[0], value);
    if (status == 1)
        (void)err_set(e, "stopped by a signal; there is no figure of a whole run");
    else if (!isfinite(value[figure]))
        status = err_set(e, "this run has no figure '%s'; name another one",
                         result_figure[figure].name);
    else
        print_line(&r, figure, value);
    result_release(&r);
    return status;
}

int run_point(const struct cfg *study, const struct experiment_folders *folders,
              const struct run_point *p, struct err *e)
{
    int figure = result_figure_find(p->objective, e), status = -1;
    bool good = figure >= 0 && loops_refuse(study, e) == 0;
    struct cfg *object = good ? read_object(p, e) : NULL, *c = NULL;

    if (object != NULL)
        c = put_values(study, cfg_root(object), p, e);
    if (c != NULL && choose_policy(c, cfg_root(object), p, e) == 0 &&
        lighten(c, figure, e) == 0)
        status = run(c, folders, p, figure, e);
    cfg_free(c);
    cfg_free(object);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

void run_point_fail(const struct err *e)
{
    if (file_interrupted())
        return;
    (void)fputs("{\"error\": ", stdout);
    json_string(stdout, e->text);
    (void)fputs("}\n", stdout);
}
