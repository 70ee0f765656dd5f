#include "cmd.h"

int cmd_tune_apart(int argc, char **argv)
{
    struct err e = {.text = ""};

    (void)argc, (void)argv;
    (void)err_set(&e,
                  "tune takes GSL, which a program with CUDA may not link; run it with "
                  "moesim, the program without CUDA");
    (void)cmd_fail(&e);
    return EXIT_CANNOT;
}
