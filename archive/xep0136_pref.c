// SPDX-License-Identifier: Apache-2.0
#include "archive/xep0136_pref.h"

#include <stdlib.h>
#include <string.h>

#include "archive/prefs_store.h"
#include "archive/request.h"
#include "archive/turns.h"
#include "archive/xep0136.h"
#include "archive/xep0136_query.h"
#include "base/buf.h"
#include "base/stanza.h"

/* --- what is asked for ------------------------------------------------------------------- */

/* One step of a change: of the default (jid NULL) or of one address. */
struct change {
    const char *jid;
    bool forget; /* the default holds for it again */
    bool save;
};

#define CHANGES_MAX 1000

struct ask {
    struct turn turn; /* first; of what changes anything */
    struct prefs_store *store;
    const char *account;
    struct archive_answer answer;
    struct stanza *pref; /* of the answer; NULL: an empty one */
    size_t changes_n;
    struct change changes[];
};

static bool refuse(struct xep0136_refusal *why, const char *type, const char *condition,
                   const char *text)
{
    *why = (struct xep0136_refusal){type, condition, text};
    return false;
}

/* We keep whole messages, which is more than "body" asks for and less than "stream". */
static bool read_save(const struct stanza *el, bool *save, struct xep0136_refusal *why)
{
    const char *mode = stanza_get(el, "save"), *otr = stanza_get(el, "otr");
    if (mode && strcmp(mode, "stream") == 0)
        return refuse(why, "cancel", "feature-not-implemented", "messages only");
    *save = mode && (strcmp(mode, "body") == 0 || strcmp(mode, "message") == 0);
    if (!*save && !(mode && strcmp(mode, "false") == 0))
        return refuse(why, "modify", "bad-request", "save must be body, message or false");
    if (*save && otr && strcmp(otr, "require") == 0)
        return refuse(why, "modify", "bad-request", "off the record is not saved");
    return true;
}

static bool add(struct ask *a, const struct change *change, struct xep0136_refusal *why)
{
    if (a->changes_n == CHANGES_MAX)
        return refuse(why, "modify", "policy-violation", "too many at once");
    a->changes[a->changes_n++] = *change;
    return true;
}

static bool read_item(struct ask *a, const struct stanza *item, bool forget,
                      struct xep0136_refusal *why)
{
    struct jid jid;
    struct change change = {.jid = stanza_get(item, "jid"), .forget = forget};
    if (!jid_parse(&jid, change.jid))
        return refuse(why, "modify", "jid-malformed", "an item has no JID");
    return (forget || read_save(item, &change.save, why)) && add(a, &change, why);
}

/* Of the methods, clients may have the ones that we tell. */
static const char *const methods[][2] = {
    {"auto", "prefer"}, {"local", "concede"}, {"manual", "concede"}};

static bool is_our_method(const struct stanza *el)
{
    const char *type = stanza_get(el, "type"), *use = stanza_get(el, "use");
    for (size_t i = 0; type && use && i < sizeof methods / sizeof *methods; i++)
        if (strcmp(type, methods[i][0]) == 0 && strcmp(use, methods[i][1]) == 0)
            return true;
    return false;
}

/* Only what is named changes. */
static bool read_pref(struct ask *a, const struct stanza *pref, struct xep0136_refusal *why)
{
    for (const struct stanza *el = pref->first; el; el = el->next) {
        struct change change = {.jid = NULL};
        if (!el->name)
            continue;
        if (stanza_is(el, "default", NS_ARCHIVE)) {
            if (!read_save(el, &change.save, why) || !add(a, &change, why))
                return false;
        } else if (stanza_is(el, "item", NS_ARCHIVE)) {
            if (!read_item(a, el, false, why))
                return false;
        } else if (!stanza_is(el, "method", NS_ARCHIVE) || !is_our_method(el)) {
            return refuse(why, "cancel", "feature-not-implemented", NULL);
        }
    }
    return true;
}

static bool read_itemremove(struct ask *a, const struct stanza *remove,
                            struct xep0136_refusal *why)
{
    const struct stanza *item = stanza_child(remove, "item", NS_ARCHIVE);
    for (; item; item = stanza_sibling(item, "item", NS_ARCHIVE))
        if (!read_item(a, item, true, why))
            return false;
    return true;
}

/* The archive is the account's: one stream cannot stay out of it (A12). */
static bool read_auto(struct ask *a, const struct stanza *el, struct xep0136_refusal *why)
{
    const char *save = stanza_get(el, "save"), *scope = stanza_get(el, "scope");
    bool on = xep0136_is_true(save), global = scope && strcmp(scope, "global") == 0;
    if (!save || (!on && strcmp(save, "false") != 0 && strcmp(save, "0") != 0))
        return refuse(why, "modify", "bad-request", "save must be true or false");
    if (!global && !on)
        return refuse(why, "cancel", "not-allowed", "scope must be global");
    return !global || add(a, &(struct change){.save = on}, why);
}

/* --- the answer -------------------------------------------------------------------------- */

static void add_items(struct stanza *pref, const char *list, const char *save)
{
    char jid[PREFS_JID_BYTES];
    while (prefs_list_next(&list, jid)) {
        struct stanza *item = stanza_add(pref, "item", NULL);
        stanza_set(item, "jid", jid);
        stanza_set(item, "otr", "concede");
        stanza_set(item, "save", save);
    }
}

/* All that has to be there (A11), whether or not it was ever set. */
static void write_pref(struct stanza *pref, const struct prefs *p)
{
    bool saves = p->mode != PREFS_NEVER;
    stanza_set(stanza_add(pref, "auto", NULL), "save", saves ? "true" : "false");
    struct stanza *el = stanza_add(pref, "default", NULL);
    stanza_set(el, "otr", "concede");
    stanza_set(el, "save", saves ? "message" : "false");
    if (!p->stored)
        stanza_set(el, "unset", "true");
    add_items(pref, p->always, "message");
    add_items(pref, p->never, "false");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        el = stanza_add(pref, "method", NULL);
        stanza_set(el, "type", methods[i][0]);
        stanza_set(el, "use", methods[i][1]);
    }
}

static void ask_free(struct ask *a)
{
    prefs_change_end(a->store, &a->turn);
    free(a);
}

static void finish(struct ask *a, const struct prefs *p)
{
    struct ask ask = *a;
    ask_free(a);
    if (!p) {
        ask.answer.error(ask.answer.ctx, "wait", "internal-server-error",
                         "the archive is not reachable now");
        return;
    }
    if (ask.pref)
        write_pref(ask.pref, p);
    ask.answer.done(ask.answer.ctx, ask.pref);
}

/* --- changing ---------------------------------------------------------------------------- */

static void copy_without(struct buf *out, const char *list, const struct jid *jid)
{
    char one[PREFS_JID_BYTES], name[PREFS_JID_BYTES];
    jid_full(jid, name);
    while (prefs_list_next(&list, one))
        if (strcmp(one, name) != 0)
            (void)prefs_list_add(out, one);
}

static void set_item(struct buf lists[2], const struct change *c)
{
    struct jid jid;
    (void)jid_parse(&jid, c->jid); /* it was one when it was read */
    for (int i = 0; i < 2; i++) {
        struct buf fresh;
        buf_init(&fresh, PREFS_LIST_BYTES);
        copy_without(&fresh, buf_cstr(&lists[i]), &jid);
        if (!c->forget && c->save == (i == 0))
            (void)prefs_list_add(&fresh, c->jid);
        buf_deinit(&lists[i]);
        lists[i] = fresh;
    }
}

static void on_set(void *ctx, const struct prefs *p)
{
    finish(ctx, p);
}

/* The rest stays as it is: a default that saves anyway, "roster" with it, too. */
static void on_before(void *ctx, const struct prefs *before)
{
    struct ask *a = ctx;
    if (!before || a->changes_n == 0) {
        finish(a, before);
        return;
    }
    struct prefs p = *before;
    struct buf lists[2]; /* always, never */
    buf_init(&lists[0], PREFS_LIST_BYTES);
    buf_init(&lists[1], PREFS_LIST_BYTES);
    buf_add_str(&lists[0], before->always);
    buf_add_str(&lists[1], before->never);
    for (size_t i = 0; i < a->changes_n; i++) {
        const struct change *c = &a->changes[i];
        if (c->jid)
            set_item(lists, c);
        else if (!c->save)
            p.mode = PREFS_NEVER;
        else if (p.mode == PREFS_NEVER)
            p.mode = PREFS_ALWAYS;
    }
    if (buf_failed(&lists[0]) || buf_failed(&lists[1])) {
        struct archive_answer answer = a->answer;
        ask_free(a);
        answer.error(answer.ctx, "modify", "policy-violation", "too many addresses");
    } else {
        p.always = buf_cstr(&lists[0]);
        p.never = buf_cstr(&lists[1]);
        prefs_set(a->store, a->account, &p, on_set, a);
    }
    buf_deinit(&lists[0]);
    buf_deinit(&lists[1]);
}

static void on_turn(struct turn *turn)
{
    struct ask *a = (struct ask *)turn;
    prefs_get(a->store, a->account, on_before, a);
}

/* --- the door ---------------------------------------------------------------------------- */

struct verb {
    const char *name;
    bool is_set;
    bool (*read)(struct ask *a, const struct stanza *el, struct xep0136_refusal *why);
};

static bool read_nothing(struct ask *a, const struct stanza *el, struct xep0136_refusal *why)
{
    (void)el, (void)why;
    a->pref = stanza_new(el->arena, "pref", NS_ARCHIVE);
    return true;
}

static const struct verb verbs[] = {{"pref", false, read_nothing},
                                    {"pref", true, read_pref},
                                    {"auto", true, read_auto},
                                    {"itemremove", true, read_itemremove}};

static const struct verb *verb_of(const struct archive_request *r)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (verbs[i].is_set == r->is_set && stanza_is(r->payload, verbs[i].name, NS_ARCHIVE))
            return &verbs[i];
    return NULL;
}

bool xep0136_is_pref(const struct archive_request *r)
{
    return verb_of(r) != NULL;
}

void xep0136_pref_ask(struct prefs_store *s, const struct archive_request *r,
                      const struct archive_answer *answer)
{
    struct ask *a = calloc(1, sizeof *a + CHANGES_MAX * sizeof *a->changes);
    if (!a)
        abort();
    a->store = s;
    a->account = r->account;
    a->answer = *answer;
    struct xep0136_refusal why;
    if (!verb_of(r)->read(a, r->payload, &why)) {
        free(a);
        answer->error(answer->ctx, why.type, why.condition, why.text);
    } else if (!r->is_set) {
        prefs_get(s, r->account, on_before, a);
    } else if (!prefs_change_begin(s, r->account, &a->turn, on_turn)) {
        free(a);
        answer->error(answer->ctx, "wait", "resource-constraint", NULL);
    }
}
