/* In place of fit.c, where GSL may not be linked. */
#include "fit.h"

int fit_solve(const struct fit_problem *problem, struct fit_result *r, struct err *e)
{
    (void)problem, (void)r;
    return err_set(e,
                   "fitting takes GSL, which a program with CUDA may not link; run this "
                   "with moesim, the program without CUDA");
}
