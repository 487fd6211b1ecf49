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
    const struct component_opts *opts;
    uint8_t key[16]; /* no sender chooses where his copies go */
    struct copy kept[COPIES_KEPT];
};

/* What is left to read of a stanza. */
struct rest {
    const uint8_t *at;
    size_t len;
};

struct copies *copies_new(const struct component_opts *opts)
{
    struct copies *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->opts = opts;
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
    if (!open_envelope(&r, c->opts) || r.len > COPIES_BYTES_MAX)
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
