#include "sim/report/report.h"

#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"

#include <stdio.h>
#include <stdlib.h>

/* All files of the page appear together. */
static int write_page(const struct result *const *all, size_t count, const char *folder,
                      const char *plots, struct err *e)
{
    struct folder_out *f = folder_out_new(folder, e);
    int status = 0;

    if (f == NULL)
        return -1;
    report_own_files(f);
    for (size_t i = 0; i < count && status == 0; i++)
        status = folder_out_check_apart(f, all[i]->path, e);
    if (status == 0)
        status = report_write(all, count, folder_out_name(f), plots, e);
    if (status >= 0)
        return folder_out_commit(f, e) == 0 ? status : -1;
    folder_out_abandon(f, e);
    return -1;
}

static int report(char **paths, size_t count, const char *folder, const char *plots,
                  struct err *e)
{
    struct result *r = mem_zalloc(count, sizeof *r);
    const struct result **all = mem_alloc(count, sizeof *all);
    size_t read = 0;
    int status = 0;

    for (; status == 0 && read < count; read += status == 0) {
        status = result_read(paths[read], &r[read], e);
        all[read] = &r[read];
    }
    if (status == 0)
        status = write_page(all, count, folder, plots, e);
    for (size_t i = 0; i < read; i++)
        result_release(&r[i]);
    free(all);
    free(r);
    return status;
}

int cmd_report(int argc, char **argv)
{
    const char *out = NULL;
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &out, "FOLDER", "where report.html and figures go"},
        {.name = NULL},
    };
    const struct command command = {"moesim report RESULT... -o FOLDER",
                                    "Writes one self-contained HTML page with table, "
                                    "figures, verdicts, configuration "
                                    "and\nprovenance; the figures (SVG, by gnuplot) and "
                                    "their data (CSV) stand beside "
                                    "it.",
                                    "moesim report out/demo/result.h5 -o out/demo",
                                    table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count < 1 || out == NULL)
        return flags_misuse(&command,
                            "report takes one or more results and --out FOLDER");
    if (folders_find(&folders, &e) == 0)
        status = report(argv, (size_t)count, out, folders.plots, &e);
    folders_release(&folders);
    if (status < 0)
        return cmd_fail(&e);
    if (status == 1)
        (void)fprintf(stderr, "moesim: note: figures are missing, because gnuplot is not "
                              "installed or failed; the page names their data\n");
    plain_printf(stdout, "Written: %s/report.html\n", out);
    return EXIT_GOOD;
}
