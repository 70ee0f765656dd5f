#include "counted.h"

#include <stdlib.h>

void counted_release(struct counted *c)
{
    for (uint32_t i = 0; i < c->policies; i++) {
        free(c->policy[i].label);
        free(c->policy[i].place);
        run_result_release(&c->policy[i].run);
    }
    free(c->policy);
    free(c->trace_path);
    free(c->model);
    free(c->machine);
    free(c->moe_layer);
    free(c->notes);
    *c = (struct counted){.policies = 0};
}
