// SPDX-License-Identifier: Apache-2.0
#include "component/iq.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/stanza.h"
#include "component/adapter.h"
#include "component/delegation.h"
#include "component/ns.h"
#include "component/privilege.h"

#define REQUEST_MAGIC 0x49715265u
#define ARENA_MAX (16u << 20)
#define STANZA_MAX (8u << 20) /* what we send at once, unless the server takes less */

enum request_state {
    REQUEST_OPEN,  /* -> ENDED */
    REQUEST_ENDED, /* answered by us, or not to be answered; kept until its handler ends it */
};

/* How the answer has to look: every string verbatim, servers compare bytes. */
struct route {
    const char *delegation_ns; /* NULL: asked directly */
    const char *outer_id;
    const char *outer_from;
    const char *outer_to;
    const char *id;
    const char *from; /* of the answer */
    const char *to;
};

struct request {
    struct iq_request is; /* first: a request handed out is this */
    unsigned magic;
    enum request_state state;
    struct iq_table *table;
    struct request *next;
    struct request *prev;
    int64_t deadline_ms;
    struct route route;
    bool gone;
    iq_cancel_fn cancel;
    void *cancel_ctx;
};

struct list {
    struct request *first; /* by deadline, the next one first */
    struct request *last;
    size_t count;
};

struct iq_table {
    const struct adapter *adapter;
    struct iq_ops ops;
    struct list open;
    struct list ended;
};

static struct list *list_of(struct request *q)
{
    return q->state == REQUEST_OPEN ? &q->table->open : &q->table->ended;
}

static void list_add(struct list *l, struct request *q)
{
    struct request *before = l->last;
    while (before && before->deadline_ms > q->deadline_ms)
        before = before->prev;
    q->prev = before;
    q->next = before ? before->next : l->first;
    *(before ? &before->next : &l->first) = q;
    *(q->next ? &q->next->prev : &l->last) = q;
    l->count++;
}

static void list_take(struct list *l, struct request *q)
{
    *(q->prev ? &q->prev->next : &l->first) = q->next;
    *(q->next ? &q->next->prev : &l->last) = q->prev;
    l->count--;
}

static void request_free(struct request *q)
{
    list_take(list_of(q), q);
    q->magic = 0;
    struct arena *arena = q->is.arena; /* in which q itself lives */
    arena_free(&arena);
}

static struct request *of(const struct iq_request *r)
{
    struct request *q = (struct request *)(uintptr_t)r;
    assert(q->magic == REQUEST_MAGIC);
    return q;
}

struct iq_table *iq_table_new(const struct adapter *adapter, const struct iq_ops *ops)
{
    struct iq_table *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->adapter = adapter;
    t->ops = *ops;
    return t;
}

/* ---- answering ---- */

static size_t stanza_max(const struct iq_table *t)
{
    size_t max = t->adapter->opts->sent_bytes_max;
    return max && max < STANZA_MAX ? max : STANZA_MAX;
}

void iq_write_attr(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_add_char(out, ' ');
    buf_add_str(out, name);
    buf_add_str(out, "=\"");
    xml_escape_str(out, value);
    buf_add_char(out, '"');
}

/* Within a component's stream it is the stream's own; servers take that for jabber:client, but
 * for those that do not. */
const char *iq_outer_ns(const struct adapter *a)
{
    return a->opts->client_namespace ? NS_COMPONENT : NS_CLIENT;
}

static void write_answer(struct buf *out, const struct request *q, const char *type,
                         const struct stanza *payload)
{
    const struct route *r = &q->route;
    if (r->delegation_ns) {
        /* An outer error would leave the client without any answer. */
        buf_add_str(out, "<iq type=\"result\"");
        iq_write_attr(out, "id", r->outer_id);
        iq_write_attr(out, "from", r->outer_to);
        iq_write_attr(out, "to", r->outer_from);
        buf_add_char(out, '>');
        delegation_open(out, r->delegation_ns);
        buf_add_str(out, "<iq xmlns=\"" NS_CLIENT "\"");
    } else {
        buf_add_str(out, "<iq");
    }
    iq_write_attr(out, "type", type);
    iq_write_attr(out, "id", r->id);
    iq_write_attr(out, "from", r->from);
    iq_write_attr(out, "to", r->to);
    if (payload) {
        buf_add_char(out, '>');
        stanza_write(out, payload,
                     r->delegation_ns ? NS_CLIENT : iq_outer_ns(q->table->adapter));
        buf_add_str(out, "</iq>");
    } else {
        buf_add_str(out, "/>");
    }
    if (r->delegation_ns) {
        delegation_close(out);
        buf_add_str(out, "</iq>");
    }
}

static struct stanza *make_error(struct arena *arena, const char *type, const char *condition,
                                 const char *text)
{
    struct stanza *error = stanza_new(arena, "error", NS_CLIENT);
    stanza_set(error, "type", type);
    stanza_add(error, condition, NS_STANZA_ERRORS);
    if (text)
        stanza_add_leaf(error, "text", NS_STANZA_ERRORS, text);
    return error;
}

/* Sends the one answer and moves the request to those that have ended. */
static void answer(struct request *q, const char *type, const struct stanza *payload)
{
    assert(q->state == REQUEST_OPEN);
    struct iq_table *t = q->table;
    struct buf out;
    buf_init(&out, stanza_max(t));
    write_answer(&out, q, type, payload);
    if (buf_failed(&out)) {
        struct arena *arena = arena_new(4096);
        buf_reset(&out);
        write_answer(&out, q, "error",
                     make_error(arena, "cancel", "internal-server-error", "answer too large"));
        arena_free(&arena);
    }
    list_take(&t->open, q);
    q->state = REQUEST_ENDED;
    list_add(&t->ended, q);
    t->ops.send(t->ops.ctx, q->is.link, q->is.epoch, buf_data(&out), buf_len(&out));
    buf_deinit(&out);
    t->ops.done(t->ops.ctx, &q->is.place);
}

static void answer_error(struct request *q, const char *type, const char *condition,
                         const char *text)
{
    struct arena *arena = arena_new(4096 + (text ? strlen(text) : 0));
    answer(q, "error", make_error(arena, type, condition, text));
    arena_free(&arena);
}

void iq_reply(struct iq_request *r, const struct stanza *payload)
{
    struct request *q = of(r);
    if (q->state == REQUEST_OPEN)
        answer(q, "result", payload);
    request_free(q);
}

void iq_error(struct iq_request *r, const char *type, const char *condition, const char *text)
{
    struct request *q = of(r);
    if (q->state == REQUEST_OPEN)
        answer_error(q, type, condition, text);
    request_free(q);
}

void iq_error_app(struct iq_request *r, const char *type, const char *condition,
                  const char *app_condition, const char *app_ns)
{
    struct request *q = of(r);
    if (q->state == REQUEST_OPEN) {
        struct arena *arena = arena_new(4096);
        struct stanza *error = make_error(arena, type, condition, NULL);
        stanza_add(error, app_condition, app_ns);
        answer(q, "error", error);
        arena_free(&arena);
    }
    request_free(q);
}

void iq_forbid(struct iq_request *r)
{
    iq_error(r, "auth", "forbidden", NULL);
}

void iq_later(struct iq_request *r, const char *text)
{
    iq_error(r, "wait", "internal-server-error", text);
}

/* ---- messages before the answer ---- */

/* NULL when nothing can be sent as a user now. */
static const char *grant_of(const struct request *q)
{
    const struct iq_table *t = q->table;
    return t->ops.privilege(t->ops.ctx, q->is.link, jid_domain(&q->is.account));
}

/* The hint keeps a result whose session has gone out of the user's offline messages. */
static void send_children(struct request *q, const char *type, const char *grant,
                          const struct stanza *children, const void *xml, size_t len)
{
    struct iq_table *t = q->table;
    const char *component = t->adapter->opts->component;
    bool wrapped = grant && *grant;
    struct jid sender = {.local_len = 0};
    char id[ECHO_ID_BYTES];
    snprintf(sender.bare, sizeof sender.bare, "%s", grant ? q->is.account.bare : component);
    adapter_echo_id(t->adapter, &sender, &q->is.asker, id);

    struct buf out;
    buf_init(&out, stanza_max(t));
    if (wrapped)
        privilege_open(&out, grant, component, jid_domain(&q->is.account));
    buf_add_str(&out, wrapped ? "<message xmlns=\"" NS_CLIENT "\"" : "<message");
    iq_write_attr(&out, "from", sender.bare);
    iq_write_attr(&out, "to", q->is.asker_text);
    iq_write_attr(&out, "id", id);
    iq_write_attr(&out, "type", type);
    buf_add_char(&out, '>');
    for (const struct stanza *c = children; c; c = c->next)
        stanza_write(&out, c, wrapped ? NS_CLIENT : iq_outer_ns(t->adapter));
    buf_add(&out, xml, len);
    buf_add_str(&out, "<no-store xmlns=\"" NS_HINTS "\"/></message>");
    if (wrapped)
        privilege_close(&out);
    /* One message that is too large for any stanza is left out, as no client could get it. */
    if (!buf_failed(&out))
        t->ops.send(t->ops.ctx, q->is.link, q->is.epoch, buf_data(&out), buf_len(&out));
    buf_deinit(&out);
}

static bool send_any(struct iq_request *r, const char *type, const struct stanza *children,
                     const void *xml, size_t len)
{
    struct request *q = of(r);
    if (iq_asker_gone(r))
        return false;
    const char *grant = NULL;
    if (r->delegated) {
        grant = grant_of(q);
        if (!grant) {
            answer_error(q, "wait", "internal-server-error",
                         "the server has not granted sending results");
            return false;
        }
    }
    send_children(q, type, grant, children, xml, len);
    return true;
}

bool iq_send_message(struct iq_request *r, const struct stanza *message)
{
    return send_any(r, stanza_get(message, "type"), message->first, "", 0);
}

bool iq_send_children(struct iq_request *r, const void *xml, size_t len)
{
    return send_any(r, NULL, NULL, xml, len);
}

bool iq_asker_gone(const struct iq_request *r)
{
    const struct request *q = of(r);
    return q->gone || q->state == REQUEST_ENDED;
}

void iq_on_cancel(struct iq_request *r, iq_cancel_fn fn, void *ctx)
{
    struct request *q = of(r);
    q->cancel = fn;
    q->cancel_ctx = ctx;
}

/* ---- opening ---- */

static const char *keep(struct arena *arena, const char *text)
{
    return text ? arena_strdup(arena, text) : NULL;
}

static struct request *request_new(struct iq_table *t, const struct stanza *iq,
                                   const struct iq_origin *o)
{
    struct arena *arena = arena_new(ARENA_MAX);
    struct request *q = arena_alloc(arena, sizeof *q);
    *q = (struct request){
        .magic = REQUEST_MAGIC,
        .state = REQUEST_OPEN,
        .table = t,
        .deadline_ms = o->now_ms + IQ_ANSWER_WITHIN_MS - o->age_ms,
        .is = {.arena = arena,
               .place = o->place,
               .link = o->place.spool,
               .epoch = o->epoch,
               .received_us = o->received_us,
               .iq = stanza_copy(arena, iq)},
    };
    list_add(&t->open, q);
    t->ops.opened(t->ops.ctx, &q->is.place);
    return q;
}

static bool is_type(const struct stanza *iq, const char *type)
{
    const char *its = stanza_get(iq, "type");
    return its && strcmp(its, type) == 0;
}

/* What RFC 6120 section 8.2.3 asks of a request, and our own limits; then it is answered with
 * an error, or handed out. */
static enum iq_open_result admit(struct request *q, const struct iq_origin *o,
                                 struct iq_request **out)
{
    struct iq_request *r = &q->is;
    r->payload = stanza_child(r->iq, NULL, NULL);
    r->is_set = is_type(r->iq, "set");
    if (!r->iq || q->table->open.count > IQ_OPEN_MAX) {
        iq_error(r, "wait", "resource-constraint", NULL);
        return IQ_ANSWERED;
    }
    if (q->deadline_ms <= o->now_ms) {
        iq_later(r, "no answer in time");
        return IQ_ANSWERED;
    }
    bool asks = r->is_set || is_type(r->iq, "get");
    if (!asks || !r->payload || stanza_sibling(r->payload, NULL, NULL)) {
        iq_error(r, "modify", "bad-request", NULL);
        return IQ_ANSWERED;
    }
    *out = r;
    return IQ_OPENED;
}

enum iq_open_result iq_open_direct(struct iq_table *t, const struct stanza *iq,
                                   const struct iq_origin *o, struct iq_request **out)
{
    struct jid asker;
    const char *from = stanza_get(iq, "from");
    const char *to = stanza_get(iq, "to");
    if (!jid_parse(&asker, from))
        return IQ_IGNORED;
    struct request *q = request_new(t, iq, o);
    struct iq_request *r = &q->is;
    r->asker = asker;
    r->asker_text = keep(r->arena, from);
    r->account = asker;
    r->account.resource[0] = '\0';
    r->own_account = adapter_is_local(t->adapter, &asker);
    r->guest = adapter_is_guest(t->adapter, &asker);
    q->route.id = keep(r->arena, stanza_get(iq, "id"));
    q->route.from = keep(r->arena, to);
    q->route.to = r->asker_text;
    return admit(q, o, out);
}

/* The account whose archive is meant: of the host that delegates, or nobody's. */
static bool find_account(struct request *q, const char *to, const char *host)
{
    struct iq_request *r = &q->is;
    r->account = r->asker;
    if (to && !jid_parse(&r->account, to))
        return false;
    r->own_account = jid_same_bare(&r->account, &r->asker) &&
                     (!to || jid_is_bare(&r->account)) &&
                     adapter_is_local(q->table->adapter, &r->asker);
    r->account.resource[0] = '\0';
    return strcmp(jid_domain(&r->account), host) == 0;
}

enum iq_open_result iq_open_delegated(struct iq_table *t, const struct stanza *outer,
                                      const char *delegation_ns, const struct iq_origin *o,
                                      struct iq_request **out)
{
    const struct stanza *el = stanza_child(outer, "delegation", delegation_ns);
    const struct stanza *inner =
        stanza_child(stanza_child(el, "forwarded", NS_FORWARD), "iq", NS_CLIENT);
    struct jid asker = {.local_len = 0};
    const char *from = stanza_get(inner, "from");
    if (!from)
        return IQ_IGNORED;
    bool named = jid_parse(&asker, from);
    struct request *q = request_new(t, inner, o);
    struct iq_request *r = &q->is;
    const char *to = stanza_get(inner, "to");
    const char *host = stanza_get(outer, "from");
    r->delegated = true;
    r->asker = asker;
    r->asker_text = keep(r->arena, from);
    bool known = named && find_account(q, to, host);
    q->route = (struct route){
        .delegation_ns = delegation_ns,
        .outer_id = keep(r->arena, stanza_get(outer, "id")),
        .outer_from = keep(r->arena, host),
        .outer_to = keep(r->arena, stanza_get(outer, "to")),
        .id = keep(r->arena, stanza_get(inner, "id")),
        /* A server that leaves out "to" means the asker's own account. */
        .from = keep(r->arena, to      ? to
                               : named ? r->account.bare
                                       : host),
        .to = r->asker_text,
    };
    if (!named) {
        iq_error(r, "modify", "jid-malformed", NULL);
        return IQ_ANSWERED;
    }
    if (!known) {
        iq_forbid(r);
        return IQ_ANSWERED;
    }
    return admit(q, o, out);
}

/* ---- ending from outside ---- */

/* The request is in the list of the ended; its handler hears of it, or still holds it. */
static void tell_handler(struct request *q)
{
    if (!q->cancel)
        return;
    q->cancel(q->cancel_ctx, &q->is);
    request_free(q);
}

static void end_unanswered(struct request *q)
{
    struct iq_table *t = q->table;
    list_take(&t->open, q);
    q->state = REQUEST_ENDED;
    list_add(&t->ended, q);
    tell_handler(q);
}

void iq_link_lost(struct iq_table *t, unsigned link)
{
    struct request *q;
    do {
        q = t->open.first;
        while (q && q->is.link != link)
            q = q->next;
        if (q) {
            t->ops.done(t->ops.ctx, &q->is.place);
            end_unanswered(q);
        }
    } while (q);
}

void iq_session_gone(struct iq_table *t, const struct jid *who)
{
    for (struct request *q = t->open.first; q; q = q->next)
        if (jid_same(&q->is.asker, who))
            q->gone = true;
}

void iq_tick(struct iq_table *t, int64_t now_ms)
{
    while (t->open.first && t->open.first->deadline_ms <= now_ms) {
        struct request *q = t->open.first;
        answer_error(q, "wait", "internal-server-error", "no answer in time");
        tell_handler(q);
    }
}

int64_t iq_deadline(const struct iq_table *t)
{
    return t->open.first ? t->open.first->deadline_ms : INT64_MAX;
}

size_t iq_open_count(const struct iq_table *t)
{
    return t->open.count;
}

/* What is open is not done: the next worker has to answer it. */
void iq_table_free(struct iq_table **t)
{
    if (!*t)
        return;
    while ((*t)->open.first)
        end_unanswered((*t)->open.first);
    while ((*t)->ended.first)
        request_free((*t)->ended.first);
    free(*t);
    *t = NULL;
}
