// SPDX-License-Identifier: Apache-2.0
/* What is unread in one account and why, and reading all of it. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include <cjson/cJSON.h>

#include "sidecar/cli_account.h"
#include "sidecar/cli_print.h"

/* One row at least; without unread messages the conversation's columns are NULL. */
static const struct pg_statement unread_rows = {
    "cli_unread",
    "WITH rooms AS MATERIALIZED (SELECT * FROM xs.rooms_unread($1::uuid) WHERE o_unread > 0)"
    " SELECT a.unread + (SELECT coalesce(sum(o_unread), 0) FROM rooms),"
    "   a.unread_conversations + (SELECT count(*) FROM rooms),"
    "   c.jid, c.unread, c.read_id, c.read_at, c.first_id, c.last_id, m.owner IS NOT NULL,"
    "   m.until, c.room"
    " FROM xs.account a"
    " LEFT JOIN ("
    "   SELECT c.peer, c.jid, c.unread, c.read_id, c.read_at,"
    "     (SELECT m.id FROM xs.message m WHERE m.owner = c.owner AND m.peer = c.peer"
    "        AND m.id > c.read_id AND m.flags & 1 = 1 ORDER BY m.id LIMIT 1) AS first_id,"
    "     c.last_id, false AS room"
    "   FROM xs.conversation c WHERE c.owner = $1::uuid AND c.unread > 0"
    "   UNION ALL SELECT o_conversation, o_jid, o_unread, o_read_id, NULL, o_first_id,"
    "     o_last_id, true FROM rooms) c ON true"
    " LEFT JOIN xs.mute m ON m.owner = a.owner AND m.peer = c.peer"
    "   AND (m.until IS NULL OR m.until > now())"
    " WHERE a.owner = $1::uuid ORDER BY c.last_id DESC"};
static const struct pg_statement mark_all = {
    "cli_mark", "SELECT conversations, messages FROM xs.mark_all_read($1::uuid)"};

struct unread_row {
    const char *jid;
    int64_t unread;
    int64_t read_id;
    int64_t moved_us;
    int64_t first_id;
    int64_t last_id;
    bool muted;
    int64_t until_us; /* 0: without an end */
    bool room;
};

static bool read_row(const struct pg_result *r, int row, struct unread_row *out)
{
    *out = (struct unread_row){.jid = pg_text(r, row, 2),
                               .unread = pg_i64(r, row, 3),
                               .read_id = pg_i64(r, row, 4),
                               .moved_us = pg_time_us(r, row, 5),
                               .first_id = pg_i64(r, row, 6),
                               .last_id = pg_i64(r, row, 7),
                               .muted = pg_bool(r, row, 8),
                               .until_us = pg_time_us(r, row, 9),
                               .room = pg_bool(r, row, 10)};
    return !pg_is_null(r, row, 2);
}

static int64_t time_of(int64_t id)
{
    return id ? ident_us_from_id(id) : 0;
}

static void print_mute(const struct unread_row *u)
{
    if (!u->muted)
        return;
    printf("  muted");
    if (u->until_us) {
        printf(" until ");
        cli_print_time(u->until_us);
    }
}

/* A room's messages are its own. */
static void archive_id(const struct cli_account *a, const struct unread_row *u, int64_t id,
                       char out[ARCHIVE_ID_BYTES])
{
    uint8_t room[OWNER_BYTES];
    ident_owner(a->ident, u->jid, room);
    ident_archive_id(a->ident, u->room ? room : a->owner, id, out);
}

static void print_text(void *ctx, const struct pg_result *r)
{
    const struct cli_account *a = ctx;
    printf("%s: %" PRId64 " unread in %" PRId64 " conversations\n", a->jid.bare,
           pg_i64(r, 0, 0), pg_i64(r, 0, 1));
    for (int i = 0; i < pg_rows(r); i++) {
        struct unread_row u;
        char first[ARCHIVE_ID_BYTES];
        if (!read_row(r, i, &u))
            continue;
        archive_id(a, &u, u.first_id, first);
        printf("%6" PRId64 "  ", u.unread);
        cli_print_text(u.jid);
        printf("  first %s of ", first);
        cli_print_time(time_of(u.first_id));
        printf("  read up to ");
        cli_print_time(time_of(u.read_id));
        print_mute(&u);
        printf("\n");
    }
}

static void add_id(cJSON *object, const char *name, const struct cli_account *a,
                   const struct unread_row *u, int64_t id)
{
    char text[ARCHIVE_ID_BYTES];
    if (!id) {
        (void)cJSON_AddNullToObject(object, name);
        return;
    }
    cJSON *o = cJSON_AddObjectToObject(object, name);
    archive_id(a, u, id, text);
    (void)cJSON_AddStringToObject(o, "id", text);
    cli_json_time(o, "at", time_of(id));
}

static void print_json(void *ctx, const struct pg_result *r)
{
    const struct cli_account *a = ctx;
    cJSON *tree = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(tree, "jid", a->jid.bare);
    (void)cJSON_AddNumberToObject(tree, "unread", (double)pg_i64(r, 0, 0));
    (void)cJSON_AddNumberToObject(tree, "unread_conversations", (double)pg_i64(r, 0, 1));
    cJSON *list = cJSON_AddArrayToObject(tree, "conversations");
    for (int i = 0; i < pg_rows(r); i++) {
        struct unread_row u;
        if (!read_row(r, i, &u))
            continue;
        cJSON *o = cJSON_CreateObject();
        (void)cJSON_AddItemToArray(list, o);
        (void)cJSON_AddStringToObject(o, "jid", u.jid);
        (void)cJSON_AddNumberToObject(o, "unread", (double)u.unread);
        /* A position need not be a message's: all that is older has been read. */
        cli_json_time(o, "read_up_to", time_of(u.read_id));
        cli_json_time(o, "read_at", u.moved_us);
        add_id(o, "first_unread", a, &u, u.first_id);
        add_id(o, "newest", a, &u, u.last_id);
        (void)cJSON_AddBoolToObject(o, "room", u.room);
        (void)cJSON_AddBoolToObject(o, "muted", u.muted);
        cli_json_time(o, "muted_until", u.until_us);
    }
    cli_print_json(tree);
}

struct marked {
    int64_t conversations;
    int64_t messages;
};

static void on_marked(void *ctx, const struct pg_result *r)
{
    *(struct marked *)ctx = (struct marked){pg_i64(r, 0, 0), pg_i64(r, 0, 1)};
}

static int mark(const struct cli_account *a, const struct pg_params *p, bool json)
{
    struct marked m = {0};
    if (!cli_db_ask(a->db, &mark_all, p, on_marked, &m))
        return EX_TEMPFAIL;
    if (json) {
        cJSON *tree = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(tree, "jid", a->jid.bare);
        (void)cJSON_AddNumberToObject(tree, "marked", (double)m.messages);
        (void)cJSON_AddNumberToObject(tree, "conversations", (double)m.conversations);
        cli_print_json(tree);
    } else {
        printf("%s: %" PRId64 " messages in %" PRId64 " conversations are marked as read\n",
               a->jid.bare, m.messages, m.conversations);
    }
    return EX_OK;
}

int cli_unread(const struct cli *c)
{
    bool json = false, marks = false;
    const char *jid;
    const struct cli_option options[] = {
        {"--json", &json, NULL}, {"--mark", &marks, NULL}, {0}};
    if (!cli_arguments(c, options, 1, 1, &jid))
        return EX_USAGE;
    struct cli_account a;
    int status = cli_account_open(c, jid, &a);
    if (status == EX_OK) {
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, a.owner);
        if (marks)
            status = mark(&a, &p, json);
        else if (!cli_db_ask(a.db, &unread_rows, &p, json ? print_json : print_text, &a))
            status = EX_TEMPFAIL;
    }
    cli_account_close(&a);
    return status;
}
