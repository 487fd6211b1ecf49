// SPDX-License-Identifier: Apache-2.0
#include "sidecar/features.h"

#include <stdbool.h>

#include "apns/dialect.h"
#include "archive/inbox.h"
#include "archive/inbox_esl.h"
#include "archive/mam.h"
#include "archive/tombstone.h"
#include "archive/xep0136.h"
#include "component/ns.h"
#include "component/service.h"
#include "config/config.h"

struct feature {
    const char *ns;  /* in which it is asked for, and which servers delegate; NULL: ours */
    const char *var; /* as disco#info has it; NULL: goes with another */
    bool (*offered)(const struct config *c); /* NULL: always */
};

static bool offers_search(const struct config *c)
{
    return c->archive.search;
}

static bool offers_unified_push(const struct config *c)
{
    return c->unified_push.host != NULL;
}

static const struct feature features[] = {
    {NS_MAM, NS_MAM, NULL},
    {NS_MAM, NS_MAM_EXTENDED, NULL},
    {NS_MAM_1, NS_MAM_1, NULL},
    {NS_MAM, NS_RETRACT "#tombstone", NULL},
    {NS_ARCHIVE, NS_ARCHIVE, NULL},
    {NS_ARCHIVE, NS_ARCHIVE ":auto", NULL},
    {NS_ARCHIVE, NS_ARCHIVE ":manage", NULL},
    {NS_ARCHIVE, NS_ARCHIVE ":manual", NULL},
    {NS_ARCHIVE, NS_ARCHIVE ":pref", NULL},
    {NS_INBOX, NS_INBOX, NULL},
    {NS_INBOX_ESL, NS_INBOX_ESL, NULL},
    {NS_INBOX_ESL_CONVERSATION, NULL, NULL},
    {NS_MAM, NS_FULLTEXT, offers_search},
    {NULL, NS_PUSH, NULL},
    {NULL, NS_UNIFIED_PUSH, offers_unified_push},
};

void features_offer(struct service *s, const struct config *c)
{
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const struct feature *f = &features[i];
        if (f->offered && !f->offered(c))
            continue;
        if (f->ns && c->archive.serve)
            service_delegate(s, f->ns);
        if (f->var)
            service_feature(s, f->ns, f->var);
    }
    const char *provider;
    for (size_t i = 0; (provider = dialect_feature(&c->push, i)) != NULL; i++)
        service_feature(s, NULL, provider);
    /* An app's id is a provider's name: clients look for theirs before they register. */
    for (size_t i = 0; i < c->push.apps_n; i++) {
        const struct apns_app_opts *app = &c->push.apps[i];
        service_feature(s, NULL, app->id);
        for (size_t n = 0; n < app->names_n; n++)
            service_feature(s, NULL, app->names[n]);
    }
}
