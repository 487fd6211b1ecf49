// SPDX-License-Identifier: Apache-2.0
#include "component/questions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypt.h"
#include "base/stanza.h"
#include "component/adapter.h"
#include "component/iq.h"

#define OPEN_MAX 1000
#define STANZA_MAX (8u << 20)

struct open {
    struct open *next;
    char id[48];
    unsigned link;
    int64_t deadline_ms;
    iq_answer_fn fn;
    void *ctx;
    char to[];
};

struct questions {
    const struct adapter *adapter;
    questions_send_fn send;
    void *ctx;
    struct open *first;
    size_t n;
};

struct questions *questions_new(const struct adapter *adapter, questions_send_fn send,
                                void *ctx)
{
    struct questions *qs = calloc(1, sizeof *qs);
    if (!qs)
        abort();
    qs->adapter = adapter;
    qs->send = send;
    qs->ctx = ctx;
    return qs;
}

static void end(struct questions *qs, struct open **at, const struct stanza *iq)
{
    struct open *q = *at;
    *at = q->next;
    qs->n--;
    q->fn(q->ctx, iq);
    free(q);
}

void questions_free(struct questions **qs)
{
    if (!*qs)
        return;
    while ((*qs)->first)
        end(*qs, &(*qs)->first, NULL);
    free(*qs);
    *qs = NULL;
}

static void send_question(const struct questions *qs, const struct iq_question *q,
                          const char *id)
{
    struct buf out;
    buf_init(&out, STANZA_MAX);
    buf_add_str(&out, "<iq");
    iq_write_attr(&out, "type", q->type);
    iq_write_attr(&out, "id", id);
    iq_write_attr(&out, "from", qs->adapter->opts->component);
    iq_write_attr(&out, "to", q->to);
    buf_add_char(&out, '>');
    stanza_write(&out, q->payload, iq_outer_ns(qs->adapter));
    buf_add_str(&out, "</iq>");
    qs->send(qs->ctx, q->link, q->epoch, buf_data(&out), buf_len(&out));
    buf_deinit(&out);
}

void questions_ask(struct questions *qs, const struct iq_question *q)
{
    if (qs->n >= OPEN_MAX) {
        q->fn(q->ctx, NULL);
        return;
    }
    size_t len = strlen(q->to);
    struct open *open = calloc(1, sizeof *open + len + 1);
    if (!open)
        abort();
    memcpy(open->to, q->to, len);
    /* So long because Openfire knows questions of all components by nothing but their ids. */
    snprintf(open->id, sizeof open->id, "xs-ask-%016llx%016llx",
             (unsigned long long)crypt_random_u64(), (unsigned long long)crypt_random_u64());
    open->link = q->link;
    open->deadline_ms = q->deadline_ms;
    open->fn = q->fn;
    open->ctx = q->ctx;
    open->next = qs->first;
    qs->first = open;
    qs->n++;
    send_question(qs, q, open->id);
}

bool questions_answered(struct questions *qs, const struct stanza *iq)
{
    const char *id = stanza_get(iq, "id");
    const char *from = stanza_get(iq, "from");
    if (!id || !from)
        return false;
    for (struct open **at = &qs->first; *at; at = &(*at)->next)
        if (strcmp((*at)->id, id) == 0 && strcmp((*at)->to, from) == 0) {
            end(qs, at, iq);
            return true;
        }
    return false;
}

/* An answer's receiver may ask or end others: after each, the search starts again. */
static struct open **find(struct questions *qs, const unsigned *link, int64_t now_ms)
{
    for (struct open **at = &qs->first; *at; at = &(*at)->next)
        if (link ? (*at)->link == *link : (*at)->deadline_ms <= now_ms)
            return at;
    return NULL;
}

void questions_link_lost(struct questions *qs, unsigned link)
{
    for (struct open **at; (at = find(qs, &link, 0));)
        end(qs, at, NULL);
}

void questions_tick(struct questions *qs, int64_t now_ms)
{
    for (struct open **at; (at = find(qs, NULL, now_ms));)
        end(qs, at, NULL);
}

int64_t questions_deadline(const struct questions *qs)
{
    int64_t next = INT64_MAX;
    for (const struct open *q = qs->first; q; q = q->next)
        if (q->deadline_ms < next)
            next = q->deadline_ms;
    return next;
}
