/* What policies are made of, in columns: for each slot its plug-in's name, "cache.name",
 * and every option that any of its plug-ins has, "cache.slots". They follow from the
 * registry alone, so that all tables have the same ones, and their values from a result's
 * description of its policies. */
#ifndef MOESIM_REPORT_PRINT_OPTIONS_H
#define MOESIM_REPORT_PRINT_OPTIONS_H

#include "sim/result/result.h"

#include <stdio.h>

/* The heads, with a comma before each; returns how many there are. */
size_t print_option_heads(FILE *out);
/* A policy's values in CSV, with a comma before each: sizes in bytes, truth as true or
 * false; nothing where the policy's plug-in has no such option. */
void print_option_values(const struct result_policy *p, FILE *out);

#endif
