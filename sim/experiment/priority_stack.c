#include "priority_stack.h"

#include "sim/base/mem.h"

#include <assert.h>
#include <stdlib.h>

/* In the key of an object that is not protected, so that it comes behind those that are.
 */
#define UNPROTECTED (UINT64_C(1) << 63)

struct priority_stack {
    uint32_t depth, count;
    bool protects, strict;
    uint32_t *object; /* [count] from the top; room for one more than `depth` */
    uint64_t *key;    /* [objects] by object */
};

struct priority_stack *priority_stack_new(uint32_t objects, uint32_t depth, int protect)
{
    struct priority_stack *s = mem_zalloc(1, sizeof *s);

    s->depth = depth < objects ? depth : objects;
    s->protects = protect != CACHE_PROTECT_NONE;
    s->strict = protect == CACHE_PROTECT_STRICT;
    s->object = mem_alloc((size_t)s->depth + 1, sizeof *s->object);
    s->key = mem_zalloc(objects, sizeof *s->key);
    return s;
}

void priority_stack_free(struct priority_stack *s)
{
    if (s == NULL)
        return;
    free(s->object);
    free(s->key);
    free(s);
}

void priority_stack_begin_step(struct priority_stack *s, uint32_t first,
                               const uint32_t *active, uint32_t count)
{
    for (uint32_t i = 0; s->protects && i < count; i++)
        s->key[first + active[i]] &= ~UNPROTECTED;
}

void priority_stack_end_step(struct priority_stack *s, uint32_t first,
                             const uint32_t *active, uint32_t count)
{
    for (uint32_t i = 0; s->protects && i < count; i++)
        s->key[first + active[i]] |= UNPROTECTED;
}

/* How many objects, from the top and before this one, cannot be pushed out. */
static uint32_t count_kept(const struct priority_stack *s, uint32_t object)
{
    uint32_t i = 0;

    while (s->strict && i < s->count && s->object[i] != object &&
           (s->key[s->object[i]] & UNPROTECTED) == 0)
        i++;
    return i;
}

/* The object comes in at entry `i` with `moving_key`, its own or one before all others.
 * Which of two moves on cannot be predicted, so that there is no branch on it. */
static uint32_t push(struct priority_stack *s, uint32_t object, uint32_t i,
                     uint64_t moving_key)
{
    uint32_t moving = object;

    for (; i < s->count; i++) {
        uint32_t here = s->object[i];
        uint64_t here_key = s->key[here];
        bool goes = moving_key <= here_key;

        if (here == object) {
            s->object[i] = moving;
            return i + 1;
        }
        s->object[i] = goes ? moving : here;
        moving = goes ? here : moving;
        moving_key = goes ? here_key : moving_key;
    }
    if (s->count < s->depth)
        s->object[s->count++] = moving;
    return 0;
}

uint32_t priority_stack_access(struct priority_stack *s, uint32_t object, uint64_t key)
{
    assert(key < UNPROTECTED);
    s->key[object] = key;
    return push(s, object, count_kept(s, object), 0);
}

uint32_t priority_stack_offer(struct priority_stack *s, uint32_t object, uint64_t key)
{
    assert(key < UNPROTECTED && s->strict == s->protects);
    s->key[object] = key;
    return push(s, object, 0, s->protects ? key | UNPROTECTED : key);
}
