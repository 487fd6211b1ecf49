// SPDX-License-Identifier: Apache-2.0
/* The outbox as a person looks after it: what waits, how long and why; what is to be tried
 * again now, and what is given up.  It works on the rows beside a worker that runs: what the
 * worker has in hand it leaves alone, except that a dropped row ends there, too. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/datetime.h"
#include "sidecar/cli_db.h"

#define SHOWN_MAX 1000
#define PAGE "1000" /* rows locked at a time */
#define ID_DIGITS 16
#define AGES 9

/* What is selected; NULL: no matter which. */
struct choice {
    const char *app, *state, *id, *reason;
    bool json, all;
};

static const char *const age_names[AGES] = {"total", "1m",  "5m", "15m", "1h",
                                            "4h",    "12h", "1d", "1d+"};

/* The parts of a row that only a query can tell; the id names a row without saying whose. */
#define STATE                                                                                 \
    " CASE o.state WHEN 1 THEN 'leased' WHEN 3 THEN 'parked'"                                 \
    " ELSE CASE WHEN o.due <= now() THEN 'due' ELSE 'waiting' END END"
#define ID " left(md5(o.owner::text || o.device::text || o.peer), 16)"
#define FROM_WHERE                                                                            \
    " FROM xs.outbox o LEFT JOIN xs.device d ON d.device = o.device"                          \
    " WHERE ($1::text IS NULL OR coalesce(d.app, '') = $1::text)"                             \
    " AND ($2::text IS NULL OR" STATE " = $2::text)"                                          \
    " AND ($3::text IS NULL OR" ID " = $3::text)"                                             \
    " AND ($4::text IS NULL OR o.reason = $4::text)"
#define YOUNGER(age) ", count(*) FILTER (WHERE o.counted_at > now() - interval '" age "')"
#define SHAPE                                                                                 \
    "SELECT coalesce(d.app, '')," STATE ", count(*)" YOUNGER("1 min") YOUNGER("5 min")        \
        YOUNGER("15 min") YOUNGER("1 hour") YOUNGER("4 hours") YOUNGER("12 hours")            \
            YOUNGER("1 day") FROM_WHERE " GROUP BY 1, 2 ORDER BY 1, 2"
#define ENTRIES                                                                               \
    "SELECT" ID ", coalesce(d.app, '')," STATE ", o.counted_at, o.due, o.attempts, o.reason," \
    " CASE WHEN o.peer = 0 THEN 'badge' WHEN o.peer = -1 THEN 'test'"                         \
    " WHEN o.peer BETWEEN -65537 AND -2 THEN 'call' ELSE 'message' END,"                      \
    " (SELECT a.jid FROM xs.account a WHERE a.owner = o.owner)" FROM_WHERE                    \
    " ORDER BY o.counted_at, 1 LIMIT $5::bigint"

/* A page after a key, locked in the order in which everybody locks entries: no deadlocks. */
#define CHOSEN(which)                                                                         \
    "WITH page AS MATERIALIZED (SELECT o.owner, o.device, o.peer" FROM_WHERE " AND" which     \
    " AND (o.owner, o.device, o.peer) > ($5::uuid, $6::uuid, $7::bigint)"                     \
    " ORDER BY o.owner, o.device, o.peer LIMIT " PAGE "),"                                    \
    " chosen AS MATERIALIZED (SELECT o.owner, o.device, o.peer"                               \
    " FROM page c JOIN xs.outbox o ON" OF_CHOSEN " WHERE" which                               \
    " ORDER BY o.peer = 0, o.owner, o.device, o.peer FOR UPDATE OF o), changed AS ("
#define OF_CHOSEN " c.owner = o.owner AND c.device = o.device AND c.peer = o.peer"
#define KEYS ") SELECT owner, device, peer FROM page ORDER BY 1, 2, 3"

static const struct pg_statement shape_rows = {"cli_shape", SHAPE};
static const struct pg_statement entry_rows = {"cli_entries", ENTRIES};
static const struct pg_statement retry_rows = {
    "cli_retry", CHOSEN(" o.state IN (2, 3)") "UPDATE xs.outbox o SET state = 2, due = now(),"
                                              " attempts = 0, reason = NULL"
                                              " FROM chosen c WHERE" OF_CHOSEN KEYS};
static const struct pg_statement drop_rows = {
    "cli_drop", CHOSEN(" true") "DELETE FROM xs.outbox o USING chosen c WHERE" OF_CHOSEN KEYS};

static void add_choice(struct pg_params *p, const struct choice *c)
{
    pg_params_init(p);
    pg_add_text(p, c->app);
    pg_add_text(p, c->state);
    pg_add_text(p, c->id);
    pg_add_text(p, c->reason);
}

/* The list: first how many of which age, then each of them. */

struct listing {
    cJSON *shape, *entries; /* NULL: as text */
    int64_t total;
    int shown;
};

static void add_time(cJSON *o, const char *name, int64_t us)
{
    char text[DATETIME_BYTES];
    datetime_format(us, text);
    (void)cJSON_AddStringToObject(o, name, text);
}

static const char *app_name(const char *app)
{
    return app[0] ? app : "(gone)"; /* its device is no longer registered */
}

/* Column n of the shape: what is in no younger one. */
static int64_t of_age(const struct pg_result *r, int row, int n)
{
    if (n == 0)
        return pg_i64(r, row, 2);
    int64_t up_to = n == AGES - 1 ? pg_i64(r, row, 2) : pg_i64(r, row, 2 + n);
    return n == 1 ? up_to : up_to - pg_i64(r, row, 1 + n);
}

static void shape_json(struct listing *l, const struct pg_result *r, int row)
{
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "app", pg_text(r, row, 0));
    (void)cJSON_AddStringToObject(o, "state", pg_text(r, row, 1));
    for (int n = 0; n < AGES; n++)
        (void)cJSON_AddNumberToObject(o, age_names[n], (double)of_age(r, row, n));
    (void)cJSON_AddItemToArray(l->shape, o);
}

static void take_shape(void *ctx, const struct pg_result *r)
{
    struct listing *l = ctx;
    if (!l->shape && pg_rows(r) > 0) {
        printf("%-32s %-8s", "app", "state");
        for (int n = 0; n < AGES; n++)
            printf(" %6s", age_names[n]);
        printf("\n");
    }
    for (int i = 0; i < pg_rows(r); i++) {
        l->total += pg_i64(r, i, 2);
        if (l->shape) {
            shape_json(l, r, i);
            continue;
        }
        printf("%-32s %-8s", app_name(pg_text(r, i, 0)), pg_text(r, i, 1));
        for (int n = 0; n < AGES; n++)
            printf(" %6" PRId64, of_age(r, i, n));
        printf("\n");
    }
}

static void entry_json(struct listing *l, const struct pg_result *r, int row)
{
    cJSON *o = cJSON_CreateObject();
    bool parked = strcmp(pg_text(r, row, 2), "parked") == 0;
    (void)cJSON_AddStringToObject(o, "id", pg_text(r, row, 0));
    (void)cJSON_AddStringToObject(o, "app", pg_text(r, row, 1));
    (void)cJSON_AddStringToObject(o, "state", pg_text(r, row, 2));
    (void)cJSON_AddStringToObject(o, "account", pg_text(r, row, 8));
    (void)cJSON_AddStringToObject(o, "kind", pg_text(r, row, 7));
    add_time(o, "counted_at", pg_time_us(r, row, 3));
    add_time(o, parked ? "forgotten_at" : "next_try", pg_time_us(r, row, 4));
    (void)cJSON_AddNumberToObject(o, "attempts", (double)pg_i64(r, row, 5));
    (void)cJSON_AddStringToObject(o, "reason", pg_text(r, row, 6));
    (void)cJSON_AddItemToArray(l->entries, o);
}

/* "in 4 min", "2 h ago": the largest unit of which there are two. */
static void print_span(int64_t us, const char *before, const char *after)
{
    static const struct {
        const char *name;
        int64_t s;
    } units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    int64_t s = us > 0 ? us / 1000000 : 0;
    size_t i = 0;
    while (i < 3 && s < 2 * units[i].s)
        i++;
    printf("  %s%" PRId64 " %s%s", before, s / units[i].s, units[i].name, after);
}

static void entry_text(const struct pg_result *r, int row)
{
    const char *state = pg_text(r, row, 2);
    int64_t now_us = clock_real_us(), due_us = pg_time_us(r, row, 4);
    printf("%s  %-7s  %s  %s", pg_text(r, row, 0), state, app_name(pg_text(r, row, 1)),
           pg_text(r, row, 8));
    print_span(now_us - pg_time_us(r, row, 3), "", " old");
    if (strcmp(state, "parked") == 0)
        print_span(due_us - now_us, "forgotten in ", "");
    else if (strcmp(state, "waiting") == 0)
        print_span(due_us - now_us, "next try in ", "");
    if (pg_i64(r, row, 5) > 0)
        printf("  tried %" PRId64 " times", pg_i64(r, row, 5));
    if (strcmp(pg_text(r, row, 7), "message") != 0)
        printf("  %s only", pg_text(r, row, 7));
    if (pg_text(r, row, 6)[0])
        printf("  %s", pg_text(r, row, 6)); /* printable ASCII: the outbox sees to it */
    printf("\n");
}

static void take_entries(void *ctx, const struct pg_result *r)
{
    struct listing *l = ctx;
    l->shown = pg_rows(r);
    for (int i = 0; i < l->shown; i++) {
        if (i == 0 && !l->entries)
            printf("\n");
        if (l->entries)
            entry_json(l, r, i);
        else
            entry_text(r, i);
    }
}

static void print_json(const struct listing *l, cJSON *all)
{
    (void)cJSON_AddNumberToObject(all, "total", (double)l->total);
    (void)cJSON_AddNumberToObject(all, "shown", l->shown);
    char *text = cJSON_PrintUnformatted(all);
    if (!text)
        abort();
    printf("%s\n", text);
    cJSON_free(text);
}

static int list(struct cli_db *db, const struct choice *c)
{
    struct listing l = {0};
    cJSON *all = c->json ? cJSON_CreateObject() : NULL;
    if (all) {
        l.shape = cJSON_AddArrayToObject(all, "shape");
        l.entries = cJSON_AddArrayToObject(all, "entries");
    }
    struct pg_params p;
    add_choice(&p, c);
    bool good = cli_db_ask(db, &shape_rows, &p, take_shape, &l);
    pg_add_i64(&p, SHOWN_MAX);
    good = good && cli_db_ask(db, &entry_rows, &p, take_entries, &l);
    if (good && all)
        print_json(&l, all);
    else if (good && l.total > l.shown)
        printf("and %" PRId64 " younger ones\n", l.total - l.shown);
    cJSON_Delete(all);
    return good ? EX_OK : EX_TEMPFAIL;
}

/* Retry and drop: page by page, so that no lane waits long for what is locked. */

struct place {
    uint8_t owner[UUID_BYTES], device[UUID_BYTES];
    int64_t peer;
    int rows;
};

static void take_page(void *ctx, const struct pg_result *r)
{
    struct place *at = ctx;
    at->rows = pg_rows(r);
    if (at->rows == 0)
        return;
    pg_uuid(r, at->rows - 1, 0, at->owner);
    pg_uuid(r, at->rows - 1, 1, at->device);
    at->peer = pg_i64(r, at->rows - 1, 2);
}

static int change(struct cli_db *db, const struct pg_statement *st, const struct choice *c,
                  const char *done)
{
    struct place at = {.peer = INT64_MIN};
    int64_t n = 0;
    do {
        struct pg_params p;
        add_choice(&p, c);
        pg_add_uuid(&p, at.owner);
        pg_add_uuid(&p, at.device);
        pg_add_i64(&p, at.peer);
        if (!cli_db_ask(db, st, &p, take_page, &at)) {
            if (n > 0)
                printf("%" PRId64 " %s until then\n", n, done);
            return EX_TEMPFAIL;
        }
        n += at.rows;
    } while (at.rows > 0);
    printf("%" PRId64 " %s\n", n, done);
    return n > 0 ? EX_OK : EX_NOINPUT;
}

static int retry(struct cli_db *db, const struct choice *c)
{
    return change(db, &retry_rows, c, "due now; a worker takes them up within half a minute");
}

static int drop(struct cli_db *db, const struct choice *c)
{
    return change(db, &drop_rows, c, "dropped");
}

/* Arguments. */

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: xmpp-sidecar queue [list] [SELECTION] [--json]\n"
                  "       xmpp-sidecar queue retry|drop SELECTION|--all\n"
                  "SELECTION, all of: --app ID  --state due|waiting|leased|parked  --id ID  "
                  "--reason TEXT\n");
    return EX_USAGE;
}

static bool is_state(const char *word)
{
    static const char *const states[] = {"due", "waiting", "leased", "parked"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (strcmp(states[i], word) == 0)
            return true;
    return false;
}

static bool is_id(const char *text)
{
    return strlen(text) == ID_DIGITS && text[strspn(text, "0123456789abcdef")] == '\0';
}

/* Takes one option, and its value where it has one; how many arguments, 0: none of ours. */
static int take_option(struct choice *c, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **at;
    } with_value[] = {{"--app", &c->app},
                      {"--state", &c->state},
                      {"--id", &c->id},
                      {"--reason", &c->reason}};
    if (strcmp(name, "--json") == 0 || strcmp(name, "--all") == 0) {
        *(name[2] == 'j' ? &c->json : &c->all) = true;
        return 1;
    }
    for (size_t i = 0; value && i < sizeof with_value / sizeof *with_value; i++) {
        if (strcmp(with_value[i].name, name) != 0 || *with_value[i].at)
            continue;
        *with_value[i].at = value;
        return 2;
    }
    return 0;
}

static bool read_choice(int argc, char **argv, struct choice *out)
{
    for (int i = 0; i < argc;) {
        int taken = take_option(out, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (taken == 0)
            return false;
        i += taken;
    }
    return (!out->state || is_state(out->state)) && (!out->id || is_id(out->id));
}

/* What changes something says what: either a selection, or all. */
static bool fits(const struct choice *c, bool changes)
{
    bool selects = c->app || c->state || c->id || c->reason;
    return changes ? !c->json && selects != c->all : !c->all;
}

int cli_queue(const struct cli *c)
{
    static const struct {
        const char *name;
        int (*run)(struct cli_db *db, const struct choice *c);
    } verbs[] = {{"list", list}, {"retry", retry}, {"drop", drop}};
    size_t verb = 0, n = sizeof verbs / sizeof *verbs;
    bool named = c->argc > 0 && c->argv[0][0] != '-';
    while (named && verb < n && strcmp(verbs[verb].name, c->argv[0]) != 0)
        verb++;
    struct choice choice = {0};
    if (verb == n || !read_choice(c->argc - named, c->argv + named, &choice) ||
        !fits(&choice, verb > 0))
        return usage();
    int status;
    struct cli_db *db = cli_db_open(c, &status);
    if (!db)
        return status;
    status = verbs[verb].run(db, &choice);
    cli_db_close(&db);
    return status;
}
