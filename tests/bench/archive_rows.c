// SPDX-License-Identifier: Apache-2.0
/*
 * How many archive rows per second one worker commits, with all counters and the outbox: two
 * rows per message between local users (Zipf, s = 1, offset 5), stanzas of 350 to 550 bytes,
 * half of the owners have a device.  From the parsed stanza on.
 *   archive_rows [-s SECONDS | -n ROWS] [-o OWNERS] [-b BURST] [-q QUEUE] [-w WINDOW]
 *       [-r SEED] [-m MESSAGES] [-i 1] URL
 * URL is an empty database; BURST messages go one after the other into a conversation; no more
 * than QUEUE rows wait, which bounds the batches; MESSAGES are offered a second, without it as
 * many as are taken; with -i 1 the full-text index is made beside (and ended: it is in the CPU
 * of the whole run).  Prints one JSON object for the whole run,
 * and before it one for each WINDOW rows.  CPU is counted for this process, and for all
 * processes of PostgreSQL where they run on this machine.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "apns/opts.h"
#include "apns/outbox.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/opts.h"
#include "archive/search_index.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"
#include "base/stanza.h"
#include "store/migrate.h"
#include "store/pg.h"
#include "tests/bench/postgres_cpu.h"

#define FEED_STANZAS 200 /* between two looks at the sockets */
#define TEXT_MAX 256
#define TEXT_BYTES 65536 /* bodies are pieces of it */

/* What was used up to some moment. */
struct used {
    int64_t at_us;
    uint64_t rows;
    uint64_t batches;
    double worker_s;
    double postgres_s;
};

struct run {
    struct event_base *base;
    struct event *feed;
    struct ingest *ing;
    struct outbox *outbox;
    const char *url;
    double *weights; /* cumulative */
    unsigned owners;
    unsigned burst;
    unsigned left; /* of the burst */
    unsigned from, to;
    uint64_t messages;
    uint64_t place;
    uint64_t seed;
    double seconds;
    double rate;       /* messages a second; 0: as many as are taken */
    uint64_t rows_max; /* 0: until the time is over */
    uint64_t window;   /* rows; 0: none */
    uint64_t queue;
    int64_t stop_us;
    bool started;
    bool ended;
    int postmaster;
    struct used start, last;
    bool offered; /* the last event was not taken yet */
    char text[TEXT_BYTES + TEXT_MAX];
    bool indexed; /* the index is made, too */
    struct search_index *index;
};

static uint64_t next_random(struct run *r)
{
    uint64_t z = (r->seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void make_weights(struct run *r)
{
    double sum = 0;
    r->weights = calloc(r->owners, sizeof *r->weights);
    if (!r->weights)
        abort();
    for (unsigned i = 0; i < r->owners; i++)
        r->weights[i] = sum += 1.0 / (i + 1 + 5);
    for (unsigned i = 0; i < r->owners; i++)
        r->weights[i] /= sum;
}

static unsigned pick(struct run *r)
{
    double x = (double)(next_random(r) >> 11) / 9007199254740992.0;
    unsigned low = 0, high = r->owners - 1;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (r->weights[mid] < x)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Words of two to nine letters, the short ones again and again. */
static void make_text(struct run *r)
{
    static const char letters[] = "etaoinshrdlucmfwypvbgkjqxz";
    for (size_t at = 0; at < sizeof r->text;) {
        size_t len = 2 + (size_t)(next_random(r) % 8);
        uint64_t word = len < 5 ? next_random(r) % 50 : next_random(r);
        for (size_t i = 0; i < len && at < sizeof r->text; i++) {
            word = word * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint64_t pick = (word >> 33) % 26 * ((word >> 40) % 26) / 25;
            r->text[at++] = letters[pick];
        }
        if (at < sizeof r->text)
            r->text[at++] = ' ';
    }
}

static void name_of(unsigned n, char out[64])
{
    snprintf(out, 64, "user%06u@chat.example.org", n);
}

/* --- what it costs ---------------------------------------------------------------------- */

static double seconds_of(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static struct used used_now(const struct run *r)
{
    struct ingest_stats st;
    struct rusage cpu;
    ingest_get_stats(r->ing, &st);
    getrusage(RUSAGE_SELF, &cpu);
    return (struct used){.at_us = clock_real_us(),
                         .rows = st.rows,
                         .batches = st.batches,
                         .worker_s = seconds_of(&cpu.ru_utime) + seconds_of(&cpu.ru_stime),
                         .postgres_s = postgres_seconds(r->postmaster)};
}

static void report(const struct used *from, const struct used *to)
{
    double rows = (double)(to->rows - from->rows);
    double wall = (double)(to->at_us - from->at_us) / 1e6;
    printf("{\"rows\": %llu, \"seconds\": %.3f, \"rows_per_second\": %.0f, \"batches\": %llu,"
           " \"rows_per_batch\": %.0f, \"worker_us_per_row\": %.2f,"
           " \"postgres_us_per_row\": %.2f}\n",
           (unsigned long long)to->rows, wall, rows / wall,
           (unsigned long long)(to->batches - from->batches),
           rows / (double)(to->batches - from->batches),
           1e6 * (to->worker_s - from->worker_s) / rows,
           1e6 * (to->postgres_s - from->postgres_s) / rows);
    fflush(stdout);
}

/* Half of the owners have one device each. */
static void register_devices(struct run *r)
{
    PGconn *c = PQconnectdb(r->url);
    PGresult *res = PQexec(c, "BEGIN; COPY xs.device (device, app, token) FROM STDIN");
    if (PQresultStatus(res) != PGRES_COPY_IN) {
        fprintf(stderr, "%s", PQerrorMessage(c));
        exit(1);
    }
    PQclear(res);
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < r->owners; i += 2) {
            uint8_t owner[16], device[16];
            char jid[64], a[UUID_TEXT_BYTES], b[UUID_TEXT_BYTES], line[256];
            name_of(i, jid);
            ident_owner(ingest_ident(r->ing), jid, owner);
            memcpy(device, owner, sizeof device);
            device[0] ^= 0xff;
            uuid_format(owner, a);
            uuid_format(device, b);
            if (pass == 0)
                snprintf(line, sizeof line, "%s\tbench\t%064x\n", b, i);
            else
                snprintf(line, sizeof line, "%s\t%s\t1\tn%u\tphone\tnow\n", a, b, i);
            PQputCopyData(c, line, (int)strlen(line));
        }
        PQputCopyEnd(c, NULL);
        while ((res = PQgetResult(c)))
            PQclear(res);
        if (pass == 0)
            PQclear(PQexec(c, "COPY xs.registration (owner, device, dialect, node, resource,"
                              " registered_at) FROM STDIN"));
    }
    res = PQexec(c, "COMMIT; ANALYZE xs.device; ANALYZE xs.registration; CHECKPOINT");
    if (PQresultStatus(res) != PGRES_COMMAND_OK)
        fprintf(stderr, "%s", PQerrorMessage(c));
    PQclear(res);
    PQfinish(c);
}

/* --- feeding --------------------------------------------------------------------------------
 */

static bool offer(struct run *r)
{
    char from[64], to[64], id[40];
    if (!r->offered) {
        if (r->left == 0) {
            r->left = r->burst;
            r->from = pick(r);
            do
                r->to = pick(r);
            while (r->to == r->from);
        }
        r->left--;
        r->messages++;
    }
    name_of(r->from, from);
    name_of(r->to, to);
    snprintf(id, sizeof id, "%016llx-%08llx", (unsigned long long)r->seed,
             (unsigned long long)r->messages);
    struct arena *arena = arena_new(1 << 20);
    struct stanza *m = stanza_new(arena, "message", "jabber:client");
    stanza_set(m, "type", "chat");
    stanza_set(m, "id", id);
    stanza_set(m, "from", from);
    stanza_set(m, "to", to);
    struct stanza *body = stanza_add(m, "body", "jabber:client");
    stanza_add_text(body, r->text + r->messages * 40503u % TEXT_BYTES,
                    30 + (size_t)(r->messages * 2654435761u % 200));
    struct stanza *origin = stanza_add(m, "origin-id", "urn:xmpp:sid:0");
    stanza_set(origin, "id", id);
    stanza_add(m, "markable", "urn:xmpp:chat-markers:0");
    struct event ev = {.kind = EVENT_MESSAGE,
                       .from = from,
                       .from_resource = "phone",
                       .to = to,
                       .to_resource = "",
                       .from_local = true,
                       .to_local = true,
                       .id = id,
                       .received_us = clock_real_us(),
                       .place = {0, r->place, r->place + 500},
                       .stanza = m};
    bool taken = ingest_event(r->ing, &ev) == INGEST_TAKEN;
    r->offered = !taken;
    if (taken) {
        r->place += 500;
        ingest_passed(r->ing, 0, r->place);
    }
    arena_free(&arena);
    return taken;
}

static bool time_is_over(const struct run *r)
{
    return r->rows_max ? 2 * r->messages >= r->rows_max : clock_real_us() >= r->stop_us;
}

/* True once the time is over and all that was taken is committed. */
static bool is_over(struct run *r)
{
    if (!time_is_over(r) || r->offered || ingest_committed(r->ing, 0) != r->place)
        return false;
    r->ended = true;
    event_base_loopbreak(r->base);
    return true;
}

/* The next message is not due yet. */
static bool is_early(const struct run *r)
{
    double passed_s = (double)(clock_real_us() - r->start.at_us) / 1e6;
    return r->rate > 0 && (double)r->messages >= r->rate * passed_s;
}

static void on_feed(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct run *r = arg;
    for (int i = 0; i < FEED_STANZAS; i++) {
        if (is_early(r)) {
            event_add(r->feed, &(struct timeval){0, 1000});
            return;
        }
        bool more = r->offered || !time_is_over(r);
        if (r->ended || !more || !offer(r))
            return;
    }
    event_add(r->feed, &(struct timeval){0, 0});
}

static void end_window(struct run *r)
{
    struct ingest_stats st;
    ingest_get_stats(r->ing, &st);
    if (!r->window || st.rows < r->last.rows + r->window)
        return;
    struct used now = used_now(r);
    report(&r->last, &now);
    r->last = now;
}

static void on_progress(void *ctx)
{
    struct run *r = ctx;
    if (!r->started) {
        r->started = true;
        register_devices(r);
        r->start = r->last = used_now(r);
        r->stop_us = r->start.at_us + (int64_t)(r->seconds * 1e6);
    }
    end_window(r);
    if (!is_over(r))
        event_add(r->feed, &(struct timeval){0, 0});
}

static void on_batch(void *ctx, struct pg *conn, const struct unread_change *changes, size_t n)
{
    outbox_batch(((struct run *)ctx)->outbox, conn, changes, n);
}

static void on_committed(void *ctx, struct pg *conn, bool ok)
{
    outbox_committed(((struct run *)ctx)->outbox, conn, ok);
}

static void on_sample(void *ctx, const uint8_t owner[OWNER_BYTES])
{
    search_index_look(((struct run *)ctx)->index, owner);
}

static struct outbox_decision wait_for_ever(void *ctx, const struct outbox_candidate *c)
{
    (void)ctx, (void)c;
    return (struct outbox_decision){.answer = OUTBOX_WAIT, .again_ms = 3600000};
}

static bool read_options(struct run *r, int argc, char **argv)
{
    for (int c; (c = getopt(argc, argv, "s:n:o:b:q:w:r:m:i:")) != -1;) {
        double value = c == '?' ? 0 : strtod(optarg, NULL);
        if (c == '?' || value <= 0)
            return false;
        if (c == 's')
            r->seconds = value;
        else if (c == 'n')
            r->rows_max = (uint64_t)value;
        else if (c == 'o')
            r->owners = (unsigned)value;
        else if (c == 'b')
            r->burst = (unsigned)value;
        else if (c == 'm')
            r->rate = value;
        else if (c == 'r')
            r->seed = (uint64_t)value;
        else if (c == 'i')
            r->indexed = true;
        else if (c == 'q')
            r->queue = (uint64_t)value;
        else
            r->window = (uint64_t)value;
    }
    r->url = argv[optind];
    return optind == argc - 1 && r->owners >= 2;
}

/* What is committed and is enough for a block is made one. */
static void finish_index(struct run *r)
{
    struct search_index_stats st = {.idle = true};
    do {
        if (!r->index)
            return;
        event_base_loop(r->base, EVLOOP_ONCE);
        search_index_get_stats(r->index, &st);
    } while (!st.idle);
    fprintf(stderr, "index: %llu blocks of %llu rows\n", (unsigned long long)st.blocks,
            (unsigned long long)st.rows);
}

int main(int argc, char **argv)
{
    struct run r = {.seconds = 6, .owners = 200000, .burst = 1, .queue = 20000, .seed = 42};
    if (!read_options(&r, argc, argv)) {
        fprintf(stderr, "usage: archive_rows [-s SECONDS | -n ROWS] [-o OWNERS] [-b BURST]"
                        " [-q QUEUE] [-w WINDOW] [-r SEED]"
                        " [-m MESSAGES] [-i 1] URL\n");
        return 64;
    }
    struct err e = {0};
    signal(SIGPIPE, SIG_IGN);
    log_init(&(struct log_opts){.level = LOG_WARN}, "bench");
    if (migrate_run(r.url, NULL, NULL, &e) != ERR_NONE) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    make_text(&r);
    make_weights(&r);
    r.postmaster = find_postmaster(r.url);
    r.base = event_base_new();
    r.feed = evtimer_new(r.base, on_feed, &r);
    static const uint8_t spool[1][16] = {{1}};
    static const uint8_t key[32] = {1};
    struct archive_opts archive = {.own_message_reads = true};
    struct apns_app_opts app = {.id = "bench", .sound = "default"};
    struct push_opts push = {.settle_ms = 3600000,
                             .max_age_ms = 43200000,
                             .history_ms = 86400000,
                             .devices_per_account = 20,
                             .apps = &app,
                             .apps_n = 1};
    struct pg_opts pool_opts = {.url = r.url, .name = "read", .statement_timeout_ms = 30000};
    struct pg_pool *pool = pg_pool_new(r.base, &pool_opts, 1);
    struct outbox_opts outbox = {.push = &push,
                                 .pool = pool,
                                 .key = key,
                                 .hooks = {.decide = wait_for_ever, .ctx = &r}};
    crypt_random(outbox.worker, sizeof outbox.worker);
    r.outbox = outbox_new(r.base, &outbox);
    struct ingest_opts opts = {
        .url = r.url,
        .archive = &archive,
        .spools = 1,
        .spool_ids = spool,
        .queue_bytes_max = (size_t)64 << 20,
        .queue_rows_max = r.queue,
        .hooks = {
            .batch = on_batch, .committed = on_committed, .progress = on_progress, .ctx = &r}};
    if (r.indexed) {
        r.index = search_index_new(r.base, pool, 1);
        opts.hooks.sample = on_sample;
    }
    r.ing = ingest_new(r.base, &opts);
    event_base_dispatch(r.base);
    finish_index(&r);
    struct used end = used_now(&r);
    report(&r.start, &end);
    ingest_free(&r.ing);
    pg_pool_free(&pool);
    search_index_free(&r.index);
    outbox_free(&r.outbox);
    event_free(r.feed);
    event_base_free(r.base);
    free(r.weights);
    return 0;
}
