// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/pushes.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/gateway/request.h"
#include "tests/gateway/text.h"

#define BYTES_MAX ((size_t)256 << 20)

struct record {
    char *json;
    size_t len;
    uint64_t seq;
    int status;
    char *token;
    STAILQ_ENTRY(record) next;
};

struct gw_pushes {
    STAILQ_HEAD(, record) list;
    size_t n, max, bytes;
    uint64_t last_seq;
};

struct gw_pushes *gw_pushes_new(size_t max)
{
    struct gw_pushes *p = gw_alloc(sizeof(*p));

    STAILQ_INIT(&p->list);
    p->max = max;
    return p;
}

static void drop_oldest(struct gw_pushes *p)
{
    struct record *rec = STAILQ_FIRST(&p->list);

    STAILQ_REMOVE_HEAD(&p->list, next);
    p->n--;
    p->bytes -= rec->len;
    free(rec->json);
    free(rec->token);
    free(rec);
}

void gw_pushes_reset(struct gw_pushes *p)
{
    while (p->n > 0)
        drop_oldest(p);
    p->last_seq = 0;
}

void gw_pushes_free(struct gw_pushes **p)
{
    if (*p == NULL)
        return;
    gw_pushes_reset(*p);
    free(*p);
    *p = NULL;
}

static void write_headers(const struct gw_request *r, struct gw_text *t)
{
    const char *name;
    size_t i, written = 0;

    gw_text_puts(t, "{");
    for (i = 0; i < r->n_fields; i++) {
        name = r->text + r->fields[i].name;
        if (strcmp(name, "authorization") == 0)
            continue;
        if (written++ > 0)
            gw_text_puts(t, ",");
        gw_text_json_str(t, name);
        gw_text_puts(t, ":");
        gw_text_json_str(t, r->text + r->fields[i].value);
    }
    gw_text_puts(t, "}");
}

void gw_pushes_add(struct gw_pushes *p, const struct gw_push_origin *from,
                   const struct gw_request *r, const struct gw_push *push,
                   const struct gw_verdict *v)
{
    struct record *rec = gw_alloc(sizeof(*rec));
    struct gw_text t = {0};
    size_t i;

    rec->seq = ++p->last_seq;
    rec->status = v->status;
    rec->token = gw_strdup(push->token);
    gw_text_printf(&t, "{\"seq\":%" PRIu64 ",\"time_ms\":%" PRId64 ",\"token\":", rec->seq,
                   from->time_ms);
    gw_text_json_str(&t, push->token);
    gw_text_printf(&t, ",\"status\":%d,\"reason\":", v->status);
    gw_text_json_str(&t, v->reason);
    gw_text_printf(&t, ",\"conn\":%" PRIu32 ",\"stream\":%" PRId32 ",\"jwt\":%u,", from->conn,
                   from->stream, push->jwt);
    gw_text_puts(&t, "\"headers\":");
    write_headers(r, &t);
    gw_text_puts(&t, ",\"payload\":");
    if (push->binary) {
        gw_text_puts(&t, "null,\"body_hex\":\"");
        for (i = 0; i < r->body_kept; i++)
            gw_text_printf(&t, "%02x", r->body[i]);
        gw_text_puts(&t, "\"");
    } else if (push->payload_valid) {
        gw_text_add(&t, (const char *)r->body, r->body_kept);
    } else {
        gw_text_puts(&t, "null,\"payload_text\":");
        gw_text_json(&t, (const char *)r->body, r->body_kept);
    }
    gw_text_puts(&t, "}");
    rec->json = gw_realloc(t.s, t.len, 1);
    rec->len = t.len;
    STAILQ_INSERT_TAIL(&p->list, rec, next);
    p->n++;
    p->bytes += rec->len;
    while (p->n > p->max || p->bytes > BYTES_MAX)
        drop_oldest(p);
}

void gw_pushes_write(const struct gw_pushes *p, const struct gw_pushes_query *q,
                     struct evbuffer *out)
{
    const struct record *rec;
    size_t written = 0;

    evbuffer_add(out, "[", 1);
    STAILQ_FOREACH(rec, &p->list, next)
    {
        if (rec->seq <= q->since || (q->status >= 0 && rec->status != q->status) ||
            (q->token != NULL && strcmp(rec->token, q->token) != 0))
            continue;
        if (written == q->limit)
            break;
        if (written++ > 0)
            evbuffer_add(out, ",\n", 2);
        evbuffer_add(out, rec->json, rec->len);
    }
    evbuffer_add(out, "]\n", 2);
}
