// SPDX-License-Identifier: Apache-2.0
#include "archive/mam_prefs.h"

#include <stdlib.h>
#include <string.h>

#include "archive/prefs_store.h"
#include "archive/request.h"
#include "base/buf.h"
#include "base/stanza.h"

struct ask {
    struct stanza *payload; /* of the answer */
    struct archive_answer answer;
};

static void write_list(struct stanza *parent, const char *name, const char *list)
{
    char jid[PREFS_JID_BYTES];
    struct stanza *el = stanza_add(parent, name, NULL);
    while (prefs_list_next(&list, jid))
        stanza_add_leaf(el, "jid", NULL, jid);
}

static void on_prefs(void *ctx, const struct prefs *p)
{
    struct ask *a = ctx;
    struct ask ask = *a;
    free(a);
    if (!p) {
        ask.answer.error(ask.answer.ctx, "wait", "internal-server-error",
                         "the archive is not reachable now");
        return;
    }
    /* Both lists, also when they are empty: clients look for them (P1). */
    stanza_set(ask.payload, "default", prefs_mode_name(p->mode));
    write_list(ask.payload, "always", p->always);
    write_list(ask.payload, "never", p->never);
    ask.answer.done(ask.answer.ctx, ask.payload);
}

struct refusal {
    const char *type;
    const char *condition;
    const char *text;
};

static bool refuse(struct refusal *why, const char *type, const char *condition,
                   const char *text)
{
    *why = (struct refusal){type, condition, text};
    return false;
}

/* A list that is missing is empty, one that is there twice is both (P2; Martin writes so). */
static bool read_list(const struct stanza *prefs, const char *name, struct buf *out,
                      struct refusal *why)
{
    const struct stanza *list = stanza_child(prefs, name, prefs->ns);
    for (; list; list = stanza_sibling(list, name, prefs->ns)) {
        const struct stanza *jid = stanza_child(list, "jid", prefs->ns);
        for (; jid; jid = stanza_sibling(jid, "jid", prefs->ns))
            if (!prefs_list_add(out, stanza_text(jid)))
                return refuse(why, "modify", "jid-malformed", "a list has what is no JID");
    }
    if (buf_failed(out))
        return refuse(why, "modify", "policy-violation", "a list has too many addresses");
    return true;
}

static bool read_prefs(const struct stanza *el, bool rosters, struct buf *always,
                       struct buf *never, struct prefs *out, struct refusal *why)
{
    if (!prefs_mode_read(stanza_get(el, "default"), &out->mode))
        return refuse(why, "modify", "bad-request",
                      "default must be one of always, never and roster");
    if (out->mode == PREFS_ROSTER && !rosters)
        return refuse(why, "cancel", "feature-not-implemented",
                      "the server does not show rosters to the archive");
    if (!read_list(el, "always", always, why) || !read_list(el, "never", never, why))
        return false;
    out->always = buf_cstr(always);
    out->never = buf_cstr(never);
    return true;
}

static struct ask *ask_new(const struct archive_request *r,
                           const struct archive_answer *answer)
{
    struct ask *a = malloc(sizeof *a);
    if (!a)
        abort();
    a->payload = stanza_new(r->payload->arena, "prefs", r->payload->ns);
    a->answer = *answer;
    return a;
}

static void set(struct prefs_store *s, const struct archive_request *r, bool rosters,
                const struct archive_answer *answer)
{
    struct buf always, never;
    struct prefs p;
    struct refusal why;
    buf_init(&always, PREFS_LIST_BYTES);
    buf_init(&never, PREFS_LIST_BYTES);
    if (read_prefs(r->payload, rosters, &always, &never, &p, &why))
        prefs_set(s, r->account, &p, on_prefs, ask_new(r, answer));
    else
        answer->error(answer->ctx, why.type, why.condition, why.text);
    buf_deinit(&always);
    buf_deinit(&never);
}

void mam_prefs_ask(struct prefs_store *s, const struct archive_request *r, bool rosters,
                   const struct archive_answer *answer)
{
    if (r->is_set)
        set(s, r, rosters, answer);
    else
        prefs_get(s, r->account, on_prefs, ask_new(r, answer));
}
