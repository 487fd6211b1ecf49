// SPDX-License-Identifier: Apache-2.0
/*
 * The worker's side of the shared page's table of open IQs: which requests were taken and
 * whose answers the kernel does not have yet, so that the next worker answers them, and only
 * them, whoever dies: this worker, or the link with what it had still to write.
 */
#ifndef SIDECAR_OPEN_IQS_H
#define SIDECAR_OPEN_IQS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/event.h"

struct open_iqs;
struct page;

/* Takes over what the worker before us left open.  Borrows the page, whose links must have
 * read all that the worker before us wrote. */
struct open_iqs *open_iqs_new(struct page *page);
void open_iqs_free(struct open_iqs **o); /* the page keeps them */

void open_iqs_opened(struct open_iqs *o, const struct place *p);
/* Its answer is in this frame to the link of its spool, counting like frames_taken does. */
void open_iqs_answered(struct open_iqs *o, const struct place *p, uint64_t frame);
/* That link has written its frames up to this one. */
void open_iqs_written(struct open_iqs *o, unsigned spool, uint64_t frame);
bool open_iqs_has(const struct open_iqs *o, const struct place *p); /* and is not answered */
/* The lowest place of that spool's, answered or not; UINT64_MAX when there is none. */
uint64_t open_iqs_oldest(const struct open_iqs *o, unsigned spool);
/* That spool's replay is over: what was left open there and not met again is forgotten. */
void open_iqs_replayed(struct open_iqs *o, unsigned spool);

#endif
