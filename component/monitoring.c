// SPDX-License-Identifier: Apache-2.0
#include "component/monitoring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/datetime.h"
#include "base/form.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service_int.h"

#define PROBE_WITHIN_MS 30000

struct monitoring_question {
    struct monitoring_question *next;
    struct service *s;
    unsigned link;
    uint64_t epoch;
    char id[ECHO_ID_BYTES];
    struct monitoring_page page;
    monitoring_fn fn;
    void *ctx;
};

static struct monitoring_question *question_new(struct service *s, unsigned link,
                                                monitoring_fn fn, void *ctx)
{
    struct monitoring_question *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    *q = (struct monitoring_question){.next = s->asked,
                                      .s = s,
                                      .link = link,
                                      .epoch = s->links[link].epoch,
                                      .fn = fn,
                                      .ctx = ctx};
    s->asked = q;
    return q;
}

static void finish(struct monitoring_question *q)
{
    struct monitoring_question **at = &q->s->asked;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->fn(q->ctx, &q->page);
    free(q);
}

/* False when it is no result. */
static bool read_end(struct monitoring_question *q, const struct stanza *iq)
{
    const struct link_state *l = &q->s->links[q->link];
    const char *type = stanza_get(iq, "type");
    if (!iq)
        q->page.end = l->up && l->epoch == q->epoch ? MONITORING_SILENT : MONITORING_LOST;
    else if (type && strcmp(type, "error") == 0) {
        const struct stanza *error = stanza_child(iq, "error", NULL);
        const struct stanza *condition = stanza_child(error, NULL, NS_STANZA_ERRORS);
        q->page.end = MONITORING_REFUSED;
        q->page.condition = condition ? condition->name : NULL;
    } else {
        return true;
    }
    return false;
}

static void on_page(void *ctx, const struct stanza *iq)
{
    struct monitoring_question *q = ctx;
    if (read_end(q, iq)) {
        const struct stanza *fin = stanza_child(iq, "fin", NS_MAM);
        const char *complete = stanza_get(fin, "complete");
        q->page.end = fin ? MONITORING_ANSWERED : MONITORING_ODD;
        q->page.complete = complete && strcmp(complete, "true") == 0;
    }
    finish(q);
}

static void add_time(struct stanza *form, const char *name, int64_t us)
{
    char text[DATETIME_BYTES];
    datetime_format(us, text);
    form_add_field(form, name, NULL, text);
}

void monitoring_ask(struct service *s, unsigned link, const struct monitoring_range *range,
                    monitoring_fn fn, void *ctx)
{
    struct monitoring_question *q = question_new(s, link, fn, ctx);
    adapter_ask_id(&s->adapter, q->id);
    struct arena *arena = arena_new(4096);
    struct stanza *query = stanza_new(arena, "query", NS_MAM);
    stanza_set(query, "queryid", q->id);
    struct stanza *form = form_add(query, "submit", NS_MAM);
    add_time(form, "start", range->from_us);
    add_time(form, "end", range->to_us);
    char max[16];
    snprintf(max, sizeof max, "%u", range->max);
    stanza_add_leaf(stanza_add(query, "set", NS_RSM), "max", NULL, max);
    service_ask(s, link, range->account, "set", query, MONITORING_WITHIN_MS, on_page, q);
    arena_free(&arena);
}

static void on_features(void *ctx, const struct stanza *iq)
{
    struct monitoring_question *q = ctx;
    if (read_end(q, iq)) {
        const struct stanza *query = stanza_child(iq, "query", NS_DISCO_INFO);
        const struct stanza *f = stanza_child(query, "feature", NULL);
        q->page.end = MONITORING_REFUSED;
        for (; f; f = stanza_sibling(f, "feature", NULL)) {
            const char *var = stanza_get(f, "var");
            if (var && strcmp(var, NS_MAM) == 0)
                q->page.end = MONITORING_ANSWERED;
        }
    }
    finish(q);
}

void monitoring_probe(struct service *s, unsigned link, const char *host, monitoring_fn fn,
                      void *ctx)
{
    struct monitoring_question *q = question_new(s, link, fn, ctx);
    struct arena *arena = arena_new(1024);
    service_ask(s, link, host, "get", stanza_new(arena, "query", NS_DISCO_INFO),
                PROBE_WITHIN_MS, on_features, q);
    arena_free(&arena);
}

void monitoring_told(struct service *s, const char *ask_id, int64_t server_us)
{
    for (struct monitoring_question *q = s->asked; q; q = q->next) {
        if (strcmp(q->id, ask_id) != 0)
            continue;
        q->page.results++;
        if (server_us > q->page.last_us)
            q->page.last_us = server_us;
    }
}
