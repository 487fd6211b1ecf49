// SPDX-License-Identifier: Apache-2.0
#include "archive/early.h"

#include <string.h>

void early_add(struct early *e, const uint8_t owner[16], uint64_t ref, int64_t at_us)
{
    struct early_ref *r = &e->refs[e->next];
    e->next = (e->next + 1) % EARLY_MAX;
    memcpy(r->owner, owner, sizeof r->owner);
    r->ref = ref;
    r->at_us = at_us;
    if (at_us > e->newest_us)
        e->newest_us = at_us;
}

bool early_has(const struct early *e, const uint8_t owner[16], uint64_t ref, int64_t at_us)
{
    if (e->newest_us == 0 || at_us > e->newest_us + EARLY_US)
        return false;
    for (size_t i = 0; i < EARLY_MAX; i++) {
        const struct early_ref *r = &e->refs[i];
        if (r->at_us > 0 && r->ref == ref && at_us <= r->at_us + EARLY_US &&
            memcmp(r->owner, owner, sizeof r->owner) == 0)
            return true;
    }
    return false;
}
