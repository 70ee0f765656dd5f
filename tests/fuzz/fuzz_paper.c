/* Published tables: whatever loads has rows that can be counted and closed forms that
 * give a number or say why not. */
#include "input.h"

#include "validate/paper.h"
#include "validate/paper_formula.h"

#include <math.h>
#include <string.h>

FUZZ_TEXT_MUTATOR

static void check_formulas(const struct paper *p)
{
    static const struct experiment_folders folders = {"models/arch", "models/machine",
                                                      "sim/policy/presets"};

    for (size_t i = 0; i < p->rows; i++) {
        struct err e = {.text = ""};
        double value = 0.0;
        int status;

        if (p->row[i].formula == NULL)
            continue;
        status = paper_formula(p->row[i].formula, &folders, &value, &e);
        fuzz_require_sentence(status, &e);
        fuzz_require(status != 0 || isfinite(value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {.text = ""};
    struct paper p;
    int status = paper_load(fuzz_file(data, size), "validate/papers", &p, &e);

    fuzz_require_sentence(status, &e);
    if (status != 0)
        return 0;
    fuzz_require(p.rows > 0 && paper_count(&p).rows == p.rows);
    for (size_t i = 0; i < p.rows; i++)
        fuzz_require(isfinite(p.row[i].published.value) && p.row[i].tolerance >= 0.0);
    check_formulas(&p);
    paper_release(&p);
    return 0;
}
