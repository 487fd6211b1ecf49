// SPDX-License-Identifier: Apache-2.0
#include "sidecar/report_page.h"

#include <stdio.h>

#include "base/clock.h"
#include "component/page.h"
#include "config/config.h"
#include "sidecar/report.h"

static void link_from_page(struct report_link *l, const struct page_link *p,
                           const struct host_opts *host)
{
    enum link_state state = (enum link_state)atomic_load(&p->state);
    char why[PAGE_TEXT_BYTES];
    page_text_get(&p->error, why);
    snprintf(l->why, sizeof l->why, "%.*s", (int)sizeof l->why - 1, why);
    l->host = host->host;
    l->port = host->port;
    l->state = link_state_name(state);
    l->epoch = atomic_load(&p->epoch);
    l->since_us = state == LINK_UP ? atomic_load(&p->connected_us) : 0;
    l->connects = atomic_load(&p->connects);
    l->down_since_us = atomic_load(&p->down_since_us);
    l->gaps = atomic_load(&p->gaps);
    l->gap_from_us = atomic_load(&p->gap_from_us);
    l->gap_to_us = atomic_load(&p->gap_to_us);
    l->spool_bytes = atomic_load(&p->spool_bytes);
    l->spool_max = atomic_load(&p->size_max);
    uint64_t end = atomic_load(&p->spool_end);
    uint64_t begin = atomic_load(&p->spool_begin);
    uint64_t committed = atomic_load(&p->archive_pos);
    committed = committed > begin ? committed : begin;
    l->behind_bytes = end > committed ? end - committed : 0;
}

void report_from_page(struct report *r, const struct page *page, const struct config *config)
{
    r->component = config->component.component;
    r->now_us = clock_real_us();
    r->worker_pid = atomic_load(&page->worker_pid);
    r->worker_starts = atomic_load(&page->worker_starts);
    r->worker_faults = atomic_load(&page->worker_faults);
    r->faults_unclear = atomic_load(&page->faults_unclear);
    char death[PAGE_TEXT_BYTES];
    page_text_get(&page->worker_death, death);
    snprintf(r->worker_death, sizeof r->worker_death, "%.150s", death);
    for (size_t i = 0; i < PAGE_POISON_MAX; i++) {
        struct place place;
        r->poison += page_place_get(&page->poison[i].place, &place);
    }
    for (unsigned i = 0; i < page->links_n && i < config->component.hosts_n; i++)
        link_from_page(&r->links[r->links_n++], &page->links[i], &config->component.hosts[i]);
}
