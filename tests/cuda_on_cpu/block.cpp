/* The threads of a block as fibers: each runs until it waits for others, then the next.
 * A pass goes over all that can run, in ascending, descending or random order; barriers
 * open when all that have not returned have come. A missing barrier shows because a
 * thread goes on before others have written, or after they have written again. */
#include "emulated.h"
#include "kernels.h"

#include <cstdio>
#include <cstdlib>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

uint3 emulated_thread, emulated_block;

extern "C" unsigned char __start_emulated_shared[], __stop_emulated_shared[];

namespace {

enum { WARP = 32, STACK_BYTES = 256 << 10 };
enum state { READY, WAITS_BLOCK, WAITS_WARP, ENDED };

struct fiber {
    char *stack;
    jmp_buf here;
    bool begun; /* it has a frame to go back to */
    enum state state;
    int line; /* of the barrier that it waits at */
    uint32_t lane_phase;
};

struct warp {
    uint32_t alive, waiting;
    uint32_t value[2][WARP]; /* of a shuffle and of the one before */
};

jmp_buf scheduler;
std::vector<fiber> fibers;
std::vector<warp> warps;
std::vector<uint32_t> order;
fiber *current;
uint32_t at, block_alive, block_waiting;
const std::function<void()> *work;
char *dynamic_shared;
bool broken;

/* Sanitizers keep a shadow of the stack in use, and are told when that changes. */
void before_switch(void **keep, const void *bottom, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(keep, bottom, size);
#else
    (void)keep, (void)bottom, (void)size;
#endif
}

const void *main_bottom;
size_t main_size;

void after_switch(void *kept, bool from_main)
{
#ifdef __SANITIZE_ADDRESS__
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(kept, &bottom, &size);
    if (from_main) {
        main_bottom = bottom;
        main_size = size;
    }
#else
    (void)kept, (void)from_main;
#endif
}

void to_scheduler(bool ends)
{
    void *kept = nullptr;

    before_switch(ends ? nullptr : &kept, main_bottom, main_size);
    if (ends)
        _longjmp(scheduler, 1);
    if (_setjmp(current->here) == 0)
        _longjmp(scheduler, 1);
    after_switch(kept, true);
}

/* A stack is used by one thread after another; it begins again where none is on it. */
void enter()
{
    after_switch(nullptr, true);
    (*work)();
    current->state = ENDED;
    to_scheduler(true);
}

void open_barrier(uint32_t first, uint32_t end, enum state kind)
{
    int line = 0;

    for (uint32_t i = first; i < end; i++) {
        if (fibers[i].state != kind)
            continue;
        if (kind == WAITS_BLOCK && line != 0 && fibers[i].line != line) {
            emulated_fail("threads of a block wait at two different barriers");
            broken = true;
        }
        line = fibers[i].line;
        fibers[i].state = READY;
    }
}

void look_at_block()
{
    if (block_waiting > 0 && block_waiting == block_alive) {
        block_waiting = 0;
        open_barrier(0, (uint32_t)fibers.size(), WAITS_BLOCK);
    }
}

void look_at_warp(uint32_t w)
{
    uint32_t end = std::min((w + 1) * WARP, (uint32_t)fibers.size());

    if (warps[w].waiting > 0 && warps[w].waiting == warps[w].alive) {
        warps[w].waiting = 0;
        open_barrier(w * WARP, end, WAITS_WARP);
    }
}

void resume(uint32_t i)
{
    void *kept = nullptr;

    at = i;
    current = &fibers[i];
    emulated_thread = uint3{i, 0, 0};
    if (_setjmp(scheduler) == 0) {
        before_switch(&kept, current->stack, STACK_BYTES);
        if (current->begun)
            _longjmp(current->here, 1);
        current->begun = true;
        ucontext_t start;
        (void)getcontext(&start);
        start.uc_stack.ss_sp = current->stack;
        start.uc_stack.ss_size = STACK_BYTES;
        start.uc_link = nullptr;
        makecontext(&start, enter, 0);
        (void)setcontext(&start);
        abort();
    }
    after_switch(kept, false);
    if (fibers[i].state == ENDED) {
        block_alive--;
        warps[i / WARP].alive--;
        look_at_warp(i / WARP);
        look_at_block();
    }
}

/* Every thread that can run, once. False: none could. */
bool pass()
{
    uint32_t count = (uint32_t)fibers.size(), way = emulated_random(3);
    bool any = false;

    for (uint32_t i = 0; i < count; i++)
        order[i] = way == 0 ? i : count - 1 - i;
    for (uint32_t i = count; way == 2 && i > 1; i--)
        std::swap(order[i - 1], order[emulated_random(i)]);
    for (uint32_t i = 0; i < count && !broken; i++) {
        if (fibers[order[i]].state != READY)
            continue;
        any = true;
        resume(order[i]);
    }
    return any;
}

char *new_stack()
{
    void *p = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("emulated CUDA: a thread's stack");
        abort();
    }
    return (char *)p;
}

void begin_block(uint32_t threads, size_t shared)
{
    memset(__start_emulated_shared, 0xff,
           (size_t)(__stop_emulated_shared - __start_emulated_shared));
    memset(dynamic_shared, 0xff, shared);
    for (fiber &f : fibers)
        f = fiber{f.stack, {}, false, READY, 0, 0};
    while (fibers.size() > threads) {
        (void)munmap(fibers.back().stack, STACK_BYTES);
        fibers.pop_back();
    }
    while (fibers.size() < threads)
        fibers.push_back(fiber{new_stack(), {}, false, READY, 0, 0});
    order.resize(threads);
    warps.assign((threads + WARP - 1) / WARP, warp{});
    memset(warps.data(), 0xff, warps.size() * sizeof warps[0]);
    for (uint32_t w = 0; w < warps.size(); w++) {
        warps[w].waiting = 0;
        warps[w].alive = std::min<uint32_t>(WARP, threads - w * WARP);
    }
    block_alive = threads;
    block_waiting = 0;
    broken = false;
}

} // namespace

void *emulated_dynamic_shared(void)
{
    return dynamic_shared;
}

void emulated_block_barrier(int line)
{
    current->state = WAITS_BLOCK;
    current->line = line;
    block_waiting++;
    look_at_block();
    to_scheduler(false);
}

uint32_t emulated_shuffle(uint32_t mask, uint32_t value, uint32_t of)
{
    uint32_t w = at / WARP, lane = at % WARP, me = at;
    fiber *self = current;
    uint32_t *of_phase = warps[w].value[self->lane_phase++ % 2];

    if (mask != 0xffffffffU || warps[w].alive != WARP)
        emulated_fail("a shuffle without all threads of its warp");
    of_phase[lane] = value;
    self->state = WAITS_WARP;
    warps[w].waiting++;
    look_at_warp(w);
    to_scheduler(false);
    (void)me;
    return of_phase[(lane ^ of) % WARP];
}

void emulated_run(dim3 grid, uint32_t threads, size_t shared,
                  const std::function<void()> &kernel)
{
    work = &kernel;
    dynamic_shared = (char *)aligned_alloc(16, (shared + 15) / 16 * 16 + 16);
    for (uint32_t z = 0; z < grid.z; z++)
        for (uint32_t y = 0; y < grid.y; y++)
            for (uint32_t x = 0; x < grid.x; x++) {
                emulated_block = uint3{x, y, z};
                begin_block(threads, shared);
                while (pass() && !broken)
                    ;
                if (block_alive > 0 && !broken) {
                    emulated_fail("threads of a block wait for each other for ever");
                    broken = true;
                }
                if (broken)
                    goto out;
            }
out:
    free(dynamic_shared);
    dynamic_shared = nullptr;
}
