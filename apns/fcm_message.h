// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON of a message for FCM (HTTP v1): always valid and within the 4096 bytes of the
 * service, whatever the sender's name and text are made of.  One message serves Android and
 * the iOS devices of the project: FCM takes the part that is for the device.
 */
#ifndef APNS_FCM_MESSAGE_H
#define APNS_FCM_MESSAGE_H

#include <stdint.h>

#include "apns/opts.h"
#include "apns/payload.h"

#define FCM_MESSAGE_MAX 4096 /* of the whole, which is more than the service counts */
#define FCM_TTL_MAX_S 2419200

struct buf;

struct fcm_message_opts {
    const char *token;
    enum fcm_form form;
    /* What the app behind the registration knows the account by (p2's dialect): then the
     * message says only that, and wakes the app; NULL elsewhere. */
    const char *account;
    const char *collapse_key;
    int64_t ttl_s;        /* how long it is kept for a device that is away; 0: not at all */
    int64_t expiration_s; /* the same as a time, for APNs */
};

/* Appends the message of a visible push to b, which must have FCM_MESSAGE_MAX bytes of room.
 */
void fcm_message_alert(struct buf *b, const struct fcm_message_opts *o,
                       const struct payload_alert_opts *alert);
/* Only the count, which the app shows or the system does, and what of the app's notifications
 * is to go; nothing is displayed. */
void fcm_message_badge(struct buf *b, const struct fcm_message_opts *o,
                       const struct payload_badge_opts *badge);

#endif
