// SPDX-License-Identifier: Apache-2.0
#include "component/adapter_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/crypt.h"
#include "base/datetime.h"
#include "base/failpoint.h"
#include "base/stanza.h"
#include "component/ns.h"

enum err_kind adapter_classify(const struct adapter *a, struct stanza *st,
                               const struct place *p, int64_t received_us,
                               const struct adapter_sink *sink, struct err *e)
{
    const struct adapter_look l = {a, *p, received_us, sink};
    switch (a->opts->server) {
    case SERVER_EJABBERD:
        return adapter_ejabberd(&l, st, e);
    case SERVER_OPENFIRE:
        return adapter_openfire(&l, st, e);
    case SERVER_PROSODY:
        return adapter_prosody(&l, st, e);
    case SERVER_GENERIC:
        return adapter_generic(&l, st, e);
    }
    return err_set(e, ERR_CONFIG, "no adapter for this server");
}

bool adapter_copies_message(const struct adapter *a, const struct stanza *head)
{
    switch (a->opts->server) {
    case SERVER_EJABBERD:
        return adapter_ejabberd_copies_message(a, head);
    case SERVER_OPENFIRE:
        return adapter_openfire_copies_message(a, head);
    case SERVER_PROSODY:
        return adapter_prosody_copies_message(a, head);
    case SERVER_GENERIC:
        return adapter_generic_copies_message(a, head);
    }
    return false;
}

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], text) == 0)
            return true;
    return false;
}

static bool is_domain(const struct adapter *a, const char *text)
{
    return is_one_of(text, a->opts->domains, a->opts->domains_n);
}

bool adapter_sees_messages(const struct adapter *a)
{
    return a->opts->server != SERVER_GENERIC || a->opts->copies_from_n > 0;
}

bool adapter_publish_means_undelivered(const struct adapter *a)
{
    return a->opts->server != SERVER_OPENFIRE;
}

bool adapter_is_prober(const struct adapter *a, const struct jid *j)
{
    static const char prefix[] = "component."; /* Openfire's */
    const char *domain = jid_domain(j);
    return a->opts->server == SERVER_OPENFIRE && j->local_len == 0 &&
           strncmp(domain, prefix, sizeof prefix - 1) == 0 &&
           is_domain(a, domain + sizeof prefix - 1);
}

bool adapter_is_host(const struct adapter *a, const char *text)
{
    return text && is_domain(a, text);
}

bool adapter_hears(const struct adapter *a, const char *from)
{
    return adapter_is_host(a, from) ||
           (a->opts->server == SERVER_GENERIC && adapter_generic_hears(a, from));
}

bool adapter_is_envelope(const struct adapter *a, const struct stanza *st, const char *local)
{
    const char *to = stanza_get(st, "to"), *type = stanza_get(st, "type");
    if (strcmp(st->name, "message") != 0 || !adapter_is_host(a, stanza_get(st, "from")) ||
        !to || (type && strcmp(type, "error") == 0))
        return false;
    size_t len = local ? strlen(local) : 0;
    if (local && (strncmp(to, local, len) != 0 || to[len] != '@'))
        return false;
    return strcmp(local ? to + len + 1 : to, a->opts->component) == 0;
}

struct stanza *adapter_forwarded(const struct stanza *st)
{
    return stanza_child(stanza_child(st, "forwarded", NS_FORWARD), NULL, NS_CLIENT);
}

bool adapter_serves(const struct adapter *a, const struct jid *j)
{
    return is_domain(a, jid_domain(j));
}

bool adapter_is_local(const struct adapter *a, const struct jid *j)
{
    return j->local_len > 0 && adapter_serves(a, j);
}

bool adapter_is_guest(const struct adapter *a, const struct jid *j)
{
    return is_one_of(jid_domain(j), a->opts->accept_from, a->opts->accept_from_n) &&
           !adapter_serves(a, j);
}

static void write_hex(uint64_t n, char *out)
{
    for (int i = 0; i < 16; i++)
        out[i] = "0123456789abcdef"[n >> (60 - 4 * i) & 15];
}

/* The mark covers both addresses: a user who reads the id off a result that we sent him cannot
 * make a message of his own that passes for ours, as it would have to come from his bare JID
 * and go to his full one. */
static void echo_id(const struct adapter *a, uint64_t nonce, const struct jid *from,
                    const struct jid *to, char out[ECHO_ID_BYTES])
{
    const char *parts[] = {from->bare, to->bare, to->resource};
    char text[16 + 2 * sizeof from->bare + sizeof from->resource];
    size_t n = 16;
    write_hex(nonce, text);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t len = strlen(parts[i]);
        text[n++] = '\0';
        memcpy(text + n, parts[i], len);
        n += len;
    }
    uint64_t mac = crypt_siphash(a->echo_key, text, n);
    memcpy(out, "xs-", 3);
    memcpy(out + 3, text, 16);
    out[3 + 16] = '-';
    write_hex(mac, out + 3 + 17);
    out[ECHO_ID_BYTES - 1] = '\0';
}

void adapter_echo_id(const struct adapter *a, const struct jid *from, const struct jid *to,
                     char out[ECHO_ID_BYTES])
{
    echo_id(a, crypt_random_u64(), from, to, out);
}

bool adapter_may_be_echo(const char *id)
{
    return id && strncmp(id, "xs-", 3) == 0 && strlen(id) == ECHO_ID_BYTES - 1;
}

bool adapter_is_echo(const struct adapter *a, const char *id, const struct jid *from,
                     const struct jid *to)
{
    char expected[ECHO_ID_BYTES];
    if (!adapter_may_be_echo(id))
        return false;
    echo_id(a, strtoull(id + 3, NULL, 16), from, to, expected);
    return crypt_same(id, ECHO_ID_BYTES, expected, ECHO_ID_BYTES);
}

/* From us to us: no such message exists that somebody could read the id off. */
void adapter_ask_id(const struct adapter *a, char out[ECHO_ID_BYTES])
{
    struct jid us;
    if (jid_parse(&us, a->opts->component))
        adapter_echo_id(a, &us, &us, out);
    else
        out[0] = '\0';
}

bool adapter_is_told(const struct adapter *a, const struct stanza *message)
{
    struct jid us;
    const char *to = stanza_get(message, "to");
    const struct stanza *result = stanza_child(message, "result", NS_MAM);
    return a->opts->server == SERVER_OPENFIRE && result && to &&
           strcmp(message->name, "message") == 0 && strcmp(to, a->opts->component) == 0 &&
           jid_parse(&us, to) && adapter_is_echo(a, stanza_get(result, "queryid"), &us, &us);
}

/* Copies of a message that are no message: a carbon, which comes from the account to itself,
 * and what we sent.  Neither address can be chosen by somebody else. */
static bool is_copy_of_known(const struct adapter *a, const struct stanza *message,
                             const struct jid *from, const struct jid *to)
{
    if (strcmp(jid_domain(from), a->opts->component) == 0)
        return true;
    if (!jid_is_bare(from))
        return false;
    if (jid_same_bare(from, to) && (stanza_child(message, "sent", NS_CARBONS) ||
                                    stanza_child(message, "received", NS_CARBONS)))
        return true;
    return adapter_is_echo(a, stanza_get(message, "id"), from, to);
}

/* When the recipient's server kept the message, as it says itself.  A sender can write the
 * same: it decides nothing alone.  Of several the earliest counts, which makes the widest
 * search for a row that is this message already. */
static int64_t delayed_us(const struct stanza *message, const struct jid *to,
                          int64_t received_us)
{
    int64_t earliest = 0;
    const struct stanza *d = stanza_child(message, "delay", NS_DELAY);
    for (; d; d = stanza_sibling(d, "delay", NS_DELAY)) {
        const char *from = stanza_get(d, "from");
        const char *stamp = stanza_get(d, "stamp");
        int64_t at;
        if (!from || strcmp(from, jid_domain(to)) != 0 || !stamp ||
            !datetime_parse(stamp, &at) || at <= 0)
            continue;
        if (at > received_us)
            at = received_us;
        if (earliest == 0 || at < earliest)
            earliest = at;
    }
    return earliest;
}

/* Elements that accompany a marker and are not worth a row of their own. */
static bool is_signal(const struct stanza *el)
{
    if (strcmp(el->ns, NS_HINTS) == 0)
        return strcmp(el->name, "store") != 0;
    return strcmp(el->ns, NS_MARKERS) == 0 || strcmp(el->ns, NS_SID) == 0 ||
           strcmp(el->ns, NS_DELAY) == 0 || strcmp(el->ns, NS_CHATSTATES) == 0 ||
           strcmp(el->ns, NS_RECEIPTS) == 0 || stanza_is(el, "thread", NS_CLIENT);
}

bool adapter_has_content(const struct stanza *message)
{
    const struct stanza *el = stanza_child(message, NULL, NULL);
    for (; el; el = stanza_sibling(el, NULL, NULL))
        if (!is_signal(el))
            return true;
    return false;
}

/* XEP-0333: "displayed", and "acknowledged" of its first versions, which implies it. */
const char *adapter_marker_ref(const struct stanza *message)
{
    const struct stanza *m = stanza_child(message, "displayed", NS_MARKERS);
    if (!m)
        m = stanza_child(message, "acknowledged", NS_MARKERS);
    return stanza_get(m, "id");
}

struct event adapter_event(const struct adapter_look *l, enum event_kind kind,
                           const struct stanza *stanza)
{
    return (struct event){.kind = kind,
                          .from_resource = "",
                          .to_resource = "",
                          .received_us = l->received_us,
                          .place = l->place,
                          .stanza = stanza};
}

static enum err_kind too_large(struct err *e)
{
    return err_set(e, ERR_REJECT, "copy of a stanza that is too large");
}

enum err_kind adapter_address(struct event *ev, const struct jid *from, const struct jid *to,
                              struct err *e)
{
    struct arena *arena = ev->stanza->arena;
    ev->from = arena_strdup(arena, from->bare);
    ev->from_resource = arena_strdup(arena, from->resource);
    ev->to = arena_strdup(arena, to->bare);
    ev->to_resource = arena_strdup(arena, to->resource);
    return ev->from && ev->from_resource && ev->to && ev->to_resource ? ERR_NONE
                                                                      : too_large(e);
}

enum err_kind adapter_own_word(const struct adapter_look *l, struct event *ev,
                               const char *owner, const struct jid *chat, struct err *e)
{
    ev->from = arena_strdup(ev->stanza->arena, owner);
    ev->to = arena_strdup(ev->stanza->arena, chat->bare);
    ev->from_local = true;
    if (!ev->from || !ev->to)
        return too_large(e);
    l->sink->event(l->sink->ctx, ev);
    return ERR_NONE;
}

static void emit(const struct adapter_sink *sink, struct event *ev, enum event_kind kind,
                 const char *ref)
{
    ev->kind = kind;
    ev->ref = ref;
    sink->event(sink->ctx, ev);
}

static void emit_all(const struct adapter_sink *sink, struct event *ev, const char *type,
                     bool from_bare)
{
    if (type && strcmp(type, "error") == 0) {
        /* From a full JID it is a client that complains, not a server that refuses. */
        if (from_bare && ev->id)
            emit(sink, ev, EVENT_BOUNCE, ev->id);
        return;
    }
    const char *ref = adapter_marker_ref(ev->stanza);
    if (!ref || adapter_has_content(ev->stanza))
        emit(sink, ev, EVENT_MESSAGE, NULL);
    if (ref)
        emit(sink, ev, EVENT_MARKER, ref);
}

/* passed_us: of a late one, else 0. */
static enum err_kind take_message(const struct adapter_look *l, struct stanza *message,
                                  int64_t passed_us, struct err *e)
{
    const struct adapter *a = l->a;
    const char *type = stanza_get(message, "type");
    struct jid from, to;
    const char *to_text = stanza_get(message, "to");
    if (!jid_parse(&from, stanza_get(message, "from")) ||
        (to_text && !jid_parse(&to, to_text)))
        return err_set(e, ERR_REJECT, "copy of a message with an address that is none");
    if (!to_text) { /* to one's own account */
        to = from;
        to.resource[0] = '\0';
    }
    if (is_copy_of_known(a, message, &from, &to))
        return ERR_NONE;
    struct event ev = adapter_event(l, EVENT_MESSAGE, message);
    ev.from_local = adapter_is_local(a, &from);
    ev.to_local = adapter_is_local(a, &to);
    ev.id = stanza_get(message, "id");
    ev.passed_us = passed_us;
    if (!ev.from_local && !ev.to_local)
        return ERR_NONE;
    FAILPOINT_TEXT("adapter-message", ev.id ? ev.id : "");
    if (ev.to_local)
        ev.delayed_us = delayed_us(message, &to, l->received_us);
    /* Openfire's own store is not copied when it is emptied: a delay of its own is on what a
     * session did not acknowledge, routed once more. */
    ev.undelivered = a->opts->server == SERVER_OPENFIRE && ev.delayed_us > 0 && passed_us == 0;
    if (passed_us > 0 && (ev.delayed_us == 0 || passed_us < ev.delayed_us))
        ev.delayed_us = passed_us;
    enum err_kind k = adapter_address(&ev, &from, &to, e);
    if (k)
        return k;
    emit_all(l->sink, &ev, type, jid_is_bare(&from));
    if (!a->opts->groupchat || (type && strcmp(type, "error") == 0))
        return ERR_NONE;
    k = adapter_room_expels(l, message, &from, &to, e);
    return k ? k : adapter_mucsub(l, message, &from, &to, e);
}

enum err_kind adapter_message(const struct adapter_look *l, struct stanza *message,
                              struct err *e)
{
    const char *type = stanza_get(message, "type");
    if (!type || strcmp(type, "groupchat") != 0)
        return take_message(l, message, 0, e);
    return l->a->opts->groupchat ? adapter_groupchat(l, message, e) : ERR_NONE;
}

enum err_kind adapter_late_message(const struct adapter_look *l, struct stanza *message,
                                   int64_t passed_us, struct err *e)
{
    return take_message(l, message, passed_us, e);
}

/* A session that became unavailable: told to all its own account's contacts (seen as the copy
 * of what it sent to its own bare JID), or seen as what another local session received. */
static bool tells_gone(const struct adapter *a, const struct stanza *inner,
                       const struct jid *from)
{
    const char *type = stanza_get(inner, "type");
    if (!type || strcmp(type, "unavailable") != 0 || strcmp(inner->name, "presence") != 0)
        return false;
    struct jid to;
    if (!jid_parse(&to, stanza_get(inner, "to")))
        return true;
    return jid_is_bare(&to) ? jid_same_bare(&to, from) : adapter_is_local(a, &to);
}

void adapter_liveness(const struct adapter *a, const struct stanza *inner, int64_t at_us,
                      const struct adapter_sink *sink)
{
    struct jid from;
    const char *type = stanza_get(inner, "type");
    /* Servers make errors in the name of sessions that are not there. */
    if ((type && strcmp(type, "error") == 0) || !jid_parse(&from, stanza_get(inner, "from")) ||
        jid_is_bare(&from) || !adapter_is_local(a, &from))
        return;
    bool gone = tells_gone(a, inner, &from);
    if (gone && sink->gone)
        sink->gone(sink->ctx, &from, at_us);
    /* A delay, whoever wrote it, says that this is not of now. */
    if (!gone && sink->seen && !stanza_child(inner, "delay", NS_DELAY))
        sink->seen(sink->ctx, &from, at_us);
}

/* What a session tells all its contacts: to nobody, to the server, or to its own account. */
void adapter_presence(const struct adapter_look *l, const struct stanza *presence,
                      int64_t at_us)
{
    struct jid from, to;
    const struct adapter_sink *sink = l->sink;
    const char *type = stanza_get(presence, "type");
    const char *to_text = stanza_get(presence, "to");
    if (!jid_parse(&from, stanza_get(presence, "from")) || jid_is_bare(&from) ||
        !adapter_is_local(l->a, &from))
        return;
    if (to_text && !adapter_is_host(l->a, to_text) &&
        (!jid_parse(&to, to_text) || !jid_is_bare(&to) || !jid_same_bare(&to, &from)))
        return;
    if (!type && sink->available)
        sink->available(sink->ctx, &from, presence, at_us);
    else if (type && strcmp(type, "unavailable") == 0 && sink->gone)
        sink->gone(sink->ctx, &from, at_us);
}

/* What a client asks of its own account, or what the account tells a client of it. */
void adapter_roster(const struct adapter_look *l, const struct stanza *iq)
{
    struct jid from, to;
    const struct adapter_sink *sink = l->sink;
    const char *type = stanza_get(iq, "type"), *to_text = stanza_get(iq, "to");
    if (!sink->roster || !type || strcmp(type, "set") != 0 ||
        !stanza_child(iq, "query", NS_ROSTER) || !jid_parse(&from, stanza_get(iq, "from")))
        return;
    if (adapter_is_local(l->a, &from) &&
        (!to_text || (jid_parse(&to, to_text) && jid_same_bare(&from, &to))))
        sink->roster(sink->ctx, &from);
}
