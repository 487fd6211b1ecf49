// SPDX-License-Identifier: Apache-2.0
#include "sidecar/relay_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "apns/devices.h"
#include "apns/outbox.h"
#include "apns/provider_token.h"
#include "apns/sealing.h"
#include "apns/token_keys.h"
#include "archive/ident.h"
#include "archive/lookup.h"
#include "archive/mam.h"
#include "archive/partition.h"
#include "archive/prefs_store.h"
#include "archive/quarantine.h"
#include "archive/room_push.h"
#include "archive/search.h"
#include "archive/search_index.h"
#include "archive/xep0136.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"
#include "base/xml_parse.h"
#include "component/ns.h"
#include "config/config.h"
#include "sidecar/commands.h"
#include "sidecar/contact_names.h"
#include "sidecar/features.h"
#include "sidecar/fill.h"
#include "sidecar/policy.h"
#include "sidecar/publish.h"
#include "sidecar/reread.h"
#include "sidecar/rosters.h"
#include "sidecar/unified_push.h"
#include "store/pg.h"

#define LANE_CONNECTIONS 2
#define READ_TIMEOUT_MS 5000
#define SEARCH_EVERY_MS 1000 /* some dozen accounts each time */
#define QUEUE_BYTES_MAX (32 << 20)
#define QUEUE_ROWS_MAX 50000
#define STARTING_MS 1000

static void on_publish(void *ctx, struct iq_request *r)
{
    struct relay *relay = ctx;
    publish_take(relay->publish, r);
}

/* When a push is due. */

static struct outbox_decision on_decide(void *ctx, const struct outbox_candidate *c)
{
    struct relay *r = ctx;
    const struct push_opts *push = &r->opts.config->push;
    int64_t now_us = clock_real_us();
    const char *at = strchr(c->account, '@');
    /* Whose messages we do not see, of his sessions we know nothing either. */
    const struct adapter *a = service_adapter(r->service);
    if (!at || !adapter_is_host(a, at + 1) || !adapter_sees_messages(a))
        return (struct outbox_decision){OUTBOX_NOW, 0, "published"};
    const struct sessions *sessions = service_sessions(r->service);
    struct policy_presence p = {
        .state = service_session_state(r->service, c->account, now_us,
                                       push->stale_after_ms * 1000, NULL),
        .own_seen_us = sessions_seen_at(sessions, c->account, c->resource),
        .others_seen_us = sessions_others_seen_at(sessions, c->account, c->resource),
        .stuck_us = sessions_stuck_at(sessions, c->account, c->resource),
    };
    return policy_decide(push, c, &p, now_us);
}

static void on_names(void *ctx, const char *account)
{
    struct relay *r = ctx;
    contact_names_want(r->names, account);
}

/* What the archive tells. */

static void on_batch(void *ctx, struct pg *conn, const struct unread_change *changes, size_t n)
{
    struct relay *r = ctx;
    outbox_batch(r->outbox, conn, changes, n);
}

static void on_committed(void *ctx, struct pg *conn, bool ok)
{
    struct relay *r = ctx;
    outbox_committed(r->outbox, conn, ok);
}

static void on_rooms(void *ctx)
{
    struct relay *r = ctx;
    if (r->rooms)
        room_push_look(r->rooms);
}

static void on_room_entries(void *ctx)
{
    struct relay *r = ctx;
    outbox_look(r->outbox);
}

static void on_sample(void *ctx, const uint8_t owner[OWNER_BYTES])
{
    struct relay *r = ctx;
    if (r->search_index)
        search_index_look(r->search_index, owner);
}

static enum err_kind on_reread(void *ctx, const struct quarantine_stanza *s,
                               quarantine_event_fn event, void *event_ctx, struct err *e)
{
    struct relay *r = ctx;
    struct xml_parse_opts limits = xml_parse_defaults;
    limits.stanza_bytes_max = r->opts.config->component.parse_bytes_max;
    return reread_stanza(service_adapter(r->service), &limits, s, event, event_ctx, e);
}

static void start_push(struct relay *r);

static void start_fill(struct relay *r)
{
    const struct config *c = r->opts.config;
    const struct fill_opts opts = {.service = r->service,
                                   .ingest = r->ingest,
                                   .pool = r->pool,
                                   .host = c->component.domains[0],
                                   .component = c->component.component,
                                   .every_ms = c->archive.check_every_ms};
    r->fill = fill_new(r->base, &opts);
    fill_pause(r->fill, r->behind);
}

/* The keys have come: everything that is named by them can start. */
static void become_ready(struct relay *r)
{
    const struct config *c = r->opts.config;
    start_push(r);
    struct lookups_opts lookups = {.pages = r->pages,
                                   .scans = r->scans,
                                   .probe = r->pool,
                                   .ingest = r->ingest,
                                   .within_ms = LOOKUP_WITHIN_MS,
                                   .unsent = r->opts.unsent,
                                   .ctx = r->opts.ctx};
    r->lookups = lookups_new(r->base, &lookups);
    if (c->archive.search)
        r->search = search_new(r->scans, SEARCH_LOOKED_MAX);
    r->mam = mam_new(&c->archive, r->lookups, r->search);
    r->prefs = prefs_store_new(&c->archive, r->lookups, r->ingest);
    r->xep0136 = xep0136_new(&c->archive, r->lookups);
    r->partition = partition_new(r->base, r->pool);
    if (c->archive.search) {
        r->search_index = search_index_new(r->base, r->scans, SEARCH_EVERY_MS);
        search_index_pause(r->search_index, r->behind);
    }
    struct quarantine_opts aside = {
        .pool = r->pool, .ingest = r->ingest, .read = on_reread, .ctx = r};
    r->quarantine = quarantine_new(r->base, &aside);
    if (c->archive.fill_gaps)
        start_fill(r);
    struct commands_opts commands = {
        .push = &c->push,
        .component = c->component.component,
        .ingest = r->ingest,
        .devices = r->devices,
        .outbox = r->outbox,
        .names = r->names,
        .pool = r->pool,
    };
    commands_ready(r->commands, &commands);
    uint8_t key[32];
    ident_derive(ingest_ident(r->ingest), "unified push", key);
    unified_push_ready(r->unified_push, key);
}

static void on_progress(void *ctx)
{
    struct relay *r = ctx;
    if (!r->mam && ingest_ready(r->ingest))
        become_ready(r);
    r->opts.archive_progress(r->opts.ctx);
}

static void on_lost(void *ctx)
{
    struct relay *r = ctx;
    r->opts.archive_lost(r->opts.ctx);
}

static void on_ingest_state(void *ctx, bool up, const char *why)
{
    if (up)
        log_info("archive", "PostgreSQL takes rows");
    else
        log_warn("archive", "PostgreSQL takes no rows: %s; messages wait in the spool", why);
    if (up)
        on_progress(ctx);
}

static bool on_raw(void *ctx, const struct place *place, struct ingest_raw *out)
{
    struct relay *r = ctx;
    return r->opts.raw(r->opts.ctx, place, out);
}

static void on_roster(void *ctx, const char *owner_jid)
{
    struct relay *r = ctx;
    rosters_want(&r->rosters, owner_jid);
}

static void on_schema_good(void *ctx)
{
    struct relay *r = ctx;
    struct ingest_opts opts = {
        .url = r->opts.config->store.url,
        .archive = &r->opts.config->archive,
        .spools = r->opts.spools,
        .spool_ids = (const uint8_t(*)[16])r->spool_ids,
        .queue_bytes_max = QUEUE_BYTES_MAX,
        .queue_rows_max = QUEUE_ROWS_MAX,
        .hooks = {.batch = on_batch,
                  .committed = on_committed,
                  .sample = on_sample,
                  .rooms = on_rooms,
                  .progress = on_progress,
                  .raw = on_raw,
                  .roster = on_roster,
                  .lost = on_lost,
                  .state = on_ingest_state,
                  .ctx = r},
    };
    r->ingest = ingest_new(r->base, &opts);
    r->rosters = (struct rosters){.service = r->service, .ingest = r->ingest};
}

static void start_push(struct relay *r)
{
    const struct push_opts *push = &r->opts.config->push;
    uint8_t key[32];
    ident_derive(ingest_ident(r->ingest), "devices", key);
    r->token_keys = token_keys_new(&push->token_keys);
    r->devices = devices_new(r->pool, key, r->token_keys, push->devices_per_account);
    r->sealing = sealing_new(r->base, r->pool, r->token_keys);
    ident_derive(ingest_ident(r->ingest), "collapse", key);
    struct outbox_opts opts = {
        .push = push,
        .pool = r->pool,
        .reads = r->reads,
        .key = key,
        .tokens = r->token_keys,
        .hooks = {.decide = on_decide, .names = on_names, .ctx = r},
    };
    uuid_random(opts.worker);
    r->outbox = outbox_new(r->base, &opts);
    r->names = contact_names_new(r->base, r->service, r->ingest, r->pool);
    r->tokens = provider_tokens_new(r->pool);
    for (size_t i = 0; i < push->apps_n; i++) {
        struct gateway_events events = {outbox_verdict, outbox_room, r->outbox, r->tokens};
        struct err e;
        /* relay_new has tried these settings before. */
        if (gateway_new(r->base, &push->apps[i], &events, &r->gateways[i], &e))
            log_error("push", "app=%s %s", push->apps[i].id, e.text);
        else
            outbox_set_gateway(r->outbox, i, r->gateways[i]);
    }
    if (r->opts.config->archive.groupchat) {
        const struct room_push_opts rooms = {.pool = r->pool,
                                             .ident = ingest_ident(r->ingest),
                                             .notify = push->rooms,
                                             .settle_ms = push->settle_ms,
                                             .entries = on_room_entries,
                                             .ctx = r};
        r->rooms = room_push_new(r->base, &rooms);
    }
    outbox_start(r->outbox);
    outbox_pause(r->outbox, r->behind);
    const struct publish_opts publish = {.pool = r->pool,
                                         .devices = r->devices,
                                         .outbox = r->outbox,
                                         .ingest = r->ingest,
                                         .spools = r->opts.spools};
    publish_ready(r->publish, r->base, &publish);
    publish_pause(r->publish, r->behind);
}

/* The whole. */

static void start_service(struct relay *r)
{
    const struct config *c = r->opts.config;
    /* Copies of what we sent are known by an id that is made with this key.  The secret we
     * share with the server is there before any database and stays over restarts. */
    uint8_t key[SHA256_BYTES];
    crypt_hmac_sha256((const uint8_t *)c->component.secret, strlen(c->component.secret),
                      "echo", 4, key);
    r->service = service_new(&c->component, key, &r->opts.events);
    r->publish = publish_new(r->service, &c->push);
    relay_serve_queries(r);
    service_handle(r->service, "pubsub", NS_PUBSUB, on_publish, r);
    service_handle(r->service, "pubsub", NS_PUBSUB_OWNER, on_publish, r);
    service_welcome(r->service, NS_PUBSUB);
    service_welcome(r->service, NS_PUBSUB_OWNER);
    features_offer(r->service, c);
    r->commands = commands_new(r->service, c->archive.groupchat);
    if (c->unified_push.host)
        r->unified_push =
            unified_push_new(r->base, &c->unified_push, r->service, c->component.hosts_n);
}

/* Keys are read once more than needed, so that a wrong one is told at start. */
static enum err_kind try_gateways(struct relay *r, struct err *e)
{
    const struct push_opts *push = &r->opts.config->push;
    for (size_t i = 0; i < push->apps_n; i++) {
        struct gateway_events none = {0};
        struct gateway *g = NULL;
        enum err_kind k = gateway_new(r->base, &push->apps[i], &none, &g, e);
        if (k)
            return k;
        gateway_free(&g);
    }
    return ERR_NONE;
}

static void on_reader_up(void *ctx)
{
    struct relay *r = ctx;
    if (!relay_is_starting(r))
        r->opts.archive_progress(r->opts.ctx);
}

static void on_reader_down(void *ctx, const struct pg_error *why)
{
    struct relay *r = ctx;
    (void)why;
    r->started = true;
}

/* Of database.connections, when there are so many: two write, one is for devices and pushes,
 * the others read pages.  Three more: two read what is pushed, which is what a push costs
 * PostgreSQL for the most part, one scans. */
static void start_reading(struct relay *r, const struct config *c)
{
    unsigned n = c->store.connections, used = LANE_CONNECTIONS + 1;
    struct pg_opts reader = {.url = c->store.url,
                             .name = "reader",
                             .statement_timeout_ms = READ_TIMEOUT_MS,
                             .up = on_reader_up,
                             .down = on_reader_down,
                             .ctx = r};
    r->pool = pg_pool_new(r->base, &reader, 1);
    reader.name = "pushes";
    r->reads = pg_pool_new(r->base, &reader, OUTBOX_FETCHES);
    reader.plans = PG_PLANS_IN_INDEX_ORDER;
    reader.name = "pages";
    r->pages = pg_pool_new(r->base, &reader, n > used ? n - used : 1);
    reader.name = "scans";
    r->scans = pg_pool_new(r->base, &reader, 1);
}

enum err_kind relay_new(struct event_base *base, const struct relay_opts *opts,
                        struct relay **out, struct err *e)
{
    struct relay *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    const struct config *c = opts->config;
    r->opts = *opts;
    r->base = base;
    r->born_ms = clock_mono_ms();
    r->behind = true;
    r->spool_ids = malloc(opts->spools * sizeof *r->spool_ids);
    r->gateways = calloc(c->push.apps_n + 1, sizeof(struct gateway *));
    if (!r->spool_ids || !r->gateways)
        abort();
    memcpy(r->spool_ids, opts->spool_ids, opts->spools * sizeof *r->spool_ids);
    enum err_kind k = try_gateways(r, e);
    if (k) {
        relay_free(&r);
        return k;
    }
    start_service(r);
    start_reading(r, c);
    struct schema_gate_opts gate = {.pool = r->pool,
                                    .migrate = c->store.migrate,
                                    .config_file = opts->config_file,
                                    .good = on_schema_good,
                                    .ctx = r};
    r->gate = schema_gate_new(base, &gate);
    *out = r;
    return ERR_NONE;
}

/* Askers before those they wait for: each answers what is open when it goes. */
void relay_free(struct relay **rp)
{
    struct relay *r = *rp;
    *rp = NULL;
    if (!r)
        return;
    fill_stop(r->fill);
    for (size_t i = 0; i < r->opts.config->push.apps_n; i++)
        gateway_free(&r->gateways[i]);
    schema_gate_free(&r->gate);
    lookups_stop(r->lookups);
    contact_names_free(&r->names);
    ingest_free(&r->ingest);
    devices_free(&r->devices);
    pg_pool_free(&r->pool);
    pg_pool_free(&r->reads);
    pg_pool_free(&r->pages);
    pg_pool_free(&r->scans);
    partition_free(&r->partition);
    search_index_free(&r->search_index);
    search_free(&r->search);
    quarantine_free(&r->quarantine);
    room_push_free(&r->rooms);
    outbox_free(&r->outbox);
    sealing_free(&r->sealing);
    token_keys_free(&r->token_keys);
    provider_tokens_free(&r->tokens);
    mam_free(&r->mam);
    prefs_store_free(&r->prefs);
    xep0136_free(&r->xep0136);
    lookups_free(&r->lookups);
    service_free(&r->service); /* the last answers to what fill and unified_push have asked */
    unified_push_free(&r->unified_push);
    fill_free(&r->fill);
    publish_free(&r->publish);
    commands_free(&r->commands);
    free(r->gateways);
    free(r->spool_ids);
    free(r);
}

struct service *relay_service(struct relay *r)
{
    return r->service;
}

bool relay_is_starting(struct relay *r)
{
    bool there =
        r->mam && pg_pool_is_up(r->pool) && pg_pool_is_up(r->pages) && pg_pool_is_up(r->scans);
    r->started |= there || schema_gate_state(r->gate) == SCHEMA_REFUSED ||
                  clock_mono_ms() - r->born_ms >= STARTING_MS;
    return !r->started;
}

struct ingest *relay_ingest(struct relay *r)
{
    return r->mam ? r->ingest : NULL;
}

void relay_roster_changed(struct relay *r, const char *account)
{
    if (r->ingest)
        ingest_roster_changed(r->ingest, account);
    if (r->names)
        contact_names_changed(r->names, account);
}

void relay_gone(struct relay *r, const char *bare)
{
    uint8_t owner[OWNER_BYTES];
    if (!r || !r->outbox)
        return;
    ident_owner(ingest_ident(r->ingest), bare, owner);
    outbox_reconsider(r->outbox, owner);
}

void relay_copies_lost(struct relay *r, int64_t from_us, int64_t to_us)
{
    if (r)
        fill_lost(r->fill, from_us, to_us);
}

void relay_set_behind(struct relay *r, bool behind)
{
    if (behind == r->behind)
        return;
    r->behind = behind;
    if (r->outbox)
        outbox_pause(r->outbox, behind);
    if (r->search_index)
        search_index_pause(r->search_index, behind);
    fill_pause(r->fill, behind);
    publish_pause(r->publish, behind);
}

bool relay_drain(struct relay *r)
{
    return !r->outbox || outbox_drain(r->outbox);
}

void relay_get_status(struct relay *r, struct relay_status *out)
{
    *out = (struct relay_status){
        .database_up = pg_pool_is_up(r->pool),
        .schema = schema_gate_state(r->gate),
        .advice = schema_gate_advice(r->gate),
        .archive_ready = r->mam != NULL,
        .outbox_ready = r->outbox != NULL,
    };
    if (r->ingest)
        ingest_get_stats(r->ingest, &out->ingest);
    if (r->outbox)
        outbox_get_status(r->outbox, &out->outbox);
    if (r->quarantine)
        quarantine_get_status(r->quarantine, &out->quarantine);
    fill_get_status(r->fill, &out->fill);
}

bool relay_get_app_status(struct relay *r, size_t app, const char **id_out,
                          struct gateway_status *gateway_out,
                          struct outbox_app_status *outbox_out)
{
    if (app >= r->opts.config->push.apps_n)
        return false;
    *id_out = r->opts.config->push.apps[app].id;
    *gateway_out = (struct gateway_status){0};
    *outbox_out = (struct outbox_app_status){0};
    if (r->gateways[app])
        gateway_get_status(r->gateways[app], gateway_out);
    if (r->outbox)
        outbox_get_app_status(r->outbox, app, outbox_out);
    return true;
}
