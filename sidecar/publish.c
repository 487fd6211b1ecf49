// SPDX-License-Identifier: Apache-2.0
#include "sidecar/publish.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apns/devices.h"
#include "apns/outbox.h"
#include "base/form.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service.h"

#define NODE_MAX 256 /* ours are much shorter */

/* One that is being looked up. */
struct sign {
    struct publish *publish;
    int64_t at_us;
    char from[]; /* the host, or the account in whose name it spoke */
};

/* Some servers publish in the name of the account.  The account's own clients cannot: what
 * they send carries their resource. */
static bool is_server(const struct publish *p, const struct iq_request *r)
{
    const struct adapter *a = service_adapter(p->service);
    return adapter_is_host(a, r->asker_text) ||
           (jid_is_bare(&r->asker) && adapter_is_local(a, &r->asker));
}

/* A host speaks for its own users only. */
static bool speaks_for(const char *from, const char *account)
{
    const char *at = strchr(account, '@');
    return strcmp(account, from) == 0 || (at && strcmp(at + 1, from) == 0);
}

static void on_found(void *ctx, const struct device_owner *o, const struct pg_error *e)
{
    struct sign *sign = ctx;
    struct publish *p = sign->publish;
    (void)e;
    p->open--;
    if (o && speaks_for(sign->from, o->account)) {
        service_session_stuck(p->service, o->account, o->resource, sign->at_us);
        outbox_reconsider(p->outbox, o->owner);
    }
    free(sign);
}

static void look_up(struct publish *p, const struct iq_request *r)
{
    const struct stanza *publish = stanza_child(r->payload, "publish", NS_PUBSUB);
    const char *node = stanza_get(publish, "node");
    if (!p->devices || !node || strlen(node) > NODE_MAX || p->open >= PUBLISH_OPEN_MAX)
        return;
    const struct stanza *options = stanza_child(r->payload, "publish-options", NS_PUBSUB);
    const char *secret = form_value(form_find(options), "secret");
    size_t len = strlen(r->asker.bare);
    struct sign *sign = malloc(sizeof *sign + len + 1);
    if (!sign)
        abort();
    sign->publish = p;
    sign->at_us = r->received_us;
    memcpy(sign->from, r->asker.bare, len + 1);
    p->open++;
    devices_find(p->devices, node, secret ? secret : "", on_found, sign);
}

void publish_take(struct publish *p, struct iq_request *r)
{
    if (!is_server(p, r)) {
        iq_forbid(r);
        return;
    }
    if (adapter_publish_means_undelivered(service_adapter(p->service)))
        look_up(p, r);
    iq_reply(r, NULL);
}
