// SPDX-License-Identifier: Apache-2.0
#include "component/openfire.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/datetime.h"
#include "base/err.h"
#include "base/form.h"
#include "base/log.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/command.h"
#include "component/ns.h"
#include "component/presence.h"
#include "component/service_int.h"

#define NS_ADMIN "http://jabber.org/protocol/admin"
#define LIST_NODE NS_ADMIN "#get-active-presences"
/* Who came in while the server made its list is not on it. */
#define LIST_SLACK_US (5 * INT64_C(1000000))

static const char *const message_only[] = {"message", NULL};
static const char *const message_and_presence[] = {"message", "presence", NULL};
static const char *const incoming[] = {"incoming", NULL};
static const char *const yes[] = {"true", NULL};

/* A field that is missing makes Openfire silent. */
static const struct command_field copies_fields[] = {
    {"packet_type", message_only}, {"direction", incoming}, {"processed", yes}, {NULL, NULL}};
static const struct command copies_command = {.node = NS_ADMIN "#packets_notification",
                                              .form_type = NS_ADMIN,
                                              .fields = copies_fields,
                                              .within_ms = OPENFIRE_WITHIN_MS};

static const struct command_field both_fields[] = {{"packet_type", message_and_presence},
                                                   {"direction", incoming},
                                                   {"processed", yes},
                                                   {NULL, NULL}};
static const struct command both_command = {.node = NS_ADMIN "#packets_notification",
                                            .form_type = NS_ADMIN,
                                            .fields = both_fields,
                                            .within_ms = OPENFIRE_WITHIN_MS};

static const struct command_field no_fields[] = {{NULL, NULL}};
static const struct command list_command = {.node = LIST_NODE,
                                            .form_type = NS_ADMIN,
                                            .fields = no_fields,
                                            .within_ms = OPENFIRE_WITHIN_MS};

static unsigned number(const struct service *s, const struct link_state *l)
{
    return (unsigned)(l - s->links);
}

/* ---- what goes wrong, and the remedy ---- */

static const char *remedy(enum command_end end, const char *condition)
{
    static const struct {
        const char *condition;
        const char *text;
    } table[] = {
        {"forbidden",
         "Openfire does not take us for a component: nobody else may be connected "
         "as xmpp.component, and it must be a subdomain of xmpp.domains"},
        {"item-not-found", "this server has no packets_notification command: is it Openfire? "
                           "See xmpp.server"},
        {"not-allowed", "Openfire holds 100 unfinished commands of ours (xmpp.command.limit): "
                        "restart Openfire"},
    };
    if (end == COMMAND_SILENT)
        return "Openfire did not answer packets_notification; its error log may say why";
    if (end == COMMAND_ODD)
        return "Openfire's answer to packets_notification is not the one expected: see "
               "xmpp.server";
    for (size_t i = 0; condition && i < sizeof table / sizeof *table; i++)
        if (strcmp(condition, table[i].condition) == 0)
            return table[i].text;
    return "Openfire refused packets_notification; its error log may say why";
}

/* Each try may leave a command unfinished on the other side. */
static int64_t again_ms(unsigned failures)
{
    int64_t ms = OPENFIRE_WITHIN_MS;
    for (unsigned i = 1; i < failures && ms < OPENFIRE_AGAIN_MAX_MS; i++)
        ms *= 2;
    return ms < OPENFIRE_AGAIN_MAX_MS ? ms : OPENFIRE_AGAIN_MAX_MS;
}

/* ---- asking ---- */

struct asked {
    struct service *s;
    unsigned link;
    size_t host;
};

static void plan(struct link_state *l, struct openfire_host *o, int64_t in_ms)
{
    o->step = OPENFIRE_IDLE;
    o->next_ms = clock_mono_ms() + in_ms;
    if (o->next_ms < l->check_ms)
        l->check_ms = o->next_ms;
}

static struct asked *asked_new(struct service *s, struct link_state *l, size_t host)
{
    struct asked *a = malloc(sizeof *a);
    if (!a)
        abort();
    *a = (struct asked){.s = s, .link = number(s, l), .host = host};
    return a;
}

static void on_copies(void *ctx, enum command_end end, const char *condition)
{
    struct asked *a = ctx;
    struct service *s = a->s;
    struct link_state *l = &s->links[a->link];
    struct openfire_host *o = &l->hosts[a->host].openfire;
    const char *host = s->opts->domains[a->host];
    if (end == COMMAND_COMPLETED) {
        o->subscribed_us = clock_real_us();
        o->refusals = 0;
        o->trouble = NULL;
        log_info("xmpp", "link=%u host=%s sends copies of messages%s", a->link, host,
                 s->opts->presence_copies ? " and presence" : "");
        plan(l, o, 0);
    } else if (l->up) {
        o->refusals++;
        o->trouble = remedy(end, condition);
        log_warn("xmpp", "link=%u host=%s sends no copies of messages: %s: %s", a->link, host,
                 condition               ? condition
                 : end == COMMAND_SILENT ? "no answer"
                                         : "odd answer",
                 o->trouble);
        plan(l, o, again_ms(o->refusals));
    }
    free(a);
}

/* The list itself has been read before (service_stanza does, also in REPLAY). */
static void on_list(void *ctx, enum command_end end, const char *condition)
{
    struct asked *a = ctx;
    struct service *s = a->s;
    struct link_state *l = &s->links[a->link];
    struct host_state *host = &l->hosts[a->host];
    struct openfire_host *o = &host->openfire;
    int64_t every_ms = s->opts->presence_every_ms;
    if (end == COMMAND_COMPLETED) {
        o->unlisted = 0;
        plan(l, o, every_ms);
    } else if (l->up) {
        int64_t ms = again_ms(++o->unlisted);
        if (host->listing != LISTING_DONE)
            host->listing = LISTING_REFUSED;
        log_warn("xmpp", "link=%u host=%s does not tell who is online: %s", a->link,
                 s->opts->domains[a->host],
                 condition ? condition : "no answer, or an odd one");
        plan(l, o, ms > every_ms ? ms : every_ms);
    }
    free(a);
}

static void ask(struct service *s, struct link_state *l, size_t h)
{
    struct openfire_host *o = &l->hosts[h].openfire;
    const char *host = s->opts->domains[h];
    bool subscribed = o->subscribed_us > 0;
    const struct command *copies = s->opts->presence_copies ? &both_command : &copies_command;
    o->step = subscribed ? OPENFIRE_LISTS : OPENFIRE_SUBSCRIBES;
    command_run(s, number(s, l), host, subscribed ? &list_command : copies,
                subscribed ? on_list : on_copies, asked_new(s, l, h));
}

void openfire_begin(struct service *s, struct link_state *l)
{
    /* A worker that finds the connection open cannot know whether the one before it was
     * answered; to ask twice is the same as to ask once. */
    for (size_t h = 0; h < s->opts->domains_n; h++)
        plan(l, &l->hosts[h].openfire, 0);
    openfire_tick(s, l, clock_mono_ms());
}

void openfire_tick(struct service *s, struct link_state *l, int64_t now_ms)
{
    if (!l->up || !l->live || now_ms < l->check_ms)
        return;
    l->check_ms = INT64_MAX;
    for (size_t h = 0; h < s->opts->domains_n; h++) {
        struct openfire_host *o = &l->hosts[h].openfire;
        if (o->step == OPENFIRE_IDLE && o->next_ms <= now_ms)
            ask(s, l, h);
        else if (o->step == OPENFIRE_IDLE && o->next_ms < l->check_ms)
            l->check_ms = o->next_ms;
    }
}

/* ---- who is online ---- */

/* A presence stanza as text inside the list. */
static bool read_presence(struct service *s, const char *text, unsigned link,
                          int64_t received_us)
{
    struct err e;
    struct jid who;
    struct stanza *p = xml_parse_element(text, strlen(text), &e);
    const char *type = stanza_get(p, "type");
    bool good = p && strcmp(p->name, "presence") == 0 && !type &&
                jid_parse(&who, stanza_get(p, "from")) && !jid_is_bare(&who) &&
                adapter_is_local(&s->adapter, &who);
    if (good) {
        sessions_listed(s->sessions, &who, link, received_us);
        sessions_describe(s->sessions, &who, presence_priority(p), presence_show(p));
    }
    stanza_free(&p);
    return good;
}

void openfire_read_list(struct service *s, struct link_state *l, unsigned host,
                        const struct stanza *iq, int64_t received_us)
{
    const char *type = stanza_get(iq, "type");
    const struct stanza *command = stanza_child(iq, "command", NS_COMMANDS);
    const char *node = stanza_get(command, "node");
    const char *status = stanza_get(command, "status");
    if (!type || strcmp(type, "result") != 0 || !node || strcmp(node, LIST_NODE) != 0 ||
        !status || strcmp(status, "completed") != 0)
        return;
    unsigned link = number(s, l), count = 0;
    const struct stanza *field = form_field(form_find(command), "activeuserpresences");
    const struct stanza *value = stanza_child(field, "value", NULL);
    for (; value; value = stanza_sibling(value, "value", NULL))
        count += read_presence(s, stanza_text(value), link, received_us);
    sessions_unlisted(s->sessions, s->opts->domains[host], link, received_us - LIST_SLACK_US,
                      s->events.gone, s->events.ctx);
    bool first = l->hosts[host].listing != LISTING_DONE;
    l->hosts[host].listing = LISTING_DONE;
    l->hosts[host].openfire.listed_us = received_us;
    if (first)
        log_info("xmpp", "link=%u host=%s sessions=%u", link, s->opts->domains[host], count);
}

void openfire_copied(struct service *s, struct link_state *l, int64_t server_us)
{
    struct copy_flow *f = &l->flow;
    char from[DATETIME_BYTES], to[DATETIME_BYTES];
    if (!copy_flow_add(f, server_us))
        return;
    datetime_format(f->lost_from_us, from);
    datetime_format(f->lost_to_us, to);
    log_warn("xmpp",
             "link=%u it looks as if the server's queue of copies was full from=%s to=%s "
             "copies=%u: messages may be missing; its error log has those that it dropped",
             number(s, l), from, to, f->busiest);
    if (s->events.copies_lost)
        s->events.copies_lost(s->events.ctx, f->lost_from_us, f->lost_to_us);
}

void openfire_status(const struct service *s, const struct link_state *l,
                     struct service_link_status *out)
{
    /* It asks for no permission to send as its users, and shows no presence but its list. */
    out->messages_granted = l->up;
    out->presence_granted = out->sessions_listed;
    out->copies = SERVICE_COPIES_SENT;
    out->copies_busiest = l->flow.busiest;
    out->copies_losses = l->flow.losses;
    out->copies_lost_from_us = l->flow.lost_from_us;
    out->copies_lost_to_us = l->flow.lost_to_us;
    for (size_t h = 0; h < s->opts->domains_n; h++) {
        const struct openfire_host *o = &l->hosts[h].openfire;
        if (o->subscribed_us > out->copies_since_us)
            out->copies_since_us = o->subscribed_us;
        if (o->subscribed_us > 0)
            continue;
        out->copies = o->refusals > 0 ? SERVICE_COPIES_REFUSED : SERVICE_COPIES_ASKED;
        out->copies_trouble = o->trouble;
        out->copies_since_us = 0;
        return;
    }
}
