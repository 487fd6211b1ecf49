// SPDX-License-Identifier: Apache-2.0
#include "archive/prefs_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"

#define SLOTS ((size_t)1 << 17)        /* 1 MiB */
#define FRESH_US INT64_C(3600000000)   /* then a roster is asked for again, */
#define ASK_AGAIN_US INT64_C(60000000) /* and so often as long as there is no answer */

struct entry {
    struct prefs prefs;
    char *text; /* of its lists */
    bool has_roster;
    uint64_t *contacts; /* sorted */
    size_t contacts_n;
    int64_t read_us;
    int64_t asked_us;
};

struct lane_part {
    struct map *entries; /* by owner; made when there is one */
    size_t bytes;
    bool any;       /* somebody may have something of his own, */
    bool knows_any; /* and that is not just for want of an answer */
    uint64_t salt;  /* changes with each forgetting, so that its slots mean nothing */
};

struct prefs_cache {
    enum prefs_mode standard;
    unsigned lanes;
    struct lane_part *parts;
    uint64_t slots[SLOTS]; /* owners with nothing: their last 8 bytes, salted */
};

static void *zeroed(size_t n, size_t size)
{
    void *at = calloc(n ? n : 1, size);
    if (!at)
        abort();
    return at;
}

struct prefs_cache *prefs_cache_new(enum prefs_mode standard, unsigned lanes)
{
    struct prefs_cache *c = zeroed(1, sizeof *c);
    c->standard = standard;
    c->lanes = lanes;
    c->parts = zeroed(lanes, sizeof *c->parts);
    for (unsigned l = 0; l < lanes; l++)
        c->parts[l] = (struct lane_part){
            .any = true, .salt = (uint64_t)l * UINT64_C(0xbf58476d1ce4e5b9) + 1};
    return c;
}

static void entry_free(struct entry *e)
{
    free(e->text);
    free(e->contacts);
    free(e);
}

static void drop_entries(struct lane_part *p)
{
    size_t cursor = 0, len;
    const void *key;
    void *value;
    while (p->entries && map_each(p->entries, &cursor, &key, &len, &value))
        entry_free(value);
    map_free(&p->entries);
    p->bytes = 0;
}

void prefs_cache_free(struct prefs_cache **c)
{
    if (!*c)
        return;
    for (unsigned l = 0; l < (*c)->lanes; l++)
        drop_entries(&(*c)->parts[l]);
    free((*c)->parts);
    free(*c);
    *c = NULL;
}

void prefs_cache_forget(struct prefs_cache *c, unsigned lane)
{
    struct lane_part *p = &c->parts[lane];
    drop_entries(p);
    p->any = true;
    p->knows_any = false;
    p->salt = p->salt * UINT64_C(6364136223846793005) + 1;
}

void prefs_cache_begin(struct prefs_cache *c, unsigned lane)
{
    if (c->parts[lane].bytes > PREFS_CACHE_LANE_BYTES)
        drop_entries(&c->parts[lane]);
}

static uint64_t mark_of(const struct lane_part *p, const uint8_t *owner)
{
    uint64_t tail;
    memcpy(&tail, owner + 8, sizeof tail);
    return tail ^ p->salt;
}

static uint64_t *slot_of(const struct prefs_cache *c, uint64_t mark)
{
    size_t at = (size_t)((mark * UINT64_C(0x9e3779b97f4a7c15)) >> 40) & (SLOTS - 1);
    return (uint64_t *)(uintptr_t)&c->slots[at];
}

static struct entry *entry_of(const struct lane_part *p, const uint8_t *owner)
{
    return p->entries ? map_get(p->entries, owner, OWNER_BYTES) : NULL;
}

bool prefs_cache_knows(const struct prefs_cache *c, unsigned lane,
                       const uint8_t owner[OWNER_BYTES])
{
    const struct lane_part *p = &c->parts[lane];
    uint64_t mark = mark_of(p, owner);
    return !p->any || *slot_of(c, mark) == mark || entry_of(p, owner);
}

void prefs_cache_put_any(struct prefs_cache *c, unsigned lane, bool any)
{
    c->parts[lane].any = any;
    c->parts[lane].knows_any = true;
}

bool prefs_cache_knows_any(const struct prefs_cache *c, unsigned lane)
{
    return c->parts[lane].knows_any;
}

void prefs_cache_put_nothing(struct prefs_cache *c, unsigned lane,
                             const uint8_t owner[OWNER_BYTES])
{
    uint64_t mark = mark_of(&c->parts[lane], owner);
    *slot_of(c, mark) = mark;
}

/* An owner with an entry is known by it alone: it may be dropped. */
static struct entry *make_entry(struct prefs_cache *c, unsigned lane, const uint8_t *owner)
{
    struct lane_part *p = &c->parts[lane];
    struct entry *e = entry_of(p, owner);
    if (e)
        return e;
    uint64_t mark = mark_of(p, owner), *slot = slot_of(c, mark);
    if (*slot == mark)
        *slot = 0;
    e = zeroed(1, sizeof *e);
    e->prefs = (struct prefs){.mode = c->standard, .always = "", .never = ""};
    if (!p->entries)
        p->entries = map_new();
    map_put(p->entries, owner, OWNER_BYTES, e);
    p->bytes += sizeof *e + 4 * OWNER_BYTES;
    return e;
}

void prefs_cache_put(struct prefs_cache *c, unsigned lane, const uint8_t owner[OWNER_BYTES],
                     const struct prefs *prefs)
{
    struct entry *e = make_entry(c, lane, owner);
    size_t always = strlen(prefs->always) + 1, never = strlen(prefs->never) + 1;
    char *text = zeroed(always + never, 1);
    memcpy(text, prefs->always, always);
    memcpy(text + always, prefs->never, never);
    free(e->text);
    e->text = text;
    e->prefs = (struct prefs){true, prefs->mode, text, text + always};
    prefs_cache_put_any(c, lane, true);
    c->parts[lane].bytes += always + never;
}

static uint64_t be64(const uint8_t *at)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | at[i];
    return v;
}

static int by_hash(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

void prefs_cache_put_roster(struct prefs_cache *c, unsigned lane,
                            const uint8_t owner[OWNER_BYTES], const uint8_t *contacts,
                            size_t n, int64_t read_us)
{
    struct entry *e = make_entry(c, lane, owner);
    uint64_t *copy = zeroed(n, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = be64(contacts + 8 * i);
    qsort(copy, n, sizeof *copy, by_hash);
    free(e->contacts);
    e->contacts = copy;
    e->contacts_n = n;
    e->has_roster = true;
    e->read_us = read_us;
    prefs_cache_put_any(c, lane, true);
    c->parts[lane].bytes += n * sizeof *copy;
}

bool prefs_cache_drop_roster(struct prefs_cache *c, unsigned lane,
                             const uint8_t owner[OWNER_BYTES], int64_t now_us)
{
    struct entry *e = entry_of(&c->parts[lane], owner);
    if (!e || e->prefs.mode != PREFS_ROSTER)
        return false;
    e->has_roster = false;
    e->asked_us = now_us;
    return true;
}

static bool in_roster(const struct entry *e, const struct prefs_case *of)
{
    return !e || !e->has_roster || strcmp(of->bare, of->owner_jid) == 0 ||
           bsearch(&of->peer, e->contacts, e->contacts_n, sizeof of->peer, by_hash);
}

static bool is_roster_due(struct entry *e, int64_t now_us)
{
    bool fresh = e->has_roster && now_us - e->read_us < FRESH_US;
    if (fresh || (e->asked_us && now_us - e->asked_us < ASK_AGAIN_US))
        return false;
    e->asked_us = now_us;
    return true;
}

bool prefs_cache_wants(struct prefs_cache *c, unsigned lane, const struct prefs_case *of,
                       bool *roster_due_out)
{
    struct entry *e = entry_of(&c->parts[lane], of->owner);
    struct prefs standard = {.mode = c->standard, .always = "", .never = ""};
    *roster_due_out = false;
    if (!e && c->standard == PREFS_ALWAYS)
        return true;
    if (!e && c->standard == PREFS_ROSTER)
        e = make_entry(c, lane, of->owner);
    const struct prefs *p = e ? &e->prefs : &standard;
    if (p->mode == PREFS_ROSTER)
        *roster_due_out = is_roster_due(e, of->now_us);
    return prefs_want(p, in_roster(e, of), of->bare, of->resource);
}
