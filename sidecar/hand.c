// SPDX-License-Identifier: Apache-2.0
#include "sidecar/hand.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "component/page.h"

#define PREFIX "hand"
#define TWICE 2
#define HOUR_US (3600 * INT64_C(1000000))

/* A copy of the page's list, so that the usual answer costs one comparison. */
struct poison {
    struct place place;
    unsigned deaths;
    char why[PAGE_TEXT_BYTES];
};

struct hand {
    struct page *page;
    struct poison poison[PAGE_POISON_MAX];
    size_t poison_n;
    bool careful;
    int64_t quiet_until_ms;
    bool held;
    struct place held_place;
    uint64_t live_until[PAGE_LINKS_MAX];
    uint64_t archive_until[PAGE_LINKS_MAX];
    bool link_done[PAGE_LINKS_MAX];
};

static bool same_stanza(const struct place *a, const struct place *b)
{
    return a->spool == b->spool && a->begin == b->begin;
}

static void read_list(struct hand *h)
{
    h->poison_n = 0;
    for (size_t i = 0; i < PAGE_POISON_MAX; i++) {
        struct page_poison *slot = &h->page->poison[i];
        struct poison *p = &h->poison[h->poison_n];
        if (!page_place_get(&slot->place, &p->place))
            continue;
        p->deaths = atomic_load(&slot->deaths);
        page_text_get(&slot->why, p->why);
        h->poison_n++;
    }
}

static struct page_poison *find_slot(struct page *page, const struct place *place)
{
    for (size_t i = 0; i < PAGE_POISON_MAX; i++) {
        struct place known;
        struct page_poison *slot = &page->poison[i];
        if (page_place_get(&slot->place, &known) ? place && same_stanza(&known, place)
                                                 : !place)
            return slot;
    }
    return NULL;
}

static bool may_be_poison(struct page *page)
{
    int64_t now_us = clock_real_us(), hour_us = atomic_load(&page->poison_hour_us);
    if (now_us < hour_us || now_us >= hour_us + HOUR_US) {
        atomic_store(&page->poison_hour_us, now_us);
        atomic_store(&page->poison_hour_n, 0);
    }
    return atomic_load(&page->poison_hour_n) < HAND_POISON_PER_HOUR;
}

static void forget_fault(struct page *page)
{
    atomic_store(&page->fault_times, 0);
    page_place_set(&page->fault, NULL);
}

/* The reason is known: the next death begins another row. */
static void conclude(struct page *page)
{
    forget_fault(page);
    atomic_store(&page->faults_in_row, 0);
}

/* A worker killed between these stores leaves the fault, and the next one comes here again. */
static void add_poison(struct page *page, const struct place *place, unsigned deaths)
{
    struct page_poison *slot = find_slot(page, NULL);
    char why[PAGE_TEXT_BYTES], text[PAGE_TEXT_BYTES];
    if (!slot || !may_be_poison(page)) {
        log_error(PREFIX,
                  "the worker died again with one stanza in hand link=%u begin=%llu, but too "
                  "many were put aside lately: a person must look",
                  place->spool, (unsigned long long)place->begin);
        return;
    }
    page_text_get(&page->fault_why, why);
    snprintf(text, sizeof text, "the worker died with it in hand, %u times: %.120s", deaths,
             why);
    page_text_set(&slot->why, text);
    atomic_store(&slot->deaths, deaths);
    page_place_set(&slot->place, place);
    atomic_fetch_add(&page->poison_hour_n, 1);
    conclude(page);
    log_error(PREFIX, "a stanza is put aside link=%u begin=%llu end=%llu: %s", place->spool,
              (unsigned long long)place->begin, (unsigned long long)place->end, text);
}

/* What the dead worker may have had in its hands lies before these places. */
static void become_careful(struct hand *h, const struct place *fault)
{
    h->careful = true;
    h->quiet_until_ms = clock_mono_ms() + HAND_QUIET_MS;
    for (unsigned i = 0; i < h->page->links_n; i++) {
        const struct page_link *l = &h->page->links[i];
        uint64_t end = fault && fault->spool == i ? fault->end : 0;
        uint64_t live = atomic_load(&l->live_pos), offered = atomic_load(&l->offered_pos);
        h->live_until[i] = live > end ? live : end;
        h->archive_until[i] = offered > end ? offered : end;
    }
    log_warn(PREFIX, "a worker died by a fault of its own: going one stanza at a time");
}

struct hand *hand_new(struct page *page)
{
    struct hand *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->page = page;
    struct place fault;
    unsigned times = atomic_load(&page->fault_times);
    bool clear = page_place_get(&page->fault, &fault);
    struct page_poison *known = times && clear ? find_slot(page, &fault) : NULL;
    if (known) { /* even passing over it was too much */
        atomic_fetch_add(&known->deaths, times);
        conclude(page);
    } else if (clear && times >= TWICE) {
        add_poison(page, &fault, times);
    }
    if (atomic_load(&page->fault_times) > 0)
        become_careful(h, clear ? &fault : NULL);
    read_list(h);
    return h;
}

void hand_free(struct hand **h)
{
    free(*h);
    *h = NULL;
}

void hand_take(struct hand *h, const struct place *p)
{
    page_place_set(&h->page->in_hand, p);
}

void hand_put(struct hand *h)
{
    page_place_set(&h->page->in_hand, h->held ? &h->held_place : NULL);
}

const char *hand_poison(const struct hand *h, const struct place *p, bool *may_look_out)
{
    for (size_t i = 0; i < h->poison_n; i++) {
        if (!same_stanza(&h->poison[i].place, p))
            continue;
        *may_look_out = h->poison[i].deaths <= TWICE;
        return h->poison[i].why;
    }
    return NULL;
}

size_t hand_poison_count(const struct hand *h)
{
    return h->poison_n;
}

bool hand_is_careful(const struct hand *h)
{
    return h->careful;
}

bool hand_is_quiet(const struct hand *h, int64_t now_ms)
{
    return h->careful && now_ms < h->quiet_until_ms;
}

bool hand_hold(struct hand *h, const struct place *p)
{
    if (h->held)
        return false;
    h->held = true;
    h->held_place = *p;
    hand_put(h);
    return true;
}

void hand_let_go(struct hand *h, const struct place *p)
{
    if (!h->held || !same_stanza(&h->held_place, p))
        return;
    h->held = false;
    hand_put(h);
}

bool hand_is_held(const struct hand *h)
{
    return h->held;
}

void hand_offered(struct hand *h, unsigned link, uint64_t end)
{
    _Atomic uint64_t *at = &h->page->links[link].offered_pos;
    if (end > atomic_load_explicit(at, memory_order_relaxed))
        atomic_store_explicit(at, end, memory_order_relaxed);
}

void hand_passed(struct hand *h, unsigned link, uint64_t live, uint64_t committed)
{
    if (!h->careful)
        return;
    h->link_done[link] = live >= h->live_until[link] && committed >= h->archive_until[link];
    for (unsigned i = 0; i < h->page->links_n; i++)
        if (!h->link_done[i])
            return;
    h->careful = false;
    forget_fault(h->page);
    log_info(PREFIX, "passed what the dead worker had in hand");
}

void hand_released(struct hand *h, unsigned link, uint64_t pos)
{
    bool changed = false;
    for (size_t i = 0; i < h->poison_n; i++) {
        const struct place *p = &h->poison[i].place;
        struct page_poison *slot = find_slot(h->page, p);
        if (p->spool != link || p->end > pos || !slot)
            continue;
        page_place_set(&slot->place, NULL);
        changed = true;
    }
    if (changed)
        read_list(h);
}
