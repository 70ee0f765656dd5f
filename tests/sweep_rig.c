#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sweep_rig.h"

#include "made_result.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/report/report_sweep.h"

#include <stdlib.h>

char *sweep_rig_file_of(const struct sweep_rig *s, const char *name)
{
    return mem_format("%s/%s", s->folder, name);
}

void sweep_rig_begin(struct sweep_rig *s, void **state, const char *keys)
{
    struct err e = {.text = ""};
    char *path, *study;
    FILE *f;

    s->g = *state;
    s->lines = 0;
    s->folder = mem_format("%s/sweep", s->g->folder);
    s->point = sweep_rig_file_of(s, "points/ab");
    assert_int_equal(file_make_folder(s->point, &e), 0);
    study = sweep_rig_file_of(s, "study.yaml");
    f = fopen(study, "w");
    assert_non_null(f);
    assert_true(fputs("sweep: <b>\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(study);
    path = sweep_rig_file_of(s, "sweep.csv");
    s->table = fopen(path, "w");
    assert_non_null(s->table);
    free(path);
    sweep_table_head(s->table, keys);
}

struct sweep_line sweep_rig_line_of(const char *keys, double tokens)
{
    return (struct sweep_line){.identity = "abcd",
                               .keys = keys,
                               .label = "p",
                               .cache = "lru slots=4",
                               .tokens = tokens,
                               .tpot = 1 / tokens,
                               .tail = 2 / tokens,
                               .memory = 5e9,
                               .hits = 0.5};
}

void sweep_rig_enter(struct sweep_rig *s, struct sweep_line line)
{
    line.point = s->lines++;
    sweep_table_line(s->table, &line);
}

void sweep_rig_enter_tokens(struct sweep_rig *s, const char *keys, double tokens)
{
    sweep_rig_enter(s, sweep_rig_line_of(keys, tokens));
}

void sweep_rig_end(struct sweep_rig *s)
{
    struct made_shape shape = {.policies = 1, .layers = 1, .requests = 2, .seed = 1};
    struct result r = made_result(&shape);
    char *path = sweep_rig_file_of(s, "points/ab/abcd.h5");
    struct err e = {.text = ""};

    assert_int_equal(fclose(s->table), 0);
    if (result_write(&r, path, &e) != 0)
        fail_msg("%s", e.text);
    result_release(&r);
    free(path);
}

int sweep_rig_write_page(const struct sweep_rig *s, struct err *e)
{
    const struct report_place place = {.folder = s->g->folder, .plots = "plots"};

    e->text[0] = '\0';
    return report_sweep_write(s->folder, &place, e);
}

void sweep_rig_clear(struct sweep_rig *s)
{
    char *points = sweep_rig_file_of(s, "points");

    made_folder_remove(s->point);
    made_folder_remove(points);
    made_folder_remove(s->folder);
}

char *sweep_rig_page_of(struct sweep_rig *s, int wanted)
{
    struct err e;
    char *page, *shown;
    int status = sweep_rig_write_page(s, &e);

    if (status != wanted)
        print_error("%s\n", e.text);
    assert_int_equal(status, wanted);
    page = report_rig_read(s->g, "report.html");
    shown = report_rig_shown(page);
    free(page);
    sweep_rig_clear(s);
    return shown;
}

char *sweep_rig_finish(struct sweep_rig *s)
{
    sweep_rig_end(s);
    return sweep_rig_page_of(s, 1);
}
