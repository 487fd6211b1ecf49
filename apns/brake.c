// SPDX-License-Identifier: Apache-2.0
#include "apns/brake.h"

#define PERCENT 20 /* of the last answers, */
#define AT_LEAST 5 /* and so many */

bool brake_believes(const struct brake *b)
{
    return !b->on && b->judged_n > b->rejected_n;
}

static void count(struct brake *b, bool rejected)
{
    uint8_t *at = &b->rejected[b->at];
    b->at = (b->at + 1) % BRAKE_WINDOW;
    b->rejected_n += (unsigned)rejected - *at;
    *at = rejected;
    if (b->judged_n < BRAKE_WINDOW)
        b->judged_n++;
}

static void lot_accepted(struct brake *b, int64_t now_ms)
{
    if (b->out == 0 || ++b->accepted < b->out)
        return;
    b->lot = 2 * b->out < BRAKE_LOT_MAX ? 2 * b->out : BRAKE_LOT_MAX;
    b->out = 0;
    b->next_ms = now_ms;
}

/* Slowly again.  What comes in between by itself is as good a try as ours. */
static void lot_rejected(struct brake *b, int64_t now_ms)
{
    int64_t wait_ms = brake_believes(b) ? BRAKE_CALM_MS : BRAKE_PROBE_MS;
    b->lot = 1;
    b->out = 0;
    if (b->next_ms <= now_ms)
        b->next_ms = now_ms + wait_ms;
}

enum brake_change brake_note(struct brake *b, bool rejected, int64_t now_ms)
{
    bool believed = brake_believes(b), was_on = b->on;
    count(b, rejected);
    b->on = b->rejected_n >= AT_LEAST && b->rejected_n * 100 > b->judged_n * PERCENT;
    if (rejected)
        lot_rejected(b, now_ms);
    else
        lot_accepted(b, now_ms);
    if (!believed && brake_believes(b))
        b->next_ms = now_ms;
    if (b->on == was_on)
        return BRAKE_SAME;
    return b->on ? BRAKE_ON : BRAKE_OFF;
}

unsigned brake_lot(struct brake *b, int64_t now_ms)
{
    /* Not all of a lot is pushed: some was read meanwhile. */
    if (b->out > 0 && now_ms >= b->given_ms + BRAKE_CALM_MS)
        b->out = 0;
    if (b->out > 0 || now_ms < b->next_ms)
        return 0;
    return b->lot > 0 ? b->lot : 1;
}

void brake_gave(struct brake *b, unsigned n, int64_t now_ms)
{
    b->out = n;
    b->accepted = 0;
    b->given_ms = now_ms;
}
