// SPDX-License-Identifier: Apache-2.0
/*
 * The settings file, read and checked, as the option structs of the layers.  Nothing starts on
 * a broken file: every complaint has file, line and column, and all of them are reported.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "apns/opts.h"
#include "archive/opts.h"
#include "base/err.h"
#include "base/log.h"
#include "component/opts.h"
#include "store/opts.h"

struct buf;

#define CONFIG_DEFAULT_FILE "/etc/xmpp-sidecar/sidecar.yml"

struct http_opts {
    const char *host; /* NULL: no HTTP */
    uint16_t port;
};

struct unified_push_opts {
    const char *host; /* NULL: it is not offered */
    uint16_t port;
    const char *url; /* how others reach it: https, without a slash at its end */
};

/* Everything in it lives until config_free. */
struct config {
    struct component_opts component;
    struct spool_opts spool;
    struct store_opts store;
    struct archive_opts archive;
    struct push_opts push;
    struct http_opts http;
    struct unified_push_opts unified_push;
    struct log_opts log;
    struct config_private *priv;
};

/* Fills complaints with one line each, "file:line:column: text", and returns CONFIG when there
 * are any. */
MUST_CHECK enum err_kind config_load(const char *file, struct config **out,
                                     struct buf *complaints);
void config_free(struct config **c);

/* Names the settings that differ and that a reload cannot apply, one per line ("" = none). */
void config_restart_needed(const struct config *old, const struct config *fresh,
                           struct buf *names_out);

#endif
