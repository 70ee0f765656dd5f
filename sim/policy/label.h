/* What policies are called side by side: those of one name by what they differ in. */
#ifndef MOESIM_POLICY_LABEL_H
#define MOESIM_POLICY_LABEL_H

#include "policy.h"

/* Appends to the labels that several of the `count` policies share the plug-ins and
 * options in which those differ: "lru" and "lru" become "lru slots=4" and "lru slots=8".
 * An option stands by its name alone where only one slot's differs under that name, else
 * as "cache.keep=yes". Policies that differ in nothing keep one label. */
void policy_tell_apart(struct policy *const *p, uint32_t count);

#endif
