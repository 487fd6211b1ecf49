// SPDX-License-Identifier: Apache-2.0
/*
 * A YAML file as a flat list of scalars with dotted names: "push.apps[0].apns.topic" has path
 * "push.apps[].apns.topic" and index 0.  ${NAME} in a value is replaced from the environment.
 * It refuses what a settings file does not need: aliases, several documents, duplicate keys,
 * lists inside lists.  It does not know which keys exist.
 */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct arena;

enum yaml_kind { YAML_SCALAR, YAML_MAPPING, YAML_SEQUENCE };

struct yaml_item {
    enum yaml_kind kind;
    const char *path;  /* with "[]" for every list */
    int outer;         /* index in the outer list, -1 when there is none */
    int inner;         /* index in a list inside an element of it, -1 */
    const char *value; /* of a scalar */
    bool quoted;
    size_t line; /* of the value, from 1 */
    size_t column;
    size_t key_line; /* of the key, for "unknown key" */
    size_t key_column;
    struct yaml_item *next;
};

struct yaml_error {
    size_t line; /* 0 when the file could not be read at all */
    size_t column;
    char text[ERR_TEXT_BYTES];
};

/* The items in document order, strings in the arena.  CONFIG with e filled otherwise. */
MUST_CHECK enum err_kind yaml_load(const char *file, struct arena *a, struct yaml_item **out,
                                   struct yaml_error *e);

#endif
