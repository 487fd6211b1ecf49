// SPDX-License-Identifier: Apache-2.0
/*
 * Introduces the layers to each other, and is the only place with policy: events go to the
 * archive, what became unread to the outbox, requests to the archive's query handlers,
 * commands to the device registry; and it decides when a push is due (docs/architecture.md).
 * It starts without PostgreSQL: what needs it is answered "wait" until then.
 */
#ifndef SIDECAR_RELAY_H
#define SIDECAR_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "apns/gateway.h"
#include "apns/outbox.h"
#include "archive/ingest.h"
#include "archive/quarantine.h"
#include "base/err.h"
#include "component/service.h"
#include "sidecar/fill.h"
#include "sidecar/schema_gate.h"

struct config;
struct event_base;
struct relay;

struct relay_opts {
    const struct config *config; /* borrowed until relay_free */
    const char *config_file;
    unsigned spools;
    const uint8_t (*spool_ids)[16]; /* copied */
    struct service_events events;   /* of the XMPP service; event() too is the owner's */
    /* The archive takes events now, or takes them again, or committed places. */
    void (*archive_progress)(void *ctx);
    /* See ingest_hooks.lost. */
    void (*archive_lost)(void *ctx);
    /* See ingest_hooks.raw. */
    bool (*raw)(void *ctx, const struct place *place, struct ingest_raw *out);
    /* Bytes of answers that the link has not taken yet. */
    size_t (*unsent)(void *ctx);
    void *ctx;
};

/* CONFIG when a key file holds no key. */
MUST_CHECK enum err_kind relay_new(struct event_base *base, const struct relay_opts *opts,
                                   struct relay **out, struct err *e);
void relay_free(struct relay **r);

struct service *relay_service(struct relay *r);
/* For a second at most: PostgreSQL has neither been reached by all who ask it nor shown that
 * it is away.  What is asked meanwhile would be refused for nothing but our own beginning.
 * archive_progress tells the end, unless it is the second's. */
bool relay_is_starting(struct relay *r);
/* NULL until the schema is right; then see ingest_ready. */
struct ingest *relay_ingest(struct relay *r);

/* See service_events. */
void relay_roster_changed(struct relay *r, const char *account);

/* That account is offline now: what waited to see whether it reads is decided. */
void relay_gone(struct relay *r, const char *bare);

/* See service_events. */
void relay_copies_lost(struct relay *r, int64_t from_us, int64_t to_us);

/* While the archive is behind, pushes are only collected. */
void relay_set_behind(struct relay *r, bool behind);
/* Before an orderly end: pushes under way are finished, none begins; true when that is done.
 */
bool relay_drain(struct relay *r);

struct relay_status {
    bool database_up;
    enum schema_state schema;
    const char *advice; /* "" or what a person should do about the database */
    bool archive_ready;
    struct ingest_stats ingest; /* all zero until archive_ready */
    bool outbox_ready;
    struct outbox_status outbox;
    struct quarantine_status quarantine; /* all zero until archive_ready */
    struct fill_status fill;             /* likewise */
};
void relay_get_status(struct relay *r, struct relay_status *out);
/* One app of push.apps; false past the last. */
bool relay_get_app_status(struct relay *r, size_t app, const char **id_out,
                          struct gateway_status *gateway_out,
                          struct outbox_app_status *outbox_out);

#endif
