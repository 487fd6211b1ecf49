// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that dies in one call: everything a stanza owns lives in its arena.  It has a
 * maximum, so that no input decides how much we use; out of memory of the machine aborts.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena;

/* max in bytes, over all allocations. */
struct arena *arena_new(size_t max);
void arena_free(struct arena **a);

/* Aligned for any object, not zeroed.  NULL once max would be passed. */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strndup(struct arena *a, const char *text, size_t len);
char *arena_strdup(struct arena *a, const char *text);
size_t arena_used(const struct arena *a);

#endif
