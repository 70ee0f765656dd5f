#define _GNU_SOURCE /* renameat2, flock */

#include "folder.h"

#include "file.h"
#include "file_live.h"
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SET_ASIDE ".old." /* before the names of old files in the new folder */

struct names {
    char **name;
    size_t count;
};

struct folder_out {
    char *path;   /* as given */
    char *target; /* without links on the way */
    char *stage;  /* ".NAME.new" */
    char *lock;   /* ".NAME.lock" */
    int lock_fd;
    bool crashed; /* the lock was left by one that did not come to its end */
    bool exists;  /* the target did at the beginning */
    bool apart;   /* file by file: it cannot be exchanged as a whole */
    bool staged;  /* the new folder is ours */
    bool exchanged, done;
    struct names own;
    live_slot *stage_slot, *lock_slot;
};

/* ---- names ---- */

static void names_add(struct names *n, const char *name)
{
    n->name = mem_resize(n->name, n->count + 1, sizeof *n->name);
    n->name[n->count++] = mem_strdup(name);
}

static bool names_have(const struct names *n, const char *name)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->name[i], name) == 0)
            return true;
    return false;
}

static void names_release(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->name[i]);
    free(n->name);
    *n = (struct names){.name = NULL};
}

static char *join(const char *folder, const char *name)
{
    return mem_format("%s/%s", folder, name);
}

/* What is in a folder; none if it cannot be read. */
static struct names list(const char *folder)
{
    struct names found = {.name = NULL};
    DIR *d = opendir(folder);
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            names_add(&found, entry->d_name);
    if (d != NULL)
        (void)closedir(d);
    return found;
}

static bool is_folder(const char *path)
{
    struct stat s;

    return lstat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static bool is_there(const char *folder, const char *name)
{
    char *path = join(folder, name);
    struct stat s;
    bool there = lstat(path, &s) == 0;

    free(path);
    return there;
}

/* ---- where ---- */

/* Whether the folder is on another file system than the one above it, or that one is not
 * ours to write: then the new folder is made inside. */
static bool stands_alone(const char *target, const char *above)
{
    struct stat a, b;

    return stat(target, &a) == 0 && stat(above, &b) == 0 &&
           (a.st_dev != b.st_dev || a.st_ino == b.st_ino || access(above, W_OK) != 0);
}

/* Whether we are in it: its place must not be taken by another then. */
static bool holds_us(const char *target)
{
    char *here = getcwd(NULL, 0);
    size_t length = strlen(target);
    bool holds = here != NULL && strncmp(here, target, length) == 0 &&
                 (here[length] == '/' || here[length] == '\0');

    free(here);
    return holds;
}

/* The name, without links on the way, of a folder that is not there yet; makes those
 * above it. Owned, or NULL. `plain` has no slash at its end. */
static char *find_new(const char *plain, struct err *e)
{
    const char *slash = strrchr(plain, '/');
    char *above = file_folder_of(plain);
    char *real = file_make_folder(above, e) == 0 ? realpath(above, NULL) : NULL;
    char *target = real == NULL ? NULL
                                : join(strcmp(real, "/") == 0 ? "" : real,
                                       slash == NULL ? plain : slash + 1);

    free(above);
    free(real);
    return target;
}

/* Finds the target; makes the folders above it. */
static int find_target(struct folder_out *f, struct err *e)
{
    char *plain = mem_strdup(f->path);
    size_t length = strlen(plain);
    struct stat s;
    bool wrong;

    while (length > 1 && plain[length - 1] == '/')
        plain[--length] = '\0';
    f->exists = stat(plain, &s) == 0;
    if (length == 0) {
        free(plain);
        return err_set(e, "the folder to write has no name; give one");
    }
    wrong = f->exists ? !S_ISDIR(s.st_mode) : lstat(plain, &s) == 0;
    if (!wrong)
        f->target = f->exists ? realpath(plain, NULL) : find_new(plain, e);
    free(plain);
    if (wrong)
        return err_set(e, "%s: exists and is no folder; choose another name", f->path);
    if (f->target == NULL)
        return err_set(e, "%s: cannot be reached: %s", f->path, strerror(errno));
    /* What lies in it could not be removed after the exchange. */
    if (f->exists && faccessat(AT_FDCWD, f->target, W_OK | X_OK, AT_EACCESS) != 0)
        return err_set(e, "%s: cannot be written to: %s; choose another folder", f->path,
                       strerror(errno));
    return 0;
}

/* Names the new folder and the lock. */
static void choose_place(struct folder_out *f)
{
    char *above = file_folder_of(f->target);
    const char *name = strrchr(f->target, '/') + 1;

    if (f->exists && stands_alone(f->target, above)) {
        f->apart = true;
        f->stage = join(f->target, ".moesim.new");
        f->lock = join(f->target, ".moesim.lock");
    } else {
        f->apart = f->exists && holds_us(f->target);
        /* Names have at most 255 bytes, so a long one is cut. */
        f->stage = mem_format("%s.%.200s.new", above, name);
        f->lock = mem_format("%s.%.200s.lock", above, name);
    }
    free(above);
}

/* ---- the lock ---- */

static int refuse(const struct folder_out *f, int fd, struct err *e)
{
    char holder[128] = "";
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);

    holder[n > 0 ? n : 0] = '\0';
    return err_set(
        e, "%s: %s is writing there; wait for it to end, or choose another folder",
        f->path, n > 0 ? holder : "another moesim");
}

/* Whether the name still means the file that is open: another may have removed it. */
static bool is_current(int fd, const char *name)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(name, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static int name_holder(int fd)
{
    const time_t now = time(NULL);
    struct tm parts = {0};
    char began[32] = "", text[128];
    int length;

    if (gmtime_r(&now, &parts) != NULL)
        (void)strftime(began, sizeof began, "%Y-%m-%d %H:%M:%S", &parts);
    length = snprintf(text, sizeof text, "process %ld, which began at %s UTC,",
                      (long)getpid(), began);
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) == length ? 0
                                                                                  : -1;
}

static int take_lock(struct folder_out *f, struct err *e)
{
    for (;;) {
        int fd = open(f->lock, O_RDWR | O_CLOEXEC);

        f->crashed = fd >= 0;
        if (fd < 0)
            fd = open(f->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return err_set(e, "%s: cannot make a file in the folder above it: %s",
                           f->path, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int status = errno == EWOULDBLOCK ? refuse(f, fd, e)
                                              : err_set(e, "%s: cannot be locked: %s",
                                                        f->lock, strerror(errno));

            (void)close(fd);
            return status;
        }
        if (!is_current(fd, f->lock)) {
            (void)close(fd);
            continue;
        }
        f->lock_fd = fd;
        f->lock_slot = live_add(LIVE_LOCK, f->lock, NULL);
        if (name_holder(fd) == 0)
            return 0;
        return err_set(e, "%s: writing failed: %s", f->lock, strerror(errno));
    }
}

/* ---- the new folder ---- */

/* All that may be in the new folder, for whoever has to remove it: own files, old ones
 * set aside, and `others`. */
static char **all_inside(const struct folder_out *f, const struct names *others)
{
    char **path = mem_zalloc(2 * f->own.count + others->count + 1, sizeof *path);
    size_t n = 0;

    for (size_t i = 0; i < f->own.count; i++) {
        path[n++] = join(f->stage, f->own.name[i]);
        path[n++] = mem_format("%s/" SET_ASIDE "%s", f->stage, f->own.name[i]);
    }
    for (size_t i = 0; i < others->count; i++)
        path[n++] = join(f->stage, others->name[i]);
    return path;
}

static void enlist(struct folder_out *f, const struct names *others)
{
    live_slot *before = f->stage_slot;

    f->stage_slot = live_add(LIVE_FOLDER, f->stage, all_inside(f, others));
    live_drop(before);
}

/* Empties and removes the new folder, or the old one if it has changed places with it.
 * What was set aside by one that did not come to its end goes back, and so does what came
 * to the old folder in the last moment. */
static void remove_stage(const struct folder_out *f)
{
    struct names found = list(f->stage);

    for (size_t i = 0; i < found.count; i++) {
        const char *name = found.name[i];
        bool aside = strncmp(name, SET_ASIDE, strlen(SET_ASIDE)) == 0;
        const char *home = aside ? name + strlen(SET_ASIDE) : name;
        bool goes_home = aside ? !f->done : f->exchanged && !names_have(&f->own, name);
        char *here = join(f->stage, name), *there = join(f->target, home);

        if (!goes_home || is_there(f->target, home) || rename(here, there) != 0)
            (void)unlink(here);
        free(here);
        free(there);
    }
    names_release(&found);
    (void)rmdir(f->stage);
}

static int make_stage(struct folder_out *f, struct err *e)
{
    struct stat s;

    if (f->crashed) /* what is there without its lock is no folder of ours */
        remove_stage(f);
    enlist(f, &(struct names){.name = NULL});
    if (mkdir(f->stage, 0777) != 0)
        return errno == EEXIST
                   ? err_set(
                         e, "%s: '%s' is in the way; remove it, or choose another folder",
                         f->path, strrchr(f->stage, '/') + 1)
                   : err_set(e, "%s: cannot make the folder: %s", f->stage,
                             strerror(errno));
    f->staged = true;
    if (f->exists && !f->apart && stat(f->target, &s) == 0 &&
        chmod(f->stage, s.st_mode & 07777) != 0)
        return err_set(e, "%s: cannot get the mode of %s: %s", f->stage, f->path,
                       strerror(errno));
    return 0;
}

struct folder_out *folder_out_new(const char *path, struct err *e)
{
    struct folder_out *f = mem_zalloc(1, sizeof *f);

    f->path = mem_strdup(path);
    f->lock_fd = -1;
    if (find_target(f, e) == 0) {
        choose_place(f);
        if (take_lock(f, e) == 0 && make_stage(f, e) == 0)
            return f;
    }
    folder_out_abandon(f, e);
    return NULL;
}

void folder_out_own(struct folder_out *f, const char *name)
{
    names_add(&f->own, name);
    enlist(f, &(struct names){.name = NULL});
}

bool folder_out_has(const struct folder_out *f, const char *name)
{
    return f->exists && is_there(f->target, name);
}

int folder_out_check_apart(const struct folder_out *f, const char *in, struct err *e)
{
    int status = 0;

    for (size_t i = 0; i < f->own.count && status == 0; i++) {
        char *path = join(f->path, f->own.name[i]);

        status = file_check_apart(path, in, e);
        free(path);
    }
    return status;
}

const char *folder_out_name(const struct folder_out *f)
{
    return f->stage;
}

/* ---- putting it in place ---- */

/* Links the others into the new folder. 0, or errno and the name of the one that failed.
 */
static int link_others(const struct folder_out *f, const struct names *others,
                       const char **failed)
{
    int cause = 0;

    for (size_t i = 0; i < others->count && cause == 0; i++) {
        char *from = join(f->target, others->name[i]);
        char *to = join(f->stage, others->name[i]);

        if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) != 0)
            cause = errno;
        *failed = others->name[i];
        free(from);
        free(to);
    }
    return cause;
}

/* 1: this file system cannot do it. */
static int exchange(struct folder_out *f, const struct names *others, struct err *e)
{
    const char *failed = "";
    int cause;

    enlist(f, others);
    cause = link_others(f, others, &failed);
    if (cause == EPERM || cause == EMLINK || cause == ENOTSUP)
        return 1;
    if (cause != 0)
        return err_set(e, "%s/%s: cannot be kept beside the new files: %s", f->path,
                       failed, strerror(cause));
    if (renameat2(AT_FDCWD, f->stage, AT_FDCWD, f->target, RENAME_EXCHANGE) == 0) {
        f->exchanged = true;
        return 0;
    }
    if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP || errno == EBUSY)
        return 1;
    return err_set(e, "%s: cannot put the finished files in place: %s", f->path,
                   strerror(errno));
}

/* One file: the old one is set aside, the new one takes its place; or the reverse. */
static int move_one(const struct folder_out *f, const char *name, bool back)
{
    char *new = join(f->stage, name), *place = join(f->target, name);
    char *old = mem_format("%s/" SET_ASIDE "%s", f->stage, name);
    int status = 0;

    if (back) {
        (void)rename(place, new);
        (void)rename(old, place);
    } else if (rename(place, old) != 0 && errno != ENOENT) {
        status = -1;
    } else if (rename(new, place) != 0 && errno != ENOENT) {
        status = -1;
        (void)rename(old, place);
    }
    free(new);
    free(place);
    free(old);
    return status;
}

static int move_each(const struct folder_out *f, struct err *e)
{
    for (size_t i = 0; i < f->own.count; i++) {
        if (move_one(f, f->own.name[i], false) == 0)
            continue;
        (void)err_set(e, "%s/%s: cannot put the finished file in place: %s", f->path,
                      f->own.name[i], strerror(errno));
        while (i-- > 0)
            (void)move_one(f, f->own.name[i], true);
        return -1;
    }
    return 0;
}

static int put_in_place(struct folder_out *f, struct err *e)
{
    struct names found = list(f->target), others = {.name = NULL};
    int status = f->apart ? 1 : 0;

    if (!f->exists) {
        names_release(&found);
        if (renameat2(AT_FDCWD, f->stage, AT_FDCWD, f->target, RENAME_NOREPLACE) == 0 ||
            (errno == EINVAL && rename(f->stage, f->target) == 0))
            return 0;
        return err_set(e, "%s: cannot put the finished files in place: %s", f->path,
                       strerror(errno));
    }
    for (size_t i = 0; i < found.count; i++) {
        char *path = join(f->target, found.name[i]);

        if (is_folder(path))
            status = 1; /* it cannot be in two places for a moment */
        if (!names_have(&f->own, found.name[i]))
            names_add(&others, found.name[i]);
        free(path);
    }
    names_release(&found);
    if (status == 0)
        status = exchange(f, &others, e);
    names_release(&others);
    return status == 1 ? move_each(f, e) : status;
}

int folder_out_commit(struct folder_out *f, struct err *e)
{
    char *above = file_folder_of(f->target);
    sigset_t stops, before;
    int status;

    (void)sigemptyset(&stops);
    (void)sigaddset(&stops, SIGINT);
    (void)sigaddset(&stops, SIGTERM);
    (void)sigaddset(&stops, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &stops, &before);
    file_sync_folder(f->stage);
    status = put_in_place(f, e);
    f->done = status == 0;
    file_sync_folder(f->target);
    file_sync_folder(above);
    folder_out_abandon(f, e); /* the old folder goes, or the new one if that failed */
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(above);
    return status;
}

/* Messages named the new folder, which nobody knows. */
static void name_as_given(const struct folder_out *f, struct err *e)
{
    char *at = f->stage == NULL ? NULL : strstr(e->text, f->stage);
    char *text;

    if (at == NULL)
        return;
    text = mem_format("%.*s%s%s", (int)(at - e->text), e->text, f->path,
                      at + strlen(f->stage));
    (void)snprintf(e->text, sizeof e->text, "%s", text);
    free(text);
}

void folder_out_abandon(struct folder_out *f, struct err *e)
{
    if (f == NULL)
        return;
    name_as_given(f, e);
    if (f->lock_fd >= 0) {
        if (f->staged)
            remove_stage(f);
        live_drop(f->stage_slot);
        (void)unlink(f->lock);
        live_drop(f->lock_slot);
        (void)close(f->lock_fd);
    }
    names_release(&f->own);
    free(f->path);
    free(f->target);
    free(f->stage);
    free(f->lock);
    free(f);
}
