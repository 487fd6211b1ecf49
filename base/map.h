// SPDX-License-Identifier: Apache-2.0
/*
 * A hash table from byte strings to pointers, with a seed so that no sender chooses the
 * buckets.  Keys are copied; values are the caller's.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct map;

struct map *map_new(void);
void map_free(struct map **m); /* not the values */

void *map_get(const struct map *m, const void *key, size_t len);
/* Puts value (not NULL) and returns what was there, NULL when nothing was. */
void *map_put(struct map *m, const void *key, size_t len, void *value);
/* Takes the entry out and returns its value, NULL when there was none. */
void *map_take(struct map *m, const void *key, size_t len);
size_t map_count(const struct map *m);

/* Walks all entries in no order; *cursor starts at 0.  The entry just returned may be taken
 * out during the walk, nothing else may change.  False at the end. */
bool map_each(const struct map *m, size_t *cursor, const void **key_out, size_t *len_out,
              void **value_out);

#endif
