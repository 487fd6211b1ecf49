// SPDX-License-Identifier: Apache-2.0
/* The parts of the gateway and its options; main.c makes and frees them. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/gateway/stats.h"
#include "tests/gateway/text.h"

struct event_base;
struct gw_control;
struct gw_devices;
struct gw_jwts;
struct gw_oauth;
struct gw_pushes;
struct gw_scripts;
struct gw_server;

enum gw_service { GW_APNS, GW_FCM, GW_WEBPUSH };

struct gw_opts {
    const char *listen, *control;
    const char *fcm_listen;     /* NULL: no FCM side */
    const char *webpush_listen; /* NULL: no Web Push side */
    const char *cert_file, *key_file, *client_ca_file, *ready_file;
    bool accept_all; /* no checks, nothing recorded: for benchmarks */
    bool token_any;  /* a token nobody registered is good for every topic */
    bool sandbox;    /* answers carry apns-unique-id */
    uint32_t max_streams, initial_window;
    uint32_t fcm_streams;
    int fcm_idle_ms, fcm_age_ms; /* then a connection is asked to go */
    size_t keep;                 /* pushes remembered */
};

struct gateway {
    struct event_base *base;
    struct gw_opts opts;
    uint32_t max_streams; /* of now; POST /max_streams changes it */
    bool ping_ack;
    bool released; /* what a script holds is let go; so is what comes, until the next script */
    struct gw_stats stats;
    struct gw_devices *devices;
    struct gw_jwts *jwts;
    struct gw_oauth *oauth;
    struct gw_pushes *pushes;
    struct gw_scripts *scripts;
    struct gw_server *server, *fcm_server; /* fcm_server: NULL without FCM side */
    struct gw_server *webpush_server;      /* NULL without Web Push side */
    bool webpush_http1;                    /* it speaks only that */
    struct gw_numbers webpush_jwts;
    struct gw_control *control;
};

#endif
