// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/options.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "loadgen plays an ejabberd for xmpp-sidecar: it listens on 127.0.0.1 (nowhere else), "
    "lets\n"
    "one component connect, sends copies of made-up messages at a fixed rate, whatever the\n"
    "answers, and prints one JSON object with what it measured.\n"
    "\n"
    "loadgen --spool DIRECTORY --port PORT --secret TEXT [OPTION VALUE ...]\n"
    "\n"
    "  --spool DIRECTORY   spool.directory of the sidecar: tells what is committed\n"
    "  --port PORT         xmpp.port\n"
    "  --secret TEXT       xmpp.secret\n"
    "  --component NAME    xmpp.component (sidecar.e.test)\n"
    "  --domain NAME       of xmpp.domains (e.test)\n"
    "  --rate N            messages a second, at random intervals (1000)\n"
    "  --seconds N         how long, at most 3600 (10)\n"
    "  --count N           no more messages than this (no limit but the time)\n"
    "  --mix NAME          typical: with chat states, receipts, markers, presence, IQs, "
    "offline\n"
    "                      and remote users; plain: messages only, two copies each (typical)\n"
    "  --mam N             archive queries a second (10)\n"
    "  --iqs N             disco and ping requests a second (10)\n"
    "  --accounts N        at most 1000000 (100000)\n"
    "  --sessions N        first so many accounts are told as online at the start (1000)\n"
    "  --seed N            of who writes when, of ids and texts (1)\n"
    "  --written FILE      a line for each message: microseconds since 1970 when it was\n"
    "                      written, sender, recipient\n"
    "  --window N          seconds; the result has a row for each (10)\n"
    "  --wait N            seconds for the component to come up (30)\n"
    "  --drain N           seconds for the rest to be committed and answered (30)\n"
    "\n"
    "Exit status 0: all was committed and answered; 1: not; 64: wrong options.\n";

enum option_type { OPTION_TEXT, OPTION_REAL, OPTION_UNSIGNED, OPTION_WIDE, OPTION_PORT };

struct option_row {
    const char *name;
    enum option_type type;
    size_t at; /* in struct options */
    double min, max;
};

#define ROW(name, type, field, min, max)                                                      \
    {                                                                                         \
        name, OPTION_##type, offsetof(struct options, field), min, max                        \
    }

static const struct option_row rows[] = {
    ROW("--spool", TEXT, spool, 0, 0),
    ROW("--port", PORT, port, 1, 65535),
    ROW("--secret", TEXT, secret, 0, 0),
    ROW("--written", TEXT, written, 0, 0),
    ROW("--component", TEXT, component, 0, 0),
    ROW("--domain", TEXT, domain, 0, 0),
    ROW("--rate", REAL, rate, 0.1, OPTIONS_RATE_MAX),
    ROW("--seconds", UNSIGNED, seconds, 1, OPTIONS_SECONDS_MAX),
    ROW("--count", WIDE, count, 1, (double)OPTIONS_SECONDS_MAX *OPTIONS_RATE_MAX),
    ROW("--mam", REAL, mam, 0, 1000),
    ROW("--iqs", REAL, iqs, 0, 1000),
    ROW("--accounts", UNSIGNED, accounts, 100, PEOPLE_ACCOUNTS_MAX),
    ROW("--sessions", UNSIGNED, sessions, 0, PEOPLE_ACCOUNTS_MAX),
    ROW("--seed", WIDE, seed, 0, 1e15),
    ROW("--window", UNSIGNED, window, 1, OPTIONS_SECONDS_MAX),
    ROW("--wait", UNSIGNED, wait, 1, 600),
    ROW("--drain", UNSIGNED, drain, 1, 600),
};

static enum options_answer wrong(const char *what, const char *why)
{
    fprintf(stderr, "loadgen: %s %s (--help says more)\n", what, why);
    return OPTIONS_WRONG;
}

static enum options_answer set_number(struct options *o, const struct option_row *row,
                                      const char *text)
{
    char *end, why[96];
    errno = 0;
    double v = strtod(text, &end);
    bool whole = row->type == OPTION_REAL || v == floor(v);
    if (errno || end == text || *end || !whole || !(v >= row->min && v <= row->max)) {
        snprintf(why, sizeof why, "must be a number from %.12g to %.12g", row->min, row->max);
        return wrong(row->name, why);
    }
    void *at = (char *)o + row->at;
    switch (row->type) {
    case OPTION_TEXT:
        break;
    case OPTION_REAL:
        *(double *)at = v;
        break;
    case OPTION_UNSIGNED:
        *(unsigned *)at = (unsigned)v;
        break;
    case OPTION_WIDE:
        *(uint64_t *)at = (uint64_t)v;
        break;
    case OPTION_PORT:
        *(uint16_t *)at = (uint16_t)v;
        break;
    }
    return OPTIONS_RUN;
}

static enum options_answer set_mix(struct options *o, const char *name)
{
    if (strcmp(name, "typical") == 0)
        o->mix = traffic_typical;
    else if (strcmp(name, "plain") == 0)
        o->mix = traffic_plain;
    else
        return wrong("--mix", "is typical or plain");
    return OPTIONS_RUN;
}

static enum options_answer set(struct options *o, const char *name, const char *value)
{
    if (strcmp(name, "--mix") == 0)
        return set_mix(o, value);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        if (rows[i].type != OPTION_TEXT)
            return set_number(o, &rows[i], value);
        *(const char **)(void *)((char *)o + rows[i].at) = value;
        return OPTIONS_RUN;
    }
    return wrong(name, "is no option");
}

enum options_answer options_read(struct options *o, int argc, char **argv)
{
    *o = (struct options){.component = "sidecar.e.test",
                          .domain = "e.test",
                          .rate = 1000,
                          .mam = 10,
                          .iqs = 10,
                          .seconds = 10,
                          .count = UINT64_MAX,
                          .accounts = 100000,
                          .sessions = 1000,
                          .seed = 1,
                          .window = 10,
                          .wait = 30,
                          .drain = 30,
                          .mix = traffic_typical};
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return OPTIONS_HELPED;
        }
        if (i + 1 == argc)
            return wrong(argv[i], "needs a value");
        enum options_answer answer = set(o, argv[i], argv[i + 1]);
        if (answer != OPTIONS_RUN)
            return answer;
    }
    if (!o->spool || !o->secret || !o->port)
        return wrong("--spool, --secret and --port", "are needed");
    return OPTIONS_RUN;
}
