#include "run_counted.h"

#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/json.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "sim/experiment/loops.h"
#include "sim/policy/place_map.h"
#include "sim/report/print_counted.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A line for each GPU in each layer and pass. */
static void tell(void *context, const char *policy, uint64_t pass, uint32_t layer,
                 const uint64_t *tokens, uint32_t gpus)
{
    FILE *out = context;

    for (uint32_t g = 0; g < gpus; g++) {
        csv_string(out, policy);
        (void)fprintf(out, ",%" PRIu64 ",%u,%u,%" PRIu64 "\n", pass, layer, g, tokens[g]);
    }
}

static void print(const struct counted *c, const struct run_counted *how, FILE *out)
{
    if (how->json)
        counted_print_json(c, out);
    else if (how->csv)
        counted_print_csv(c, out);
    else
        counted_print(c, out);
}

static int write_csv(const struct counted *c, const char *folder, struct err *e)
{
    char *path = mem_format("%s/summary.csv", folder);
    struct file_out *f = file_out_new(path, e);

    free(path);
    if (f == NULL)
        return -1;
    counted_print_csv(c, file_out_stream(f));
    return file_out_commit(f, e);
}

/* The placement that a policy had at the end. */
static int write_map(const struct counted *c, uint32_t i, const char *folder,
                     struct err *e)
{
    const struct run_placements *placed = &c->policy[i].run.placed;
    const struct place_map_shape shape = {c->layers, c->experts, c->moe_layer, 0};
    const size_t cells = (size_t)c->layers * placed->slots;
    char *path = mem_format("%s/placement-%u.json", folder, i);
    struct file_out *f = file_out_new(path, e);

    free(path);
    if (f == NULL)
        return -1;
    place_map_print(file_out_stream(f), &shape, placed->slots,
                    placed->expert + (placed->count - 1) * cells);
    return file_out_commit(f, e);
}

/* Runs, prints, and writes into `folder`, the real one for the time being; NULL: nothing.
 */
static int run_into(struct cfg *config, const struct experiment_folders *folders,
                    const struct run_counted *how, const char *folder, struct err *e)
{
    char *path = folder == NULL ? NULL : mem_format("%s/gpu_tokens.csv", folder);
    struct file_out *tokens = path == NULL ? NULL : file_out_new(path, e);
    FILE *stream = tokens == NULL ? NULL : file_out_stream(tokens);
    struct counted c;
    int status;

    free(path);
    if (folder != NULL && tokens == NULL)
        return EXIT_BAD;
    if (stream != NULL)
        (void)fputs("policy,pass,moe_layer,gpu,tokens\n", stream);
    status = experiment_count(config, folders, how->hooks, stream == NULL ? NULL : tell,
                              stream, &c, e);
    if (status != 0) {
        file_out_abandon(tokens);
        if (status < 0)
            return EXIT_BAD;
    }
    print(&c, how, stdout);
    if (status == 1)
        (void)err_set(e, "stopped by a signal; rows that say so are not whole, and "
                         "nothing was written");
    else if (tokens != NULL && file_out_commit(tokens, e) != 0)
        status = -1;
    if (status == 0 && folder != NULL)
        status = write_csv(&c, folder, e);
    for (uint32_t i = 0; status == 0 && folder != NULL && i < c.policies; i++)
        status = write_map(&c, i, folder, e);
    counted_release(&c);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

/* The names of the files in an output folder, NULL behind the last; all owned. */
static char **file_names(const struct cfg *config)
{
    static const char *const always[] = {"summary.csv", "gpu_tokens.csv", "result.h5",
                                         "timeline.json", "report.html"};
    enum { ALWAYS = sizeof always / sizeof *always };
    const struct cfg_node *policies = cfg_find(cfg_root(config), "policies");
    const size_t maps = policies == NULL ? 0 : cfg_count(policies);
    char **names = mem_zalloc(ALWAYS + maps + 1, sizeof *names);

    for (size_t i = 0; i < ALWAYS; i++)
        names[i] = mem_strdup(always[i]);
    for (size_t i = 0; i < maps; i++)
        names[ALWAYS + i] = mem_format("placement-%zu.json", i);
    return names;
}

static struct folder_out *open_folder(struct cfg *config, const char *path,
                                      const char *out, struct err *e)
{
    struct folder_out *f;
    char **names;

    if (loops_expand(config, e) != 0) /* so that all policies are known */
        return NULL;
    names = file_names(config);
    f = config_folder(config, path, out, (const char *const *)names, e);
    for (size_t i = 0; names[i] != NULL; i++)
        free(names[i]);
    free(names);
    return f;
}

int run_counted(struct cfg *config, const char *path,
                const struct experiment_folders *folders, const struct run_counted *how,
                struct err *e)
{
    struct folder_out *f;
    int status;

    if (how->out == NULL)
        return run_into(config, folders, how, NULL, e);
    f = open_folder(config, path, how->out, e);
    if (f == NULL)
        return EXIT_BAD;
    status = run_into(config, folders, how, folder_out_name(f), e);
    if (status != EXIT_GOOD)
        folder_out_abandon(f, e);
    else if (folder_out_commit(f, e) != 0)
        status = EXIT_BAD;
    else if (!how->json && !how->csv)
        plain_printf(stdout,
                     "\nWritten: %s/summary.csv, gpu_tokens.csv, placement-0.json and so "
                     "on, one map a policy\n",
                     how->out);
    return status;
}
