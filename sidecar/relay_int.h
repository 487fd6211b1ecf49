// SPDX-License-Identifier: Apache-2.0
/*
 * What the two files of the relay share: relay.c makes the layers and joins them,
 * relay_queries.c hands requests to the archive's handlers.
 */
#ifndef SIDECAR_RELAY_INT_H
#define SIDECAR_RELAY_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "sidecar/relay.h"
#include "sidecar/rosters.h"

struct event_base;
struct service;
struct pg_pool;
struct schema_gate;
struct ingest;
struct lookups;
struct search;
struct mam;
struct prefs_store;
struct contact_names;
struct xep0136;
struct token_keys;
struct sealing;
struct devices;
struct outbox;
struct partition;
struct search_index;
struct quarantine;
struct room_push;
struct fill;
struct commands;
struct publish;
struct provider_tokens;
struct unified_push;
struct gateway;

struct relay {
    struct relay_opts opts;
    struct event_base *base;
    uint8_t (*spool_ids)[16];
    struct service *service;
    struct pg_pool *pool;
    struct pg_pool *reads; /* of the outbox: what is pushed */
    struct pg_pool *pages; /* of archives */
    struct pg_pool *scans; /* of archives, too: so that no page is behind one */
    struct schema_gate *gate;
    /* From here on NULL until the schema is good, from lookups on until the keys are known. */
    struct ingest *ingest;
    struct lookups *lookups;
    struct search *search; /* this and its index are NULL when archive.search is off */
    struct mam *mam;
    struct prefs_store *prefs;
    struct rosters rosters;
    struct contact_names *names;
    struct xep0136 *xep0136;
    struct token_keys *token_keys;
    struct sealing *sealing;
    struct devices *devices;
    struct outbox *outbox;
    struct partition *partition;
    struct search_index *search_index;
    struct quarantine *quarantine;
    struct room_push *rooms; /* NULL when archive.groupchat is off */
    struct fill *fill;       /* NULL: archive.fill_gaps is off */
    struct commands *commands;
    struct publish *publish;
    struct provider_tokens *tokens;
    struct unified_push *unified_push; /* NULL: not offered */
    struct gateway **gateways;         /* of push.apps */
    bool behind;
    bool started; /* see relay_is_starting */
    int64_t born_ms;
};

/* Requests of the archive's namespaces, from then on. */
void relay_serve_queries(struct relay *r);

#endif
