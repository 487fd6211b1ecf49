// SPDX-License-Identifier: Apache-2.0
/* One conversation: what it is like, and changing that. */
#include "archive/inbox_esl.h"

#include <stdlib.h>
#include <string.h>

#include "archive/inbox_esl_int.h"
#include "archive/inbox_room.h"
#include "archive/ingest.h"
#include "archive/lookup.h"
#include "archive/opts.h"
#include "archive/rows.h"
#include "base/clock.h"
#include "base/form.h"
#include "base/jid.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

#define MUTE_MAX_S INT64_C(3153600000) /* a hundred years */
#define READ_WITHIN_MS 1000

/* So many of an account are muted: each is looked at for each number on an icon. */
#define MUTED_MAX "1000"

/* $3: the box, below 0: leave it.  $4: seconds, 0: unmute, below 0: leave it.  What is over
 * goes when another is muted.  One row: whether there was room for it; nothing is changed when
 * there was none. */
#define CHANGE(boxed)                                                                         \
    "WITH room AS MATERIALIZED (SELECT $4::bigint <= 0"                                       \
    "   OR EXISTS (SELECT FROM xs.mute WHERE owner = $1::uuid AND peer = $2::bigint)"         \
    "   OR (SELECT count(*) FROM (SELECT FROM xs.mute WHERE owner = $1::uuid"                 \
    "         AND (until IS NULL OR until > now()) LIMIT " MUTED_MAX ") x) < " MUTED_MAX      \
    "   AS has), " boxed ", unmuted AS (DELETE FROM xs.mute WHERE owner = $1::uuid"           \
    "   AND CASE WHEN peer = $2::bigint THEN $4::bigint = 0"                                  \
    "            ELSE $4::bigint > 0 AND until < now() END),"                                 \
    " muted AS (INSERT INTO xs.mute (owner, peer, until, level)"                              \
    "   SELECT $1::uuid, $2::bigint, now() + $4::bigint * interval '1 s', 0"                  \
    "   FROM room WHERE $4::bigint > 0 AND room.has"                                          \
    "   ON CONFLICT (owner, peer) DO UPDATE SET until = excluded.until)"                      \
    " SELECT room.has FROM room"
#define BOXED                                                                                 \
    "boxed AS (UPDATE xs.conversation SET box = $3::int FROM room"                            \
    "   WHERE owner = $1::uuid AND peer = $2::bigint AND $3::int >= 0 AND room.has)"
#define ROOM_BOXED                                                                            \
    "room_boxed AS (UPDATE xs.room_member r SET archived_id = CASE WHEN $3::int = 0 THEN 0"   \
    "   ELSE coalesce((SELECT m.id FROM xs.message m WHERE m.owner = r.owner AND " ROW_SHOWN  \
    "     ORDER BY m.id DESC LIMIT 1), 0) END FROM room"                                      \
    "   WHERE r.member = $1::uuid AND r.conversation = $2::bigint AND $3::int >= 0"           \
    "     AND room.has)"

/* Without rooms, and with them. */
static const struct pg_statement change[] = {
    {"inbox_change", CHANGE(BOXED)}, {"inbox_change_rooms", CHANGE(BOXED ", " ROOM_BOXED)}};

/* What is muted is not on the icons of phones.  Under the lane: no count changes meanwhile. */
static const struct pg_statement tell_phones = {
    "inbox_phones", "SELECT xs.badges_add($1::uuid, 0)::text"
                    " FROM (SELECT xs.lane_lock($1::uuid)::text AS held OFFSET 0) l"
                    " WHERE l.held IS NOT NULL"};

#define SAID_TO_ONE                                                                           \
    "SELECT id, stanza, false AS in_room FROM xs.message"                                     \
    " WHERE owner = $1::uuid AND peer = $2::bigint AND id <= c.last_id"                       \
    " AND " ROW_SHOWN " AND $3::boolean ORDER BY id DESC LIMIT 1"
#define ONE(of, newest)                                                                       \
    "SELECT c.box, c.unread, mute.owner IS NOT NULL, mute.until, m.id, m.stanza, m.in_room"   \
    " FROM " of " c"                                                                          \
    " LEFT JOIN xs.mute mute ON mute.owner = $1::uuid AND mute.peer = c.peer"                 \
    "   AND (mute.until IS NULL OR mute.until > now())"                                       \
    " LEFT JOIN LATERAL (" newest ") m ON true"

static const struct pg_statement read_one[] = {
    {"inbox_one", ONE("xs.conversation", SAID_TO_ONE) " WHERE c.owner = $1::uuid"
                                                      " AND c.peer = $2::bigint"
                                                      " AND c.last_id > 0"},
    {"inbox_one_rooms", ONE("(SELECT o_peer AS peer, o_box AS box, o_unread AS unread,"
                            "   o_last_id AS last_id, o_room AS room, o_room_id AS room_id"
                            " FROM xs.inbox_with_rooms($1::uuid))",
                            "SELECT * FROM ((" SAID_TO_ONE ") UNION ALL"
                            " SELECT id, stanza, true FROM xs.message"
                            " WHERE owner = c.room AND id = c.room_id AND $3::boolean) x"
                            " ORDER BY id DESC LIMIT 1") " WHERE c.peer = $2::bigint"}};

enum column { BOX, UNREAD, MUTED, MUTED_UNTIL, NEWEST, STANZA, IN_ROOM };

struct conversation {
    struct lookup lookup; /* first */
    uint64_t peer;
    bool changes;
    enum inbox_box box; /* INBOX_ANY_BOX: leave it */
    int64_t mute_s;     /* below 0: leave it */
    bool read;
    bool complete; /* with its last message */
    bool silent;   /* what it is like now is not asked for */
    bool rooms;    /* are conversations */
};

/* --- reading ----------------------------------------------------------------------------- */

static void add_message(struct stanza *parent, const struct archive_request *asked,
                        const struct pg_result *r)
{
    char stamp[DATETIME_BYTES];
    struct err e;
    size_t len;
    if (pg_is_null(r, 0, STANZA))
        return;
    const uint8_t *xml = pg_bytes(r, 0, STANZA, &len);
    struct stanza *message =
        pg_bool(r, 0, IN_ROOM)
            ? inbox_room_message(xml, len, stanza_get(parent, "jid"), asked->account)
            : xml_parse_element((const char *)xml, len, &e);
    if (!message)
        return;
    struct stanza *forwarded = stanza_add(parent, "forwarded", "urn:xmpp:forward:0");
    datetime_format(ident_us_from_id(pg_i64(r, 0, NEWEST)), stamp);
    stanza_set(stanza_add(forwarded, "delay", "urn:xmpp:delay"), "stamp", stamp);
    stanza_append(forwarded, stanza_copy(parent->arena, message));
    stanza_free(&message);
}

/* The room's lane, which moves its position, is not waited for. */
static bool reads_as_read(const struct conversation *c, const struct pg_result *r)
{
    return pg_i64(r, 0, UNREAD) == 0 || (c->read && c->rooms);
}

static void on_one(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct conversation *c = ctx;
    if (lookup_is_over(&c->lookup, e))
        return;
    if (pg_rows(r) == 0) {
        lookup_refuse(&c->lookup, "cancel", "item-not-found", NULL);
        return;
    }
    const struct stanza *asked = c->lookup.request.payload;
    enum inbox_box box = (enum inbox_box)pg_i64(r, 0, BOX);
    char mute[DATETIME_BYTES];
    inbox_esl_mute_text(inbox_muted_until(r, 0, MUTED), mute);
    struct stanza *query = stanza_new(asked->arena, "query", NS_INBOX_ESL_CONVERSATION);
    stanza_set(query, "jid", stanza_get(asked, "jid"));
    add_message(query, &c->lookup.request, r);
    stanza_add_leaf(query, "box", NULL, inbox_esl_box_name(box));
    stanza_add_leaf(query, "archive", NULL, box == INBOX_ARCHIVED ? "true" : "false");
    stanza_add_leaf(query, "mute", NULL, mute);
    stanza_add_leaf(query, "read", NULL, reads_as_read(c, r) ? "true" : "false");
    lookup_done(&c->lookup, query);
}

static void read_properties(struct conversation *c)
{
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, c->lookup.owner);
    pg_add_i64(&params, (int64_t)c->peer);
    pg_add_bool(&params, c->complete);
    lookup_send(&c->lookup, &read_one[c->rooms], &params, on_one, c);
}

static void on_told(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct conversation *c = ctx;
    (void)r;
    if (!lookup_is_over(&c->lookup, e))
        read_properties(c);
}

static void on_changed(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct conversation *c = ctx;
    struct pg_params params;
    if (lookup_is_over(&c->lookup, e))
        return;
    if (!pg_bool(r, 0, 0)) {
        lookup_refuse(&c->lookup, "cancel", "policy-violation",
                      "no more than " MUTED_MAX " conversations can be muted");
        return;
    }
    if (c->mute_s < 0) {
        read_properties(c);
        return;
    }
    pg_params_init(&params);
    pg_add_uuid(&params, c->lookup.owner);
    lookup_send(&c->lookup, &tell_phones, &params, on_told, c);
}

static void begin(struct lookup *l)
{
    struct conversation *c = (struct conversation *)l;
    if (c->read && !l->stable) {
        lookup_refuse(l, "wait", "internal-server-error", "not all is read yet: ask again");
        return;
    }
    if (c->silent) {
        lookup_done(l, NULL);
        return;
    }
    if (!c->changes) {
        read_properties(c);
        return;
    }
    struct pg_params params;
    pg_params_init(&params);
    pg_add_uuid(&params, l->owner);
    pg_add_i64(&params, (int64_t)c->peer);
    pg_add_i32(&params, (int32_t)c->box);
    pg_add_i64(&params, c->mute_s);
    lookup_send(l, &change[c->rooms], &params, on_changed, c);
}

static void conversation_free(struct lookup *l)
{
    free(l);
}

/* --- what is asked ----------------------------------------------------------------------- */

static void answer_form(const struct archive_request *r, const struct archive_answer *answer)
{
    struct stanza *query = stanza_new(r->payload->arena, "query", NS_INBOX_ESL_CONVERSATION);
    struct stanza *x = form_add(query, "form", NS_INBOX_ESL);
    form_add_field(x, "archive", "boolean", "false");
    form_add_field(x, "read", "boolean", "false");
    form_add_field(x, "mute", "text-single", "0");
    form_add_field(x, "box", "list-single", "inbox");
    answer->done(answer->ctx, query);
}

/* NULL: good, else what is wrong. */
static const char *read_property(const struct stanza *el, struct conversation *c)
{
    const char *text = stanza_text(el);
    bool yes;
    c->changes = true;
    if (strcmp(el->name, "box") == 0)
        return inbox_esl_box_read(text, &c->box) ? NULL : "box is inbox or archive";
    if (strcmp(el->name, "archive") == 0) {
        if (!xml_boolean(text, &yes))
            return "archive is true or false";
        c->box = yes ? INBOX_ARCHIVED : INBOX_ACTIVE;
        return NULL;
    }
    if (strcmp(el->name, "mute") == 0) {
        if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
            return "mute is a number of seconds";
        c->mute_s = strtoll(text, NULL, 10);
        return c->mute_s <= MUTE_MAX_S ? NULL : "muted for too long";
    }
    if (strcmp(el->name, "read") == 0) {
        if (!xml_boolean(text, &c->read))
            return "read is true or false";
        return c->read ? NULL : "what was read stays read";
    }
    return "unknown property";
}

static const char *read_properties_of(const struct stanza *query, struct conversation *c)
{
    const char *wrong = NULL;
    for (const struct stanza *el = stanza_child(query, NULL, query->ns); el && !wrong;
         el = stanza_sibling(el, NULL, query->ns))
        wrong = read_property(el, c);
    return wrong ? wrong : c->changes ? NULL : "no property is set";
}

static const char *read_question(const struct archive_request *r, struct conversation *c)
{
    const struct stanza *asked = r->payload;
    const char *complete = stanza_get(asked, "complete");
    if (strcmp(asked->name, "reset") == 0) {
        c->read = c->silent = true;
        return NULL;
    }
    if (!r->is_set)
        return !complete || xml_boolean(complete, &c->complete) ? NULL
                                                                : "complete is true or false";
    return read_properties_of(asked, c);
}

static void on_read(void *ctx, bool done)
{
    (void)ctx, (void)done; /* it will happen, at the latest when PostgreSQL is back */
}

void inbox_esl_conversation_ask(struct lookups *lookups, struct ingest *ingest,
                                const struct archive_opts *opts,
                                const struct archive_request *r,
                                const struct archive_answer *answer)
{
    static const struct lookup_kind kind = {.read = begin, .free = conversation_free};
    const char *jid = stanza_get(r->payload, "jid");
    bool reset = strcmp(r->payload->name, "reset") == 0 && r->is_set;
    struct jid peer;
    if (!reset && strcmp(r->payload->name, "query") != 0) {
        answer->error(answer->ctx, "cancel", "feature-not-implemented", NULL);
        return;
    }
    if (!jid && !r->is_set) {
        answer_form(r, answer);
        return;
    }
    struct conversation ask = {.box = INBOX_ANY_BOX, .mute_s = -1, .rooms = opts->groupchat};
    const char *wrong = jid && jid_parse(&peer, jid) ? NULL : "jid is missing, or none";
    if (!wrong)
        wrong = read_question(r, &ask);
    if (wrong) {
        answer->error(answer->ctx, "modify", "bad-request", wrong);
        return;
    }
    if (ask.read && !ingest_has_room(ingest)) {
        answer->error(answer->ctx, "wait", "resource-constraint", NULL);
        return;
    }
    struct conversation *c = malloc(sizeof *c);
    if (!c)
        abort();
    *c = ask;
    if (!lookup_begin(lookups, &c->lookup, &kind, r, answer))
        return;
    c->peer = ident_peer(lookups_ident(lookups), c->lookup.owner, peer.bare);
    /* The lookup waits for what is in its owner's lane: for this, too. */
    if (c->read)
        ingest_mark_read(ingest, r->account, peer.bare, clock_mono_ms() + READ_WITHIN_MS,
                         on_read, NULL);
    lookup_wait(&c->lookup, TURN_PAGE);
}
