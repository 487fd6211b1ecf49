// SPDX-License-Identifier: Apache-2.0
/*
 * Full-text search of a large archive: ROWS messages, a tenth of them of one owner, the others
 * of a few hundred, each with an index; half in Chinese, half in letters.  Prints one JSON
 * object for making the index and one for each sort of word: time of a page of 50, and of
 * reading all the owner's messages instead. search [-n ROWS] [-t TIMES] URL URL is an empty
 * database.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "archive/search.h"
#include "archive/search_index.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"
#include "store/migrate.h"
#include "store/pg.h"
#include "tests/bench/postgres_cpu.h"

#define PAGE 51 /* one more than shown tells whether there are more */
#define OTHERS_ROWS 3000
#define TIMES_MAX 10000
#define RARE_EVERY 20011 /* of the owner's messages */

static const char owner_text[] = "11111111-2222-3333-4444-555555555555";

struct run {
    struct event_base *base;
    struct pg_pool *pool;
    struct search *search;
    struct search_index *index;
    PGconn *db;
    unsigned rows;
    unsigned times;
    int postmaster;
    uint64_t seed;
    bool found;
    struct search_found last;
};

static uint64_t next_random(struct run *r)
{
    uint64_t z = (r->seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* --- text ------------------------------------------------------------------------------- */

/* Of n things, the first ones most often. */
static unsigned often_low(struct run *r, unsigned n)
{
    double x = (double)(next_random(r) >> 11) / 9007199254740992.0;
    return (unsigned)((double)n * x * x * x);
}

static size_t add_chinese(struct run *r, char *out)
{
    size_t at = 0;
    for (unsigned i = 5 + (unsigned)(next_random(r) % 25); i > 0; i--) {
        unsigned c = 0x4e00 + often_low(r, 3000) * 7 % 20000;
        out[at++] = (char)(0xe0 | c >> 12);
        out[at++] = (char)(0x80 | (c >> 6 & 0x3f));
        out[at++] = (char)(0x80 | (c & 0x3f));
    }
    return at;
}

/* A language of 20,000 words of two to nine letters. */
static size_t add_words(struct run *r, char *out)
{
    static const char letters[] = "etaoinshrdlucmfwypvbgkjqxz";
    size_t at = 0;
    for (unsigned i = 3 + (unsigned)(next_random(r) % 20); i > 0; i--) {
        uint64_t word = (often_low(r, 20000) + 1) * UINT64_C(0x9E3779B97F4A7C15);
        for (unsigned n = 2 + word % 8; n > 0; n--) {
            word = word * UINT64_C(6364136223846793005) + 1442695040888963407u;
            unsigned a = (unsigned)(word >> 33) % 26, b = (unsigned)(word >> 45) % 26;
            out[at++] = letters[a * b / 26];
        }
        out[at++] = ' ';
    }
    return at;
}

/* --- rows ------------------------------------------------------------------------------- */

static void sql(struct run *r, const char *text)
{
    PGresult *res = PQexec(r->db, text);
    ExecStatusType status = PQresultStatus(res);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN) {
        fprintf(stderr, "%s: %s", text, PQerrorMessage(r->db));
        exit(1);
    }
    PQclear(res);
}

static double number(struct run *r, const char *text)
{
    PGresult *res = PQexec(r->db, text);
    double value = PQntuples(res) > 0 ? strtod(PQgetvalue(res, 0, 0), NULL) : 0;
    PQclear(res);
    return value;
}

static void fill(struct run *r)
{
    char body[1024], line[4096];
    unsigned others = r->rows / OTHERS_ROWS + 1, mine = 0;
    int64_t first = (int64_t)number(r, "SELECT xs.id_from_time(date_trunc('quarter', now()))");
    sql(r,
        "COPY xs.message (owner, id, peer, ref_id, ref_body, flags, body, stanza) FROM STDIN");
    for (unsigned i = 0; i < r->rows; i++) {
        bool big = next_random(r) % 10 == 0;
        size_t at = next_random(r) % 2 ? add_chinese(r, body) : add_words(r, body);
        if (big && ++mine % RARE_EVERY == 0)
            at += (size_t)sprintf(body + at, " 龘鱻 xylophone");
        body[at] = '\0';
        int n = big ? snprintf(line, sizeof line, "%s", owner_text)
                    : snprintf(line, sizeof line, "22222222-2222-3333-4444-%012llx",
                               (unsigned long long)(next_random(r) % others));
        n += snprintf(line + n, sizeof line - (size_t)n,
                      "\t%lld\t%u\t%016llx%016llx\t%u\t%u\t%s\t<message from=\"someone@chat."
                      "example.org/phone\" to=\"me@chat.example.org\" type=\"chat\" "
                      "id=\"%016llx\"><body>%s</body><origin-id xmlns=\"urn:xmpp:sid:0\" "
                      "id=\"%016llx\"/></message>\n",
                      (long long)(first + (int64_t)i * 25600000),
                      1 + (unsigned)next_random(r) % 50, (unsigned long long)next_random(r),
                      (unsigned long long)next_random(r), i, (unsigned)next_random(r) % 3,
                      body, (unsigned long long)next_random(r), body,
                      (unsigned long long)next_random(r));
        PQputCopyData(r->db, line, n);
    }
    PQputCopyEnd(r->db, NULL);
    for (PGresult *res; (res = PQgetResult(r->db));) {
        if (PQresultStatus(res) != PGRES_COMMAND_OK) {
            fprintf(stderr, "%s", PQerrorMessage(r->db));
            exit(1);
        }
        PQclear(res);
    }
    sql(r, "INSERT INTO xs.account (owner, jid) SELECT DISTINCT owner, owner::text FROM"
           " xs.message");
    sql(r, "VACUUM ANALYZE xs.message");
    sql(r, "CHECKPOINT");
}

struct used {
    double wall;
    double worker;
    double postgres;
};

static struct used used_now(const struct run *r)
{
    struct rusage cpu;
    getrusage(RUSAGE_SELF, &cpu);
    return (struct used){(double)clock_real_us() / 1e6,
                         (double)(cpu.ru_utime.tv_sec + cpu.ru_stime.tv_sec) +
                             (double)(cpu.ru_utime.tv_usec + cpu.ru_stime.tv_usec) / 1e6,
                         postgres_seconds(r->postmaster)};
}

/* --- the index -------------------------------------------------------------------------- */

static void make_index(struct run *r)
{
    struct search_index_stats st = {0};
    struct used begin = used_now(r);
    r->index = search_index_new(r->base, r->pool, 1);
    while (!st.idle) {
        event_base_loop(r->base, EVLOOP_ONCE);
        search_index_get_stats(r->index, &st);
    }
    struct used end = used_now(r);
    double rows = (double)st.rows;
    printf("{\"rows\": %.0f, \"blocks\": %llu, \"rows_per_second\": %.0f,"
           " \"worker_us_per_row\": %.2f, \"postgres_us_per_row\": %.2f,"
           " \"bytes_per_row\": %.1f, \"message_bytes_per_row\": %.1f}\n",
           rows, (unsigned long long)st.blocks, rows / (end.wall - begin.wall),
           1e6 * (end.worker - begin.worker) / rows,
           1e6 * (end.postgres - begin.postgres) / rows,
           number(r, "SELECT pg_total_relation_size('xs.search_block')"
                     " + pg_total_relation_size('xs.search_bucket')") /
               rows,
           number(r, "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
                     " WHERE inhparent = 'xs.message'::regclass") /
               r->rows);
    fflush(stdout);
    sql(r, "VACUUM ANALYZE xs.search_block, xs.search_bucket");
}

/* --- words ------------------------------------------------------------------------------ */

static void on_found(void *ctx, const struct search_found *f)
{
    struct run *r = ctx;
    r->last = *f;
    r->found = true;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void time_word(struct run *r, const char *what, const char *word, uint64_t peer)
{
    static int64_t took[TIMES_MAX];
    struct search_text text;
    struct search_request q = {
        .peer = peer, .low = -1, .high = INT64_MAX, .backward = true, .want = PAGE};
    uuid_parse(owner_text, q.owner);
    if (search_read(r->search, word, &text) != SEARCH_TEXT_GOOD)
        abort();
    struct used from = used_now(r);
    for (unsigned i = 0; i < r->times; i++) {
        int64_t begin = clock_real_us();
        r->found = false;
        search_find(r->search, &q, &text, on_found, r);
        while (!r->found)
            event_base_loop(r->base, EVLOOP_ONCE);
        took[i] = clock_real_us() - begin;
    }
    struct used to = used_now(r);
    qsort(took, r->times, sizeof *took, by_value);
    printf("{\"word\": \"%s\", \"found\": %zu, \"all\": %s, \"median_us\": %lld, \"p99_us\":"
           " %lld, \"worker_us\": %.0f, \"postgres_us\": %.0f}\n",
           what, r->last.n, r->last.end == SEARCH_ENOUGH ? "false" : "true",
           (long long)took[r->times / 2], (long long)took[r->times * 99 / 100],
           1e6 * (to.worker - from.worker) / r->times,
           1e6 * (to.postgres - from.postgres) / r->times);
    fflush(stdout);
}

static bool read_options(struct run *r, int argc, char **argv)
{
    for (int c; (c = getopt(argc, argv, "n:t:")) != -1;) {
        unsigned long value = c == '?' ? 0 : strtoul(optarg, NULL, 10);
        if (value == 0 || (c == 't' && value > TIMES_MAX))
            return false;
        *(c == 'n' ? &r->rows : &r->times) = (unsigned)value;
    }
    return optind == argc - 1;
}

int main(int argc, char **argv)
{
    struct run r = {.rows = 1000000, .times = 200, .seed = 42};
    struct err e = {0};
    if (!read_options(&r, argc, argv)) {
        fprintf(stderr, "usage: search [-n ROWS] [-t TIMES] URL\n");
        return 64;
    }
    const char *url = argv[optind];
    signal(SIGPIPE, SIG_IGN);
    log_init(&(struct log_opts){.level = LOG_WARN}, "bench");
    if (migrate_run(url, NULL, NULL, &e) != ERR_NONE) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    r.db = PQconnectdb(url);
    r.postmaster = find_postmaster(url);
    sql(&r, "SELECT xs.ensure_partitions(4)");
    fill(&r);
    r.base = event_base_new();
    struct pg_opts opts = {.url = url,
                           .name = "read",
                           .statement_timeout_ms = 30000,
                           .plans = PG_PLANS_IN_INDEX_ORDER};
    r.pool = pg_pool_new(r.base, &opts, 1);
    while (!pg_pool_is_up(r.pool))
        event_base_loop(r.base, EVLOOP_ONCE);
    r.search = search_new(r.pool, SEARCH_LOOKED_MAX);
    make_index(&r);
    time_word(&r, "two characters, everywhere", "一丐", 0);
    time_word(&r, "two characters, rare", "龘鱻", 0);
    time_word(&r, "two characters, absent", "鱻龘", 0);
    time_word(&r, "letters, everywhere", "te", 0);
    time_word(&r, "letters, rare", "xylophone", 0);
    time_word(&r, "letters, absent", "zebra crossing", 0);
    time_word(&r, "everywhere, one peer", "te", 7);
    time_word(&r, "one character, everywhere", "一", 0);
    r.times = 5;
    time_word(&r, "one character, rare: all is read", "龘", 0);
    pg_pool_free(&r.pool);
    search_free(&r.search);
    search_index_free(&r.index);
    event_base_free(r.base);
    PQfinish(r.db);
    return 0;
}
