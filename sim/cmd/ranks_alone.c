#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include "ranks.h"

#include <stdlib.h>
#include <sys/mman.h>

static uint64_t taken, done;

int ranks_begin(int *argc, char ***argv, struct err *e)
{
    static const char *const launched[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};

    (void)argc;
    (void)argv;
    for (const char *const *name = launched; *name != NULL; name++) {
        if (getenv(*name) != NULL)
            return err_set(e,
                           "this program was built without MPI, so that under mpirun "
                           "every rank would do all of the work (%s is set); start "
                           "moesim-mpi (make ranks) instead",
                           *name);
    }
    return 0;
}

int ranks_end(int status)
{
    return status;
}

bool ranks_speaks(bool has)
{
    return has;
}

unsigned ranks_number(void)
{
    return 0;
}

unsigned ranks_count(void)
{
    return 1;
}

uint64_t ranks_take(void)
{
    return taken == UINT64_MAX ? taken : taken++;
}

void ranks_stop(void)
{
    taken = UINT64_MAX;
}

uint64_t ranks_done(uint64_t more)
{
    done += more;
    return done;
}

void ranks_meet(void)
{
}

void *ranks_memory(size_t bytes)
{
    void *block =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return block == MAP_FAILED ? NULL : block;
}

bool ranks_fills(void)
{
    return true;
}

int ranks_agree(int status)
{
    return status;
}
