// SPDX-License-Identifier: Apache-2.0
/* What config.c (reading, checking), config_apps.c (push.apps) and config_notices.c share. */
#ifndef CONFIG_CONFIG_INT_H
#define CONFIG_CONFIG_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "config/keys.h"

#define APPS_MAX 64
#define NOTICES_MAX 32

struct arena;
struct buf;
struct yaml_item;

/* One setting as it was read; item is NULL when it is the default. */
struct value {
    int64_t number;
    const char *text;
    const char **list;
    size_t list_n;
    const struct yaml_item *item;
};

struct config_private {
    struct arena *arena;
    struct value values[KEYS_N];
    struct value apps[APPS_MAX][KEYS_N];
    size_t apps_n;
    struct value notices[NOTICES_MAX][KEYS_N];
    size_t notices_n;
};

struct reader {
    const char *file;
    struct config *config;
    struct config_private *p;
    struct yaml_item *items;
    struct buf *complaints;
    unsigned count;
};

void config_complain(struct reader *r, size_t line, size_t column, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Where a setting stands; for a default, where its section or app stands, else the top.  app:
 * which of the list that the setting is of, -1 when it is of none. */
void config_place(const struct reader *r, enum key key, int app, size_t *line, size_t *column);

#define complain_key(r, key, app, ...)                                                        \
    do {                                                                                      \
        size_t line_, column_;                                                                \
        config_place(r, key, app, &line_, &column_);                                          \
        config_complain(r, line_, column_, __VA_ARGS__);                                      \
    } while (0)

/* What the arena gave; it cannot be full. */
void *config_must(void *p);
/* "host:port", "[v6]:port" or, when port_default is not 0, "host". */
bool config_split_address(struct reader *r, const char *address, uint16_t port_default,
                          struct host_opts *out);
/* A prepared domain, or NULL and a complaint (NULL without one for NULL). */
const char *config_domain(struct reader *r, enum key k, int app, const char *name);

/* config_apps.c: fills r->config->push. */
void config_build_push(struct reader *r);
/* config_notices.c: fills r->config->push.notices. */
void config_build_notices(struct reader *r);

#endif
