// SPDX-License-Identifier: Apache-2.0
#include "component/disco.h"

#include <assert.h>
#include <string.h>

#include "base/form.h"
#include "base/stanza.h"
#include "component/adapter.h"
#include "component/adhoc.h"
#include "component/delegation.h"
#include "component/iq.h"
#include "component/ns.h"

static bool same_ns(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

void disco_add_feature(struct disco *d, const char *ns, const char *feature)
{
    for (size_t i = 0; i < d->features_n; i++)
        if (same_ns(d->features[i].ns, ns) && strcmp(d->features[i].var, feature) == 0)
            return;
    assert(d->features_n < DISCO_FEATURES_MAX);
    d->features[d->features_n++] = (struct disco_feature){ns, feature};
}

static struct stanza *make_query(struct iq_request *r, const char *ns, const char *node)
{
    struct stanza *query = stanza_new(r->arena, "query", ns);
    if (node)
        stanza_set(query, "node", node);
    return query;
}

static void add_identity(struct stanza *query, const char *category, const char *type,
                         const char *name)
{
    struct stanza *el = stanza_add(query, "identity", NULL);
    stanza_set(el, "category", category);
    stanza_set(el, "type", type);
    stanza_set(el, "name", name);
}

static void add_feature(struct stanza *query, const char *feature)
{
    stanza_set(stanza_add(query, "feature", NULL), "var", feature);
}

/* What users find on their own address is not shown on ours, too: some clients take an archive
 * found anywhere for the server's (Profanity).  It is answered here all the same. */
static bool is_elsewhere(const struct disco *d, const char *ns, const char *host)
{
    int i = delegation_find(d->delegation, ns);
    return i >= 0 && d->delegated(d->ctx, host, i);
}

static void own_info(const struct disco *d, const struct iq_request *r, struct stanza *query)
{
    const char *host = jid_domain(&r->asker);
    static const char *const always[] = {NS_DISCO_INFO, NS_DISCO_ITEMS, NS_COMMANDS, NS_PING,
                                         NS_VERSION};
    add_identity(query, "component", "generic", "xmpp-sidecar");
    add_identity(query, "pubsub", "push", "xmpp-sidecar");
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        add_feature(query, always[i]);
    for (size_t i = 0; i < d->features_n; i++)
        if (!is_elsewhere(d, d->features[i].ns, host) && !(r->guest && d->features[i].ns))
            add_feature(query, d->features[i].var);
}

/* The features of that namespace alone: servers join the answers, and what was said twice
 * would be shown twice.  A refusal leaves the namespace with the server. */
static void nested_info(const struct disco *d, struct iq_request *r, const char *node,
                        const char *ns)
{
    if (delegation_find(d->delegation, ns) < 0 ||
        !adapter_is_host(d->adapter, r->asker_text)) {
        iq_error(r, "cancel", "item-not-found", NULL);
        return;
    }
    struct stanza *query = make_query(r, NS_DISCO_INFO, node);
    for (size_t i = 0; i < d->features_n; i++)
        if (same_ns(d->features[i].ns, ns))
            add_feature(query, d->features[i].var);
    iq_reply(r, query);
}

static void command_info(struct iq_request *r, const char *node, const char *title)
{
    struct stanza *query = make_query(r, NS_DISCO_INFO, node);
    add_identity(query, "automation", "command-node", title);
    add_feature(query, NS_COMMANDS);
    add_feature(query, NS_DATA_FORMS);
    iq_reply(r, query);
}

static const char *node_of(const struct iq_request *r)
{
    const char *node = stanza_get(r->payload, "node");
    return node && *node ? node : NULL;
}

void disco_info(const struct disco *d, struct iq_request *r)
{
    const char *node = node_of(r);
    const char *nested = delegation_nested(node);
    const char *title = adhoc_title(d->adhoc, node);
    if (r->is_set) {
        iq_error(r, "modify", "bad-request", NULL);
    } else if (nested) {
        nested_info(d, r, node, nested);
    } else if (title) {
        command_info(r, node, title);
    } else if (!node || strcmp(node, NS_COMMANDS) == 0) {
        struct stanza *query = make_query(r, NS_DISCO_INFO, node);
        if (node)
            add_identity(query, "automation", "command-list", "Commands");
        else
            own_info(d, r, query);
        iq_reply(r, query);
    } else {
        iq_error(r, "cancel", "item-not-found", NULL);
    }
}

void disco_items(const struct disco *d, struct iq_request *r)
{
    const char *node = node_of(r);
    if (r->is_set) {
        iq_error(r, "modify", "bad-request", NULL);
    } else if (!node || strcmp(node, NS_COMMANDS) == 0 || adhoc_title(d->adhoc, node)) {
        struct stanza *query = make_query(r, NS_DISCO_ITEMS, node);
        if (node && strcmp(node, NS_COMMANDS) == 0)
            adhoc_items(d->adhoc, query);
        iq_reply(r, query);
    } else {
        iq_error(r, "cancel", "item-not-found", NULL);
    }
}

void disco_ping(struct iq_request *r)
{
    if (r->is_set)
        iq_error(r, "modify", "bad-request", NULL);
    else
        iq_reply(r, NULL);
}

void disco_version(struct iq_request *r)
{
    if (r->is_set) {
        iq_error(r, "modify", "bad-request", NULL);
        return;
    }
    struct stanza *query = make_query(r, NS_VERSION, NULL);
    stanza_add_leaf(query, "name", NULL, "xmpp-sidecar");
    stanza_add_leaf(query, "version", NULL, SIDECAR_VERSION);
    iq_reply(r, query);
}
