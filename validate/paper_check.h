/* A published table that was predicted, as rows of a check. */
#ifndef MOESIM_VALIDATE_PAPER_CHECK_H
#define MOESIM_VALIDATE_PAPER_CHECK_H

#include "check.h"
#include "paper.h"

/* Adds a case of all its rows, in groups "fit" and "held-out", and its facts: source,
 * notes, constants. */
struct check_case *paper_check(const struct paper *p, struct check *c);
/* Adds its rows in one group to a case. */
void paper_check_rows(const struct paper *p, const char *group, struct check_case *c);

/* As many digits as were published, and one more where it may differ; owned. Neither is
 * for a row without: published_text is "-" then. */
char *paper_predicted_text(const struct paper_row *row);
char *paper_published_text(const struct paper_row *row);
const char *paper_provenance_name(const struct paper_constant *k);

#endif
