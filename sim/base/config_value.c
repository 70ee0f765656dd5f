/* Text into numbers, sizes, times and choices: the one checked parser. Integers, bytes
 * and times are computed in exact decimal arithmetic, so that 0.1 us is 100 ns and not a
 * neighbour of it. */
#include "config_node.h"

#include "units.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1},
    {"B", 1},
    {"kB", UINT64_C(1000)},
    {"KiB", BYTES_PER_KIB},
    {"MB", UINT64_C(1000000)},
    {"MiB", BYTES_PER_MIB},
    {"GB", UINT64_C(1000000000)},
    {"GiB", BYTES_PER_GIB},
    {"TB", UINT64_C(1000000000000)},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

static const struct unit time_units[] = {
    {"ps", 1},
    {"ns", (uint64_t)SIM_TIME_PER_NS},
    {"us", (uint64_t)SIM_TIME_PER_US},
    {"ms", UINT64_C(1000000000)},
    {"s", (uint64_t)SIM_TIME_PER_S},
    {NULL, 0},
};

/* The number `digits` x 10^`exponent`, of which 24 digits are enough for 64 bits with
 * any unit: digits x factor stays below 2^80 x 2^40. */
#define DIGITS_MAX 24
#define EXPONENT_MAX 9999

struct decimal {
    bool negative;
    bool rounded; /* had more digits than are kept */
    wide digits;
    int exponent;
    const char *end; /* first character behind the number */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Zeros are counted until a digit follows them, so that 1000...000 keeps one digit. */
static const char *take_digits(struct decimal *d, const char *c, bool fraction, int *kept,
                               int *zeros)
{
    for (; is_digit(*c); c++) {
        if (fraction)
            d->exponent--;
        if (*c == '0') {
            *zeros += *kept > 0;
            continue;
        }
        if (*kept + *zeros + 1 > DIGITS_MAX) {
            d->rounded = true;
            ++*zeros;
            continue;
        }
        for (*kept += *zeros + 1; *zeros > 0; --*zeros)
            d->digits *= 10;
        d->digits = d->digits * 10 + (unsigned)(*c - '0');
    }
    return c;
}

static const char *take_exponent(struct decimal *d, const char *c)
{
    bool negative = c[1] == '-';
    int value = 0;

    c += c[1] == '-' || c[1] == '+' ? 2 : 1;
    if (!is_digit(*c))
        return NULL;
    for (; is_digit(*c); c++)
        value = value < EXPONENT_MAX ? value * 10 + (*c - '0') : value;
    d->exponent += negative ? -value : value;
    return c;
}

/* [+-] digits [. digits] [e [+-] digits]; no leading zeros (some would read octal), no
 * hexadecimal, no inf or nan. The text has at most 16 MiB, so an int counts digits. */
static bool parse_decimal(const char *text, struct decimal *d)
{
    const char *start, *c = text;
    int kept = 0, zeros = 0;

    *d = (struct decimal){.negative = *text == '-'};
    if (*c == '-' || *c == '+')
        c++;
    if (c[0] == '0' && is_digit(c[1]))
        return false;
    start = c;
    c = take_digits(d, c, false, &kept, &zeros);
    if (*c == '.') {
        bool whole = c > start;
        const char *dot = c;

        c = take_digits(d, c + 1, true, &kept, &zeros);
        if (!whole && c == dot + 1)
            return false;
    } else if (c == start) {
        return false;
    }
    d->exponent += zeros;
    if (*c == 'e' || *c == 'E')
        c = take_exponent(d, c);
    d->end = c;
    return c != NULL;
}

/* digits x 10^exponent x factor, at most `limit`; rounded half up unless `exact`. */
static bool scale(const struct decimal *d, uint64_t factor, bool exact, uint64_t limit,
                  uint64_t *out)
{
    wide value = d->digits * factor;
    int exponent = d->exponent;
    unsigned removed = 0;

    if (d->rounded && exact)
        return false;
    for (; exponent > 0 && value != 0 && value <= limit; exponent--)
        value *= 10;
    for (; exponent < 0 && (value != 0 || removed != 0); exponent++) {
        removed = (unsigned)(value % 10);
        value /= 10;
        if (exact && removed != 0)
            return false;
    }
    /* Half up depends on the last digit removed alone, the one next to the point. */
    if (removed >= 5)
        value++;
    if (value > limit)
        return false;
    *out = (uint64_t)value;
    return true;
}

static bool parse_integer(const char *text, int64_t *out)
{
    struct decimal d;
    uint64_t magnitude;

    if (!parse_decimal(text, &d) || *d.end != '\0' ||
        !scale(&d, 1, true, (uint64_t)INT64_MAX + d.negative, &magnitude))
        return false;
    if (!d.negative || magnitude == 0)
        *out = (int64_t)magnitude;
    else
        *out = -(int64_t)(magnitude - 1) - 1;
    return true;
}

/* The grammar is ours, the correctly rounded value strtod's. A number that is too large
 * or that only its exponent makes zero is refused. */
static bool parse_double(const char *text, double *out)
{
    struct decimal d;

    if (!parse_decimal(text, &d) || *d.end != '\0')
        return false;
    *out = strtod(text, NULL) + 0.0; /* -0 becomes 0 */
    return isfinite(*out) && (*out != 0.0 || d.digits == 0);
}

/* A number, spaces, one of `units`. Without a unit ("", where allowed) there is only 0,
 * as 12 might be bytes or gigabytes; in the smallest one a size is whole; with a larger
 * one it is rounded to the nearest. */
static bool parse_quantity(const char *text, const struct unit *units, uint64_t limit,
                           uint64_t *out)
{
    struct decimal d;

    if (!parse_decimal(text, &d) || (d.negative && d.digits != 0))
        return false;
    while (*d.end == ' ')
        d.end++;
    for (; units->name != NULL; units++) {
        if (strcmp(d.end, units->name) == 0)
            return (units->name[0] != '\0' || d.digits == 0) &&
                   scale(&d, units->factor, units->factor == 1, limit, out);
    }
    return false;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

static bool bounded(const struct option *o)
{
    return o->min != 0.0 || o->max != 0.0;
}

static bool within(const struct option *o, double value)
{
    double unit = o->type == OPT_TIME ? (double)SIM_TIME_PER_S : 1.0;

    if (!bounded(o))
        return true;
    /* Bounds in seconds become whole picoseconds, as the value is. */
    if (o->type == OPT_TIME)
        return value >= floor(o->min * unit + 0.5) && value <= floor(o->max * unit + 0.5);
    return value >= o->min && value <= o->max;
}

/* "62.5 %", with or without the space. */
static bool parse_percent(const char *text, double *out)
{
    struct decimal d;
    const char *end;

    if (!parse_decimal(text, &d) || d.negative)
        return false;
    for (end = d.end; *end == ' '; end++)
        continue;
    *out = strtod(text, NULL);
    return strcmp(end, "%") == 0 && *out > 0.0 && *out <= 100.0;
}

static bool store_part(const char *text, const struct option *o, void *member)
{
    struct cfg_part part = {.bytes = 0};

    if (!parse_percent(text, &part.percent)) {
        part.percent = 0;
        if (!parse_quantity(text, byte_units, UINT64_MAX, &part.bytes) ||
            !within(o, (double)part.bytes))
            return false;
    }
    memcpy(member, &part, sizeof part);
    return true;
}

static bool store_integer(const char *text, const struct option *o, void *member)
{
    int64_t *stored = member, integer = 0;
    int choice = cfg_choice(text, o);

    if (choice < 0 && (!parse_integer(text, &integer) || !within(o, (double)integer)))
        return false;
    *stored = choice < 0 ? integer : -1 - choice;
    return true;
}

static bool store_number(const char *text, const struct option *o, void *member)
{
    int64_t integer;
    uint64_t bytes;
    double number;

    switch (o->type) {
    case OPT_INT:
        return store_integer(text, o, member);
    case OPT_DOUBLE:
        if (!parse_double(text, &number) || !within(o, number))
            return false;
        memcpy(member, &number, sizeof number);
        return true;
    case OPT_BYTES:
        if (!parse_quantity(text, byte_units, UINT64_MAX, &bytes) ||
            !within(o, (double)bytes))
            return false;
        memcpy(member, &bytes, sizeof bytes);
        return true;
    case OPT_PART:
        return store_part(text, o, member);
    default:
        assert(o->type == OPT_TIME);
        if (!parse_quantity(text, time_units, (uint64_t)SIM_TIME_MAX, &bytes) ||
            !within(o, (double)bytes))
            return false;
        integer = (int64_t)bytes;
        memcpy(member, &integer, sizeof integer);
        return true;
    }
}

int cfg_choice(const char *text, const struct option *o)
{
    for (int i = 0; o->choices != NULL && o->choices[i] != NULL; i++) {
        if (strcmp(text, o->choices[i]) == 0)
            return i;
    }
    return -1;
}

/* Whether no and yes are the first of the choices, and so true is yes. */
static bool begins_with_truth(const struct option *o)
{
    return o->choices[0] != NULL && strcmp(o->choices[0], "no") == 0 &&
           o->choices[1] != NULL && strcmp(o->choices[1], "yes") == 0;
}

bool cfg_store(const char *text, const struct option *o, void *target)
{
    void *member = (char *)target + o->offset;
    int choice;
    bool truth;

    assert(o->type < OPT_NODE && o->min <= o->max);
    switch (o->type) {
    case OPT_STRING:
        memcpy(member, &text, sizeof text);
        return true;
    case OPT_BOOL:
        if (!parse_bool(text, &truth))
            return false;
        memcpy(member, &truth, sizeof truth);
        return true;
    case OPT_CHOICE:
        choice = cfg_choice(text, o);
        if (choice < 0 && begins_with_truth(o) && parse_bool(text, &truth))
            choice = truth;
        memcpy(member, &choice, sizeof choice);
        return choice >= 0;
    default:
        return store_number(text, o, member);
    }
}

/* ---- what is expected, in words ---- */

/* A bound in the largest binary or decimal unit that leaves it whole. */
static void show_units(char *out, size_t room, double value, const struct unit *units)
{
    const struct unit *best = NULL;

    for (; units->name != NULL; units++) {
        double ratio = value / (double)units->factor;

        if (value != 0.0 && ratio >= 1.0 && ratio == floor(ratio))
            best = units;
    }
    if (best == NULL)
        (void)snprintf(out, room, "%g", value);
    else
        (void)snprintf(out, room, "%.15g%s%s", value / (double)best->factor,
                       best->name[0] == '\0' ? "" : " ", best->name);
}

static void show_bound(char *out, size_t room, const struct option *o, double bound)
{
    if (o->type == OPT_TIME && bound <= 0.0)
        (void)snprintf(out, room, "0 s");
    else if (o->type == OPT_TIME)
        show_units(out, room, floor(bound * (double)SIM_TIME_PER_S + 0.5), time_units);
    else if (o->type == OPT_BYTES || o->type == OPT_PART)
        show_units(out, room, bound, byte_units);
    else
        (void)snprintf(out, room, "%.15g", bound);
}

/* " from 1 to 65536", " of at least 1" or "". Bounds that the type itself has anyway are
 * not worth words. */
static void show_range(char *out, size_t room, const struct option *o)
{
    bool above = o->type == OPT_DOUBLE ? isfinite(o->min) : o->min > -0x1p63;
    bool below = o->type == OPT_DOUBLE ? isfinite(o->max) : o->max < 0x1p63;
    char low[48], high[48];

    out[0] = '\0';
    if (!bounded(o))
        return;
    show_bound(low, sizeof low, o, o->min);
    show_bound(high, sizeof high, o, o->max);
    if (above && below)
        (void)snprintf(out, room, " from %s to %s", low, high);
    else if (above)
        (void)snprintf(out, room, " of at least %s", low);
    else if (below)
        (void)snprintf(out, room, " of at most %s", high);
}

/* "an integer from 1 to 8, all or auto". */
static struct cfg_words number_or_words(const struct option *o, const char *range)
{
    struct cfg_words words;
    size_t used;

    (void)snprintf(words.text, sizeof words.text, "an integer%s",
                   range[0] == '\0' ? " of 64 bits" : range);
    for (size_t i = 0; o->choices != NULL && o->choices[i] != NULL; i++) {
        used = strlen(words.text);
        (void)snprintf(words.text + used, sizeof words.text - used, "%s%s",
                       o->choices[i + 1] == NULL ? " or " : ", ", o->choices[i]);
    }
    return words;
}

static struct cfg_words list_choices(const struct option *o)
{
    struct cfg_words words = {"one of "};
    size_t used = strlen(words.text);

    for (size_t i = 0; o->choices[i] != NULL; i++) {
        int length = snprintf(words.text + used, sizeof words.text - used, "%s%s",
                              i > 0 ? ", " : "", o->choices[i]);

        if (used + (size_t)length >= sizeof words.text - 4) {
            (void)snprintf(words.text + used, sizeof words.text - used, "...");
            break;
        }
        used += (size_t)length;
    }
    return words;
}

struct cfg_words cfg_expected(const struct option *o)
{
    struct cfg_words words = {"a list or a mapping"};
    char range[112];

    show_range(range, sizeof range, o);
    switch (o->type) {
    case OPT_INT:
        return number_or_words(o, range);
    case OPT_DOUBLE:
        (void)snprintf(words.text, sizeof words.text, "a number%s", range);
        break;
    case OPT_BOOL:
        return (struct cfg_words){"true or false"};
    case OPT_STRING:
        return (struct cfg_words){"text"};
    case OPT_CHOICE:
        return list_choices(o);
    case OPT_BYTES:
        (void)snprintf(words.text, sizeof words.text,
                       "a size%s with its unit, such as 64 MiB", range);
        break;
    case OPT_PART:
        (void)snprintf(
            words.text, sizeof words.text,
            "a size%s with its unit, such as 64 MiB, or a share, such as 80 %%", range);
        break;
    case OPT_TIME:
        (void)snprintf(words.text, sizeof words.text,
                       "a time%s with its unit, such as 2.5 us", range);
        break;
    case OPT_NODE:
        break;
    case OPT_NAMED:
        return (struct cfg_words){"a name or a mapping"};
    }
    return words;
}
