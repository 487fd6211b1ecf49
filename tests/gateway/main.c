// SPDX-License-Identifier: Apache-2.0
/*
 * strict-gateway, installed as xmpp-sidecar-gateway (see man/): a stand-in for Apple's push
 * gateway and, on ports of their own, Google's and a Web Push service, for tests, the demo,
 * benchmarks, and whoever writes an app or another sender.  It speaks HTTP/2 over TLS as they
 * do and is stricter than the real ones, so that a mistake of the sender fails here and not at
 * a customer's. As APNs stricter in:
 *
 *  - ALPN h2 is demanded, and :authority
 *  - a header name given twice is DuplicateHeaders; one in upper case or otherwise
 *    against HTTP/2 resets the stream; so does a header list above the 8000 announced
 *  - apns-id must be in lower case; apns-push-type must be there and known, and the
 *    topic must have that type's suffix and no other (BadTopic)
 *  - an empty collapse id is BadCollapseId; an apns-expiration that is no plain number is
 *    BadExpirationDate
 *  - background with priority 10 (also by leaving the priority out) is BadPriority;
 *    background with alert, badge or sound, or without content-available 1, is
 *    InvalidPushType; pushtotalk needs priority 10 and expiration 0
 *  - device tokens have exactly 64 hex digits
 *  - the payload must be JSON by RFC 8259 (also its UTF-8 and control characters), with
 *    an aps object (mdm: a string mdm) whose members have their types and known words:
 *    else BadPayload, a reason Apple does not have
 *  - a provider token from more than a minute ahead of our clock is InvalidProviderToken;
 *    a change of it on one connection within 20 minutes is TooManyProviderTokenUpdates,
 *    counted by iat
 *  - a provider token beside a client certificate is a violation, and so is a text beside
 *    the name of one of the app's, or arguments without it
 *  - each rejection lowers the limit of streams to 1 until the next accepted push, and
 *    the first stream above an acknowledged limit ends the connection
 *
 * As FCM (OAuth token endpoint /token, and messages:send of one project) stricter in:
 *
 *  - an assertion has just the header and the claims that are asked for, its iat is not a
 *    second ahead of our clock, and the audience is our own address
 *  - a field that the v1 reference does not name, or that is there twice, and a value of
 *    another type or out of range are INVALID_ARGUMENT with the field's path
 *  - the whole message is at most 4096 bytes
 *  - a registration token has the form of one; another project's is SENDER_ID_MISMATCH
 *  - a text beside the name of one of the app's, which Android would not look at, is a
 *    violation
 *  - data alone is not urgent on iOS (apns-priority 5); a device gets 240 messages a minute
 *  - one stream above the limit ends the connection, and so does the third PING that comes
 *    without anything to do
 *
 * As a Web Push service (HTTP/2, or HTTP/1.1 alone when told so) stricter in:
 *
 *  - TTL and Urgency must be there, a Topic is 1 to 32 characters of base64url, no header is
 *    there twice
 *  - a VAPID token (RFC 8292) is demanded: its audience is our origin as the request names it,
 *    it ends within a day, it has a subject and both header fields, its signature is raw and
 *    good for the key it comes with, which is the one the subscription was registered with
 *  - the body is one record of aes128gcm with an uncompressed P-256 key, 4096 bytes at most
 *  - HTTP/1.1 has one Host, one Content-Length, nothing folded, and waits for the answer
 *
 * What it does for a test beyond that is listed in control.c.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "tests/gateway/control.h"
#include "tests/gateway/devices.h"
#include "tests/gateway/gateway.h"
#include "tests/gateway/jwt_check.h"
#include "tests/gateway/oauth.h"
#include "tests/gateway/pushes.h"
#include "tests/gateway/script.h"
#include "tests/gateway/server.h"
#include "tests/gateway/text.h"

static const char usage[] =
    "usage: strict-gateway --listen HOST:PORT --control HOST:PORT --cert FILE --key FILE ...\n"
    "  --auth-key KID:TEAM:PUBLIC.pem[:TOPIC,TOPIC]  whose provider tokens are good\n"
    "  --client-ca FILE       accepts client certificates of this authority too\n"
    "  --token-any            unregistered device tokens are good for any topic\n"
    "  --max-streams N        after the first accepted push (1000)\n"
    "  --initial-window N     bytes the client may send ahead per stream (65535)\n"
    "  --keep N               pushes remembered (200000)\n"
    "  --sandbox              answers carry apns-unique-id\n"
    "  --fcm HOST:PORT        speaks as FCM there, with:\n"
    "  --fcm-account PROJECT:EMAIL:KID:PUBLIC.pem  whose assertions are good\n"
    "  --fcm-streams N        at once (100)\n"
    "  --fcm-idle-ms N        until session_timeout (240000)\n"
    "  --fcm-age-ms N         until max_age (3600000)\n"
    "  --webpush HOST:PORT    speaks as a Web Push service there\n"
    "  --accept-all           no checks, no record: for benchmarks\n"
    "  --ready-file FILE      where to write the ports, as on standard output\n";

static const struct option long_options[] = {
    {"listen", required_argument, NULL, 'l'},
    {"control", required_argument, NULL, 'c'},
    {"cert", required_argument, NULL, 'e'},
    {"key", required_argument, NULL, 'k'},
    {"auth-key", required_argument, NULL, 'a'},
    {"client-ca", required_argument, NULL, 'C'},
    {"token-any", no_argument, NULL, 't'},
    {"max-streams", required_argument, NULL, 'm'},
    {"initial-window", required_argument, NULL, 'w'},
    {"keep", required_argument, NULL, 'K'},
    {"sandbox", no_argument, NULL, 's'},
    {"accept-all", no_argument, NULL, 'A'},
    {"ready-file", required_argument, NULL, 'r'},
    {"fcm", required_argument, NULL, 'f'},
    {"fcm-account", required_argument, NULL, 'F'},
    {"webpush", required_argument, NULL, 'W'},
    {"fcm-streams", required_argument, NULL, 'S'},
    {"fcm-idle-ms", required_argument, NULL, 'I'},
    {"fcm-age-ms", required_argument, NULL, 'G'},
    {NULL, 0, NULL, 0},
};

static bool read_number(const char *s, unsigned long max, unsigned long *out)
{
    char *end;

    errno = 0;
    *out = strtoul(s, &end, 10);
    if (errno == 0 && end != s && *end == '\0' && *s != '-' && *out <= max)
        return true;
    fprintf(stderr, "%s: not a number from 0 to %lu\n", s, max);
    return false;
}

static bool read_fcm_option(struct gateway *gw, int option, const char *value)
{
    struct gw_opts *o = &gw->opts;
    unsigned long n = 0;

    switch (option) {
    case 'f':
        o->fcm_listen = value;
        return true;
    case 'W':
        o->webpush_listen = value;
        return true;
    case 'F':
        return gw_oauth_set_account(gw->oauth, value);
    case 'S':
        if (!read_number(value, 1000000, &n) || n == 0)
            return false;
        o->fcm_streams = (uint32_t)n;
        return true;
    case 'I':
    case 'G':
        if (!read_number(value, INT32_MAX, &n))
            return false;
        *(option == 'I' ? &o->fcm_idle_ms : &o->fcm_age_ms) = (int)n;
        return true;
    default:
        return false;
    }
}

static bool read_option(struct gateway *gw, int option, const char *value)
{
    struct gw_opts *o = &gw->opts;
    unsigned long n = 0;

    switch (option) {
    case 'l':
        o->listen = value;
        return true;
    case 'c':
        o->control = value;
        return true;
    case 'e':
        o->cert_file = value;
        return true;
    case 'k':
        o->key_file = value;
        return true;
    case 'a':
        return gw_jwts_add_key(gw->jwts, value);
    case 'C':
        o->client_ca_file = value;
        return true;
    case 't':
        o->token_any = true;
        return true;
    case 'm':
        if (!read_number(value, 1000000, &n) || n == 0)
            return false;
        o->max_streams = (uint32_t)n;
        return true;
    case 'w':
        if (!read_number(value, INT32_MAX, &n))
            return false;
        o->initial_window = (uint32_t)n;
        return true;
    case 'K':
        if (!read_number(value, 10000000, &n))
            return false;
        o->keep = n;
        return true;
    case 's':
        o->sandbox = true;
        return true;
    case 'A':
        o->accept_all = true;
        return true;
    case 'r':
        o->ready_file = value;
        return true;
    default:
        return read_fcm_option(gw, option, value);
    }
}

static bool read_options(struct gateway *gw, int argc, char **argv)
{
    const struct gw_opts *o = &gw->opts;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!read_option(gw, option, optarg))
            return false;
    if (optind != argc || o->listen == NULL || o->control == NULL || o->cert_file == NULL ||
        o->key_file == NULL)
        return false;
    if (gw_jwts_keys(gw->jwts) == 0 && o->client_ca_file == NULL && !o->accept_all) {
        fprintf(stderr, "one of --auth-key, --client-ca, --accept-all is needed\n");
        return false;
    }
    if ((o->fcm_listen != NULL) != gw_oauth_has_account(gw->oauth)) {
        fprintf(stderr, "--fcm and --fcm-account belong together\n");
        return false;
    }
    return true;
}

/* Whoever sees the ready file sees all of it: it gets its name last. */
static bool write_ready(const struct gateway *gw)
{
    struct gw_text line = {0}, temporary = {0};
    FILE *f;
    bool ok = true;

    gw_text_printf(&line, "{\"apns\":%u,\"control\":%u", gw_server_port(gw->server),
                   gw_control_port(gw->control));
    if (gw->fcm_server != NULL)
        gw_text_printf(&line, ",\"fcm\":%u", gw_server_port(gw->fcm_server));
    if (gw->webpush_server != NULL)
        gw_text_printf(&line, ",\"webpush\":%u", gw_server_port(gw->webpush_server));
    gw_text_puts(&line, "}\n");
    fputs(line.s, stdout);
    fflush(stdout);
    if (gw->opts.ready_file != NULL) {
        gw_text_printf(&temporary, "%s.new", gw->opts.ready_file);
        f = fopen(temporary.s, "we");
        ok = f != NULL && fputs(line.s, f) >= 0;
        if (f != NULL && fclose(f) != 0)
            ok = false;
        if (!ok || rename(temporary.s, gw->opts.ready_file) != 0) {
            perror(gw->opts.ready_file);
            ok = false;
        }
    }
    gw_text_free(&line);
    gw_text_free(&temporary);
    return ok;
}

static void on_signal(evutil_socket_t number, short what, void *ctx)
{
    (void)number;
    (void)what;
    event_base_loopbreak(ctx);
}

static int run(struct gateway *gw)
{
    struct event *term, *interrupt;
    int rc = EX_UNAVAILABLE;

    term = evsignal_new(gw->base, SIGTERM, on_signal, gw->base);
    interrupt = evsignal_new(gw->base, SIGINT, on_signal, gw->base);
    event_add(term, NULL);
    event_add(interrupt, NULL);
    gw->pushes = gw_pushes_new(gw->opts.keep);
    gw->devices = gw_devices_new();
    gw->scripts = gw_scripts_new();
    gw->control = gw_control_new(gw);
    gw->server = gw_server_new(gw, GW_APNS, gw->opts.listen);
    if (gw->opts.fcm_listen != NULL)
        gw->fcm_server = gw_server_new(gw, GW_FCM, gw->opts.fcm_listen);
    if (gw->opts.webpush_listen != NULL)
        gw->webpush_server = gw_server_new(gw, GW_WEBPUSH, gw->opts.webpush_listen);
    if (gw->control != NULL && gw->server != NULL &&
        (gw->webpush_server != NULL || gw->opts.webpush_listen == NULL) &&
        (gw->fcm_server != NULL || gw->opts.fcm_listen == NULL) && write_ready(gw)) {
        event_base_dispatch(gw->base);
        rc = 0;
    }
    gw_server_free(&gw->server);
    gw_server_free(&gw->fcm_server);
    gw_server_free(&gw->webpush_server);
    gw_numbers_free(&gw->webpush_jwts);
    gw_control_free(&gw->control);
    gw_scripts_free(&gw->scripts);
    gw_devices_free(&gw->devices);
    gw_pushes_free(&gw->pushes);
    event_free(term);
    event_free(interrupt);
    return rc;
}

int main(int argc, char **argv)
{
    struct gateway gw = {
        .opts = {.max_streams = 1000,
                 .initial_window = 65535,
                 .keep = 200000,
                 .fcm_streams = 100,
                 .fcm_idle_ms = 240000,
                 .fcm_age_ms = 3600000},
        .ping_ack = true,
    };
    int rc = EX_USAGE;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return EX_OK;
    }
    signal(SIGPIPE, SIG_IGN);
    gw.jwts = gw_jwts_new();
    gw.oauth = gw_oauth_new();
    if (read_options(&gw, argc, argv)) {
        gw.max_streams = gw.opts.max_streams;
        gw.base = event_base_new();
        rc = run(&gw);
        event_base_free(gw.base);
    } else {
        fputs(usage, stderr);
    }
    gw_jwts_free(&gw.jwts);
    gw_oauth_free(&gw.oauth);
    return rc;
}
