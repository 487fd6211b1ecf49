// SPDX-License-Identifier: Apache-2.0
/* The devices of one account.  Their tokens are shown to nobody. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include <cjson/cJSON.h>

#include "apns/devices.h"
#include "apns/dialect.h"
#include "base/crypt.h"
#include "sidecar/cli_account.h"
#include "sidecar/cli_print.h"

static const struct pg_statement device_rows = {
    "cli_devices",
    "SELECT r.device, r.app, r.resource, r.dialect, r.registered_at, d.answered_at,"
    "   d.badge_sent, b.badge + muted.badge,"
    "   (SELECT count(*) FROM xs.registration s WHERE s.device = r.device),"
    "   (SELECT count(*) FROM xs.outbox o WHERE o.owner = r.owner AND o.device = r.device"
    "      AND o.state <> 3),"
    "   (SELECT count(*) FROM xs.outbox o WHERE o.owner = r.owner AND o.device = r.device"
    "      AND o.state = 3),"
    "   l.at, l.status, l.reason"
    " FROM xs.registration r JOIN xs.device d ON d.device = r.device"
    " CROSS JOIN LATERAL xs.device_badge(r.device) b"
    " CROSS JOIN LATERAL xs.device_muted(r.device) muted"
    " LEFT JOIN LATERAL (SELECT p.at, p.status, p.reason FROM xs.push_log p"
    "   WHERE p.owner = r.owner AND p.device = r.device ORDER BY p.at DESC LIMIT 1) l ON true"
    " WHERE r.owner = $1::uuid ORDER BY r.registered_at, r.device"};

struct shown {
    char id[UUID_TEXT_BYTES];
    const char *app;
    const char *resource;
    const char *dialect;
    int64_t registered_us;
    int64_t answered_us;
    int64_t badge_told; /* -1: not known */
    int64_t badge_due;
    int64_t accounts;
    int64_t waiting;
    int64_t parked;
    int64_t last_us; /* 0: nothing was ever tried, or it is forgotten */
    int64_t last_status;
    const char *last_reason;
};

static void read_row(const struct pg_result *r, int row, struct shown *out)
{
    uint8_t device[UUID_BYTES];
    *out = (struct shown){
        .app = pg_text(r, row, 1),
        .resource = pg_text(r, row, 2),
        .dialect = dialect_name((enum device_dialect)pg_i64(r, row, 3)),
        .registered_us = pg_time_us(r, row, 4),
        .answered_us = pg_time_us(r, row, 5),
        .badge_told = pg_i64(r, row, 6),
        .badge_due = pg_i64(r, row, 7),
        .accounts = pg_i64(r, row, 8),
        .waiting = pg_i64(r, row, 9),
        .parked = pg_i64(r, row, 10),
        .last_us = pg_time_us(r, row, 11),
        .last_status = pg_i64(r, row, 12),
        .last_reason = pg_text(r, row, 13),
    };
    pg_uuid(r, row, 0, device);
    uuid_format(device, out->id);
}

static void print_last(const struct shown *s)
{
    if (!s->last_us)
        return;
    printf("    last tried ");
    cli_print_time(s->last_us);
    printf("  %" PRId64 " ", s->last_status);
    cli_print_text(s->last_reason);
    printf("\n");
}

static void print_text(void *ctx, const struct pg_result *r)
{
    (void)ctx;
    for (int i = 0; i < pg_rows(r); i++) {
        struct shown s;
        read_row(r, i, &s);
        printf("%s  ", s.id);
        cli_print_text(s.app);
        printf("  ");
        cli_print_text(s.resource[0] ? s.resource : "-");
        printf("  registered ");
        cli_print_time(s.registered_us);
        printf("  accepted ");
        cli_print_time(s.answered_us);
        printf("\n    badge %" PRId64 ", was told ", s.badge_due);
        if (s.badge_told < 0)
            printf("what is not known");
        else
            printf("%" PRId64, s.badge_told);
        printf("; %" PRId64 " accounts on it; %" PRId64 " pushes wait, %" PRId64
               " are parked\n",
               s.accounts, s.waiting, s.parked);
        print_last(&s);
    }
}

static void add_number(cJSON *o, const char *name, int64_t value)
{
    (void)cJSON_AddNumberToObject(o, name, (double)value);
}

static cJSON *to_json(const struct shown *s)
{
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "device", s->id);
    (void)cJSON_AddStringToObject(o, "app", s->app);
    (void)cJSON_AddStringToObject(o, "resource", s->resource);
    (void)cJSON_AddStringToObject(o, "dialect", s->dialect);
    cli_json_time(o, "registered_at", s->registered_us);
    cli_json_time(o, "accepted_at", s->answered_us);
    add_number(o, "badge", s->badge_due);
    if (s->badge_told < 0)
        (void)cJSON_AddNullToObject(o, "badge_told");
    else
        add_number(o, "badge_told", s->badge_told);
    add_number(o, "accounts", s->accounts);
    add_number(o, "waiting", s->waiting);
    add_number(o, "parked", s->parked);
    if (!s->last_us) {
        (void)cJSON_AddNullToObject(o, "last");
        return o;
    }
    cJSON *last = cJSON_AddObjectToObject(o, "last");
    cli_json_time(last, "at", s->last_us);
    add_number(last, "status", s->last_status);
    (void)cJSON_AddStringToObject(last, "reason", s->last_reason);
    return o;
}

static void print_json(void *ctx, const struct pg_result *r)
{
    (void)ctx;
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < pg_rows(r); i++) {
        struct shown s;
        read_row(r, i, &s);
        (void)cJSON_AddItemToArray(list, to_json(&s));
    }
    cli_print_json(list);
}

int cli_devices(const struct cli *c)
{
    bool json = false;
    const char *jid;
    const struct cli_option options[] = {{"--json", &json, NULL}, {0}};
    if (!cli_arguments(c, options, 1, 1, &jid))
        return EX_USAGE;
    struct cli_account a;
    int status = cli_account_open(c, jid, &a);
    if (status == EX_OK) {
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, a.owner);
        if (!cli_db_ask(a.db, &device_rows, &p, json ? print_json : print_text, NULL))
            status = EX_TEMPFAIL;
    }
    cli_account_close(&a);
    return status;
}
