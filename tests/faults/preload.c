/* Makes the n-th thing that a program asks of the disk, or of memory, fail. Preloaded:
 *
 *   FAULT_KIND=disk|memory   what is counted
 *   FAULT_AT=N               which one fails, from 1; 0: none, they are only counted
 *   FAULT_ON=once|from       only that one, or all from it on
 *   FAULT_CAUSE=ERRNO        what a disk says, e.g. 28 (ENOSPC)
 *   FAULT_PROGRAM=NAME       only in programs of this name
 *   FAULT_LOG=FILE           of eight zero bytes, which become the count
 *
 * Disk: system calls that write, truncate, sync or close a file open for writing, make a
 * file or folder, link or rename. A filter of the kernel's (seccomp) turns them into a
 * signal in the thread that called, so that those within the C library are seen too; the
 * handler makes the call itself, marked by its sixth argument, or fails it. Standard
 * error is left out: the sentence is read there. A close that fails has closed all the
 * same. Other programs that it runs are free of the filter. Memory: malloc, calloc,
 * realloc and their aligned kin, through the dynamic linker. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined __x86_64__
#define MACHINE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define MACHINE AUDIT_ARCH_AARCH64
#else
#error "this needs x86-64 or aarch64"
#endif

#define MARK 0x6d6f6573U /* in the sixth argument: our own call */

static _Atomic(uint64_t) own_calls, *calls = &own_calls;
static uint64_t fail_at;
static bool from_then_on, counting, of_memory;
static long cause = ENOSPC;

/* One more; whether it is to fail. */
static bool fails(void)
{
    uint64_t n = atomic_fetch_add(calls, 1) + 1;

    return fail_at != 0 && (n == fail_at || (from_then_on && n > fail_at));
}

/* ---- memory ---- */

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static int (*next_aligned)(void **, size_t, size_t);

static void find(void *to, const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    memcpy(to, &symbol, sizeof symbol);
}

static bool memory_fails(void)
{
    return counting && of_memory && fails();
}

void *malloc(size_t size)
{
    if (next_malloc == NULL)
        find(&next_malloc, "malloc");
    if (!memory_fails())
        return next_malloc(size);
    errno = ENOMEM;
    return NULL;
}

void *calloc(size_t count, size_t size)
{
    static bool looking;

    if (next_calloc == NULL) {
        if (looking)
            return NULL; /* the linker itself asks, and can do without */
        looking = true;
        find(&next_calloc, "calloc");
    }
    if (!memory_fails())
        return next_calloc(count, size);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *block, size_t size)
{
    if (next_realloc == NULL)
        find(&next_realloc, "realloc");
    if (!memory_fails())
        return next_realloc(block, size);
    errno = ENOMEM;
    return NULL;
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    if (next_aligned == NULL)
        find(&next_aligned, "posix_memalign");
    return memory_fails() ? ENOMEM : next_aligned(block, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    void *block = NULL;

    errno = posix_memalign(&block, alignment, size);
    return block;
}

/* ---- disk ---- */

static const int watched[] = {
    SYS_write,     SYS_pwrite64,  SYS_writev,    SYS_pwritev,   SYS_fsync,
    SYS_fdatasync, SYS_ftruncate, SYS_fallocate, SYS_close,     SYS_openat,
    SYS_mkdirat,   SYS_linkat,    SYS_renameat,  SYS_renameat2,
#ifdef SYS_rename
    SYS_rename,    SYS_link,      SYS_mkdir,     SYS_open,
#endif
};
enum { WATCHED = sizeof watched / sizeof *watched };

static bool is_file(long fd)
{
    struct stat s;

    return fd != STDERR_FILENO && fstat((int)fd, &s) == 0 &&
           (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode));
}

static bool is_counted(long number, const long *a)
{
    int flags;

    switch (number) {
    case SYS_close:
        flags = fcntl((int)a[0], F_GETFL);
        return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && is_file(a[0]);
    case SYS_openat:
        return (a[2] & O_CREAT) != 0;
#ifdef SYS_rename
    case SYS_open:
        return (a[1] & O_CREAT) != 0;
    case SYS_rename:
    case SYS_link:
    case SYS_mkdir:
#endif
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_linkat:
    case SYS_mkdirat:
        return true;
    default:
        return is_file(a[0]);
    }
}

static long call(long number, const long *a)
{
    long result = syscall(number, a[0], a[1], a[2], a[3], a[4], (long)MARK);

    return result == -1 ? -errno : result;
}

static void on_call(int signal, siginfo_t *info, void *context)
{
    mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    int saved = errno;
#if defined __x86_64__
    long a[5] = {(long)m->gregs[REG_RDI], (long)m->gregs[REG_RSI],
                 (long)m->gregs[REG_RDX], (long)m->gregs[REG_R10],
                 (long)m->gregs[REG_R8]};
#else
    long a[5] = {(long)m->regs[0], (long)m->regs[1], (long)m->regs[2], (long)m->regs[3],
                 (long)m->regs[4]};
#endif
    bool fail = is_counted(info->si_syscall, a) && fails();
    long result = !fail || info->si_syscall == SYS_close ? call(info->si_syscall, a) : 0;

    (void)signal;
    if (fail)
        result = -cause;
#if defined __x86_64__
    m->gregs[REG_RAX] = result;
#else
    m->regs[0] = (unsigned long)result;
#endif
    errno = saved;
}

static int watch_disk(void)
{
    struct sigaction action = {.sa_sigaction = on_call,
                               .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sock_filter code[WATCHED + 8];
    struct sock_fprog program = {.filter = code};
    unsigned n = 0;

    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, arch));
    code[n++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 0, WATCHED + 2);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, args[5]));
    code[n++] =
        (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, WATCHED + 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    for (int i = 0; i < WATCHED; i++)
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)watched[i],
                                         (unsigned char)(WATCHED - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    program.len = (unsigned short)n;
    return sigaction(SIGSYS, &action, NULL) != 0 ||
                   prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0
               ? -1
               : 0;
}

/* ---- programs that it runs ---- */

/* They would inherit the filter, but not its handler. So a thread that began before there
 * was a filter starts them. */
static struct {
    pthread_mutex_t lock; /* one at a time */
    sem_t asked, answered;
    bool begun;
    pid_t *child;
    const char *file;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    char *const *argument, *const *environment;
    int cause;
} starter = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int (*next_spawnp)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                          const posix_spawnattr_t *, char *const[], char *const[]);

static void await(sem_t *s)
{
    while (sem_wait(s) != 0)
        ; /* a signal came */
}

static void *start_others(void *none)
{
    for (;;) {
        await(&starter.asked);
        starter.cause =
            next_spawnp(starter.child, starter.file, starter.actions, starter.attributes,
                        starter.argument, starter.environment);
        (void)sem_post(&starter.answered);
    }
    return none;
}

/* 0 or -1. Signals are the program's own threads' to handle. */
static int begin_starter(void)
{
    sigset_t all, before;
    pthread_t thread;

    find(&next_spawnp, "posix_spawnp");
    (void)sem_init(&starter.asked, 0, 0);
    (void)sem_init(&starter.answered, 0, 0);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    starter.begun = pthread_create(&thread, NULL, start_others, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return starter.begun ? 0 : -1;
}

int posix_spawnp(pid_t *child, const char *file,
                 const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argument[],
                 char *const environment[])
{
    int status;

    if (!starter.begun) {
        find(&next_spawnp, "posix_spawnp");
        return next_spawnp(child, file, actions, attributes, argument, environment);
    }
    (void)pthread_mutex_lock(&starter.lock);
    starter.child = child;
    starter.file = file;
    starter.actions = actions;
    starter.attributes = attributes;
    starter.argument = argument;
    starter.environment = environment;
    (void)sem_post(&starter.asked);
    await(&starter.answered);
    status = starter.cause;
    (void)pthread_mutex_unlock(&starter.lock);
    return status;
}

/* ---- beginning ---- */

/* The count is in the file at any time, however the program ends. */
static int share_count(const char *path)
{
    int fd = path == NULL ? -1 : open(path, O_RDWR);
    void *page;

    if (path == NULL)
        return 0;
    page = fd < 0 ? MAP_FAILED
                  : mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -1;
    calls = page;
    return close(fd);
}

static bool is_meant(void)
{
    const char *name = getenv("FAULT_PROGRAM");

    return name == NULL || strcmp(name, program_invocation_short_name) == 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *kind = getenv("FAULT_KIND"), *at = getenv("FAULT_AT");
    const char *on = getenv("FAULT_ON"), *why = getenv("FAULT_CAUSE");

    if (kind == NULL || at == NULL || !is_meant())
        return;
    fail_at = strtoul(at, NULL, 10);
    from_then_on = on != NULL && strcmp(on, "from") == 0;
    cause = why != NULL ? strtol(why, NULL, 10) : ENOSPC;
    if (share_count(getenv("FAULT_LOG")) != 0)
        _exit(99);
    of_memory = strcmp(kind, "memory") == 0;
    if (!of_memory && (begin_starter() != 0 || watch_disk() != 0)) {
        (void)fprintf(stderr, "faults: no filter of system calls: %s\n", strerror(errno));
        _exit(77);
    }
    counting = true;
}
