// SPDX-License-Identifier: Apache-2.0
/* What a push says, and the names it goes under: all of them hashes that only we can make. */
#include <stdio.h>
#include <string.h>

#include "apns/fcm_message.h"
#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "apns/payload.h"
#include "apns/sender.h"
#include "apns/webpush_message.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/hex.h"
#include "base/jid.h"
#include "base/xml_parse.h"

/* A badge of 0 stays true until something new comes, so it may wait as long as APNs keeps it.
 */
#define STORED_S (28 * 24 * 3600)

#define P2_COLLAPSE_LEN 6
#define TEST_TEXT "This is a test"

/* What a name is for: part of what is hashed, so that one never says anything of another. */
enum name_kind { NAME_CONVERSATION = 1, NAME_BADGE, NAME_PUSH, NAME_TOPIC };

static void hash_name(const struct outbox *o, enum name_kind kind, const struct entry *e,
                      uint64_t peer, int64_t gen, uint8_t out[SHA256_BYTES])
{
    uint8_t text[1 + 16 + 16 + 8 + 8] = {(uint8_t)kind};
    if (kind != NAME_BADGE) {
        memcpy(text + 1, e->account->owner, 16);
        memcpy(text + 33, &peer, 8);
    }
    if (kind != NAME_CONVERSATION)
        memcpy(text + 17, e->device, 16);
    memcpy(text + 41, &gen, 8);
    crypt_hmac(o->names, text, sizeof text, out);
}

static void name_in_hex(const struct outbox *o, enum name_kind kind, const struct entry *e,
                        uint64_t peer, char out[PAYLOAD_NAME_BYTES])
{
    uint8_t hash[SHA256_BYTES];
    hash_name(o, kind, e, peer, 0, hash);
    hex_text(hash, 16, out);
}

/* Made from what names the generation, so that a resend has the same id after a crash too. */
void outbox_apns_id(const struct outbox *o, const struct entry *e, int64_t gen,
                    uint8_t out[16])
{
    uint8_t hash[SHA256_BYTES];
    hash_name(o, NAME_PUSH, e, e->peer, gen, hash);
    memcpy(out, hash, 16);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x80);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

/* What FCM is told beside what is shown.  p2's apps know one collapse key for an account. */
static void compose_fcm(struct outbox *o, const struct entry *e,
                        const struct outbox_fetched *f, const struct payload_alert_opts *alert,
                        const struct payload_badge_opts *badge, struct push_request *out,
                        char collapse_id[65])
{
    const bool p2 = f->account_name != NULL;
    if (p2 && strlen(f->account_name) >= P2_COLLAPSE_LEN) {
        memcpy(collapse_id, f->account_name, P2_COLLAPSE_LEN);
        collapse_id[P2_COLLAPSE_LEN] = '\0';
    }
    int64_t ttl_s = out->expiration_s - clock_real_us() / 1000000;
    const struct fcm_message_opts m = {.token = f->token,
                                       .form = e->app->opts->fcm->form,
                                       .account = f->account_name,
                                       .collapse_key = collapse_id,
                                       .ttl_s = out->expiration_s ? ttl_s : 0,
                                       .expiration_s = out->expiration_s};
    if (alert)
        fcm_message_alert(&o->payload, &m, alert);
    else if (badge)
        fcm_message_badge(&o->payload, &m, badge);
}

/* Push services see the topic, and must not see by it which subscriptions are one account's.
 */
static void compose_webpush(struct outbox *o, const struct entry *e,
                            const struct payload_alert_opts *alert, struct push_request *out,
                            char collapse_id[65])
{
    uint8_t hash[SHA256_BYTES];
    webpush_message_brief(&o->payload, alert);
    out->brief_len = buf_len(&o->payload);
    webpush_message_alert(&o->payload, alert);
    hash_name(o, NAME_TOPIC, e, e->peer, 0, hash);
    crypt_base64url(hash, 24, collapse_id);
}

/* What the newest notice says, by its template; as much is shown as of a message's text. */
static void word_notice(const struct outbox *o, const struct outbox_fetched *f,
                        struct payload_alert_opts *alert, char title[NOTICE_TEXT_MAX],
                        char body[NOTICE_TEXT_MAX])
{
    struct err e;
    struct jid from;
    bool shown = f->notice_len > 0 && alert->content == PUSH_CONTENT_BODY;
    struct stanza *st = shown ? xml_parse_element(f->notice, f->notice_len, &e) : NULL;
    const struct notice_opts *n =
        st && jid_parse(&from, stanza_get(st, "from"))
            ? notice_find(&o->push->notices, from.bare, from.resource, st)
            : NULL;
    if (n && n->title) {
        notice_render(n->title, st, title);
        alert->sender = title;
    }
    if (n && n->body) {
        notice_render(n->body, st, body);
        alert->body = body;
        alert->encrypted = false;
    }
    if (st)
        stanza_free(&st);
}

/* Who is speaking stands before what he says: the title is the room. */
static void word_room(const struct outbox_fetched *f, struct payload_alert_opts *alert,
                      char body[PAYLOAD_MAX])
{
    if (!alert->body || alert->encrypted)
        return;
    (void)snprintf(body, PAYLOAD_MAX, "%s: %s", f->nick, alert->body);
    alert->body = body;
}

/* Apple's own service: as the app wants it. */
static void compose_apns(struct outbox *o, const struct entry *e,
                         const struct outbox_fetched *f,
                         const struct payload_alert_opts *alert, struct push_request *out)
{
    const struct apns_app_opts *app = e->app->opts;
    if (alert->call && app->voip && f->voip_token && !e->voip_refused) {
        out->type = PUSH_VOIP;
        out->token = f->voip_token;
        payload_voip(&o->payload, alert);
    } else if (app->background && !alert->call && e->peer != OUTBOX_TEST_PEER) {
        out->type = PUSH_BACKGROUND;
        out->priority = 5; /* 10 is an error */
        payload_background(&o->payload, alert);
    } else {
        payload_alert(&o->payload, alert);
    }
}

/* Of a call, for the app to answer: NULL where nobody's name is shown. */
static const char *address(enum push_content content, const char *jid)
{
    return content >= PUSH_CONTENT_SENDER && strlen(jid) <= PAYLOAD_ADDRESS_MAX ? jid : NULL;
}

static void compose_alert(struct outbox *o, const struct entry *e,
                          const struct outbox_fetched *f, struct push_request *out,
                          char collapse_id[65])
{
    char name[SENDER_NAME_BYTES], thread[65], title[NOTICE_TEXT_MAX], body[NOTICE_TEXT_MAX];
    char said[PAYLOAD_MAX];
    strcpy(thread, collapse_id);
    const bool test = e->peer == OUTBOX_TEST_PEER;
    const struct apns_app_opts *app = e->app->opts;
    const enum push_content most =
        app->content < o->push->content ? app->content : o->push->content;
    const enum push_content asked = (enum push_content)f->content;
    const enum push_content content = test ? PUSH_CONTENT_BODY : asked < most ? asked : most;
    const struct payload_call call = {.session = f->session,
                                      .media = f->media,
                                      .from = address(content, f->peer_jid),
                                      .account = address(content, e->account->jid),
                                      .text = app->call_text};
    const struct sender sender = {.jid = f->peer_jid,
                                  .contact = f->contact,
                                  .message = f->said,
                                  .message_len = f->said ? f->said_len : 0,
                                  .contacts = f->contacts};
    struct payload_alert_opts alert = {
        .content = content,
        .sender = test ? NULL : sender_name(&sender, name),
        .body = test ? TEST_TEXT : f->body,
        .encrypted = f->encrypted,
        .encrypted_text = app->encrypted_text,
        .loc = &app->loc_keys,
        .badge = f->badge > 0 ? (unsigned)f->badge : 0,
        .sound = app->sound,
        .category = app->category,
        .interruption = app->interruption_level,
        .channel = app->fcm ? app->fcm->channel : NULL,
        .thread = thread,
        .call = f->call ? &call : NULL,
    };
    if (f->call) /* that of who calls */
        name_in_hex(o, NAME_CONVERSATION, e, f->conversation, thread);
    if (f->notice && !test)
        word_notice(o, f, &alert, title, body);
    if (f->nick)
        word_room(f, &alert, said);
    if (e->app->opts->webpush)
        compose_webpush(o, e, &alert, out, collapse_id);
    else if (e->app->opts->fcm)
        compose_fcm(o, e, f, &alert, NULL, out, collapse_id);
    else
        compose_apns(o, e, f, &alert, out);
}

/* Until when a service keeps it for a phone that is away.  A call is not kept: it rings now,
 * or within the seconds in which it may still be answered. */
static int64_t expiration_of(const struct outbox *o, const struct outbox_fetched *f,
                             int64_t now_s)
{
    int64_t ms = f->call ? CALL_LIFE_MS : o->push->max_age_ms;
    int64_t at_s = f->counted_us / 1000000 + ms / 1000, least_s = now_s + (f->call ? 1 : 60);
    return at_s < least_s ? least_s : at_s;
}

/* With the names that the notifications were sent with, whatever they were sent through. */
static void compose_badge(struct outbox *o, const struct entry *e,
                          const struct outbox_fetched *f, struct push_request *out,
                          char collapse_id[65])
{
    const struct outbox_flight *flight = e->flight;
    char names[PAYLOAD_WITHDRAW_MAX][PAYLOAD_NAME_BYTES];
    for (size_t i = 0; i < flight->withdraw_n; i++)
        name_in_hex(o, NAME_CONVERSATION, e, flight->withdraw[i], names[i]);
    const struct payload_badge_opts badge = {.badge = f->badge > 0 ? (unsigned)f->badge : 0,
                                             .withdraw = names,
                                             .withdraw_n = flight->withdraw_n,
                                             .withdraw_all = flight->withdraw_all,
                                             .as_of_s = flight->sent_us / 1000000};
    if (e->app->opts->webpush)
        webpush_message_badge(&o->payload, &badge);
    else if (e->app->opts->fcm)
        compose_fcm(o, e, f, NULL, &badge, out, collapse_id);
    else
        payload_badge(&o->payload, &badge);
}

void outbox_compose(struct outbox *o, const struct entry *e, const struct outbox_fetched *f,
                    bool alert, char collapse_id[65], struct push_request *out)
{
    int64_t now_s = clock_real_us() / 1000000;
    *out = (struct push_request){.token = f->token, .type = PUSH_ALERT};
    buf_reset(&o->payload);
    if (alert) {
        name_in_hex(o, NAME_CONVERSATION, e, e->peer, collapse_id);
        out->priority = 10;
        out->expiration_s = expiration_of(o, f, now_s);
        compose_alert(o, e, f, out, collapse_id);
    } else {
        name_in_hex(o, NAME_BADGE, e, e->peer, collapse_id);
        out->priority = 5;
        out->expiration_s = f->badge > 0 ? 0 : now_s + STORED_S;
        compose_badge(o, e, f, out, collapse_id);
    }
    out->collapse_id = collapse_id;
    out->brief = buf_data(&o->payload); /* before the rest, when there is one */
    out->payload = out->brief + out->brief_len;
    out->payload_len = buf_len(&o->payload) - out->brief_len;
}
