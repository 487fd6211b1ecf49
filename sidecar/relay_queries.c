// SPDX-License-Identifier: Apache-2.0
/* The archive's handlers know stanzas and callbacks, not how either travels. */
#include "sidecar/relay_int.h"

#include <string.h>

#include "archive/inbox.h"
#include "archive/inbox_esl.h"
#include "archive/mam.h"
#include "archive/mam_prefs.h"
#include "archive/xep0136.h"
#include "archive/xep0136_pref.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "config/config.h"

static bool is_wanted(void *ctx)
{
    return !iq_asker_gone(ctx);
}

static bool send_result(void *ctx, const void *xml, size_t len)
{
    return iq_send_children(ctx, xml, len);
}

static void finish_query(void *ctx, struct stanza *payload)
{
    iq_reply(ctx, payload);
}

static void refuse_query(void *ctx, const char *type, const char *condition, const char *text)
{
    iq_error(ctx, type, condition, text);
}

static struct archive_request request_of(const struct iq_request *r)
{
    return (struct archive_request){.payload = r->payload,
                                    .is_set = r->is_set,
                                    .account = r->account.bare,
                                    .id = stanza_get(r->iq, "id"),
                                    .at = r->place};
}

static struct archive_answer answer_to(struct iq_request *r)
{
    return (struct archive_answer){.result = send_result,
                                   .done = finish_query,
                                   .error = refuse_query,
                                   .wanted = is_wanted,
                                   .ctx = r};
}

/* False when the request had to be refused. */
static bool may_ask(struct relay *relay, struct iq_request *r)
{
    bool may = r->own_account && relay->mam;
    if (!r->own_account)
        iq_forbid(r);
    else if (!may)
        iq_later(r, "the archive is not reachable yet");
    return may;
}

static void on_mam(void *ctx, struct iq_request *r)
{
    struct relay *relay = ctx;
    const struct archive_request ask = request_of(r);
    const struct archive_answer answer = answer_to(r);
    unsigned link;
    if (!may_ask(relay, r))
        return;
    if (strcmp(r->payload->name, "prefs") == 0)
        mam_prefs_ask(relay->prefs, &ask,
                      service_grants_rosters(relay->service, r->account.bare, &link), &answer);
    else
        mam_ask(relay->mam, &ask, &answer);
}

static void on_xep0136(void *ctx, struct iq_request *r)
{
    struct relay *relay = ctx;
    const struct archive_request ask = request_of(r);
    const struct archive_answer answer = answer_to(r);
    if (!may_ask(relay, r))
        return;
    if (xep0136_is_pref(&ask))
        xep0136_pref_ask(relay->prefs, &ask, &answer);
    else
        xep0136_ask(relay->xep0136, &ask, &answer);
}

static void on_inbox(void *ctx, struct iq_request *r)
{
    struct relay *relay = ctx;
    const struct archive_request ask = request_of(r);
    const struct archive_answer answer = answer_to(r);
    if (may_ask(relay, r))
        inbox_ask(relay->lookups, &relay->opts.config->archive, &ask, &answer);
}

static void on_inbox_esl(void *ctx, struct iq_request *r)
{
    struct relay *relay = ctx;
    const struct archive_request ask = request_of(r);
    const struct archive_answer answer = answer_to(r);
    if (!may_ask(relay, r))
        return;
    if (strcmp(ask.payload->ns, NS_INBOX_ESL) != 0 || strcmp(ask.payload->name, "reset") == 0)
        inbox_esl_conversation_ask(relay->lookups, relay->ingest, &relay->opts.config->archive,
                                   &ask, &answer);
    else
        inbox_esl_ask(relay->lookups, &relay->opts.config->archive, &ask, &answer);
}

void relay_serve_queries(struct relay *r)
{
    static const struct {
        const char *ns;
        service_request_fn take;
    } table[] = {
        {NS_MAM, on_mam},
        {NS_MAM_1, on_mam},
        {NS_ARCHIVE, on_xep0136},
        {NS_INBOX, on_inbox},
        {NS_INBOX_ESL, on_inbox_esl},
        {NS_INBOX_ESL_CONVERSATION, on_inbox_esl},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        service_handle(r->service, NULL, table[i].ns, table[i].take, r);
}
