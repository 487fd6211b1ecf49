// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/cursor.h"
#include "component/link.h"
#include "component/opts.h"
#include "component/spool.h"
#include "tests/unit/spool_dir.h"

#define HEADER                                                                                \
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "    \
    "xmlns='jabber:component:accept' from='sidecar.e.test' id='s1'>"
#define REFUSAL                                                                               \
    "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"             \
    "</stream:error></stream:stream>"
#define MIB ((size_t)1024 * 1024)

/* The server, in the same loop. */
enum manner { ACCEPT, REFUSE, SILENT, HANG_UP, GARBAGE };

struct server {
    struct evconnlistener *listener;
    struct bufferevent *client;
    enum manner manner;
    const char *with_handshake; /* sent in the same write */
    unsigned connections;
    unsigned open;
    unsigned open_max;
    bool polite; /* ends its side when the client does */
    char got[4096];
    size_t got_len;
    bool answered;
};

static struct event_base *base;
static struct server server;
static struct temp_dir dir;
static struct page *page;
static struct spool *spool;
static struct link *lk;
static struct component_opts opts;
static struct spool_opts spool_opts;
static struct host_opts host = {.host = "127.0.0.1"};
static struct link_timing timing = {.connect_ms = 2000,
                                    .closing_ms = 200,
                                    .keepalive_ms = 60000,
                                    .retry_min_ms = 5,
                                    .retry_max_ms = 20,
                                    .slow_min_ms = 60000,
                                    .slow_max_ms = 60000,
                                    .settled_ms = 60000};
static unsigned errors;
static char last_error[512];
static unsigned spooled;

static void drop_client(void)
{
    if (server.client) {
        bufferevent_free(server.client);
        server.open--;
    }
    server.client = NULL;
}

static void say(const char *text)
{
    assert_int_equal(bufferevent_write(server.client, text, strlen(text)), 0);
}

static void answer(void)
{
    switch (server.manner) {
    case ACCEPT:
        if (!server.answered && strstr(server.got, "</handshake>")) {
            server.answered = true;
            say("<handshake/>");
            if (server.with_handshake)
                say(server.with_handshake);
        }
        break;
    case REFUSE:
        if (!server.answered && strstr(server.got, "</handshake>")) {
            server.answered = true;
            say(REFUSAL);
        }
        break;
    case SILENT:
        break;
    case HANG_UP:
        drop_client();
        break;
    case GARBAGE:
        say("220 mail.example.org ESMTP\r\n");
        break;
    }
}

static void on_server_read(struct bufferevent *client, void *ctx)
{
    (void)ctx;
    size_t room = sizeof server.got - 1 - server.got_len;
    server.got_len += bufferevent_read(client, server.got + server.got_len, room);
    server.got[server.got_len] = '\0';
    evbuffer_drain(bufferevent_get_input(client), SIZE_MAX);
    if (strstr(server.got, "</stream:stream>") && server.polite) {
        drop_client();
        return;
    }
    answer();
}

static void on_server_event(struct bufferevent *client, short what, void *ctx)
{
    (void)ctx;
    (void)client;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        drop_client();
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a,
                      int len, void *ctx)
{
    (void)l;
    (void)a;
    (void)len;
    (void)ctx;
    server.connections++;
    server.open++;
    server.open_max = server.open > server.open_max ? server.open : server.open_max;
    server.got_len = 0;
    server.answered = false;
    server.client = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(server.client, on_server_read, NULL, on_server_event, NULL);
    bufferevent_enable(server.client, EV_READ | EV_WRITE);
    if (server.manner == ACCEPT || server.manner == REFUSE)
        say(HEADER);
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    if (level != LOG_ERROR)
        return;
    errors++;
    snprintf(last_error, sizeof last_error, "%s", line);
}

static void on_spooled(void *ctx, unsigned link)
{
    (void)ctx;
    assert_int_equal(link, 0);
    spooled++;
}

static void start_server(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    server.listener = evconnlistener_new_bind(base, on_accept, NULL,
                                              LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 5,
                                              (struct sockaddr *)&addr, sizeof addr);
    assert_non_null(server.listener);
    assert_int_equal(
        getsockname(evconnlistener_get_fd(server.listener), (struct sockaddr *)&addr, &len),
        0);
    host.port = ntohs(addr.sin_port);
}

static void make_link(void)
{
    struct link_setup setup = {.base = base,
                               .opts = &opts,
                               .spool_opts = &spool_opts,
                               .spool = spool,
                               .page = &page->links[0],
                               .timing = &timing};
    struct link_events ev = {.spooled = on_spooled};
    assert_int_equal(link_new(&setup, &ev, &lk, NULL), ERR_NONE);
}

static void make_spool(uint64_t size_max, uint64_t segment)
{
    struct spool_settings set = {.size_max = size_max, .segment_bytes = segment};
    spool_opts.size_max = size_max;
    assert_int_equal(spool_open(dir.spool, &set, &spool, NULL), ERR_NONE);
}

static int setup(void **state)
{
    (void)state;
    char path[96];
    signal(SIGPIPE, SIG_IGN);
    temp_dir_make(&dir);
    base = event_base_new();
    memset(&server, 0, sizeof server);
    server.polite = true;
    opts = (struct component_opts){
        .hosts = &host, .hosts_n = 1, .component = "sidecar.e.test", .secret = "secret"};
    spool_opts = (struct spool_opts){.directory = dir.path, .fsync_ms = 5};
    start_server(0);
    snprintf(path, sizeof path, "%s/page", dir.path);
    assert_int_equal(page_create(path, 1, &page, NULL), ERR_NONE);
    make_spool(64 * MIB, 0);
    make_link();
    errors = spooled = 0;
    log_set_sink(on_log, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL);
    link_free(&lk);
    spool_close(&spool);
    page_close(&page);
    drop_client();
    if (server.listener)
        evconnlistener_free(server.listener);
    event_base_free(base);
    temp_dir_drop(&dir);
    return 0;
}

static void on_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    *(bool *)ctx = true;
}

/* Turns the loop until the condition holds; it must within a minute. */
#define UNTIL(condition)                                                                      \
    do {                                                                                      \
        bool late = false;                                                                    \
        struct event *guard = evtimer_new(base, on_late, &late);                              \
        evtimer_add(guard, (&(struct timeval){.tv_sec = 60}));                                \
        while (!(condition) && !late)                                                         \
            event_base_loop(base, EVLOOP_ONCE);                                               \
        event_free(guard);                                                                    \
        if (late)                                                                             \
            fail_msg("not within a minute: %s", #condition);                                  \
    } while (0)

static void come_up(void)
{
    link_start(lk);
    UNTIL(link_state(lk) == LINK_UP);
}

/* What is in the spool by now. */
struct seen {
    unsigned stanzas, opened, closed, half;
    char last[64];
    char why[64];
};

static void on_stanza(void *ctx, struct stanza *s, const struct place *p, int64_t us,
                      uint64_t epoch)
{
    struct seen *v = ctx;
    (void)p;
    (void)epoch;
    assert_true(us > 0);
    v->stanzas++;
    snprintf(v->last, sizeof v->last, "%s", stanza_get(s, "id") ? stanza_get(s, "id") : "");
    stanza_free(&s);
}

static void on_opened(void *ctx, const struct cursor_opened *o)
{
    ((struct seen *)ctx)->opened++;
    assert_string_equal(o->id, "s1");
}

static void on_closed(void *ctx, const struct cursor_closed *o)
{
    struct seen *v = ctx;
    v->closed++;
    v->half += o->half_stanza;
    snprintf(v->why, sizeof v->why, "%s", o->why);
}

static struct seen look(void)
{
    struct seen v = {.stanzas = 0};
    struct cursor_events ev = {
        .stanza = on_stanza, .opened = on_opened, .closed = on_closed, .ctx = &v};
    struct cursor *c = cursor_new(dir.spool, 0, 0, NULL, &ev);
    while (cursor_pump(c, atomic_load(&page->links[0].spool_end), MIB))
        ;
    cursor_free(&c);
    return v;
}

static void test_what_the_server_sends_is_spooled_from_the_first_byte(void **state)
{
    (void)state;
    server.with_handshake = "<iq id='early'/><mess";
    come_up();
    assert_int_equal(atomic_load(&page->links[0].state), LINK_UP);
    assert_int_equal(atomic_load(&page->links[0].epoch), 1);
    say("age id='m1'/><message id='m2'/>");
    UNTIL(look().stanzas == 3);
    assert_string_equal(look().last, "m2");
    assert_int_equal(look().opened, 1);
    assert_true(spooled >= 1);
    UNTIL(!spool_dirty(spool));
}

static void test_whole_stanzas_go_out_and_those_of_a_dead_epoch_do_not(void **state)
{
    (void)state;
    come_up();
    server.got_len = 0;
    assert_true(link_send(lk, 1, (const uint8_t *)"<iq id='a'/>", 12));
    assert_false(link_send(lk, 0, (const uint8_t *)"<iq id='b'/>", 12));
    assert_false(link_send(lk, 2, (const uint8_t *)"<iq id='c'/>", 12));
    UNTIL(server.got_len >= 12);
    assert_string_equal(server.got, "<iq id='a'/>");
    assert_int_equal(atomic_load(&page->links[0].frames_dropped), 2);
    assert_int_equal(atomic_load(&page->links[0].frames_written), 1);
}

static void test_a_lost_connection_comes_back_with_a_higher_epoch_and_a_gap(void **state)
{
    (void)state;
    come_up();
    say("<message id='m1'/><message><body>ha");
    UNTIL(look().stanzas == 1);
    drop_client();
    UNTIL(link_state(lk) == LINK_BACKOFF);
    UNTIL(link_state(lk) == LINK_UP);
    assert_int_equal(atomic_load(&page->links[0].epoch), 2);
    assert_int_equal(atomic_load(&page->links[0].gaps), 1);
    assert_true(atomic_load(&page->links[0].gap_from_us) > 0);
    assert_int_equal(atomic_load(&page->links[0].down_since_us), 0);
    assert_true(atomic_load(&page->links[0].gap_to_us) >=
                atomic_load(&page->links[0].gap_from_us));
    say("<message id='m2'/>");
    UNTIL(look().stanzas == 2);
    assert_int_equal(look().half, 1);
    assert_string_equal(look().why, "closed by the server");
    assert_int_equal(server.open_max, 1);
}

static void test_bytes_sent_just_before_the_server_dies_are_kept(void **state)
{
    (void)state;
    come_up();
    say("<message id='last'/>");
    bufferevent_flush(server.client, EV_WRITE, BEV_FINISHED);
    UNTIL(evbuffer_get_length(bufferevent_get_output(server.client)) == 0);
    drop_client();
    assert_true(link_send(lk, 1, (const uint8_t *)"<iq/>", 5));
    UNTIL(link_state(lk) == LINK_BACKOFF);
    assert_string_equal(look().last, "last");
}

static void test_a_wrong_secret_is_said_with_its_remedy_and_retried_slowly(void **state)
{
    (void)state;
    char text[PAGE_TEXT_BYTES];
    server.manner = REFUSE;
    link_start(lk);
    UNTIL(link_state(lk) == LINK_BACKOFF);
    assert_int_equal(errors, 1);
    assert_non_null(strstr(last_error, "xmpp.secret"));
    assert_null(strstr(last_error, "secret\""));
    page_text_get(&page->links[0].error, text);
    assert_non_null(strstr(text, "not-authorized"));
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(server.connections, 1);
    /* With new settings it is tried at once, and nothing is said twice within 5 minutes. */
    UNTIL(server.client == NULL);
    assert_int_equal(link_set_opts(lk, &opts, &spool_opts, NULL), ERR_NONE);
    UNTIL(server.connections == 2 && link_state(lk) == LINK_BACKOFF);
    assert_int_equal(errors, 1);
    server.manner = ACCEPT;
    assert_int_equal(link_set_opts(lk, &opts, &spool_opts, NULL), ERR_NONE);
    UNTIL(link_state(lk) == LINK_UP);
    page_text_get(&page->links[0].error, text);
    assert_string_equal(text, "");
}

static void test_a_port_that_is_no_component_port_is_said(void **state)
{
    (void)state;
    server.manner = GARBAGE;
    link_start(lk);
    UNTIL(errors > 0);
    assert_non_null(strstr(last_error, "component listener"));
    server.manner = ACCEPT;
    UNTIL(link_state(lk) == LINK_UP);
}

static void test_a_server_that_hangs_up_or_is_not_there_is_tried_again(void **state)
{
    (void)state;
    server.manner = HANG_UP;
    link_start(lk);
    UNTIL(server.connections >= 2);
    evconnlistener_free(server.listener);
    server.listener = NULL;
    UNTIL(link_state(lk) == LINK_BACKOFF);
    server.manner = ACCEPT;
    start_server(host.port);
    UNTIL(link_state(lk) == LINK_UP);
    assert_int_equal(errors, 0);
}

static void test_the_next_address_is_tried_when_one_fails(void **state)
{
    (void)state;
    /* localhost is ::1 and 127.0.0.1, and nobody listens on the first. */
    host.host = "localhost";
    link_start(lk);
    UNTIL(link_state(lk) == LINK_UP);
    host.host = "127.0.0.1";
}

static void test_stop_ends_the_stream_and_waits_for_the_server(void **state)
{
    (void)state;
    come_up();
    server.polite = false;
    link_stop(lk, "shutdown");
    assert_int_equal(link_state(lk), LINK_CLOSING);
    UNTIL(strstr(server.got, "</stream:stream>"));
    /* What it sends before it has closed its side is spooled all the same. */
    say("<message id='late'/></stream:stream>");
    UNTIL(look().stanzas == 1);
    assert_int_equal(link_state(lk), LINK_CLOSING);
    drop_client();
    UNTIL(link_state(lk) == LINK_STOPPED);
    assert_int_equal(look().closed, 1);
    assert_string_equal(look().why, "shutdown");
    assert_int_equal(look().half, 0);
    assert_int_equal(atomic_load(&page->links[0].epoch), 0);
}

static void test_stop_does_not_wait_for_ever(void **state)
{
    (void)state;
    come_up();
    server.polite = false;
    link_stop(lk, "shutdown");
    UNTIL(link_state(lk) == LINK_STOPPED);
    assert_int_equal(server.connections, 1);
}

static void test_reconnect_closes_the_old_one_first(void **state)
{
    (void)state;
    come_up();
    link_reconnect(lk, 7, "not this one");
    assert_int_equal(link_state(lk), LINK_UP);
    link_reconnect(lk, 1, "no announcement");
    assert_int_equal(link_state(lk), LINK_CLOSING);
    assert_false(link_send(lk, 1, (const uint8_t *)"<iq/>", 5));
    UNTIL(link_state(lk) == LINK_UP);
    assert_int_equal(atomic_load(&page->links[0].epoch), 2);
    assert_int_equal(server.connections, 2);
    assert_int_equal(server.open_max, 1);
    assert_string_equal(look().why, "no announcement");
}

static void test_white_space_keeps_a_silent_stream_alive(void **state)
{
    (void)state;
    link_free(&lk);
    timing.keepalive_ms = 20;
    make_link();
    come_up();
    server.got_len = 0;
    UNTIL(server.got_len >= 2);
    assert_string_equal(server.got, "  ");
    timing.keepalive_ms = 60000;
}

static void refill(void)
{
    link_free(&lk);
    spool_close(&spool);
    temp_dir_drop(&dir);
    temp_dir_make(&dir);
    make_spool(MIB, MIB / 8);
    make_link();
}

static void pour(size_t bytes)
{
    static char stanza[1001];
    memset(stanza, 'x', sizeof stanza - 1);
    memcpy(stanza, "<m id='big'>", 12);
    memcpy(stanza + 996, "</m>", 4);
    for (size_t n = 0; n < bytes; n += 1000)
        say(stanza);
}

static void test_a_full_spool_disconnects_and_connects_again_when_a_tenth_is_free(void **state)
{
    (void)state;
    refill();
    come_up();
    pour(2 * MIB);
    UNTIL(link_state(lk) == LINK_FULL);
    assert_string_equal(look().why, "spool is full");
    assert_true(errors >= 1);
    assert_int_equal(atomic_load(&page->links[0].level), SPOOL_FULL);
    uint64_t begin = spool_begin(spool), end = spool_end(spool);
    link_release(lk, begin + (end - begin) / 1000);
    assert_int_equal(link_state(lk), LINK_FULL);
    link_release(lk, end);
    UNTIL(link_state(lk) == LINK_UP);
    assert_int_equal(atomic_load(&page->links[0].epoch), 2);
    assert_int_equal(atomic_load(&page->links[0].gaps), 1);
}

static void test_stop_reading_keeps_the_stream_and_loses_nothing(void **state)
{
    (void)state;
    spool_opts.when_full = SPOOL_STOP_READING;
    refill();
    come_up();
    pour(2 * MIB);
    UNTIL(spool_level(spool) == SPOOL_FULL);
    for (int i = 0; i < 20; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    uint64_t end = spool_end(spool), bytes = atomic_load(&page->links[0].bytes_read);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(spool_end(spool), end);
    assert_int_equal(link_state(lk), LINK_UP);
    while (bytes < 2 * MIB) {
        link_release(lk, spool_end(spool));
        UNTIL(atomic_load(&page->links[0].bytes_read) > bytes);
        bytes = atomic_load(&page->links[0].bytes_read);
    }
    assert_int_equal(server.connections, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_what_the_server_sends_is_spooled_from_the_first_byte),
        T(test_whole_stanzas_go_out_and_those_of_a_dead_epoch_do_not),
        T(test_a_lost_connection_comes_back_with_a_higher_epoch_and_a_gap),
        T(test_bytes_sent_just_before_the_server_dies_are_kept),
        T(test_a_wrong_secret_is_said_with_its_remedy_and_retried_slowly),
        T(test_a_port_that_is_no_component_port_is_said),
        T(test_a_server_that_hangs_up_or_is_not_there_is_tried_again),
        T(test_the_next_address_is_tried_when_one_fails),
        T(test_stop_ends_the_stream_and_waits_for_the_server),
        T(test_stop_does_not_wait_for_ever),
        T(test_reconnect_closes_the_old_one_first),
        T(test_white_space_keeps_a_silent_stream_alive),
        T(test_a_full_spool_disconnects_and_connects_again_when_a_tenth_is_free),
        T(test_stop_reading_keeps_the_stream_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
