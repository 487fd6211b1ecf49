// SPDX-License-Identifier: Apache-2.0
#include "archive/mam_prefs.h"

#include <stdlib.h>
#include <string.h>

#include "archive/prefs_store.h"
#include "archive/request.h"
#include "archive/turns.h"
#include "base/buf.h"
#include "base/stanza.h"

struct ask {
    struct turn turn; /* first; of what changes anything, which is: */
    struct prefs_store *store;
    const char *account;
    struct prefs prefs; /* with these lists */
    struct buf always;
    struct buf never;
    struct stanza *payload; /* of the answer */
    struct archive_answer answer;
};

static struct ask *ask_new(struct prefs_store *s, const struct archive_request *r,
                           const struct archive_answer *answer)
{
    struct ask *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->store = s;
    a->account = r->account;
    a->payload = stanza_new(r->payload->arena, "prefs", r->payload->ns);
    a->answer = *answer;
    buf_init(&a->always, PREFS_LIST_BYTES);
    buf_init(&a->never, PREFS_LIST_BYTES);
    return a;
}

static void ask_free(struct ask *a)
{
    prefs_change_end(a->store, &a->turn);
    buf_deinit(&a->always);
    buf_deinit(&a->never);
    free(a);
}

static void write_list(struct stanza *parent, const char *name, const char *list)
{
    char jid[PREFS_JID_BYTES];
    struct stanza *el = stanza_add(parent, name, NULL);
    while (prefs_list_next(&list, jid))
        stanza_add_leaf(el, "jid", NULL, jid);
}

/* p may be the asker's own. */
static void on_prefs(void *ctx, const struct prefs *p)
{
    struct ask *a = ctx;
    struct stanza *payload = a->payload;
    struct archive_answer answer = a->answer;
    /* Both lists, also when they are empty: clients look for them (P1). */
    if (p) {
        stanza_set(payload, "default", prefs_mode_name(p->mode));
        write_list(payload, "always", p->always);
        write_list(payload, "never", p->never);
    }
    ask_free(a);
    if (p)
        answer.done(answer.ctx, payload);
    else
        answer.error(answer.ctx, "wait", "internal-server-error",
                     "the archive is not reachable now");
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

static bool read_prefs(struct ask *a, const struct stanza *el, bool rosters,
                       struct refusal *why)
{
    if (!prefs_mode_read(stanza_get(el, "default"), &a->prefs.mode))
        return refuse(why, "modify", "bad-request",
                      "default must be one of always, never and roster");
    if (a->prefs.mode == PREFS_ROSTER && !rosters)
        return refuse(why, "cancel", "feature-not-implemented",
                      "the server does not show rosters to the archive");
    if (!read_list(el, "always", &a->always, why) || !read_list(el, "never", &a->never, why))
        return false;
    a->prefs.always = buf_cstr(&a->always);
    a->prefs.never = buf_cstr(&a->never);
    return true;
}

static void on_turn(struct turn *turn)
{
    struct ask *a = (struct ask *)turn;
    prefs_set(a->store, a->account, &a->prefs, on_prefs, a);
}

void mam_prefs_ask(struct prefs_store *s, const struct archive_request *r, bool rosters,
                   const struct archive_answer *answer)
{
    struct refusal why = {"wait", "resource-constraint", NULL};
    struct ask *a = ask_new(s, r, answer);
    if (!r->is_set) {
        prefs_get(s, r->account, on_prefs, a);
    } else if (!read_prefs(a, r->payload, rosters, &why) ||
               !prefs_change_begin(s, r->account, &a->turn, on_turn)) {
        ask_free(a);
        answer->error(answer->ctx, why.type, why.condition, why.text);
    }
}
