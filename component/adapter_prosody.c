// SPDX-License-Identifier: Apache-2.0
/*
 * Prosody's mod_firewall, told to FORWARD every message that a local session sends to
 * out@US and every one for a local account to in@US, before it is stored or delivered:
 * <message from='HOST' to='out@US'><forwarded>STANZA</forwarded></message>.  So each side's
 * archive has its own copy, and one that was refused on its way never had the other.  To
 * out@US goes also what a session asks to be changed in its roster, and what it has displayed.
 */
#include <string.h>

#include "base/stanza.h"
#include "component/adapter.h"
#include "component/ns.h"

enum side {
    SIDE_NONE,
    SIDE_OUT, /* of the sender */
    SIDE_IN,  /* of the recipient */
};

static enum side side_of(const struct adapter *a, const struct stanza *st)
{
    if (adapter_is_envelope(a, st, "out"))
        return SIDE_OUT;
    return adapter_is_envelope(a, st, "in") ? SIDE_IN : SIDE_NONE;
}

/* What the forwarded stanza itself forwards is its sender's business: one level only. */
static struct stanza *inner_of(const struct stanza *st)
{
    return stanza_child(stanza_child(st, "forwarded", NS_FORWARD), NULL, NS_CLIENT);
}

bool adapter_prosody_copies_message(const struct adapter *a, const struct stanza *head)
{
    const struct stanza *inner = side_of(a, head) != SIDE_NONE ? inner_of(head) : NULL;
    return inner && strcmp(inner->name, "message") == 0;
}

struct half {
    enum side side;
    const struct adapter_sink *sink;
};

/* A note to oneself is its writer's. */
static void on_event(void *ctx, const struct event *e)
{
    const struct half *h = ctx;
    struct event own = *e;
    own.from_local = e->from_local && h->side == SIDE_OUT;
    own.to_local = e->to_local && h->side == SIDE_IN && strcmp(e->from, e->to) != 0;
    if (own.from_local || own.to_local)
        h->sink->event(h->sink->ctx, &own);
}

enum err_kind adapter_prosody(const struct adapter *a, struct stanza *st,
                              const struct place *p, int64_t received_us,
                              const struct adapter_sink *sink, struct err *e)
{
    struct half half = {.side = side_of(a, st), .sink = sink};
    struct stanza *inner = inner_of(st);
    if (half.side == SIDE_NONE || !inner)
        return ERR_NONE;
    adapter_liveness(a, inner, received_us, sink);
    if (strcmp(inner->name, "iq") == 0 && half.side == SIDE_OUT) {
        adapter_roster(a, inner, sink);
        return adapter_displayed_request(a, inner, p, received_us, sink, e);
    }
    if (strcmp(inner->name, "presence") == 0 && half.side == SIDE_IN && a->opts->groupchat)
        return adapter_room_presence(a, inner, p, received_us, sink, e);
    if (strcmp(inner->name, "message") != 0)
        return ERR_NONE;
    if (half.side == SIDE_IN) {
        enum err_kind k = adapter_displayed_told(a, inner, p, received_us, sink, e);
        if (k)
            return k;
    }
    const struct adapter_sink halved = {.event = on_event, .ctx = &half};
    return adapter_message(a, inner, p, received_us, &halved, e);
}
