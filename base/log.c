// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/datetime.h"
#include "base/utf8.h"

#define LINE_BYTES 2048
#define TEXT_BYTES 1536
#define PREFIX_END 768            /* where a line's prefix is cut */
#define TEXT_END (LINE_BYTES - 8) /* and its text, with room to close it */

static struct {
    struct log_opts opts;
    const char *process;
    bool journal; /* standard error is the journal: it stamps lines and reads priorities */
    log_sink_fn sink;
    void *sink_ctx;
} state = {.opts = {.level = LOG_INFO, .format = LOG_TEXT}, .process = "-"};

struct line {
    char text[LINE_BYTES];
    size_t len;
};

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "error";
    case LOG_WARN:
        return "warn";
    case LOG_INFO:
        return "info";
    case LOG_DEBUG:
        return "debug";
    }
    return "?";
}

/* The priorities of sd-daemon(3), which the journal takes off the line again. */
static const char *level_priority(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return "<3>";
    case LOG_WARN:
        return "<4>";
    case LOG_INFO:
        return "<6>";
    case LOG_DEBUG:
        return "<7>";
    }
    return "<6>";
}

/* systemd sets JOURNAL_STREAM=device:inode; a child with another standard error inherits the
 * variable, so the numbers are compared. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return false;
    char mine[64];
    (void)snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, mine) == 0;
}

void log_init(const struct log_opts *opts, const char *process)
{
    state.opts = *opts;
    state.process = process;
    state.journal = is_journal();
}

bool log_enabled(enum log_level level)
{
    return level <= state.opts.level;
}

void log_set_sink(log_sink_fn sink, void *ctx)
{
    state.sink = sink;
    state.sink_ctx = ctx;
}

static void put(struct line *l, const char *text)
{
    size_t len = strlen(text);
    size_t room = sizeof l->text - 1 - l->len;
    if (len > room)
        len = room;
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

/* One event stays one line, whatever somebody wrote into a name: controls are escaped, and
 * what is no UTF-8 becomes a question mark.  JSON wants quotes escaped as well.  The line
 * stays within limit. */
static void put_escaped(struct line *l, const char *text, bool json, size_t limit)
{
    size_t left = strlen(text);
    while (left > 0) {
        char piece[8];
        unsigned char c = (unsigned char)*text;
        size_t len = utf8_char(text, left);
        if (c < 0x20 || c == 0x7F) {
            (void)snprintf(piece, sizeof piece, json ? "\\u%04x" : "\\x%02x", c);
        } else if (json && (c == '"' || c == '\\')) {
            (void)snprintf(piece, sizeof piece, "\\%c", c);
        } else if (len == 0) {
            (void)snprintf(piece, sizeof piece, "?");
        } else {
            memcpy(piece, text, len);
            piece[len] = '\0';
        }
        if (l->len + strlen(piece) > limit)
            return;
        put(l, piece);
        text += len ? len : 1;
        left -= len ? len : 1;
    }
}

static void make_text(struct line *l, enum log_level level, const char *prefix,
                      const char *text)
{
    if (!state.journal) {
        char now[DATETIME_BYTES];
        datetime_format(clock_real_us(), now);
        put(l, "time=");
        put(l, now);
        put(l, " ");
    }
    put(l, "level=");
    put(l, level_name(level));
    put(l, " process=");
    put(l, state.process);
    if (prefix && *prefix) {
        put(l, " ");
        put_escaped(l, prefix, false, PREFIX_END);
    }
    put(l, " ");
    put_escaped(l, text, false, TEXT_END);
}

static void make_json(struct line *l, enum log_level level, const char *prefix,
                      const char *text)
{
    char now[DATETIME_BYTES];
    datetime_format(clock_real_us(), now);
    put(l, "{\"time\":\"");
    put(l, now);
    put(l, "\",\"level\":\"");
    put(l, level_name(level));
    put(l, "\",\"process\":\"");
    put_escaped(l, state.process, true, PREFIX_END);
    if (prefix && *prefix) {
        put(l, "\",\"object\":\"");
        put_escaped(l, prefix, true, PREFIX_END);
    }
    put(l, "\",\"text\":\"");
    put_escaped(l, text, true, TEXT_END);
    put(l, "\"}");
}

static void write_all(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* there is nowhere left to say so */
        data += n;
        len -= (size_t)n;
    }
}

void log_line(enum log_level level, const char *prefix, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char text[TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int want = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (want < 0)
        text[0] = '\0';
    else if ((size_t)want >= sizeof text)
        text[utf8_cut(text, sizeof text - 1, sizeof text - 4)] = '\0';

    struct line l = {.len = 0};
    if (state.journal && !state.sink)
        put(&l, level_priority(level));
    if (state.opts.format == LOG_JSON)
        make_json(&l, level, prefix, text);
    else
        make_text(&l, level, prefix, text);
    if (state.sink) {
        l.text[l.len] = '\0';
        state.sink(state.sink_ctx, level, l.text);
    } else {
        l.text[l.len++] = '\n';
        write_all(l.text, l.len);
    }
    errno = saved_errno;
}
