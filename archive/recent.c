// SPDX-License-Identifier: Apache-2.0
#include "archive/recent.h"

#include <stdlib.h>
#include <string.h>

#include "archive/rows.h"
#include "base/clock.h"

/* A Bloom filter for each ten minutes, so that the oldest can be dropped: together they reach
 * back further than the hour in which a live copy can come.  Each is made as large as the last
 * one was used, up to its share of the memory; in a flood that fills them faster, the reach
 * falls below the hour, and messages are looked for again. */
#define SLICES 8
#define SLICE_MS 600000
#define BLOCKS_MIN ((size_t)256)

/* One cache line holds all bits of a key: 5 of 512, at most 42 keys to a line: 2 % errors. */
#define BLOCK_BITS 512
#define BLOCK_WORDS (BLOCK_BITS / 64)
#define PUTS_PER_BLOCK 42
#define BITS_PER_KEY 5

struct slice {
    uint64_t *words;
    size_t blocks; /* a power of two */
    size_t puts;
    size_t puts_max;
    int64_t since_ms;
    int64_t *before; /* per lane: the highest id of a row that older slices hold */
};

struct recent {
    unsigned lanes;
    size_t blocks_max;           /* of a slice */
    struct slice slices[SLICES]; /* the newest last */
    unsigned slices_n;
    int64_t *floor;   /* per lane: all rows above it were put and are held */
    int64_t *last;    /* per lane: its last id as we know it, -1 when we do not */
    int64_t *highest; /* per lane: of all that was put */
};

static void *zeroed(size_t n, size_t size)
{
    void *at = calloc(n, size);
    if (!at)
        abort();
    return at;
}

static void open_slice(struct recent *r, double puts)
{
    struct slice *s = &r->slices[r->slices_n++];
    *s = (struct slice){.blocks = BLOCKS_MIN, .since_ms = clock_mono_ms()};
    while (s->blocks < r->blocks_max && (double)(s->blocks * PUTS_PER_BLOCK) < puts)
        s->blocks *= 2;
    s->puts_max = s->blocks * PUTS_PER_BLOCK;
    s->words = zeroed(s->blocks, BLOCK_BITS / 8);
    s->before = zeroed(r->lanes, sizeof *s->before);
    memcpy(s->before, r->highest, r->lanes * sizeof *s->before);
}

static void close_slice(struct slice *s)
{
    free(s->words);
    free(s->before);
}

struct recent *recent_new(unsigned lanes, size_t bytes_max)
{
    struct recent *r = zeroed(1, sizeof *r);
    r->lanes = lanes;
    r->blocks_max = BLOCKS_MIN;
    while (2 * r->blocks_max * SLICES * (BLOCK_BITS / 8) <= bytes_max)
        r->blocks_max *= 2;
    r->floor = zeroed(lanes, sizeof *r->floor);
    r->last = zeroed(lanes, sizeof *r->last);
    r->highest = zeroed(lanes, sizeof *r->highest);
    for (unsigned l = 0; l < lanes; l++) {
        r->floor[l] = INT64_MAX;
        r->last[l] = -1;
    }
    open_slice(r, 0);
    return r;
}

void recent_free(struct recent **r)
{
    if (!*r)
        return;
    for (unsigned i = 0; i < (*r)->slices_n; i++)
        close_slice(&(*r)->slices[i]);
    free((*r)->floor);
    free((*r)->last);
    free((*r)->highest);
    free(*r);
    *r = NULL;
}

/* Reference and content are keyed hashes, different for each owner: nobody chooses bits. */
struct spot {
    uint64_t line;
    uint64_t bits;
};

static struct spot spot_of(const struct write *w)
{
    uint64_t a = w->ref * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t b = (w->content ^ (a >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return (struct spot){.line = b ^ (b >> 32),
                         .bits = (a ^ b) * UINT64_C(0x94d049bb133111eb)};
}

static uint64_t *line_of(const struct slice *s, struct spot at)
{
    return s->words + (at.line & (s->blocks - 1)) * BLOCK_WORDS;
}

static bool slice_has(const struct slice *s, struct spot at)
{
    const uint64_t *line = line_of(s, at);
    for (int i = 0; i < BITS_PER_KEY; i++) {
        unsigned bit = (unsigned)(at.bits >> (19 + 9 * i)) & (BLOCK_BITS - 1);
        if (!(line[bit / 64] >> bit % 64 & 1))
            return false;
    }
    return true;
}

bool recent_is_new(const struct recent *r, unsigned lane, const struct write *w, int64_t from)
{
    if (from <= r->floor[lane])
        return false;
    struct spot at = spot_of(w);
    for (unsigned i = 0; i < r->slices_n; i++)
        if (slice_has(&r->slices[i], at))
            return false;
    return true;
}

bool recent_meet(struct recent *r, unsigned lane, int64_t last_id)
{
    if (r->last[lane] == last_id)
        return true;
    r->last[lane] = r->floor[lane] = last_id;
    return false;
}

static void drop_oldest(struct recent *r)
{
    close_slice(&r->slices[0]);
    memmove(r->slices, r->slices + 1, --r->slices_n * sizeof *r->slices);
    for (unsigned l = 0; l < r->lanes; l++)
        if (r->slices[0].before[l] > r->floor[l])
            r->floor[l] = r->slices[0].before[l];
}

/* The next one has room for half as much again as came in the time of this one. */
static void turn_slice(struct recent *r)
{
    const struct slice *last = &r->slices[r->slices_n - 1];
    int64_t age_ms = clock_mono_ms() - last->since_ms;
    double puts =
        1.5 * (double)last->puts * SLICE_MS / (double)(age_ms > 1000 ? age_ms : 1000);
    if (r->slices_n == SLICES)
        drop_oldest(r);
    open_slice(r, puts);
}

void recent_put(struct recent *r, unsigned lane, const struct write *w, int64_t id)
{
    struct slice *s = &r->slices[r->slices_n - 1];
    if (s->puts >= s->puts_max || clock_mono_ms() - s->since_ms >= SLICE_MS) {
        turn_slice(r);
        s = &r->slices[r->slices_n - 1];
    }
    struct spot at = spot_of(w);
    uint64_t *line = line_of(s, at);
    for (int i = 0; i < BITS_PER_KEY; i++) {
        unsigned bit = (unsigned)(at.bits >> (19 + 9 * i)) & (BLOCK_BITS - 1);
        line[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    s->puts++;
    if (id > r->highest[lane])
        r->highest[lane] = id;
}

void recent_committed(struct recent *r, unsigned lane, int64_t last_id)
{
    r->last[lane] = last_id;
}
