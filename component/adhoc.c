// SPDX-License-Identifier: Apache-2.0
#include "component/adhoc.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/crypt.h"
#include "base/form.h"
#include "base/map.h"
#include "base/stanza.h"
#include "component/adapter.h"
#include "component/iq.h"
#include "component/ns.h"

#define CALL_MAGIC 0x41644863u
#define COMMANDS_MAX 32
#define SESSION_ID_BYTES 17
#define MINUTE_MS 60000
#define GUESTS_FACTOR 10 /* times an account's limit, for each domain of push.accept_from */

struct command {
    const char *node;
    const char *title;
    adhoc_fn fn;
    void *ctx;
    bool guests;
};

/* A command that waits for its form. */
struct session_of {
    struct session_of *next; /* older */
    const struct command *command;
    int64_t until_ms;
    char id[SESSION_ID_BYTES];
    char from[]; /* full JID: nobody else may go on with it */
};

struct adhoc {
    const struct adapter *adapter;
    unsigned per_minute;
    struct command commands[COMMANDS_MAX];
    size_t commands_n;
    struct session_of *sessions; /* newest first */
    size_t sessions_n;
    struct map *calls; /* of this minute: account to number */
    int64_t minute_ends_ms;
};

struct call {
    struct adhoc_call is; /* first: a call handed out is this */
    unsigned magic;
    struct adhoc *adhoc;
    struct iq_request *request;
    const struct command *command;
    int64_t now_ms;
    char id[SESSION_ID_BYTES];
};

struct adhoc *adhoc_new(const struct adapter *adapter, unsigned per_minute)
{
    struct adhoc *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->adapter = adapter;
    a->per_minute = per_minute;
    a->calls = map_new();
    return a;
}

static void session_drop(struct adhoc *a, struct session_of **at)
{
    struct session_of *old = *at;
    *at = old->next;
    a->sessions_n--;
    free(old);
}

void adhoc_free(struct adhoc **a)
{
    if (!*a)
        return;
    while ((*a)->sessions)
        session_drop(*a, &(*a)->sessions);
    map_free(&(*a)->calls);
    free(*a);
    *a = NULL;
}

void adhoc_register(struct adhoc *a, const char *node, const char *title, adhoc_fn fn,
                    void *ctx)
{
    assert(a->commands_n < COMMANDS_MAX);
    a->commands[a->commands_n++] =
        (struct command){.node = node, .title = title, .fn = fn, .ctx = ctx};
}

void adhoc_open(struct adhoc *a, const char *node)
{
    for (size_t i = 0; i < a->commands_n; i++)
        if (strcmp(a->commands[i].node, node) == 0)
            a->commands[i].guests = true;
}

static const struct command *find_command(const struct adhoc *a, const char *node)
{
    for (size_t i = 0; node && i < a->commands_n; i++)
        if (strcmp(a->commands[i].node, node) == 0)
            return &a->commands[i];
    return NULL;
}

const char *adhoc_title(const struct adhoc *a, const char *node)
{
    const struct command *c = find_command(a, node);
    return c ? c->title : NULL;
}

void adhoc_items(const struct adhoc *a, struct stanza *query)
{
    for (size_t i = 0; i < a->commands_n; i++) {
        struct stanza *item = stanza_add(query, "item", NULL);
        stanza_set(item, "jid", a->adapter->opts->component);
        stanza_set(item, "node", a->commands[i].node);
        stanza_set(item, "name", a->commands[i].title);
    }
}

/* ---- sessions ---- */

static struct session_of **find_session(struct adhoc *a, const char *id)
{
    struct session_of **at = &a->sessions;
    while (*at && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    return at;
}

/* The newest stand first, so everything behind the first that is over is over too. */
static void drop_expired(struct adhoc *a, int64_t now_ms)
{
    struct session_of **at = &a->sessions;
    while (*at && (*at)->until_ms > now_ms)
        at = &(*at)->next;
    while (*at)
        session_drop(a, at);
}

static void drop_oldest(struct adhoc *a)
{
    struct session_of **at = &a->sessions;
    while ((*at)->next)
        at = &(*at)->next;
    session_drop(a, at);
}

static void end_session(struct adhoc *a, const char *id)
{
    struct session_of **at = find_session(a, id);
    if (*at)
        session_drop(a, at);
}

static void begin_session(struct call *c)
{
    struct adhoc *a = c->adhoc;
    char from[sizeof(struct jid)];
    jid_full(c->is.from, from);
    end_session(a, c->id);
    if (a->sessions_n >= ADHOC_SESSIONS_MAX)
        drop_oldest(a);
    size_t len = strlen(from);
    struct session_of *s = calloc(1, sizeof *s + len + 1);
    if (!s)
        abort();
    s->command = c->command;
    s->until_ms = c->now_ms + ADHOC_SESSION_MS;
    memcpy(s->id, c->id, sizeof s->id);
    memcpy(s->from, from, len + 1);
    s->next = a->sessions;
    a->sessions = s;
    a->sessions_n++;
}

static bool continues(struct adhoc *a, const char *id, const struct command *command,
                      const struct jid *from)
{
    char full[sizeof(struct jid)];
    const struct session_of *s = *find_session(a, id);
    jid_full(from, full);
    return s && s->command == command && strcmp(s->from, full) == 0;
}

/* ---- a request ---- */

static bool is_too_many(struct adhoc *a, const char *who, unsigned max)
{
    size_t len = strlen(who);
    uintptr_t n = (uintptr_t)map_get(a->calls, who, len);
    if (n >= max)
        return true;
    map_put(a->calls, who, len, (void *)(n + 1));
    return false;
}

/* A guest's server may make any number of accounts: all of them together have a limit, too. */
static bool over_limit(struct adhoc *a, const struct iq_request *r, int64_t now_ms)
{
    if (a->per_minute == 0)
        return false;
    if (now_ms >= a->minute_ends_ms) {
        map_free(&a->calls);
        a->calls = map_new();
        a->minute_ends_ms = now_ms + MINUTE_MS;
    }
    return is_too_many(a, r->account.bare, a->per_minute) ||
           (r->guest && is_too_many(a, jid_domain(&r->asker), GUESTS_FACTOR * a->per_minute));
}

enum action { ACTION_GO_ON, ACTION_CANCEL, ACTION_BACK, ACTION_UNKNOWN };

static enum action read_action(const struct stanza *command)
{
    const char *text = stanza_get(command, "action");
    const struct stanza *form = form_find(command);
    if (form && strcmp(form_type(form), "cancel") == 0)
        return ACTION_CANCEL;
    if (!text || strcmp(text, "execute") == 0 || strcmp(text, "next") == 0 ||
        strcmp(text, "complete") == 0)
        return ACTION_GO_ON;
    if (strcmp(text, "cancel") == 0)
        return ACTION_CANCEL;
    return strcmp(text, "prev") == 0 ? ACTION_BACK : ACTION_UNKNOWN;
}

static void bad_request(struct iq_request *r, const char *why)
{
    iq_error_app(r, "modify", "bad-request", why, NS_COMMANDS);
}

static struct stanza *make_answer(struct iq_request *r, const char *node, const char *id,
                                  const char *status)
{
    struct stanza *el = stanza_new(r->arena, "command", NS_COMMANDS);
    stanza_set(el, "node", node);
    stanza_set(el, "sessionid", id);
    if (status)
        stanza_set(el, "status", status);
    return el;
}

static void run(struct adhoc *a, struct iq_request *r, const struct command *command,
                const char *id, int64_t now_ms)
{
    struct call *c = arena_alloc(r->arena, sizeof *c);
    if (!c) {
        iq_later(r, NULL);
        return;
    }
    *c = (struct call){
        .magic = CALL_MAGIC,
        .adhoc = a,
        .request = r,
        .command = command,
        .now_ms = now_ms,
        .is = {.account = r->account.bare,
               .from = &r->asker,
               .node = command->node,
               .form = form_find(r->payload),
               .answer = stanza_new(r->arena, "command", NS_COMMANDS),
               .arena = r->arena},
    };
    if (id)
        snprintf(c->id, sizeof c->id, "%s", id);
    else
        snprintf(c->id, sizeof c->id, "%016llx", (unsigned long long)crypt_random_u64());
    command->fn(command->ctx, &c->is);
}

/* True when the request has been refused. */
static bool refuse(struct adhoc *a, struct iq_request *r, const struct command *command,
                   const char *id)
{
    enum action action = read_action(r->payload);
    bool open = r->own_account ||
                (r->guest && r->asker.local_len > 0 && (!command || command->guests));
    if (!open || jid_is_bare(&r->asker))
        iq_forbid(r);
    else if (!r->is_set)
        iq_error(r, "modify", "bad-request", NULL);
    else if (!command)
        iq_error(r, "cancel", "item-not-found", NULL);
    else if (action == ACTION_UNKNOWN)
        bad_request(r, "malformed-action");
    else if (action == ACTION_BACK)
        bad_request(r, "bad-action");
    else if (id && !continues(a, id, command, &r->asker))
        iq_error_app(r, "cancel", "not-allowed", "session-expired", NS_COMMANDS);
    else if (action == ACTION_CANCEL && !id)
        bad_request(r, "bad-sessionid");
    else
        return false;
    return true;
}

void adhoc_request(struct adhoc *a, struct iq_request *r, int64_t now_ms)
{
    const struct command *command = find_command(a, stanza_get(r->payload, "node"));
    const char *id = stanza_get(r->payload, "sessionid");
    drop_expired(a, now_ms);
    if (refuse(a, r, command, id))
        return;
    if (read_action(r->payload) == ACTION_CANCEL) {
        end_session(a, id);
        iq_reply(r, make_answer(r, command->node, id, "canceled"));
        return;
    }
    /* Only what reaches a handler counts: a form and its submission are two. */
    if (over_limit(a, r, now_ms)) {
        iq_error(r, "wait", "resource-constraint", "too many commands, try again in a minute");
        return;
    }
    run(a, r, command, id, now_ms);
}

/* ---- ends of a call ---- */

static struct call *of(struct adhoc_call *call)
{
    struct call *c = (struct call *)call;
    assert(c->magic == CALL_MAGIC);
    return c;
}

static void move_children(struct stanza *to, struct stanza *from)
{
    while (to && from && from->first)
        stanza_append(to, from->first);
}

static void reply(struct call *c, struct stanza *answer)
{
    /* An arena that ran full has made less than was meant. */
    if (!answer || !c->is.answer)
        iq_later(c->request, NULL);
    else
        iq_reply(c->request, answer);
}

void adhoc_completed(struct adhoc_call *call, enum adhoc_note kind, const char *note)
{
    static const char *const kinds[] = {"info", "warn", "error"};
    struct call *c = of(call);
    end_session(c->adhoc, c->id);
    struct stanza *answer = make_answer(c->request, call->node, c->id, "completed");
    move_children(answer, call->answer);
    if (note)
        stanza_set(stanza_add_leaf(answer, "note", NULL, note), "type", kinds[kind]);
    reply(c, answer);
}

void adhoc_executing(struct adhoc_call *call)
{
    struct call *c = of(call);
    begin_session(c);
    struct stanza *answer = make_answer(c->request, call->node, c->id, "executing");
    struct stanza *actions = stanza_add(answer, "actions", NULL);
    stanza_set(actions, "execute", "complete");
    stanza_add(actions, "complete", NULL);
    move_children(answer, call->answer);
    reply(c, answer);
}

void adhoc_error(struct adhoc_call *call, const char *type, const char *condition,
                 const char *text)
{
    struct call *c = of(call);
    end_session(c->adhoc, c->id);
    iq_error(c->request, type, condition, text);
}
