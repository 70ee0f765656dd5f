#include "cmd.h"
#include "sim/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A folder is moesim's home if it holds models/arch. */
static bool is_home(const char *folder)
{
    char *models = mem_format("%s/models/arch", folder);
    bool is = access(models, R_OK) == 0;

    free(models);
    return is;
}

static char *find_home(void)
{
    enum { LIMIT = 4096 };
    const char *named = getenv("MOESIM_HOME");
    char program[LIMIT];
    ssize_t length;
    char *slash;

    if (named != NULL)
        return is_home(named) ? mem_strdup(named) : NULL;
    length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return NULL;
    program[length] = '\0';
    while ((slash = strrchr(program, '/')) != NULL) {
        char *shared;

        *slash = '\0';
        if (is_home(program))
            return mem_strdup(program);
        shared = mem_format("%s/share/moesim", program);
        if (is_home(shared))
            return shared;
        free(shared);
    }
    return NULL;
}

int folders_find(struct folders *f, struct err *e)
{
    char *home = find_home();

    *f = (struct folders){.models = NULL};
    if (home == NULL)
        return err_set(e, "moesim's own files (models/, sim/policy/presets/) are not "
                          "beside the program; set MOESIM_HOME to the folder that holds "
                          "models/arch");
    f->models = mem_format("%s/models/arch", home);
    f->machines = mem_format("%s/models/machine", home);
    f->presets = mem_format("%s/sim/policy/presets", home);
    f->plots = mem_format("%s/plots", home);
    f->importers = mem_format("%s/traces/importers", home);
    f->samples = mem_format("%s/traces/samples", home);
    f->papers = mem_format("%s/validate/papers", home);
    free(home);
    return 0;
}

void folders_release(struct folders *f)
{
    free(f->models);
    free(f->machines);
    free(f->presets);
    free(f->plots);
    free(f->importers);
    free(f->samples);
    free(f->papers);
}
