#include "sim/report/report.h"

#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"

#include <stdio.h>
#include <stdlib.h>

/* All files of the page appear together. */
static int write_page(const struct report_request *page, struct err *e)
{
    struct folder_out *f = folder_out_new(page->folder, e);
    struct report_request inside = *page;
    int status = 0;

    if (f == NULL)
        return -1;
    report_own_files(f);
    for (size_t i = 0; i < page->count && status == 0; i++)
        status = folder_out_check_apart(f, page->results[i]->path, e);
    inside.folder = folder_out_name(f);
    if (status == 0)
        status = report_write(&inside, e);
    if (status >= 0)
        return folder_out_commit(f, e) == 0 ? status : -1;
    folder_out_abandon(f, e);
    return -1;
}

struct report_flags {
    const char *out;
    bool pdf;
};

static int report(char **paths, size_t count, const struct report_flags *flags,
                  const struct folders *folders, struct err *e)
{
    struct result *r = mem_zalloc(count, sizeof *r);
    const struct result **all = mem_alloc(count, sizeof *all);
    struct report_request page = {.results = all,
                                  .count = count,
                                  .folder = flags->out,
                                  .plots = folders->plots,
                                  .pdf = flags->pdf};
    size_t read = 0;
    int status = 0;

    for (; status == 0 && read < count; read += status == 0) {
        status = result_read(paths[read], &r[read], e);
        all[read] = &r[read];
    }
    if (status == 0)
        status = write_page(&page, e);
    for (size_t i = 0; i < read; i++)
        result_release(&r[i]);
    free(all);
    free(r);
    return status;
}

int cmd_report(int argc, char **argv)
{
    struct report_flags flags = {.out = NULL};
    struct flag table[] = {
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "where report.html and figures go"},
        {"--pdf", 0, FLAG_SWITCH, &flags.pdf, NULL, "draw the figures as PDF too"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim report RESULT... -o FOLDER",
        "Writes one self-contained HTML page: who wins, why, and what to beware of; then\n"
        "tables, figures, what limits each policy, configuration and provenance. The\n"
        "figures (SVG, by gnuplot; PDF for papers) and their data (CSV) stand beside it.",
        "moesim report out/demo/result.h5 -o out/demo", table};
    struct folders folders = {.models = NULL};
    struct err e = {.text = ""};
    int status = -1;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count < 1 || flags.out == NULL)
        return flags_misuse(&command,
                            "report takes one or more results and --out FOLDER");
    if (folders_find(&folders, &e) == 0)
        status = report(argv, (size_t)count, &flags, &folders, &e);
    folders_release(&folders);
    if (status < 0)
        return cmd_fail(&e);
    if (status == 1)
        (void)fprintf(stderr, "moesim: note: figures are missing, because gnuplot is not "
                              "installed or failed; the page names their data\n");
    plain_printf(stdout, "Written: %s/report.html\n", flags.out);
    return EXIT_GOOD;
}
