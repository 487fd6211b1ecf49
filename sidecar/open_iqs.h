// SPDX-License-Identifier: Apache-2.0
/*
 * The worker's side of the shared page's table of open IQs: which requests were taken and are
 * not answered yet, so that the next worker answers them.
 */
#ifndef SIDECAR_OPEN_IQS_H
#define SIDECAR_OPEN_IQS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/event.h"

struct open_iqs;
struct page;

/* Takes over what the worker before us left open.  Borrows the page. */
struct open_iqs *open_iqs_new(struct page *page);
void open_iqs_free(struct open_iqs **o); /* the page keeps them */

void open_iqs_opened(struct open_iqs *o, const struct place *p);
void open_iqs_done(struct open_iqs *o, const struct place *p);
bool open_iqs_has(const struct open_iqs *o, const struct place *p);
/* The lowest place of that spool's open ones; UINT64_MAX when there is none. */
uint64_t open_iqs_oldest(const struct open_iqs *o, unsigned spool);
/* That spool's replay is over: what was left open there and not met again is forgotten. */
void open_iqs_replayed(struct open_iqs *o, unsigned spool);

#endif
