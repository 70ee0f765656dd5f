#include "ranks.h"

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* Two counters in the first rank's memory, which all add to: numbers taken, points done.
 */
enum { TAKEN, DONE, COUNTERS };
#define BEYOND (UINT64_C(1) << 62)

static MPI_Win counters = MPI_WIN_NULL;
static MPI_Comm machine = MPI_COMM_NULL; /* the ranks of this machine */
static int number, count, number_here;
static pthread_t helper;
static bool helped;
static atomic_bool ended;

/* Where the network does not reach into a busy rank's memory by itself, MPI does it in
 * any call: the first rank makes one now and then. */
static void *help(void *context)
{
    (void)context;
    while (!atomic_load(&ended)) {
        int any;

        (void)MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &any,
                         MPI_STATUS_IGNORE);
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return NULL;
}

int ranks_begin(int *argc, char ***argv, struct err *e)
{
    uint64_t *memory;
    int provided;
    MPI_Aint bytes;

    if (MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS)
        return err_set(e,
                       "MPI cannot be started; see what it says above, or run the plain "
                       "moesim with --shard");
    if (provided < MPI_THREAD_SERIALIZED)
        return err_set(e, "this MPI cannot be called from threads; choose one that can "
                          "(MPI_THREAD_SERIALIZED)");
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &number);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &count);
    (void)MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, number, MPI_INFO_NULL,
                              &machine);
    (void)MPI_Comm_rank(machine, &number_here);
    bytes = number == 0 ? COUNTERS * (MPI_Aint)sizeof *memory : 0;
    (void)MPI_Win_allocate(bytes, sizeof *memory, MPI_INFO_NULL, MPI_COMM_WORLD, &memory,
                           &counters);
    if (number == 0)
        memset(memory, 0, (size_t)bytes);
    (void)MPI_Barrier(MPI_COMM_WORLD);
    (void)MPI_Win_lock_all(0, counters);
    helped = provided == MPI_THREAD_MULTIPLE && number == 0 && count > 1 &&
             pthread_create(&helper, NULL, help, NULL) == 0;
    return 0;
}

/* Whether this is the first rank of those for which something holds. */
static bool is_first(bool holds)
{
    int mine = holds ? number : count, first;

    (void)MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return first == number;
}

bool ranks_speaks(bool has)
{
    return is_first(has);
}

int ranks_end(int status)
{
    bool says = is_first(status != 0);

    atomic_store(&ended, true);
    if (helped)
        (void)pthread_join(helper, NULL);
    (void)MPI_Win_unlock_all(counters);
    (void)MPI_Win_free(&counters);
    (void)MPI_Comm_free(&machine);
    (void)MPI_Finalize();
    return says ? status : 0;
}

unsigned ranks_number(void)
{
    return (unsigned)number;
}

unsigned ranks_count(void)
{
    return (unsigned)count;
}

/* Adds to a counter; what it was before. */
static uint64_t add(int counter, uint64_t more)
{
    uint64_t before;

    (void)MPI_Fetch_and_op(&more, &before, MPI_UINT64_T, 0, counter, MPI_SUM, counters);
    (void)MPI_Win_flush(0, counters);
    return before;
}

uint64_t ranks_take(void)
{
    return add(TAKEN, 1);
}

void ranks_stop(void)
{
    (void)add(TAKEN, BEYOND);
}

uint64_t ranks_done(uint64_t more)
{
    return add(DONE, more) + more;
}

void ranks_meet(void)
{
    (void)MPI_Barrier(MPI_COMM_WORLD);
}

/* The windows live as long as the program: MPI_Finalize() ends them. */
void *ranks_memory(size_t bytes)
{
    MPI_Win window;
    MPI_Aint size = number_here == 0 ? (MPI_Aint)bytes : 0;
    void *memory = NULL;
    int unit, status;

    (void)MPI_Comm_set_errhandler(machine, MPI_ERRORS_RETURN);
    status = MPI_Win_allocate_shared(size, 1, MPI_INFO_NULL, machine, &memory, &window);
    if (status == MPI_SUCCESS)
        status = MPI_Win_shared_query(window, 0, &size, &unit, &memory);
    return status == MPI_SUCCESS ? memory : NULL;
}

bool ranks_fills(void)
{
    return number_here == 0;
}

int ranks_agree(int status)
{
    int worst;

    (void)MPI_Allreduce(&status, &worst, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return worst;
}
