// SPDX-License-Identifier: Apache-2.0
/*
 * A server of which nothing is known but XEP-0114.  It copies nothing by itself; somebody whom
 * xmpp.copies_from names (the server, another component, an account) may forward what passes,
 * as XEP-0297 has it: <message from='THEM' to='US'><forwarded>STANZA</forwarded></message>.
 * As nothing tells whose side is seen, a copy is both sides', and more of them are known
 * again.
 */
#include <string.h>

#include "base/datetime.h"
#include "base/stanza.h"
#include "component/adapter_int.h"
#include "component/ns.h"

/* One that is named with its resource is that session only. */
static bool is_named(const char *name, const char *from)
{
    size_t len = strlen(name);
    return strncmp(name, from, len) == 0 &&
           (from[len] == '\0' || (from[len] == '/' && !strchr(name, '/')));
}

bool adapter_generic_hears(const struct adapter *a, const char *from)
{
    for (size_t i = 0; from && i < a->opts->copies_from_n; i++)
        if (is_named(a->opts->copies_from[i], from))
            return true;
    return false;
}

static struct stanza *inner_of(const struct adapter *a, const struct stanza *st)
{
    const char *to = stanza_get(st, "to"), *type = stanza_get(st, "type");
    if (strcmp(st->name, "message") != 0 || !to || strcmp(to, a->opts->component) != 0 ||
        (type && strcmp(type, "error") == 0) ||
        !adapter_generic_hears(a, stanza_get(st, "from")))
        return NULL;
    return adapter_forwarded(st);
}

bool adapter_generic_copies_message(const struct adapter *a, const struct stanza *head)
{
    const struct stanza *inner = inner_of(a, head);
    return inner && strcmp(inner->name, "message") == 0;
}

/* XEP-0297 section 3: the delay beside the stanza is when it passed. */
static int64_t passed_us(const struct stanza *st, int64_t received_us)
{
    const struct stanza *forwarded = stanza_child(st, "forwarded", NS_FORWARD);
    const char *stamp = stanza_get(stanza_child(forwarded, "delay", NS_DELAY), "stamp");
    int64_t at;
    return stamp && datetime_parse(stamp, &at) && at < received_us ? at : received_us;
}

enum err_kind adapter_generic(const struct adapter_look *l, struct stanza *st, struct err *e)
{
    struct stanza *inner = inner_of(l->a, st);
    if (!inner)
        return ERR_NONE;
    int64_t at_us = passed_us(st, l->received_us);
    if (strcmp(inner->name, "presence") == 0) {
        adapter_presence(l, inner, at_us);
        return l->a->opts->groupchat ? adapter_room_presence(l, inner, e) : ERR_NONE;
    }
    if (strcmp(inner->name, "iq") == 0)
        return adapter_displayed_request(l, inner, e);
    if (strcmp(inner->name, "message") != 0)
        return ERR_NONE;
    adapter_liveness(l->a, inner, at_us, l->sink);
    enum err_kind k = adapter_displayed_told(l, inner, e);
    return k ? k : adapter_message(l, inner, e);
}
