#include "cmd.h"
#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"
#include "sim/base/plain.h"
#include "validate/agreement_print.h"
#include "validate/busy.h"
#include "validate/room.h"
#include "validate_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct validate_flags {
    const char *device, *machine, *out;
    struct flag_list set;
    unsigned passes, warmup, repeat, expert_gib;
    bool json, quiet;
};

/* Both sides, and what is made of them. */
struct validation {
    const struct validate_flags *flags;
    const char *out; /* where to write, or NULL */
    struct validate_device device;
    struct device_info info;
    struct validate_side predicted, *executed; /* [flags->repeat] */
    unsigned repeats;                          /* executed */
    struct agreement *policy;
    size_t policies;
    struct speed speed;
};

/* ---- the configuration ---- */

static int override(struct cfg *config, const char *key, const char *value, struct err *e)
{
    char *assignment = mem_format("%s=\"%s\"", key, value);
    int status = cfg_override(config, assignment, e);

    free(assignment);
    return status;
}

/* What is executed: launches one by one, experts copied from host memory. */
static int set_config(struct cfg *config, const struct validate_flags *flags,
                      struct err *e)
{
    char *passes = mem_format("workload.max_passes=%u", flags->passes + flags->warmup);
    int status = cfg_override(config, passes, e);

    free(passes);
    if (status == 0)
        status = cfg_override(config, "launch=eager", e);
    if (status == 0)
        status = cfg_override(config, "home=host", e);
    if (status == 0)
        status = cfg_override(config, "host_memory=1e6 TB", e);
    if (status == 0)
        status = cfg_override(config, "engine=auto", e);
    if (status == 0)
        status = cfg_override(config, "passes=yes", e);
    if (status == 0 && flags->machine != NULL)
        status = override(config, "machine", flags->machine, e);
    return status;
}

/* ---- is the machine at rest? ---- */

static char *read_statistics(void)
{
    enum { LIMIT = 1 << 20 };
    struct err e = {.text = ""};

    return file_read("/proc/stat", LIMIT, &(size_t){0}, &e);
}

static void warn_if_busy(void)
{
    const struct timespec look = {.tv_nsec = 300 * 1000 * 1000};
    char *before = read_statistics(), *after;
    double busy;

    if (before == NULL)
        return;
    (void)nanosleep(&look, NULL);
    after = read_statistics();
    busy = after == NULL ? 0.0 : busy_share(before, after);
    free(before);
    free(after);
    if (busy > 0.1)
        (void)fprintf(stderr,
                      "moesim: warning: this machine is %.0f %% busy with other things; "
                      "what is measured now will be too slow\n",
                      busy * 100.0);
}

/* ---- running ---- */

static void show_progress(void *context, uint64_t done, uint64_t total)
{
    progress_show(context, done, total);
}

static uint32_t element_bits(const struct validation *v)
{
    return v->info.element == DEVICE_F32 ? 32 : 16;
}

static int check_passes(const struct validation *v, struct err *e)
{
    const struct result *r = &v->predicted.result;

    for (uint32_t i = 0; i < r->policies; i++)
        if (r->policy[i].run.passes <= v->flags->warmup)
            return err_set(e,
                           "the workload has only %llu passes, and %u of them are for "
                           "warm-up; take more requests or a smaller --warmup",
                           (unsigned long long)r->policy[i].run.passes, v->flags->warmup);
    return 0;
}

/* Whether the policy runs experts near the data: no such unit is driven, the host's
 * processors stand in for it. */
static bool is_emulated(const struct validation *v, uint32_t policy)
{
    return v->predicted.tally[policy].near_runs > 0;
}

/* Once more, with a line of its own. */
static int execute(struct validation *v, struct cfg *config,
                   const struct experiment_folders *folders, struct err *e)
{
    struct progress_line *line = v->flags->quiet ? NULL : progress_new("executing");
    const struct validate_progress progress = {line == NULL ? NULL : show_progress, line};
    struct validate_side *s = &v->executed[v->repeats++];
    int status =
        validate_execute(config, folders, &v->device, element_bits(v), &progress, s, e);

    progress_free(line);
    return status != 0 ? -1
                       : agreement_compare_results(&v->predicted.result, &s->result,
                                                   v->predicted.tally, s->tally, e);
}

static int run_sides(struct validation *v, struct cfg *config,
                     const struct experiment_folders *folders, struct err *e)
{
    const struct validate_progress silent = {.show = NULL};
    int status =
        validate_predict(config, folders, element_bits(v), &silent, &v->predicted, e);

    if (status == 0)
        status = check_passes(v, e);
    if (status != 0)
        return -1;
    v->executed = mem_zalloc(v->flags->repeat, sizeof *v->executed);
    v->device.largest = v->predicted.largest;
    for (uint32_t i = 0; i < v->predicted.policies; i++)
        v->device.floats =
            v->device.floats || v->predicted.tally[i].host_runs > 0 || is_emulated(v, i);
    v->device.reserve_bytes = room_reserved(&v->predicted.result, v->info.local_bytes);
    v->device.expert_budget_bytes = v->flags->expert_gib * BYTES_PER_GIB;
    while (status == 0 && v->repeats < v->flags->repeat)
        status = execute(v, config, folders, e);
    return status;
}

/* ---- what came of it ---- */

static void find_agreement(struct validation *v)
{
    const struct result *r = &v->predicted.result;
    const struct run_pass **measured = mem_alloc(v->repeats, sizeof(struct run_pass *));
    struct agreement_ops *ops = mem_alloc(v->repeats, sizeof *ops);

    speed_find(&v->predicted.speed, v->device.probe, v->device.probes, &v->speed);
    v->policies = r->policies;
    v->policy = mem_zalloc(v->policies, sizeof *v->policy);
    for (uint32_t i = 0; i < r->policies; i++) {
        struct agreement_input in = {.label = r->policy[i].label,
                                     .passes = r->policy[i].run.passes,
                                     .warmup = v->flags->warmup,
                                     .repeats = v->repeats,
                                     .emulated = is_emulated(v, i),
                                     .predicted = v->predicted.pass[i],
                                     .measured = measured,
                                     .predicted_ops = &v->predicted.ops[i],
                                     .measured_ops = ops,
                                     .decoder_layers = v->device.model.layers,
                                     .moe_layers = r->layers,
                                     .moe_layer = r->moe_layer};

        for (unsigned k = 0; k < v->repeats; k++) {
            measured[k] = v->executed[k].pass[i];
            ops[k] = v->executed[k].ops[i];
        }
        agreement_find(&in, &v->policy[i]);
    }
    free(ops);
    free(measured);
}

/* The policies whose times say nothing, in a sentence that begins with a blank; "" where
 * there is none. Owned. */
static char *tell_emulated(const struct validation *v)
{
    char *labels = mem_strdup(""), *text;
    uint32_t count = 0;

    for (uint32_t i = 0; i < v->predicted.result.policies; i++) {
        if (!is_emulated(v, i))
            continue;
        text = mem_format("%s%s'%s'", labels, count++ == 0 ? "" : ", ",
                          v->predicted.result.policy[i].label);
        free(labels);
        labels = text;
    }
    text = count == 0
               ? mem_strdup("")
               : mem_format(" Near-data unit emulated on this machine's processors "
                            "(%s %s): counts are compared, but the times measure "
                            "nothing and are not shown.",
                            count == 1 ? "policy" : "policies", labels);
    free(labels);
    return text;
}

static char *make_notes(const struct validation *v)
{
    uint32_t bits = element_bits(v);
    const char *shared = v->device.notes == NULL ? "" : v->device.notes;
    char *emulated = tell_emulated(v);
    char *notes =
        mem_format("Every weight and activation has %u bits on both sides, and kernels "
                   "are launched one by one.%s%s%s",
                   bits, emulated, *shared == '\0' ? "" : " ", shared);

    free(emulated);
    return notes;
}

/* Writes one file with what `print` makes of the report. */
static int write_report(const struct agreement_report *r, const char *folder,
                        const char *name,
                        void (*print)(const struct agreement_report *r, FILE *out),
                        struct err *e)
{
    char *path = mem_format("%s/%s", folder, name);
    struct file_out *f = file_out_new(path, e);

    free(path);
    if (f == NULL)
        return -1;
    print(r, file_out_stream(f));
    return file_out_commit(f, e);
}

static int write_timeline(const struct validation *v, const char *folder, struct err *e)
{
    enum { DRAWN = 16 };
    struct agreement_drawing *d = mem_alloc(v->policies, sizeof *d);
    char *path = mem_format("%s/timeline.json", folder);
    int status;

    for (size_t i = 0; i < v->policies; i++)
        d[i] = (struct agreement_drawing){
            .label = v->policy[i].label,
            .side = {&v->predicted.ops[i],
                     v->policy[i].emulated ? NULL : &v->executed[0].ops[i]}};
    status = agreement_draw(path, d, v->policies, v->flags->warmup, DRAWN, e);
    free(path);
    free(d);
    return status;
}

static int write_files(const struct validation *v, const struct agreement_report *r,
                       const char *folder, struct err *e)
{
    if (write_report(r, folder, "passes.csv", agreement_print_passes, e) != 0 ||
        write_report(r, folder, "operations.csv", agreement_print_operations, e) != 0 ||
        write_report(r, folder, "summary.json", agreement_print_json, e) != 0)
        return -1;
    return write_timeline(v, folder, e);
}

static int report(struct validation *v, struct err *e)
{
    const struct result *r = &v->predicted.result;
    char *notes = make_notes(v);
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    int status = 0;
    struct agreement_report out = {.version = r->version,
                                   .date = date,
                                   .device = v->device.device->ops->name,
                                   .device_name = v->info.name,
                                   .driver = v->info.driver,
                                   .clocks = v->info.clocks,
                                   .element = element_bits(v) == 32 ? "fp32" : "bf16",
                                   .machine = r->machine,
                                   .model = r->model,
                                   .trace = r->trace_path,
                                   .seed = r->seed,
                                   .repeats = v->repeats,
                                   .notes = notes,
                                   .counts = agreement_sum_counts(r),
                                   .speed = &v->speed,
                                   .policies = v->policies,
                                   .policy = v->policy};

    (void)gmtime_r(&now, &utc);
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    if (v->flags->json)
        agreement_print_json(&out, stdout);
    else
        agreement_print(&out, stdout);
    if (v->out != NULL)
        status = write_files(v, &out, v->out, e);
    free(notes);
    return status;
}

/* What an emulated device can show: that it did what was asked. */
static void report_emulated(const struct validation *v)
{
    uint32_t policies = v->predicted.result.policies;

    if (v->flags->json)
        (void)printf("{\"emulated\": true, \"policies\": %u, \"repeats\": %u}\n",
                     policies, v->repeats);
    else
        plain_printf(
            stdout,
            "emulated: on %s the counts of %u %s were in %u %s as predicted; its "
            "times measure nothing and are not shown\n",
            v->info.name, policies, policies == 1 ? "policy" : "policies", v->repeats,
            v->repeats == 1 ? "run" : "runs");
}

static void validation_release(struct validation *v)
{
    for (size_t i = 0; i < v->policies; i++)
        agreement_release(&v->policy[i]);
    free(v->policy);
    for (unsigned i = 0; i < v->repeats; i++)
        validate_side_release(&v->executed[i]);
    free(v->executed);
    validate_side_release(&v->predicted);
    validate_device_release(&v->device);
    device_close(v->device.device);
}

static int validate_config(struct cfg *config, const struct folders *folders,
                           const struct validate_flags *flags, const char *out,
                           struct device *device, struct err *e)
{
    struct experiment_folders where = {folders->models, folders->machines,
                                       folders->presets};
    struct validation v = {.flags = flags, .out = out};
    int status;

    v.device.device = device;
    device->ops->info(device, &v.info);
    if (v.info.emulated && out != NULL)
        status = err_set(e, "an emulated device has no times to write; leave --out out");
    else
        status = run_sides(&v, config, &where, e);
    if (status == 0 && v.info.emulated) {
        report_emulated(&v);
    } else if (status == 0) {
        find_agreement(&v);
        status = report(&v, e);
    }
    validation_release(&v);
    return status;
}

/* Takes the device. With --out, the files are in place if all went well. */
static int validate_into(struct cfg *config, const char *path,
                         const struct folders *folders,
                         const struct validate_flags *flags, struct device *device,
                         struct err *e)
{
    static const char *const own[] = {"summary.json", "passes.csv", "operations.csv",
                                      "timeline.json", NULL};
    struct folder_out *f = NULL;
    int status = set_config(config, flags, e);

    if (status == 0 && flags->out != NULL) {
        f = config_folder(config, path, flags->out, own, e);
        status = f == NULL ? -1 : 0;
    }
    if (status == 0)
        status = validate_config(config, folders, flags,
                                 f == NULL ? NULL : folder_out_name(f), device, e);
    else
        device_close(device);
    if (status != 0)
        folder_out_abandon(f, e);
    else if (f != NULL && (status = folder_out_commit(f, e)) == 0 && !flags->json)
        plain_printf(stdout,
                     "\nWritten: %s/summary.json, passes.csv, operations.csv, "
                     "timeline.json (opens in ui.perfetto.dev)\n",
                     flags->out);
    return status == 0 ? EXIT_GOOD : EXIT_BAD;
}

static int validate(const char *path, const struct validate_flags *flags, struct err *e)
{
    struct folders folders = {.models = NULL};
    struct device *device = NULL;
    struct cfg *config = NULL;
    bool missing = false;
    int status = EXIT_BAD;

    if (device_open(flags->device, &device, &missing, e) != 0)
        return missing ? EXIT_CANNOT : EXIT_BAD;
    if (strcmp(device->ops->name, "host") == 0)
        warn_if_busy();
    if (folders_find(&folders, e) == 0)
        config = config_load(path, &flags->set, e);
    if (config != NULL)
        status = validate_into(config, path, &folders, flags, device, e);
    else
        device_close(device);
    cfg_free(config);
    folders_release(&folders);
    return status;
}

int cmd_validate(int argc, char **argv)
{
    struct validate_flags flags = {
        .device = "host", .passes = 64, .warmup = 2, .repeat = 3};
    struct flag table[] = {
        {"--device", 'd', FLAG_TEXT, &flags.device, "DEVICE",
         "host (default) or cuda:N; exit 77 where there is none"},
        {"--machine", 'm', FLAG_TEXT, &flags.machine, "FILE",
         "machine that predicts, e.g. from moesim calibrate; default: CONFIG's"},
        {"--out", 'o', FLAG_TEXT, &flags.out, "FOLDER",
         "write summary.json, passes.csv, operations.csv, timeline.json"},
        {"--passes", 'n', FLAG_COUNT, &flags.passes, "N",
         "passes that count (default 64)"},
        {"--warmup", 'w', FLAG_NUMBER, &flags.warmup, "N",
         "passes before them that do not (default 2)"},
        {"--repeat", 'r', FLAG_COUNT, &flags.repeat, "N",
         "executed runs; times are medians over them (default 3)"},
        {"--expert-memory", 0, FLAG_COUNT, &flags.expert_gib, "GIB",
         "host memory for experts (default: a quarter of what is free)"},
        {"--set", 's', FLAG_LIST, &flags.set, "KEY=VALUE",
         "override the configuration, e.g. policies.0.cache.slots=8"},
        {"--json", 0, FLAG_SWITCH, &flags.json, NULL, "print the summary as JSON"},
        {"--quiet", 'q', FLAG_SWITCH, &flags.quiet, NULL, "no progress line"},
        {.name = NULL},
    };
    const struct command command = {
        "moesim validate CONFIG [flags]",
        "Runs the same passes under the same policies twice: predicted, on the modelled "
        "machine, and\nexecuted, on a device. Counts must be equal; prints by how much "
        "times differ: per policy,\noperation and layer, in the order of the policies, "
        "and why.",
        "moesim validate study.yaml --machine my-machine.yaml --device host --out out/v",
        table};
    struct err e = {.text = ""};
    int status;
    int count = flags_parse(&command, argc, argv);

    if (count < 0)
        return count == -2 ? EXIT_GOOD : EXIT_MISUSE;
    if (count != 1)
        return flags_misuse(&command,
                            "validate takes one configuration file, such as study.yaml");
    file_catch_signals();
    status = validate(argv[0], &flags, &e);
    if (status != EXIT_GOOD)
        (void)fprintf(stderr, "moesim: %s\n", e.text);
    free(flags.set.item);
    return status;
}
