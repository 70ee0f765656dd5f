/* Which kind of file something is, wherever in it the name of its format stands. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/file_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char signature[] = "\x89HDF\r\n\x1a\n";

static char *path;

/* An HDF5 file, as far as its first bytes tell, that names a format at that place. */
static enum file_kind kind_of(const char *format, size_t at)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_true(fwrite(signature, 1, 8, f) == 8);
    for (size_t i = 8; i < at; i++)
        assert_true(fputc('m', f) == 'm');
    assert_true(fputs(format, f) >= 0);
    for (int i = 0; i < 100; i++)
        assert_true(fputc(0, f) == 0);
    assert_int_equal(fclose(f), 0);
    return file_kind_of(path);
}

static void the_name_stands_anywhere(void **state)
{
    static const size_t far[] = {8, 1000, 131072 - 7, 200000, 1000000};

    (void)state;
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        assert_int_equal(kind_of("moesim-trace", far[i]), FILE_TRACE);
        assert_int_equal(kind_of("moesim-result", far[i]), FILE_RESULT);
        assert_int_equal(kind_of("moesim-something", far[i]), FILE_HDF5);
    }
    /* Across the end of what is read at once. */
    for (size_t at = 65536 - 16; at <= 65536 + 16; at++) {
        assert_int_equal(kind_of("moesim-trace", at), FILE_TRACE);
        assert_int_equal(kind_of("moesim-result", at), FILE_RESULT);
    }
}

/* Every byte of a signature counts: with one changed, the file is nothing known. */
static void signatures_are_whole(void **state)
{
    static const struct {
        const char *bytes;
        enum file_kind kind;
    } known[] = {
        {signature, FILE_HDF5}, {"\x93NUMPY", FILE_NUMPY}, {"PK\3\4", FILE_NUMPY}};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].bytes);

        for (size_t changed = 0; changed <= length; changed++) {
            FILE *f = fopen(path, "wb");

            assert_non_null(f);
            for (size_t b = 0; b < length; b++)
                assert_true(fputc(known[i].bytes[b] ^ (b == changed), f) != EOF);
            assert_int_equal(fclose(f), 0);
            assert_int_equal(file_kind_of(path),
                             changed < length ? FILE_OTHER : known[i].kind);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_name_stands_anywhere),
                                       cmocka_unit_test(signatures_are_whole)};
    char name[] = "/tmp/moesim-kind-XXXXXX";
    int file = mkstemp(name), status;

    if (file < 0 || close(file) != 0)
        return 1;
    path = name;
    status = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(name);
    return status;
}
