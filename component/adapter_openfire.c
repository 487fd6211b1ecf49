// SPDX-License-Identifier: Apache-2.0
/*
 * Openfire's packet copies, asked for by component/openfire.c: every message once, when it
 * has been routed, in <message from='HOST' to='US'><copy xmlns='...packet#event' date='TIME'>
 * STANZA</copy></message>.  They come in batches, seconds late.
 *
 * Openfire keeps a reference to a stanza and writes it down when the batch is due, so a copy
 * shows what became of it meanwhile.  A room's or a pubsub node's broadcast is one stanza
 * whose address is changed for each receiver: its copies all name the last one.  Rooms'
 * broadcasts are groupchat, which no user owns; pubsub's are told by their sender.
 *
 * What the archive of the monitoring plugin tells when component/monitoring.c has asked it
 * comes as <message to='US'><result xmlns='urn:xmpp:mam:2' queryid='OURS'><forwarded>:
 * nobody's message, for it has no sender.  What is in it is a late delivery.
 */
#include <string.h>

#include "base/datetime.h"
#include "base/stanza.h"
#include "component/adapter_int.h"
#include "component/ns.h"

#define LATE_MAX_US INT64_C(15000000) /* two batches, and a delivery that took its time */

static struct stanza *inner_of(const struct stanza *st)
{
    struct stanza *copy = stanza_child(st, "copy", NS_PACKET_EVENT);
    const char *incoming = stanza_get(copy, "incoming");
    return incoming && strcmp(incoming, "true") == 0 ? stanza_child(copy, NULL, "") : NULL;
}

bool adapter_openfire_copies_message(const struct adapter *a, const struct stanza *head)
{
    const struct stanza *inner = adapter_is_envelope(a, head, NULL) ? inner_of(head) : NULL;
    return (inner && strcmp(inner->name, "message") == 0) || adapter_is_told(a, head);
}

/* Openfire keeps jabber:client off its elements, and its archive gives it back to the upper
 * two levels alone.  What stands below an element with a namespace of its own is that one's
 * business. */
static void give_namespace(struct stanza *el)
{
    el->ns = NS_CLIENT;
    for (struct stanza *child = el->first; child; child = child->next)
        if (child->name && (*child->ns == '\0' || strcmp(child->ns, NS_CLIENT) == 0))
            give_namespace(child);
}

/* When it happened.  The batch is read at once, so its arrival does not tell what came before
 * what; the server's clock does, as far as it agrees with ours.  Never decreases where neither
 * of both does. */
static int64_t happened_us(const struct stanza *st, int64_t received_us,
                           const struct adapter_sink *sink)
{
    const char *date = stanza_get(stanza_child(st, "copy", NS_PACKET_EVENT), "date");
    int64_t at;
    if (!date || !datetime_parse(date, &at))
        return received_us;
    if (sink->copied)
        sink->copied(sink->ctx, at);
    if (at > received_us)
        return received_us;
    return at < received_us - LATE_MAX_US ? received_us - LATE_MAX_US : at;
}

/* The host, one of its services, or one of its users. */
static bool is_of_server(const struct adapter *a, const struct jid *j)
{
    const char *domain = jid_domain(j);
    for (size_t i = 0; i < a->opts->domains_n; i++) {
        const char *host = a->opts->domains[i];
        size_t len = strlen(domain), host_len = strlen(host);
        if (len < host_len || strcmp(domain + len - host_len, host) != 0)
            continue;
        if (len == host_len || domain[len - host_len - 1] == '.')
            return true;
    }
    return false;
}

/* What a local account or service without a resource says of pubsub is the server's own: a
 * session cannot send without its resource. */
static bool is_notification(const struct adapter *a, const struct stanza *message,
                            const struct jid *from)
{
    return jid_is_bare(from) && is_of_server(a, from) &&
           stanza_child(message, "event", NS_PUBSUB_EVENT);
}

/* Copies that are no message between two people.  Without a sender are results that another
 * archive gave, and what the sender's own block list has turned back. */
static bool is_aside(const struct adapter *a, const struct stanza *message)
{
    struct jid from, to;
    const char *from_text = stanza_get(message, "from");
    if (!from_text)
        return true;
    if (jid_parse(&to, stanza_get(message, "to")) &&
        strcmp(jid_domain(&to), a->opts->component) == 0)
        return true; /* to us: we got it */
    return jid_parse(&from, from_text) && is_notification(a, message, &from);
}

static bool is_delayed_by_host(const struct adapter *a, const struct stanza *message)
{
    const struct stanza *d = stanza_child(message, "delay", NS_DELAY);
    for (; d; d = stanza_sibling(d, "delay", NS_DELAY))
        if (adapter_is_host(a, stanza_get(d, "from")))
            return true;
    return false;
}

/* Its own time stays with it: the archive's is that of its late arrival. */
static void add_delay(const struct adapter *a, struct stanza *message, const char *stamp)
{
    if (is_delayed_by_host(a, message))
        return;
    struct stanza *delay = stanza_add(message, "delay", NS_DELAY);
    stanza_set(delay, "from", a->opts->domains[0]);
    stanza_set(delay, "stamp", stamp);
}

/* What is said in rooms is in their own archive, and what one occupant says to another is kept
 * in a form that neither of them would know again. */
static bool is_of_room(const struct stanza *message)
{
    const char *type = stanza_get(message, "type");
    return (type && strcmp(type, "groupchat") == 0) ||
           stanza_child(message, "x", NS_MUC_USER) != NULL;
}

/* The parser lets more pass, for the list of who is online. */
static bool is_too_long(const struct adapter_look *l)
{
    return l->place.end - l->place.begin >
           l->a->opts->stanza_bytes_max + OPENFIRE_ENVELOPE_BYTES;
}

static enum err_kind take_told(const struct adapter_look *l, const struct stanza *st,
                               struct err *e)
{
    const struct stanza *result = stanza_child(st, "result", NS_MAM);
    const struct stanza *forwarded = stanza_child(result, "forwarded", NS_FORWARD);
    struct stanza *message = stanza_child(forwarded, "message", NULL);
    const char *stamp = stanza_get(stanza_child(forwarded, "delay", NS_DELAY), "stamp");
    int64_t passed_us;
    if (!message || !stamp || !datetime_parse(stamp, &passed_us))
        return err_set(e, ERR_REJECT, "result of an archive without a message or its time");
    if (l->sink->told)
        l->sink->told(l->sink->ctx, stanza_get(result, "queryid"), passed_us);
    if (is_too_long(l))
        return err_set(e, ERR_REJECT, "result with a message over limits.stanza_bytes");
    give_namespace(message);
    if (is_aside(l->a, message) || is_of_room(message))
        return ERR_NONE;
    if (passed_us > l->received_us)
        passed_us = l->received_us;
    add_delay(l->a, message, stamp);
    return adapter_late_message(l, message, passed_us, e);
}

enum err_kind adapter_openfire(const struct adapter_look *read, struct stanza *st,
                               struct err *e)
{
    struct adapter_look l = *read;
    struct stanza *inner = adapter_is_envelope(l.a, st, NULL) ? inner_of(st) : NULL;
    if (!inner && adapter_is_told(l.a, st))
        return take_told(&l, st, e);
    if (!inner)
        return ERR_NONE;
    l.received_us = happened_us(st, l.received_us, l.sink);
    if (strcmp(inner->name, "presence") == 0)
        adapter_presence(&l, inner, l.received_us);
    if (strcmp(inner->name, "message") != 0)
        return ERR_NONE;
    if (is_too_long(&l))
        return err_set(e, ERR_REJECT, "copy of a message over limits.stanza_bytes");
    give_namespace(inner);
    adapter_liveness(l.a, inner, l.received_us, l.sink);
    if (is_aside(l.a, inner))
        return adapter_displayed_told(&l, inner, e);
    return adapter_message(&l, inner, e);
}
