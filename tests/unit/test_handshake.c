// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "component/handshake.h"

#define DECL "<?xml version='1.0'?>"
#define ROOT                                                                                  \
    "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' "                         \
    "xmlns='jabber:component:accept' from='sidecar.e.test' id='3BF96D32>'>"
#define ERROR(inner) "<stream:error>" inner "</stream:error></stream:stream>"
#define CONDITION(name) "<" name " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
#define TEXT(text) "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" text "</text>"

struct row {
    const char *name;
    const char *input;
    enum handshake_state state; /* in the end */
    enum handshake_fault fault;
    const char *header;
    const char *rest;
    const char *error; /* a part of it */
};

static const struct row rows[] = {
    {"accepted", DECL ROOT "<handshake/>", HANDSHAKE_DONE, HANDSHAKE_OK, DECL ROOT, "", ""},
    {"accepted, long form", DECL "\n" ROOT "<handshake></handshake>", HANDSHAKE_DONE,
     HANDSHAKE_OK, DECL "\n" ROOT, "", ""},
    {"accepted without declaration", ROOT " <handshake/>", HANDSHAKE_DONE, HANDSHAKE_OK, ROOT,
     "", ""},
    {"stanzas behind", ROOT "<handshake/><iq id='1'/>\n<mess", HANDSHAKE_DONE, HANDSHAKE_OK,
     ROOT, "<iq id='1'/>\n<mess", ""},
    {"wrong secret", ROOT ERROR(CONDITION("not-authorized")), HANDSHAKE_FAILED,
     HANDSHAKE_SECRET, NULL, NULL, "not-authorized"},
    {"text first", ROOT ERROR(TEXT("Invalid handshake") CONDITION("not-authorized")),
     HANDSHAKE_FAILED, HANDSHAKE_SECRET, NULL, NULL, "not-authorized: Invalid handshake"},
    {"conflict", ROOT ERROR(CONDITION("conflict") TEXT("a\nb\xC3\xA4")), HANDSHAKE_FAILED,
     HANDSHAKE_CONFLICT, NULL, NULL, "conflict: a?b??"},
    {"host-unknown", ROOT ERROR(CONDITION("host-unknown")), HANDSHAKE_FAILED,
     HANDSHAKE_HOST_UNKNOWN, NULL, NULL, "host-unknown"},
    {"no secret", ROOT ERROR(CONDITION("internal-server-error")), HANDSHAKE_FAILED,
     HANDSHAKE_NO_SECRET, NULL, NULL, "internal-server-error"},
    {"another error", ROOT ERROR(CONDITION("system-shutdown")), HANDSHAKE_FAILED,
     HANDSHAKE_STREAM_ERROR, NULL, NULL, "system-shutdown"},
    {"an empty error", ROOT ERROR(""), HANDSHAKE_FAILED, HANDSHAKE_STREAM_ERROR, NULL, NULL,
     "undefined-condition"},
    {"a stanza instead", ROOT "<message/>", HANDSHAKE_FAILED, HANDSHAKE_GARBAGE, NULL, NULL,
     "another stanza"},
    {"compression is offered",
     ROOT "<stream:features><compression xmlns='http://jabber.org/features/compress'>"
          "<method>zlib</method></compression></stream:features><handshake/>",
     HANDSHAKE_FAILED, HANDSHAKE_GARBAGE, NULL, NULL, "another stanza"},
    {"stream ends", ROOT "</stream:stream>", HANDSHAKE_FAILED, HANDSHAKE_CLOSED, NULL, NULL,
     "closed"},
    {"not XML", "HTTP/1.1 400 Bad Request\r\n\r\n", HANDSHAKE_FAILED, HANDSHAKE_GARBAGE, NULL,
     NULL, "not XMPP"},
    {"a TLS alert", "\x15\x03\x01\x02\x02\x16", HANDSHAKE_FAILED, HANDSHAKE_GARBAGE, NULL,
     NULL, "not XMPP"},
    {"another root", "<html><body>", HANDSHAKE_FAILED, HANDSHAKE_GARBAGE, NULL, NULL,
     "no stream"},
    {"early close", ROOT, HANDSHAKE_ANSWER, HANDSHAKE_OK, NULL, NULL, ""},
    {"nothing", "", HANDSHAKE_HEADER, HANDSHAKE_OK, NULL, NULL, ""},
};

static void expect_output(struct handshake *h, const char *want)
{
    size_t len;
    const uint8_t *out = handshake_output(h, &len);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(out, want, len);
}

/* Feeds it cut by `cut` (0: at random); what follows DONE is joined to the rest by us. */
static void run(const struct row *row, size_t cut)
{
    struct handshake *h = handshake_new("sidecar.e.test", "secret", 1000);
    struct err e = {.text = ""};
    enum err_kind kind = ERR_NONE;
    size_t len = strlen(row->input), at = 0;
    expect_output(h, "<?xml version=\"1.0\"?><stream:stream xmlns=\"jabber:component:accept\" "
                     "xmlns:stream=\"http://etherx.jabber.org/streams\" "
                     "to=\"sidecar.e.test\">");
    while (at < len && kind == ERR_NONE && handshake_state(h) < HANDSHAKE_DONE) {
        size_t n = cut ? cut : 1 + (size_t)rand() % 40;
        n = n < len - at ? n : len - at;
        kind = handshake_input(h, (const uint8_t *)row->input + at, n, &e);
        at += n;
    }
    assert_int_equal(handshake_state(h), row->state);
    assert_int_equal(handshake_fault(h), row->fault);
    assert_int_equal(kind, row->state == HANDSHAKE_FAILED ? ERR_PEER : ERR_NONE);
    assert_non_null(strstr(e.text, row->error));
    if (row->state == HANDSHAKE_DONE) {
        size_t header_len, rest_len;
        const uint8_t *header = handshake_header(h, &header_len);
        assert_int_equal(header_len, strlen(row->header));
        assert_memory_equal(header, row->header, header_len);
        const uint8_t *rest = handshake_rest(h, &rest_len);
        assert_int_equal(rest_len + (len - at), strlen(row->rest));
        if (rest_len > 0)
            assert_memory_equal(rest, row->rest, rest_len);
    } else if (row->state != HANDSHAKE_FAILED) {
        assert_int_equal(handshake_eof(h, &e), ERR_PEER);
        assert_int_equal(handshake_fault(h), HANDSHAKE_CLOSED);
    }
    handshake_free(&h);
}

static void test_every_answer_is_understood_whole_byte_by_byte_and_cut_at_random(void **state)
{
    (void)state;
    srand(1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("%s\n", rows[i].name);
        run(&rows[i], 100000);
        run(&rows[i], 1);
        for (int n = 0; n < 50; n++)
            run(&rows[i], 0);
    }
}

static void test_the_hash_is_sent_once_after_the_servers_header(void **state)
{
    (void)state;
    static const char root[] =
        "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' "
        "xmlns='jabber:component:accept' from='x' id='3BF96D32'>";
    struct handshake *h = handshake_new("sidecar.e.test", "secret", 0);
    size_t len;
    handshake_output(h, &len);
    assert_int_equal(handshake_input(h, (const uint8_t *)root, sizeof root - 1, NULL),
                     ERR_NONE);
    /* printf '3BF96D32secret' | sha1sum */
    expect_output(h, "<handshake>b09ea9b3b7f586be8a08d0a3dd7466f110aeb136</handshake>");
    expect_output(h, "");
    handshake_free(&h);
}

static void test_the_domain_is_escaped(void **state)
{
    (void)state;
    struct handshake *h = handshake_new("a'b", "secret", 0);
    size_t len;
    const char *out = (const char *)handshake_output(h, &len);
    assert_null(memmem(out, len, "a'b", 3));
    handshake_free(&h);
}

static void test_silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct handshake *h = handshake_new("a", "secret", 1000);
    int64_t deadline = handshake_deadline_ms(h);
    assert_int_equal(deadline, 1000 + HANDSHAKE_DEADLINE_MS);
    assert_int_equal(handshake_tick(h, deadline - 1, NULL), ERR_NONE);
    assert_int_equal(handshake_tick(h, deadline, NULL), ERR_PEER);
    assert_int_equal(handshake_fault(h), HANDSHAKE_TIMEOUT);
    handshake_free(&h);
}

static void test_a_header_without_end_is_refused(void **state)
{
    (void)state;
    struct handshake *h = handshake_new("a", "secret", 0);
    static char junk[20000];
    memset(junk, 'x', sizeof junk);
    memcpy(junk, "<stream:stream a='", 18);
    assert_int_equal(handshake_input(h, (const uint8_t *)junk, sizeof junk, NULL), ERR_PEER);
    assert_int_equal(handshake_fault(h), HANDSHAKE_GARBAGE);
    handshake_free(&h);
}

static void test_only_what_a_person_must_repair_is_lasting_and_has_a_remedy(void **state)
{
    (void)state;
    assert_true(handshake_fault_is_lasting(HANDSHAKE_SECRET));
    assert_true(handshake_fault_is_lasting(HANDSHAKE_CONFLICT));
    assert_true(handshake_fault_is_lasting(HANDSHAKE_HOST_UNKNOWN));
    assert_false(handshake_fault_is_lasting(HANDSHAKE_CLOSED));
    assert_false(handshake_fault_is_lasting(HANDSHAKE_STREAM_ERROR));
    assert_non_null(strstr(handshake_remedy(HANDSHAKE_SECRET), "xmpp.secret"));
    assert_string_equal(handshake_remedy(HANDSHAKE_CLOSED), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_answer_is_understood_whole_byte_by_byte_and_cut_at_random),
        cmocka_unit_test(test_the_hash_is_sent_once_after_the_servers_header),
        cmocka_unit_test(test_the_domain_is_escaped),
        cmocka_unit_test(test_silence_ends_at_the_deadline),
        cmocka_unit_test(test_a_header_without_end_is_refused),
        cmocka_unit_test(test_only_what_a_person_must_repair_is_lasting_and_has_a_remedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
