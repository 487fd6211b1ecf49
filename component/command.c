// SPDX-License-Identifier: Apache-2.0
#include "component/command.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/form.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "component/service.h"

#define ARENA_BYTES 16384

struct run {
    struct service *s;
    unsigned link;
    const char *host;
    const struct command *command;
    char session[COMMAND_SESSION_MAX];
    command_fn fn;
    void *ctx;
};

static void end(struct run *r, enum command_end how, const char *condition)
{
    r->fn(r->ctx, how, condition);
    free(r);
}

static struct stanza *make_command(struct arena *arena, const struct run *r,
                                   const char *action)
{
    struct stanza *el = stanza_new(arena, "command", NS_COMMANDS);
    stanza_set(el, "node", r->command->node);
    if (r->session[0])
        stanza_set(el, "sessionid", r->session);
    stanza_set(el, "action", action);
    return el;
}

static void ask(struct run *r, const struct stanza *el, iq_answer_fn fn, void *ctx)
{
    service_ask(r->s, r->link, r->host, "set", el, r->command->within_ms, fn, ctx);
}

static void ignore(void *ctx, const struct stanza *iq)
{
    (void)ctx;
    (void)iq;
}

static void cancel(struct run *r)
{
    struct arena *arena = arena_new(ARENA_BYTES);
    ask(r, make_command(arena, r, "cancel"), ignore, NULL);
    arena_free(&arena);
}

/* NULL when iq is no result with that command in that status. */
static const struct stanza *command_of(const struct run *r, const struct stanza *iq,
                                       const char *status)
{
    const struct stanza *el = stanza_child(iq, "command", NS_COMMANDS);
    const char *node = stanza_get(el, "node");
    const char *its = stanza_get(el, "status");
    bool fits = node && strcmp(node, r->command->node) == 0 && its && strcmp(its, status) == 0;
    return fits ? el : NULL;
}

/* How an answer that is no result ends it; COMPLETED for a result. */
static enum command_end failure_of(const struct stanza *iq, const char **condition_out)
{
    const char *type = stanza_get(iq, "type");
    *condition_out = NULL;
    if (!iq)
        return COMMAND_SILENT;
    if (!type || strcmp(type, "error") != 0)
        return COMMAND_COMPLETED;
    const struct stanza *error = stanza_child(iq, "error", NULL);
    const struct stanza *condition = stanza_child(error, NULL, NS_STANZA_ERRORS);
    *condition_out = condition ? condition->name : "undefined-condition";
    return COMMAND_REFUSED;
}

static bool has_failed(const struct stanza *command)
{
    const char *note = stanza_get(stanza_child(command, "note", NS_COMMANDS), "type");
    return note && strcmp(note, "error") == 0;
}

static void on_completed(void *ctx, const struct stanza *iq)
{
    struct run *r = ctx;
    const char *condition;
    enum command_end how = failure_of(iq, &condition);
    const struct stanza *command = command_of(r, iq, "completed");
    if (how == COMMAND_COMPLETED && (!command || has_failed(command)))
        how = COMMAND_ODD;
    if (how != COMMAND_COMPLETED)
        cancel(r);
    end(r, how, condition);
}

static void add_fields(struct stanza *x, const struct command *c)
{
    for (const struct command_field *f = c->fields; f->var; f++) {
        struct stanza *field = form_add_field(x, f->var, NULL, NULL);
        for (const char *const *value = f->values; *value; value++)
            form_add_value(field, *value);
    }
}

static void submit(struct run *r)
{
    struct arena *arena = arena_new(ARENA_BYTES);
    struct stanza *el = make_command(arena, r, "complete");
    add_fields(form_add(el, "submit", r->command->form_type), r->command);
    ask(r, el, on_completed, r);
    arena_free(&arena);
}

static void on_form(void *ctx, const struct stanza *iq)
{
    struct run *r = ctx;
    const char *condition;
    enum command_end how = failure_of(iq, &condition);
    const struct stanza *command = command_of(r, iq, "executing");
    const char *session = stanza_get(command, "sessionid");
    if (how != COMMAND_COMPLETED || !session || strlen(session) >= sizeof r->session) {
        end(r, how == COMMAND_COMPLETED ? COMMAND_ODD : how, condition);
        return;
    }
    strcpy(r->session, session);
    submit(r);
}

void command_run(struct service *s, unsigned link, const char *host, const struct command *c,
                 command_fn fn, void *ctx)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    *r = (struct run){.s = s, .link = link, .host = host, .command = c, .fn = fn, .ctx = ctx};
    struct arena *arena = arena_new(ARENA_BYTES);
    ask(r, make_command(arena, r, "execute"), on_form, r);
    arena_free(&arena);
}
