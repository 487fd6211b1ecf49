// SPDX-License-Identifier: Apache-2.0
#include "sidecar/cli_explain_room.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "archive/rows.h"
#include "base/xml_parse.h"
#include "sidecar/cli_account.h"
#include "sidecar/cli_print.h"
#include "store/pg_array.h"

#define KEYS_BYTES ((size_t)16 << 20)

static const struct pg_statement rooms = {
    "cli_explain_rooms",
    "SELECT r.owner, a.jid FROM xs.room_member r JOIN xs.account a ON a.owner = r.owner"
    " WHERE r.member = $1::uuid"};
/* Newest first: clients use an id again. */
static const struct pg_statement in_rooms = {
    "cli_explain_in_rooms",
    "WITH named AS (SELECT m.owner, m.id FROM xs.message m WHERE m.ref_id = ANY ($2::uuid[])"
    "   UNION SELECT r.owner, s.id FROM xs.room_member r, xs.room_stanza_id s"
    "     WHERE r.member = $1::uuid AND s.ref_id = ANY ($2::uuid[])"
    "   UNION SELECT * FROM unnest($3::uuid[], $4::bigint[]) AS u (owner, id))"
    " SELECT m.id, m.flags, r.peer, a.jid, r.read_id, m.stanza, m.owner, m.peer = r.peer,"
    "   EXISTS (SELECT FROM xs.mute u WHERE u.owner = r.member AND u.peer = r.conversation"
    "     AND (u.until IS NULL OR u.until > now())),"
    "   xs.room_level(r.member, r.conversation),"
    "   EXISTS (SELECT FROM xs.room_mention k WHERE k.member = r.member AND k.peer = r.peer"
    "     AND k.id = m.id),"
    "   EXISTS (SELECT FROM xs.room_due d WHERE d.owner = m.owner AND d.id = m.id),"
    "   (SELECT n.nick FROM xs.room_nick n WHERE n.owner = r.owner AND n.peer = r.peer),"
    "   (SELECT count(*) FROM xs.registration g WHERE g.owner = r.member)"
    " FROM named x JOIN xs.room_member r ON r.member = $1::uuid AND r.owner = x.owner"
    " JOIN xs.account a ON a.owner = r.owner"
    " JOIN xs.message m ON m.owner = x.owner AND m.id = x.id ORDER BY m.id DESC LIMIT 1"};
enum column {
    ID,
    FLAGS,
    PEER,
    JID,
    READ_ID,
    STANZA,
    ROOM,
    OWN,
    MUTED,
    LEVEL,
    MENTIONED,
    DUE,
    NICK,
    DEVICES
};

struct search {
    const struct cli_account *a;
    const char *text;
    struct pg_array refs;
    struct pg_array owners;
    struct pg_array ids;
    cJSON *tree;
    struct explained_room *out;
};

static void on_rooms(void *ctx, const struct pg_result *r)
{
    struct search *s = ctx;
    for (int i = 0; i < pg_rows(r); i++) {
        uint8_t room[OWNER_BYTES], key[16];
        int64_t id;
        pg_uuid(r, i, 0, room);
        uint64_t as_peer = ident_peer(s->a->ident, room, pg_text(r, i, 1));
        ident_ref_key(room, ident_ref(s->a->ident, as_peer, false, s->text), key);
        pg_array_add_uuid(&s->refs, key);
        if (ident_archive_id_parse(s->a->ident, room, s->text, &id)) {
            pg_array_add_uuid(&s->owners, room);
            pg_array_add_i64(&s->ids, id);
        }
    }
}

/* NULL: it counts. */
static const char *why_uncounted(const struct pg_result *r, const struct stanza *stanza)
{
    unsigned flags = (unsigned)pg_i64(r, 0, FLAGS);
    if (pg_bool(r, 0, OWN))
        return "the account said it itself";
    if (flags & ROW_UNCONFIRMED)
        return "the room has not told of it";
    if (flags & ROW_RETRACTED)
        return "it was taken back";
    if (flags & ROW_FOR_MEMBERS)
        return NULL;
    struct content c = {0};
    if (stanza)
        rows_classify_room(stanza, &c);
    return c.uncounted ? c.uncounted : "the room has refused it";
}

/* Why the account is not pushed this message; NULL: nothing of the room stands against it. */
static const char *why_unpushed(const struct pg_result *r, const char *uncounted)
{
    bool named = pg_bool(r, 0, MENTIONED);
    if (uncounted)
        return uncounted;
    if (pg_bool(r, 0, DUE))
        return "the room's members are being gone through";
    switch ((enum event_notify)pg_i64(r, 0, LEVEL)) {
    case NOTIFY_NEVER:
        return "the account wants nothing of this room";
    case NOTIFY_MENTION:
        if (named)
            return NULL;
        return pg_is_null(r, 0, NICK) ? "it does not name the account, whose nick is not known"
                                      : "it does not name the account";
    case NOTIFY_AS_SET:
    case NOTIFY_ALWAYS:
        break;
    }
    return NULL;
}

static void add_message(struct search *s, const struct pg_result *r,
                        const struct stanza *stanza)
{
    static const char *const levels[] = {NULL, "always", "mention", "never"};
    char id[ARCHIVE_ID_BYTES];
    uint8_t room[OWNER_BYTES];
    int64_t level = pg_i64(r, 0, LEVEL);
    const char *uncounted = why_uncounted(r, stanza);
    pg_uuid(r, 0, ROOM, room);
    ident_archive_id(s->a->ident, room, s->out->id, id);
    cJSON *m = cJSON_AddObjectToObject(s->tree, "message");
    cli_json_text(m, "id", id);
    cli_json_text(m, "stanza_id", stanza ? stanza_get(stanza, "id") : NULL);
    cli_json_time(m, "at", ident_us_from_id(s->out->id));
    cli_json_text(m, "peer", pg_text(r, 0, JID));
    cli_json_text(m, "direction", pg_bool(r, 0, OWN) ? "out" : "in");
    (void)cJSON_AddBoolToObject(m, "counted", !uncounted);
    cli_json_text(m, "uncounted_because", uncounted);
    (void)cJSON_AddBoolToObject(m, "read", pg_i64(r, 0, READ_ID) >= s->out->id);
    cli_json_time(m, "read_by", 0);
    (void)cJSON_AddBoolToObject(m, "muted", pg_bool(r, 0, MUTED));
    (void)cJSON_AddBoolToObject(m, "room", true);
    cli_json_text(m, "notify", level >= 1 && level <= 3 ? levels[level] : NULL);
    (void)cJSON_AddBoolToObject(m, "named", pg_bool(r, 0, MENTIONED));
    cli_json_text(m, "unpushed_because", why_unpushed(r, uncounted));
    (void)cJSON_AddNumberToObject(s->tree, "devices_now", (double)pg_i64(r, 0, DEVICES));
}

static void on_found(void *ctx, const struct pg_result *r)
{
    struct search *s = ctx;
    struct err e;
    size_t len;
    if (pg_rows(r) == 0)
        return;
    *s->out = (struct explained_room){true, pg_i64(r, 0, ID), (uint64_t)pg_i64(r, 0, PEER)};
    const uint8_t *bytes = pg_bytes(r, 0, STANZA, &len);
    struct stanza *stanza = len > 0 ? xml_parse_element((const char *)bytes, len, &e) : NULL;
    add_message(s, r, stanza);
    stanza_free(&stanza);
}

bool cli_explain_room(const struct cli_account *a, const char *text, struct cJSON *tree,
                      struct explained_room *out)
{
    struct search s = {.a = a, .text = text, .tree = tree, .out = out};
    struct pg_params p;
    *out = (struct explained_room){0};
    pg_array_init(&s.refs, PG_UUID, KEYS_BYTES);
    pg_array_init(&s.owners, PG_UUID, KEYS_BYTES);
    pg_array_init(&s.ids, PG_INT8, KEYS_BYTES);
    pg_params_init(&p);
    pg_add_uuid(&p, a->owner);
    bool good = cli_db_ask(a->db, &rooms, &p, on_rooms, &s);
    if (good) {
        pg_add_array(&p, &s.refs);
        pg_add_array(&p, &s.owners);
        pg_add_array(&p, &s.ids);
        good = cli_db_ask(a->db, &in_rooms, &p, on_found, &s);
    }
    pg_array_deinit(&s.refs);
    pg_array_deinit(&s.owners);
    pg_array_deinit(&s.ids);
    return good;
}
