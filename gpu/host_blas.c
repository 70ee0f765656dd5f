/* OpenBLAS is loaded when a device is opened, with its symbols kept to itself. Linking it
 * would cost every start of the program 3 to 4 ms and a thread per processor; and
 * libgslcblas, which GSL brings along, defines the same names, so that the order of
 * libraries would decide whose GEMM is called here and whose dot product GSL fits with.
 */
#include "host.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static const char library_name[] = "libopenblas.so.0";

/* ISO C has no conversion from an object pointer to a function pointer; POSIX says that
 * the representation is the same. */
static int find(struct host_blas *b, const char *name, void *function, struct err *e)
{
    void *symbol = dlsym(b->library, name);

    if (symbol == NULL)
        return err_set(e, "host: %s lacks %s; install libopenblas0-pthread", library_name,
                       name);
    memcpy(function, &symbol, sizeof symbol);
    return 0;
}

/* The flavour without threads keeps a buffer that callers share unlocked: of products of
 * four threads at once, some in a hundred come out wrong. */
int host_blas_check(const char *config, struct err *e)
{
    if (strstr(config, "SINGLE_THREADED") == NULL)
        return 0;
    return err_set(e,
                   "host: %s is a flavour (%s) that streams cannot share; install "
                   "libopenblas0-pthread",
                   library_name, config);
}

int host_blas_open(struct host_blas *b, struct err *e)
{
    /* It is to start no threads of its own, now or later. */
    (void)setenv("OPENBLAS_NUM_THREADS", "1", 0);
    b->library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (b->library == NULL)
        return err_set(e,
                       "host: its GEMMs need %s, which cannot be loaded; install "
                       "libopenblas0-pthread",
                       library_name);
    if (find(b, "cblas_sgemm", &b->gemm, e) != 0 ||
        find(b, "cblas_sgemv", &b->gemv, e) != 0 ||
        find(b, "openblas_set_num_threads", &b->set_threads, e) != 0 ||
        find(b, "openblas_get_config", &b->config, e) != 0 ||
        host_blas_check(b->config(), e) != 0) {
        host_blas_close(b);
        return -1;
    }
    b->set_threads(1);
    return 0;
}

void host_blas_close(struct host_blas *b)
{
    (void)dlclose(b->library);
}
