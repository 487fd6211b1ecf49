// SPDX-License-Identifier: Apache-2.0
#include "apns/gateway_item.h"

#include <stdlib.h>
#include <string.h>

#include "apns/payload.h"
#include "base/crypt.h"

#define TOKEN_MAX 512
#define COLLAPSE_MAX 64
#define VOIP_PAYLOAD_MAX 5120

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

static bool is_hex(const char *token)
{
    return token[strspn(token, "0123456789abcdefABCDEF")] == '\0';
}

/* What the service would refuse for certain is not sent. */
static const char *find_fault(const struct push_request *r, size_t token_len,
                              size_t collapse_len)
{
    size_t payload_max = r->type == PUSH_VOIP ? VOIP_PAYLOAD_MAX : PAYLOAD_MAX;
    if (token_len == 0 || token_len > TOKEN_MAX || !is_hex(r->token))
        return "BadDeviceToken";
    if (collapse_len > COLLAPSE_MAX)
        return "BadCollapseId";
    if (r->payload_len == 0)
        return "PayloadEmpty";
    if (r->payload_len > payload_max)
        return "PayloadTooLarge";
    if (r->expiration_s < 0)
        return "BadExpirationDate";
    if (r->priority != 10 && r->priority != 5 && r->priority != 1)
        return "BadPriority";
    return NULL;
}

static struct h2_text add_text(char **at, const char *s, size_t len)
{
    struct h2_text t = {*at, len};
    memcpy(*at, s, len);
    *at += len;
    return t;
}

static struct h2_text add_number(char **at, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return add_text(at, digits + i, sizeof digits - i);
}

static struct h2_text type_text(enum push_type type)
{
    switch (type) {
    case PUSH_ALERT:
        return (struct h2_text){"alert", 5};
    case PUSH_BACKGROUND:
        return (struct h2_text){"background", 10};
    case PUSH_VOIP:
        return (struct h2_text){"voip", 4};
    }
    return (struct h2_text){NULL, 0};
}

struct item *item_new(const struct push_request *r, const char *topic)
{
    static const char device[] = "/3/device/";
    size_t token_len = strlen(r->token);
    size_t collapse_len = r->collapse_id ? strlen(r->collapse_id) : 0;
    size_t device_len = sizeof device - 1;
    struct item *it = malloc(sizeof *it + device_len + token_len + collapse_len +
                             UUID_TEXT_BYTES + 2 * 20 + r->payload_len);
    if (!it)
        abort();
    it->refused = find_fault(r, token_len, collapse_len);
    it->next = NULL;
    it->ctx = r->ctx;
    it->resends = 0;
    it->jwt_serial = 0;
    it->retried_new = false;
    it->probe = false;
    it->queued_ms = 0;
    it->idempotent = collapse_len > 0 || payload_is_badge(r->payload, r->payload_len);
    char *at = it->text;
    uuid_format(r->apns_id, at);
    it->push.apns_id = (struct h2_text){at, UUID_TEXT_BYTES - 1};
    at += UUID_TEXT_BYTES;
    it->push.path = add_text(&at, device, device_len);
    it->push.path.len += add_text(&at, r->token, token_len).len;
    it->push.collapse_id = add_text(&at, r->collapse_id ? r->collapse_id : "", collapse_len);
    it->push.expiration = add_number(&at, (uint64_t)r->expiration_s);
    it->push.priority = add_number(&at, (uint64_t)r->priority);
    it->push.type = type_text(r->type);
    it->push.topic = (struct h2_text){topic, strlen(topic)};
    it->push.payload = (const uint8_t *)at;
    it->push.payload_len = r->payload_len;
    memcpy(at, r->payload, r->payload_len);
    return it;
}
