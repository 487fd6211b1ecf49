// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/event.h"
#include "base/jid.h"
#include "component/adapter.h"
#include "component/copies.h"
#include "component/opts.h"

#define START_US INT64_C(1795175400000000)
#define ENVELOPE(to, from, id, inner)                                                         \
    "<message to='" to "' from='" from "' id='" id                                            \
    "'><forwarded xmlns='urn:xmpp:forward:0'>" inner "</forwarded></message>"
#define COPY(id, inner) ENVELOPE("sidecar.e.test", "e.test", id, inner)
#define MESSAGE(id, body)                                                                     \
    "<message xml:lang='en' to='bob@e.test' from='alice@e.test/r1' type='chat' id='" id       \
    "' xmlns='jabber:client'><body>" body "</body></message>"

static const char *const domains[] = {"e.test", "f.test"};
static struct component_opts opts;
static struct adapter adapter = {.opts = &opts, .echo_key = {7}};
static struct copies *copies;

static int setup(void **state)
{
    (void)state;
    opts = (struct component_opts){.server = SERVER_EJABBERD,
                                   .component = "sidecar.e.test",
                                   .domains = domains,
                                   .domains_n = 2};
    copies = copies_new(&adapter);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    copies_free(&copies);
    return 0;
}

static bool known(const char *raw, int64_t after_us)
{
    return copies_known(copies, (const uint8_t *)raw, strlen(raw), START_US + after_us);
}

static void the_received_copy_of_a_message_that_was_sent_is_known(void **state)
{
    (void)state;
    assert_false(known(COPY("17835202130806931433", MESSAGE("m1", "hello")), 0));
    assert_true(known(COPY("13594247285990808650", MESSAGE("m1", "hello")), 10));
    assert_true(known(COPY("1", MESSAGE("m1", "hello")), 20)); /* a second session */
    assert_false(known(COPY("2", MESSAGE("m2", "hello")), 30));
    assert_true(known(COPY("3", MESSAGE("m1", "hello")), 40));
}

static void one_letter_of_difference_makes_a_copy_new(void **state)
{
    (void)state;
    assert_false(known(COPY("1", MESSAGE("m1", "hello")), 0));
    assert_false(known(COPY("2", MESSAGE("m1", "hellO")), 0));
    assert_false(known(COPY("3", MESSAGE("m1", "hello ")), 0));
    assert_false(known(COPY("4", MESSAGE("M1", "hello")), 0));
}

/* The first part decides where a copy is kept; two that differ behind it only replace each
 * other there. */
static void long_messages_are_compared_to_their_last_letter(void **state)
{
    (void)state;
    char body[600], a[1024], b[1024];
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    snprintf(a, sizeof a, COPY("1", MESSAGE("m1", "%sa")), body);
    snprintf(b, sizeof b, COPY("1", MESSAGE("m1", "%sb")), body);
    assert_false(known(a, 0));
    assert_false(known(b, 0));
    assert_true(known(b, 0));
    assert_false(known(a, 0));
}

static void an_equal_message_later_is_another_one(void **state)
{
    (void)state;
    const char *raw = COPY("1", MESSAGE("m1", "hello"));
    assert_false(known(raw, 0));
    assert_true(known(raw, COPIES_WITHIN_US));
    assert_false(known(raw, COPIES_WITHIN_US + 1)); /* counted from the first, not the last */
    assert_true(known(raw, COPIES_WITHIN_US + 2));
}

static void a_clock_that_went_back_makes_nothing_known(void **state)
{
    (void)state;
    const char *raw = COPY("1", MESSAGE("m1", "hello"));
    assert_false(known(raw, 0));
    assert_false(known(raw, -1));
    assert_true(known(raw, -1));
}

static void only_messages_in_the_servers_own_envelope_are_known(void **state)
{
    (void)state;
    static const char *const never[] = {
        /* each of these may mean something every time */
        COPY("1", "<presence from='a@e.test/x' to='a@e.test' xmlns='jabber:client'/>"),
        COPY("1", "<iq type='get' id='q' from='a@e.test/x' xmlns='jabber:client'/>"),
        "<presence from='a@e.test/x' to='sidecar.e.test'/>",
        "<iq type='get' id='q' from='a@e.test/x' to='sidecar.e.test'/>",
        MESSAGE("m1", "to the component itself"),
        /* written by a user, by another server, or to another component */
        ENVELOPE("sidecar.e.test", "alice@e.test/r1", "1", MESSAGE("m1", "x")),
        ENVELOPE("sidecar.e.test", "e.test.example", "1", MESSAGE("m1", "x")),
        ENVELOPE("sidecar.e.test", "other.test", "1", MESSAGE("m1", "x")),
        ENVELOPE("sidecar.e.testing", "e.test", "1", MESSAGE("m1", "x")),
        /* not as the server writes it */
        ENVELOPE("sidecar.e.test", "e.test", "1' type='error", MESSAGE("m1", "x")),
        ENVELOPE("sidecar.e.test", "e.test", "abc", MESSAGE("m1", "x")),
        COPY("1", MESSAGE("m1", "x")) " ",
        COPY("1", "<messages xmlns='jabber:client'/>"),
        COPY("1", ""),
    };
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        for (int times = 0; times < 3; times++)
            if (known(never[i], 0))
                fail_msg("known: %s", never[i]);
}

/* A result that we sent to bob's session r1, as the server shows it. */
static void make_echo(char *raw, size_t size, const char *form)
{
    struct jid from, to;
    char id[ECHO_ID_BYTES];
    assert_true(jid_parse(&from, "bob@e.test") && jid_parse(&to, "bob@e.test/r1"));
    adapter_echo_id(&adapter, &from, &to, id);
    const char *at = strstr(form, "ID");
    snprintf(raw, size, "%.*s%s%s", (int)(at - form), form, id, at + 2);
}

static void every_cut_of_an_envelope_is_safe_and_unknown(void **state)
{
    (void)state;
    const char raw[] = COPY("1", MESSAGE("m1", "hello"));
    char echo[1024];
    make_echo(echo, sizeof echo,
              COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' id='ID'/>"));
    const char *const whole[] = {raw, raw, echo};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        for (size_t len = 0; len < strlen(whole[i]); len++) {
            uint8_t *exact = malloc(len ? len : 1); /* so that reading past it is seen */
            memcpy(exact, whole[i], len);
            assert_false(copies_known(copies, exact, len, START_US));
            free(exact);
        }
    }
}

static void both_hosts_that_we_serve_count_and_other_servers_do_not(void **state)
{
    (void)state;
    const char *raw = ENVELOPE("sidecar.e.test", "f.test", "1", MESSAGE("m1", "hello"));
    assert_false(known(raw, 0));
    assert_true(known(raw, 0));
    opts.server = SERVER_PROSODY;
    assert_false(known(raw, 0));
}

static void what_is_too_long_to_remember_is_looked_at_each_time(void **state)
{
    (void)state;
    size_t len = COPIES_BYTES_MAX + 300;
    char *body = malloc(len), *raw = malloc(2 * len);
    memset(body, 'x', len - 1);
    body[len - 1] = '\0';
    snprintf(raw, 2 * len, COPY("1", MESSAGE("m1", "%s")), body);
    assert_false(known(raw, 0));
    assert_false(known(raw, 0));
    free(body);
    free(raw);
}

/* Ten times more than are kept: some are forgotten, none is taken for another. */
static void many_messages_are_never_taken_for_each_other(void **state)
{
    (void)state;
    char raw[512];
    unsigned again = 0;
    for (unsigned i = 0; i < 10 * COPIES_KEPT; i++) {
        snprintf(raw, sizeof raw, COPY("1", MESSAGE("m%u", "hello")), i);
        assert_false(known(raw, i));
        again += known(raw, i);
    }
    assert_int_equal(again, 10 * COPIES_KEPT);
}

#define RESULT "<result xmlns='urn:xmpp:mam:2' id='1'><message id='x' to='y'/></result>"

static void what_we_sent_is_known_at_once(void **state)
{
    (void)state;
    static const char *const forms[] = {
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' id='ID' "
                  "xmlns='jabber:client'>" RESULT "</message>"),
        COPY("1", "<message xml:lang='en' to='bob@e.test/r1' from='bob@e.test' id='ID' "
                  "xmlns='jabber:client'/>"),
        COPY("1",
             "<message id='ID' from='Bob@e.test' to='bob@E.test/r1'>" RESULT "</message>"),
    };
    char raw[1024];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        make_echo(raw, sizeof raw, forms[i]);
        if (!known(raw, 0))
            fail_msg("not known: %s", raw);
    }
}

static void nobody_hides_a_message_behind_our_id(void **state)
{
    (void)state;
    static const char *const forms[] = {
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test/r1' id='ID'>x</message>"),
        COPY("1", "<message to='eve@e.test' from='bob@e.test' id='ID'>x</message>"),
        COPY("1", "<message to='bob@e.test/r1' id='ID'>x</message>"),
        COPY("1", "<message from='bob@e.test' id='ID'>x</message>"),
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test'><x id='ID'/></message>"),
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' nid='ID'>x</message>"),
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' id='ID0'>x</message>"),
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' id='a&apos; id=&apos;ID'/>"),
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' id=\"ID\"/>"),
        COPY("1", "<message to='bob@e.test/r1' from='bob@e.test' id='ID"),
        ENVELOPE("sidecar.e.test", "eve@e.test", "1",
                 "<message to='bob@e.test/r1' from='bob@e.test' id='ID'>x</message>"),
    };
    char raw[1024];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        make_echo(raw, sizeof raw, forms[i]);
        if (known(raw, 0))
            fail_msg("known: %s", raw);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_received_copy_of_a_message_that_was_sent_is_known),
        TEST(one_letter_of_difference_makes_a_copy_new),
        TEST(long_messages_are_compared_to_their_last_letter),
        TEST(an_equal_message_later_is_another_one),
        TEST(a_clock_that_went_back_makes_nothing_known),
        TEST(only_messages_in_the_servers_own_envelope_are_known),
        TEST(every_cut_of_an_envelope_is_safe_and_unknown),
        TEST(both_hosts_that_we_serve_count_and_other_servers_do_not),
        TEST(what_is_too_long_to_remember_is_looked_at_each_time),
        TEST(many_messages_are_never_taken_for_each_other),
        TEST(what_we_sent_is_known_at_once),
        TEST(nobody_hides_a_message_behind_our_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
