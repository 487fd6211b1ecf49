// SPDX-License-Identifier: Apache-2.0
/* Compares every number that is kept with the messages, and puts it right where that is asked.
 * Each account is repaired in a transaction of its own, so that a running worker waits for one
 * account at most. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cjson/cJSON.h>

#include "sidecar/cli_account.h"
#include "sidecar/cli_print.h"

#define PAGE 50

/* Accounts with nothing wrong have a row of NULLs. */
#define COLUMNS " a.owner, a.jid, d.o_what, d.o_peer_jid, d.o_stored, d.o_right"
static const struct pg_statement one_account = {
    "cli_recount_one", "SELECT" COLUMNS " FROM xs.account a"
                       " LEFT JOIN LATERAL xs.recount(a.owner, $2::boolean) d ON true"
                       " WHERE a.owner = $1::uuid"};
static const struct pg_statement next_accounts = {
    "cli_recount_page", "SELECT" COLUMNS " FROM (SELECT owner, jid FROM xs.account"
                        "   WHERE owner > $1::uuid ORDER BY owner LIMIT $2::int) a"
                        " LEFT JOIN LATERAL xs.recount(a.owner, false) d ON true"
                        " ORDER BY a.owner"};

struct recount {
    struct cli_account *a;
    bool repair;
    cJSON *list; /* NULL: as text */
    uint8_t last[OWNER_BYTES];
    uint64_t accounts; /* that were looked at */
    uint64_t faulty;   /* of these */
    uint64_t differences;
    /* Of a page, when they are to be repaired. */
    uint8_t to_repair[PAGE][OWNER_BYTES];
    size_t to_repair_n;
};

static void tell(struct recount *rc, const struct pg_result *r, int row)
{
    rc->differences++;
    if (!rc->list) {
        cli_print_text(pg_text(r, row, 1));
        printf("  %s ", pg_text(r, row, 2));
        cli_print_text(pg_text(r, row, 3));
        printf("  stored %" PRId64 ", right %" PRId64 "\n", pg_i64(r, row, 4),
               pg_i64(r, row, 5));
        return;
    }
    /* As text: ids are beyond what every reader of JSON takes for an exact number. */
    char stored[24], right[24];
    (void)snprintf(stored, sizeof stored, "%" PRId64, pg_i64(r, row, 4));
    (void)snprintf(right, sizeof right, "%" PRId64, pg_i64(r, row, 5));
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddItemToArray(rc->list, o);
    (void)cJSON_AddStringToObject(o, "jid", pg_text(r, row, 1));
    (void)cJSON_AddStringToObject(o, "what", pg_text(r, row, 2));
    if (pg_is_null(r, row, 3))
        (void)cJSON_AddNullToObject(o, "conversation");
    else
        (void)cJSON_AddStringToObject(o, "conversation", pg_text(r, row, 3));
    (void)cJSON_AddStringToObject(o, "stored", stored);
    (void)cJSON_AddStringToObject(o, "right", right);
}

static void on_rows(void *ctx, const struct pg_result *r)
{
    struct recount *rc = ctx;
    uint8_t owner[OWNER_BYTES];
    bool faulty = false;
    for (int i = 0; i < pg_rows(r); i++) {
        pg_uuid(r, i, 0, owner);
        if (i == 0 || memcmp(owner, rc->last, OWNER_BYTES) != 0) {
            rc->accounts++;
            faulty = false;
        }
        memcpy(rc->last, owner, OWNER_BYTES);
        if (pg_is_null(r, i, 2))
            continue;
        tell(rc, r, i);
        if (!faulty)
            memcpy(rc->to_repair[rc->to_repair_n++], owner, OWNER_BYTES);
        rc->faulty += !faulty;
        faulty = true;
    }
}

static bool ask_one(struct recount *rc, const uint8_t *owner, bool repair, cli_rows_fn rows)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, owner);
    pg_add_bool(&p, repair);
    rc->to_repair_n = 0;
    return cli_db_ask(rc->a->db, &one_account, &p, rows, rc);
}

static bool repair_page(struct recount *rc)
{
    size_t n = rc->to_repair_n;
    for (size_t i = 0; i < n; i++)
        if (!ask_one(rc, rc->to_repair[i], true, NULL))
            return false;
    return true;
}

/* Looks first, and takes the lane only of accounts in which something is wrong. */
static bool all_accounts(struct recount *rc)
{
    uint64_t before;
    do {
        before = rc->accounts;
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, rc->last);
        pg_add_i32(&p, PAGE);
        rc->to_repair_n = 0;
        if (!cli_db_ask(rc->a->db, &next_accounts, &p, on_rows, rc))
            return false;
        if (rc->repair && !repair_page(rc))
            return false;
    } while (rc->accounts == before + PAGE);
    return true;
}

static void conclude(struct recount *rc)
{
    if (!rc->list) {
        printf("%" PRIu64 " differences in %" PRIu64 " of %" PRIu64 " accounts%s\n",
               rc->differences, rc->faulty, rc->accounts,
               rc->repair && rc->differences ? ", repaired" : "");
        return;
    }
    cJSON *tree = cJSON_CreateObject();
    (void)cJSON_AddNumberToObject(tree, "accounts", (double)rc->accounts);
    (void)cJSON_AddNumberToObject(tree, "faulty", (double)rc->faulty);
    (void)cJSON_AddBoolToObject(tree, "repaired", rc->repair);
    (void)cJSON_AddItemToObject(tree, "differences", rc->list);
    rc->list = NULL;
    cli_print_json(tree);
}

int cli_recount(const struct cli *c)
{
    struct recount rc = {0};
    bool json = false;
    const char *jid;
    const struct cli_option options[] = {
        {"--json", &json, NULL}, {"--repair", &rc.repair, NULL}, {0}};
    if (!cli_arguments(c, options, 0, 1, &jid))
        return EX_USAGE;
    struct cli_account a;
    int status = cli_account_open(c, jid, &a);
    rc.a = &a;
    if (status == EX_OK) {
        rc.list = json ? cJSON_CreateArray() : NULL;
        bool done = jid ? ask_one(&rc, a.owner, rc.repair, on_rows) : all_accounts(&rc);
        if (done)
            conclude(&rc);
        cJSON_Delete(rc.list);
        status = !done ? EX_TEMPFAIL : rc.differences && !rc.repair ? EX_DATAERR : EX_OK;
    }
    cli_account_close(&a);
    return status;
}
