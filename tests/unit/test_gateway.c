// SPDX-License-Identifier: Apache-2.0
/* A gateway as APNs wants it. */
#include "tests/unit/gateway_world.h"

/* --- tests --- */

static void a_push_connects_and_is_accepted(void **state)
{
    (void)state;
    start();
    assert_int_equal(status().state, GATEWAY_IDLE);
    assert_int_equal(gateway_room(w.gateway), 2000);
    assert_true(submit(ALERT, "thread"));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    const struct peer_request *r = request(0, 0);
    assert_string_equal(r->topic, "org.example.chat");
    assert_string_equal(r->type, "alert");
    assert_string_equal(r->priority, "10");
    assert_string_equal(r->expiration, "1900000000");
    assert_string_equal(r->collapse_id, "thread");
    assert_string_equal(r->apns_id, "00000000-0000-0000-0000-000000000000");
    assert_memory_equal(r->body, ALERT, strlen(ALERT));
    char authority[32];
    snprintf(authority, sizeof authority, "127.0.0.1:%u", w.server.port);
    assert_string_equal(r->authority, authority);
    struct gateway_status s = status();
    assert_int_equal(s.state, GATEWAY_UP);
    assert_int_equal(s.connections, 1);
    assert_int_equal(s.stream_limit, 100);
    assert_int_equal(s.sent, 1);
    assert_int_equal(s.accepted, 1);
    assert_int_equal(s.in_flight + s.queued, 0);
}

static void a_host_name_is_looked_up_and_checked(void **state)
{
    (void)state;
    w.opts.host = "localhost";
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
}

static void a_voip_push_has_its_own_topic(void **state)
{
    (void)state;
    start();
    struct push_request push = {.token = "ABCDEF0123",
                                .type = PUSH_VOIP,
                                .priority = 10,
                                .payload = (const uint8_t *)ALERT,
                                .payload_len = strlen(ALERT),
                                .ctx = &w.results[0]};
    assert_true(gateway_submit(w.gateway, &push));
    w.submitted = 1;
    RUN_UNTIL(w.done == 1);
    assert_string_equal(request(0, 0)->topic, "org.example.chat.voip");
    assert_string_equal(request(0, 0)->type, "voip");
    assert_string_equal(request(0, 0)->path, "/3/device/ABCDEF0123");
    assert_string_equal(request(0, 0)->expiration, "0");
}

static void a_thousand_pushes_stay_within_the_limit(void **state)
{
    (void)state;
    w.server.streams = 30;
    w.tuning.pool.members_max = 1;
    start();
    submit_all(1000, ALERT, NULL);
    RUN_UNTIL(w.done == 1000);
    for (size_t i = 0; i < 1000; i++) {
        expect(i, PUSH_DONE, 200, "");
        assert_int_equal(deliveries(i), 1);
    }
    assert_int_equal(w.server.n, 1);
    assert_true(w.server.links[0]->peer.open_max <= 30);
}

static void goaway_every_20(struct link *l, struct peer_request *r)
{
    if (l->handled < 20)
        answer_ok(l, r);
    else if (l->handled == 20)
        peer_goaway(&l->peer, r->stream_id - 2, NGHTTP2_NO_ERROR, "{\"reason\":\"Shutdown\"}");
}

static void goaway_loses_and_doubles_nothing(void **state)
{
    (void)state;
    w.server.handle = goaway_every_20;
    w.server.streams = 60; /* three connections refuse the last one: fewer than resends_max */
    start();
    submit_all(500, ALERT, NULL);
    RUN_UNTIL(w.done == 500);
    for (size_t i = 0; i < 500; i++) {
        expect(i, PUSH_DONE, 200, "");
        assert_int_equal(deliveries(i), 1);
    }
    assert_true(w.server.n >= 26);
    assert_true(status().resent > 0);
}

static void goaway_without_an_answer(struct link *l, struct peer_request *r)
{
    peer_goaway(&l->peer, r->stream_id, NGHTTP2_NO_ERROR, "{}");
}

static void while_all_connections_drain_it_waits_for_one_of_them(void **state)
{
    (void)state;
    w.server.handle = goaway_without_an_answer;
    w.tuning.pool.drain_ms = 60000;
    start();
    submit_all(40, ALERT, NULL);
    RUN_UNTIL(w.server.requests == 16);
    for (int i = 0; i < 20; i++)
        turn_loop();
    assert_int_equal(w.server.n, 16);
    assert_true(w.gateway->armed_ms > clock_mono_ms() + 1000);
    answer_ok(w.server.links[0], w.server.links[0]->peer.requests[0]);
    link_write(w.server.links[0]);
    RUN_UNTIL(w.server.n == 17);
}

static void expired_on_first_link(struct link *l, struct peer_request *r)
{
    if (l->index == 0 && l->server->requests > 1)
        peer_answer(&l->peer, r, 403, "{\"reason\":\"ExpiredProviderToken\"}");
    else
        answer_ok(l, r);
}

static void an_expired_token_is_renewed_on_a_new_connection(void **state)
{
    (void)state;
    w.server.handle = expired_on_first_link;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    submit_all(50, ALERT, NULL);
    RUN_UNTIL(w.done == 51);
    for (size_t i = 0; i < 51; i++)
        expect(i, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    for (size_t i = 1; i < w.server.links[1]->peer.n; i++) {
        assert_string_equal(request(1, i)->authorization, request(1, 0)->authorization);
        assert_string_not_equal(request(1, i)->authorization, request(0, 0)->authorization);
    }
    assert_int_equal(status().state, GATEWAY_UP);
    assert_int_equal(w.errors_logged, 0);
}

static void expired_always(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 403, "{\"reason\":\"ExpiredProviderToken\"}");
}

static void a_token_expired_again_at_once_stops_the_app(void **state)
{
    (void)state;
    w.server.handle = expired_always;
    start();
    submit_all(5, ALERT, NULL);
    RUN_UNTIL(w.done == 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(w.results[i].v.reaction, PUSH_APP_STOPPED);
    assert_int_equal(status().state, GATEWAY_STOPPED);
    assert_string_equal(status().reason, "ExpiredProviderToken");
    assert_int_equal(w.server.requests, 2); /* one renewal, no more */
    assert_int_equal(w.errors_logged, 1);
}

static void invalid_until_told(struct link *l, struct peer_request *r)
{
    if (w.resubmit_on_room)
        answer_ok(l, r);
    else
        peer_answer(&l->peer, r, 403, "{\"reason\":\"InvalidProviderToken\"}");
}

static void a_stopped_app_tries_one_push_now_and_then(void **state)
{
    (void)state;
    w.server.handle = invalid_until_told;
    w.tuning.probe_ms = 400;
    start();
    submit_all(100, ALERT, NULL);
    RUN_UNTIL(w.done == 100);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(w.results[i].v.reaction, PUSH_APP_STOPPED);
        assert_string_equal(w.results[i].v.reason, "InvalidProviderToken");
    }
    assert_int_equal(w.server.requests, 2);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.room_events == 1);
    assert_int_equal(gateway_room(w.gateway), 1);
    assert_true(submit(ALERT, NULL)); /* still wrong */
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 101);
    assert_int_equal(w.results[100].v.reaction, PUSH_APP_STOPPED);
    assert_int_equal(status().state, GATEWAY_STOPPED);
    w.resubmit_on_room = true; /* from now on the server is content */
    RUN_UNTIL(w.done == 102);
    expect(101, PUSH_DONE, 200, "");
    w.resubmit_on_room = false;
    assert_int_equal(status().state, GATEWAY_UP);
    assert_true(gateway_room(w.gateway) > 1000);
}

static void unrelated_on_first_link(struct link *l, struct peer_request *r)
{
    if (l->index == 0)
        peer_answer(&l->peer, r, 403, "{\"reason\":\"UnrelatedKeyIdInToken\"}");
    else
        answer_ok(l, r);
}

static void an_unrelated_key_gets_a_new_connection_first(void **state)
{
    (void)state;
    w.server.handle = unrelated_on_first_link;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    assert_string_equal(request(1, 0)->authorization, request(0, 0)->authorization);
}

static void too_many_updates(struct link *l, struct peer_request *r)
{
    peer_answer_with(&l->peer, r, 429, "{\"reason\":\"TooManyProviderTokenUpdates\"}",
                     "retry-after", "1");
}

static void too_many_token_updates_hold_the_app(void **state)
{
    (void)state;
    w.server.handle = too_many_updates;
    start();
    submit_all(3, ALERT, NULL);
    RUN_UNTIL(w.done == 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(w.results[i].v.reaction, PUSH_RETRY);
        assert_string_equal(w.results[i].v.reason, "TooManyProviderTokenUpdates");
    }
    assert_true(w.results[0].v.retry_after_ms > 19 * 60 * 1000);
    assert_int_equal(status().state, GATEWAY_BACKOFF);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_int_equal(w.server.requests, 1);
}

static void cut_first_link(struct link *l, struct peer_request *r)
{
    if (l->index > 0)
        answer_ok(l, r);
    else if (l->handled == 1)
        answer_ok(l, r); /* opens the limit */
    else if (l->handled == 4)
        link_close(l, false);
}

static void a_lost_connection_resends_only_what_may_double(void **state)
{
    (void)state;
    w.server.handle = cut_first_link;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    assert_true(submit(ALERT, NULL) && submit(ALERT, "thread") && submit(BADGE, NULL));
    RUN_UNTIL(w.done == 4);
    expect(1, PUSH_RETRY, 0, "connection lost");
    assert_int_equal(w.results[1].v.retry_after_ms, 1000);
    expect(2, PUSH_DONE, 200, "");
    expect(3, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    assert_int_equal(w.server.links[1]->peer.n, 2);
    /* The same id, so that the service may know it again. */
    for (size_t i = 0; i < 2; i++)
        assert_true(strcmp(request(1, i)->apns_id, request(0, 2)->apns_id) == 0 ||
                    strcmp(request(1, i)->apns_id, request(0, 3)->apns_id) == 0);
    assert_int_equal(status().resent, 2);
}

static void cut_answers(struct link *l, struct peer_request *r)
{
    static const int statuses[] = {400, 403, 410, 404, 503, 200};
    size_t n = l->server->requests - 1;
    if (n >= sizeof statuses / sizeof *statuses) {
        answer_ok(l, r);
        return;
    }
    peer_begin_answer(&l->peer, r, statuses[n]);
    link_write(l);
    peer_reset(&l->peer, r, NGHTTP2_INTERNAL_ERROR);
}

/* What is wrong stands in the body: without it no push is parked, no device goes and no app
 * stops. */
static void an_answer_that_is_cut_off_is_none(void **state)
{
    (void)state;
    w.server.handle = cut_answers;
    start();
    for (size_t i = 0; i < 4; i++) {
        assert_true(submit(ALERT, NULL));
        RUN_UNTIL(w.done == i + 1);
        expect(i, PUSH_RETRY, 0, "answer cut off");
    }
    assert_int_equal(status().state, GATEWAY_UP);
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 5);
    expect(4, PUSH_RETRY, 503, "status 503"); /* which says it all */
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 6);
    expect(5, PUSH_DONE, 200, "");
    w.server.requests = 0;
    assert_true(submit(ALERT, "thread")); /* what replaces itself goes again */
    RUN_UNTIL(w.done == 7);
    expect(6, PUSH_RETRY, 503, "status 503");
    assert_int_equal(w.server.requests, 5);
    assert_int_equal(status().resent, 4);
}

static void refuse_three_times(struct link *l, struct peer_request *r)
{
    if (l->server->requests <= 3)
        peer_reset(&l->peer, r, NGHTTP2_REFUSED_STREAM);
    else
        answer_ok(l, r);
}

static void a_refused_stream_is_sent_again(void **state)
{
    (void)state;
    w.server.handle = refuse_three_times;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(status().resent, 3);
}

static void refuse_always(struct link *l, struct peer_request *r)
{
    peer_reset(&l->peer, r, NGHTTP2_REFUSED_STREAM);
}

static void resends_are_bounded(void **state)
{
    (void)state;
    w.server.handle = refuse_always;
    start();
    assert_true(submit(ALERT, "thread"));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 0, "refused");
    assert_int_equal(w.server.requests, 6);
}

static void limit_falls_and_refuses(struct link *l, struct peer_request *r)
{
    if (l->handled == 10) {
        peer_set(&l->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1);
        peer_answer(&l->peer, r, 400, "{\"reason\":\"BadDeviceToken\"}");
    } else if (l->handled > 10 && l->handled <= 14) {
        peer_reset(&l->peer, r,
                   l->handled % 2 ? NGHTTP2_REFUSED_STREAM : NGHTTP2_STREAM_CLOSED);
    } else {
        if (l->handled == 16)
            peer_set(&l->peer, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100);
        answer_ok(l, r);
    }
}

static void a_limit_that_falls_after_a_rejection_costs_nothing(void **state)
{
    (void)state;
    w.server.handle = limit_falls_and_refuses;
    start();
    submit_all(60, ALERT, NULL);
    RUN_UNTIL(w.done == 60);
    size_t suspects = 0;
    for (size_t i = 0; i < 60; i++) {
        suspects += w.results[i].v.reaction == PUSH_SUSPECT;
        assert_int_equal(deliveries(i), 1);
    }
    assert_int_equal(suspects, 1);
    assert_int_equal(status().accepted, 59);
    assert_int_equal(status().rejected, 1);
    assert_int_equal(status().resent, 4);
}

static void a_connection_that_allows_nothing_is_not_the_only_one(void **state)
{
    (void)state;
    w.server.streams = 0;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.server.n == 1);
    w.server.streams = 100;
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
    assert_int_equal(w.server.links[0]->peer.n, 0);
}

static void never_answer(struct link *l, struct peer_request *r)
{
    (void)l;
    (void)r;
}

static void silence_ends_in_a_timeout(void **state)
{
    (void)state;
    w.server.handle = never_answer;
    w.tuning.h2.request_timeout_ms = 60;
    start();
    assert_true(submit(ALERT, "thread"));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 0, "timeout");
    assert_int_equal(status().in_flight, 0);
}

static void a_service_that_is_away_means_backoff_until_it_is_back(void **state)
{
    (void)state;
    stop_listening();
    w.tuning.queue_ms = 150;
    start();
    submit_all(3, ALERT, NULL);
    RUN_UNTIL(status().state == GATEWAY_BACKOFF);
    assert_non_null(strstr(status().reason, "connect"));
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 3);
    expect(0, PUSH_RETRY, 0, "no connection");
    listen_again();
    RUN_UNTIL(w.room_events == 1);
    assert_int_equal(status().state, GATEWAY_UP);
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 4);
    expect(3, PUSH_DONE, 200, "");
}

static void a_short_outage_is_not_seen_by_the_outbox(void **state)
{
    (void)state;
    stop_listening();
    start();
    submit_all(3, ALERT, NULL);
    RUN_UNTIL(status().state == GATEWAY_BACKOFF);
    listen_again();
    RUN_UNTIL(w.done == 3);
    expect(0, PUSH_DONE, 200, "");
    expect(2, PUSH_DONE, 200, "");
}

#define FAILURES 6
static struct {
    int64_t at_ms[FAILURES];
    int pause_ms[FAILURES];
    unsigned n;
} failures;

static void note_failure(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    const char *pause = strstr(line, "retry_ms=");
    if (!strstr(line, "connection failed") || failures.n == FAILURES)
        return;
    failures.pause_ms[failures.n] = pause ? atoi(pause + strlen("retry_ms=")) : -1;
    failures.at_ms[failures.n++] = clock_mono_ms();
}

/* An attempt in the same turn as the failure of the one before would double every wait. */
static void each_attempt_waits_for_the_end_of_the_pause(void **state)
{
    (void)state;
    failures.n = 0;
    stop_listening();
    start();
    submit_all(3, ALERT, NULL);
    log_set_sink(note_failure, NULL);
    RUN_UNTIL(failures.n == FAILURES);
    log_set_sink(NULL, NULL);
    for (unsigned i = 1; i < FAILURES; i++)
        assert_true(failures.at_ms[i] - failures.at_ms[i - 1] >= w.tuning.pool.backoff_min_ms);
}

static void answer_one_and_close(struct link *l, struct peer_request *r)
{
    if (l->handled == 1)
        answer_ok(l, r);
    else
        link_close(l, false);
}

/* It works, so pushes must not wait ever longer for it. */
static void a_service_that_answers_and_cuts_us_off_is_tried_again_soon(void **state)
{
    (void)state;
    failures.n = 0;
    w.tuning.pool.proven_ms = 60000;
    w.tuning.pool.backoff_max_ms = 10000;
    w.server.handle = answer_one_and_close;
    start();
    log_set_sink(note_failure, NULL);
    for (size_t i = 0; failures.n < FAILURES; i++) {
        assert_true(submit(BADGE, NULL));
        RUN_UNTIL(w.done == i + 1);
    }
    log_set_sink(NULL, NULL);
    for (unsigned i = 0; i < FAILURES; i++)
        assert_in_range(failures.pause_ms[i], w.tuning.pool.backoff_min_ms,
                        2 * w.tuning.pool.backoff_min_ms);
}

static void expect_no_connection(const char *word)
{
    w.tuning.queue_ms = 100;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1 && status().state == GATEWAY_BACKOFF);
    expect(0, PUSH_RETRY, 0, "no connection");
    assert_non_null(strstr(status().reason, word));
    assert_int_equal(w.server.requests, 0);
}

static void an_untrusted_service_is_told_nothing(void **state)
{
    (void)state;
    static char other[2048];
    memcpy(other, w.cert_pem, sizeof other);
    SSL_CTX_free(w.server.tls);
    make_certificate("IP:127.0.0.1"); /* another key than the trusted one */
    w.opts.ca_pem = other;
    expect_no_connection("certificate");
}

static void a_certificate_for_another_name_is_refused(void **state)
{
    (void)state;
    expect_no_connection("certificate");
}

static void a_certificate_for_another_host_name_is_refused(void **state)
{
    (void)state;
    w.opts.host = "localhost";
    expect_no_connection("certificate");
}

static void a_service_without_http2_is_refused(void **state)
{
    (void)state;
    w.server.no_alpn = true;
    expect_no_connection("HTTP/2");
}

static void a_service_that_never_says_settings_is_given_up(void **state)
{
    (void)state;
    w.server.silent = true;
    w.tuning.connect_timeout_ms = 50;
    w.server.handle = never_answer;
    expect_no_connection("time allowed");
}

static struct event *late;

static void answer_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
    for (size_t i = 0; i < w.server.n; i++) {
        struct link *l = w.server.links[i];
        for (size_t k = 0; k < l->peer.n; k++)
            if (l->bev && !l->peer.requests[k]->answered && l->peer.requests[k]->ended)
                answer_ok(l, l->peer.requests[k]);
        link_write(l);
    }
}

static void full_connections_grow_the_pool_and_calm_shrinks_it(void **state)
{
    (void)state;
    const struct timeval period = {0, 30000};
    w.server.handle = never_answer;
    w.server.streams = 2;
    w.tuning.pool.calm_ms = 200;
    start();
    late = event_new(w.base, -1, EV_PERSIST, answer_late, NULL);
    event_add(late, &period);
    submit_all(100, ALERT, NULL);
    RUN_UNTIL(w.done == 100);
    assert_int_equal(w.server.n, 4);
    assert_int_equal(status().connections, 4);
    RUN_UNTIL(status().connections == 1);
    event_free(late);
    assert_true(submit(ALERT, NULL));
    w.server.handle = answer_ok;
    RUN_UNTIL(w.server.links[0]->peer.n > 0);
}

static void a_new_connection_is_not_opened_for_the_first_answer(void **state)
{
    (void)state;
    w.server.handle = never_answer;
    start();
    submit_all(50, ALERT, NULL);
    RUN_UNTIL(w.server.requests == 1);
    int64_t until = clock_mono_ms() + 100; /* five times grow_after_ms */
    RUN_UNTIL(clock_mono_ms() >= until);
    assert_int_equal(w.server.n, 1);
    assert_int_equal(w.server.requests, 1);
}

static void shutdown_answer(struct link *l, struct peer_request *r)
{
    if (l->index == 0)
        peer_answer(&l->peer, r, 503, "{\"reason\":\"Shutdown\"}");
    else
        answer_ok(l, r);
}

static void a_service_that_shuts_down_is_left_for_another_connection(void **state)
{
    (void)state;
    w.server.handle = shutdown_answer;
    start();
    submit_all(10, ALERT, NULL);
    RUN_UNTIL(w.done == 10);
    for (size_t i = 0; i < 10; i++)
        expect(i, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
}

static void broken_first_link(struct link *l, struct peer_request *r)
{
    if (l->index == 0)
        peer_answer(&l->peer, r, 500, "{\"reason\":\"InternalServerError\"}");
    else
        answer_ok(l, r);
}

static void an_internal_error_is_retried_later_on_a_new_connection(void **state)
{
    (void)state;
    w.server.handle = broken_first_link;
    w.tuning.broken_after_ms = 0;
    w.opts.server_error_retry_ms = 5000;
    start();
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 1);
    expect(0, PUSH_RETRY, 500, "InternalServerError");
    assert_int_equal(w.results[0].v.retry_after_ms, 5000);
    assert_true(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 2);
    expect(1, PUSH_DONE, 200, "");
    assert_int_equal(w.server.n, 2);
}

static void reject_device(struct link *l, struct peer_request *r)
{
    peer_answer(&l->peer, r, 400, "{\"reason\":\"BadDeviceToken\"}");
}

static void a_wave_of_rejected_devices_stops_the_app(void **state)
{
    (void)state;
    w.server.handle = reject_device;
    start();
    submit_all(500, ALERT, NULL);
    RUN_UNTIL(w.done == 500);
    size_t suspects = 0;
    for (size_t i = 0; i < 500; i++)
        suspects += w.results[i].v.reaction == PUSH_SUSPECT;
    assert_true(suspects >= 48 && suspects < 300);
    assert_int_equal(w.results[499].v.reaction, PUSH_APP_STOPPED);
    assert_int_equal(status().state, GATEWAY_STOPPED);
}

static void room_is_bounded_and_its_return_is_told(void **state)
{
    (void)state;
    w.tuning.room_max = 8;
    start();
    submit_all(8, ALERT, NULL);
    assert_int_equal(gateway_room(w.gateway), 0);
    assert_false(submit(ALERT, NULL));
    RUN_UNTIL(w.done == 8);
    assert_int_equal(gateway_room(w.gateway), 8);
    assert_true(w.room_events >= 1);
}

static void the_room_event_may_submit(void **state)
{
    (void)state;
    w.tuning.room_max = 4;
    start();
    submit_all(4, ALERT, NULL);
    assert_false(submit(ALERT, NULL));
    w.resubmit_on_room = true;
    RUN_UNTIL(w.submitted >= 5);
    w.resubmit_on_room = false;
    RUN_UNTIL(w.done == w.submitted);
}

static void what_the_service_would_refuse_is_not_sent(void **state)
{
    (void)state;
    static char large[5000];
    memset(large, ' ', 4097);
    start();
    static const struct {
        const char *token, *collapse_id, *payload;
        int priority;
        int64_t expiration_s;
        enum push_reaction reaction;
        const char *reason;
    } cases[] = {
        {"", NULL, ALERT, 10, 0, PUSH_SUSPECT, "BadDeviceToken"},
        {"abc/../def", NULL, ALERT, 10, 0, PUSH_SUSPECT, "BadDeviceToken"},
        {"abc", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ALERT, 10,
         0, PUSH_PARK, "BadCollapseId"},
        {"abc", NULL, "", 10, 0, PUSH_PARK, "PayloadEmpty"},
        {"abc", NULL, large, 10, 0, PUSH_PARK, "PayloadTooLarge"},
        {"abc", NULL, ALERT, 7, 0, PUSH_PARK, "BadPriority"},
        {"abc", NULL, ALERT, 10, -1, PUSH_PARK, "BadExpirationDate"},
    };
    size_t n = sizeof cases / sizeof *cases;
    for (size_t i = 0; i < n; i++) {
        struct push_request push = {.token = cases[i].token,
                                    .type = PUSH_ALERT,
                                    .priority = cases[i].priority,
                                    .expiration_s = cases[i].expiration_s,
                                    .collapse_id = cases[i].collapse_id,
                                    .payload = (const uint8_t *)cases[i].payload,
                                    .payload_len = strlen(cases[i].payload),
                                    .ctx = &w.results[i]};
        assert_true(gateway_submit(w.gateway, &push));
        w.submitted++;
    }
    RUN_UNTIL(w.done == n);
    for (size_t i = 0; i < n; i++)
        expect(i, cases[i].reaction, 0, cases[i].reason);
    assert_int_equal(w.server.requests, 0);
}

static void freeing_answers_everything_with_shutdown(void **state)
{
    (void)state;
    w.server.handle = never_answer;
    start();
    submit_all(20, ALERT, "thread");
    RUN_UNTIL(w.server.requests == 1);
    gateway_free(&w.gateway);
    assert_int_equal(w.done, 20);
    for (size_t i = 0; i < 20; i++)
        expect(i, PUSH_RETRY, 0, "shutdown");
}

static void a_wrong_key_is_a_configuration_error(void **state)
{
    (void)state;
    struct err e;
    const struct gateway_events events = {.verdict = on_verdict};
    w.opts.key_pem = "no key";
    assert_int_equal(gateway_new(w.base, &w.opts, &events, &w.gateway, &e), ERR_CONFIG);
    w.opts.key_pem = w.key_pem;
    w.opts.ca_pem = "no certificate";
    assert_int_equal(gateway_new(w.base, &w.opts, &events, &w.gateway, &e), ERR_CONFIG);
    assert_null(w.gateway);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(a_push_connects_and_is_accepted),
        TEST(a_host_name_is_looked_up_and_checked),
        TEST(a_voip_push_has_its_own_topic),
        TEST(a_thousand_pushes_stay_within_the_limit),
        TEST(goaway_loses_and_doubles_nothing),
        TEST(while_all_connections_drain_it_waits_for_one_of_them),
        TEST(an_expired_token_is_renewed_on_a_new_connection),
        TEST(a_token_expired_again_at_once_stops_the_app),
        TEST(a_stopped_app_tries_one_push_now_and_then),
        TEST(an_unrelated_key_gets_a_new_connection_first),
        TEST(too_many_token_updates_hold_the_app),
        TEST(a_lost_connection_resends_only_what_may_double),
        TEST(an_answer_that_is_cut_off_is_none),
        TEST(a_refused_stream_is_sent_again),
        TEST(resends_are_bounded),
        TEST(a_limit_that_falls_after_a_rejection_costs_nothing),
        TEST(a_connection_that_allows_nothing_is_not_the_only_one),
        TEST(silence_ends_in_a_timeout),
        TEST(a_service_that_is_away_means_backoff_until_it_is_back),
        TEST(a_short_outage_is_not_seen_by_the_outbox),
        TEST(each_attempt_waits_for_the_end_of_the_pause),
        TEST(a_service_that_answers_and_cuts_us_off_is_tried_again_soon),
        TEST(an_untrusted_service_is_told_nothing),
        cmocka_unit_test_setup_teardown(a_certificate_for_another_name_is_refused,
                                        set_up_other_name, tear_down),
        cmocka_unit_test_setup_teardown(a_certificate_for_another_host_name_is_refused,
                                        set_up_other_name, tear_down),
        TEST(a_service_without_http2_is_refused),
        TEST(a_service_that_never_says_settings_is_given_up),
        TEST(full_connections_grow_the_pool_and_calm_shrinks_it),
        TEST(a_new_connection_is_not_opened_for_the_first_answer),
        TEST(a_service_that_shuts_down_is_left_for_another_connection),
        TEST(an_internal_error_is_retried_later_on_a_new_connection),
        TEST(a_wave_of_rejected_devices_stops_the_app),
        TEST(room_is_bounded_and_its_return_is_told),
        TEST(the_room_event_may_submit),
        TEST(what_the_service_would_refuse_is_not_sent),
        TEST(freeing_answers_everything_with_shutdown),
        TEST(a_wrong_key_is_a_configuration_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
