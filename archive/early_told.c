// SPDX-License-Identifier: Apache-2.0
#include "archive/early_told.h"

#include <stdlib.h>
#include <string.h>

#include "archive/rows.h"

struct told {
    struct write w;
    char *texts[3]; /* of w */
    int64_t at_us;  /* 0: nothing is here */
};

struct early_told {
    struct told told[EARLY_TOLD_MAX];
    size_t next;
};

struct early_told *early_told_new(void)
{
    struct early_told *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    return t;
}

static void forget(struct told *told)
{
    for (size_t i = 0; i < sizeof told->texts / sizeof *told->texts; i++)
        free(told->texts[i]);
    *told = (struct told){.at_us = 0};
}

void early_told_free(struct early_told **t)
{
    if (!*t)
        return;
    for (size_t i = 0; i < EARLY_TOLD_MAX; i++)
        forget(&(*t)->told[i]);
    free(*t);
    *t = NULL;
}

static char *copy(const char *text)
{
    char *own = text ? strdup(text) : NULL;
    if (text && !own)
        abort();
    return own;
}

void early_told_add(struct early_told *t, const struct write *w, int64_t at_us)
{
    struct told *told = &t->told[t->next];
    t->next = (t->next + 1) % EARLY_TOLD_MAX;
    forget(told);
    *told = (struct told){.w = *w, .at_us = at_us};
    told->w.owner_jid = told->texts[0] = copy(w->owner_jid);
    told->w.peer_resource = told->texts[1] = copy(w->peer_resource);
    told->w.body = told->texts[2] = copy(w->body);
}

const struct write *early_told_of(const struct early_told *t, const struct write *row,
                                  int64_t at_us)
{
    for (size_t i = 0; i < EARLY_TOLD_MAX; i++) {
        const struct told *told = &t->told[i];
        if (told->at_us > 0 && told->w.ref == row->ref && told->w.content == row->content &&
            llabs(at_us - told->at_us) <= EARLY_TOLD_US &&
            memcmp(told->w.owner, row->owner, OWNER_BYTES) == 0)
            return &told->w;
    }
    return NULL;
}
