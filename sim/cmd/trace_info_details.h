/* What traces/details.h measured, for people and as JSON. */
#ifndef MOESIM_CMD_TRACE_INFO_DETAILS_H
#define MOESIM_CMD_TRACE_INFO_DETAILS_H

#include "traces/details.h"

/* Lines behind those of the statistics. */
void trace_info_details(const struct trace *t, const struct trace_details *d);
/* The last members of an object; the first one has no comma in front. */
void trace_info_details_json(const struct trace *t, const struct trace_details *d);

#endif
