// SPDX-License-Identifier: Apache-2.0
/* The ad-hoc command by which people say what they want to be told of and when.  A field that
 * is not submitted stays as it was. */
#include "sidecar/commands_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"
#include "apns/outbox.h"
#include "apns/settings.h"
#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/prefs.h"
#include "archive/turns.h"
#include "base/buf.h"
#include "base/form.h"
#include "component/adhoc.h"
#include "store/pg.h"

#define SETTINGS "notification-settings"
#define CONTENT "content"
#define QUIET_FROM "quiet-from"
#define QUIET_TO "quiet-to"
#define ZONE "time-zone"
#define ALWAYS "always"
#define MUTED "muted-in-badge"
#define AS_CONFIGURED "default"
#define TIME_BYTES 6
#define ALWAYS_BYTES ((size_t)SETTINGS_ALWAYS_MAX * PREFS_JID_BYTES)

/* In the order of enum push_content. */
static const struct {
    const char *name;
    const char *label;
} contents[] = {{"none", "that there is a message"},
                {"count", "how many are unread"},
                {"sender", "who has written"},
                {"body", "what was written"}};
#define CONTENTS_N (int)(sizeof contents / sizeof *contents)

/* One command on its way to the database and back. */
struct wish {
    struct turn turn; /* first */
    struct commands *commands;
    struct adhoc_call *call;
    uint8_t owner[OWNER_BYTES];
};

static void wish_free(struct wish *w)
{
    turns_give_back(w->commands->settings, &w->turn);
    free(w);
}

/* --- the form ---------------------------------------------------------------------------- */

static void time_text(int minute, char out[TIME_BYTES])
{
    out[0] = '\0';
    if (minute >= 0 && minute < 24 * 60)
        (void)snprintf(out, TIME_BYTES, "%02u:%02u", (unsigned)minute / 60u % 24u,
                       (unsigned)minute % 60u);
}

static void add_text(struct stanza *x, const char *var, const char *label, const char *value)
{
    form_set_label(form_add_field(x, var, "text-single", value), label);
}

static void add_content(struct stanza *x, const struct push_settings *s, int most)
{
    bool set = s->content >= 0 && s->content <= most;
    struct stanza *field = form_add_field(x, CONTENT, "list-single",
                                          set ? contents[s->content].name : AS_CONFIGURED);
    form_set_label(field, "What a notification shows");
    form_add_option(field, "as much as this server allows", AS_CONFIGURED);
    for (int i = 0; i <= most; i++)
        form_add_option(field, contents[i].label, contents[i].name);
}

static void add_always(struct stanza *x, const char *list)
{
    char jid[PREFS_JID_BYTES];
    struct stanza *field = form_add_field(x, ALWAYS, "jid-multi", NULL);
    form_set_label(field, "Who is heard in quiet hours, too");
    while (prefs_list_next(&list, jid))
        form_add_value(field, jid);
}

static void show_form(struct wish *w, const struct push_settings *s)
{
    char from[TIME_BYTES], to[TIME_BYTES];
    struct stanza *x = form_add(w->call->answer, "form", NULL);
    time_text(s->quiet_from, from);
    time_text(s->quiet_to, to);
    form_set_title(x, "Notification settings");
    add_content(x, s, (int)w->commands->opts.push->content);
    add_text(x, QUIET_FROM, "Quiet hours begin at (22:00; empty: never)", from);
    add_text(x, QUIET_TO, "Quiet hours end at (07:00)", to);
    add_text(x, ZONE, "on the clock of (Asia/Shanghai)", s->zone);
    add_always(x, s->always);
    form_set_label(form_add_field(x, MUTED, "boolean", s->muted_in_badge ? "1" : "0"),
                   "Count muted conversations on the icon");
    if (w->commands->rooms)
        commands_add_notify(x, "What of rooms is a notification", "as on this server",
                            s->rooms);
    adhoc_executing(w->call);
}

/* --- what was submitted ------------------------------------------------------------------ */

/* What is wrong; NULL: nothing. */

static const char *read_content(const char *text, int most, int *out)
{
    if (!text)
        return NULL;
    if (!*text || strcmp(text, AS_CONFIGURED) == 0) {
        *out = SETTINGS_AS_CONFIGURED;
        return NULL;
    }
    for (int i = 0; i < CONTENTS_N; i++)
        if (strcmp(contents[i].name, text) == 0) {
            *out = i;
            return i <= most ? NULL
                             : "this server does not allow notifications to show so much";
        }
    return "content is default, none, count, sender or body";
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *read_time(const char *text, int *out)
{
    if (!text)
        return NULL;
    *out = SETTINGS_NEVER;
    if (!*text)
        return NULL;
    if (strlen(text) == TIME_BYTES - 1 && is_digit(text[0]) && is_digit(text[1]) &&
        text[2] == ':' && is_digit(text[3]) && is_digit(text[4])) {
        int hour = 10 * (text[0] - '0') + text[1] - '0';
        int minute = 10 * (text[3] - '0') + text[4] - '0';
        if (hour < 24 && minute < 60) {
            *out = 60 * hour + minute;
            return NULL;
        }
    }
    return "a time of the day is like 07:00 or 22:30";
}

static const char *read_always(const struct stanza *form, struct buf *list)
{
    const struct stanza *field = form_field(form, ALWAYS);
    size_t n = 0;
    struct jid jid;
    const struct stanza *value = stanza_child(field, "value", NS_DATA_FORMS);
    for (; value; value = stanza_sibling(value, "value", NS_DATA_FORMS)) {
        const char *text = stanza_text(value);
        if (!text || !*text)
            continue;
        if (!jid_parse(&jid, text) || !jid_is_bare(&jid))
            return "who is heard is an address without a resource";
        if (++n > SETTINGS_ALWAYS_MAX)
            return "these are too many addresses";
        if (!prefs_list_add(list, jid.bare) || buf_failed(list))
            return "these are too many addresses";
    }
    return NULL;
}

static const char *read_quiet_hours(const struct stanza *form, struct push_settings *s)
{
    const char *wrong = read_time(form_value(form, QUIET_FROM), &s->quiet_from);
    if (!wrong)
        wrong = read_time(form_value(form, QUIET_TO), &s->quiet_to);
    const char *zone = form_value(form, ZONE);
    if (zone)
        s->zone = zone;
    if (wrong)
        return wrong;
    if ((s->quiet_from < 0) != (s->quiet_to < 0))
        return "quiet hours have a beginning and an end";
    if (s->quiet_from < 0)
        return NULL;
    if (s->quiet_from == s->quiet_to)
        return "quiet hours end at another time than they begin";
    if (!*s->zone || strlen(s->zone) >= SETTINGS_ZONE_BYTES)
        return "quiet hours need a time zone, like Asia/Shanghai";
    return NULL;
}

/* s is what was there before; what it then points to lives in the form or in always. */
static const char *read_form(const struct stanza *form, int most, struct push_settings *s,
                             struct buf *always)
{
    const char *wrong = read_content(form_value(form, CONTENT), most, &s->content);
    const char *muted = form_value(form, MUTED);
    if (!wrong)
        wrong = read_quiet_hours(form, s);
    if (!wrong && muted && !xml_boolean(muted, &s->muted_in_badge))
        wrong = "muted-in-badge is true or false";
    if (!wrong && !commands_read_notify(form, &s->rooms))
        wrong = "rooms is default, always, mention or never";
    if (!wrong && form_field(form, ALWAYS)) {
        wrong = read_always(form, always);
        s->always = buf_cstr(always);
    }
    return wrong;
}

/* --- to the database and back ------------------------------------------------------------ */

static void on_set(void *ctx, bool zone_known, const struct pg_error *e)
{
    struct wish w = *(struct wish *)ctx;
    wish_free(ctx);
    if (!e->failure && zone_known)
        outbox_look(w.commands->opts.outbox); /* for icons that count otherwise now */
    if (e->failure)
        commands_later(w.call);
    else if (zone_known)
        adhoc_completed(w.call, ADHOC_INFO, "The settings are kept.");
    else
        adhoc_error(w.call, "modify", "bad-request",
                    "there is no such time zone; names are like Asia/Shanghai");
}

static void store(struct wish *w, const struct push_settings *s)
{
    uint64_t peers[SETTINGS_ALWAYS_MAX];
    size_t n = 0;
    char jid[PREFS_JID_BYTES];
    const char *list = s->always;
    struct ident *ident = ingest_ident(w->commands->opts.ingest);
    while (n < SETTINGS_ALWAYS_MAX && prefs_list_next(&list, jid))
        peers[n++] = ident_peer(ident, w->owner, jid);
    settings_set(w->commands->opts.pool, w->owner, s, peers, n, on_set, w);
}

static void submit(struct wish *w, const struct push_settings *before)
{
    struct push_settings s = *before;
    struct buf always;
    buf_init(&always, ALWAYS_BYTES);
    const char *wrong =
        read_form(w->call->form, (int)w->commands->opts.push->content, &s, &always);
    if (wrong) {
        adhoc_error(w->call, "modify", "bad-request", wrong);
        wish_free(w);
    } else {
        store(w, &s);
    }
    buf_deinit(&always);
}

static void on_got(void *ctx, const struct push_settings *s, const struct pg_error *e)
{
    struct wish *w = ctx;
    if (!e->failure && w->call->form) {
        submit(w, s);
        return;
    }
    if (e->failure)
        commands_later(w->call);
    else
        show_form(w, s);
    wish_free(w);
}

/* What is submitted goes by what was there before. */
static void on_turn(struct turn *t)
{
    struct wish *w = (struct wish *)t;
    settings_get(w->commands->opts.pool, w->owner, on_got, w);
}

static void on_settings(void *ctx, struct adhoc_call *call)
{
    struct commands *c = ctx;
    if (!c->ready) {
        commands_later(call);
        return;
    }
    struct wish *w = malloc(sizeof *w);
    if (!w)
        abort();
    *w = (struct wish){.commands = c, .call = call};
    ident_owner(ingest_ident(c->opts.ingest), call->account, w->owner);
    if (!turns_take(c->settings, &w->turn, w->owner, TURN_PAGE, on_turn)) {
        free(w);
        commands_later(call);
    }
}

void commands_add_settings(struct service *s, struct commands *c)
{
    adhoc_add(s, SETTINGS, "Notification settings", on_settings, c);
}
