/* moesim-ranks: the collectives that expert parallelism needs, checked and timed over the
 * ranks that mpirun started, one device each. A program of its own, so that moesim itself
 * needs no MPI. Rank 0 speaks for all; all leave together with the same status, or MPI
 * ends all where one rank fails alone. */
#include "communicator.h"
#include "communicator_mpi.h"
#include "device.h"
#include "rank_case.h"

#include "sim/base/config.h"
#include "sim/base/file.h"
#include "sim/base/mem.h"
#include "sim/base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <mpi.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_GOOD = 0, EXIT_BAD = 1, EXIT_MISUSE = 2, EXIT_CANNOT = 77 };

#define GUARD 16 /* words behind the result that must stay as they were */
#define POISON 0xa5
#define WARM_UP 5

struct flags {
    const char *device, *out;
    uint64_t min_bytes, max_bytes;
    int64_t samples, patience;
};

static const struct option flag_table[] = {
    {"--device", OPT_STRING, offsetof(struct flags, device), "host", 0, 0, NULL,
     "host, or cuda: each rank takes the GPU of its number on its node"},
    {"--out", OPT_STRING, offsetof(struct flags, out), "", 0, 0, NULL,
     "CSV of all samples (default: none, only the table is printed)"},
    {"--min-bytes", OPT_BYTES, offsetof(struct flags, min_bytes), "4KiB", 1024, 1 << 30,
     NULL, "smallest size; it doubles from there"},
    {"--max-bytes", OPT_BYTES, offsetof(struct flags, max_bytes), "64MiB", 1024, 1 << 30,
     NULL, "largest size"},
    {"--samples", OPT_INT, offsetof(struct flags, samples), "20", 20, 100000, NULL,
     "measurements of each collective at each size"},
    {"--patience", OPT_INT, offsetof(struct flags, patience), "120", 1, 86400, NULL,
     "seconds that one collective may take before the run is given up"},
    {.name = NULL},
};

struct table_row {
    const struct rank_case *c;
    size_t bytes;
    double *seconds; /* [samples], the maximum over ranks; rank 0 only */
};

struct run {
    struct flags flags;
    int rank, ranks, local_rank, local_ranks;
    const struct communicator_ops *ops;
    struct communicator *communicator;
    struct device *device;
    struct device_stream *stream;
    void *from, *to;               /* on the device */
    uint32_t *host_from, *host_to; /* what they were, or are */
    size_t *matrix;                /* (ranks, ranks) */
    struct table_row *rows;
    size_t row_count;
};

/* ---- ending together ---- */

static void say(const struct err *e)
{
    (void)fprintf(stderr, "moesim-ranks: %s\n", e->text);
}

/* This rank alone failed: the others wait in a collective, so MPI has to end them. */
static void end_all(const struct err *e)
{
    say(e);
    (void)MPI_Abort(MPI_COMM_WORLD, EXIT_BAD);
    exit(EXIT_BAD);
}

static void must(int code, const char *what)
{
    struct err e = {.text = ""};

    if (communicator_mpi_check(code, what, &e) != 0)
        end_all(&e);
}

/* The worst status of all ranks. The lowest rank that has it says why, before any ends;
 * no rank that then ends by itself minds mpirun's ending it. */
static int agree(const struct run *r, int status, const struct err *e)
{
    int mine[2] = {status, r->rank}, worst[2];

    must(MPI_Allreduce(mine, worst, 1, MPI_2INT, MPI_MAXLOC, MPI_COMM_WORLD),
         "MPI_Allreduce");
    if (worst[0] != EXIT_GOOD && worst[1] == r->rank)
        say(e);
    if (worst[0] != EXIT_GOOD) {
        (void)signal(SIGTERM, SIG_IGN);
        must(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
    }
    return worst[0];
}

/* Handlers, for ranks that sit in a collective whose partner is gone. They may only
 * write; nothing of the output exists yet at that time. */
static void write_text(const char *text)
{
    size_t length = strlen(text);

    while (length > 0) {
        ssize_t done = write(STDERR_FILENO, text, length);

        if (done <= 0)
            break;
        text += done;
        length -= (size_t)done;
    }
}

static void on_alarm(int number)
{
    (void)number;
    write_text("moesim-ranks: a collective took longer than --patience: another rank "
               "hangs or is gone; nothing was written\n");
    _exit(EXIT_BAD);
}

static void on_stop(int number)
{
    (void)number;
    write_text("moesim-ranks: stopped, by a signal or because another rank ended; "
               "nothing was written\n");
    _exit(EXIT_BAD);
}

static void on_stop_quietly(int number)
{
    (void)number;
    _exit(EXIT_BAD);
}

static void catch_signals(int rank)
{
    struct sigaction late = {.sa_handler = on_alarm};
    struct sigaction stop = {.sa_handler = rank == 0 ? on_stop : on_stop_quietly};

    (void)sigemptyset(&late.sa_mask);
    (void)sigemptyset(&stop.sa_mask);
    (void)sigaction(SIGALRM, &late, NULL);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
}

/* The lowest rank that waits speaks first, and its end ends the others. */
static void watch(const struct run *r)
{
    (void)alarm((unsigned)r->flags.patience + (unsigned)r->rank);
}

/* ---- the command line ---- */

static void help(void)
{
    (void)printf("usage: mpirun -n RANKS moesim-ranks [flags]\n\n"
                 "Checks and times the collectives of expert parallelism between ranks, "
                 "one process and\none device each. Exit status: 0 success, 1 a wrong "
                 "result or a failure, 2 misuse, 77 cannot\nrun here.\n\n");
    cfg_help(flag_table, 2, stdout);
    (void)printf("\ncollectives:\n");
    for (size_t i = 0; i < rank_case_count; i++)
        (void)printf("  %-15s %s\n", rank_cases[i].name, rank_cases[i].help);
    (void)printf("\nexample: mpirun -n 2 build/moesim-ranks --device host "
                 "--out collectives.csv\n");
}

static const struct option *find_flag(const char *argument, const char **value)
{
    size_t length = strcspn(argument, "=");

    *value = argument[length] == '=' ? argument + length + 1 : NULL;
    for (const struct option *o = flag_table; o->name != NULL; o++) {
        if (strlen(o->name) == length && strncmp(o->name, argument, length) == 0)
            return o;
    }
    return NULL;
}

static int parse(int argc, char **argv, struct flags *flags, struct err *e)
{
    if (cfg_bind(NULL, flag_table, flags, e) != 0)
        return -1;
    for (int i = 1; i < argc; i++) {
        const char *value;
        const struct option *o = find_flag(argv[i], &value);

        if (o == NULL)
            return err_set(e, "there is no flag '%s'; try --help", argv[i]);
        if (value == NULL && ++i == argc)
            return err_set(e, "%s needs a value; try --help", o->name);
        if (cfg_parse_value(value != NULL ? value : argv[i], o, flags, e) != 0)
            return -1;
    }
    if (flags->max_bytes < flags->min_bytes)
        return err_set(e, "--max-bytes is below --min-bytes; give a larger one");
    return 0;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

/* ---- opening ---- */

static const struct communicator_ops *const built_in[] = {
    &communicator_mpi,
#ifdef MOESIM_CUDA
    &communicator_nccl,
#endif
};

/* Exit status. */
static int choose(struct run *r, struct err *e)
{
    const char *device = r->flags.device;
    const struct device_ops *ops = NULL;
    uint32_t devices;

    for (size_t i = 0; i < sizeof built_in / sizeof *built_in; i++) {
        if (strcmp(built_in[i]->device, device) == 0)
            r->ops = built_in[i];
    }
    for (size_t i = 0; i < device_count; i++) {
        if (strcmp(device_all[i]->name, device) == 0)
            ops = device_all[i];
    }
    if (r->ops == NULL || ops == NULL) {
        if (strcmp(device, "cuda") != 0) {
            (void)err_set(e,
                          "there is no device '%s'; use host, or cuda, of which each "
                          "rank takes one",
                          device);
            return EXIT_MISUSE;
        }
        (void)err_set(e, "this program was built without CUDA; use the "
                         "moesim-ranks-cuda that make gpu builds");
        return EXIT_CANNOT;
    }
    devices = ops->count(e);
    if (devices == 0)
        return EXIT_CANNOT;
    if (strcmp(device, "host") != 0 && devices < (uint32_t)r->local_ranks) {
        (void)err_set(e,
                      "%d ranks on this node but %" PRIu32 " %s device%s: each rank "
                      "needs one of its own; start fewer ranks",
                      r->local_ranks, devices, device, devices == 1 ? "" : "s");
        return EXIT_CANNOT;
    }
    return EXIT_GOOD;
}

/* All memory that the largest case needs; exit status. */
static int get_memory(struct run *r, struct err *e)
{
    const struct device_ops *ops = r->device->ops;
    size_t from = 0, to = 0, ranks = (size_t)r->ranks;
    void *host_from, *host_to;

    for (size_t i = 0; i < rank_case_count; i++) {
        struct rank_shape s =
            rank_shape_of(&rank_cases[i], (uint32_t)r->ranks, (uint32_t)r->rank,
                          (size_t)r->flags.max_bytes);

        if (rank_shape_from_words(&s) > from)
            from = rank_shape_from_words(&s);
        if (rank_shape_to_words(&s) > to)
            to = rank_shape_to_words(&s);
    }
    from = (from + 1) * sizeof(uint32_t);
    to = (to + GUARD) * sizeof(uint32_t);
    r->matrix = mem_zalloc(ranks * ranks, sizeof *r->matrix);
    r->stream = ops->stream_new(r->device, 0, e);
    if (r->stream == NULL ||
        ops->mem_alloc(r->device, DEVICE_MEMORY_LOCAL, from, &r->from, e) != 0 ||
        ops->mem_alloc(r->device, DEVICE_MEMORY_LOCAL, to, &r->to, e) != 0 ||
        ops->mem_alloc(r->device, DEVICE_MEMORY_PAGEABLE, from, &host_from, e) != 0 ||
        ops->mem_alloc(r->device, DEVICE_MEMORY_PAGEABLE, to, &host_to, e) != 0)
        return EXIT_BAD;
    r->host_from = host_from;
    r->host_to = host_to;
    return EXIT_GOOD;
}

/* Finds out early that the output has no place; leaves nothing. */
static int probe_out(const struct run *r, struct err *e)
{
    struct file_out *f;

    if (r->rank != 0 || r->flags.out[0] == '\0')
        return EXIT_GOOD;
    f = file_out_new(r->flags.out, e);
    file_out_abandon(f);
    return f == NULL ? EXIT_BAD : EXIT_GOOD;
}

/* Exit status, agreed on at each step: what follows needs all ranks. */
static int open_all(struct run *r, struct err *e)
{
    char *name = NULL;
    bool missing = false;
    int status = agree(r, choose(r, e), e);

    if (status == EXIT_GOOD)
        status = agree(r, probe_out(r, e), e);
    if (status == EXIT_GOOD) {
        /* All ranks of a node share its one host. */
        name = strcmp(r->flags.device, "host") == 0
                   ? mem_strdup("host")
                   : mem_format("%s:%d", r->flags.device, r->local_rank);
        if (device_open(name, &r->device, &missing, e) != 0)
            status = missing ? EXIT_CANNOT : EXIT_BAD;
        else
            status = get_memory(r, e);
        free(name);
        status = agree(r, status, e);
    }
    if (status == EXIT_GOOD) {
        watch(r);
        r->communicator = r->ops->open((uint32_t)r->local_rank, e);
        status = agree(r, r->communicator == NULL ? EXIT_BAD : EXIT_GOOD, e);
    }
    return status;
}

static void close_all(struct run *r)
{
    if (r->ops != NULL)
        r->ops->close(r->communicator);
    device_close(r->device); /* with its memory and streams */
    for (size_t i = 0; i < r->row_count; i++)
        free(r->rows[i].seconds);
    free(r->rows);
    free(r->matrix);
}

/* ---- checking and timing ---- */

static int finish_copies(struct run *r, struct err *e)
{
    return r->device->ops->stream_finish(r->device, r->stream, e);
}

/* One collective between all ranks, from a barrier on. */
static int run_once(struct run *r, const struct rank_shape *s, double *seconds,
                    struct err *e)
{
    watch(r);
    if (r->ops->barrier(r->communicator, e) != 0)
        return -1;
    if (rank_shape_run(s, r->ops, r->communicator, r->matrix, r->to, r->from, e) != 0)
        return -1;
    return r->ops->finish(r->communicator, seconds, e);
}

/* Runs it once on known data; everything that arrives is compared, and what lies behind
 * it must not have been written to. */
static int check(struct run *r, const struct rank_shape *s, struct err *e)
{
    const struct device_ops *ops = r->device->ops;
    size_t from = rank_shape_from_words(s), to = rank_shape_to_words(s), wrong;
    const unsigned char *guard = (const unsigned char *)(r->host_to + to);
    uint32_t expected = 0;
    double seconds;

    watch(r);
    rank_shape_fill(s, r->host_from);
    if (from > 0)
        ops->copy(r->device, r->stream, r->from, r->host_from, from * sizeof(uint32_t));
    ops->fill(r->device, r->stream, r->to, POISON, (to + GUARD) * sizeof(uint32_t));
    if (finish_copies(r, e) != 0 || run_once(r, s, &seconds, e) != 0)
        return -1;
    ops->copy(r->device, r->stream, r->host_to, r->to, (to + GUARD) * sizeof(uint32_t));
    if (finish_copies(r, e) != 0)
        return -1;
    watch(r);
    wrong = rank_shape_wrong(s, r->host_to, &expected);
    if (wrong != to)
        return err_set(e,
                       "%s of %zu bytes: word %zu on rank %d is %08" PRIx32
                       " and should be %08" PRIx32 "; do not trust this %s",
                       s->c->name, rank_shape_bytes(s), wrong, r->rank, r->host_to[wrong],
                       expected, r->ops->name);
    for (size_t i = 0; i < GUARD * sizeof(uint32_t); i++) {
        if (guard[i] != POISON)
            return err_set(e,
                           "%s of %zu bytes: rank %d got more than its %zu bytes; do not "
                           "trust this %s",
                           s->c->name, rank_shape_bytes(s), r->rank,
                           to * sizeof(uint32_t), r->ops->name);
    }
    return 0;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_row(const struct run *r, const struct table_row *row)
{
    size_t samples = (size_t)r->flags.samples;
    double *sorted = mem_alloc(samples, sizeof *sorted), median, speed;

    memcpy(sorted, row->seconds, samples * sizeof *sorted);
    qsort(sorted, samples, sizeof *sorted, compare_doubles);
    median = (sorted[(samples - 1) / 2] + sorted[samples / 2]) / 2;
    speed = (double)row->bytes / median * 1e-9;
    (void)printf("%-15s %10zu %11.1f %11.1f %11.1f %9.3f %9.3f\n", row->c->name,
                 row->bytes, median * 1e6, sorted[0] * 1e6, sorted[samples - 1] * 1e6,
                 speed, speed * row->c->bus((uint32_t)r->ranks));
    (void)fflush(stdout);
    free(sorted);
}

static int measure(struct run *r, const struct rank_shape *s, struct err *e)
{
    size_t samples = (size_t)r->flags.samples;
    double *mine = mem_zalloc(samples, sizeof *mine);
    double *most = mem_zalloc(samples, sizeof *most);
    int status = 0;

    for (size_t i = 0; status == 0 && i < WARM_UP; i++)
        status = run_once(r, s, &mine[0], e);
    for (size_t i = 0; status == 0 && i < samples; i++)
        status = run_once(r, s, &mine[i], e);
    watch(r);
    if (status == 0)
        status = communicator_mpi_check(
            MPI_Reduce(mine, most, (int)samples, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD),
            "MPI_Reduce", e);
    free(mine);
    if (status != 0 || r->rank != 0) {
        free(most);
        return status;
    }
    r->rows = mem_resize(r->rows, r->row_count + 1, sizeof *r->rows);
    r->rows[r->row_count] = (struct table_row){s->c, rank_shape_bytes(s), most};
    print_row(r, &r->rows[r->row_count++]);
    return 0;
}

static int measure_all(struct run *r, struct err *e)
{
    for (size_t i = 0; i < rank_case_count; i++) {
        for (uint64_t bytes = r->flags.min_bytes; bytes <= r->flags.max_bytes;
             bytes *= 2) {
            struct rank_shape s = rank_shape_of(&rank_cases[i], (uint32_t)r->ranks,
                                                (uint32_t)r->rank, (size_t)bytes);

            if (s.unit == 0) /* more ranks than words */
                continue;
            rank_shape_matrix(&s, r->matrix);
            if (check(r, &s, e) != 0 || measure(r, &s, e) != 0)
                return -1;
        }
    }
    return 0;
}

/* ---- what is said ---- */

/* Lines that begin with `mark`: where the numbers come from. */
static void print_head(const struct run *r, const char *mark, FILE *out)
{
    struct device_info info;
    char library[256], date[32];
    time_t now = time(NULL);
    struct tm utc;

    r->device->ops->info(r->device, &info);
    r->ops->describe(library, sizeof library);
    if (gmtime_r(&now, &utc) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        date[0] = '\0';
    (void)fprintf(
        out,
        "%smoesim-ranks " MOESIM_VERSION ", %s\n"
        "%sdevice: %s, %s%s%s\n"
        "%slibrary: %s; %d ranks, %d on the first node\n"
        "%sseconds: from the start of the collective (after a barrier) to its end, "
        "its launch\n%s  included, the longest of the ranks; %d runs before the first "
        "sample, results checked\n",
        mark, date, mark, info.name, info.driver, info.clocks[0] != '\0' ? ", " : "",
        info.clocks, mark, library, r->ranks, r->local_ranks, mark, mark, WARM_UP);
    for (size_t i = 0; i < rank_case_count; i++)
        (void)fprintf(out, "%s%s: %s; bus bandwidth = bytes / seconds x %s\n", mark,
                      rank_cases[i].name, rank_cases[i].help, rank_cases[i].bus_formula);
}

static int write_csv(const struct run *r, struct err *e)
{
    struct file_out *f = file_out_new(r->flags.out, e);
    FILE *out;

    if (f == NULL)
        return -1;
    out = file_out_stream(f);
    print_head(r, "# ", out);
    (void)fprintf(out, "collective,ranks,bytes,sample,seconds\n");
    for (size_t i = 0; i < r->row_count; i++) {
        const struct table_row *row = &r->rows[i];

        for (int64_t n = 0; n < r->flags.samples; n++)
            (void)fprintf(out, "%s,%d,%zu,%" PRId64 ",%.9g\n", row->c->name, r->ranks,
                          row->bytes, n, row->seconds[n]);
    }
    return file_out_commit(f, e);
}

static int work(struct run *r, struct err *e)
{
    int status;

    if (r->rank == 0) {
        print_head(r, "", stdout);
        (void)printf("\n%-15s %10s %11s %11s %11s %9s %9s\n", "collective", "bytes",
                     "median us", "min us", "max us", "alg GB/s", "bus GB/s");
        (void)fflush(stdout);
    }
    if (measure_all(r, e) != 0)
        end_all(e);
    /* All samples are there: what ends another rank from now on cannot spoil them. */
    (void)alarm(0);
    file_catch_signals();
    status = r->rank == 0 && r->flags.out[0] != '\0' && write_csv(r, e) != 0 ? EXIT_BAD
                                                                             : EXIT_GOOD;
    if (r->rank == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        (void)err_set(e, "standard output cannot be written");
        status = EXIT_BAD;
    }
    return agree(r, status, e);
}

/* Everything between MPI's begin and end; exit status. */
static int with_mpi(int argc, char **argv)
{
    struct run r = {.local_rank = 0};
    struct err e = {.text = ""};
    MPI_Comm node;
    int status;

    must(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
         "MPI_Comm_set_errhandler");
    must(MPI_Comm_rank(MPI_COMM_WORLD, &r.rank), "MPI_Comm_rank");
    must(MPI_Comm_size(MPI_COMM_WORLD, &r.ranks), "MPI_Comm_size");
    if (wants_help(argc, argv)) {
        if (r.rank == 0)
            help();
        return EXIT_GOOD;
    }
    status =
        agree(&r, parse(argc, argv, &r.flags, &e) == 0 ? EXIT_GOOD : EXIT_MISUSE, &e);
    if (status != EXIT_GOOD)
        return status;
    if (r.ranks < 2) {
        (void)err_set(&e, "a collective needs at least two ranks; start them with "
                          "mpirun -n 2 moesim-ranks");
        say(&e);
        return EXIT_CANNOT;
    }
    must(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                             &node),
         "MPI_Comm_split_type");
    must(MPI_Comm_rank(node, &r.local_rank), "MPI_Comm_rank");
    must(MPI_Comm_size(node, &r.local_ranks), "MPI_Comm_size");
    must(MPI_Comm_free(&node), "MPI_Comm_free");
    catch_signals(r.rank);
    status = open_all(&r, &e);
    if (status == EXIT_GOOD)
        status = work(&r, &e);
    close_all(&r);
    return status;
}

int main(int argc, char **argv)
{
    int status, threads;

    /* The host device has threads of its own, which know nothing of MPI. */
    if (MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &threads) != MPI_SUCCESS) {
        (void)fprintf(stderr, "moesim-ranks: MPI cannot start here\n");
        return EXIT_CANNOT;
    }
    status = with_mpi(argc, argv);
    (void)MPI_Finalize();
    return status;
}
