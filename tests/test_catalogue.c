/* Files by name in a folder: which there are, in which order, and what is said where a
 * name has none. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"

#include "models/catalogue.h"
#include "sim/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const char *folder, const char *name)
{
    char *path = mem_format("%s/%s", folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs("a: 1\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void refused(enum file_kind kind, const char *name, const char *folder,
                    const char *words)
{
    struct err e = {.text = ""};

    assert_null(catalogue_load(kind, name, folder, &e));
    assert_string_equal(e.text, words);
}

/* In order of bytes, without the ending; what is hidden or has another is none. 40 names
 * are more than the list has room for at first. */
static void test_names(void **state)
{
    char *folder = made_folder(), **names;
    struct err e = {.text = ""};
    size_t count;

    (void)state;
    names = catalogue_names(folder, &count, &e);
    assert_non_null(names);
    assert_int_equal(count, 0);
    catalogue_free(names, count);
    for (int i = 40; i-- > 0;) {
        char name[32];

        (void)snprintf(name, sizeof name, "n%02d.yaml", i);
        put(folder, name);
    }
    put(folder, ".yaml");
    put(folder, ".n.yaml");
    put(folder, "n.yml");
    put(folder, "n.yaml.txt");
    names = catalogue_names(folder, &count, &e);
    assert_int_equal(count, 40);
    for (size_t i = 0; i < 40; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "n%02zu", i);
        assert_string_equal(names[i], name);
    }
    catalogue_free(names, count);
    /* As many names as 200 bytes take, with room for what says that there are more. */
    refused(
        FILE_MODEL, "something-else", folder,
        "there is no model 'something-else'; give the path of a file, which ends in "
        ".yaml, or one of n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11, "
        "n12, n13, n14, n15, n16, n17, n18, n19, n20, n21, n22, n23, n24, n25, n26, "
        "n27, n28, n29, n30, n31, n32, n33, n34, n35, n36, n37, n38, ...");
    made_folder_remove(folder);
}

static void test_what_there_is_none_of(void **state)
{
    char *folder = made_folder(), *loop = mem_format("%s/loop.yaml", folder), *words;
    struct err e = {.text = ""};
    struct cfg *c;

    (void)state;
    put(folder, "alpha.yaml");
    put(folder, "omega.yaml");
    c = catalogue_load(FILE_MODEL, "alpha", folder, &e);
    assert_non_null(c);
    cfg_free(c);
    refused(FILE_MODEL, "alphb", folder,
            "there is no model 'alphb'; did you mean 'alpha'?");
    refused(FILE_MACHINE, "alphb", folder,
            "there is no machine 'alphb'; did you mean 'alpha'?");
    refused(FILE_TABLE, "something", folder,
            "there is no table 'something'; give the path of a file, which ends in "
            ".yaml, or one of alpha, omega");
    refused(FILE_TABLE, "something", "no/such/folder",
            "no/such/folder: No such file or directory");
    assert_int_equal(symlink("loop.yaml", loop), 0);
    words = mem_format("the machine 'loop' cannot be read: %s: Too many levels of "
                       "symbolic links",
                       loop);
    refused(FILE_MACHINE, "loop", folder, words);
    free(words);
    free(loop);
    made_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_there_is_none_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
