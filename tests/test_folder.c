/* Output folders: all files change together, others stay, one writes at a time. */
#define _GNU_SOURCE /* renameat2 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "sim/base/file.h"
#include "sim/base/folder.h"
#include "sim/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the places of the C library's: the next call, or a later one, fails. */
static struct fault {
    int calls; /* until it fails; 0: never */
    int cause;
} rename_fault, exchange_fault, link_fault;

static bool fails(struct fault *f)
{
    if (f->calls == 0 || --f->calls > 0)
        return false;
    errno = f->cause;
    return true;
}

int rename(const char *from, const char *to)
{
    return fails(&rename_fault)
               ? -1
               : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to,
              unsigned flags)
{
    return fails(&exchange_fault)
               ? -1
               : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    return fails(&link_fault)
               ? -1
               : (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
}

static char *join(const char *folder, const char *name)
{
    return mem_format("%s/%s", folder, name);
}

static void put(const char *folder, const char *name, const char *text)
{
    char *path = join(folder, name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void assert_holds(const char *folder, const char *name, const char *text)
{
    char *path = join(folder, name);
    struct err e = {.text = ""};
    char *found = file_read(path, 1 << 20, &(size_t){0}, &e);

    if (text == NULL)
        assert_null(found);
    else if (found == NULL || strcmp(found, text) != 0)
        fail_msg("%s holds %s, not %s", path, found == NULL ? e.text : found, text);
    free(found);
    free(path);
}

static size_t entries(const char *folder)
{
    DIR *d = opendir(folder);
    size_t count = 0;

    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        count++;
    (void)closedir(d);
    return count - 2;
}

/* New text for a and b; c is obsolete. */
static struct folder_out *begin(const char *path, struct err *e)
{
    struct folder_out *f = folder_out_new(path, e);

    if (f == NULL)
        return NULL;
    folder_out_own(f, "a");
    folder_out_own(f, "b");
    folder_out_own(f, "c");
    put(folder_out_name(f), "a", "new a");
    put(folder_out_name(f), "b", "new b");
    return f;
}

static void write_both(const char *path)
{
    struct err e = {.text = ""};
    struct folder_out *f = begin(path, &e);

    if (f == NULL || folder_out_commit(f, &e) != 0)
        fail_msg("%s", e.text);
}

static int make(void **state)
{
    char name[] = "/tmp/moesim-folder-XXXXXX";

    *state = mem_strdup(mkdtemp(name));
    return 0;
}

static int clear(void **state)
{
    char *command = mem_format("rm -rf '%s'", (char *)*state);
    int status = system(command); /* NOLINT: a path of our own */

    free(command);
    free(*state);
    return status;
}

static void a_new_folder_appears_whole(void **state)
{
    char *path = mem_format("%s/deep/out/", (char *)*state);
    struct err e = {.text = ""};
    struct folder_out *f = begin(path, &e);

    assert_non_null(f);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(folder_out_commit(f, &e), 0);
    assert_holds(path, "a", "new a");
    assert_holds(path, "b", "new b");
    assert_int_equal(entries(path), 2);
    free(path);
    path = join(*state, "deep");
    assert_int_equal(entries(path), 1);
    free(path);
}

/* Own files change, obsolete ones go; those of others stay, hidden ones and folders too;
 * the folder keeps its mode. */
static void old_files_change_and_others_stay(void **state, bool with_folder)
{
    char *path = join(*state, "out"), *inner = join(path, "inner");
    struct stat s;

    assert_int_equal(mkdir(path, 0750), 0);
    put(path, "a", "old a");
    put(path, "c", "old c");
    put(path, "mine", "mine");
    put(path, ".mine", "mine, hidden");
    if (with_folder) {
        assert_int_equal(mkdir(inner, 0777), 0);
        put(inner, "deep", "deep");
    }
    write_both(path);
    assert_holds(path, "a", "new a");
    assert_holds(path, "b", "new b");
    assert_holds(path, "c", NULL);
    assert_holds(path, "mine", "mine");
    assert_holds(path, ".mine", "mine, hidden");
    if (with_folder)
        assert_holds(inner, "deep", "deep");
    assert_int_equal(entries(path), with_folder ? 5 : 4);
    assert_int_equal(entries(*state), 1);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0750);
    free(inner);
    free(path);
}

static void as_a_whole(void **state)
{
    old_files_change_and_others_stay(state, false);
}

static void file_by_file(void **state)
{
    old_files_change_and_others_stay(state, true);
}

/* Where we are is not exchanged under our feet. */
/* A folder takes no place on the list of what is unfinished once it is finished, however
 * many files it has: the list has 64. */
static void many_folders_one_after_another(void **state)
{
    char *path = join(*state, "out");
    struct file_out *open[63];
    struct err e = {.text = ""};
    int count = 0;

    for (int i = 0; i < 30; i++)
        write_both(path);
    for (; count < 63; count++) {
        char *name = mem_format("%s/%d", (char *)*state, count);

        open[count] = file_out_new(name, &e);
        free(name);
        if (open[count] == NULL)
            fail_msg("%s", e.text);
    }
    while (count-- > 0)
        file_out_abandon(open[count]);
    free(path);
}

static void the_folder_we_are_in(void **state)
{
    char *path = join(*state, "out"), *here = getcwd(NULL, 0);

    assert_int_equal(mkdir(path, 0777), 0);
    put(path, "a", "old a");
    assert_int_equal(chdir(path), 0);
    write_both(".");
    assert_int_equal(entries("."), 2);
    assert_holds(".", "a", "new a");
    assert_int_equal(chdir(here), 0);
    assert_int_equal(entries(*state), 1);
    free(here);
    free(path);
}

static void through_a_link(void **state)
{
    char *path = join(*state, "out"), *link = join(*state, "link");
    struct stat s;

    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(symlink("out", link), 0);
    write_both(link);
    assert_holds(path, "a", "new a");
    assert_int_equal(lstat(link, &s), 0);
    assert_true(S_ISLNK(s.st_mode));
    free(path);
    free(link);
}

static void abandoned_leaves_all_as_it_was(void **state)
{
    char *path = join(*state, "out");
    struct err e = {.text = ""};
    struct folder_out *f;

    assert_int_equal(mkdir(path, 0777), 0);
    put(path, "a", "old a");
    f = begin(path, &e);
    assert_non_null(f);
    (void)err_set(&e, "%s/a: writing failed", folder_out_name(f));
    folder_out_abandon(f, &e);
    assert_holds(path, "a", "old a");
    assert_int_equal(entries(path), 1);
    assert_int_equal(entries(*state), 1);
    assert_non_null(strstr(e.text, path));
    assert_null(strstr(e.text, ".new"));
    free(path);
}

static void the_second_is_refused_by_name_of_the_first(void **state)
{
    char *path = join(*state, "out"), *name = mem_format("process %ld,", (long)getpid());
    struct err e = {.text = ""};
    struct folder_out *f = begin(path, &e);

    assert_non_null(f);
    assert_null(folder_out_new(path, &e));
    if (strstr(e.text, name) == NULL || strstr(e.text, "which began at 20") == NULL)
        fail_msg("\"%s\" does not name the first", e.text);
    e.text[0] = '\0';
    assert_int_equal(folder_out_commit(f, &e), 0);
    write_both(path);
    assert_int_equal(entries(*state), 1);
    free(name);
    free(path);
}

/* A process that is killed, or ends in good order, at that point. */
static void end_within(const char *path, bool killed)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        static struct folder_out *volatile kept; /* for the leak sanitizer */
        struct err e = {.text = ""};

        kept = begin(path, &e);
        if (kept == NULL)
            _exit(9);
        if (killed)
            (void)raise(SIGKILL);
        exit(3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(killed ? WIFSIGNALED(status) : WEXITSTATUS(status) == 3);
}

static void a_crash_blocks_nobody(void **state)
{
    char *path = join(*state, "out");

    assert_int_equal(mkdir(path, 0777), 0);
    put(path, "mine", "mine");
    end_within(path, true);
    assert_int_equal(entries(path), 1);
    assert_int_equal(entries(*state), 3); /* with the new folder and the lock */
    write_both(path);
    assert_int_equal(entries(path), 3);
    assert_int_equal(entries(*state), 1);
    free(path);
}

static void exit_leaves_nothing(void **state)
{
    static char *volatile path; /* for the leak sanitizer, which looks at the child too */

    path = join(*state, "out");
    end_within(path, false);
    assert_int_equal(entries(*state), 0);
    free(path);
}

/* What a crash had set aside comes back; what it had not finished does not. */
static void what_was_set_aside_comes_back(void **state)
{
    char *path = join(*state, "out"), *new = join(*state, ".out.new");

    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(mkdir(new, 0777), 0);
    put(new, ".old.other", "old other");
    put(new, "half", "half");
    put(*state, ".out.lock", "");
    write_both(path);
    assert_holds(path, "other", "old other");
    assert_holds(path, "half", NULL);
    assert_int_equal(entries(*state), 1);
    free(path);
    free(new);
}

/* A folder that has such a name without the lock is somebody's, and stays as it is. */
static void a_folder_of_that_name_stays(void **state)
{
    char *path = join(*state, "out"), *new = join(*state, ".out.new");
    struct err e = {.text = ""};

    assert_int_equal(mkdir(new, 0777), 0);
    put(new, "mine", "mine");
    assert_null(folder_out_new(path, &e));
    assert_non_null(strstr(e.text, "/out: '.out.new' is in the way; remove it, or"));
    assert_holds(new, "mine", "mine");
    assert_int_equal(entries(*state), 1);
    free(path);
    free(new);
}

static void bad_places_are_named(void **state)
{
    char *path = join(*state, "file"), *below = join(path, "out");
    struct err e = {.text = ""};

    put(*state, "file", "");
    assert_null(folder_out_new(path, &e));
    assert_non_null(strstr(e.text, "file: exists and is no folder; choose another name"));
    e.text[0] = '\0';
    assert_null(folder_out_new(below, &e));
    assert_non_null(strstr(e.text, "file: exists and is no folder"));
    assert_int_equal(entries(*state), 1);
    e.text[0] = '\0';
    assert_null(folder_out_new("", &e));
    assert_string_equal(e.text, "the folder to write has no name; give one");
    free(path);
    free(below);
}

static void what_cannot_be_replaced_is_said_before(void **state)
{
    char *path = join(*state, "out"), *stage = join(*state, ".out.new");
    bool root = geteuid() == 0;
    struct err e = {.text = ""};

    put(*state, ".out.new", ""); /* no folder: not of a moesim that was killed */
    assert_null(folder_out_new(path, &e));
    assert_non_null(strstr(e.text, "/out: '.out.new' is in the way; remove it, or"));
    assert_int_equal(unlink(stage), 0);
    /* Somebody else's folder, whose old files could not be removed. */
    e.text[0] = '\0';
    assert_int_equal(mkdir(path, 0755), 0);
    put(path, "result", "old");
    assert_int_equal(chmod(path, 0555) | chmod(*state, 0777), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    assert_null(folder_out_new(path, &e));
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_non_null(
        strstr(e.text, "/out: cannot be written to: Permission denied; choose"));
    assert_int_equal(entries(*state), 1);
    assert_holds(path, "result", "old");
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
    free(stage);
}

static void an_input_among_its_files_is_refused(void **state)
{
    char *path = join(*state, "out"), *a = join(path, "a"), *hard = join(*state, "hard");
    char *soft = join(*state, "soft");
    struct folder_out *f;
    struct err e = {.text = ""};

    assert_int_equal(mkdir(path, 0777), 0);
    put(path, "a", "old a");
    assert_int_equal(link(a, hard), 0);
    assert_int_equal(symlink(a, soft), 0);
    f = begin(path, &e);
    assert_non_null(f);
    assert_int_equal(folder_out_check_apart(f, NULL, &e), 0);
    assert_int_equal(folder_out_check_apart(f, "/dev/null", &e), 0);
    assert_int_equal(folder_out_check_apart(f, a, &e), -1);
    assert_non_null(strstr(e.text, "out/a: is the input itself"));
    assert_int_equal(folder_out_check_apart(f, hard, &e), -1);
    assert_int_equal(folder_out_check_apart(f, soft, &e), -1);
    folder_out_abandon(f, &e);
    free(path);
    free(a);
    free(hard);
    free(soft);
}

/* ---- what the disk refuses ---- */

/* Old files a, b and c, one of others, and a folder if they must change one by one. */
static char *make_old(void **state, bool with_folder)
{
    char *path = join(*state, "out"), *inner = join(path, "inner");

    assert_int_equal(mkdir(path, 0777), 0);
    put(path, "a", "old a");
    put(path, "b", "old b");
    put(path, "c", "old c");
    put(path, "mine", "mine");
    if (with_folder)
        assert_int_equal(mkdir(inner, 0777), 0);
    free(inner);
    return path;
}

/* All old or all new, and nothing beside them. */
static void assert_whole(void **state, const char *path, bool is_new, size_t count)
{
    assert_holds(path, "a", is_new ? "new a" : "old a");
    assert_holds(path, "b", is_new ? "new b" : "old b");
    assert_holds(path, "c", is_new ? NULL : "old c");
    assert_holds(path, "mine", "mine");
    assert_int_equal(entries(path), count);
    assert_int_equal(entries(*state), 1);
}

/* Six renames put three files in place: a and b are set aside and come, c is set aside
 * and has no successor, whose rename fails as it may. */
static void any_move_that_fails_is_undone(void **state)
{
    static const char *const named[] = {"a", "a", "b", "b", "c", "c"};
    char *path = make_old(state, true);
    struct err e = {.text = ""};

    for (int at = 1; at <= 6; at++) {
        struct folder_out *f = begin(path, &e);
        char *words = mem_format("%s/%s: cannot put the finished file in place: "
                                 "Input/output error",
                                 path, named[at - 1]);

        assert_non_null(f);
        rename_fault = (struct fault){at, EIO};
        assert_int_equal(folder_out_commit(f, &e), -1);
        assert_int_equal(rename_fault.calls, 0);
        assert_string_equal(e.text, words);
        assert_whole(state, path, false, 5);
        free(words);
        e.text[0] = '\0';
    }
    rename_fault = (struct fault){7, EIO};
    write_both(path);
    assert_int_equal(rename_fault.calls, 1);
    rename_fault.calls = 0;
    assert_whole(state, path, true, 4);
    free(path);
}

/* Where folders cannot be exchanged, or files not be in two places, they go one by one.
 */
static void what_cannot_be_exchanged_moves(void **state)
{
    static const int cannot[] = {EINVAL, ENOSYS, ENOTSUP, EBUSY};
    static const int alone[] = {EPERM, EMLINK, ENOTSUP};
    char *path = make_old(state, false);

    for (size_t i = 0; i < sizeof cannot / sizeof *cannot; i++) {
        put(path, "a", "old a");
        exchange_fault = (struct fault){1, cannot[i]};
        rename_fault.calls = 1000;
        write_both(path);
        assert_true(exchange_fault.calls == 0 && rename_fault.calls < 1000);
        assert_whole(state, path, true, 3);
    }
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        put(path, "a", "old a");
        link_fault = (struct fault){1, alone[i]};
        rename_fault.calls = 1000;
        write_both(path);
        assert_true(link_fault.calls == 0 && rename_fault.calls < 1000);
        assert_whole(state, path, true, 3);
    }
    rename_fault.calls = 0;
    free(path);
}

static void refused(void **state, struct fault *fault, const char *what)
{
    char *path = join(*state, "out"), *words = mem_format("%s%s", path, what);
    struct err e = {.text = ""};
    struct folder_out *f = begin(path, &e);

    assert_non_null(f);
    *fault = (struct fault){1, EIO};
    assert_int_equal(folder_out_commit(f, &e), -1);
    assert_int_equal(fault->calls, 0);
    assert_string_equal(e.text, words);
    free(words);
    free(path);
}

static void an_exchange_that_fails_changes_nothing(void **state)
{
    char *path;

    refused(state, &exchange_fault,
            ": cannot put the finished files in place: Input/output error");
    assert_int_equal(entries(*state), 0);
    path = make_old(state, false);
    refused(state, &exchange_fault,
            ": cannot put the finished files in place: Input/output error");
    assert_whole(state, path, false, 4);
    refused(state, &link_fault,
            "/mine: cannot be kept beside the new files: Input/output error");
    assert_whole(state, path, false, 4);
    free(path);
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(a_new_folder_appears_whole),
        FRESH(as_a_whole),
        FRESH(file_by_file),
        FRESH(many_folders_one_after_another),
        FRESH(the_folder_we_are_in),
        FRESH(through_a_link),
        FRESH(abandoned_leaves_all_as_it_was),
        FRESH(the_second_is_refused_by_name_of_the_first),
        FRESH(a_crash_blocks_nobody),
        FRESH(exit_leaves_nothing),
        FRESH(what_was_set_aside_comes_back),
        FRESH(a_folder_of_that_name_stays),
        FRESH(bad_places_are_named),
        FRESH(what_cannot_be_replaced_is_said_before),
        FRESH(an_input_among_its_files_is_refused),
        FRESH(any_move_that_fails_is_undone),
        FRESH(what_cannot_be_exchanged_moves),
        FRESH(an_exchange_that_fails_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
