#include "paper_replay.h"

#include "models/catalogue.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "traces/generate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the lab ---- */

/* A trace that was generated: its parameters, as text, and where it is. */
struct made {
    char *params, *path;
};

struct paper_lab {
    const struct experiment_folders *folders;
    unsigned threads;
    char *folder; /* temporary */
    char *model;  /* the file of the present replay's model */
    struct made *made;
    size_t count;
};

struct paper_lab *paper_lab_new(const struct experiment_folders *folders,
                                unsigned threads, struct err *e)
{
    const char *parent = getenv("TMPDIR");
    struct paper_lab *lab = mem_zalloc(1, sizeof *lab);

    lab->folders = folders;
    lab->threads = threads;
    lab->folder = mem_format("%s/moesim-check-XXXXXX", parent == NULL ? "/tmp" : parent);
    if (mkdtemp(lab->folder) == NULL) {
        (void)err_set(e, "%s: no folder can be made there for traces; set TMPDIR",
                      lab->folder);
        free(lab->folder);
        free(lab);
        return NULL;
    }
    lab->model = mem_format("%s/model.yaml", lab->folder);
    return lab;
}

void paper_lab_free(struct paper_lab *lab)
{
    if (lab == NULL)
        return;
    for (size_t i = 0; i < lab->count; i++) {
        (void)unlink(lab->made[i].path);
        free(lab->made[i].path);
        free(lab->made[i].params);
    }
    (void)unlink(lab->model);
    (void)rmdir(lab->folder);
    free(lab->made);
    free(lab->model);
    free(lab->folder);
    free(lab);
}

const struct experiment_folders *paper_lab_folders(const struct paper_lab *lab)
{
    return lab->folders;
}

/* ---- putting a replay together ---- */

enum part { PART_MACHINE, PART_MODEL, PART_TRACE, PART_CONFIG, PARTS };
static const char *const part_names[PARTS] = {"machine", "model", "trace", "config"};

struct setup {
    struct cfg *part[PARTS]; /* owned */
    struct machine *machine; /* owned */
};

int paper_apply(struct cfg *c, const struct cfg_node *set, struct err *e)
{
    for (size_t i = 0; set != NULL && i < cfg_count(set); i++) {
        const char *one = cfg_text(cfg_item(set, i));

        if (one == NULL)
            return cfg_error(cfg_item(set, i), e, "expected KEY=VALUE");
        if (cfg_override(c, one, e) != 0)
            return -1;
    }
    return 0;
}

/* "machine.gpus" is `gpus` of the machine: sets `part`, and returns what follows; NULL
 * if there is no such part. */
static const char *find_part(const char *key, enum part *part)
{
    for (int i = 0; i < PARTS; i++) {
        size_t length = strlen(part_names[i]);

        if (strncmp(key, part_names[i], length) == 0 && key[length] == '.') {
            *part = (enum part)i;
            return key + length + 1;
        }
    }
    return NULL;
}

/* Changes parts by a list of "PART.KEY=VALUE". */
static int apply_set(struct setup *s, const struct cfg_node *set, struct err *e)
{
    for (size_t i = 0; set != NULL && i < cfg_count(set); i++) {
        const char *text = cfg_text(cfg_item(set, i)), *rest = NULL;
        enum part part = PARTS;

        if (text != NULL)
            rest = find_part(text, &part);
        if (rest == NULL)
            return cfg_error(cfg_item(set, i), e,
                             "expected KEY=VALUE whose key begins with machine., model., "
                             "trace. or config.");
        if (cfg_override(s->part[part], rest, e) != 0)
            return -1;
    }
    return 0;
}

/* A number of a machine file stands with its source. */
static int apply_constant(struct setup *s, const struct paper *p, size_t i,
                          const double *value, struct err *e)
{
    const struct paper_constant *c = &p->constant[i];

    for (size_t k = 0; k < cfg_count(c->sets); k++) {
        const char *text = cfg_text(cfg_item(c->sets, k)), *rest = NULL;
        enum part part = PARTS;
        char *assignment;
        int status;

        if (text != NULL)
            rest = find_part(text, &part);
        if (rest == NULL)
            return cfg_error(cfg_item(c->sets, k), e,
                             "expected a key that begins with machine., model., trace. "
                             "or config.");
        assignment = mem_format(
            part == PART_MACHINE
                ? "%s={value: %.17g %s, source: \"constant '%s' of table %s\"}"
                : "%s=%.17g%s",
            rest, value == NULL ? c->value : value[i], c->unit, c->name, p->name);
        status = cfg_override(s->part[part], assignment, e);
        free(assignment);
        if (status != 0)
            return -1;
    }
    return 0;
}

struct base {
    const char *machine, *model;
    const struct cfg_node *trace, *config, *set;
};

static const struct option base_options[] = {
    {"machine", OPT_STRING, offsetof(struct base, machine), NULL, 0, 0, NULL,
     "name in models/machine"},
    {"model", OPT_STRING, offsetof(struct base, model), NULL, 0, 0, NULL,
     "name in models/arch"},
    {"trace", OPT_NODE, offsetof(struct base, trace), "", 0, 0, NULL,
     "parameters of moesim trace gen"},
    {"config", OPT_NODE, offsetof(struct base, config), NULL, 0, 0, NULL,
     "of moesim run, without trace, model, machine"},
    {"set", OPT_NODE, offsetof(struct base, set), "", 0, 0, NULL,
     "list of changes, such as machine.gpus=4"},
    {.name = NULL},
};

static struct cfg *copy_or_empty(const struct cfg_node *n, struct err *e)
{
    return n != NULL ? cfg_copy(n) : cfg_parse("trace", "{}", 2, e);
}

static int set_number(struct cfg *c, const char *key, uint32_t value, struct err *e)
{
    char *assignment;
    int status;

    if (cfg_find(cfg_root(c), key) != NULL)
        return 0;
    assignment = mem_format("%s=%u", key, (unsigned)value);
    status = cfg_override(c, assignment, e);
    free(assignment);
    return status;
}

static uint32_t encoder_moe_layers(const struct model *m)
{
    uint32_t count = 0;

    for (uint32_t l = 0; l < m->encoder_layers; l++)
        count += model_layer_is_moe(m, l);
    return count;
}

/* The trace has the model's shape. */
static int shape_trace(struct setup *s, struct err *e)
{
    struct model *m = model_from_cfg(s->part[PART_MODEL], e);
    struct cfg *trace = s->part[PART_TRACE];
    int status = m == NULL ? -1 : set_number(trace, "experts", m->experts, e);

    if (status == 0)
        status = set_number(trace, "top_k", m->top_k, e);
    if (status == 0)
        status = set_number(trace, "layers", m->moe_layers, e);
    if (status == 0)
        status = set_number(trace, "first_layer", m->first_moe, e);
    if (status == 0 && m->moe_every > 1)
        status = set_number(trace, "moe_every", m->moe_every, e);
    if (status == 0 && m->encoder_layers > 0)
        status = set_number(trace, "encoder_layers", encoder_moe_layers(m), e);
    model_free(m);
    return status;
}

static int compose(const struct paper_lab *lab, const struct paper *p, size_t replay,
                   const double *value, struct setup *s, struct err *e)
{
    struct base base;

    if (p->base == NULL)
        return err_set(e, "table %s has replays, but no base", p->name);
    if (cfg_bind(p->base, base_options, &base, e) != 0)
        return -1;
    s->part[PART_MACHINE] =
        catalogue_load(FILE_MACHINE, base.machine, lab->folders->machines, e);
    s->part[PART_MODEL] = catalogue_load(FILE_MODEL, base.model, lab->folders->models, e);
    s->part[PART_TRACE] = copy_or_empty(base.trace, e);
    s->part[PART_CONFIG] = cfg_copy(base.config);
    for (int i = 0; i < PARTS; i++) {
        if (s->part[i] == NULL)
            return -1;
    }
    if (apply_set(s, base.set, e) != 0 || apply_set(s, p->replay[replay].set, e) != 0)
        return -1;
    for (size_t i = 0; i < p->constants; i++) {
        if (apply_constant(s, p, i, value, e) != 0)
            return -1;
    }
    s->machine = machine_from_cfg(s->part[PART_MACHINE], e);
    return s->machine == NULL ? -1 : shape_trace(s, e);
}

static void setup_release(struct setup *s)
{
    for (int i = 0; i < PARTS; i++)
        cfg_free(s->part[i]);
    machine_free(s->machine);
}

/* ---- its files ---- */

static int write_model(const struct paper_lab *lab, const struct cfg *model,
                       struct err *e)
{
    struct file_out *f = file_out_new(lab->model, e);
    char *text;

    if (f == NULL)
        return -1;
    text = cfg_dump(model);
    (void)fputs(text, file_out_stream(f));
    free(text);
    return file_out_commit(f, e);
}

/* The path of a trace with these parameters; borrowed. NULL: it cannot be had. */
static const char *make_trace(struct paper_lab *lab, const struct cfg *params,
                              struct err *e)
{
    char *text = cfg_dump(params);
    struct generate_params g;
    struct made *made;

    for (size_t i = 0; i < lab->count; i++) {
        if (strcmp(text, lab->made[i].params) == 0) {
            free(text);
            return lab->made[i].path;
        }
    }
    lab->made = mem_resize(lab->made, lab->count + 1, sizeof *lab->made);
    made = &lab->made[lab->count];
    *made = (struct made){text, mem_format("%s/trace-%zu.h5", lab->folder, lab->count)};
    if (cfg_bind(cfg_root(params), generate_options, &g, e) == 0 &&
        generate_trace(&g, made->path, e) == 0) {
        lab->count++;
        return made->path;
    }
    free(made->path);
    free(made->params);
    return NULL;
}

static int set_path(struct cfg *config, const char *key, const char *path, struct err *e)
{
    char *assignment = mem_format("%s=\"%s\"", key, path);
    int status = cfg_override(config, assignment, e);

    free(assignment);
    return status;
}

static int finish_config(struct paper_lab *lab, struct setup *s, struct err *e)
{
    struct cfg *config = s->part[PART_CONFIG];
    const char *trace = make_trace(lab, s->part[PART_TRACE], e);

    if (trace == NULL || write_model(lab, s->part[PART_MODEL], e) != 0 ||
        set_path(config, "trace", trace, e) != 0 ||
        set_path(config, "model", lab->model, e) != 0 ||
        set_path(config, "machine", s->machine->name, e) != 0 ||
        cfg_override(config, "bounds=no", e) != 0 ||
        cfg_override(config, "timeline_passes=0", e) != 0)
        return -1;
    return 0;
}

/* ---- running ---- */

/* One layer of the pass that a policy is in. */
struct window {
    sim_time begin, end;
    bool open, past_gate;
};

struct watch {
    uint32_t policies, layers;
    struct window *window; /* (policy, layer) */
    struct paper_span *span;
};

static void close_window(struct paper_span *span, struct window *w)
{
    if (w->open) {
        span->total += w->end - w->begin;
        span->count++;
    }
    *w = (struct window){.open = false};
}

/* A gate behind experts that have ended begins the next pass. */
static void see(void *context, uint32_t policy, op_id id, enum op_kind kind,
                enum op_lane lane, uint32_t layer, uint32_t expert,
                const struct op_times *times)
{
    struct watch *k = context;
    struct window *w;

    (void)id;
    (void)lane;
    (void)expert;
    if (kind == OP_DENSE || kind == OP_HEAD || kind == OP_HOST || times->cancelled ||
        layer >= k->layers)
        return;
    w = &k->window[(size_t)policy * k->layers + layer];
    if (kind == OP_GATE && w->past_gate && times->start >= w->end)
        close_window(&k->span[policy], w);
    if (!w->open || times->start < w->begin)
        w->begin = times->start;
    if (!w->open || times->end > w->end)
        w->end = times->end;
    w->open = true;
    w->past_gate = w->past_gate || kind != OP_GATE;
}

/* GPUs that share attention gather rows around it, which cannot be told from experts'. */
static bool shares_attention(const struct cfg *config)
{
    const struct cfg_node *n = cfg_find(cfg_root(config), "parallel");
    const char *text;

    n = n != NULL && cfg_is_map(n) ? cfg_find(n, "attention") : NULL;
    text = n == NULL ? NULL : cfg_text(n);
    return text != NULL && strcmp(text, "tensor") == 0;
}

static int run_config(struct paper_lab *lab, struct setup *s, struct paper_run *run,
                      struct err *e)
{
    struct experiment_hooks hooks = {.machine = s->machine, .operation = see};
    const struct cfg_node *list = cfg_find(cfg_root(s->part[PART_CONFIG]), "policies");
    struct model *m = model_from_cfg(s->part[PART_MODEL], e);
    struct watch watch = {.policies = list == NULL ? 0 : (uint32_t)cfg_count(list)};
    int status;

    assert(m != NULL); /* it shaped the trace */
    watch.layers = m->moe_layers;
    model_free(m);
    watch.window =
        mem_zalloc((size_t)watch.policies * watch.layers + 1, sizeof *watch.window);
    watch.span = mem_zalloc((size_t)watch.policies + 1, sizeof *watch.span);
    hooks.operation_context = &watch;
    status = experiment_run(s->part[PART_CONFIG], lab->folders, lab->threads, &hooks,
                            &run->result, e);
    for (uint32_t i = 0; i < watch.policies * watch.layers; i++)
        close_window(&watch.span[i / watch.layers], &watch.window[i]);
    if (shares_attention(s->part[PART_CONFIG]))
        memset(watch.span, 0, watch.policies * sizeof *watch.span);
    free(watch.window);
    run->span = watch.span;
    return status;
}

int paper_run(struct paper_lab *lab, const struct paper *p, size_t replay,
              const double *value, struct paper_run *run, struct err *e)
{
    struct setup s = {.machine = NULL};
    struct err inner = {.text = ""};
    int status = -1;

    assert(replay < p->replays);
    *run = (struct paper_run){.span = NULL};
    if (compose(lab, p, replay, value, &s, &inner) == 0 &&
        finish_config(lab, &s, &inner) == 0)
        status = run_config(lab, &s, run, &inner);
    if (status < 0) {
        paper_run_release(run);
        (void)err_set(e, "replay '%s': %s", p->replay[replay].name, inner.text);
    }
    setup_release(&s);
    return status;
}

void paper_run_release(struct paper_run *run)
{
    result_release(&run->result);
    free(run->span);
    run->span = NULL;
}
