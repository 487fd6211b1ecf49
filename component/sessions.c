// SPDX-License-Identifier: Apache-2.0
#include "component/sessions.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypt.h"
#include "base/map.h"
#include "component/reader.h"

struct resource {
    struct session is; /* first: a session handed out is its resource */
    struct resource *next;
    char name[];
};

/* In a list by the last sign of life, so that the oldest are found without a walk. */
struct account {
    struct account *older;
    struct account *newer;
    struct resource *first;
    unsigned count;
    int64_t seen_us;
    size_t len;
    char bare[];
};

/* Who has just gone, by a hash of the full JID; one that shares the slot takes it. */
#define GONE_SLOTS 4096
struct gone {
    uint64_t who;
    int64_t at_us;
};

struct sessions {
    struct map *accounts;
    struct account *oldest;
    struct account *newest;
    uint8_t gone_key[16];
    struct gone gone[GONE_SLOTS];
};

struct sessions *sessions_new(void)
{
    struct sessions *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->accounts = map_new();
    crypt_random(s->gone_key, sizeof s->gone_key);
    return s;
}

static void unlink_account(struct sessions *s, struct account *a)
{
    *(a->older ? &a->older->newer : &s->oldest) = a->newer;
    *(a->newer ? &a->newer->older : &s->newest) = a->older;
}

static void link_newest(struct sessions *s, struct account *a)
{
    a->newer = NULL;
    a->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = a;
    s->newest = a;
}

static void drop_account(struct sessions *s, struct account *a)
{
    unlink_account(s, a);
    map_take(s->accounts, a->bare, a->len);
    for (struct resource *r = a->first, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    free(a);
}

void sessions_free(struct sessions **s)
{
    if (!*s)
        return;
    while ((*s)->oldest)
        drop_account(*s, (*s)->oldest);
    map_free(&(*s)->accounts);
    free(*s);
    *s = NULL;
}

static struct account *find_account(const struct sessions *s, const char *bare)
{
    return map_get(s->accounts, bare, strlen(bare));
}

static struct account *get_account(struct sessions *s, const char *bare)
{
    struct account *a = find_account(s, bare);
    if (a) {
        unlink_account(s, a);
        link_newest(s, a);
        return a;
    }
    if (map_count(s->accounts) >= SESSIONS_ACCOUNTS_MAX)
        drop_account(s, s->oldest);
    size_t len = strlen(bare);
    a = calloc(1, sizeof *a + len + 1);
    if (!a)
        abort();
    memcpy(a->bare, bare, len);
    a->len = len;
    map_put(s->accounts, bare, len, a);
    link_newest(s, a);
    return a;
}

static void drop_at(struct account *a, struct resource **at)
{
    struct resource *r = *at;
    assert(r);
    *at = r->next;
    a->count--;
    free(r);
}

/* Takes out the resources that drop says yes to; the account stays, perhaps empty. */
static void drop_where(struct account *a,
                       bool (*drop)(const struct resource *r, const void *what),
                       const void *what)
{
    for (struct resource **at = &a->first; *at;)
        if (drop(*at, what))
            drop_at(a, at);
        else
            at = &(*at)->next;
}

static bool is_named(const struct resource *r, const void *name)
{
    return strcmp(r->name, name) == 0;
}

static bool is_of_link(const struct resource *r, const void *link)
{
    return r->is.link == *(const unsigned *)link;
}

/* The newest sign that it is there. */
static int64_t sign_us(const struct resource *r)
{
    return r->is.seen_us > r->is.listed_us ? r->is.seen_us : r->is.listed_us;
}

static bool is_older(const struct resource *r, const void *us)
{
    return sign_us(r) < *(const int64_t *)us;
}

/* A user who logs in a thousand times under a thousand names keeps the last few. */
static void make_room(struct account *a, int64_t now_us)
{
    int64_t too_old = now_us - SESSIONS_FORGET_US;
    drop_where(a, is_older, &too_old);
    if (a->count < SESSIONS_PER_ACCOUNT_MAX)
        return;
    struct resource **oldest = &a->first;
    for (struct resource **at = &a->first; *at; at = &(*at)->next)
        if (sign_us(*at) < sign_us(*oldest))
            oldest = at;
    drop_at(a, oldest);
}

static struct resource *find_resource(const struct account *a, const char *name)
{
    struct resource *r = a ? a->first : NULL;
    while (r && strcmp(r->name, name) != 0)
        r = r->next;
    return r;
}

static struct resource *get_resource(struct sessions *s, const struct jid *who, unsigned link,
                                     int64_t at_us)
{
    struct account *a = get_account(s, who->bare);
    struct resource *r = find_resource(a, who->resource);
    if (!r) {
        make_room(a, at_us);
        size_t len = strlen(who->resource);
        r = calloc(1, sizeof *r + len + 1);
        if (!r)
            abort();
        memcpy(r->name, who->resource, len);
        r->is.resource = r->name;
        r->is.priority = SESSION_PRIORITY_UNKNOWN;
        r->is.link = link;
        r->next = a->first;
        a->first = r;
        a->count++;
    }
    if (at_us > a->seen_us)
        a->seen_us = at_us;
    return r;
}

static void touch(struct resource *r, int64_t at_us)
{
    if (at_us > r->is.seen_us)
        r->is.seen_us = at_us;
}

static struct gone *gone_slot(struct sessions *s, const struct jid *who, uint64_t *hash_out)
{
    char full[sizeof who->bare + sizeof who->resource + 1];
    int n = snprintf(full, sizeof full, "%s/%s", who->bare, who->resource);
    *hash_out = crypt_siphash(s->gone_key, full, (size_t)n);
    return &s->gone[*hash_out % GONE_SLOTS];
}

static bool has_just_gone(struct sessions *s, const struct jid *who, int64_t at_us)
{
    uint64_t hash;
    const struct gone *g = gone_slot(s, who, &hash);
    return g->who == hash && at_us <= g->at_us + SESSIONS_ECHO_US;
}

void sessions_seen(struct sessions *s, const struct jid *who, unsigned link, int64_t at_us)
{
    if (jid_is_bare(who))
        return;
    if (!find_resource(find_account(s, who->bare), who->resource) &&
        has_just_gone(s, who, at_us))
        return;
    touch(get_resource(s, who, link, at_us), at_us);
}

void sessions_available(struct sessions *s, const struct jid *who, unsigned link, int priority,
                        enum session_show show, int64_t at_us)
{
    if (jid_is_bare(who))
        return;
    struct resource *r = get_resource(s, who, link, at_us);
    touch(r, at_us);
    r->is.link = link;
    r->is.priority = priority;
    r->is.show = show;
}

void sessions_listed(struct sessions *s, const struct jid *who, unsigned link, int64_t at_us)
{
    if (jid_is_bare(who))
        return;
    struct resource *r = get_resource(s, who, link, at_us);
    if (at_us > r->is.listed_us)
        r->is.listed_us = at_us;
}

bool sessions_has(const struct sessions *s, const struct jid *who)
{
    return find_resource(find_account(s, who->bare), who->resource) != NULL;
}

void sessions_describe(struct sessions *s, const struct jid *who, int priority,
                       enum session_show show)
{
    struct resource *r = find_resource(find_account(s, who->bare), who->resource);
    if (!r)
        return;
    r->is.priority = priority;
    r->is.show = show;
}

static void drop_if_empty(struct sessions *s, struct account *a)
{
    if (!a->first)
        drop_account(s, a);
}

bool sessions_gone(struct sessions *s, const struct jid *who, int64_t at_us)
{
    struct account *a = find_account(s, who->bare);
    const struct resource *r = find_resource(a, who->resource);
    if (r && r->is.seen_us > at_us)
        return false;
    uint64_t hash;
    struct gone *g = gone_slot(s, who, &hash);
    *g = (struct gone){hash, at_us};
    if (a) {
        drop_where(a, is_named, who->resource);
        drop_if_empty(s, a);
    }
    return true;
}

struct unlisted {
    unsigned link;
    int64_t since_us;
};

static bool is_unlisted(const struct resource *r, const void *what)
{
    const struct unlisted *u = what;
    return (r->is.link == u->link || r->is.link == SESSION_LINK_UNKNOWN) &&
           sign_us(r) < u->since_us;
}

void sessions_unlisted(struct sessions *s, const char *host, unsigned link, int64_t since_us,
                       sessions_gone_fn gone, void *ctx)
{
    const struct unlisted u = {link, since_us};
    for (struct account *a = s->oldest, *newer; a; a = newer) {
        newer = a->newer;
        const char *at = strchr(a->bare, '@');
        if (!at || strcmp(at + 1, host) != 0)
            continue;
        drop_where(a, is_unlisted, &u);
        if (!a->first && gone)
            gone(ctx, a->bare);
        drop_if_empty(s, a);
    }
}

void sessions_link_lost(struct sessions *s, unsigned link)
{
    for (struct account *a = s->oldest, *newer; a; a = newer) {
        newer = a->newer;
        drop_where(a, is_of_link, &link);
        drop_if_empty(s, a);
    }
}

void sessions_sweep(struct sessions *s, int64_t now_us)
{
    struct account *newer;
    for (struct account *a = s->oldest; a && a->seen_us < now_us - SESSIONS_FORGET_US;
         a = newer) {
        newer = a->newer;
        drop_account(s, a);
    }
}

enum session_state sessions_state(const struct sessions *s, const char *bare, int64_t now_us,
                                  int64_t stale_after_us, int64_t *seen_us_out)
{
    enum session_state state = SESSION_OFFLINE;
    int64_t newest = 0;
    const struct account *a = find_account(s, bare);
    for (const struct resource *r = a ? a->first : NULL; r; r = r->next) {
        if (sign_us(r) > newest)
            newest = sign_us(r);
        /* A negative priority asks not to be given messages to the account. */
        if (r->is.priority >= 0 && now_us - sign_us(r) <= stale_after_us)
            state = SESSION_ONLINE;
    }
    if (seen_us_out)
        *seen_us_out = newest;
    return state;
}

int64_t sessions_seen_at(const struct sessions *s, const char *bare, const char *resource)
{
    const struct resource *r = find_resource(find_account(s, bare), resource);
    return r ? r->is.seen_us : 0;
}

int64_t sessions_others_seen_at(const struct sessions *s, const char *bare,
                                const char *resource)
{
    int64_t newest = 0;
    const struct account *a = find_account(s, bare);
    for (const struct resource *r = a ? a->first : NULL; r; r = r->next)
        if ((!resource || strcmp(r->name, resource) != 0) && r->is.seen_us > newest)
            newest = r->is.seen_us;
    return newest;
}

void sessions_stuck(struct sessions *s, const char *bare, const char *resource, int64_t at_us)
{
    struct resource *r = find_resource(find_account(s, bare), resource);
    if (r && at_us > r->is.stuck_us)
        r->is.stuck_us = at_us;
}

int64_t sessions_stuck_at(const struct sessions *s, const char *bare, const char *resource)
{
    const struct resource *r = find_resource(find_account(s, bare), resource);
    return r && r->is.stuck_us > r->is.seen_us ? r->is.stuck_us : 0;
}

const struct session *sessions_next(const struct sessions *s, const char *bare,
                                    const struct session *after)
{
    const struct account *a = find_account(s, bare);
    const struct resource *r = a ? a->first : NULL;
    if (after) {
        while (r && &r->is != after)
            r = r->next;
        r = r ? r->next : NULL;
    }
    return r ? &r->is : NULL;
}

size_t sessions_accounts(const struct sessions *s)
{
    return map_count(s->accounts);
}

/* Oldest first, so that loading restores the order.  Names are at most JID_PART_MAX * 2. */
void sessions_save(const struct sessions *s, struct buf *out)
{
    buf_add_u32(out, (uint32_t)map_count(s->accounts));
    for (const struct account *a = s->oldest; a; a = a->newer) {
        buf_add_u16(out, (uint16_t)a->len);
        buf_add(out, a->bare, a->len);
        buf_add_u16(out, (uint16_t)a->count);
        for (const struct resource *r = a->first; r; r = r->next) {
            size_t len = strlen(r->name);
            buf_add_u16(out, (uint16_t)len);
            buf_add(out, r->name, len);
            buf_add_u16(out, (uint16_t)(r->is.priority + 128));
            buf_add_u16(out, (uint16_t)r->is.show);
            buf_add_u32(out, r->is.link);
            buf_add_u64(out, (uint64_t)r->is.seen_us);
            buf_add_u64(out, (uint64_t)r->is.listed_us);
        }
    }
}

static void load_resource(struct sessions *s, struct reader *r, struct jid *who,
                          unsigned links_n)
{
    reader_text(r, who->resource, sizeof who->resource);
    int priority = (int)reader_int(r, 2) - 128;
    unsigned show = (unsigned)reader_int(r, 2);
    unsigned link = (unsigned)reader_int(r, 4);
    int64_t seen_us = (int64_t)reader_int(r, 8);
    int64_t listed_us = (int64_t)reader_int(r, 8);
    if (priority < -128 || priority > SESSION_PRIORITY_UNKNOWN || show > SHOW_DND)
        r->bad = true;
    if (r->bad || jid_is_bare(who) || (link >= links_n && link != SESSION_LINK_UNKNOWN))
        return;
    struct resource *added =
        get_resource(s, who, link, seen_us > listed_us ? seen_us : listed_us);
    added->is.priority = priority;
    added->is.show = (enum session_show)show;
    added->is.seen_us = seen_us;
    added->is.listed_us = listed_us;
}

bool sessions_load(struct sessions *s, const uint8_t **data, size_t *len, unsigned links_n)
{
    struct reader r = {.at = *data, .left = *len};
    uint64_t accounts = reader_int(&r, 4);
    for (uint64_t i = 0; i < accounts && !r.bad; i++) {
        struct jid who = {.local_len = 0};
        reader_text(&r, who.bare, sizeof who.bare);
        uint64_t count = reader_int(&r, 2);
        for (uint64_t j = 0; j < count && !r.bad; j++)
            load_resource(s, &r, &who, links_n);
    }
    *data = r.at;
    *len = r.left;
    return !r.bad;
}
