/* Folders of YAML files that are looked up by name: models/arch, models/machine. */
#ifndef MOESIM_MODELS_CATALOGUE_H
#define MOESIM_MODELS_CATALOGUE_H

#include "sim/base/config.h"
#include "sim/base/err.h"
#include "sim/base/file_kind.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether a file is meant, not a name of the catalogue: it has a slash or ends in
 * ".yaml".
 */
bool catalogue_is_path(const char *path_or_name);
/* Its path, or else FOLDER/NAME.yaml. Owned. */
char *catalogue_path(const char *path_or_name, const char *folder);

/* Loads the file of catalogue_path(). `kind` is what is wanted; a file of another kind is
 * refused, and a name that is not there gets a suggestion. Returns owned, or NULL. */
struct cfg *catalogue_load(enum file_kind kind, const char *path_or_name,
                           const char *folder, struct err *e);

/* A model or machine as a configuration gives it: a name or path, or the mapping
 * {name: NAME OR PATH, KEY: VALUE, ...} of one some of whose numbers are replaced, by
 * keys such as gpu.hbm_bandwidth, nested as in its file. `otherwise` (NULL: none) is the
 * name where the mapping has none. `changed` (owned) lists the replaced keys, or is NULL.
 */
struct cfg *catalogue_load_changed(enum file_kind kind, const struct cfg_node *given,
                                   const char *otherwise, const char *folder,
                                   char **changed, struct err *e);

/* Names of the folder's files, sorted by byte, without ".yaml". Returns an owned array of
 * owned strings (catalogue_free), or NULL if the folder cannot be read. */
char **catalogue_names(const char *folder, size_t *count, struct err *e);
void catalogue_free(char **names, size_t count);

#endif
