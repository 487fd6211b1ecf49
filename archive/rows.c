// SPDX-License-Identifier: Apache-2.0
#include "archive/rows.h"

#include <stdlib.h>
#include <string.h>

#include "archive/call.h"
#include "archive/ident.h"
#include "archive/opts.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/fold.h"
#include "base/jid.h"
#include "base/notice.h"
#include "base/stanza.h"
#include "base/words.h"

#define NS_HINTS "urn:xmpp:hints"
#define NS_NICK "http://jabber.org/protocol/nick"
#define NS_STANZA_ID "urn:xmpp:sid:0"
#define NS_MUC_USER "http://jabber.org/protocol/muc#user"
#define STANZA_BYTES_MAX ((size_t)64 << 20) /* escaping can make it longer than it came */

/* Windows of identity. */
#define LIVE_US INT64_C(3600000000)         /* a client may use an id again after an hour */
#define BEFORE_STAMP_US INT64_C(600000000)  /* the server's clock against ours */
#define DELAY_MAX_US INT64_C(2592000000000) /* 30 days */
#define NO_ID_US INT64_C(3000000)

struct rows {
    struct ident *ident;
    const struct archive_opts *opts;
    struct buf content; /* sender, type and children without what servers add */
    struct buf stanza;  /* what is stored */
    struct buf cut[2];  /* the same for an owner whose address somebody put a stanza-id on */
    struct buf nick;    /* as it is looked for in what is said */
    struct fold fold;
    uint8_t member[OWNER_BYTES];
};

/* --- what a message is ----------------------------------------------------------------- */

static bool has(const struct stanza *m, const char *name, const char *ns)
{
    return stanza_child(m, name, ns) != NULL;
}

enum encryption { ENCRYPTION_NONE, ENCRYPTION_KEY_ONLY, ENCRYPTION_CONTENT };

/* OMEMO sends messages that only carry keys: no payload, nothing to read. */
static enum encryption encryption_of(const struct stanza *m)
{
    static const char *const omemo[] = {"eu.siacs.conversations.axolotl", "urn:xmpp:omemo:0",
                                        "urn:xmpp:omemo:1", "urn:xmpp:omemo:2"};
    for (size_t i = 0; i < sizeof omemo / sizeof *omemo; i++) {
        const struct stanza *encrypted = stanza_child(m, "encrypted", omemo[i]);
        if (encrypted)
            return has(encrypted, "payload", NULL) ? ENCRYPTION_CONTENT : ENCRYPTION_KEY_ONLY;
    }
    if (has(m, "openpgp", "urn:xmpp:openpgp:0") || has(m, "x", "jabber:x:encrypted") ||
        has(m, "encryption", "urn:xmpp:eme:0") || has(m, "encrypted", NULL))
        return ENCRYPTION_CONTENT;
    return ENCRYPTION_NONE;
}

static const char *retracted_id(const struct stanza *m)
{
    const struct stanza *r = stanza_child(m, "retract", "urn:xmpp:message-retract:1");
    if (r)
        return stanza_get(r, "id");
    const struct stanza *apply = stanza_child(m, "apply-to", "urn:xmpp:fasten:0");
    if (apply && has(apply, "retract", "urn:xmpp:message-retract:0"))
        return stanza_get(apply, "id");
    return NULL;
}

static const char *why_uncounted(const struct stanza *m, const struct content *c,
                                 bool readable, bool nowhere, bool headline)
{
    if (c->retracts)
        return "a retraction";
    if (has(m, "replace", "urn:xmpp:message-correct:0"))
        return "a correction";
    if (has(m, "reactions", "urn:xmpp:reactions:0"))
        return "a reaction";
    if (!readable)
        return "nothing in it to read";
    if (nowhere)
        return "not to be stored";
    return headline ? "a headline" : NULL;
}

/* Order of precedence: no-store, store, then whether there is something to read (XEP-0334,
 * XEP-0313 section 5.1).  A retraction is always kept (XEP-0424).  What may only not be kept
 * for long still waits to be read, and is pushed. */
static void classify(const struct stanza *m, bool headline, struct content *out)
{
    enum encryption encryption = encryption_of(m);
    out->body = stanza_child_text(m, "body", m->ns);
    out->encrypted = encryption != ENCRYPTION_NONE;
    out->retracts = retracted_id(m);
    bool readable = (out->body && *out->body) || encryption == ENCRYPTION_CONTENT;
    bool nowhere = has(m, "no-store", NS_HINTS);
    if (nowhere || has(m, "no-permanent-store", NS_HINTS))
        out->store = out->retracts != NULL;
    else if (has(m, "store", NS_HINTS) || out->retracts)
        out->store = true;
    else
        out->store = !headline && (out->body || encryption == ENCRYPTION_CONTENT);
    out->uncounted = why_uncounted(m, out, readable, nowhere, headline);
    out->counts = !out->uncounted;
}

static bool is_type(const struct stanza *m, const char *type)
{
    const char *is = stanza_get(m, "type");
    return is && strcmp(is, type) == 0;
}

void rows_classify(const struct stanza *m, struct content *out)
{
    *out = (struct content){.uncounted = "an error, or of a room"};
    if (!is_type(m, "error") && !is_type(m, "groupchat"))
        classify(m, is_type(m, "headline"), out);
}

void rows_classify_room(const struct stanza *m, struct content *out)
{
    *out = (struct content){.uncounted = "a subject"};
    if (!has(m, "subject", m->ns) || has(m, "body", m->ns))
        classify(m, false, out);
}

/* --- bytes ----------------------------------------------------------------------------- */

bool rows_is_added_by_servers(const struct stanza *el)
{
    return stanza_is(el, "stanza-id", NS_STANZA_ID) ||
           stanza_is(el, "delay", "urn:xmpp:delay") || stanza_is(el, "x", "jabber:x:delay") ||
           stanza_is(el, "archived", "urn:xmpp:mam:tmp");
}

/* What a room tells of whom it lets speak; Openfire's also who that is (XEP-0033). */
static bool added_by_rooms(const struct stanza *el)
{
    return stanza_is(el, "x", NS_MUC_USER) ||
           stanza_is(el, "addresses", "http://jabber.org/protocol/address") ||
           stanza_is(el, "occupant-id", "urn:xmpp:occupant-id:0");
}

static uint64_t content_hash(struct rows *r, const struct event *ev)
{
    struct buf *b = &r->content;
    const char *type = stanza_get(ev->stanza, "type");
    bool room = ev->kind == EVENT_GROUPCHAT || ev->kind == EVENT_REFLECTED;
    buf_reset(b);
    if (!room) { /* which tells of it in its own name */
        buf_add_str(b, ev->from);
        buf_add_char(b, '/');
        buf_add_str(b, ev->from_resource);
    }
    buf_add_char(b, '\n');
    buf_add_str(b, type ? type : "normal");
    buf_add_char(b, '\n');
    for (const struct stanza *el = ev->stanza->first; el; el = el->next)
        if (el->name && !rows_is_added_by_servers(el) && !(room && added_by_rooms(el)))
            stanza_write(b, el, ev->stanza->ns);
    return ident_content(r->ident, buf_data(b), buf_len(b));
}

/* A stanza-id of this owner's archive: only we may set it, so whatever came is forged.  What
 * only rooms say has nothing to do in what is said to one (XEP-0313 section 5.1.3). */
static bool is_forged(const struct stanza *el, const char *owner_jid)
{
    struct jid by;
    if (stanza_is(el, "x", NS_MUC_USER) && is_type(el->parent, "groupchat"))
        return true;
    return stanza_is(el, "stanza-id", NS_STANZA_ID) && jid_parse(&by, stanza_get(el, "by")) &&
           strcmp(by.bare, owner_jid) == 0;
}

static bool has_forged(const struct stanza *m, const char *owner_jid)
{
    for (const struct stanza *el = m->first; el; el = el->next)
        if (el->name && is_forged(el, owner_jid))
            return true;
    return false;
}

static void write_cut(struct buf *out, const struct stanza *m, const char *owner_jid)
{
    struct arena *arena = arena_new(STANZA_BYTES_MAX);
    struct stanza *copy = stanza_copy(arena, m);
    for (struct stanza *el = copy ? copy->first : NULL, *next; el; el = next) {
        next = el->next;
        if (el->name && is_forged(el, owner_jid))
            stanza_remove(el);
    }
    buf_reset(out);
    stanza_write(out, copy ? copy : m, NULL);
    arena_free(&arena);
}

static void set_stanza(struct rows *r, const struct event *ev, struct write *w)
{
    struct buf *b = &r->stanza;
    if (has_forged(ev->stanza, w->owner_jid)) {
        b = &r->cut[w->own];
        write_cut(b, ev->stanza, w->owner_jid);
    } else if (buf_len(b) == 0) {
        stanza_write(b, ev->stanza, NULL);
    }
    w->stanza = buf_data(b);
    w->stanza_len = buf_len(b);
}

/* --- writes ---------------------------------------------------------------------------- */

static void set_window(struct write *w, const struct event *ev)
{
    int64_t now = ev->received_us, stamp = ev->delayed_us;
    w->high = INT64_MAX;
    if (stamp > now)
        stamp = now;
    if (!stamp && w->has_id) {
        w->low = ident_id_from_us(now - LIVE_US);
    } else if (!stamp) {
        w->low = ident_id_from_us(now - NO_ID_US);
    } else if (w->has_id) {
        int64_t from = stamp - BEFORE_STAMP_US;
        if (from > now - LIVE_US)
            from = now - LIVE_US;
        if (from < now - DELAY_MAX_US)
            from = now - DELAY_MAX_US;
        w->low = ident_id_from_us(from);
    } else {
        /* Equal texts without ids: only the one sent at that moment is the same. */
        w->low = ident_id_from_us(stamp - NO_ID_US);
        w->high = ident_id_from_us(stamp + NO_ID_US);
    }
    w->stamp_us = stamp;
}

static void set_owner(struct rows *r, struct write *w, const char *owner, const char *peer)
{
    w->owner_jid = owner;
    w->peer_jid = peer;
    ident_owner(r->ident, owner, w->owner);
    w->peer = ident_peer(r->ident, w->owner, peer);
}

void rows_unkeep(struct write *w)
{
    w->flags |= ROW_HIDDEN | ROW_UNKEPT;
    w->body = NULL;
    w->stanza = (const uint8_t *)"";
    w->stanza_len = 0;
}

static size_t add_message(struct rows *r, const struct event *ev, const struct content *c,
                          bool outgoing, uint64_t hash, struct write *out)
{
    struct write *w = &out[0];
    bool to_self = strcmp(ev->from, ev->to) == 0;
    *w = (struct write){.kind = WRITE_ROW, .content = hash, .body = c->body, .own = outgoing};
    set_owner(r, w, outgoing ? ev->from : ev->to, outgoing ? ev->to : ev->from);
    w->peer_resource = outgoing ? ev->to_resource : ev->from_resource;
    w->has_id = ev->id && *ev->id;
    w->ref = w->has_id ? ident_ref(r->ident, w->peer, outgoing, ev->id)
                       : ident_ref_of_body(r->ident, w->peer, outgoing, hash);
    w->flags = (outgoing    ? ROW_OUTGOING
                : c->counts ? ROW_COUNTED
                            : 0u) |
               (c->encrypted ? ROW_ENCRYPTED : 0u) | (ev->delayed_us ? ROW_LATE : 0u);
    w->nick = !outgoing && has(ev->stanza, "nick", NS_NICK);
    w->reads =
        outgoing && !to_self && c->counts && !ev->delayed_us && r->opts->own_message_reads;
    w->undelivered = ev->undelivered && !outgoing && c->counts;
    w->passed_us = ev->passed_us;
    set_window(w, ev);
    if (c->store)
        set_stanza(r, ev, w);
    else
        rows_unkeep(w);
    if (!c->retracts)
        return 1;
    out[1] = (struct write){.kind = WRITE_RETRACT, .body = w->has_id ? ev->id : NULL};
    set_owner(r, &out[1], w->owner_jid, w->peer_jid);
    out[1].ref = ident_ref(r->ident, w->peer, outgoing, c->retracts);
    return 2;
}

/* An account has a local part: the server's own address owns nothing. */
static bool is_account(bool local, const char *bare)
{
    return local && strchr(bare, '@') != NULL;
}

static uint64_t ref_of_room(struct rows *r, const uint8_t owner[OWNER_BYTES], const char *room,
                            const char *id)
{
    return ident_ref(r->ident, ident_peer(r->ident, owner, room), false, id);
}

/* XEP-0359: only the room itself can have set it, as it takes off what says so otherwise. */
static const char *rooms_own_id(const struct stanza *m, const char *room)
{
    const struct stanza *el = stanza_child(m, "stanza-id", NS_STANZA_ID);
    struct jid by;
    for (; el; el = stanza_sibling(el, "stanza-id", NS_STANZA_ID)) {
        const char *id = stanza_get(el, "id");
        if (id && *id && jid_parse(&by, stanza_get(el, "by")) && strcmp(by.bare, room) == 0)
            return id;
    }
    return NULL;
}

static uint64_t ref_in_room(struct rows *r, const struct event *ev, const char *room,
                            const uint8_t owner[OWNER_BYTES], uint64_t content)
{
    if (ev->id && *ev->id)
        return ref_of_room(r, owner, room, ev->id);
    return ident_ref_of_body(r->ident, ident_peer(r->ident, owner, room), false, content);
}

/* The room owns it, once, whoever is in it: the sender is its peer.  The reference is of the
 * room, for it is what others in the room call the message by; the lane sees to it that only
 * its sender takes it back.  Anybody can send to a room, so it waits for the room's word. */
static size_t from_groupchat(struct rows *r, const struct event *ev, struct write *out)
{
    struct content c;
    rows_classify_room(ev->stanza, &c);
    if (!c.store && !c.counts)
        return 0;
    uint64_t hash = content_hash(r, ev);
    struct write *w = &out[0];
    buf_reset(&r->stanza);
    *w = (struct write){.kind = WRITE_ROW, .content = hash, .body = c.body};
    set_owner(r, w, ev->to, ev->from);
    w->peer_resource = ev->from_resource;
    w->has_id = ev->id && *ev->id;
    w->ref = ref_in_room(r, ev, ev->to, w->owner, hash);
    w->flags = ROW_GROUPCHAT | ROW_UNCONFIRMED | ROW_HIDDEN;
    w->reads = r->opts->own_message_reads && c.counts;
    w->flags |= (c.counts ? ROW_FOR_MEMBERS : 0u) | (c.encrypted ? ROW_ENCRYPTED : 0u);
    set_window(w, ev);
    if (c.store)
        set_stanza(r, ev, w);
    else
        rows_unkeep(w);
    if (!c.retracts)
        return 1;
    out[1] = (struct write){.kind = WRITE_RETRACT, .body = w->has_id ? ev->id : NULL};
    set_owner(r, &out[1], w->owner_jid, w->peer_jid);
    out[1].ref = out[1].alias = ref_of_room(r, w->owner, ev->to, c.retracts);
    return 2;
}

static void set_nick(struct rows *r, struct write *w, const char *nick)
{
    buf_reset(&r->nick);
    words_mark(&r->nick, &r->fold, nick, strlen(nick));
    w->peer_resource = nick;
    w->body = buf_cstr(&r->nick);
}

static size_t from_reflected(struct rows *r, const struct event *ev, struct write *out)
{
    struct content c;
    rows_classify_room(ev->stanza, &c);
    if (!c.store && !c.counts)
        return 0;
    struct write *w = &out[0];
    *w = (struct write){.kind = WRITE_CONFIRM, .owner_jid = ev->from};
    ident_owner(r->ident, ev->from, w->owner);
    w->content = content_hash(r, ev);
    w->ref = ref_in_room(r, ev, ev->from, w->owner, w->content);
    w->low = ident_id_from_us(ev->received_us - LIVE_US);
    const char *id = rooms_own_id(ev->stanza, ev->from);
    w->alias = id ? ref_of_room(r, w->owner, ev->from, id) : 0;
    set_nick(r, w, ev->from_resource);
    return 1;
}

static size_t from_moderated(struct rows *r, const struct event *ev, struct write *out)
{
    struct write *w = &out[0];
    if (!*ev->ref)
        return 0;
    *w = (struct write){.kind = WRITE_RETRACT, .owner_jid = ev->from, .body = ev->id};
    ident_owner(r->ident, ev->from, w->owner);
    w->ref = w->alias = ref_of_room(r, w->owner, ev->from, ev->ref);
    return 1;
}

static size_t from_bond(struct rows *r, const struct event *ev, struct write *out)
{
    struct write *w = &out[0];
    if (!is_account(ev->to_local, ev->to))
        return 0;
    *w = (struct write){
        .kind = ev->kind == EVENT_MEMBER ? WRITE_MEMBER : WRITE_NO_MEMBER,
        .owner_jid = ev->from,
        .peer_jid = ev->to,
        .flags = ev->bond,
        .stanza = r->member,
        .stanza_len = sizeof r->member,
    };
    ident_owner(r->ident, ev->from, w->owner);
    ident_owner(r->ident, ev->to, r->member);
    w->content = ident_peer(r->ident, w->owner, ev->to);
    w->alias = ident_peer(r->ident, r->member, ev->from);
    if (ev->kind == EVENT_MEMBER && *ev->from_resource)
        set_nick(r, w, ev->from_resource);
    return 1;
}

static size_t from_notify(struct rows *r, const struct event *ev, struct write *out)
{
    struct write *w = &out[0];
    if (!is_account(ev->from_local, ev->from))
        return 0;
    *w = (struct write){
        .kind = WRITE_NOTIFY, .owner_jid = ev->from, .flags = (unsigned)ev->notify};
    ident_owner(r->ident, ev->from, w->owner);
    w->content = ident_peer(r->ident, w->owner, ev->to);
    return 1;
}

static size_t from_room_marker(struct rows *r, const struct event *ev, struct write *out)
{
    struct write *w = &out[0];
    if (!ev->ref || !*ev->ref || !is_account(ev->from_local, ev->from))
        return 0;
    *w = (struct write){.kind = WRITE_ROOM_READ, .owner_jid = ev->to};
    ident_owner(r->ident, ev->to, w->owner);
    w->content = ident_peer(r->ident, w->owner, ev->from);
    w->ref = ref_of_room(r, w->owner, ev->to, ev->ref);
    return 1;
}

/* What a configured service says is kept, whatever its type and though it has no body, unless
 * it says itself that it is not to be (XEP-0334).  One's own is nothing new. */
static const struct notice_opts *classify_notice(const struct rows *r, const struct event *ev,
                                                 struct content *c)
{
    const struct notice_opts *o =
        notice_find(&r->opts->notices, ev->from, ev->from_resource, ev->stanza);
    if (!o || c->retracts || has(ev->stanza, "no-store", NS_HINTS) ||
        has(ev->stanza, "no-permanent-store", NS_HINTS))
        return NULL;
    c->store = true;
    c->counts = o->count && !notice_is_by(ev->stanza, ev->to);
    return o;
}

static size_t from_archived(struct rows *r, const struct event *ev, bool mine, bool theirs,
                            struct write *out)
{
    struct content c;
    rows_classify(ev->stanza, &c);
    const struct notice_opts *notice = classify_notice(r, ev, &c);
    if (!c.store && !(c.counts && theirs))
        return 0;
    uint64_t hash = content_hash(r, ev);
    buf_reset(&r->stanza);
    size_t n = 0;
    if (mine && c.store)
        n += add_message(r, ev, &c, true, hash, out);
    struct write *in = out + n;
    if (theirs)
        n += add_message(r, ev, &c, false, hash, in);
    if (theirs && c.counts && notice && !notice->push)
        in->flags |= ROW_SILENT;
    return n;
}

static size_t from_message(struct rows *r, const struct event *ev, struct write *out)
{
    bool mine = is_account(ev->from_local, ev->from);
    bool theirs = is_account(ev->to_local, ev->to) && (!mine || strcmp(ev->from, ev->to) != 0);
    if (!mine && !theirs)
        return 0;
    size_t n = from_archived(r, ev, mine, theirs, out);
    return n + (r->opts->calls ? call_writes(r->ident, ev, mine, theirs, out + n) : 0);
}

/* The owner is the one who could not get it; the sender's own row stays as it is.  An address
 * elsewhere may be a room that has not taken what was said to it; one that is none has no row.
 */
static size_t from_bounce(struct rows *r, const struct event *ev, struct write *out)
{
    bool room = r->opts->groupchat && !ev->from_local && strchr(ev->from, '@');
    if ((!room && !is_account(ev->from_local, ev->from)) || !ev->ref || !*ev->ref)
        return 0;
    out[0] = (struct write){.kind = WRITE_BOUNCE};
    set_owner(r, &out[0], ev->from, ev->to);
    uint64_t peer = room ? ident_peer(r->ident, out[0].owner, ev->from) : out[0].peer;
    out[0].ref = ident_ref(r->ident, peer, false, ev->ref);
    if (!r->opts->calls)
        return 1;
    out[1] = (struct write){.kind = WRITE_CALL, .owner_jid = ev->from};
    memcpy(out[1].owner, out[0].owner, OWNER_BYTES);
    out[1].call =
        (struct call_change){.message = out[0].ref, .over = "the server refused its message"};
    return 2;
}

/* What the sender has read are the recipient's messages: incoming for the one, outgoing for
 * the other. */
static size_t from_marker(struct rows *r, const struct event *ev, struct write *out)
{
    size_t n = 0;
    if (!ev->ref || !*ev->ref || strcmp(ev->from, ev->to) == 0)
        return 0;
    if (is_account(ev->from_local, ev->from)) {
        out[n] = (struct write){.kind = WRITE_MARK};
        set_owner(r, &out[n], ev->from, ev->to);
        out[n].ref = ident_ref(r->ident, out[n].peer, false, ev->ref);
        n++;
    }
    if (is_account(ev->to_local, ev->to)) {
        out[n] = (struct write){.kind = WRITE_PEER_MARK};
        set_owner(r, &out[n], ev->to, ev->from);
        out[n].ref = ident_ref(r->ident, out[n].peer, true, ev->ref);
        n++;
    }
    return n;
}

/* Only ids of the owner's own archive mean anything; whether it has such a row is the lane's
 * to see.  Not his own word, or of an account that keeps no archive: nothing. */
static size_t from_displayed(struct rows *r, const struct event *ev, struct write *out)
{
    if (!is_account(ev->from_local, ev->from) || !ev->ref)
        return 0;
    out[0] = (struct write){.kind = WRITE_READ_TO};
    set_owner(r, &out[0], ev->from, ev->to);
    return ident_archive_id_parse(r->ident, out[0].owner, ev->ref, &out[0].low) ? 1 : 0;
}

size_t rows_from_event(struct rows *r, const struct event *ev, struct write out[WRITES_MAX])
{
    switch (ev->kind) {
    case EVENT_MESSAGE:
        return from_message(r, ev, out);
    case EVENT_BOUNCE:
        return from_bounce(r, ev, out);
    case EVENT_MARKER:
        return from_marker(r, ev, out);
    case EVENT_DISPLAYED:
        return from_displayed(r, ev, out);
    case EVENT_GROUPCHAT:
        return from_groupchat(r, ev, out);
    case EVENT_REFLECTED:
        return from_reflected(r, ev, out);
    case EVENT_ROOM_MARKER:
        return from_room_marker(r, ev, out);
    case EVENT_MODERATED:
        return from_moderated(r, ev, out);
    case EVENT_MEMBER:
    case EVENT_NO_MEMBER:
        return from_bond(r, ev, out);
    case EVENT_NOTIFY:
        return from_notify(r, ev, out);
    }
    return 0;
}

struct rows *rows_new(struct ident *ident, const struct archive_opts *opts)
{
    struct rows *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->ident = ident;
    r->opts = opts;
    buf_init(&r->content, STANZA_BYTES_MAX);
    buf_init(&r->stanza, STANZA_BYTES_MAX);
    buf_init(&r->cut[0], STANZA_BYTES_MAX);
    buf_init(&r->cut[1], STANZA_BYTES_MAX);
    buf_init(&r->nick, STANZA_BYTES_MAX);
    fold_init(&r->fold);
    return r;
}

void rows_free(struct rows **r)
{
    if (!*r)
        return;
    buf_deinit(&(*r)->content);
    buf_deinit(&(*r)->stanza);
    buf_deinit(&(*r)->cut[0]);
    buf_deinit(&(*r)->cut[1]);
    buf_deinit(&(*r)->nick);
    fold_deinit(&(*r)->fold);
    free(*r);
    *r = NULL;
}
