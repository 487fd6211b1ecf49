// SPDX-License-Identifier: Apache-2.0
/*
 * What an account has set for its notifications: no more than a level of content, quiet hours
 * on the clock of a place, who is heard all the same, whether muted conversations are on the
 * icon, and what of rooms is pushed.  Kept in the database and looked at when a push is sent.
 */
#ifndef APNS_SETTINGS_H
#define APNS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

struct pg_error;
struct pg_pool;

#define SETTINGS_ZONE_BYTES 64
#define SETTINGS_ALWAYS_MAX 100 /* addresses */
#define SETTINGS_AS_CONFIGURED (-1)
#define SETTINGS_NEVER (-1)

struct push_settings {
    int content;        /* enum push_content, or SETTINGS_AS_CONFIGURED */
    int quiet_from;     /* minute of the day, or SETTINGS_NEVER */
    int quiet_to;       /* another minute; may be an earlier one: over midnight */
    const char *zone;   /* IANA's name of a time zone; "" without quiet hours */
    const char *always; /* bare JIDs, one to a line */
    bool muted_in_badge;
    enum event_notify rooms; /* AS_SET: as push.rooms */
};

/* Called exactly once, never before the function returned.  s is NULL when e->failure is not
 * PG_OK, else borrowed for the call. */
typedef void (*settings_got_fn)(void *ctx, const struct push_settings *s,
                                const struct pg_error *e);
void settings_get(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], settings_got_fn fn,
                  void *ctx);

/* peers: always as the archive's hashes.  zone_known false: there is no such zone, and nothing
 * was changed. */
typedef void (*settings_set_fn)(void *ctx, bool zone_known, const struct pg_error *e);
void settings_set(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES],
                  const struct push_settings *s, const uint64_t *peers, size_t peers_n,
                  settings_set_fn fn, void *ctx);

/* Of one room, peer of the account; AS_SET: as for all its rooms. */
typedef void (*settings_room_fn)(void *ctx, const struct pg_error *e);
void settings_set_room(struct pg_pool *pool, const uint8_t owner[OWNER_BYTES], uint64_t peer,
                       enum event_notify notify, settings_room_fn fn, void *ctx);

#endif
