// SPDX-License-Identifier: Apache-2.0
/*
 * What the body of a message for FCM may hold: every field of the v1 reference with its type.
 * A field that is not there, a value of another type or out of range is named by its path.
 */
#ifndef GATEWAY_FCM_FIELDS_H
#define GATEWAY_FCM_FIELDS_H

#include <stdbool.h>

struct cJSON;

#include "tests/gateway/request.h"

/* False with the path of the first field that is wrong. */
bool gw_fcm_fields_check(const struct cJSON *root, char path_out[GW_FIELD_PATH_MAX]);

#endif
