/* Tables of measurements: medians and spreads by hand, bounds of every number, which
 * points are held out, and what is told of a device. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "made_result.h"

#include "models/samples.h"
#include "sim/base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(const char *folder, const char *name, const char *text, size_t size)
{
    char *path = mem_format("%s/%s.csv", folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(path);
}

static void read_well(const char *folder, const struct samples_schema *schema,
                      const char *text, struct samples *s)
{
    struct err e = {.text = ""};

    put(folder, schema->name, text, strlen(text));
    if (samples_read(folder, schema, s, &e) != 0)
        fail_msg("%s", e.text);
}

/* Quartiles lie between samples: of 1 2 3 5 at 1.75, 2.5 and 3.5; of 4 8 16 at 6 and 12.
 * The same shape again is another point; columns stand in any order. */
static void medians_by_hand(void **state)
{
    static const char text[] = "# of mine\r\n"
                               "sample,seconds,out,rows,in,more\r\n"
                               "0,5,3,1,2,x\r\n"
                               "\r\n"
                               "1,2,3,1,2,x\r\n"
                               "# again\n"
                               "2,3,3,1,2,y\n"
                               "3,1,3,1,2,z\n"
                               "0,16,3,1,4,z\n"
                               "1,4,3,1,4,z\n"
                               "2,8,3,1,4,z\n"
                               "0,1e5,3,1,2,z\n";
    char *folder = made_folder();
    struct samples s;

    (void)state;
    read_well(folder, &samples_gemm, text, &s);
    assert_int_equal(s.points, 3);
    assert_ptr_equal(s.schema, &samples_gemm);
    assert_int_equal(s.point[0].value[0], 1);
    assert_int_equal(s.point[0].value[1], 2);
    assert_int_equal(s.point[0].value[2], 3);
    assert_int_equal(s.point[0].line, 3);
    assert_true(s.point[0].seconds == 2.5);
    assert_true(fabs(s.point[0].spread - 1.75 / 2.5) < 1e-15);
    assert_int_equal(s.point[1].line, 9);
    assert_true(s.point[1].seconds == 8.0 && s.point[1].spread == 0.75);
    assert_int_equal(s.point[1].value[1], 4);
    assert_true(s.point[2].seconds == 1e5 && s.point[2].spread == 0.0);
    assert_int_equal(s.point[2].line, 12);
    for (size_t i = 0; i < s.points; i++)
        assert_false(s.point[i].held); /* fewer than five */
    samples_release(&s);
    assert_int_equal(s.points, 0);
    made_folder_remove(folder);
}

/* Of 5 n + 4 points n are held out, one in each five; more points and samples than the
 * lists have room for at first. */
static void one_in_five_is_held_out(void **state)
{
    enum { POINTS = 5 * 60 + 4, SAMPLES = 200 };
    char *folder = made_folder(), *text = NULL;
    size_t size, at[5] = {0};
    FILE *f = open_memstream(&text, &size);
    struct samples s, again;

    (void)state;
    assert_non_null(f);
    (void)fputs("kind,count,sample,seconds\n", f);
    for (int i = 0; i < POINTS; i++)
        for (int k = 0; k < (i == 7 ? SAMPLES : 1); k++)
            (void)fprintf(f, "round_trip,%d,%d,%d\n", i + 1, k, i + k + 1);
    assert_int_equal(fclose(f), 0);
    read_well(folder, &samples_launch, text, &s);
    read_well(folder, &samples_launch, text, &again);
    assert_int_equal(s.points, POINTS);
    for (size_t first = 0; first < POINTS; first += 5) {
        size_t held = 0;

        for (size_t i = first; i < first + 5 && i < POINTS; i++) {
            held += s.point[i].held;
            at[i - first] += s.point[i].held;
            assert_int_equal(s.point[i].held, again.point[i].held);
            assert_int_equal(s.point[i].value[0], LAUNCH_ROUND_TRIP);
            assert_int_equal(s.point[i].value[1], i + 1);
            assert_true(s.point[i].seconds ==
                        (double)(i + 1) + (i == 7 ? (SAMPLES - 1) / 2.0 : 0.0));
        }
        assert_int_equal(held, first + 5 <= POINTS);
    }
    for (int i = 0; i < 5; i++)
        assert_true(at[i] >= 4 && at[i] <= 24); /* 12 in the mean */
    samples_release(&s);
    samples_release(&again);
    free(text);
    made_folder_remove(folder);
}

static void refused(const char *folder, const struct samples_schema *schema,
                    const char *text, const char *words)
{
    struct samples s;
    struct err e = {.text = ""};

    put(folder, schema->name, text, strlen(text));
    assert_int_equal(samples_read(folder, schema, &s, &e), -1);
    assert_int_equal(s.points, 0);
    if (strncmp(e.text, folder, strlen(folder)) != 0 ||
        strcmp(e.text + strlen(folder) + 1, words) != 0)
        fail_msg("\"%s\" is not \"%s\"", e.text, words);
}

#define ATTENTION "heads,kv_heads,key_dim,value_dim,requests,context,rows,seconds\n"
#define MANY_COMMAS ",,,,,,,,,,,,,,,,,,,,,,,,,,,,"

/* Each bound, and one beyond. */
static void numbers_have_bounds(void **state)
{
    char *folder = made_folder();
    struct samples s;

    (void)state;
    read_well(folder, &samples_gemm, "rows,in,out,seconds\n1048576,1048576,1048576,1\n",
              &s);
    assert_int_equal(s.point[0].value[2], 1048576);
    samples_release(&s);
    refused(folder, &samples_gemm, "rows,in,out,seconds\n1,1,1048577,1\n",
            "gemm.csv:2: out is '1048577'; expected a whole number from 1 to 1048576");
    read_well(folder, &samples_copy, "kind,bytes,seconds\nd2h_pageable,1099511627776,1\n",
              &s);
    assert_int_equal(s.point[0].value[0], COPY_D2H_PAGEABLE);
    assert_int_equal(s.point[0].value[1], UINT64_C(1) << 40);
    samples_release(&s);
    refused(folder, &samples_copy, "kind,bytes,seconds\nh2d_pinned,1099511627777,1\n",
            "copy.csv:2: bytes is '1099511627777'; expected a whole number from 1 to "
            "1099511627776");
    /* 2^60 together, and twice that. */
    read_well(folder, &samples_attention, ATTENTION "1048576,1024,1024,1,1,1048576,1,1\n",
              &s);
    samples_release(&s);
    refused(folder, &samples_attention, ATTENTION "1048576,1024,1024,2,1,1048576,1,1\n",
            "attention.csv:2: its counts multiplied are 2.30584e+18, more than can be "
            "measured");
    /* As many rows as the context has; 2^32 - 1 rows of all requests. */
    read_well(folder, &samples_attention, ATTENTION "1,1,1,1,1,9,9,1\n", &s);
    samples_release(&s);
    refused(folder, &samples_attention, ATTENTION "1,1,1,1,1,9,10,1\n",
            "attention.csv:2: rows are 10, but at most the context, 9");
    read_well(folder, &samples_attention, ATTENTION "1,1,1,1,65535,65537,65537,1\n", &s);
    samples_release(&s);
    refused(folder, &samples_attention, ATTENTION "1,1,1,1,65536,65536,65536,1\n",
            "attention.csv:2: rows of all requests are above 4294967295");
    refused(folder, &samples_gemm, "rows,in,out,seconds\n1,1,1,100001\n",
            "gemm.csv:2: seconds is '100001'; expected a number above zero");
    refused(folder, &samples_gemm, "rows,in,out,seconds\n1,1,1,\n",
            "gemm.csv:2: seconds is ''; expected a number above zero");
    /* 32 columns at most; what is behind them is part of the last. */
    read_well(folder, &samples_gemm,
              "rows,in,out,seconds" MANY_COMMAS "\n1,1,1,1" MANY_COMMAS "\n", &s);
    samples_release(&s);
    read_well(folder, &samples_gemm,
              "rows,in,out,seconds" MANY_COMMAS ",\n1,1,1,1" MANY_COMMAS ",\n", &s);
    samples_release(&s);
    refused(folder, &samples_gemm, "rows,in,out" MANY_COMMAS ",,seconds\n",
            "gemm.csv:1: column 'seconds' is missing; measure the table again");
    made_folder_remove(folder);
}

static void tables_are_text(void **state)
{
    static const char nul[] = "rows,in,out,seconds\n1,1,1,1\n\0\n";
    char *folder = made_folder();
    struct samples s;
    struct err e = {.text = ""};

    (void)state;
    put(folder, "gemm", nul, sizeof nul - 1);
    assert_int_equal(samples_read(folder, &samples_gemm, &s, &e), -1);
    assert_string_equal(e.text + strlen(folder), "/gemm.csv: is no text file");
    refused(folder, &samples_gemm, "# nothing\n", "gemm.csv: holds no sample");
    made_folder_remove(folder);
}

static const char properties[] = "# mine\nname,value\ndevice,A, B\nkind,cuda\n"
                                 "date,2026-01-02\nelement_bits,16\n"
                                 "local_bytes,80000000000\nhost_bytes,3\nprocessors,7\n";

static void a_device_is_told(void **state)
{
    char *folder = made_folder();
    struct samples_device d;
    struct err e = {.text = ""};

    (void)state;
    put(folder, "device", properties, sizeof properties - 1);
    assert_int_equal(samples_read_device(folder, &d, &e), 0);
    assert_string_equal(d.device, "A, B");
    assert_string_equal(d.kind, "cuda");
    assert_string_equal(d.date, "2026-01-02");
    assert_int_equal(d.element_bits, 16);
    assert_true(d.local_bytes == UINT64_C(80000000000));
    assert_int_equal(d.host_bytes, 3);
    samples_release_device(&d);
    assert_null(d.device);
    made_folder_remove(folder);
}

/* Each property is needed; elements have 16 bits or 32. */
static void a_device_is_told_whole(void **state)
{
    static const char *const line[] = {"device,A, B\n",
                                       "kind,cuda\n",
                                       "date,2026-01-02\n",
                                       "element_bits,16\n",
                                       "local_bytes,80000000000\n",
                                       "host_bytes,3\n"};
    static const struct {
        const char *to, *words;
    } other[] = {{"element_bits,32\n", NULL},
                 {"element_bits,8\n", "/device.csv: needs device, kind, date, "
                                      "element_bits (16 or 32), local_bytes and "
                                      "host_bytes; measure again"},
                 {"element_bits,0\n", "/device.csv:6: element_bits is '0'; expected a "
                                      "whole number above zero"},
                 {"element_bits,16x\n", "/device.csv:6: element_bits is '16x'; expected "
                                        "a whole number above zero"},
                 {"element_bits\n", "/device.csv:6: expected name,value"}};
    char *folder = made_folder();
    struct samples_device d;

    (void)state;
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        const char *at = strstr(properties, line[i]);
        char *text = mem_format("%.*s%s", (int)(at - properties), properties,
                                at + strlen(line[i]));
        struct err e = {.text = ""};

        put(folder, "device", text, strlen(text));
        assert_int_equal(samples_read_device(folder, &d, &e), -1);
        assert_string_equal(e.text + strlen(folder), other[1].words);
        assert_null(d.device);
        free(text);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        const char *at = strstr(properties, line[3]);
        char *text = mem_format("%.*s%s%s", (int)(at - properties), properties,
                                other[i].to, at + strlen(line[3]));
        struct err e = {.text = ""};

        put(folder, "device", text, strlen(text));
        assert_int_equal(samples_read_device(folder, &d, &e),
                         other[i].words == NULL ? 0 : -1);
        assert_string_equal(other[i].words == NULL ? "" : e.text + strlen(folder),
                            other[i].words == NULL ? "" : other[i].words);
        samples_release_device(&d);
        free(text);
    }
    made_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians_by_hand),     cmocka_unit_test(one_in_five_is_held_out),
        cmocka_unit_test(numbers_have_bounds), cmocka_unit_test(tables_are_text),
        cmocka_unit_test(a_device_is_told),    cmocka_unit_test(a_device_is_told_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
