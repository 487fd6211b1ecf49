// SPDX-License-Identifier: Apache-2.0
/*
 * What the worker has in hand, kept in the shared page so that its death can be held against
 * it; and what the deaths of the workers before say.  A stanza that was in hand twice in a row
 * when a worker died by a fault of its own is poison: nobody looks into it again.  After any
 * such death the worker is careful: it takes one stanza at a time until it has passed the
 * trouble, so that the next death would have a place.
 *
 * Who died for another reason must not make poison of innocents, so a careful worker begins
 * with a second in which nothing is in hand, and no more than HAND_POISON_PER_HOUR stanzas
 * become poison in an hour: then the rest waits in the spool for a person.
 */
#ifndef SIDECAR_HAND_H
#define SIDECAR_HAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/event.h"

#define HAND_POISON_PER_HOUR 20
#define HAND_QUIET_MS 1000

struct hand;
struct page;

/* Draws the conclusions.  Borrows the page. */
struct hand *hand_new(struct page *page);
void hand_free(struct hand **h);

/* The stanza is being looked at, until put.  Each is a few stores. */
void hand_take(struct hand *h, const struct place *p);
void hand_put(struct hand *h);

/* Why it is poison, NULL when it is none.  *may_look_out: false when it killed a worker once
 * more though it was passed over, so that its bytes are to be left alone altogether. */
const char *hand_poison(const struct hand *h, const struct place *p, bool *may_look_out);
size_t hand_poison_count(const struct hand *h);

bool hand_is_careful(const struct hand *h);
/* Careful, and nothing may be taken yet. */
bool hand_is_quiet(const struct hand *h, int64_t now_ms);
/* Careful: something that goes on after put is this stanza's doing, until let go.  One at a
 * time; false when another one is held. */
bool hand_hold(struct hand *h, const struct place *p);
void hand_let_go(struct hand *h, const struct place *p); /* not held: nothing */
bool hand_is_held(const struct hand *h);

/* The archive was given everything up to here, and maybe has not written it. */
void hand_offered(struct hand *h, unsigned link, uint64_t end);
/* How far that link's requests were read and its rows committed; the end of being careful,
 * once all links have passed what the dead worker had. */
void hand_passed(struct hand *h, unsigned link, uint64_t live, uint64_t committed);
/* Nobody reads below this place again. */
void hand_released(struct hand *h, unsigned link, uint64_t pos);

#endif
