// SPDX-License-Identifier: Apache-2.0
#include "archive/xep0136_query.h"

#include <string.h>

#include "base/datetime.h"
#include "base/stanza.h"

static bool refuse(struct xep0136_refusal *why, const char *condition, const char *text)
{
    bool unknown = strcmp(condition, "feature-not-implemented") == 0;
    *why = (struct xep0136_refusal){unknown ? "cancel" : "modify", condition, text};
    return false;
}

bool xep0136_is_true(const char *value)
{
    bool is = false;
    return value && xml_boolean(value, &is) && is;
}

static bool read_with(struct xep0136_query *q, const struct stanza *el,
                      struct xep0136_refusal *why)
{
    const char *with = stanza_get(el, "with");
    q->match = MATCH_ALL;
    if (!with)
        return true;
    if (!jid_parse(&q->with, with))
        return refuse(why, "jid-malformed", "with is not a JID");
    bool exact = xep0136_is_true(stanza_get(el, "exactmatch"));
    if (exact && !jid_is_bare(&q->with))
        q->match = MATCH_NOBODY;
    else if (q->with.local_len == 0 && !exact)
        q->match = MATCH_DOMAIN;
    else
        q->match = MATCH_BARE;
    return true;
}

/* An empty one is as good as none. */
static bool read_date(const struct stanza *el, const char *name, bool *has, int64_t *out,
                      struct xep0136_refusal *why)
{
    const char *text = stanza_get(el, name);
    *has = text && *text;
    if (!*has || datetime_parse_any(text, out))
        return true;
    return refuse(why, "bad-request", "start and end must be XEP-0082 dates");
}

static bool read_range(struct xep0136_query *q, const struct stanza *el,
                       struct xep0136_refusal *why)
{
    q->start_us = INT64_MIN;
    q->end_us = INT64_MAX;
    return read_date(el, "start", &q->has_start, &q->start_us, why) &&
           read_date(el, "end", &q->has_end, &q->end_us, why);
}

static bool read_set(struct xep0136_query *q, const struct stanza *el,
                     struct xep0136_refusal *why)
{
    rsm_read(&q->rsm, el);
    if (q->rsm.has_index)
        return refuse(why, "feature-not-implemented", "paging by index is not offered");
    return true;
}

bool xep0136_read_list(struct xep0136_query *out, const struct stanza *list,
                       struct xep0136_refusal *why)
{
    *out = (struct xep0136_query){0};
    return read_with(out, list, why) && read_range(out, list, why) && read_set(out, list, why);
}

static bool read_name(struct xep0136_query *out, const struct stanza *chat,
                      struct xep0136_refusal *why)
{
    *out = (struct xep0136_query){0};
    if (!read_with(out, chat, why) || !read_range(out, chat, why))
        return false;
    if (out->match == MATCH_ALL || !out->has_start)
        return refuse(why, "bad-request", "with and start name a collection");
    out->match = MATCH_BARE;
    return true;
}

bool xep0136_read_retrieve(struct xep0136_query *out, const struct stanza *retrieve,
                           struct xep0136_refusal *why)
{
    return read_name(out, retrieve, why) && read_set(out, retrieve, why);
}

bool xep0136_read_modified(struct xep0136_query *out, const struct stanza *modified,
                           struct xep0136_refusal *why)
{
    *out = (struct xep0136_query){0};
    if (!read_range(out, modified, why) || !read_set(out, modified, why))
        return false;
    return out->has_start || refuse(why, "bad-request", "start is missing");
}

/* with and start without end name one collection; a range has an end (A8). */
bool xep0136_read_remove(struct xep0136_query *out, const struct stanza *remove,
                         struct xep0136_refusal *why)
{
    *out = (struct xep0136_query){0};
    if (!read_with(out, remove, why) || !read_range(out, remove, why))
        return false;
    out->open = xep0136_is_true(stanza_get(remove, "open"));
    if (out->match == MATCH_ALL || !out->has_start || out->has_end)
        return true;
    out->end_us = out->start_us + 1;
    if (out->match == MATCH_DOMAIN)
        out->match = MATCH_BARE;
    return true;
}

bool xep0136_read_save(struct xep0136_query *out, const struct stanza *save,
                       struct xep0136_refusal *why)
{
    const struct stanza *chat = stanza_child(save, "chat", save->ns);
    if (!chat || stanza_sibling(chat, "chat", save->ns))
        return refuse(why, "bad-request", "one chat at a time");
    return read_name(out, chat, why);
}
