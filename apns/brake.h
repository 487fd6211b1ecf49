// SPDX-License-Identifier: Apache-2.0
/*
 * Whether the rejections of an app's devices are to be believed, and how what was parked
 * meanwhile comes back.  Many rejections among few answers are more likely our mistake (a
 * wrong topic, a wrong environment) than so many phones gone at once: then no device is
 * deleted.  It knows no queue and no clock.
 */
#ifndef APNS_BRAKE_H
#define APNS_BRAKE_H

#include <stdbool.h>
#include <stdint.h>

#define BRAKE_WINDOW 100    /* answers */
#define BRAKE_CALM_MS 30000 /* until the next lot, when the last was not all answered */
#define BRAKE_PROBE_MS                                                                        \
    600000 /* while rejections are not believed one push is tried so often */
#define BRAKE_LOT_MAX 1000

struct brake {
    uint8_t rejected[BRAKE_WINDOW]; /* of the last answers: 1 for each that was a rejection */
    unsigned at;
    unsigned rejected_n; /* how many of them were */
    unsigned judged_n;   /* how many answers there are, at most as many as fit */
    bool on;
    /* What is parked comes back in lots: one, and twice as many after each that was accepted.
     */
    unsigned lot;      /* how many next; 0: as 1 */
    unsigned out;      /* of the lot that is not all answered; 0: none is */
    unsigned accepted; /* since it was given */
    int64_t given_ms;
    int64_t next_ms; /* no lot before */
};

enum brake_change { BRAKE_SAME, BRAKE_ON, BRAKE_OFF };

/* An answer that is about the device, or an accepted push. */
enum brake_change brake_note(struct brake *b, bool rejected, int64_t now_ms);
/* Whether a rejected device may go: others are accepted.  Where nobody is, a fleet of three
 * phones would be lost to a wrong setting before it looked like a wave. */
bool brake_believes(const struct brake *b);

/* How many parked ones may come back now. */
unsigned brake_lot(struct brake *b, int64_t now_ms);
/* So many did; fewer than the lot when there are no more. */
void brake_gave(struct brake *b, unsigned n, int64_t now_ms);

#endif
