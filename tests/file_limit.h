/* Files that may not grow: writing beyond a limit fails as on a full disk, though with
 * "File too large". After cmocka.h. */
#ifndef MOESIM_TESTS_FILE_LIMIT_H
#define MOESIM_TESTS_FILE_LIMIT_H

#include <signal.h>
#include <sys/resource.h>

/* From now on no file of this process grows beyond `bytes`; what was allowed before. */
static inline rlim_t file_limit(rlim_t bytes)
{
    struct rlimit limit;
    rlim_t was;

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    was = limit.rlim_cur;
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return was;
}

#endif
