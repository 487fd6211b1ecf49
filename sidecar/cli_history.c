// SPDX-License-Identifier: Apache-2.0
/* The newest messages of one account as the archive has them; their texts only when asked. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cjson/cJSON.h>

#include "archive/rows.h"
#include "base/xml_parse.h"
#include "sidecar/cli_account.h"
#include "sidecar/cli_print.h"

#define LAST_DEFAULT 50
#define LAST_MAX 10000

static const struct pg_statement history_rows = {
    "cli_history",
    "SELECT * FROM (SELECT m.id, c.jid, m.flags, m.sent_at, m.id <= c.read_id, m.stanza,"
    "     m.id <= c.peer_read_id"
    "   FROM xs.message m"
    "   LEFT JOIN xs.conversation c ON c.owner = m.owner AND c.peer = m.peer"
    "   WHERE m.owner = $1::uuid AND ($2::bigint IS NULL OR m.peer = $2::bigint)"
    "   ORDER BY m.id DESC LIMIT $3::int) newest ORDER BY 1"};

struct history {
    const struct cli_account *a;
    bool bodies;
    bool json;
};

struct shown {
    char id[ARCHIVE_ID_BYTES];
    int64_t at_us;
    int64_t sent_us;
    const char *peer;
    unsigned flags;
    bool read;
    bool displayed;        /* by the peer, who has said so of it or of a later one */
    struct stanza *stanza; /* NULL: not kept, or not asked for */
    const char *stanza_id;
    const char *body; /* NULL: none */
};

static const struct {
    unsigned flag;
    const char *name;
} flag_names[] = {{ROW_COUNTED, "counted"},     {ROW_RETRACTED, "retracted"},
                  {ROW_ENCRYPTED, "encrypted"}, {ROW_GROUPCHAT, "groupchat"},
                  {ROW_HIDDEN, "hidden"},       {ROW_LATE, "late"},
                  {ROW_UNKEPT, "unkept"},       {ROW_UNCONFIRMED, "unconfirmed"}};

static void read_row(const struct history *h, const struct pg_result *r, int row,
                     struct shown *out)
{
    size_t len;
    struct err e;
    int64_t id = pg_i64(r, row, 0);
    *out = (struct shown){.at_us = ident_us_from_id(id),
                          .peer = pg_text(r, row, 1),
                          .flags = (unsigned)pg_i64(r, row, 2),
                          .sent_us = pg_time_us(r, row, 3),
                          .read = pg_bool(r, row, 4)};
    out->displayed = out->flags & ROW_OUTGOING && pg_bool(r, row, 6);
    ident_archive_id(h->a->ident, h->a->owner, id, out->id);
    const uint8_t *bytes = pg_bytes(r, row, 5, &len);
    out->stanza = len > 0 ? xml_parse_element((const char *)bytes, len, &e) : NULL;
    if (!out->stanza)
        return;
    out->stanza_id = stanza_get(out->stanza, "id");
    if (h->bodies)
        out->body = stanza_child_text(out->stanza, "body", out->stanza->ns);
}

static void print_row(const struct shown *s)
{
    cli_print_time(s->at_us);
    printf("  %s  %s ", s->id, s->flags & ROW_OUTGOING ? "to  " : "from");
    cli_print_text(s->peer);
    for (size_t i = 0; i < sizeof flag_names / sizeof *flag_names; i++)
        if (s->flags & flag_names[i].flag)
            printf(" %s", flag_names[i].name);
    if (s->flags & ROW_COUNTED)
        printf(s->read ? " read" : " unread");
    if (s->displayed)
        printf(" displayed");
    if (s->stanza_id) {
        printf("  id=");
        cli_print_text(s->stanza_id);
    }
    printf("\n");
    if (s->body) {
        printf("    ");
        cli_print_text(s->body);
        printf("\n");
    }
}

static cJSON *to_json(const struct history *h, const struct shown *s)
{
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "id", s->id);
    cli_json_time(o, "at", s->at_us);
    cli_json_time(o, "sent_at", s->sent_us);
    (void)cJSON_AddStringToObject(o, "peer", s->peer);
    (void)cJSON_AddStringToObject(o, "direction", s->flags & ROW_OUTGOING ? "out" : "in");
    if (s->stanza_id)
        (void)cJSON_AddStringToObject(o, "stanza_id", s->stanza_id);
    else
        (void)cJSON_AddNullToObject(o, "stanza_id");
    cJSON *flags = cJSON_AddArrayToObject(o, "flags");
    for (size_t i = 0; i < sizeof flag_names / sizeof *flag_names; i++)
        if (s->flags & flag_names[i].flag)
            (void)cJSON_AddItemToArray(flags, cJSON_CreateString(flag_names[i].name));
    (void)cJSON_AddBoolToObject(o, "read", s->read);
    (void)cJSON_AddBoolToObject(o, "displayed", s->displayed);
    if (h->bodies && s->body)
        (void)cJSON_AddStringToObject(o, "body", s->body);
    else if (h->bodies)
        (void)cJSON_AddNullToObject(o, "body");
    return o;
}

static void print_rows(void *ctx, const struct pg_result *r)
{
    const struct history *h = ctx;
    cJSON *list = h->json ? cJSON_CreateArray() : NULL;
    for (int i = 0; i < pg_rows(r); i++) {
        struct shown s;
        read_row(h, r, i, &s);
        if (list)
            (void)cJSON_AddItemToArray(list, to_json(h, &s));
        else
            print_row(&s);
        stanza_free(&s.stanza);
    }
    if (list)
        cli_print_json(list);
}

static bool read_last(const char *text, int32_t *out)
{
    char *end = NULL;
    errno = 0;
    long n = text ? strtol(text, &end, 10) : LAST_DEFAULT;
    *out = (int32_t)n;
    if (!text || (errno == 0 && end != text && *end == '\0' && n >= 1 && n <= LAST_MAX))
        return true;
    (void)fprintf(stderr, "xmpp-sidecar: --last takes a number from 1 to %d\n", LAST_MAX);
    return false;
}

static bool read_peer(const char *text, struct jid *out)
{
    if (!text || (jid_parse(out, text) && jid_is_bare(out)))
        return true;
    (void)fprintf(stderr, "xmpp-sidecar: \"%s\" is no bare address\n", text);
    return false;
}

int cli_history(const struct cli *c)
{
    struct history h = {0};
    const char *jid, *last = NULL, *with = NULL;
    int32_t n;
    struct jid peer;
    const struct cli_option options[] = {{"--json", &h.json, NULL},
                                         {"--bodies", &h.bodies, NULL},
                                         {"--last", NULL, &last},
                                         {"--with", NULL, &with},
                                         {0}};
    if (!cli_arguments(c, options, 1, 1, &jid) || !read_last(last, &n) ||
        !read_peer(with, &peer))
        return EX_USAGE;
    struct cli_account a;
    int status = cli_account_open(c, jid, &a);
    h.a = &a;
    if (status == EX_OK) {
        struct pg_params p;
        pg_params_init(&p);
        pg_add_uuid(&p, a.owner);
        if (with)
            pg_add_i64(&p, (int64_t)ident_peer(a.ident, a.owner, peer.bare));
        else
            pg_add_null(&p);
        pg_add_i32(&p, n);
        if (!cli_db_ask(a.db, &history_rows, &p, print_rows, &h))
            status = EX_TEMPFAIL;
    }
    cli_account_close(&a);
    return status;
}
