// SPDX-License-Identifier: Apache-2.0
#include "archive/prefs.h"

#include <string.h>

#include "base/buf.h"

static const char *const names[] = {
    [PREFS_ALWAYS] = "always", [PREFS_NEVER] = "never", [PREFS_ROSTER] = "roster"};

const char *prefs_mode_name(enum prefs_mode mode)
{
    return names[mode];
}

bool prefs_mode_read(const char *name, enum prefs_mode *out)
{
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum prefs_mode)i;
            return true;
        }
    return false;
}

bool prefs_list_add(struct buf *list, const char *text)
{
    struct jid jid;
    char full[PREFS_JID_BYTES];
    if (!jid_parse(&jid, text))
        return false;
    jid_full(&jid, full);
    buf_add_str(list, full);
    buf_add_char(list, '\n');
    return true;
}

/* The next line that is not empty: its length, 0 at the end. */
static size_t next_line(const char **at)
{
    *at += strspn(*at, "\n");
    return strcspn(*at, "\n");
}

bool prefs_list_next(const char **list, char jid[PREFS_JID_BYTES])
{
    size_t len = next_line(list);
    if (len == 0 || len >= PREFS_JID_BYTES)
        return false;
    memcpy(jid, *list, len);
    jid[len] = '\0';
    *list += len;
    return true;
}

enum match { MATCH_NONE, MATCH_BARE, MATCH_FULL };

static enum match match_in(const char *list, const char *bare, const char *resource)
{
    enum match best = MATCH_NONE;
    size_t bare_len = strlen(bare), resource_len = strlen(resource);
    for (size_t len; (len = next_line(&list)) > 0; list += len) {
        if (len < bare_len || memcmp(list, bare, bare_len) != 0)
            continue;
        if (len == bare_len)
            best = MATCH_BARE;
        else if (resource_len > 0 && len == bare_len + 1 + resource_len &&
                 list[bare_len] == '/' &&
                 memcmp(list + bare_len + 1, resource, resource_len) == 0)
            return MATCH_FULL;
    }
    return best;
}

bool prefs_want(const struct prefs *p, bool in_roster, const char *bare, const char *resource)
{
    enum match never = match_in(p->never, bare, resource);
    enum match always = match_in(p->always, bare, resource);
    if (never != MATCH_NONE || always != MATCH_NONE)
        return always > never;
    switch (p->mode) {
    case PREFS_ALWAYS:
        return true;
    case PREFS_NEVER:
        return false;
    case PREFS_ROSTER:
        return in_roster;
    }
    return true;
}
