// SPDX-License-Identifier: Apache-2.0
/*
 * The state that belongs to the connections' epochs, as bytes for the next worker: big-endian,
 * a magic number with the version, and a checksum at the end.
 */
#include "component/service_int.h"

#include <string.h>

#include "base/buf.h"
#include "base/crypt.h"
#include "component/reader.h"

#define STATE_MAGIC 0x58535632u /* "XSV2" */
#define NAME_MAX_BYTES 1024

enum { LINK_UP = 1, LINK_ANNOUNCED = 2 };
enum { GRANT_MESSAGES = 1, GRANT_PRESENCE = 2, GRANT_ROSTERS = 4, HOST_LISTED = 8 };

static const uint8_t no_key[16];

static void add_text(struct buf *out, const char *text)
{
    size_t len = strlen(text);
    buf_add_u16(out, (uint16_t)len);
    buf_add(out, text, len);
}

static void save_host(const struct service *s, const char *name, const struct host_state *h,
                      struct buf *out)
{
    const struct privilege *p = &h->privilege;
    unsigned delegated = 0;
    add_text(out, name);
    buf_add_u16(out, (uint16_t)privilege_version(p->ns));
    buf_add_u16(out, (uint16_t)((p->messages ? GRANT_MESSAGES : 0) |
                                (p->presence ? GRANT_PRESENCE : 0) |
                                (p->rosters ? GRANT_ROSTERS : 0) |
                                (h->listing == LISTING_DONE ? HOST_LISTED : 0)));
    for (size_t i = 0; i < s->delegation.served_n; i++)
        delegated += h->delegated[i] > 0;
    buf_add_u16(out, (uint16_t)delegated);
    for (size_t i = 0; i < s->delegation.served_n; i++) {
        if (!h->delegated[i])
            continue;
        add_text(out, s->delegation.served[i]);
        buf_add_u16(out, h->delegated[i]);
    }
}

void service_save(const struct service *s, struct buf *out)
{
    size_t begin = buf_len(out);
    buf_add_u32(out, STATE_MAGIC);
    buf_add_u16(out, (uint16_t)s->links_n);
    for (size_t i = 0; i < s->links_n; i++) {
        const struct link_state *l = &s->links[i];
        buf_add_u16(out,
                    (uint16_t)((l->up ? LINK_UP : 0) | (l->announced ? LINK_ANNOUNCED : 0)));
        buf_add_u64(out, l->epoch);
        buf_add_u64(out, (uint64_t)l->opened_us);
        buf_add_u16(out, (uint16_t)s->opts->domains_n);
        for (size_t h = 0; h < s->opts->domains_n; h++)
            save_host(s, s->opts->domains[h], &l->hosts[h], out);
    }
    sessions_save(s->sessions, out);
    if (!buf_failed(out))
        buf_add_u64(out, crypt_siphash(no_key, buf_data(out) + begin, buf_len(out) - begin));
}

static void load_host(struct service *s, struct link_state *l, struct reader *r)
{
    char name[NAME_MAX_BYTES];
    struct host_state ignored = {.listing = LISTING_NONE};
    reader_text(r, name, sizeof name);
    int place = service_host(s, name);
    struct host_state *h = l && place >= 0 ? &l->hosts[place] : &ignored;
    h->privilege.ns = privilege_ns((int)reader_int(r, 2));
    unsigned flags = (unsigned)reader_int(r, 2);
    h->privilege.messages = flags & GRANT_MESSAGES;
    h->privilege.presence = flags & GRANT_PRESENCE;
    h->privilege.rosters = flags & GRANT_ROSTERS;
    h->listing = flags & HOST_LISTED ? LISTING_DONE : LISTING_NONE;
    uint64_t delegated = reader_int(r, 2);
    for (uint64_t i = 0; i < delegated && !r->bad; i++) {
        reader_text(r, name, sizeof name);
        int served = delegation_find(&s->delegation, name);
        uint8_t version = (uint8_t)reader_int(r, 2);
        if (served >= 0)
            h->delegated[served] = version;
    }
}

static void load_link(struct service *s, struct link_state *l, struct reader *r)
{
    unsigned flags = (unsigned)reader_int(r, 2);
    uint64_t epoch = reader_int(r, 8);
    int64_t opened_us = (int64_t)reader_int(r, 8);
    if (l) {
        l->up = flags & LINK_UP;
        l->announced = flags & LINK_ANNOUNCED;
        l->epoch = epoch;
        l->opened_us = opened_us;
    }
    uint64_t hosts = reader_int(r, 2);
    for (uint64_t h = 0; h < hosts && !r->bad; h++)
        load_host(s, l, r);
}

/* The checksum covers everything, so after it only a program error can make the rest bad. */
bool service_load(struct service *s, const uint8_t *data, size_t len)
{
    struct reader tail = {.at = data + (len < 8 ? 0 : len - 8), .left = 8};
    if (len < 16 || reader_int(&tail, 8) != crypt_siphash(no_key, data, len - 8))
        return false;
    struct reader r = {.at = data, .left = len - 8};
    if (reader_int(&r, 4) != STATE_MAGIC)
        return false;
    uint64_t links = reader_int(&r, 2);
    for (uint64_t i = 0; i < links && !r.bad; i++)
        load_link(s, i < s->links_n ? &s->links[i] : NULL, &r);
    return !r.bad && sessions_load(s->sessions, &r.at, &r.left, (unsigned)s->links_n) &&
           r.left == 0;
}
