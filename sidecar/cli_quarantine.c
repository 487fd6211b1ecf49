// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/datetime.h"
#include "sidecar/cli_db.h"
#include "sidecar/cli_print.h"

#define LOOK_MS 200
#define RETRY_WITHIN_MS 8000
#define ID_HEAD 8 /* digits of the spool's id that list prints */

/* SPOOL:POS, where SPOOL may be the beginning of the spool's id. */
struct id {
    char spool[UUID_TEXT_BYTES];
    int64_t pos;
};

static bool parse_id(const char *text, struct id *out)
{
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    char *end = NULL;
    if (len == 0 || len >= sizeof out->spool || !isdigit((unsigned char)colon[1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isxdigit((unsigned char)text[i]) && text[i] != '-')
            return false;
        out->spool[i] = (char)tolower((unsigned char)text[i]);
    }
    out->spool[len] = '\0';
    out->pos = strtoll(colon + 1, &end, 10);
    return *end == '\0';
}

#define WITH_ID " q.pos = $2::bigint AND q.spool::text LIKE $1::text || '%'"
#define COLUMNS                                                                               \
    " q.spool, q.pos, q.at, q.received_at, q.length, octet_length(q.bytes), q.reason,"        \
    " q.retry_at, q.tries, q.retry_error"

static const struct pg_statement list_rows = {
    "cli_list", "SELECT" COLUMNS " FROM xs.quarantine q ORDER BY q.at, q.spool, q.pos"};
static const struct pg_statement show_row = {"cli_show",
                                             "SELECT" COLUMNS ", q.bytes FROM xs.quarantine q"
                                             " WHERE" WITH_ID};
static const struct pg_statement wish_retry = {
    "cli_retry", "UPDATE xs.quarantine q SET retry_at = clock_timestamp(), tries = 0,"
                 " retry_error = NULL WHERE" WITH_ID};
static const struct pg_statement drop_row = {
    "cli_drop",
    "SELECT xs.quarantine_drop(q.spool, q.pos) FROM xs.quarantine q WHERE" WITH_ID};

static void send_id(struct pg_params *p, const struct id *id)
{
    pg_params_init(p);
    pg_add_text(p, id->spool);
    pg_add_i64(p, id->pos);
}

/* One row of COLUMNS as it is shown. */
struct shown {
    char id[ID_HEAD + 24];
    char spool[UUID_TEXT_BYTES];
    char at[DATETIME_BYTES];
    char received[DATETIME_BYTES];
};

static void read_row(const struct pg_result *r, int row, struct shown *out)
{
    uint8_t spool[UUID_BYTES];
    pg_uuid(r, row, 0, spool);
    uuid_format(spool, out->spool);
    (void)snprintf(out->id, sizeof out->id, "%.*s:%" PRId64, ID_HEAD, out->spool,
                   pg_i64(r, row, 1));
    datetime_format(pg_time_us(r, row, 2), out->at);
    datetime_format(pg_time_us(r, row, 3), out->received);
}

static void print_list(void *ctx, const struct pg_result *r)
{
    (void)ctx;
    for (int i = 0; i < pg_rows(r); i++) {
        struct shown s;
        read_row(r, i, &s);
        printf("%-20s  %.19sZ  %10" PRId64 " bytes  ", s.id, s.received, pg_i64(r, i, 4));
        cli_print_text(pg_text(r, i, 6));
        if (!pg_is_null(r, i, 7)) {
            printf("  (to be tried again)");
        } else if (!pg_is_null(r, i, 9)) {
            printf("  (tried again: ");
            cli_print_text(pg_text(r, i, 9));
            printf(")");
        }
        printf("\n");
    }
}

static void print_json(void *ctx, const struct pg_result *r)
{
    (void)ctx;
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < pg_rows(r); i++) {
        struct shown s;
        read_row(r, i, &s);
        cJSON *o = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(o, "id", s.id);
        (void)cJSON_AddStringToObject(o, "spool", s.spool);
        (void)cJSON_AddNumberToObject(o, "pos", (double)pg_i64(r, i, 1));
        (void)cJSON_AddStringToObject(o, "at", s.at);
        (void)cJSON_AddStringToObject(o, "received_at", s.received);
        (void)cJSON_AddNumberToObject(o, "length", (double)pg_i64(r, i, 4));
        (void)cJSON_AddNumberToObject(o, "kept", (double)pg_i64(r, i, 5));
        (void)cJSON_AddStringToObject(o, "reason", pg_text(r, i, 6));
        (void)cJSON_AddBoolToObject(o, "waiting", !pg_is_null(r, i, 7));
        (void)cJSON_AddNumberToObject(o, "tries", (double)pg_i64(r, i, 8));
        (void)cJSON_AddStringToObject(o, "retry_error", pg_text(r, i, 9));
        (void)cJSON_AddItemToArray(list, o);
    }
    cli_print_json(list);
}

struct found {
    int rows;
    bool waiting;
    bool dropped;
    char error[256];
};

static void print_row(void *ctx, const struct pg_result *r)
{
    struct found *f = ctx;
    f->rows = pg_rows(r);
    if (f->rows != 1)
        return;
    struct shown s;
    size_t len;
    read_row(r, 0, &s);
    const uint8_t *bytes = pg_bytes(r, 0, 10, &len);
    printf("id        %s\nspool     %s\nposition  %" PRId64 "\nreceived  %s\naside     %s\n"
           "length    %" PRId64 ", %zu kept\nreason    ",
           s.id, s.spool, pg_i64(r, 0, 1), s.received, s.at, pg_i64(r, 0, 4), len);
    cli_print_text(pg_text(r, 0, 6));
    if (!pg_is_null(r, 0, 9)) {
        printf("\nretry     failed: ");
        cli_print_text(pg_text(r, 0, 9));
    }
    printf(pg_is_null(r, 0, 7) ? "\n\n" : "\nretry     is waited for\n\n");
    cli_print_bytes(bytes, len);
    printf("\n");
}

static void look_at_row(void *ctx, const struct pg_result *r)
{
    struct found *f = ctx;
    f->rows = pg_rows(r);
    f->waiting = f->rows == 1 && !pg_is_null(r, 0, 7);
    (void)snprintf(f->error, sizeof f->error, "%s", f->rows == 1 ? pg_text(r, 0, 9) : "");
}

static void look_at_drop(void *ctx, const struct pg_result *r)
{
    struct found *f = ctx;
    f->dropped = pg_rows(r) > 0 && pg_bool(r, 0, 0);
}

static int not_one(int rows, const char *text)
{
    (void)fprintf(stderr, "xmpp-sidecar: %s in quarantine is %s\n",
                  rows ? "more than one stanza" : "no stanza", text);
    return EX_NOINPUT;
}

/* The one stanza with this id, shown to row; EX_OK when it is there. */
static int find_one(struct cli_db *db, const struct pg_params *p, cli_rows_fn row,
                    struct found *f, const char *text)
{
    if (!cli_db_ask(db, &show_row, p, row, f))
        return EX_TEMPFAIL;
    return f->rows == 1 ? EX_OK : not_one(f->rows, text);
}

static int list(struct cli_db *db, bool json)
{
    return cli_db_ask(db, &list_rows, NULL, json ? print_json : print_list, NULL)
               ? EX_OK
               : EX_TEMPFAIL;
}

static int show(struct cli_db *db, const struct id *id, const char *text)
{
    struct found f = {0};
    struct pg_params p;
    send_id(&p, id);
    return find_one(db, &p, print_row, &f, text);
}

/* The row is the wish; a worker that runs, or the next one, takes it up. */
static int retry(struct cli_db *db, const struct id *id, const char *text)
{
    struct found f = {0};
    struct pg_params p;
    send_id(&p, id);
    int status = find_one(db, &p, look_at_row, &f, text);
    if (status != EX_OK)
        return status;
    int64_t until_ms = clock_mono_ms() + RETRY_WITHIN_MS;
    if (!cli_db_ask(db, &wish_retry, &p, NULL, NULL))
        return EX_TEMPFAIL;
    do {
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        if (!cli_db_ask(db, &show_row, &p, look_at_row, &f))
            return EX_TEMPFAIL;
    } while (f.rows == 1 && f.waiting && clock_mono_ms() < until_ms);
    if (f.rows == 0) {
        printf("%s: archived\n", text);
        return EX_OK;
    }
    if (f.waiting) {
        printf(
            "%s: no worker has taken it up yet; the next one that reaches PostgreSQL will\n",
            text);
        return EX_TEMPFAIL;
    }
    printf("%s: it stays in quarantine: %s\n", text, f.error);
    return EX_DATAERR;
}

static int drop(struct cli_db *db, const struct id *id, const char *text)
{
    struct found f = {0};
    struct pg_params p;
    send_id(&p, id);
    int status = find_one(db, &p, look_at_row, &f, text);
    if (status != EX_OK)
        return status;
    if (!cli_db_ask(db, &drop_row, &p, look_at_drop, &f))
        return EX_TEMPFAIL;
    if (!f.dropped) /* somebody was faster */
        return not_one(0, text);
    printf("%s: deleted\n", text);
    return EX_OK;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: xmpp-sidecar quarantine list [--json]\n"
                          "       xmpp-sidecar quarantine show|retry|drop SPOOL:POSITION\n");
    return EX_USAGE;
}

int cli_quarantine(const struct cli *c)
{
    static const struct {
        const char *name;
        int (*run)(struct cli_db *db, const struct id *id, const char *text);
    } verbs[] = {{"show", show}, {"retry", retry}, {"drop", drop}};
    const char *verb = c->argc > 0 ? c->argv[0] : "";
    struct cli rest = {c->config_file, c->argc - 1, c->argv + 1};
    struct id id;
    bool json = false, lists = strcmp(verb, "list") == 0;
    size_t i = 0, n = sizeof verbs / sizeof *verbs;
    while (i < n && strcmp(verbs[i].name, verb) != 0)
        i++;
    if (lists ? !cli_json_option(&rest, &json)
              : i == n || rest.argc != 1 || !parse_id(rest.argv[0], &id))
        return usage();
    int status;
    struct cli_db *db = cli_db_open(c, &status);
    if (!db)
        return status;
    status = lists ? list(db, json) : verbs[i].run(db, &id, rest.argv[0]);
    cli_db_close(&db);
    return status;
}
