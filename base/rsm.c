// SPDX-License-Identifier: Apache-2.0
#include "base/rsm.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Digits with white space around them; what is too big for us becomes the biggest. */
static bool read_max(const char *s, uint32_t *out)
{
    uint64_t v = 0;
    while (is_space(*s))
        s++;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        v = v * 10 + (uint64_t)(*s - '0');
        if (v > INT32_MAX)
            v = INT32_MAX;
    }
    while (is_space(*s))
        s++;
    *out = (uint32_t)v;
    return *s == '\0';
}

void rsm_read(struct rsm *out, const struct stanza *parent)
{
    *out = (struct rsm){.present = false};
    const struct stanza *set = stanza_child(parent, "set", NS_RSM);
    if (!set)
        return;
    out->present = true;
    const char *max = stanza_child_text(set, "max", NS_RSM);
    out->has_max = max && read_max(max, &out->max);
    if (!out->has_max)
        out->max = 0;
    const char *after = stanza_child_text(set, "after", NS_RSM);
    if (after && *after)
        out->after = after;
    const char *before = stanza_child_text(set, "before", NS_RSM);
    if (before && *before)
        out->before = before;
    out->last_page = before && !*before;
    out->has_index = stanza_child(set, "index", NS_RSM) != NULL;
}

void rsm_write(struct stanza *parent, const struct rsm_answer *a)
{
    struct stanza *set = stanza_add(parent, "set", NS_RSM);
    char number[24];
    if (a->first && a->last) {
        struct stanza *first = stanza_add_leaf(set, "first", NS_RSM, a->first);
        if (a->has_index) {
            (void)snprintf(number, sizeof number, "%" PRId64, a->index);
            stanza_set(first, "index", number);
        }
        stanza_add_leaf(set, "last", NS_RSM, a->last);
    }
    if (a->has_count) {
        (void)snprintf(number, sizeof number, "%" PRId64, a->count);
        stanza_add_leaf(set, "count", NS_RSM, number);
    }
}
