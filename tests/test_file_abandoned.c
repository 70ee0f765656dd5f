/* Temporaries of processes that were killed: the next one to write that file removes
 * them, and no others. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

/* Makes the file, empty; returns it open for writing. */
static int make(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0666);

    assert_true(fd >= 0);
    return fd;
}

/* The number of a child that is killed while it writes `path`. */
static pid_t be_killed(const char *path)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        struct err e;

        (void)raise(file_out_new(path, &e) != NULL ? SIGKILL : SIGTERM);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    return child;
}

static void the_next_writer_removes_them(void **state)
{
    const char *base = getenv("TMPDIR");
    char *folder = mem_format("%s/moesim-file-XXXXXX", base == NULL ? "/tmp" : base);
    char *path, *place, *kept[4];
    long dead;
    int fd[4];
    struct err e = {.text = ""};
    struct file_out *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = mem_format("%s/out.h5", folder);
    dead = be_killed(path);
    place = mem_format("%s/.out.h5.%ld-0.tmp", folder, dead);
    assert_int_equal(access(place, F_OK), 0);
    /* Of another file; of another machine's process of that number, which holds its lock;
     * of a living one; of something else. */
    kept[0] = mem_format("%s/.other.h5.%ld-0.tmp", folder, dead);
    kept[1] = mem_format("%s/.out.h5.%ld-1.tmp", folder, dead);
    kept[2] = mem_format("%s/.out.h5.%ld-7.tmp", folder, (long)getpid());
    kept[3] = mem_format("%s/.out.h5.%ld-2.tmp~", folder, dead);
    for (int i = 0; i < 4; i++)
        fd[i] = make(kept[i]);
    assert_int_equal(flock(fd[1], LOCK_SH), 0);

    f = file_out_new(path, &e);
    assert_non_null(f);
    assert_int_equal(access(place, F_OK), -1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(access(kept[i], F_OK), 0);
    /* Its own is held. */
    assert_int_equal(flock(fd[0], LOCK_EX | LOCK_NB), 0);
    (void)close(fd[0]);
    fd[0] = open(file_out_name(f), O_RDWR);
    assert_true(fd[0] >= 0);
    assert_int_equal(flock(fd[0], LOCK_EX | LOCK_NB), -1);
    assert_int_equal(file_out_commit(f, &e), 0);

    for (int i = 0; i < 4; i++) {
        (void)close(fd[i]);
        assert_int_equal(unlink(kept[i]), 0);
        free(kept[i]);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* so there is nothing else */
    free(place);
    free(path);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_next_writer_removes_them)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
