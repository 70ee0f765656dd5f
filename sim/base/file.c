/* The one module with mutable global state, but for the children in child.c: the signal
 * that asked to stop and the list of temporaries that a signal handler or exit() must
 * still remove. All are lock-free atomics, which a handler may touch and which threads
 * share safely. */
#define _XOPEN_SOURCE 700 /* realpath */

#include "file.h"

#include "child.h"
#include "file_live.h"
#include "mem.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIVE_MAX 256
#define CUT_NAME "%.200s" /* file names have at most 255 bytes, with what is added */
#define STOP_STATUS 128   /* plus the signal's number, as shells have it */

/* A temporary file or folder on disk. Whoever takes the pointer out of its slot owns it,
 * so a handler never reads a name that another thread is freeing. */
struct live {
    pid_t owner; /* a forked child must not remove its parent's files */
    enum live_kind kind;
    char *name;
    char **inside; /* of a folder: paths of what may be in it, behind the last NULL */
};

struct file_out {
    char *path;
    char *name;
    FILE *stream;
    bool direct; /* a device or pipe: written in place, never renamed or removed */
    live_slot *slot;
};

static _Atomic(struct live *) live_slots[LIVE_MAX];
static atomic_int first_signal; /* its number; 0: none so far */
static atomic_bool ends_at_once;
static _Atomic(const char *) last_words;
static atomic_uint temporaries_made;
static pthread_once_t exit_hook = PTHREAD_ONCE_INIT;

static void free_live(struct live *l)
{
    for (char **path = l->inside; path != NULL && *path != NULL; path++)
        free(*path);
    free(l->inside);
    free(l->name);
    free(l);
}

/* Async-signal-safe unless `release` is set, which a handler may not: atomics, getpid,
 * unlink and rmdir only. What is in a folder goes before it, a lock at the end. */
static void remove_live(bool release)
{
    for (int kind = LIVE_FILE; kind <= LIVE_LOCK; kind++) {
        for (size_t i = 0; i < LIVE_MAX; i++) {
            struct live *l = atomic_load(&live_slots[i]);

            if (l == NULL || (int)l->kind != kind ||
                !atomic_compare_exchange_strong(&live_slots[i], &l, NULL))
                continue;
            if (l->owner == getpid()) {
                for (char **path = l->inside; path != NULL && *path != NULL; path++)
                    (void)unlink(*path);
                (void)(kind == LIVE_FOLDER ? rmdir(l->name) : unlink(l->name));
            }
            if (release)
                free_live(l);
        }
    }
}

static void remove_live_at_exit(void)
{
    remove_live(true);
}

void file_remove_temporaries(void)
{
    remove_live(false);
}

static void hook_exit(void)
{
    /* It fails only without memory; then exit() leaves temporaries behind, no more. */
    (void)atexit(remove_live_at_exit);
}

live_slot *live_add(enum live_kind kind, const char *name, char **inside)
{
    struct live *l = mem_alloc(1, sizeof *l);

    (void)pthread_once(&exit_hook, hook_exit);
    *l = (struct live){getpid(), kind, mem_strdup(name), inside};
    for (size_t i = 0; i < LIVE_MAX; i++) {
        struct live *none = NULL;

        if (atomic_compare_exchange_strong(&live_slots[i], &none, l))
            return &live_slots[i];
    }
    free_live(l);
    return NULL;
}

void live_drop(live_slot *slot)
{
    struct live *l = slot == NULL ? NULL : atomic_exchange(slot, NULL);

    if (l != NULL)
        free_live(l);
}

/* Takes digits that end at `end` and the character before them; where that is, or NULL.
 */
static const char *take_number(const char *begin, const char *end, char before)
{
    const char *digits = end;

    while (digits > begin && digits[-1] >= '0' && digits[-1] <= '9')
        digits--;
    return digits < end && digits > begin && digits[-1] == before ? digits - 1 : NULL;
}

size_t file_temporary_of(const char *entry, long *process)
{
    static const char ending[] = ".tmp";
    size_t length = strlen(entry), tail = sizeof ending - 1;
    const char *at = NULL;

    if (entry[0] == '.' && length > tail && strcmp(entry + length - tail, ending) == 0)
        at = take_number(entry, entry + length - tail, '-');
    at = at == NULL ? NULL : take_number(entry, at, '.');
    if (at == NULL || at - entry < 2)
        return 0;
    *process = strtol(at + 1, NULL, 10);
    return (size_t)(at - entry) - 1;
}

/* The process that made a temporary for the file `name`; 0: the entry is no such thing.
 */
static pid_t owner_of(const char *entry, const char *name)
{
    long pid = 0;
    size_t length = file_temporary_of(entry, &pid);

    if (length != strlen(name) || strncmp(entry + 1, name, length) != 0)
        return 0;
    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* Removes what processes left that were killed while they wrote this file. The folder may
 * be another machine's too, where numbers of processes mean others: so whoever writes a
 * temporary holds a lock on it. */
static void remove_abandoned(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = mem_format(CUT_NAME, slash == NULL ? path : slash + 1);
    char *folder = file_folder_of(path);
    DIR *d = opendir(folder);
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        pid_t owner = owner_of(entry->d_name, name);
        int fd;

        if (owner == 0 || kill(owner, 0) == 0 || errno != ESRCH)
            continue;
        fd =
            openat(dirfd(d), entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dirfd(d), entry->d_name, 0);
        (void)close(fd);
    }
    if (d != NULL)
        (void)closedir(d);
    free(folder);
    free(name);
}

/* Opens a file that did not exist: ".NAME.PID-COUNT.tmp" beside `path`. It is enlisted
 * before it exists, so that a signal in between leaves nothing. */
static FILE *open_beside(const char *path, char **name, live_slot **slot)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;

    for (;;) {
        unsigned count = atomic_fetch_add(&temporaries_made, 1);
        FILE *stream;
        int cause;

        *name = mem_format("%.*s." CUT_NAME ".%ld-%u.tmp", (int)folder, path,
                           path + folder, (long)getpid(), count);
        *slot = live_add(LIVE_FILE, *name, NULL);
        if (*slot == NULL)
            return NULL;
        stream = fopen(*name, "w+bx");
        if (stream != NULL)
            return stream;
        cause = errno;
        live_drop(*slot);
        if (cause != EEXIST) {
            errno = cause;
            return NULL;
        }
        free(*name);
    }
}

static void free_out(struct file_out *f)
{
    free(f->path);
    free(f->name);
    free(f);
}

static struct file_out *open_direct(const char *path, struct err *e)
{
    FILE *stream = fopen(path, "wb");
    struct file_out *f;

    if (stream == NULL) {
        (void)err_set(e, "%s: cannot write: %s", path, strerror(errno));
        return NULL;
    }
    f = mem_zalloc(1, sizeof *f);
    f->path = mem_strdup(path);
    f->name = mem_strdup(path);
    f->stream = stream;
    f->direct = true;
    return f;
}

/* The file behind a link, which is to stay (/dev/stdout is one); else the path. Owned.
 * NULL: a link to what has no name any more. */
static char *target_of(const char *path)
{
    struct stat status;
    char *real, *target;

    if (lstat(path, &status) != 0 || !S_ISLNK(status.st_mode) || stat(path, &status) != 0)
        return mem_strdup(path);
    real = realpath(path, NULL);
    target = real == NULL ? NULL : mem_strdup(real);
    free(real);
    return target;
}

struct file_out *file_out_new(const char *path, struct err *e)
{
    size_t length = strlen(path);
    struct stat status;
    bool exists = stat(path, &status) == 0;
    struct file_out *f;
    char *target;

    if (length == 0) {
        (void)err_set(e, "the file to write has no name; give one");
        return NULL;
    }
    if (path[length - 1] == '/' || (exists && S_ISDIR(status.st_mode))) {
        (void)err_set(e, "'%s' is a folder; give the name of a file to write", path);
        return NULL;
    }
    target = target_of(path);
    if (target == NULL || (exists && !S_ISREG(status.st_mode))) {
        free(target);
        return open_direct(path, e);
    }
    f = mem_zalloc(1, sizeof *f);
    f->path = target;
    remove_abandoned(target);
    f->stream = open_beside(target, &f->name, &f->slot);
    if (f->stream != NULL) {
        /* Shared, as HDF5 wants that of a file it reads. Not every disk can. */
        (void)flock(fileno(f->stream), LOCK_SH | LOCK_NB);
        return f;
    }
    if (f->slot == NULL)
        (void)err_set(e, "%s: more than %d output files are open; finish some first",
                      path, LIVE_MAX);
    else
        (void)err_set(e, "%s: cannot make a file in that folder: %s", path,
                      strerror(errno));
    free_out(f);
    return NULL;
}

const char *file_out_name(const struct file_out *f)
{
    return f->name;
}

FILE *file_out_stream(struct file_out *f)
{
    return f->stream;
}

/* Some file systems, and devices, cannot sync; that is no failure. */
static int sync_stream(FILE *stream)
{
    if (fsync(fileno(stream)) != 0 && errno != EINVAL && errno != ENOTSUP)
        return -1;
    return 0;
}

/* Makes a rename itself survive a power cut. A failure here loses nothing now. */
void file_sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

char *file_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? mem_strdup(".")
                         : mem_format("%.*s/", (int)(slash - path), path);
}

static int finish_stream(struct file_out *f, struct err *e)
{
    bool broken = ferror(f->stream) != 0;
    int cause = 0;

    if (fflush(f->stream) != 0 || sync_stream(f->stream) != 0)
        cause = errno;
    if (fclose(f->stream) != 0 && cause == 0)
        cause = errno;
    f->stream = NULL;
    if (cause != 0)
        return err_set(e, "%s: writing failed: %s", f->path, strerror(cause));
    if (broken)
        return err_set(e, "%s: writing failed; is the disk full?", f->path);
    return 0;
}

int file_out_commit(struct file_out *f, struct err *e)
{
    char *folder;

    if (finish_stream(f, e) != 0) {
        file_out_abandon(f);
        return -1;
    }
    if (!f->direct) {
        if (rename(f->name, f->path) != 0) {
            (void)err_set(e, "%s: cannot put the finished file in place: %s", f->path,
                          strerror(errno));
            file_out_abandon(f);
            return -1;
        }
        live_drop(f->slot);
        folder = file_folder_of(f->path);
        file_sync_folder(folder);
        free(folder);
    }
    free_out(f);
    return 0;
}

void file_out_abandon(struct file_out *f)
{
    if (f == NULL)
        return;
    if (f->stream != NULL)
        (void)fclose(f->stream);
    if (!f->direct) {
        (void)unlink(f->name);
        live_drop(f->slot);
    }
    free_out(f);
}

int file_check_apart(const char *out, const char *in, struct err *e)
{
    struct stat a, b;

    if (in == NULL || stat(out, &a) != 0 || stat(in, &b) != 0 || a.st_dev != b.st_dev ||
        a.st_ino != b.st_ino || !S_ISREG(a.st_mode))
        return 0;
    return err_set(e, "%s: is %s, which is read here; give the output another name", out,
                   strcmp(out, in) == 0 ? "the input itself" : in);
}

static int make_one(const char *path, struct err *e)
{
    struct stat status;
    int cause;

    if (mkdir(path, 0777) == 0)
        return 0;
    cause = errno;
    if (stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            return 0;
        return err_set(e, "%s: exists and is no folder; choose another name", path);
    }
    return err_set(e, "%s: cannot make the folder: %s", path, strerror(cause));
}

int file_make_folder(const char *path, struct err *e)
{
    char *part = mem_strdup(path);
    int status = 0;

    /* Each prefix that ends before a slash, then the whole. A leading slash is kept. */
    for (char *c = part; *c != '\0' && status == 0; c++) {
        if (*c == '/' && c != part && c[-1] != '/') {
            *c = '\0';
            status = make_one(part, e);
            *c = '/';
        }
    }
    if (status == 0)
        status = make_one(part, e);
    free(part);
    return status;
}

/* Reads to the end or to one byte more than `limit`. */
static char *read_stream(FILE *in, const char *path, size_t limit, size_t *size,
                         struct err *e)
{
    size_t room = limit < 65536 ? limit + 1 : 65536;
    char *bytes = mem_alloc(room + 1, 1);
    size_t used = 0, got;

    while ((got = fread(bytes + used, 1, room - used, in)) > 0) {
        used += got;
        if (used < room)
            continue;
        if (room > limit)
            break;
        room = room > limit / 2 ? limit + 1 : room * 2;
        bytes = mem_resize(bytes, room + 1, 1);
    }
    if (ferror(in)) {
        (void)err_set(e, "%s: cannot read: %s", path, strerror(errno));
        free(bytes);
        return NULL;
    }
    bytes[used] = '\0';
    *size = used;
    return bytes;
}

char *file_read(const char *path, size_t limit, size_t *size, struct err *e)
{
    FILE *in = fopen(path, "rb");
    char *bytes;

    assert(limit < SIZE_MAX - 1);
    if (in == NULL) {
        (void)err_set(e, "%s: cannot open: %s", path, strerror(errno));
        return NULL;
    }
    bytes = read_stream(in, path, limit, size, e);
    (void)fclose(in);
    if (bytes != NULL && *size > limit) {
        (void)err_set(e, "%s: longer than %zu bytes, the most such a file may have", path,
                      limit);
        free(bytes);
        return NULL;
    }
    return bytes;
}

/* Only what is async-signal-safe. Children end first, as they write to temporaries. */
static void on_stop(int number)
{
    /* Who reads no more wants no words, and nothing is left to be done in good order. */
    const bool unread = number == SIGPIPE;
    const char *words = unread ? NULL : atomic_load(&last_words);
    int none = 0;
    bool first = atomic_compare_exchange_strong(&first_signal, &none, number);

    if (first && !unread && !atomic_load(&ends_at_once))
        return;
    child_kill_all();
    remove_live(false);
    if (words != NULL)
        (void)!write(STDERR_FILENO, words, strlen(words));
    _exit(STOP_STATUS + number);
}

static void install_handler(void)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    /* Restarted system calls let a library finish its write; loops poll. */
    struct sigaction action = {.sa_handler = on_stop, .sa_flags = SA_RESTART}, old;
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    /* A file at its largest size (ulimit -f) is a failed write like any other. */
    (void)sigaction(SIGXFSZ, &ignore, NULL);
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        (void)sigaddset(&action.sa_mask, stops[i]);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        /* Whoever ignores the others (nohup does) means that. */
        if (stops[i] != SIGINT && stops[i] != SIGTERM &&
            sigaction(stops[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        (void)sigaction(stops[i], &action, NULL);
    }
}

void file_end_on_signals(const char *words)
{
    atomic_store(&last_words, words);
    atomic_store(&ends_at_once, true);
    install_handler();
}

void file_catch_signals(void)
{
    atomic_store(&ends_at_once, false);
    install_handler();
}

bool file_interrupted(void)
{
    return atomic_load(&first_signal) != 0;
}

int file_stop_status(void)
{
    int number = atomic_load(&first_signal);

    return number == 0 ? 0 : STOP_STATUS + number;
}
