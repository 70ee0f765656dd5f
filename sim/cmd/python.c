#include "cmd.h"
#include "sim/base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cmd_python(const char *command, const char *verb, int argc, char **argv)
{
    const char *named = getenv("PYTHON");
    struct folders folders;
    struct err e = {.text = ""};
    char **argument;
    char *python;

    if (folders_find(&folders, &e) != 0) {
        folders_release(&folders);
        return cmd_fail(&e);
    }
    python = mem_strdup(named != NULL ? named : "/usr/bin/python3");
    argument = mem_zalloc((size_t)argc + 5, sizeof *argument);
    argument[0] = python;
    argument[1] = folders.python;
    argument[2] = mem_strdup(command);
    argument[3] = mem_strdup(verb);
    for (int i = 1; i < argc; i++)
        argument[3 + i] = argv[i];
    (void)fflush(NULL);
    (void)execvp(python, argument);
    (void)err_set(&e,
                  "%s cannot be run: %s; moesim %s %s needs python3 with numpy and h5py "
                  "(PYTHON names another interpreter)",
                  python, strerror(errno), command, verb);
    (void)cmd_fail(&e);
    free(argument[2]);
    free(argument[3]);
    free(argument);
    free(python);
    folders_release(&folders);
    return EXIT_CANNOT;
}
