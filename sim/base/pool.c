#include "pool.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>

struct pool {
    size_t count, next;
    pthread_mutex_t lock;
    void (*run)(void *context, size_t task);
    void *context;
};

static void *work(void *context)
{
    struct pool *p = context;

    for (;;) {
        size_t task;

        pthread_mutex_lock(&p->lock);
        task = p->next;
        p->next += task < p->count;
        pthread_mutex_unlock(&p->lock);
        if (task == p->count)
            return NULL;
        p->run(p->context, task);
    }
}

void pool_run(unsigned threads, size_t count, void (*run)(void *context, size_t task),
              void *context)
{
    struct pool p = {.count = count, .run = run, .context = context};
    pthread_t *thread = mem_alloc(threads < count ? threads : count + 1, sizeof *thread);
    unsigned started = 0;

    pthread_mutex_init(&p.lock, NULL);
    while (started + 1 < threads && started + 1 < count &&
           pthread_create(&thread[started], NULL, work, &p) == 0)
        started++;
    (void)work(&p);
    while (started > 0)
        pthread_join(thread[--started], NULL);
    pthread_mutex_destroy(&p.lock);
    free(thread);
}
