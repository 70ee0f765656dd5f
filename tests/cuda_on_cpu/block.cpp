/* The threads of a block as fibers: each runs until it waits for others, then the next.
 * A pass goes over all that can run, in ascending, descending or random order; barriers
 * open when all that have not returned have come. A missing barrier shows because a
 * thread goes on before others have written, or after they have written again. */
#include "emulated.h"
#include "kernels.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <sys/mman.h>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#ifdef CUDA_ON_CPU_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

uint3 emulated_thread, emulated_block;

extern "C" unsigned char __start_emulated_shared[], __stop_emulated_shared[];

namespace
{

enum { WARP = 32, STACK_BYTES = 256 << 10 };

/* ---- from one stack to another ---- */

/* Where a stack is left: what a call must preserve lies on it. glibc's own swapcontext()
 * makes a system call each time, ten times as long as all else. */
#ifdef __x86_64__
struct place {
    void **top;
};

extern "C" void emulated_change(void ***from, void **to);
asm(".text\n"
    ".type emulated_change, @function\n"
    "emulated_change:\n"
    "    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "    ret\n"
    ".size emulated_change, . - emulated_change\n");

void change(place *from, place *to)
{
    emulated_change(&from->top, to->top);
}

void prepare(place *at, char *stack, void (*begin)())
{
    at->top =
        (void **)(stack + STACK_BYTES) - 8; /* six registers, begin, none to return to */
    at->top[6] = (void *)begin;
}
#else
struct place {
    ucontext_t context;
};

void change(place *from, place *to)
{
    (void)swapcontext(&from->context, &to->context);
}

void prepare(place *at, char *stack, void (*begin)())
{
    (void)getcontext(&at->context);
    at->context.uc_stack.ss_sp = stack;
    at->context.uc_stack.ss_size = STACK_BYTES;
    at->context.uc_link = nullptr;
    makecontext(&at->context, begin, 0);
}
#endif

/* ---- threads ---- */

enum state { NEW, READY, WAITS_BLOCK, WAITS_WARP, ENDED };

/* A stack with a place to go on from. It runs threads to their ends, one after another,
 * so that only threads that wait have one each. */
struct fiber {
    char *stack;
    struct place here;
};

struct thread {
    enum state state;
    int line; /* of the barrier that it waits at */
    fiber *on;
};

struct warp {
    uint32_t alive, waiting;
    uint32_t value[2][WARP]; /* of a shuffle and of the one before */
    uint32_t shuffles[WARP];
};

struct place scheduler;
std::deque<fiber> fibers;
std::vector<fiber *> spare;
std::vector<thread> threads;
std::vector<warp> warps;
std::vector<uint32_t> order; /* of a pass, */
uint32_t next, last;         /* and how far it is, of where it ends for now */
bool by_warp;
fiber *current;
uint32_t at, block_alive, block_waiting;
const std::function<void()> *work;
char *dynamic_shared;
bool broken;

/* The address sanitizer keeps a shadow of the stack in use, and is told of another. */
#ifdef CUDA_ON_CPU_ASAN
const void *main_bottom;
size_t main_size;

void leave(void **keep, const void *bottom, size_t size)
{
    __sanitizer_start_switch_fiber(keep, bottom, size);
}

void arrive(void *kept)
{
    __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
}

void arrive_from_main(void *kept)
{
    __sanitizer_finish_switch_fiber(kept, &main_bottom, &main_size);
}
#else
const void *const main_bottom = nullptr;
const size_t main_size = 0;

void leave(void **, const void *, size_t)
{
}

void arrive(void *)
{
}

void arrive_from_main(void *)
{
}
#endif

void to_scheduler(fiber *from)
{
    void *kept = nullptr;

    leave(&kept, main_bottom, main_size);
    change(&from->here, &scheduler);
    arrive_from_main(kept);
}

void open_barrier(uint32_t first, uint32_t end, enum state kind)
{
    int line = 0;

    for (uint32_t i = first; i < end; i++) {
        if (threads[i].state != kind)
            continue;
        if (kind == WAITS_BLOCK && line != 0 && threads[i].line != line) {
            emulated_fail("threads of a block wait at two different barriers");
            broken = true;
        }
        line = threads[i].line;
        threads[i].state = READY;
    }
}

void look_at_block()
{
    if (block_waiting > 0 && block_waiting == block_alive) {
        block_waiting = 0;
        open_barrier(0, (uint32_t)threads.size(), WAITS_BLOCK);
    }
}

void look_at_warp(uint32_t w)
{
    uint32_t end = std::min((w + 1) * WARP, (uint32_t)threads.size());

    if (warps[w].waiting > 0 && warps[w].waiting == warps[w].alive) {
        warps[w].waiting = 0;
        open_barrier(w * WARP, end, WAITS_WARP);
    }
}

void be(uint32_t i)
{
    at = i;
    emulated_thread = uint3{i, 0, 0};
}

void run_thread(fiber *on)
{
    uint32_t me = at;

    threads[me].on = on;
    (*work)();
    threads[me].state = ENDED;
    threads[me].on = nullptr;
    block_alive--;
    warps[me / WARP].alive--;
    look_at_warp(me / WARP);
    look_at_block();
}

/* What a fiber does for ever: a thread, and those that are next and have not begun. */
void enter()
{
    fiber *self = current;

    arrive_from_main(nullptr);
    for (;;) {
        run_thread(self);
        while (!broken && next < last && threads[order[next]].state == NEW) {
            be(order[next++]);
            threads[at].state = READY;
            run_thread(self);
        }
        spare.push_back(self);
        to_scheduler(self);
    }
}

fiber *new_fiber()
{
    void *p = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("emulated CUDA: a thread's stack");
        abort();
    }
    fibers.push_back(fiber{(char *)p, {}});
    prepare(&fibers.back().here, fibers.back().stack, enter);
    return &fibers.back();
}

void resume(uint32_t i)
{
    void *kept = nullptr;

    be(i);
    if (threads[i].state == NEW) {
        if (spare.empty())
            spare.push_back(new_fiber());
        threads[i].on = spare.back();
        threads[i].state = READY;
        spare.pop_back();
    }
    current = threads[i].on;
    leave(&kept, current->stack, STACK_BYTES);
    change(&scheduler, &current->here);
    arrive(kept);
}

/* Ascending, descending or at random, for each block anew. */
void draw_order(uint32_t count)
{
    uint32_t way = emulated_random(3);

    by_warp = way < 2 && emulated_random(2) == 0;
    order.resize(count);
    for (uint32_t i = 0; i < count; i++)
        order[i] = way == 0 ? i : count - 1 - i;
    for (uint32_t i = count; way == 2 && i > 1; i--)
        std::swap(order[i - 1], order[emulated_random(i)]);
}

/* Those of a stretch of the order that can run, once. False: none could. */
bool run_ready(uint32_t first, uint32_t end)
{
    bool any = false;

    for (next = first, last = end; next < last && !broken;) {
        uint32_t i = order[next++];

        if (threads[i].state != NEW && threads[i].state != READY)
            continue;
        any = true;
        resume(i);
    }
    return any;
}

/* Every thread that can run, once; or one warp after another, each as far as it goes
 * without the others: what only their slowness keeps in order shows. */
bool pass()
{
    uint32_t count = (uint32_t)order.size();
    bool any = false;

    if (emulated_random(4) == 0)
        std::reverse(order.begin(), order.end());
    if (!by_warp)
        return run_ready(0, count);
    for (uint32_t first = 0; first < count; first += WARP)
        while (run_ready(first, std::min(first + WARP, count)))
            any = true;
    return any;
}

void begin_block(uint32_t count, size_t shared)
{
    memset(__start_emulated_shared, 0xff,
           (size_t)(__stop_emulated_shared - __start_emulated_shared));
    memset(dynamic_shared, 0xff, shared);
    threads.assign(count, thread{NEW, 0, nullptr});
    draw_order(count);
    warps.assign((count + WARP - 1) / WARP, warp{});
    for (uint32_t w = 0; w < warps.size(); w++) {
        memset(warps[w].value, 0xff, sizeof warps[w].value);
        warps[w].alive = std::min<uint32_t>(WARP, count - w * WARP);
    }
    block_alive = count;
    block_waiting = 0;
}

} // namespace

void *emulated_dynamic_shared(void)
{
    return dynamic_shared;
}

void emulated_block_barrier(int line)
{
    uint32_t me = at;

    threads[me].state = WAITS_BLOCK;
    threads[me].line = line;
    block_waiting++;
    look_at_block();
    to_scheduler(threads[me].on);
}

uint32_t emulated_shuffle(uint32_t mask, uint32_t value, uint32_t of)
{
    uint32_t me = at, lane = me % WARP;
    warp *w = &warps[me / WARP];
    uint32_t *now = w->value[w->shuffles[lane]++ % 2];

    if (mask != 0xffffffffU || w->alive != WARP)
        emulated_fail("a shuffle without all threads of its warp");
    now[lane] = value;
    threads[me].state = WAITS_WARP;
    w->waiting++;
    look_at_warp(me / WARP);
    to_scheduler(threads[me].on);
    return now[(lane ^ of) % WARP];
}

static void run_block(uint32_t count, size_t shared)
{
    begin_block(count, shared);
    while (!broken && block_alive > 0) {
        if (!pass() && !broken) {
            emulated_fail("threads of a block wait for each other for ever");
            broken = true;
        }
    }
}

void emulated_run(dim3 grid, uint32_t count, size_t shared,
                  const std::function<void()> &kernel)
{
    work = &kernel;
    dynamic_shared = (char *)aligned_alloc(16, (shared + 15) / 16 * 16 + 16);
    for (uint64_t i = 0; i < (uint64_t)grid.x * grid.y * grid.z && !broken; i++) {
        emulated_block = uint3{(uint32_t)(i % grid.x), (uint32_t)(i / grid.x % grid.y),
                               (uint32_t)(i / grid.x / grid.y)};
        run_block(count, shared);
    }
    free(dynamic_shared);
    dynamic_shared = nullptr;
}
