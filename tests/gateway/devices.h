// SPDX-License-Identifier: Apache-2.0
/*
 * What the gateway knows of device tokens, and what each phone would show.  A phone
 * that is offline has at most one push stored for it, as with Apple; with FCM one for each
 * of four collapse keys.
 */
#ifndef GATEWAY_DEVICES_H
#define GATEWAY_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gw_devices;
struct gw_push;
struct gw_request;
struct gw_text;

struct gw_devices *gw_devices_new(void);
void gw_devices_free(struct gw_devices **d);
void gw_devices_reset(struct gw_devices *d);

/* Tokens are lower-case hex, or FCM's as they are, in all of these. */
/* Also ends an expiry and forgets the topics: add them afterwards. */
void gw_devices_register(struct gw_devices *d, const char *token);
void gw_devices_add_topic(struct gw_devices *d, const char *token, const char *topic);
void gw_devices_expire(struct gw_devices *d, const char *token, int64_t timestamp_ms);
void gw_devices_set_online(struct gw_devices *d, const char *token, bool online,
                           int64_t now_ms);

bool gw_devices_expired(const struct gw_devices *d, const char *token,
                        int64_t *timestamp_ms_out);
bool gw_devices_known(const struct gw_devices *d, const char *token); /* registered */
/* any: what to say of a token that nobody registered. */
bool gw_devices_has_topic(const struct gw_devices *d, const char *token, const char *topic,
                          bool any);

/* counted: the sender was told 200, so that it counts as accepted. */
void gw_devices_deliver(struct gw_devices *d, const struct gw_push *push,
                        const struct gw_request *r, bool counted, int64_t now_ms);
/* Counts a request for the token, however it ends. */
void gw_devices_saw(struct gw_devices *d, const char *token);
uint64_t gw_devices_seen(const struct gw_devices *d, const char *token);
uint64_t gw_devices_accepted(const struct gw_devices *d, const char *token);
/* Requests for the token in the minute that began with the first of them, with this one. */
unsigned gw_devices_rate(struct gw_devices *d, const char *token, int64_t now_ms);
/* A JSON object, also for a token never heard of. */
void gw_devices_write(const struct gw_devices *d, const char *token, struct gw_text *out);

#endif
