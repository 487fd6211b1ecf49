// SPDX-License-Identifier: Apache-2.0
#include "component/delegation.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "component/ns.h"

void delegation_serve(struct delegation *d, const char *ns)
{
    if (delegation_find(d, ns) >= 0)
        return;
    assert(d->served_n < DELEGATION_SERVED_MAX);
    d->served[d->served_n++] = ns;
}

int delegation_find(const struct delegation *d, const char *ns)
{
    for (size_t i = 0; ns && i < d->served_n; i++)
        if (strcmp(d->served[i], ns) == 0)
            return (int)i;
    return -1;
}

const struct stanza *delegation_element(const struct stanza *outer)
{
    const struct stanza *el = stanza_child(outer, "delegation", NS_DELEGATION_1);
    return el ? el : stanza_child(outer, "delegation", NS_DELEGATION_2);
}

const char *delegation_ns(int version)
{
    return version == 1 ? NS_DELEGATION_1 : version == 2 ? NS_DELEGATION_2 : NULL;
}

int delegation_version(const char *ns)
{
    return strcmp(ns, NS_DELEGATION_1) == 0 ? 1 : strcmp(ns, NS_DELEGATION_2) == 0 ? 2 : 0;
}

static const char *after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

const char *delegation_nested(const char *node)
{
    static const char *const prefixes[] = {
        NS_DELEGATION_1 "::",
        NS_DELEGATION_1 ":bare:",
        NS_DELEGATION_2 "::",
        NS_DELEGATION_2 ":bare:",
    };
    for (size_t i = 0; node && i < sizeof prefixes / sizeof *prefixes; i++) {
        const char *ns = after(node, prefixes[i]);
        if (ns)
            return ns;
    }
    return NULL;
}

void delegation_open(struct buf *out, const char *ns)
{
    buf_add_str(out, "<delegation xmlns=\"");
    buf_add_str(out, ns);
    buf_add_str(out, "\"><forwarded xmlns=\"" NS_FORWARD "\">");
}

void delegation_close(struct buf *out)
{
    buf_add_str(out, "</forwarded></delegation>");
}
