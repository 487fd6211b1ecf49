// SPDX-License-Identifier: Apache-2.0
/*
 * A few threads that do what would hold up the event loop: work is given to them and comes
 * back to the loop, in no order.  Work must not touch anything but its own.
 */
#ifndef APNS_CREW_H
#define APNS_CREW_H

struct crew;
struct event_base;

/* Embedded in what is to be done; the crew's from crew_give until done. */
struct crew_job {
    struct crew_job *next;
    void (*work)(struct crew_job *j); /* in one of the threads */
    void (*done)(struct crew_job *j); /* on the loop; may give more, may not free the crew */
};

/* Never NULL.  Signals stay with the other threads. */
struct crew *crew_new(struct event_base *base, unsigned threads);
/* Waits for the work that is being done; nothing is done any more, in either sense. */
void crew_free(struct crew **c);
void crew_give(struct crew *c, struct crew_job *j);

#endif
