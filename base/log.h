// SPDX-License-Identifier: Apache-2.0
/*
 * One event, one line, "key=value", to standard error (the journal keeps it).
 * ERROR = a person must act, WARN = degraded but healing, INFO = lifecycle, DEBUG = per item.
 * Never pass a message body, a device token or a secret, at any level.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_opts {
    enum log_level level;
    enum log_format format;
};

/* process is "link" or "worker" or a command's name; borrowed for ever. */
void log_init(const struct log_opts *opts, const char *process);
bool log_enabled(enum log_level level);

/* prefix names the object, e.g. "gateway app=org.example.chat"; the text follows it. */
void log_line(enum log_level level, const char *prefix, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* A test hears every line instead of standard error; NULL goes back. */
typedef void (*log_sink_fn)(void *ctx, enum log_level level, const char *line);
void log_set_sink(log_sink_fn sink, void *ctx);

#define log_error(prefix, ...) log_line(LOG_ERROR, prefix, __VA_ARGS__)
#define log_warn(prefix, ...) log_line(LOG_WARN, prefix, __VA_ARGS__)
#define log_info(prefix, ...) log_line(LOG_INFO, prefix, __VA_ARGS__)
#define log_debug(prefix, ...)                                                                \
    do {                                                                                      \
        if (log_enabled(LOG_DEBUG))                                                           \
            log_line(LOG_DEBUG, prefix, __VA_ARGS__);                                         \
    } while (0)

#endif
