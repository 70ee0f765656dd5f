#include "arrivals.h"

#include "sim/base/file_kind.h"
#include "sim/base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES ((size_t)1 << 20)
#define MAX_DEPTH 64 /* of nested JSON values */
#define MAX_SECONDS 9.0e6

void arrivals_poisson_init(struct arrivals_poisson *p, uint64_t seed, double rate)
{
    assert(rate > 0.0);
    *p =
        (struct arrivals_poisson){.stream = rng_stream(seed, "arrival", 0), .rate = rate};
}

int arrivals_poisson_next(struct arrivals_poisson *p, sim_time *arrival, struct err *e)
{
    double gap = rng_exponential(&p->stream) / p->rate;

    if (!(sim_time_seconds(p->last) + gap < MAX_SECONDS))
        return err_set_key(
            e, "workload.rate",
            "workload: at a rate of %g requests per second arrivals go beyond "
            "%g s of simulated time; raise rate or lower requests",
            p->rate, MAX_SECONDS);
    p->last += sim_time_of_seconds(gap);
    *arrival = p->last;
    return 0;
}

/* ---- lines ---- */

struct reader {
    FILE *stream;
    const char *path;
    uint64_t line; /* number of the line in `text`, from 1 */
    char *text;    /* [LINE_BYTES] the line without its end */
};

/* 1, 0 at the end of the file, -1. */
static int next_line(struct reader *r, struct err *e)
{
    size_t length;

    if (fgets(r->text, (int)LINE_BYTES, r->stream) == NULL) {
        if (ferror(r->stream))
            return err_set(e, "%s: cannot be read: %s", r->path, strerror(errno));
        return 0;
    }
    r->line++;
    length = strlen(r->text);
    if (length > 0 && r->text[length - 1] == '\n')
        r->text[--length] = '\0';
    else if (!feof(r->stream))
        return err_set(e, "%s:%llu: longer than %zu bytes, or holds a NUL byte", r->path,
                       (unsigned long long)r->line, LINE_BYTES - 2);
    if (length > 0 && r->text[length - 1] == '\r')
        r->text[--length] = '\0';
    return 1;
}

static int bad_line(const struct reader *r, struct err *e, const char *what)
{
    return err_set(e, "%s:%llu: %s", r->path, (unsigned long long)r->line, what);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_space(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

/* Digits only, up to ARRIVALS_MAX_TOKENS. Moves *s behind them. */
static bool scan_tokens(const char **s, uint32_t *value)
{
    uint64_t sum = 0;

    if (!is_digit(**s))
        return false;
    for (; is_digit(**s); (*s)++) {
        sum = sum * 10 + (uint64_t)(**s - '0');
        if (sum > ARRIVALS_MAX_TOKENS)
            return false;
    }
    *value = (uint32_t)sum;
    return true;
}

/* ---- Azure ---- */

/* Exactly `digits` digits with a value in [low, high], then `end` (NUL: nothing). */
static bool scan_field(const char **s, int digits, int low, int high, char end,
                       int *value)
{
    int sum = 0;

    for (int i = 0; i < digits; i++, (*s)++) {
        if (!is_digit(**s))
            return false;
        sum = sum * 10 + (**s - '0');
    }
    if (sum < low || sum > high)
        return false;
    if (end != '\0' && *(*s)++ != end)
        return false;
    *value = sum;
    return true;
}

/* Days from 1970-01-01 in the Gregorian calendar, years counted from March so that the
 * leap day comes last. */
static int64_t days_of_date(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t m = month <= 2 ? month + 9 : month - 3;

    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* `Z`, `+hh:mm`, `-hh:mm` or nothing; seconds east of UTC. */
static bool scan_zone(const char **s, int64_t *seconds)
{
    int hours;
    int minutes;
    int sign = **s == '-' ? -1 : 1;

    *seconds = 0;
    if (**s == 'Z')
        (*s)++;
    if (**s != '+' && **s != '-')
        return true;
    (*s)++;
    if (!scan_field(s, 2, 0, 23, ':', &hours) || !scan_field(s, 2, 0, 59, '\0', &minutes))
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

/* Nanoseconds since 1970, of years in which they fit an int64_t. */
static bool scan_timestamp(const char **s, int64_t *ns)
{
    static const int month_days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year;
    int month;
    int day;
    int hour;
    int minute;
    int second;
    int64_t zone;
    int64_t fraction = 0;

    if (!scan_field(s, 4, 1971, 2200, '-', &year) ||
        !scan_field(s, 2, 1, 12, '-', &month) || !scan_field(s, 2, 1, 31, '\0', &day))
        return false;
    if ((**s != ' ' && **s != 'T') || day > month_days[month - 1])
        return false;
    (*s)++;
    if (!scan_field(s, 2, 0, 23, ':', &hour) || !scan_field(s, 2, 0, 59, ':', &minute) ||
        !scan_field(s, 2, 0, 60, '\0', &second))
        return false;
    if (**s == '.') {
        int64_t unit = 100000000;

        for ((*s)++; is_digit(**s) && unit > 0; (*s)++, unit /= 10)
            fraction += (**s - '0') * unit;
    }
    if (!scan_zone(s, &zone))
        return false;
    *ns =
        ((days_of_date(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - zone;
    *ns = *ns * 1000000000 + fraction;
    return true;
}

static int parse_azure(const struct reader *r, int64_t *ns, struct arrivals_request *q,
                       struct err *e)
{
    const char *s = skip_space(r->text);

    if (!scan_timestamp(&s, ns) || *s != ',')
        return bad_line(r, e,
                        "TIMESTAMP must be like 2023-11-16 18:17:03.9799600, followed by "
                        "a comma");
    s = skip_space(s + 1);
    if (!scan_tokens(&s, &q->prompt_tokens) || *s != ',')
        return bad_line(r, e,
                        "ContextTokens must be a whole number from 0 to 1000000000, "
                        "followed by a comma");
    s = skip_space(s + 1);
    if (!scan_tokens(&s, &q->output_tokens) || *skip_space(s) != '\0')
        return bad_line(
            r, e,
            "GeneratedTokens must be a whole number from 0 to 1000000000, and "
            "the last field");
    return 0;
}

/* ---- Mooncake ---- */

/* Moves behind a JSON string that starts at *s; its text is [begin, end), as written. */
static bool scan_string(const char **s, const char **begin, const char **end)
{
    const char *c = *s;

    if (*c++ != '"')
        return false;
    *begin = c;
    for (; *c != '"'; c++) {
        if (*c == '\\')
            c++;
        if (*c == '\0')
            return false;
    }
    *end = c;
    *s = c + 1;
    return true;
}

/* A JSON number: sign, digits, decimals, exponent. strtod() alone would also take "nan"
 * and hexadecimal. */
static bool scan_number(const char **s, double *value)
{
    const char *c = *s;
    char *end;

    if (*c == '-')
        c++;
    if (!is_digit(*c))
        return false;
    while (is_digit(*c))
        c++;
    if (*c == '.' || *c == 'e' || *c == 'E')
        c++;
    if (*c == 'x' || *c == 'X')
        return false;
    *value = strtod(*s, &end);
    *s = end;
    return end >= c;
}

/* Moves behind any JSON value: brackets must match up to MAX_DEPTH deep; what is between
 * them is not looked at more closely than strings ask for. */
static bool skip_value(const char **s)
{
    char closing[MAX_DEPTH];
    int depth = 0;
    const char *c = *s;
    const char *begin;
    const char *end;

    for (; *c != '\0'; c++) {
        if (depth == 0 && (*c == ',' || *c == '}' || *c == ']'))
            break;
        if (*c == '"') {
            if (!scan_string(&c, &begin, &end))
                return false;
            c--;
        } else if (*c == '[' || *c == '{') {
            if (depth == MAX_DEPTH)
                return false;
            closing[depth++] = *c == '[' ? ']' : '}';
        } else if (*c == ']' || *c == '}') {
            if (closing[--depth] != *c)
                return false;
        }
    }
    if (depth != 0 || c == *s)
        return false;
    *s = c;
    return true;
}

enum { KEY_TIMESTAMP, KEY_INPUT, KEY_OUTPUT, KEYS };
static const char *const key_names[KEYS] = {"timestamp", "input_length", "output_length"};

static int parse_value(const struct reader *r, int key, const char **s, int64_t *ns,
                       struct arrivals_request *q, struct err *e)
{
    double ms;

    switch (key) {
    case KEY_TIMESTAMP:
        if (!scan_number(s, &ms) || !(ms >= 0.0 && ms < MAX_SECONDS * 1e3))
            return bad_line(r, e, "timestamp must be milliseconds from 0 to 9e9");
        *ns = (int64_t)(ms * 1e6 + 0.5);
        return 0;
    case KEY_INPUT:
        if (!scan_tokens(s, &q->prompt_tokens))
            return bad_line(r, e,
                            "input_length must be a whole number from 0 to 1000000000");
        return 0;
    case KEY_OUTPUT:
        if (!scan_tokens(s, &q->output_tokens))
            return bad_line(r, e,
                            "output_length must be a whole number from 0 to 1000000000");
        return 0;
    default:
        if (!skip_value(s))
            return bad_line(r, e, "not a JSON object (a value is not complete)");
        return 0;
    }
}

static int find_key(const char *begin, const char *end)
{
    for (int k = 0; k < KEYS; k++)
        if (strlen(key_names[k]) == (size_t)(end - begin) &&
            strncmp(key_names[k], begin, (size_t)(end - begin)) == 0)
            return k;
    return KEYS;
}

static int parse_mooncake(const struct reader *r, int64_t *ns, struct arrivals_request *q,
                          struct err *e)
{
    bool found[KEYS + 1] = {false};
    const char *s = skip_space(r->text);
    const char *begin;
    const char *end;

    if (*s != '{')
        return bad_line(r, e, "not a JSON object");
    do {
        int key;

        s = skip_space(s + 1);
        if (!scan_string(&s, &begin, &end) || *(s = skip_space(s)) != ':')
            return bad_line(r, e, "not a JSON object (a key and a colon are expected)");
        key = find_key(begin, end);
        if (key < KEYS && found[key])
            return err_set(e, "%s:%llu: %s is given twice", r->path,
                           (unsigned long long)r->line, key_names[key]);
        found[key] = true;
        s = skip_space(s + 1);
        if (parse_value(r, key, &s, ns, q, e) != 0)
            return -1;
        s = skip_space(s);
    } while (*s == ',');
    if (*s != '}' || *skip_space(s + 1) != '\0')
        return bad_line(r, e, "not a JSON object (it does not end with a brace)");
    for (int k = 0; k < KEYS; k++)
        if (!found[k])
            return err_set(e, "%s:%llu: has no %s", r->path, (unsigned long long)r->line,
                           key_names[k]);
    return 0;
}

/* ---- files ---- */

struct growing {
    struct arrivals_request *request;
    uint64_t count, capacity;
};

static struct arrivals_request *add_request(struct growing *g)
{
    if (g->count == g->capacity) {
        g->capacity = g->capacity == 0 ? 1024 : g->capacity * 2;
        g->request = mem_resize(g->request, g->capacity, sizeof *g->request);
    }
    g->request[g->count] = (struct arrivals_request){0};
    return &g->request[g->count++];
}

/* Reads lines into `g`, arrivals in nanoseconds as the file has them. */
static int read_lines(struct reader *r, struct growing *g, uint64_t limit, struct err *e)
{
    bool json = false;
    bool begun = false;
    int status = 0;

    while ((limit == 0 || g->count < limit) && (status = next_line(r, e)) == 1) {
        const char *s = skip_space(r->text);
        struct arrivals_request *q;
        int64_t ns = 0;

        if (*s == '\0')
            continue;
        if (!begun) {
            begun = true;
            json = *s == '{';
            if (!json && strcmp(s, "TIMESTAMP,ContextTokens,GeneratedTokens") != 0)
                return bad_line(r, e,
                                "neither Mooncake JSON lines nor an Azure head line "
                                "(TIMESTAMP,ContextTokens,GeneratedTokens)");
            if (!json)
                continue;
        }
        q = add_request(g);
        if ((json ? parse_mooncake : parse_azure)(r, &ns, q, e) != 0)
            return -1;
        if (q->prompt_tokens == 0 && q->output_tokens == 0)
            return bad_line(r, e, "a request with neither prompt nor output tokens");
        q->arrival = ns;
    }
    return status < 0 ? -1 : 0;
}

/* Nanoseconds as in the file become time since the earliest. */
static int shift_arrivals(struct growing *g, const char *path, struct err *e)
{
    int64_t earliest = INT64_MAX;

    for (uint64_t i = 0; i < g->count; i++)
        if (g->request[i].arrival < earliest)
            earliest = g->request[i].arrival;
    for (uint64_t i = 0; i < g->count; i++) {
        int64_t ns = g->request[i].arrival - earliest;

        if (ns > (int64_t)(MAX_SECONDS * 1e9))
            return err_set(e,
                           "%s: request %llu comes %.3g s after the earliest; at most "
                           "%g s can be simulated",
                           path, (unsigned long long)i, (double)ns * 1e-9, MAX_SECONDS);
        g->request[i].arrival = ns * SIM_TIME_PER_NS;
    }
    return 0;
}

int arrivals_read(struct arrivals *a, const char *path, uint64_t limit, struct err *e)
{
    struct reader r = {.path = path};
    struct growing g = {0};
    int status;

    if (file_kind_check(path, FILE_TEXT, e) != 0)
        return -1;
    r.stream = fopen(path, "rb");
    if (r.stream == NULL)
        return err_set(e, "%s: cannot be opened: %s", path, strerror(errno));
    r.text = mem_alloc(LINE_BYTES, 1);
    status = read_lines(&r, &g, limit, e);
    if (status == 0 && g.count == 0)
        status = err_set(e, "%s: has no requests", path);
    if (status == 0)
        status = shift_arrivals(&g, path, e);
    free(r.text);
    (void)fclose(r.stream);
    if (status != 0) {
        free(g.request);
        return -1;
    }
    *a = (struct arrivals){.count = g.count, .request = g.request};
    return 0;
}

void arrivals_release(struct arrivals *a)
{
    free(a->request);
    *a = (struct arrivals){0};
}
