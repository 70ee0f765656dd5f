#include "cmd.h"
#include "sim/base/child.h"
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
    const char *named = getenv("MOESIM_HOME");
    char *above, *slash, *found = NULL;

    if (named != NULL)
        return is_home(named) ? mem_strdup(named) : NULL;
    above = child_own_path();
    while (above != NULL && found == NULL && (slash = strrchr(above, '/')) != NULL) {
        *slash = '\0';
        found = is_home(above) ? mem_strdup(above) : mem_format("%s/share/moesim", above);
        if (!is_home(found)) {
            free(found);
            found = NULL;
        }
    }
    free(above);
    return found;
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
    f->python = mem_format("%s/traces/python", home);
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
    free(f->python);
    free(f->samples);
    free(f->papers);
}
