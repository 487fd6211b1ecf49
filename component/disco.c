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

void disco_feature(struct disco *d, const char *feature)
{
    for (size_t i = 0; i < d->features_n; i++)
        if (strcmp(d->features[i], feature) == 0)
            return;
    assert(d->features_n < DISCO_FEATURES_MAX);
    d->features[d->features_n++] = feature;
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

static void own_info(const struct disco *d, struct stanza *query)
{
    static const char *const always[] = {NS_DISCO_INFO, NS_DISCO_ITEMS, NS_COMMANDS, NS_PING,
                                         NS_VERSION};
    add_identity(query, "component", "generic", "xmpp-sidecar");
    add_identity(query, "pubsub", "push", "xmpp-sidecar");
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        add_feature(query, always[i]);
    for (size_t i = 0; i < d->features_n; i++)
        add_feature(query, d->features[i]);
}

/* The features of that namespace alone: servers join the answers, and what was said twice
 * would be shown twice.  A refusal leaves the namespace with the server. */
static void nested_info(const struct disco *d, struct iq_request *r, const char *node,
                        const char *ns)
{
    int i = delegation_find(d->delegation, ns);
    if (i < 0 || !adapter_is_host(d->adapter, r->asker_text)) {
        iq_error(r, "cancel", "item-not-found", NULL);
        return;
    }
    struct stanza *query = make_query(r, NS_DISCO_INFO, node);
    const struct delegation_served *s = &d->delegation->served[i];
    for (size_t f = 0; f < s->features_n; f++)
        add_feature(query, s->features[f]);
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
            own_info(d, query);
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
