/* Notes on what is legal in a trace and looks unintended: each at its bound, where it is
 * said, and just below it, where it is not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "sim/base/mem.h"
#include "traces/trace_notes.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 4096, MAX_ROWS = 256, NONE = TRACE_NOT_RECORDED };

/* A trace as it is shown: `expert` is (row, layer, candidate). */
struct shown {
    struct trace_info info;
    uint64_t rows;
    struct trace_token token[MAX_ROWS];
    uint16_t expert[MAX_VALUES], score[MAX_VALUES];
    bool has_scores;
};

/* Ids that follow each other, from another one in each row and layer. */
static void fill(struct shown *s, uint32_t layers, uint32_t experts, uint32_t top_k,
                 uint64_t rows)
{
    uint16_t *expert;

    *s = (struct shown){.info = {.layers = layers,
                                 .experts = experts,
                                 .top_k = top_k,
                                 .candidates = top_k},
                        .rows = rows};
    expert = s->expert;
    assert_true(rows <= MAX_ROWS && rows * layers * top_k <= MAX_VALUES);
    for (uint64_t row = 0; row < rows; row++) {
        s->token[row].position = (uint32_t)row;
        for (uint32_t l = 0; l < layers; l++)
            for (uint32_t i = 0; i < top_k; i++)
                *expert++ = (uint16_t)((row + l + i + 1) % experts);
    }
}

/* Shows it in parts of `step` rows. The notes, with a line end behind each. Owned. */
static char *notes_on(const struct shown *s, uint64_t step)
{
    struct trace_notes *n = trace_notes_new(&s->info);
    size_t width = (size_t)s->info.layers * s->info.candidates, count;
    char *note[TRACE_NOTES_MAX], *all = mem_strdup("");

    for (uint64_t row = 0; row < s->rows; row += step)
        trace_notes_see(n, &(struct trace_rows){
                               .first = row,
                               .count = s->rows - row < step ? s->rows - row : step,
                               .token = s->token + row,
                               .expert = s->expert + row * width,
                               .score = s->has_scores ? s->score + row * width : NULL});
    count = trace_notes_write(n, note);
    for (size_t i = 0; i < count; i++) {
        char *more = mem_format("%s%s\n", all, note[i]);

        free(note[i]);
        free(all);
        all = more;
    }
    trace_notes_free(n);
    return all;
}

static void expect(const struct shown *s, const char *wanted)
{
    for (uint64_t step = 1; step <= s->rows; step += s->rows > 1 ? s->rows - 1 : 1) {
        char *notes = notes_on(s, step);

        assert_string_equal(notes, wanted);
        free(notes);
    }
}

static void test_nothing_to_note(void **state)
{
    struct shown s;

    (void)state;
    fill(&s, 4, 8, 2, 32);
    expect(&s, "");
    trace_notes_free(NULL);
}

/* Eight values of 0 to k - 1 are a buffer, seven may be chance. */
static void test_unfilled_rows(void **state)
{
    static const struct {
        uint32_t layers, experts, top_k;
        const char *wanted;
    } known[] = {
        {4, 8, 2,
         "/routing/expert lists experts 0 to 1 in every layer of 2 of 6 rows, the "
         "first of them row 3; if they were not captured, write 65535\n"},
        {8, 8, 1,
         "/routing/expert lists experts 0 to 0 in every layer of 2 of 6 rows, the "
         "first of them row 3; if they were not captured, write 65535\n"},
        {7, 8, 1, ""},
        {3, 8, 2, ""},
        {4, 2, 2, ""}, /* all experts: nothing else could be listed */
    };
    struct shown s;

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t width = (size_t)known[i].layers * known[i].top_k;

        fill(&s, known[i].layers, known[i].experts, known[i].top_k, 6);
        for (size_t v = 0; v < width; v++)
            s.expert[3 * width + v] = s.expert[5 * width + v] =
                (uint16_t)(v % known[i].top_k);
        expect(&s, known[i].wanted);
        s.expert[3 * width + width - 1] = NONE; /* one layer less, and it is routing */
        if (known[i].wanted[0] != '\0') {
            char *notes = notes_on(&s, 2);

            assert_non_null(
                strstr(notes, "layer of 1 of 6 rows, the first of them row 5"));
            free(notes);
        }
    }
}

static void test_constant_layers(void **state)
{
    static const char both[] =
        "/routing/expert lists the same experts in all rows of 2 of 3 layers, the "
        "first of them layer 1; leave out layers that were not captured or have no "
        "experts\n";
    struct shown s;

    (void)state;
    for (uint64_t rows = 15; rows <= 16; rows++) {
        fill(&s, 3, 8, 2, rows);
        for (uint64_t row = 0; row < rows; row++)
            for (size_t l = 1; l < 3; l++) {
                s.expert[(row * 3 + l) * 2] = 6;
                s.expert[(row * 3 + l) * 2 + 1] = (uint16_t)l;
            }
        expect(&s, rows < 16 ? "" : both);
    }
    /* A cell that was not recorded says nothing: 15 are too few; another order is other.
     */
    s.expert[2] = NONE;
    s.expert[3] = NONE;
    s.expert[15 * 6 + 4] = 2;
    s.expert[15 * 6 + 5] = 6;
    expect(&s, "");
}

static void test_unused_experts(void **state)
{
    struct shown s;

    (void)state;
    fill(&s, 1, 6, 1, 128);
    s.info.experts = 8;
    expect(&s, "/routing/expert: no layer uses an expert above 5; is attribute "
               "experts (8) right?\n");
    s.rows = 127; /* 16 times 8, less one */
    expect(&s, "");
    s.rows = 128;
    s.expert[77] = 7;
    expect(&s, "");
}

static void test_equal_scores(void **state)
{
    struct shown s;

    (void)state;
    fill(&s, 1, 8, 2, 8);
    s.has_scores = true;
    for (size_t i = 0; i < 16; i++)
        s.score[i] = 0x3400;
    expect(&s,
           "/routing/score: all 16 scores are 0.25; if they were not captured, leave the "
           "data set out and set score_kind to none\n");
    s.expert[15] = NONE; /* fifteen */
    s.score[15] = 0;
    expect(&s, "");
    fill(&s, 1, 8, 2, 8);
    s.has_scores = true;
    s.score[15] = 0x3400;
    expect(&s, "");
    fill(&s, 1, 8, 1, 16); /* one of one is all of it */
    s.has_scores = true;
    expect(&s, "");
}

static void test_positions_0(void **state)
{
    struct shown s;

    (void)state;
    fill(&s, 1, 8, 2, 2);
    expect(&s, "");
    s.token[1].position = 0;
    expect(&s, "/token/position: all 2 positions are 0; write where in its sequence each "
               "token is\n");
    s.rows = 1;
    expect(&s, "");
}

static void test_nothing_recorded(void **state)
{
    struct shown s;

    (void)state;
    fill(&s, 2, 8, 2, 2);
    for (size_t i = 0; i < 8; i++)
        s.expert[i] = NONE;
    expect(&s,
           "/routing/expert: no cell of it was recorded (65535 everywhere); record again "
           "with the capture of routing switched on\n");
    s.expert[4] = 3;
    expect(&s, "");
    s.rows = 0; /* counts alone */
    expect(&s, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_note),  cmocka_unit_test(test_unfilled_rows),
        cmocka_unit_test(test_constant_layers),  cmocka_unit_test(test_unused_experts),
        cmocka_unit_test(test_equal_scores),     cmocka_unit_test(test_positions_0),
        cmocka_unit_test(test_nothing_recorded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
