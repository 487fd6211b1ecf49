// SPDX-License-Identifier: Apache-2.0
/*
 * What others ask of us: which requests are ours to answer, who may ask, and which handler
 * gets them.
 */
#include <string.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/failpoint.h"
#include "base/stanza.h"
#include "component/cursor.h"
#include "component/ns.h"
#include "component/service_int.h"

#define STRANGERS_PERIOD_MS 10000
#define STRANGERS_MAX 50     /* refusals in a period, */
#define STRANGERS_EACH_MAX 5 /* to one domain (or those that share its slot) */

static bool is_read(const struct iq_request *r)
{
    return !r->is_set || stanza_is(r->payload, "query", NS_MAM) ||
           stanza_is(r->payload, "query", NS_MAM_1) ||
           stanza_is(r->payload, "inbox", NS_INBOX_ESL);
}

static void dispatch(struct service *s, struct iq_request *r)
{
    bool known_ns = false;
    FAILPOINT_TEXT("service-request", stanza_get(r->iq, "id") ? stanza_get(r->iq, "id") : "");
    for (size_t i = 0; i < s->handlers_n; i++) {
        const struct handler *h = &s->handlers[i];
        if ((h->direct_only && r->delegated) || strcmp(h->ns, r->payload->ns) != 0)
            continue;
        known_ns = true;
        if (!h->name || strcmp(h->name, r->payload->name) == 0) {
            if (r->guest && !h->guests)
                break;
            h->fn(h->ctx, r);
            return;
        }
    }
    if (r->guest) {
        iq_forbid(r);
        return;
    }
    iq_error(r, "cancel", known_ns ? "feature-not-implemented" : "service-unavailable", NULL);
}

/* So many refusals and no more: whoever wants us to talk to a domain that never asked cannot
 * make us, nor fill our link. */
static bool may_refuse(struct service *s, const struct jid *stranger, int64_t now_ms)
{
    if (now_ms >= s->strangers_until_ms) {
        s->strangers_until_ms = now_ms + STRANGERS_PERIOD_MS;
        s->strangers_all = 0;
        memset(s->strangers, 0, sizeof s->strangers);
    }
    const char *domain = jid_domain(stranger);
    uint64_t hash = crypt_siphash(s->strangers_key, domain, strlen(domain));
    uint8_t *each = &s->strangers[hash % STRANGER_SLOTS];
    if (s->strangers_all >= STRANGERS_MAX || *each >= STRANGERS_EACH_MAX)
        return false;
    s->strangers_all++;
    ++*each;
    return true;
}

/* NULL when it is not for a handler: it has been refused, or cannot be answered. */
static struct iq_request *open_direct(struct service *s, const struct stanza *st,
                                      const struct iq_origin *o)
{
    struct jid from;
    struct iq_request *r;
    if (!jid_parse(&from, stanza_get(st, "from")))
        return NULL;
    bool stranger = !adapter_serves(&s->adapter, &from) &&
                    !adapter_is_prober(&s->adapter, &from) &&
                    !adapter_is_guest(&s->adapter, &from);
    if (stranger && !may_refuse(s, &from, o->now_ms))
        return NULL;
    if (iq_open_direct(s->iqs, st, o, &r) != IQ_OPENED)
        return NULL;
    const char *to = stanza_get(r->iq, "to");
    if (!stranger && to && strcmp(to, s->opts->component) == 0)
        return r;
    if (stranger)
        iq_forbid(r);
    else
        iq_error(r, "cancel", "service-unavailable", NULL);
    return NULL;
}

static struct iq_request *open_request(struct service *s, const struct stanza *st,
                                       const struct stanza *delegation,
                                       const struct iq_origin *o)
{
    struct iq_request *r;
    if (!delegation)
        return open_direct(s, st, o);
    const char *ns = delegation_ns(delegation_version(delegation->ns));
    return iq_open_delegated(s->iqs, st, ns, o, &r) == IQ_OPENED ? r : NULL;
}

static struct iq_origin origin_of(uint64_t epoch, const struct place *p, int64_t received_us)
{
    int64_t age_ms = (clock_real_us() - received_us) / 1000;
    return (struct iq_origin){.place = *p,
                              .epoch = epoch,
                              .received_us = received_us,
                              .age_ms = age_ms > 0 ? age_ms : 0,
                              .now_ms = clock_mono_ms()};
}

static const struct stanza *delegation_of(const struct service *s, const struct stanza *st)
{
    return service_host(s, stanza_get(st, "from")) >= 0 ? delegation_element(st) : NULL;
}

void service_take_request(struct service *s, uint64_t epoch, const struct stanza *st,
                          const struct place *p, int64_t received_us, enum service_pass pass)
{
    const struct stanza *delegation = delegation_of(s, st);
    const struct stanza *inner =
        delegation
            ? stanza_child(stanza_child(delegation, "forwarded", NS_FORWARD), "iq", NS_CLIENT)
            : st;
    service_asker_seen(s, inner, p->spool, received_us);
    bool again = pass == SERVICE_REPLAY;
    if (again && !s->events.request_is_open(s->events.ctx, p))
        return;
    struct iq_origin o = origin_of(epoch, p, received_us);
    struct iq_request *r = open_request(s, st, delegation, &o);
    if (r && again && !(is_read(r) && o.age_ms < IQ_REPEAT_WITHIN_MS))
        iq_later(r, "interrupted");
    else if (r)
        dispatch(s, r);
}

bool service_is_request(const struct stanza *st)
{
    const char *type = stanza_get(st, "type");
    return strcmp(st->name, "iq") == 0 && type &&
           (strcmp(type, "get") == 0 || strcmp(type, "set") == 0);
}

void service_refuse(struct service *s, const struct stanza *head, const struct cursor_piece *p,
                    enum service_pass pass, bool over_limit)
{
    if (!service_is_request(head) ||
        (pass == SERVICE_REPLAY && !s->events.request_is_open(s->events.ctx, &p->place)))
        return;
    struct iq_origin o = origin_of(p->epoch, &p->place, p->received_us);
    struct iq_request *r = open_request(s, head, delegation_of(s, head), &o);
    if (r && over_limit)
        iq_error(r, "modify", "policy-violation", p->why);
    else if (r)
        iq_error(r, "cancel", "internal-server-error", NULL);
}
