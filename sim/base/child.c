#include "child.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_MAX 16

/* Each leads the process group of its number. 0: none, -1: about to begin. */
static _Atomic(pid_t) running[CHILDREN_MAX];

void child_kill_all(void)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        pid_t child = atomic_exchange(&running[i], 0);

        if (child > 0 && kill(-child, SIGKILL) == 0)
            (void)waitpid(child, NULL, 0);
    }
}

/* Where its number goes, or NULL while as many run as can. */
static _Atomic(pid_t) *reserve(void)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        pid_t none = 0;

        if (atomic_compare_exchange_strong(&running[i], &none, -1))
            return &running[i];
    }
    return NULL;
}

/* Signals wait until the child is known, so that none can miss it. 0 or what failed. */
static int spawn(_Atomic(pid_t) *slot, char *const argument[], char *const environment[],
                 bool silent)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, before;
    pid_t child = 0;
    int cause;

    (void)posix_spawn_file_actions_init(&actions);
    for (int stream = 0; silent && stream < 3; stream++)
        (void)posix_spawn_file_actions_addopen(&actions, stream, "/dev/null",
                                               stream == 0 ? O_RDONLY : O_WRONLY, 0);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes,
                                   POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setsigmask(&attributes, &before);
    cause =
        posix_spawnp(&child, argument[0], &actions, &attributes, argument, environment);
    atomic_store(slot, cause == 0 ? child : 0);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return cause;
}

int child_run(char *const argument[], char *const environment[], bool silent)
{
    _Atomic(pid_t) *slot = reserve();
    siginfo_t end;
    pid_t child;
    int cause, status = 0;

    cause = slot == NULL ? EAGAIN : spawn(slot, argument, environment, silent);
    if (cause != 0) {
        errno = cause;
        return -1;
    }
    child = atomic_load(slot);
    /* Its number stays its own until it is off the list. */
    while (waitid(P_PID, (id_t)child, &end, WEXITED | WNOWAIT) != 0 && errno == EINTR)
        ;
    atomic_store(slot, 0);
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

char *child_own_path(void)
{
    enum { LIMIT = 4096 };
    char own[LIMIT];
    const ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);

    if (length <= 0)
        return NULL;
    own[length] = '\0';
    return mem_strdup(own);
}

char *child_beside(const char *name)
{
    char *own = child_own_path(), *path;

    if (own == NULL)
        return mem_strdup(name);
    path = mem_format("%.*s/%s", (int)(strrchr(own, '/') - own), own, name);
    free(own);
    return path;
}
