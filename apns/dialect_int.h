// SPDX-License-Identifier: Apache-2.0
/* What dialects with a command (dialect.c) and those without (stateless.c) share. */
#ifndef APNS_DIALECT_INT_H
#define APNS_DIALECT_INT_H

#include <stdbool.h>

#include "apns/dialect.h"

struct apns_app_opts;

/* By its id, or by another of its names. */
bool dialect_app_is_called(const struct apns_app_opts *app, const char *name);
/* Users of that domain may use it, and that service reaches it. */
bool dialect_app_fits(const struct apns_app_opts *app, const char *domain,
                      enum push_service service);
/* False when text is none; NULL is none. */
bool dialect_read_apns_token(const char *text, char out[DEVICE_TOKEN_MAX + 1]);
bool dialect_read_fcm_token(const char *text, char out[DEVICE_TOKEN_MAX + 1]);

#endif
