#include "sweep_range.h"

#include "sim/base/mem.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_spaces(const char *text)
{
    return text + strspn(text, " ");
}

/* A plain decimal number at `text`; its end, or NULL. "2..8" is the number 2. */
static const char *take_number(const char *text, double *value, bool *whole)
{
    size_t length = strspn(text, "+-0123456789.eE");
    const char *dots = strstr(text, "..");
    char *copy, *end;

    if (dots != NULL && dots < text + length)
        length = (size_t)(dots - text);
    copy = mem_format("%.*s", (int)length, text);
    *value = strtod(copy, &end);
    length = (size_t)(end - copy);
    *whole = length > 0 && strspn(copy, "+-0123456789") >= length;
    free(copy);
    return length == 0 || !isfinite(*value) ? NULL : text + length;
}

/* A unit: letters, "/" and "%". */
static const char *take_unit(const char *text, char *unit)
{
    size_t length = 0;

    text = skip_spaces(text);
    while (isalpha((unsigned char)text[length]) || text[length] == '/' ||
           text[length] == '%')
        length++;
    if (length >= SWEEP_UNIT)
        return NULL;
    memcpy(unit, text, length);
    unit[length] = '\0';
    return text + length;
}

/* A word by itself; where it ends, or NULL if something else stands there. */
static const char *take_word(const char *text, const char *word)
{
    size_t length = strlen(word);

    text = skip_spaces(text);
    if (strncmp(text, word, length) != 0 || (text[length] != ' ' && text[length] != '\0'))
        return NULL;
    return text + length;
}

bool sweep_range_is(const char *text)
{
    double value;
    bool whole;
    char unit[SWEEP_UNIT];
    const char *end = take_number(skip_spaces(text), &value, &whole);

    end = end == NULL ? NULL : take_unit(end, unit);
    return end != NULL && strncmp(skip_spaces(end), "..", 2) == 0;
}

static const char *take_ends(const char *text, struct sweep_range *r, const char **rest)
{
    char low_unit[SWEEP_UNIT];
    bool low_whole, high_whole;
    const char *at = take_number(skip_spaces(text), &r->low, &low_whole);

    at = at == NULL ? NULL : take_unit(at, low_unit);
    if (at == NULL)
        return "it begins with no number";
    at = skip_spaces(skip_spaces(at) + 2);
    at = take_number(at, &r->high, &high_whole);
    if (at == NULL)
        return "there is no number behind '..'";
    if (take_word(at, "log2") == NULL && take_word(at, "log10") == NULL &&
        take_word(at, "step") == NULL && take_word(at, "in") == NULL)
        at = take_unit(at, r->unit);
    if (at == NULL || (*low_unit != '\0' && strcmp(low_unit, r->unit) != 0))
        return "both ends need the same unit";
    if (!(r->low <= r->high))
        return "its second number is below the first";
    r->whole = low_whole && high_whole && *r->unit == '\0';
    *rest = at;
    return NULL;
}

const char *sweep_range_parse(const char *text, struct sweep_range *r)
{
    const char *at, *next, *why;
    double number;
    bool whole;

    *r = (struct sweep_range){.low = 0};
    why = take_ends(text, r, &at);
    while (why == NULL && *skip_spaces(at) != '\0') {
        if ((next = take_word(at, "log2")) != NULL && r->base == 0) {
            r->base = 2;
        } else if ((next = take_word(at, "log10")) != NULL && r->base == 0) {
            r->base = 10;
        } else if ((next = take_word(at, "step")) != NULL && r->step == 0) {
            next = take_number(skip_spaces(next), &number, &whole);
            if (next == NULL || !(number > 0))
                return "'step' needs a number above zero";
            r->step = number;
            r->whole = r->whole && whole;
        } else if ((next = take_word(at, "in")) != NULL && r->count == 0) {
            next = take_number(skip_spaces(next), &number, &whole);
            if (next == NULL || !whole || !(number >= 1) || number > SWEEP_MOST_VALUES)
                return "'in' needs a whole number from 1 to 100000";
            r->count = (unsigned)number;
        } else {
            return "behind its ends may stand a unit, and log2, log10, step S or in N";
        }
        at = next;
    }
    if (why == NULL && r->base > 0 && !(r->low > 0))
        return "with a logarithm it has to begin above zero";
    if (why == NULL && r->step > 0 && (r->count > 0 || r->base > 0))
        return "'step' goes with no other word";
    return why;
}

/* The i-th of `count` values from end to end. */
static double spread(const struct sweep_range *r, unsigned i, unsigned count)
{
    double share = count == 1 ? 0 : (double)i / (count - 1);

    if (r->base > 0)
        return r->low * pow(r->high / r->low, share);
    return r->low + (r->high - r->low) * share;
}

/* The next of a grid without a count. A sum of steps would gather their errors. */
static double next_value(const struct sweep_range *r, size_t i)
{
    if (r->base > 0)
        return r->low * pow(r->base, (double)i);
    return r->low + (double)i * (r->step > 0 ? r->step : 1);
}

double *sweep_range_values(const struct sweep_range *r, size_t *count)
{
    double slack = r->base > 0 ? 1e-9 * r->high : r->step > 0 ? 1e-9 * r->step : 0;
    double *value = NULL;

    *count = 0;
    if (r->count == 0 && r->base == 0 && r->step == 0 && !r->whole)
        return NULL;
    for (size_t i = 0; r->count == 0 || i < r->count; i++) {
        double v = r->count > 0 ? spread(r, (unsigned)i, r->count) : next_value(r, i);

        if (r->whole)
            v = round(v);
        if (v > r->high + slack || *count > SWEEP_MOST_VALUES)
            break;
        if (i > SWEEP_MOST_VALUES) { /* a step too small to change such numbers */
            *count = SWEEP_MOST_VALUES + 1;
            break;
        }
        if (*count > 0 && v == value[*count - 1])
            continue;
        value = mem_grow(value, *count, sizeof *value);
        value[(*count)++] = v;
    }
    return value;
}

double sweep_range_at(const struct sweep_range *r, double u)
{
    double high = r->whole ? r->high + 1 : r->high; /* each whole number has its share */
    double v =
        r->base > 0 ? r->low * pow(high / r->low, u) : r->low + (high - r->low) * u;

    if (r->whole)
        v = floor(v);
    return v > r->high ? r->high : v;
}

double sweep_range_place(const struct sweep_range *r, double value)
{
    if (!(r->high > r->low))
        return 0;
    return r->base > 0 ? log(value / r->low) / log(r->high / r->low)
                       : (value - r->low) / (r->high - r->low);
}

bool sweep_range_number(const char *text, double *value, char unit[SWEEP_UNIT])
{
    bool whole;
    const char *end = take_number(skip_spaces(text), value, &whole);

    end = end == NULL ? NULL : take_unit(end, unit);
    return end != NULL && *skip_spaces(end) == '\0';
}

char *sweep_range_text(const struct sweep_range *r, double value)
{
    const char *gap = *r->unit == '\0' ? "" : " ";
    int digits = 9; /* or as many as it takes to read back what it is */
    char number[40];

    if (r->whole)
        return mem_format("%.0f%s%s", value, gap, r->unit);
    do
        (void)snprintf(number, sizeof number, "%.*g", digits, value);
    while (digits++ < 17 && fabs(strtod(number, NULL) - value) > 1e-14 * fabs(value));
    return mem_format("%s%s%s", number, gap, r->unit);
}
