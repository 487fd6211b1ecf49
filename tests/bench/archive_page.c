// SPDX-License-Identifier: Apache-2.0
/*
 * How long a page of the archive takes, from the question to the last result, one page after
 * the other.
 *   archive_page URL hash JID [PEER ...]
 *       prints the names of the owner and of the peers in the database, one a line
 *   archive_page URL ask SHAPE PAGES JID PEER FROM_US TO_US
 *       SHAPE says where the page of 50 lies: first, last, middle (after some moment), time
 *       (from some moment on), with and rare (the last with PEER); moments are taken at random
 *       between the two.  Prints one JSON object: median and 99th percentile in microseconds,
 *       and how many results came in all.
 */
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/lookup.h"
#include "archive/mam.h"
#include "archive/opts.h"
#include "base/crypt.h"
#include "base/datetime.h"
#include "base/log.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "store/pg.h"

#define WARM_UP 200 /* pages that are not counted: plans, caches */

#define START(var) "<x xmlns='jabber:x:data' type='submit'><field var='" var "'><value>"
#define END "</value></field></x>"
#define SET "<set xmlns='http://jabber.org/protocol/rsm'><max>50</max>"
#define END_SET "</set>"

static const struct shape {
    const char *name;
    const char *head;
    const char *tail;
    enum { FILL_NOTHING, FILL_PEER, FILL_ANCHOR, FILL_DATE } fill; /* between the two */
} shapes[] = {
    {"first", SET END_SET, "", FILL_NOTHING},
    {"last", SET "<before/>" END_SET, "", FILL_NOTHING},
    {"middle", SET "<after>", "</after>" END_SET, FILL_ANCHOR},
    {"time", START("start"), END SET END_SET, FILL_DATE},
    {"with", START("with"), END SET "<before/>" END_SET, FILL_PEER},
    {"rare", START("with"), END SET "<before/>" END_SET, FILL_PEER},
};

struct run {
    struct event_base *base;
    struct event *next;
    struct ingest *ing;
    struct pg_pool *pool;
    struct mam *mam;
    const struct shape *shape;
    const char *account, *peer;
    int64_t from_us, to_us;
    uint64_t seed;
    int64_t *took_us;
    size_t pages, done;
    int64_t began_us;
    uint64_t results, bytes;
    struct stanza *payload;
};

static uint64_t next_random(struct run *r)
{
    uint64_t z = (r->seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static bool on_result(void *ctx, const void *xml, size_t len)
{
    struct run *r = ctx;
    (void)xml;
    r->results++;
    r->bytes += len;
    return true;
}

static void on_done(void *ctx, struct stanza *payload)
{
    struct run *r = ctx;
    (void)payload;
    int64_t took_us = now_us() - r->began_us;
    stanza_free(&r->payload);
    if (r->done >= WARM_UP)
        r->took_us[r->done - WARM_UP] = took_us;
    else
        r->results = 0;
    if (++r->done == r->pages + WARM_UP)
        event_base_loopbreak(r->base);
    else
        event_active(r->next, EV_TIMEOUT, 0);
}

static void on_error(void *ctx, const char *type, const char *condition, const char *text)
{
    (void)ctx;
    fprintf(stderr, "archive_page: %s %s %s\n", type, condition, text ? text : "");
    exit(1);
}

static void ask(struct run *r)
{
    char filling[64] = "", xml[1024];
    struct err e;
    int64_t us = r->from_us + (int64_t)(next_random(r) % (uint64_t)(r->to_us - r->from_us));
    if (r->shape->fill == FILL_ANCHOR)
        snprintf(filling, sizeof filling, "%016" PRId64, us);
    else if (r->shape->fill == FILL_DATE)
        datetime_format(us, filling);
    else if (r->shape->fill == FILL_PEER)
        snprintf(filling, sizeof filling, "%s", r->peer);
    snprintf(xml, sizeof xml, "<query xmlns='" NS_MAM "' queryid='q'>%s%s%s</query>",
             r->shape->head, filling, r->shape->tail);
    r->began_us = now_us();
    r->payload = xml_parse_element(xml, strlen(xml), &e);
    const struct archive_answer answer = {
        .result = on_result, .done = on_done, .error = on_error, .ctx = r};
    const struct archive_request request = {
        .payload = r->payload, .is_set = true, .account = r->account};
    mam_ask(r->mam, &request, &answer);
}

static void on_next(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    ask(ctx);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void report(struct run *r)
{
    qsort(r->took_us, r->pages, sizeof *r->took_us, compare);
    printf("{\"shape\": \"%s\", \"pages\": %zu, \"results\": %" PRIu64 ", \"p50_us\": %" PRId64
           ", \"p99_us\": %" PRId64 "}\n",
           r->shape->name, r->pages, r->results, r->took_us[r->pages / 2],
           r->took_us[r->pages - 1 - r->pages / 100]);
}

static size_t unsent(void *ctx)
{
    (void)ctx;
    return 0;
}

static void measure(struct run *r, struct pg_pool *scans, const struct archive_opts *opts)
{
    struct lookups_opts how = {.pages = r->pool,
                               .scans = scans,
                               .probe = r->pool,
                               .ingest = r->ing,
                               .within_ms = LOOKUP_WITHIN_MS,
                               .unsent = unsent};
    struct lookups *lookups = lookups_new(r->base, &how);
    r->mam = mam_new(opts, lookups, NULL);
    r->next = evtimer_new(r->base, on_next, r);
    r->took_us = calloc(r->pages, sizeof *r->took_us);
    event_active(r->next, EV_TIMEOUT, 0);
    event_base_dispatch(r->base);
    report(r);
    lookups_stop(lookups);
    ingest_free(&r->ing);
    pg_pool_free(&r->pool);
    pg_pool_free(&scans);
    mam_free(&r->mam);
    lookups_free(&lookups);
    event_free(r->next);
    free(r->took_us);
}

static void print_names(struct run *r, int n, char **jids)
{
    struct ident *ident = ingest_ident(r->ing);
    uint8_t owner[OWNER_BYTES];
    char text[UUID_TEXT_BYTES];
    ident_owner(ident, jids[0], owner);
    uuid_format(owner, text);
    printf("%s\n", text);
    for (int i = 1; i < n; i++)
        printf("%" PRId64 "\n", (int64_t)ident_peer(ident, owner, jids[i]));
}

static const struct shape *find_shape(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    return NULL;
}

int main(int argc, char **argv)
{
    static const uint8_t spools[1][16] = {{1}};
    const struct archive_opts opts = {.page_max = 250, .page_default = 50};
    bool hash = argc >= 4 && strcmp(argv[2], "hash") == 0;
    if (!hash && !(argc == 9 && strcmp(argv[2], "ask") == 0 && find_shape(argv[3]))) {
        fprintf(stderr, "see the head of tests/bench/archive_page.c\n");
        return 64;
    }
    log_init(&(struct log_opts){.level = LOG_WARN}, "bench");
    struct run r = {.base = event_base_new(), .seed = 1};
    struct ingest_opts ingest = {.url = argv[1],
                                 .archive = &opts,
                                 .spools = 1,
                                 .spool_ids = spools,
                                 .queue_bytes_max = 1 << 20,
                                 .queue_rows_max = 1000};
    struct pg_opts reader = {.url = argv[1], .name = "reader", .statement_timeout_ms = 5000};
    r.ing = ingest_new(r.base, &ingest);
    reader.plans = PG_PLANS_IN_INDEX_ORDER;
    r.pool = pg_pool_new(r.base, &reader, 1);
    reader.name = "scanner";
    struct pg_pool *scans = pg_pool_new(r.base, &reader, 1);
    while (!ingest_ready(r.ing) || !pg_pool_is_up(r.pool) || !pg_pool_is_up(scans))
        event_base_loop(r.base, EVLOOP_ONCE);
    if (hash) {
        print_names(&r, argc - 3, argv + 3);
        return 0;
    }
    r.shape = find_shape(argv[3]);
    r.pages = strtoul(argv[4], NULL, 10);
    r.account = argv[5];
    r.peer = argv[6];
    r.from_us = strtoll(argv[7], NULL, 10);
    r.to_us = strtoll(argv[8], NULL, 10);
    measure(&r, scans, &opts);
    event_base_free(r.base);
    return 0;
}
