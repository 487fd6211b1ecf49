// SPDX-License-Identifier: Apache-2.0
/*
 * ejabberd's envelope is recognised by its letters, so that nothing has to be parsed for it:
 * <message to='US' from='HOST' id='RANDOM'><forwarded xmlns='urn:xmpp:forward:0'>...  What
 * does not look exactly so is not known and goes the long way.
 */
#include "component/copies.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypt.h"
#include "base/jid.h"
#include "component/adapter.h"
#include "component/ns.h"
#include "component/opts.h"

/* Addresses and id, which tell one copy from another, stand at the beginning. */
#define HASHED_BYTES ((size_t)192)

struct copy {
    uint8_t *bytes;
    size_t len; /* 0: none */
    int64_t received_us;
};

struct copies {
    const struct adapter *adapter;
    uint8_t key[16]; /* no sender chooses where his copies go */
    struct copy kept[COPIES_KEPT];
};

/* What is left to read of a stanza. */
struct rest {
    const uint8_t *at;
    size_t len;
};

struct copies *copies_new(const struct adapter *a)
{
    struct copies *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->adapter = a;
    crypt_random(c->key, sizeof c->key);
    return c;
}

void copies_free(struct copies **cp)
{
    struct copies *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    for (size_t i = 0; i < COPIES_KEPT; i++)
        free(c->kept[i].bytes);
    free(c);
}

static bool skip(struct rest *r, const char *text)
{
    size_t len = strlen(text);
    if (r->len < len || memcmp(r->at, text, len) != 0)
        return false;
    r->at += len;
    r->len -= len;
    return true;
}

static bool skip_domain(struct rest *r, const struct component_opts *o)
{
    for (size_t i = 0; i < o->domains_n; i++) {
        struct rest try = *r;
        if (skip(&try, o->domains[i]) && skip(&try, "' id='")) {
            *r = try;
            return true;
        }
    }
    return false;
}

/* Leaves the message in r. */
static bool open_envelope(struct rest *r, const struct component_opts *o)
{
    static const char end[] = "</forwarded></message>";
    size_t end_len = sizeof end - 1;
    if (o->server != SERVER_EJABBERD || !skip(r, "<message to='") || !skip(r, o->component) ||
        !skip(r, "' from='") || !skip_domain(r, o))
        return false;
    while (r->len > 0 && *r->at >= '0' && *r->at <= '9') {
        r->at++;
        r->len--;
    }
    if (!skip(r, "'><forwarded xmlns='" NS_FORWARD "'>") || r->len < end_len ||
        memcmp(r->at + r->len - end_len, end, end_len) != 0)
        return false;
    r->len -= end_len;
    struct rest inner = *r;
    return skip(&inner, "<message ");
}

/* The value of an attribute of the start tag at r, as it is written; false when it is not
 * there, is too long, or needs to be unescaped. */
static bool read_attribute(struct rest r, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name);
    const uint8_t *end = memchr(r.at, '>', r.len);
    while (end && r.at < end) {
        const uint8_t *equals = memchr(r.at, '=', (size_t)(end - r.at));
        const uint8_t *value = equals ? equals + 2 : end;
        if (value >= end || equals[1] != '\'')
            return false;
        const uint8_t *quote = memchr(value, '\'', (size_t)(end - value));
        if (!quote)
            return false;
        size_t len = (size_t)(quote - value);
        if ((size_t)(equals - r.at) == name_len && memcmp(r.at, name, name_len) == 0) {
            if (len >= size || memchr(value, '&', len))
                return false;
            memcpy(out, value, len);
            out[len] = '\0';
            return true;
        }
        for (r.at = quote + 1; r.at < end && *r.at == ' '; r.at++)
            ;
    }
    return false;
}

/* r is at a message that a local session has sent or got. */
static bool is_echo(const struct copies *c, struct rest r)
{
    char id[ECHO_ID_BYTES], text[3 * JID_PART_MAX + 4];
    struct jid from, to;
    (void)skip(&r, "<message ");
    return read_attribute(r, "id", id, sizeof id) && adapter_may_be_echo(id) &&
           read_attribute(r, "from", text, sizeof text) && jid_parse(&from, text) &&
           jid_is_bare(&from) && read_attribute(r, "to", text, sizeof text) &&
           jid_parse(&to, text) && adapter_is_echo(c->adapter, id, &from, &to);
}

static void remember(struct copy *kept, const struct rest *message, int64_t received_us)
{
    kept->bytes = realloc(kept->bytes, message->len);
    if (!kept->bytes)
        abort();
    memcpy(kept->bytes, message->at, message->len);
    kept->len = message->len;
    kept->received_us = received_us;
}

bool copies_known(struct copies *c, const uint8_t *raw, size_t len, int64_t received_us)
{
    struct rest r = {raw, len};
    if (!open_envelope(&r, c->adapter->opts))
        return false;
    if (is_echo(c, r))
        return true;
    if (r.len > COPIES_BYTES_MAX)
        return false;
    size_t hashed = r.len < HASHED_BYTES ? r.len : HASHED_BYTES;
    struct copy *kept = &c->kept[crypt_siphash(c->key, r.at, hashed) % COPIES_KEPT];
    int64_t age_us = received_us - kept->received_us;
    if (kept->len == r.len && age_us >= 0 && age_us <= COPIES_WITHIN_US &&
        memcmp(kept->bytes, r.at, r.len) == 0)
        return true;
    remember(kept, &r, received_us);
    return false;
}
