/* An experiment: one configuration file, run to a result.
 *
 * It loads trace, model and machine, checks that they go together and fit, runs every
 * policy on the same workload (in parallel, each with its own executor), and beside them
 * the reference runs that the bounds need. The result does not depend on the number of
 * threads. See README.md for the keys of the configuration. */
#ifndef MOESIM_EXPERIMENT_EXPERIMENT_H
#define MOESIM_EXPERIMENT_EXPERIMENT_H

#include "sim/base/config.h"
#include "sim/exec/op.h"
#include "sim/result/result.h"
#include "shared.h"

/* Where models, machines and presets are found; borrowed. */
struct experiment_folders {
    const char *models, *machines, *presets;
};

/* Before something is put under `key`: an option of what is only named so far goes beside
 * the name ("machine.gpu.memory", "policies.0.cache.slots"). */
void experiment_open_key(struct cfg *config, const char *key);
/* Whether "workload.batch" or the like begins with a key of a configuration. */
bool experiment_has_key(const char *key);

/* A key of one policy without the policy, "cache.slots" of "policies.0.cache.slots", or
 * NULL. */
const char *experiment_key_of_policy(const char *key);
/* What item i of `policies:` is called there: its name, or else its preset, or else
 * "policies.I". Owned. */
char *experiment_policy_name(const struct cfg_node *policies, size_t i);
/* Leaves only the policy of a name; NULL: the only one. 0 or -1. */
int experiment_keep_policy(struct cfg *config, const char *name, struct err *e);
/* Puts a value under a key of the configuration, of its model or machine, or else of
 * every policy: a copy of `item`, or where that is NULL `text`. In messages it stands
 * where `at` does (cfg_put()). 0 or -1. */
int experiment_put(struct cfg *config, const char *key, const struct cfg_node *at,
                   const struct cfg_node *item, const char *text, struct err *e);

enum experiment_launch { LAUNCH_AUTO, LAUNCH_EAGER, LAUNCH_GRAPH };
enum experiment_home { HOME_AUTO, HOME_HOST, HOME_STORAGE };
enum experiment_engine { ENGINE_AUTO, ENGINE_FIFO, ENGINE_EVENT, ENGINE_COUNT };

struct experiment_params {
    const char *trace, *profile;
    const struct cfg_node *model, *machine; /* as catalogue_load_changed() takes them */
    int64_t seed;
    int launch;          /* enum experiment_launch */
    int home;            /* enum experiment_home */
    uint64_t gpu_bytes;  /* GPU memory that may be used; 0: the machine's */
    uint64_t host_bytes; /* host memory for experts; 0: the machine's */
    bool pageable;
    uint64_t chunk_bytes;
    int engine; /* enum experiment_engine */
    bool bounds;
    bool keep_passes;
    int64_t timeline_passes;
    const struct cfg_node *parallel, *workload, *watch, *policies;
};
extern const struct option experiment_options[];

/* Of one policy's run, for an executor of its own. */
struct experiment_run_info {
    uint32_t policy; /* its number in the configuration, from 0 */
    const char *label;
    const struct cost *cost; /* model and machine; borrowed until the executor closes */
    const struct trace_info *trace;
    const uint64_t *expert_bytes; /* [layers] */
    bool pageable;
    bool event_driven; /* what the simulated executor would be */
};

/* What carries a run out instead of the simulated executor: runs come one at a time, and
 * the references for the bounds are left out. */
struct experiment_executor {
    const struct exec_ops *ops;
    /* Returns owned by close(), or NULL. */
    struct exec *(*open)(void *context, const struct experiment_run_info *info,
                         exec_observer *observe, void *observe_context, struct err *e);
    void (*close)(void *context, struct exec *x);
    void *context;
};

struct experiment_hooks {
    /* Called from any run's thread, now and then; rows of all runs together. NULL: none.
     */
    void (*progress)(void *context, uint64_t rows_done, uint64_t rows_total);
    void *context;
    /* Told before the start, in a sentence, of what will take much memory. NULL: nobody.
     */
    void (*note)(const char *sentence);
    const char *timeline_path;     /* NULL: no timeline */
    const struct machine *machine; /* instead of the configuration's; borrowed; or NULL */
    const struct experiment_executor *executor; /* borrowed; NULL: simulated */
    struct shared *shared; /* with other experiments; borrowed; NULL: with none. Without
                              an executor, machine or element_bits of these hooks */
    bool timeless;         /* refuse a workload whose passes depend on time */
    uint32_t element_bits; /* of every weight and activation; 0: as model and trace say */
    /* Told every operation of every policy's run, in its thread. NULL: nobody. */
    void (*operation)(void *context, uint32_t policy, op_id id, enum op_kind kind,
                      enum op_lane lane, uint32_t layer, uint32_t expert,
                      const struct op_times *times);
    void *operation_context;
};

/* Runs the configuration with up to `threads` threads. Fills `r` (owned; borrows
 * nothing). Returns 0; 1 if a signal stopped it (the result covers what was done, and
 * says so in its notes); or -1. */
int experiment_run(struct cfg *config, const struct experiment_folders *folders,
                   unsigned threads, const struct experiment_hooks *hooks,
                   struct result *r, struct err *e);

/* What is known of an experiment before it is run. */
struct experiment_facts {
    bool foresees; /* some policy knows what comes later, or is no policy but the dense
                      equivalent */
    uint64_t requests; /* that it serves */
    uint64_t together; /* most of them at once; 0: as recorded */
    uint64_t recorded; /* passes of the trace that it replays; else 0 */
    uint64_t most;     /* passes, where the configuration has a limit; else 0 */
    uint64_t longest; /* tokens of a request; 0: passes depend on time, or are recorded */
    uint64_t
        kv_bytes; /* of the first policy's largest KV cache, on one GPU; 0 likewise */
    bool tight;   /* refused, and only since GPU memory has no room for some policy */
};

/* Whether the configuration could be run, as far as is known without reading the trace's
 * rows. Fills `facts` (or NULL); of a refused one `tight` alone. 0 or -1. */
int experiment_check(struct cfg *config, const struct experiment_folders *folders,
                     struct experiment_facts *facts, struct err *e);

#endif
