/* Output files: complete or absent, whatever ends the program. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "file_folder.h"

#include "sim/base/file.h"
#include "sim/base/mem.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void assert_content(const char *path, const char *expected)
{
    struct err e = {.text = ""};
    size_t size;
    char *text = file_read(path, 1000, &size, &e);

    assert_non_null(text);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
}

static bool closing_fails;

/* In the place of the C library's. */
int fclose(FILE *stream)
{
    int (*next)(FILE *);
    void *symbol = dlsym(RTLD_NEXT, "fclose");
    int status;

    memcpy(&next, &symbol, sizeof next);
    status = next(stream);
    if (!closing_fails)
        return status;
    errno = EIO;
    return EOF;
}

static void commit_puts_the_whole_file_in_place(void **state)
{
    char *path = mem_format("%s/out.csv", (char *)*state);
    struct err e = {.text = ""};
    struct file_out *f = file_out_new(path, &e);

    assert_non_null(f);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(access(file_out_name(f), F_OK), 0);
    assert_int_equal(strncmp(file_out_name(f), *state, strlen(*state)), 0);
    assert_true(fprintf(file_out_stream(f), "a,b\n%d,%d\n", 1, 2) > 0);
    assert_ptr_equal(file_out_stream(f), file_out_stream(f));
    assert_int_equal(file_out_commit(f, &e), 0);
    assert_content(path, "a,b\n1,2\n");
    assert_int_equal(entries(*state, 0), 1);
    free(path);
}

static void a_library_may_write_by_name(void **state)
{
    char *path = mem_format("%s/out.h5", (char *)*state);
    struct err e = {.text = ""};
    struct file_out *f = file_out_new(path, &e);
    FILE *other;

    assert_non_null(f);
    other = fopen(file_out_name(f), "wb");
    assert_non_null(other);
    assert_true(fputs("by name", other) >= 0);
    assert_int_equal(fclose(other), 0);
    assert_int_equal(file_out_commit(f, &e), 0);
    assert_content(path, "by name");
    free(path);
}

static void abandon_leaves_the_old_file(void **state)
{
    char *path = mem_format("%s/out.csv", (char *)*state);
    struct err e = {.text = ""};
    struct file_out *f = file_out_new(path, &e);

    assert_true(fputs("old", file_out_stream(f)) >= 0);
    assert_int_equal(file_out_commit(f, &e), 0);
    f = file_out_new(path, &e);
    assert_true(fputs("new, half", file_out_stream(f)) >= 0);
    file_out_abandon(f);
    assert_content(path, "old");
    assert_int_equal(entries(*state, 0), 1);
    file_out_abandon(NULL);
    free(path);
}

/* The umask decides about permissions, as for any file a program makes. */
static void permissions_are_the_usual_ones(void **state)
{
    char *path = mem_format("%s/out", (char *)*state);
    struct err e = {.text = ""};
    struct file_out *f;
    struct stat status;
    mode_t old = umask(027);

    f = file_out_new(path, &e);
    assert_non_null(f);
    assert_int_equal(file_out_commit(f, &e), 0);
    (void)umask(old);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    free(path);
}

static void bad_places_are_named(void **state)
{
    char *lost = mem_format("%s/none/out.h5", (char *)*state);
    char *slash = mem_format("%s/new/", (char *)*state);
    struct err e = {.text = ""};

    assert_null(file_out_new(lost, &e));
    assert_non_null(strstr(e.text, lost));
    assert_non_null(strstr(e.text, "No such file or directory"));
    e.text[0] = '\0';
    assert_null(file_out_new(*state, &e));
    assert_non_null(strstr(e.text, "is a folder"));
    e.text[0] = '\0';
    assert_null(file_out_new(slash, &e));
    assert_non_null(strstr(e.text, "is a folder"));
    e.text[0] = '\0';
    assert_null(file_out_new("", &e));
    assert_int_not_equal(e.text[0], '\0');
    assert_int_equal(entries(*state, 0), 0);
    free(lost);
    free(slash);
}

/* A name of 255 bytes is the longest there is; the temporary must fit beside it. */
static void the_longest_name_works(void **state)
{
    char *path = mem_format("%s/%0255d", (char *)*state, 1);
    struct err e = {.text = ""};
    struct file_out *f = file_out_new(path, &e);

    assert_non_null(f);
    assert_int_equal(file_out_commit(f, &e), 0);
    assert_int_equal(access(path, F_OK), 0);
    free(path);
}

/* The folder vanishes before the rename: one sentence, nothing left behind. */
static void a_failed_rename_is_told(void **state)
{
    char *folder = mem_format("%s/sub", (char *)*state);
    char *path = mem_format("%s/out", folder);
    struct err e = {.text = ""};
    struct file_out *f;

    assert_int_equal(mkdir(folder, 0700), 0);
    f = file_out_new(path, &e);
    assert_non_null(f);
    assert_int_equal(unlink(file_out_name(f)), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(file_out_commit(f, &e), -1);
    assert_int_equal(strncmp(e.text, path, strlen(path)), 0);
    free(path);
    free(folder);
}

/* A link to a device, so that a defect would replace the link and never the device. */
static char *link_to(const char *device, const char *folder)
{
    char *path = mem_format("%s/device", folder);

    assert_int_equal(symlink(device, path), 0);
    return path;
}

/* A device is written in place and neither replaced nor removed. */
static void devices_stay_devices(void **state)
{
    char *path = link_to("/dev/null", *state);
    struct err e = {.text = ""};
    struct stat status;
    struct file_out *f = file_out_new(path, &e);

    assert_non_null(f);
    assert_true(fputs("x", file_out_stream(f)) >= 0);
    assert_int_equal(file_out_commit(f, &e), 0);
    file_out_abandon(file_out_new(path, &e));
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    free(path);
}

static void a_full_disk_is_told(void **state)
{
    char *path, *sentence;
    struct err e = {.text = ""};
    struct file_out *f;

    if (access("/dev/full", W_OK) != 0) {
        print_message("skip a_full_disk_is_told: needs /dev/full\n");
        skip();
    }
    path = link_to("/dev/full", *state);
    sentence = mem_format("%s: writing failed", path);
    f = file_out_new(path, &e);
    assert_non_null(f);
    (void)fputs("more than fits", file_out_stream(f));
    assert_int_equal(file_out_commit(f, &e), -1);
    assert_non_null(strstr(e.text, sentence));
    assert_non_null(strstr(e.text, "No space left"));
    e.text[0] = '\0';
    /* Without a buffer the failure is long past at the end, and must not be forgotten. */
    f = file_out_new(path, &e);
    assert_non_null(f);
    assert_int_equal(setvbuf(file_out_stream(f), NULL, _IONBF, 0), 0);
    (void)fputs("more than fits", file_out_stream(f));
    assert_int_equal(file_out_commit(f, &e), -1);
    assert_non_null(strstr(e.text, sentence));
    free(sentence);
    free(path);
}

/* A network's file system may tell of a full disk no earlier than here. */
static void a_failed_close_is_told(void **state)
{
    char *path = mem_format("%s/out", (char *)*state);
    struct err e = {.text = ""};
    struct file_out *f = file_out_new(path, &e);
    int status;

    assert_non_null(f);
    (void)fputs("text", file_out_stream(f));
    closing_fails = true;
    status = file_out_commit(f, &e);
    closing_fails = false;
    assert_int_equal(status, -1);
    assert_non_null(strstr(e.text, "/out: writing failed: Input/output error"));
    assert_int_equal(entries(*state, 0), 0);
    free(path);
}

/* A file that happens to have the next temporary name is somebody else's. The names end
 * in "-COUNT.tmp". */
static void foreign_files_are_left_alone(void **state)
{
    char *path = mem_format("%s/out", (char *)*state), *foreign, *dash;
    struct err e = {.text = ""};
    struct file_out *f = file_out_new(path, &e);
    FILE *other;

    assert_non_null(f);
    foreign = mem_strdup(file_out_name(f));
    file_out_abandon(f);
    dash = strrchr(foreign, '-');
    dash = mem_format("%.*s-%lu.tmp", (int)(dash - foreign), foreign,
                      strtoul(dash + 1, NULL, 10) + 1);
    other = fopen(dash, "wb");
    assert_non_null(other);
    assert_true(fputs("not yours", other) >= 0);
    assert_int_equal(fclose(other), 0);
    f = file_out_new(path, &e);
    assert_non_null(f);
    assert_string_not_equal(file_out_name(f), dash);
    assert_int_equal(file_out_commit(f, &e), 0);
    assert_content(dash, "not yours");
    free(foreign);
    free(dash);
    free(path);
}

static void too_many_outputs_are_refused(void **state)
{
    struct file_out *open[257];
    struct err e = {.text = ""};
    int count = 0;

    for (; count < 257; count++) {
        char *path = mem_format("%s/%d", (char *)*state, count);

        open[count] = file_out_new(path, &e);
        free(path);
        if (open[count] == NULL)
            break;
    }
    assert_int_equal(count, 256);
    assert_non_null(strstr(e.text, "256 output files"));
    assert_int_equal(entries(*state, 0), 256);
    while (count-- > 0)
        file_out_abandon(open[count]);
    assert_int_equal(entries(*state, 0), 0);
}

struct worker {
    pthread_t thread;
    const char *folder;
    int number;
    int failed;
};

static void *write_many(void *argument)
{
    struct worker *w = argument;

    for (int i = 0; i < 50; i++) {
        char *path = mem_format("%s/%d-%d", w->folder, w->number, i / 2);
        struct err e = {.text = ""};
        struct file_out *f = file_out_new(path, &e);

        free(path);
        if (f == NULL) {
            w->failed++;
            continue;
        }
        (void)fprintf(file_out_stream(f), "%d", w->number);
        if (i % 2 == 0)
            w->failed += file_out_commit(f, &e) != 0;
        else
            file_out_abandon(f);
    }
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    struct worker workers[4];

    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.folder = *state, .number = i};
        assert_int_equal(
            pthread_create(&workers[i].thread, NULL, write_many, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].failed, 0);
    }
    assert_int_equal(entries(*state, 0), 4 * 25);
}

static void folders_are_made_with_their_parents(void **state)
{
    char *deep = mem_format("%s/a//b/c/", (char *)*state);
    char *file = mem_format("%s/file", (char *)*state);
    char *below = mem_format("%s/file/x/y", (char *)*state);
    struct err e = {.text = ""};
    struct stat status;

    assert_int_equal(file_make_folder(deep, &e), 0);
    assert_int_equal(stat(deep, &status), 0);
    assert_true(S_ISDIR(status.st_mode));
    assert_int_equal(file_make_folder(deep, &e), 0);
    assert_int_equal(file_out_commit(file_out_new(file, &e), &e), 0);
    assert_int_equal(file_make_folder(file, &e), -1);
    assert_non_null(strstr(e.text, "exists and is no folder"));
    e.text[0] = '\0';
    assert_int_equal(file_make_folder(below, &e), -1);
    assert_int_equal(strncmp(e.text, file, strlen(file)), 0);
    e.text[0] = '\0';
    assert_int_equal(file_make_folder("", &e), -1);
    assert_int_not_equal(e.text[0], '\0');

    deep[strlen(deep) - 1] = '\0';
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rmdir(deep), 0);
        *strrchr(deep, '/') = '\0';
        while (deep[strlen(deep) - 1] == '/')
            deep[strlen(deep) - 1] = '\0';
    }
    free(deep);
    free(file);
    free(below);
}

/* Sizes around the limit and around the sizes the buffer grows through. */
static void file_read_reads_up_to_its_limit(void **state)
{
    static const size_t sizes[] = {0, 1, 999, 1000, 65535, 65536, 65537, 200000};
    char *path = mem_format("%s/data", (char *)*state);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct err e = {.text = ""};
        struct file_out *f = file_out_new(path, &e);
        size_t size = 12345;
        char *bytes;

        assert_non_null(f);
        for (size_t k = 0; k < sizes[i]; k++)
            (void)fputc((int)(k * 7 % 251), file_out_stream(f));
        assert_int_equal(file_out_commit(f, &e), 0);
        bytes = file_read(path, sizes[i], &size, &e);
        assert_non_null(bytes);
        assert_int_equal(size, sizes[i]);
        for (size_t k = 0; k < size; k++)
            assert_int_equal((unsigned char)bytes[k], k * 7 % 251);
        assert_int_equal(bytes[size], '\0');
        free(bytes);
        if (sizes[i] == 0)
            continue;
        assert_null(file_read(path, sizes[i] - 1, &size, &e));
        assert_non_null(strstr(e.text, "longer than"));
        assert_non_null(strstr(e.text, path));
    }
    free(path);
}

static void file_read_names_what_fails(void **state)
{
    char *path = mem_format("%s/none", (char *)*state);
    struct err e = {.text = ""};
    size_t size;

    assert_null(file_read(path, 10, &size, &e));
    assert_non_null(strstr(e.text, "cannot open: No such file"));
    e.text[0] = '\0';
    assert_null(file_read(*state, 10, &size, &e));
    assert_non_null(strstr(e.text, "cannot read: Is a directory"));
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(commit_puts_the_whole_file_in_place),
        IN_FOLDER(a_library_may_write_by_name),
        IN_FOLDER(abandon_leaves_the_old_file),
        IN_FOLDER(permissions_are_the_usual_ones),
        IN_FOLDER(bad_places_are_named),
        IN_FOLDER(the_longest_name_works),
        IN_FOLDER(a_failed_rename_is_told),
        IN_FOLDER(devices_stay_devices),
        IN_FOLDER(a_full_disk_is_told),
        IN_FOLDER(a_failed_close_is_told),
        IN_FOLDER(foreign_files_are_left_alone),
        IN_FOLDER(too_many_outputs_are_refused),
        IN_FOLDER(threads_do_not_disturb_each_other),
        IN_FOLDER(folders_are_made_with_their_parents),
        IN_FOLDER(file_read_reads_up_to_its_limit),
        IN_FOLDER(file_read_names_what_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
