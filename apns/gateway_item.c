// SPDX-License-Identifier: Apache-2.0
#include "apns/gateway_item.h"

#include <stdlib.h>
#include <string.h>

void queue_add(struct queue *q, struct item *it)
{
    it->next = NULL;
    if (q->tail)
        q->tail->next = it;
    else
        q->head = it;
    q->tail = it;
    q->n++;
}

struct item *queue_take(struct queue *q)
{
    struct item *it = q->head;
    if (!it)
        return NULL;
    q->head = it->next;
    if (!q->head)
        q->tail = NULL;
    q->n--;
    return it;
}

struct item *item_new(const struct push_request *r, size_t text_bytes, size_t body_max)
{
    struct item *it = malloc(sizeof *it + text_bytes + r->payload_len + body_max);
    if (!it)
        abort();
    *it = (struct item){.ctx = r->ctx};
    uuid_format(r->apns_id, it->id);
    uint8_t *payload = (uint8_t *)it->text + text_bytes;
    if (r->payload_len > 0)
        memcpy(payload, r->payload, r->payload_len);
    it->push.payload = payload;
    it->push.payload_len = r->payload_len;
    it->push.body = payload + r->payload_len;
    it->push.body_max = body_max;
    return it;
}
