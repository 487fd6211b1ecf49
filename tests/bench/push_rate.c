// SPDX-License-Identifier: Apache-2.0
/*
 * How many pushes per second one gateway object makes: every push has an id of its own and a
 * payload built for it, and its answer is read before its place is given to the next.
 *
 * push_rate PORT CA.pem KEY.pem PUSHES IN-FLIGHT DEVICES [BYTES] prints one JSON object; the
 * devices are the numbers 0 ... DEVICES-1 in 64 hex digits, a payload has so many bytes, or as
 * few as an alert needs.  push_rate payload [BYTES] prints one payload.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "apns/gateway.h"
#include "apns/gateway_int.h"
#include "apns/opts.h"
#include "apns/payload.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"

struct run {
    struct event_base *base;
    struct gateway *gateway;
    unsigned long warm_up, pushes, submitted, answered;
    unsigned long rejected; /* for their device, which is the service's word */
    unsigned long refused;  /* otherwise not accepted */
    unsigned devices;
    uint64_t seed;
    struct buf payload;
    char body[PAYLOAD_MAX]; /* "" is none */
    char *tokens;           /* 65 bytes each */
    int64_t start_us, end_us;
    struct rusage cpu_start, cpu_end;
};

/* Ids need to differ, not to be secret. */
static uint64_t next_random(struct run *r)
{
    uint64_t z = (r->seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void build_payload(struct run *r)
{
    const struct payload_alert_opts alert = {
        .content = r->body[0] ? PUSH_CONTENT_BODY : PUSH_CONTENT_SENDER,
        .body = r->body,
        .sender = "juliet@example.org",
        .badge = (unsigned)(r->submitted % 99 + 1),
        .sound = "default",
        .thread = "0123456789abcdef",
    };
    buf_reset(&r->payload);
    payload_alert(&r->payload, &alert);
}

static void submit_one(struct run *r)
{
    build_payload(r);
    struct push_request push = {
        .token = r->tokens + (size_t)65 * (r->submitted % r->devices),
        .type = PUSH_ALERT,
        .priority = 10,
        .expiration_s = 1900000000,
        .collapse_id = "0123456789abcdef",
        .payload = buf_data(&r->payload),
        .payload_len = buf_len(&r->payload),
        .ctx = r,
    };
    uint64_t id[2] = {next_random(r), next_random(r)};
    memcpy(push.apns_id, id, sizeof id);
    if (!gateway_submit(r->gateway, &push)) {
        fprintf(stderr, "no room in the gateway\n");
        exit(1);
    }
    r->submitted++;
}

static void on_verdict(void *ctx, void *request_ctx, const struct push_verdict *v)
{
    (void)ctx;
    struct run *r = request_ctx;
    r->answered++;
    r->rejected += v->reaction == PUSH_SUSPECT;
    if (v->reaction != PUSH_DONE && v->reaction != PUSH_SUSPECT && r->refused++ == 0)
        fprintf(stderr, "%s: %d %s\n", push_reaction_name(v->reaction), v->status, v->reason);
    if (r->answered == r->warm_up) {
        r->start_us = clock_real_us();
        getrusage(RUSAGE_SELF, &r->cpu_start);
    }
    if (r->answered == r->warm_up + r->pushes) {
        r->end_us = clock_real_us();
        getrusage(RUSAGE_SELF, &r->cpu_end);
        event_base_loopbreak(r->base);
    }
    if (r->submitted < r->warm_up + r->pushes)
        submit_one(r);
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = calloc(1, 65536);
    if (!f || !text || fread(text, 1, 65535, f) == 0) {
        perror(path);
        exit(1);
    }
    fclose(f);
    return text;
}

static double cpu_us(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e6 +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static void print_result(const struct run *r)
{
    double seconds = (double)(r->end_us - r->start_us) / 1e6;
    printf("{\"rate\": %.0f, \"cpu_us\": %.3f, \"rss_kb\": %ld, \"rejected\": %lu,"
           " \"refused\": %lu}\n",
           (double)r->pushes / seconds,
           (cpu_us(&r->cpu_end) - cpu_us(&r->cpu_start)) / (double)r->pushes,
           r->cpu_end.ru_maxrss, r->rejected, r->refused);
}

static void init(struct run *r)
{
    const struct log_opts log = {.level = LOG_WARN, .format = LOG_TEXT};
    signal(SIGPIPE, SIG_IGN);
    log_init(&log, "bench");
    buf_init(&r->payload, PAYLOAD_MAX);
    r->seed = crypt_random_u64();
}

/* A text that makes the payload that long; a longer one than there can be changes nothing. */
static void set_size(struct run *r, unsigned long bytes)
{
    build_payload(r);
    size_t least = buf_len(&r->payload) - strlen("New message");
    if (bytes > least + 1 && bytes < sizeof r->body)
        memset(r->body, 'x', bytes - least);
}

static int print_payload(const char *bytes)
{
    struct run r = {.submitted = 41};
    init(&r);
    set_size(&r, bytes ? strtoul(bytes, NULL, 10) : 0);
    build_payload(&r);
    fwrite(buf_data(&r.payload), 1, buf_len(&r.payload), stdout);
    buf_deinit(&r.payload);
    return 0;
}

static void make_tokens(struct run *r)
{
    r->tokens = malloc((size_t)r->devices * 65);
    if (!r->tokens)
        exit(1);
    for (unsigned i = 0; i < r->devices; i++)
        snprintf(r->tokens + (size_t)65 * i, 65, "%064x", i);
}

int main(int argc, char **argv)
{
    if (argc >= 2 && argc <= 3 && strcmp(argv[1], "payload") == 0)
        return print_payload(argv[2]);
    const bool good = argc == 7 || argc == 8;
    struct run r = {.pushes = good ? strtoul(argv[4], NULL, 10) : 0};
    unsigned long in_flight = good ? strtoul(argv[5], NULL, 10) : 0;
    r.devices = good ? (unsigned)strtoul(argv[6], NULL, 10) : 0;
    r.warm_up = r.pushes / 10;
    if (r.devices == 0 || in_flight == 0 || r.warm_up == 0) {
        fprintf(stderr, "push_rate PORT CA.pem KEY.pem PUSHES IN-FLIGHT DEVICES [BYTES]\n");
        return 64;
    }
    init(&r);
    r.submitted = 41; /* a badge of two digits, as most of them are */
    set_size(&r, argc == 8 ? strtoul(argv[7], NULL, 10) : 0);
    r.submitted = 0;
    make_tokens(&r);
    char *ca_pem = read_file(argv[2]), *key_pem = read_file(argv[3]);
    const struct apns_app_opts app = {.id = "bench",
                                      .topic = "org.example.chat",
                                      .key_pem = key_pem,
                                      .key_id = "ABC123DEFG",
                                      .team_id = "TEAM123456",
                                      .host = "127.0.0.1",
                                      .port = (uint16_t)strtoul(argv[1], NULL, 10),
                                      .ca_pem = ca_pem};
    const struct gateway_events events = {.verdict = on_verdict};
    struct gateway_tuning one = gateway_tuning_default;
    one.pool.members_max = 1;
    struct err e;
    r.base = event_base_new();
    if (!r.base || gateway_new_tuned(r.base, &app, &events, &one, &r.gateway, &e)) {
        fprintf(stderr, "%s\n", r.base ? e.text : "no event base");
        return 1;
    }
    for (unsigned long i = 0; i < in_flight; i++)
        submit_one(&r);
    event_base_dispatch(r.base);
    print_result(&r);
    gateway_free(&r.gateway);
    event_base_free(r.base);
    buf_deinit(&r.payload);
    free(r.tokens);
    free(ca_pem);
    free(key_pem);
    return r.refused == 0 ? 0 : 1;
}
