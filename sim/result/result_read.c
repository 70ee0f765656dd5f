/* Reading a result back: what is where, and how its parts must agree. */
#include "result_reader.h"

#include "sim/base/file_kind.h"
#include "traces/hdf.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_POLICIES = 65536,
    MAX_LAYERS = 65535,
    MAX_LINKS = 65535,
    MAX_GPUS = 65535,
    MAX_SLOTS = 65534
};

static int check_groups(struct result_reader *r, const struct result *result,
                        const char *where, const struct run_result *run)
{
    for (uint64_t i = 0; i < run->requests; i++)
        if (result->groups > 0 && run->request[i].group >= result->groups)
            return err_set(r->e,
                           "%s: %s/request/group, row %" PRIu64 ": %u is no group; there "
                           "are %" PRIu32,
                           r->path, where, i, run->request[i].group, result->groups);
    return 0;
}

static int read_arrays(struct result_reader *r, hid_t group, const struct result *result,
                       const char *where, struct result_policy *p)
{
    uint64_t rows = p->run.requests;
    char part[48];
    hid_t id;
    int status;

    p->run.layers = result->layers;
    p->run.layer = mem_zalloc(result->layers, sizeof *p->run.layer);
    (void)snprintf(part, sizeof part, "%s/layer", where);
    id = result_reader_group(r, group, where, "layer");
    if (id < 0)
        return -1;
    status = result_reader_table(r, id, part, result_layer_fields, result->layers, 0,
                                 result->layers, p->run.layer, sizeof *p->run.layer);
    (void)H5Gclose(id);
    if (status != 0 || rows == 0)
        return status;
    if (rows / RESULT_READER_EXPANSION > r->file_bytes)
        return err_set(r->e, "%s: %s tells of more requests than the file can hold",
                       r->path, where);
    (void)snprintf(part, sizeof part, "%s/request", where);
    id = result_reader_group(r, group, where, "request");
    if (id < 0)
        return -1;
    p->run.request = mem_zalloc((size_t)rows, sizeof *p->run.request);
    status = result_reader_table(r, id, part, result_request_fields, rows, 0, rows,
                                 p->run.request, sizeof *p->run.request);
    (void)H5Gclose(id);
    return status == 0 ? check_groups(r, result, where, &p->run) : -1;
}

/* Whether each pass has its record is told apart, so that lost ones are missed. */
static int read_pass_count(struct result_reader *r, hid_t group, const char *where,
                           struct result_policy *p)
{
    static const struct result_field field = {
        "pass_records", RESULT_U64, offsetof(struct result_policy, file_passes)};
    char part[48];
    hid_t id;
    int status;

    if (result_reader_scalar(r, group, where, &field, p) != 0)
        return -1;
    if (p->file_passes == 0)
        return 0;
    if (p->file_passes != p->run.passes)
        return err_set(r->e,
                       "%s: %s tells of %" PRIu64 " passes and of records of %" PRIu64
                       "; the file is damaged, run again",
                       r->path, where, p->run.passes, p->file_passes);
    (void)snprintf(part, sizeof part, "%s/pass", where);
    id = result_reader_group(r, group, where, "pass");
    if (id < 0)
        return -1;
    status = result_reader_check(r, id, part, result_pass_fields, p->file_passes);
    (void)H5Gclose(id);
    return status;
}

/* What several GPUs have: rows by GPU, bytes by link. */
static int read_parallel(struct result_reader *r, hid_t group, const char *where,
                         const struct result *result, struct run_result *run)
{
    if (run->gpus > MAX_GPUS || (run->links != 0 && run->links != result->links))
        return err_set(r->e,
                       "%s: %s/ tells of %" PRIu32 " GPUs and %" PRIu32
                       " links, which cannot be; the file is damaged",
                       r->path, where, run->gpus, run->links);
    if (run->gpus > 0) {
        run->gpu_rows =
            result_reader_array(r, group, where, "gpu_rows", RESULT_U64, run->gpus);
        run->gpu_peak = result_reader_array(r, group, where, "gpu_peak_bytes",
                                            RESULT_BYTES, run->gpus);
        if (run->gpu_rows == NULL || run->gpu_peak == NULL)
            return -1;
    }
    if (run->links > 0) {
        run->link_bytes =
            result_reader_array(r, group, where, "link_bytes", RESULT_BYTES, run->links);
        if (run->link_bytes == NULL)
            return -1;
    }
    return 0;
}

static int refuse_placed(struct result_reader *r, const char *where, const char *what)
{
    return err_set(r->e, "%s: %s/ has placements %s; the file is damaged, run again",
                   r->path, where, what);
}

/* Whether placements of those sizes can be, and the file can hold them. */
static int check_placed(struct result_reader *r, const char *where,
                        const struct result *result, const struct run_result *run)
{
    const struct run_placements *p = &run->placed;
    const uint64_t layer_slots = (uint64_t)result->layers * p->slots;

    if (p->made < p->count || (p->count == 0) != (p->made == 0) ||
        (p->count == 0) != (p->slots == 0) || (p->count > 0 && run->gpus == 0) ||
        p->slots > MAX_SLOTS || (run->gpus > 0 && p->slots % run->gpus != 0))
        return refuse_placed(r, where, "whose sizes cannot be");
    if (p->count > 0 && p->count > r->file_bytes * RESULT_READER_EXPANSION / layer_slots)
        return refuse_placed(r, where, "of more slots than it can hold");
    return 0;
}

static int check_experts(struct result_reader *r, const char *where,
                         const struct result *result, const struct run_result *run)
{
    const struct run_placements *p = &run->placed;
    const uint64_t cells = p->count * result->layers * p->slots;

    for (uint64_t i = 0; i < cells; i++)
        if (p->expert[i] >= result->experts && p->expert[i] != UINT16_MAX)
            return refuse_placed(r, where, "of experts that there are not");
    for (uint64_t i = 0; i < p->count; i++)
        if ((i == 0) != (p->pass[i] == 0) || (i > 0 && p->pass[i] <= p->pass[i - 1]))
            return refuse_placed(r, where, "whose passes do not ascend from 0");
    return 0;
}

static int read_placed(struct result_reader *r, hid_t group, const char *where,
                       const struct result *result, struct run_result *run)
{
    struct run_placements *p = &run->placed;
    uint64_t cells;

    if (result_reader_scalars(r, group, where, result_placed_fields, p) != 0 ||
        check_placed(r, where, result, run) != 0)
        return -1;
    if (p->count == 0)
        return 0;
    p->pass = result_reader_array(r, group, where, "placed_pass", RESULT_U64, p->count);
    if (p->pass == NULL)
        return -1;
    cells = p->count * result->layers * p->slots;
    p->expert = mem_zalloc((size_t)cells, sizeof *p->expert);
    if (result_reader_column(r, group, where, "placed_expert", RESULT_U16, cells, 0,
                             cells, p->expert) != 0)
        return -1;
    return check_experts(r, where, result, run);
}

static int refuse_watch(struct result_reader *r, const char *where)
{
    return err_set(r->e,
                   "%s: %s/watch is not one record for each layer at rising distances, "
                   "with no more named than missed; the file is damaged, run again",
                   r->path, where);
}

static bool is_watched(const struct run_watched *y, const struct run_watched *before,
                       uint32_t i, uint32_t layers)
{
    return y->layer == i % layers && y->distance > 0 && y->named <= y->misses &&
           y->right <= y->guesses &&
           (before == NULL || (y->layer == 0 ? y->distance > before->distance
                                             : y->distance == before->distance));
}

static int read_watch(struct result_reader *r, hid_t group, const char *where,
                      struct run_result *run)
{
    char part[48];
    hid_t id;
    int status;

    if (result_reader_scalars(r, group, where, result_watched_fields, run) != 0)
        return -1;
    if (run->watched == 0)
        return 0;
    if (run->watched % run->layers != 0 ||
        run->watched / run->layers > RUN_WATCH_DISTANCES) {
        run->watched = 0;
        return refuse_watch(r, where);
    }
    (void)snprintf(part, sizeof part, "%s/watch", where);
    id = result_reader_group(r, group, where, "watch");
    if (id < 0)
        return -1;
    run->watch = mem_zalloc(run->watched, sizeof *run->watch);
    status = result_reader_table(r, id, part, result_watch_fields, run->watched, 0,
                                 run->watched, run->watch, sizeof *run->watch);
    (void)H5Gclose(id);
    for (uint32_t i = 0; i < run->watched && status == 0; i++)
        if (!is_watched(&run->watch[i], i == 0 ? NULL : &run->watch[i - 1], i,
                        run->layers))
            status = refuse_watch(r, where);
    return status;
}

static int read_policy(struct result_reader *r, hid_t policies,
                       const struct result *result, uint32_t i, struct result_policy *p)
{
    char name[16], where[32];
    hid_t group;
    int status;

    (void)snprintf(name, sizeof name, "%" PRIu32, i);
    (void)snprintf(where, sizeof where, "/policy/%" PRIu32, i);
    group = result_reader_group(r, policies, "/policy", name);
    if (group < 0)
        return -1;
    status = result_reader_texts(r, group, where, result_policy_texts, p);
    if (status == 0)
        status = result_reader_scalars(r, group, where, result_policy_fields, p);
    if (status == 0)
        status = read_arrays(r, group, result, where, p);
    if (status == 0)
        status = read_parallel(r, group, where, result, &p->run);
    if (status == 0)
        status = read_placed(r, group, where, result, &p->run);
    if (status == 0)
        status = read_watch(r, group, where, &p->run);
    if (status == 0)
        status = read_pass_count(r, group, where, p);
    (void)H5Gclose(group);
    return status;
}

static int refuse_kind(struct result_reader *r)
{
    if (file_kind_check(r->path, FILE_RESULT, r->e) != 0)
        return -1;
    return err_set(r->e, "%s: is not a result of moesim; make one with `moesim run`",
                   r->path);
}

static int check_version(struct result_reader *r)
{
    static const struct result_field field = {"version", RESULT_U32, 0};
    uint32_t version = 0;
    char *format = NULL;
    int status = 0;

    if (H5Aexists(r->file, "format") <= 0 ||
        result_reader_text(r, r->file, "", "format", &format) != 0 ||
        strcmp(format, RESULT_FORMAT) != 0)
        status = refuse_kind(r);
    else if (result_reader_scalar(r, r->file, "", &field, &version) != 0)
        status = -1;
    else if (version != RESULT_VERSION)
        status = err_set(r->e,
                         "%s: is a result of version %" PRIu32
                         ", and this moesim reads version %d; run again",
                         r->path, version, RESULT_VERSION);
    free(format);
    return status;
}

static int read_group_names(struct result_reader *r, struct result *result)
{
    if (result->groups > UINT16_MAX + 1U)
        return err_set(r->e, "%s: %" PRIu32 " groups cannot be; the file is damaged",
                       r->path, result->groups);
    result->group_names = mem_zalloc(result->groups, sizeof *result->group_names);
    return result_reader_names(r, r->file, "", "group_name", result->groups, "groups",
                               result->group_names, sizeof *result->group_names);
}

static int read_links(struct result_reader *r, struct result *result)
{
    uint32_t links = result->links;
    hid_t group;
    int status;

    if (links == 0)
        return 0;
    if (links > MAX_LINKS)
        return err_set(r->e, "%s: %" PRIu32 " links cannot be; the file is damaged",
                       r->path, links);
    result->link = mem_zalloc(links, sizeof *result->link);
    group = result_reader_group(r, r->file, "", "link");
    if (group < 0)
        return -1;
    status = result_reader_names(r, group, "/link", "name", links, "links",
                                 &result->link->name, sizeof *result->link);
    if (status == 0)
        status = result_reader_names(r, group, "/link", "kind", links, "links",
                                     &result->link->kind, sizeof *result->link);
    if (status == 0)
        status = result_reader_table(r, group, "/link", result_link_fields, links, 0,
                                     links, result->link, sizeof *result->link);
    (void)H5Gclose(group);
    return status;
}

static int read_head(struct result_reader *r, struct result *result)
{
    uint64_t layers;
    int status = result_reader_texts(r, r->file, "", result_head_texts, result);

    if (status == 0)
        status = result_reader_scalars(r, r->file, "", result_head_fields, result);
    if (status == 0 && (result->layers == 0 || result->layers > MAX_LAYERS ||
                        result->policies > MAX_POLICIES))
        status = err_set(r->e,
                         "%s: %" PRIu32 " MoE layers and %" PRIu32
                         " policies cannot be; the file is damaged",
                         r->path, result->layers, result->policies);
    if (status != 0)
        return -1;
    layers = result->layers;
    result->policy = mem_zalloc(result->policies, sizeof *result->policy);
    result->moe_layer = mem_zalloc(layers, sizeof *result->moe_layer);
    result->expert_bytes = mem_zalloc(layers, sizeof *result->expert_bytes);
    if (read_group_names(r, result) != 0 || read_links(r, result) != 0 ||
        result_reader_long_texts(r, result) != 0 ||
        result_reader_column(r, r->file, "", "moe_layer", RESULT_U16, layers, 0, layers,
                             result->moe_layer) != 0)
        return -1;
    return result_reader_column(r, r->file, "", "expert_bytes", RESULT_BYTES, layers, 0,
                                layers, result->expert_bytes);
}

static int read_all(struct result_reader *r, struct result *result)
{
    hid_t policies;
    int status = 0;

    if (check_version(r) != 0 || read_head(r, result) != 0)
        return -1;
    policies = result_reader_group(r, r->file, "", "policy");
    if (policies < 0)
        return -1;
    for (uint32_t i = 0; i < result->policies && status == 0; i++)
        status = read_policy(r, policies, result, i, &result->policy[i]);
    (void)H5Gclose(policies);
    return status;
}

static int open_file(struct result_reader *r)
{
    struct stat s;

    if (stat(r->path, &s) != 0)
        return err_set(r->e, "%s: cannot be opened: %s", r->path, strerror(errno));
    if (S_ISDIR(s.st_mode))
        return refuse_kind(r);
    if (!S_ISREG(s.st_mode))
        return err_set(r->e, "%s: is not a regular file; give the name of a result",
                       r->path);
    r->file_bytes = (uint64_t)s.st_size;
    r->file = H5Fopen(r->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (r->file >= 0)
        return 0;
    if (H5Fis_hdf5(r->path) > 0)
        return err_set(r->e,
                       "%s: is an HDF5 file, but damaged, cut short or not readable; "
                       "run again to make the result anew",
                       r->path);
    return refuse_kind(r);
}

int result_read(const char *path, struct result *result, struct err *e)
{
    struct result_reader r = {.path = path, .e = e};
    int status;

    assert(e->text[0] == '\0');
    *result = (struct result){.path = NULL};
    hdf_enter();
    status = open_file(&r);
    if (status == 0) {
        status = read_all(&r, result);
        (void)H5Fclose(r.file);
    }
    hdf_leave();
    if (status == 0)
        result->path = mem_strdup(path);
    else
        result_release(result);
    return status;
}

/* ---- pass records ---- */

uint64_t result_pass_count(const struct result *r, uint32_t policy)
{
    const struct result_policy *p = &r->policy[policy];

    return p->run.pass_spool != NULL ? p->run.passes : p->file_passes;
}

static int read_spool(const struct run_result *run, uint64_t first, uint64_t count,
                      struct run_pass *pass, struct err *e)
{
    if (fseeko(run->pass_spool, (off_t)(first * sizeof *pass), SEEK_SET) != 0 ||
        fread(pass, sizeof *pass, (size_t)count, run->pass_spool) != count)
        return err_set(e, "the temporary file of pass records cannot be read back: %s",
                       strerror(errno));
    return 0;
}

static int read_file_passes(struct result_reader *r, uint32_t policy, uint64_t rows,
                            uint64_t first, uint64_t count, struct run_pass *pass)
{
    char where[40];
    hid_t group;
    int status;

    if (open_file(r) != 0)
        return -1;
    (void)snprintf(where, sizeof where, "/policy/%" PRIu32 "/pass", policy);
    group = H5Gopen2(r->file, where, H5P_DEFAULT);
    if (group < 0) {
        status = result_reader_damaged(r, "", where + 1);
    } else {
        status = result_reader_table(r, group, where, result_pass_fields, rows, first,
                                     count, pass, sizeof *pass);
        (void)H5Gclose(group);
    }
    (void)H5Fclose(r->file);
    return status;
}

int result_read_passes(const struct result *r, uint32_t policy, uint64_t first,
                       uint64_t count, struct run_pass *pass, struct err *e)
{
    uint64_t rows = result_pass_count(r, policy);
    struct result_reader reader = {.path = r->path, .e = e};
    int status;

    assert(e->text[0] == '\0');
    assert(first <= rows && count <= rows - first);
    if (count == 0)
        return 0;
    if (r->policy[policy].run.pass_spool != NULL)
        return read_spool(&r->policy[policy].run, first, count, pass, e);
    hdf_enter();
    status = read_file_passes(&reader, policy, rows, first, count, pass);
    hdf_leave();
    return status;
}
