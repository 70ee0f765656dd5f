/* Layers whose GPUs all do the same, for what a schedule takes in closed form. */
#ifndef MOESIM_TESTS_SCHEDULE_LAB_H
#define MOESIM_TESTS_SCHEDULE_LAB_H

#include "crew_lab.h"

/* Rows of row number i of every request of GPU g all choose the experts of GPU g + i, so
 * that each GPU gets as many rows as it sends, in each of so many parts, too; in one row
 * of `gpus` they stay. Its workload is written into `room` bytes. */
struct crew_case schedule_lab_case(struct rng *r, uint32_t parts, char *workload,
                                   size_t room);
/* As hooks tell of operations (experiment.h). */
typedef void schedule_lab_watch(void *context, uint32_t policy, op_id id,
                                enum op_kind kind, enum op_lane lane, uint32_t layer,
                                uint32_t expert, const struct op_times *times);
/* Runs one policy in FIFO order; `watch` may be NULL. */
struct result schedule_lab_run(const struct crew_lab *lab, const char *policy,
                               schedule_lab_watch *watch, void *context);

#endif
