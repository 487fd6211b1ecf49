// SPDX-License-Identifier: Apache-2.0
/* Apple's service: a path per device, what is to be known of a push in header fields, and a
 * provider token that we sign ourselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/payload.h"
#include "apns/protocol.h"
#include "apns/provider_token.h"
#include "base/crypt.h"

#define TOKEN_MAX 512
#define COLLAPSE_MAX 64
#define VOIP_PAYLOAD_MAX 5120
#define NUMBER_MAX 20

struct apns {
    struct provider_token *token; /* NULL: a certificate says who we are */
    struct provider_tokens *own;  /* NULL: the token is shared */
    struct provider_listener listener;
    const char *topic;
    char *voip_topic;
};

enum { FIELD_TOPIC, FIELD_TYPE, FIELD_PRIORITY, FIELD_ID, FIELD_EXPIRATION, FIELD_COLLAPSE };

const struct h2_protocol h2_apns = {
    .fields = {[FIELD_TOPIC] = "apns-topic",
               [FIELD_TYPE] = "apns-push-type",
               [FIELD_PRIORITY] = "apns-priority",
               [FIELD_ID] = "apns-id",
               [FIELD_EXPIRATION] = "apns-expiration",
               [FIELD_COLLAPSE] = "apns-collapse-id"},
    .fields_n = 6,
    .varying = 1u << FIELD_ID | 1u << FIELD_EXPIRATION | 1u << FIELD_COLLAPSE,
    .proves_first = true,
};

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
    char digits[NUMBER_MAX];
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

static struct item *make_item(void *self, const struct push_request *r)
{
    static const char device[] = "/3/device/";
    const struct apns *a = self;
    const char *topic = r->type == PUSH_VOIP ? a->voip_topic : a->topic;
    size_t token_len = strlen(r->token);
    size_t collapse_len = r->collapse_id ? strlen(r->collapse_id) : 0;
    struct item *it = item_new(
        r, sizeof device - 1 + token_len + collapse_len + 2 * NUMBER_MAX, VERDICT_BODY_MAX);
    struct h2_text *fields = it->push.fields;
    char *at = it->text;
    it->refused = find_fault(r, token_len, collapse_len);
    it->idempotent = collapse_len > 0 || payload_is_badge(r->payload, r->payload_len);
    it->push.path = add_text(&at, device, sizeof device - 1);
    it->push.path.len += add_text(&at, r->token, token_len).len;
    fields[FIELD_COLLAPSE] = add_text(&at, r->collapse_id ? r->collapse_id : "", collapse_len);
    fields[FIELD_EXPIRATION] = add_number(&at, (uint64_t)r->expiration_s);
    fields[FIELD_PRIORITY] = add_number(&at, (uint64_t)r->priority);
    fields[FIELD_TYPE] = type_text(r->type);
    fields[FIELD_TOPIC] = (struct h2_text){topic, strlen(topic)};
    fields[FIELD_ID] = (struct h2_text){it->id, UUID_TEXT_BYTES - 1};
    return it;
}

static const char *authorization(void *self, int64_t real_s, int64_t mono_ms, size_t *len_out,
                                 unsigned *serial_out)
{
    struct apns *a = self;
    *len_out = 0;
    *serial_out = 0;
    if (!a->token)
        return "";
    return provider_token_authorization(a->token, real_s, mono_ms, len_out, serial_out);
}

/* Many pushes may come back for the same old token; it is renewed for the first. */
static bool renew(void *self, unsigned serial, int64_t real_s, int64_t mono_ms)
{
    struct apns *a = self;
    return a->token && provider_token_renew(a->token, serial, real_s, mono_ms);
}

static bool revert(void *self, unsigned serial, int64_t real_s, int64_t *until_ms_out)
{
    struct apns *a = self;
    *until_ms_out = INT64_MIN;
    return a->token && provider_token_revert(a->token, serial, real_s, until_ms_out);
}

static enum protocol_state state(const void *self, const char **reason_out)
{
    const struct apns *a = self;
    *reason_out = "";
    return a->token && provider_token_waits(a->token) ? PROTOCOL_WAITING : PROTOCOL_READY;
}

static void apns_free(void *self)
{
    struct apns *a = self;
    if (a->token)
        provider_token_unlisten(&a->listener);
    provider_tokens_free(&a->own);
    free(a->voip_topic);
    free(a);
}

static const struct protocol_ops ops = {
    .h2 = &h2_apns,
    .wave = "wrong topic or environment?",
    .token_needs_connection = true,
    .make_item = make_item,
    .authorization = authorization,
    .renew = renew,
    .revert = revert,
    .state = state,
    .judge = verdict_of_answer,
    .free = apns_free,
};

static enum err_kind find_token(struct apns *a, const struct protocol_opts *opts,
                                struct err *e)
{
    const struct apns_app_opts *app = opts->app;
    if (app->certificate_pem)
        return ERR_NONE;
    if (!opts->tokens)
        a->own = provider_tokens_new(NULL);
    enum err_kind kind =
        provider_token_find(opts->tokens ? opts->tokens : a->own, app->key_pem, app->key_id,
                            app->team_id, &a->token, e);
    if (kind)
        return kind;
    a->listener = (struct provider_listener){.changed = opts->changed, .ctx = opts->ctx};
    provider_token_listen(a->token, &a->listener);
    return ERR_NONE;
}

enum err_kind protocol_apns(const struct protocol_opts *opts, struct protocol *out,
                            struct err *e)
{
    const struct apns_app_opts *app = opts->app;
    struct apns *a = calloc(1, sizeof *a);
    size_t voip_size = strlen(app->topic) + sizeof ".voip";
    char *voip_topic = malloc(voip_size);
    if (!a || !voip_topic)
        abort();
    snprintf(voip_topic, voip_size, "%s.voip", app->topic);
    a->topic = app->topic;
    a->voip_topic = voip_topic;
    enum err_kind kind = find_token(a, opts, e);
    if (kind)
        apns_free(a);
    else
        *out = (struct protocol){&ops, a};
    return kind;
}
