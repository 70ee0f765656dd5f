/* What becomes of unfinished files when the program ends: by signals, by exit, in a
 * child. */
#define _GNU_SOURCE /* mallinfo2 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "file_folder.h"

#include "sim/base/file.h"

#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>

/* Runs `act` in a child with one temporary in `folder`, not caught by cmocka: it must
 * not return. Returns the child's wait status. */
static int in_child(const char *folder, void (*act)(struct file_out *))
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        char *path = mem_format("%s/out", folder);
        struct err e = {.text = ""};
        struct file_out *f = file_out_new(path, &e);

        free(path);
        if (f == NULL)
            _exit(90);
        (void)fputs("half", file_out_stream(f));
        (void)fflush(file_out_stream(f));
        act(f);
        _exit(91);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void interrupt_once(struct file_out *f)
{
    if (file_interrupted())
        _exit(92);
    file_catch_signals();
    if (file_interrupted())
        _exit(93);
    (void)raise(SIGINT);
    if (!file_interrupted())
        _exit(94);
    /* The program still runs and still has its file: it decides what becomes of it. */
    if (access(file_out_name(f), F_OK) != 0)
        _exit(95);
    file_out_abandon(f);
    _exit(0);
}

static void terminate_twice(struct file_out *f)
{
    (void)f;
    file_catch_signals();
    (void)raise(SIGTERM);
    (void)raise(SIGTERM);
}

static void interrupt_then_terminate(struct file_out *f)
{
    (void)f;
    file_catch_signals();
    (void)raise(SIGINT);
    (void)raise(SIGTERM);
}

static void exit_with_file_open(struct file_out *f)
{
    (void)f;
    exit(3);
}

static void exit_from_grandchild(struct file_out *f)
{
    pid_t child = fork();
    int status;

    if (child == 0)
        exit(0);
    if (waitpid(child, &status, 0) != child)
        _exit(96);
    _exit(access(file_out_name(f), F_OK) == 0 ? 0 : 97);
}

static void the_first_signal_only_asks(void **state)
{
    int status = in_child(*state, interrupt_once);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(entries(*state, 0), 0);
}

static void the_second_signal_ends_it_all(void **state)
{
    int status = in_child(*state, terminate_twice);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
    assert_int_equal(entries(*state, 0), 0);
    status = in_child(*state, interrupt_then_terminate);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
    assert_int_equal(entries(*state, 0), 0);
}

static void hang_up(struct file_out *f)
{
    (void)f;
    file_end_on_signals(NULL);
    (void)raise(SIGHUP);
}

static void hang_up_at_a_terminal(struct file_out *f)
{
    (void)signal(SIGHUP, SIG_DFL);
    hang_up(f);
}

static void hang_up_under_nohup(struct file_out *f)
{
    (void)signal(SIGHUP, SIG_IGN);
    hang_up(f);
    file_out_abandon(f);
    _exit(file_stop_status());
}

/* Nobody reads its output, although it would stop in good order. */
static void close_the_pipe(struct file_out *f)
{
    (void)f;
    file_catch_signals();
    (void)raise(SIGPIPE);
}

static void where_asked_the_first_signal_ends_it(void **state)
{
    int status = in_child(*state, hang_up_at_a_terminal);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGHUP);
    assert_int_equal(entries(*state, 0), 0);
    status = in_child(*state, hang_up_under_nohup);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(entries(*state, 0), 0);
    status = in_child(*state, close_the_pipe);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGPIPE);
    assert_int_equal(entries(*state, 0), 0);
}

static void exit_removes_temporaries(void **state)
{
    int status = in_child(*state, exit_with_file_open);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    assert_int_equal(entries(*state, 0), 0);
}

static void remove_as_a_handler(struct file_out *f)
{
    struct mallinfo2 before = mallinfo2(), after;

    (void)f;
    file_remove_temporaries();
    after = mallinfo2();
    _exit(after.uordblks == before.uordblks ? 0 : 96);
}

/* A signal may come within malloc, so that its handler must not free what it removes. The
 * name is too long for a free that leaves no trace in what malloc knows. */
static void handlers_free_nothing(void **state)
{
    char folder[2048];
    size_t used = strlen(*state);
    int status;

    memcpy(folder, *state, used);
    for (; used < 1900; used += 2)
        memcpy(folder + used, "/.", 2);
    folder[used] = '\0';
    status = in_child(folder, remove_as_a_handler);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(entries(*state, 0), 0);
}

static void a_forked_child_removes_nothing(void **state)
{
    int status = in_child(*state, exit_from_grandchild);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(the_first_signal_only_asks),
        IN_FOLDER(the_second_signal_ends_it_all),
        IN_FOLDER(where_asked_the_first_signal_ends_it),
        IN_FOLDER(exit_removes_temporaries),
        IN_FOLDER(handlers_free_nothing),
        IN_FOLDER(a_forked_child_removes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
