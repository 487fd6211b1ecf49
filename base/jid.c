// SPDX-License-Identifier: Apache-2.0
#include "base/jid.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <stringprep.h>

/* Mappings can shorten a part (soft hyphens vanish): what comes in may be longer than what we
 * keep, within reason. */
#define RAW_MAX ((size_t)2 * JID_PART_MAX)

enum rule {
    NEVER,
    PLAIN,
    UPPER, /* becomes lower case, except in a resource */
};

static enum rule local_rule(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return UPPER;
    if (c <= 0x20 || c == 0x7F)
        return NEVER;
    switch (c) {
    case '"':
    case '&':
    case '\'':
    case '/':
    case ':':
    case '<':
    case '>':
    case '@':
        return NEVER;
    }
    return PLAIN;
}

/* Host names as DNS has them, and the underscore that people use all the same. */
static enum rule domain_rule(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return UPPER;
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_')
        return PLAIN;
    return NEVER;
}

static enum rule resource_rule(unsigned char c)
{
    return c < 0x20 || c == 0x7F ? NEVER : PLAIN;
}

struct part_kind {
    enum rule (*rule)(unsigned char c);
    const Stringprep_profile *profile;
};

static const struct part_kind local_part = {local_rule, stringprep_xmpp_nodeprep};
static const struct part_kind domain_part = {domain_rule, stringprep_nameprep};
static const struct part_kind resource_part = {resource_rule, stringprep_xmpp_resourceprep};

/* Every ASCII byte of a prepared part, also those that preparation made out of others, like
 * the full-width '@'. */
static bool ascii_allowed(const struct part_kind *kind, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x80 && kind->rule(c) != PLAIN)
            return false;
    }
    return true;
}

/* Unassigned code points pass, as they do in the servers: today's emoji are younger than the
 * Unicode 3.2 of stringprep. */
static bool prepare_unicode(const struct part_kind *kind, const char *in, size_t len,
                            char *out, size_t *len_out)
{
    char work[RAW_MAX + 1];
    memcpy(work, in, len);
    work[len] = '\0';
    if (stringprep(work, sizeof work, 0, kind->profile) != STRINGPREP_OK)
        return false;
    size_t n = strlen(work);
    if (n == 0 || n > JID_PART_MAX || !ascii_allowed(kind, work))
        return false;
    memcpy(out, work, n + 1);
    *len_out = n;
    return true;
}

/* out has JID_PART_MAX + 1 bytes. */
static bool prepare(const struct part_kind *kind, const char *in, size_t len, char *out,
                    size_t *len_out)
{
    if (len == 0 || len > RAW_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)in[i];
        if (c >= 0x80)
            return prepare_unicode(kind, in, len, out, len_out);
        enum rule rule = kind->rule(c);
        if (rule == NEVER || i >= JID_PART_MAX)
            return false;
        out[i] = (char)(rule == UPPER ? c + ('a' - 'A') : c);
    }
    out[len] = '\0';
    *len_out = len;
    return true;
}

/* "[2001:db8::1]", written the one way inet_ntop writes it. */
static bool prepare_ipv6(const char *in, size_t len, char *out, size_t *len_out)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (len < 4 || in[len - 1] != ']' || len - 2 >= sizeof text)
        return false;
    memcpy(text, in + 1, len - 2);
    text[len - 2] = '\0';
    if (inet_pton(AF_INET6, text, &addr) != 1 ||
        !inet_ntop(AF_INET6, &addr, text, sizeof text))
        return false;
    size_t n = strlen(text);
    out[0] = '[';
    memcpy(out + 1, text, n);
    out[n + 1] = ']';
    out[n + 2] = '\0';
    *len_out = n + 2;
    return true;
}

static bool prepare_domain(const char *in, size_t len, char *out, size_t *len_out)
{
    if (len > 0 && in[0] == '[')
        return prepare_ipv6(in, len, out, len_out);
    if (!prepare(&domain_part, in, len, out, len_out))
        return false;
    /* One trailing dot is DNS's root and says nothing; an empty label is nobody's name. */
    if (out[*len_out - 1] == '.')
        out[--*len_out] = '\0';
    return *len_out > 0 && out[0] != '.' && out[*len_out - 1] != '.' && !strstr(out, "..");
}

bool jid_parse(struct jid *out, const char *text)
{
    if (!text)
        return false;
    const char *slash = strchr(text, '/');
    size_t bare_len = slash ? (size_t)(slash - text) : strlen(text);
    const char *at = memchr(text, '@', bare_len);
    const char *domain = at ? at + 1 : text;
    size_t domain_len = bare_len - (size_t)(domain - text);
    size_t len;

    char *put = out->bare;
    out->local_len = 0;
    if (at) {
        if (!prepare(&local_part, text, (size_t)(at - text), put, &out->local_len))
            return false;
        put += out->local_len;
        *put++ = '@';
    }
    if (!prepare_domain(domain, domain_len, put, &len))
        return false;
    out->resource[0] = '\0';
    return !slash ||
           prepare(&resource_part, slash + 1, strlen(slash + 1), out->resource, &len);
}

const char *jid_domain(const struct jid *j)
{
    return j->local_len ? j->bare + j->local_len + 1 : j->bare;
}

void jid_local(const struct jid *j, char *out)
{
    memcpy(out, j->bare, j->local_len);
    out[j->local_len] = '\0';
}

bool jid_is_bare(const struct jid *j)
{
    return j->resource[0] == '\0';
}

void jid_full(const struct jid *j, char *out)
{
    char *end = stpcpy(out, j->bare);
    if (j->resource[0]) {
        *end++ = '/';
        strcpy(end, j->resource);
    }
}

bool jid_same_bare(const struct jid *a, const struct jid *b)
{
    return strcmp(a->bare, b->bare) == 0;
}

bool jid_same(const struct jid *a, const struct jid *b)
{
    return jid_same_bare(a, b) && strcmp(a->resource, b->resource) == 0;
}
