// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/record.h"

#include <string.h>

#include "tests/gateway/control.h"
#include "tests/gateway/devices.h"
#include "tests/gateway/fcm.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/pushes.h"
#include "tests/gateway/request.h"
#include "tests/gateway/text.h"

bool gw_is_good(const struct gw_verdict *v)
{
    return v->status / 100 == 2;
}

/* The phone has it before anybody who waits for it is told. */
void gw_record(struct gateway *gw, const struct gw_push_origin *from,
               const struct gw_request *r, const struct gw_push *push,
               const struct gw_verdict *v, bool deliver)
{
    if (gw_is_good(v) || deliver)
        gw_devices_deliver(gw->devices, push, r, gw_is_good(v), gw_now_ms());
    gw_stats_answer(&gw->stats, v->status, v->reason);
    gw_pushes_add(gw->pushes, from, r, push, v);
    if (strlen(push->token) == GW_TOKEN_HEX || gw_fcm_is_token(push->token))
        gw_devices_saw(gw->devices, push->token);
    gw_control_saw(gw->control);
}
