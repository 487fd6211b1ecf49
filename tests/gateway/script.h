// SPDX-License-Identifier: Apache-2.0
/*
 * Misbehaviour to order: queues of actions per device token, and one for any token
 * ("*").  A push that passed all checks takes the next action of its token's queue, or
 * else of the common one.
 */
#ifndef GATEWAY_SCRIPT_H
#define GATEWAY_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;
struct gw_scripts;

enum gw_action_kind {
    GW_ACT_ANSWER,        /* status, reason; 200 lets the push pass */
    GW_ACT_SILENCE,       /* no answer, ever */
    GW_ACT_RESET,         /* RST_STREAM with code */
    GW_ACT_GOAWAY_BEFORE, /* GOAWAY whose last id is below this stream: not processed */
    GW_ACT_GOAWAY_AFTER,  /* answers 200; GOAWAY whose last id is this stream */
    GW_ACT_TWO_STEP,      /* answers 200; GOAWAY 2^31-1, after gap_ms the true one */
    GW_ACT_CUT_BEFORE,    /* TCP reset instead of the answer */
    GW_ACT_CUT_AFTER      /* answers 200, then the connection ends without goodbye */
};

struct gw_action {
    enum gw_action_kind kind;
    int times; /* pushes it still applies to; -1 for ever */
    int delay_ms, gap_ms;
    int status, retry_after_s; /* retry_after_s: -1 for none */
    uint32_t code;
    int64_t timestamp_ms; /* 0 for none */
    bool hold;            /* until the gateway is told to let go */
    bool deliver;         /* the phone gets it although the sender is told otherwise */
    bool retry_as_date;   /* retry_after_s is said as a date */
    char reason[64];
    char field[64];     /* FCM: of the message, which is wrong */
    char location[256]; /* Web Push: of a redirect */
    char body[256];     /* sent instead of {"reason":…} when not empty */
};

/* How often what is held looks whether it may go. */
#define GW_HOLD_LOOK_MS 10

/* For the token endpoint: only status, body and retry_after count. */
#define GW_SCRIPT_OAUTH "oauth"

struct gw_scripts *gw_scripts_new(void);
void gw_scripts_free(struct gw_scripts **s);
void gw_scripts_reset(struct gw_scripts *s);

/* Appends an array of actions; all or nothing.  NULL, or what is wrong with them. */
const char *gw_scripts_add(struct gw_scripts *s, const char *token,
                           const struct cJSON *actions);
bool gw_scripts_take(struct gw_scripts *s, const char *token, struct gw_action *action_out);
/* Actions not yet used up. */
size_t gw_scripts_pending(const struct gw_scripts *s);

#endif
