// SPDX-License-Identifier: Apache-2.0
#include "component/privilege.h"

#include <string.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "component/ns.h"

const char *privilege_ns(int version)
{
    return version == 1 ? NS_PRIVILEGE_1 : version == 2 ? NS_PRIVILEGE_2 : NULL;
}

int privilege_version(const char *ns)
{
    if (!ns)
        return 0;
    return strcmp(ns, NS_PRIVILEGE_1) == 0 ? 1 : strcmp(ns, NS_PRIVILEGE_2) == 0 ? 2 : 0;
}

static bool has(const struct stanza *perm, const char *access, const char *type)
{
    const char *its_access = stanza_get(perm, "access");
    const char *its_type = stanza_get(perm, "type");
    return its_access && its_type && strcmp(its_access, access) == 0 &&
           strcmp(its_type, type) == 0;
}

bool privilege_read(const struct stanza *message, struct privilege *out)
{
    const struct stanza *el = stanza_child(message, "privilege", NS_PRIVILEGE_2);
    if (!el)
        el = stanza_child(message, "privilege", NS_PRIVILEGE_1);
    if (!el)
        return false;
    *out = (struct privilege){.ns = privilege_ns(privilege_version(el->ns))};
    const struct stanza *perm = stanza_child(el, "perm", el->ns);
    for (; perm; perm = stanza_sibling(perm, "perm", el->ns)) {
        out->messages |= has(perm, "message", "outgoing");
        out->presence |= has(perm, "presence", "managed_entity");
        out->presence |= has(perm, "presence", "roster");
        out->rosters |= has(perm, "roster", "get") || has(perm, "roster", "both");
    }
    return true;
}

void privilege_open(struct buf *out, const char *ns, const char *component, const char *host)
{
    buf_add_str(out, "<message from=\"");
    xml_escape_str(out, component);
    buf_add_str(out, "\" to=\"");
    xml_escape_str(out, host);
    buf_add_str(out, "\"><privilege xmlns=\"");
    buf_add_str(out, ns);
    buf_add_str(out, "\"><forwarded xmlns=\"" NS_FORWARD "\">");
}

void privilege_close(struct buf *out)
{
    buf_add_str(out, "</forwarded></privilege></message>");
}
