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
#include "component/adapter_int.h"
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

bool adapter_prosody_copies_message(const struct adapter *a, const struct stanza *head)
{
    const struct stanza *inner =
        side_of(a, head) != SIDE_NONE ? adapter_forwarded(head) : NULL;
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

enum err_kind adapter_prosody(const struct adapter_look *l, struct stanza *st, struct err *e)
{
    struct half half = {.side = side_of(l->a, st), .sink = l->sink};
    struct stanza *inner = adapter_forwarded(st);
    if (half.side == SIDE_NONE || !inner)
        return ERR_NONE;
    adapter_liveness(l->a, inner, l->received_us, l->sink);
    if (strcmp(inner->name, "iq") == 0 && half.side == SIDE_OUT) {
        adapter_roster(l, inner);
        return adapter_displayed_request(l, inner, e);
    }
    if (strcmp(inner->name, "presence") == 0 && half.side == SIDE_IN && l->a->opts->groupchat)
        return adapter_room_presence(l, inner, e);
    if (strcmp(inner->name, "message") != 0)
        return ERR_NONE;
    if (half.side == SIDE_IN) {
        enum err_kind k = adapter_displayed_told(l, inner, e);
        if (k)
            return k;
    }
    const struct adapter_sink sink = {.event = on_event, .ctx = &half};
    struct adapter_look halved = *l;
    halved.sink = &sink;
    return adapter_message(&halved, inner, e);
}
