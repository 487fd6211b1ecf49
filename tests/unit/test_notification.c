// SPDX-License-Identifier: Apache-2.0
#include "apns/notification.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/stanza.h"
#include "base/xml_parse.h"

#define FIELD(var, value) "<field var='" var "'><value>" value "</value></field>"
#define X(attrs, fields) "<x xmlns='jabber:x:data'" attrs ">" fields "</x>"
#define NOTIFICATION(inside) "<notification xmlns='urn:xmpp:push:0'>" inside "</notification>"
#define OPTIONS(fields) "<publish-options>" X(" type='submit'", fields) "</publish-options>"
#define PUBLISH(inside, after)                                                                \
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='N1'><item>" inside      \
    "</item></publish>" after "</pubsub>"

struct read {
    const char *what;
    const char *xml;
    const char *sender;
    const char *body;
    int count;
    bool encrypted;
    bool placeholder;
    enum notification_weight weight;
};

static const struct read reads[] = {
    {"ejabberd",
     PUBLISH(NOTIFICATION(X(" type='submit'",
                            "<field var='FORM_TYPE' type='hidden'><value>"
                            "urn:xmpp:push:summary</value></field>"
                            "<field var='last-message-sender' type='jid-single' label='The "
                            "sender of the last received message'><value>alice@e.test/r1"
                            "</value></field>" FIELD("last-message-body", "hi carol"))),
             OPTIONS(FIELD("secret", "eruio"))),
     "alice@e.test/r1", "hi carol", -1, false, false, NOTIFICATION_MESSAGE},
    {"ejabberd, OMEMO",
     PUBLISH(NOTIFICATION(X(" type='submit'", FIELD("last-message-sender", "a@e.test/r1")
                                                  FIELD("last-message-body", "(encrypted)"))),
             ""),
     "a@e.test/r1", "(encrypted)", -1, true, true, NOTIFICATION_MESSAGE},
    {"ejabberd, a receipt", PUBLISH(NOTIFICATION(""), ""), NULL, NULL, -1, false, false,
     NOTIFICATION_UNCERTAIN},
    {"Prosody",
     PUBLISH(NOTIFICATION(
                 X(" type='form'",
                   FIELD("message-count", "1") "<field type='text-single' "
                                               "var='pending-subscription-count'/>" FIELD(
                                                   "last-message-sender", "alice@p.test/r1")
                                                   FIELD("last-message-body", "hi"))),
             OPTIONS(FIELD("secret", "s3cr"))),
     "alice@p.test/r1", "hi", 1, false, false, NOTIFICATION_MESSAGE},
    {"Prosody, a chat state",
     PUBLISH(
         NOTIFICATION(
             X(" type='form'",
               FIELD("message-count", "1") FIELD(
                   "last-message-sender",
                   "alice@p.test/r1") "<field type='text-single' var='last-message-body'/>")),
         ""),
     "alice@p.test/r1", NULL, 1, false, false, NOTIFICATION_NOTHING},
    {"Tigase, a form without type",
     PUBLISH(NOTIFICATION(
                 X("", FIELD("message-count", "7") FIELD("last-message-sender", "a@t.test/x")
                           FIELD("last-message-body",
                                 "New secure message. Open to see the message."))),
             ""),
     "a@t.test/x", "New secure message. Open to see the message.", 7, true, true,
     NOTIFICATION_MESSAGE},
    {"Tigase, encrypted",
     PUBLISH(NOTIFICATION("<encrypted xmlns='tigase:push:encrypt:0' iv='AAAA'>AA</encrypted>"),
             ""),
     NULL, NULL, -1, true, false, NOTIFICATION_MESSAGE},
    {"Tigase, urgent",
     PUBLISH(NOTIFICATION(
                 X("", FIELD("message-count",
                             "2")) "<priority xmlns='tigase:push:priority:0'>high</priority>"),
             ""),
     NULL, NULL, 2, false, false, NOTIFICATION_MESSAGE},
    {"Tigase, not urgent",
     PUBLISH(NOTIFICATION(
                 X("", FIELD("message-count",
                             "0")) "<priority xmlns='tigase:push:priority:0'>low</priority>"),
             ""),
     NULL, NULL, 0, false, false, NOTIFICATION_NOTHING},
    {"Tigase, a call",
     PUBLISH(NOTIFICATION("<jingle xmlns='tigase:push:jingle:0' action='session-initiate'/>"),
             ""),
     NULL, NULL, -1, false, false, NOTIFICATION_MESSAGE},
    {"Openfire",
     PUBLISH(NOTIFICATION(X(" type='form'",
                            FIELD("message-count", "1") FIELD("last-message-sender", "")
                                FIELD("last-message-body", "New Message"))),
             ""),
     NULL, "New Message", 1, false, true, NOTIFICATION_MESSAGE},
    {"a count that is none", PUBLISH(NOTIFICATION(X("", FIELD("message-count", "-3"))), ""),
     NULL, NULL, -1, false, false, NOTIFICATION_NOTHING},
    {"a count that is too large",
     PUBLISH(NOTIFICATION(X("", FIELD("message-count", "99999999999999999999"))), ""), NULL,
     NULL, -1, false, false, NOTIFICATION_NOTHING},
    {"no item",
     "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='N1'/></pubsub>", NULL,
     NULL, -1, false, false, NOTIFICATION_UNCERTAIN},
};

static struct stanza *parse(const char *xml)
{
    struct err e = {0};
    struct stanza *st = xml_parse_element(xml, strlen(xml), &e);
    if (!st)
        fail_msg("%s: %s", xml, e.text);
    return st;
}

static void assert_text(const char *got, const char *want)
{
    if (want)
        assert_string_equal(got, want);
    else
        assert_null(got);
}

static void every_server_is_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        const struct read *r = &reads[i];
        struct stanza *st = parse(r->xml);
        struct notification n;
        if (!notification_read(st, &n))
            fail_msg("%s is refused", r->what);
        assert_string_equal(n.node, "N1");
        assert_text(n.sender, r->sender);
        assert_text(n.body, r->body);
        if (n.count != r->count || n.encrypted != r->encrypted ||
            n.placeholder != r->placeholder || n.weight != r->weight)
            fail_msg("%s: count %d encrypted %d placeholder %d weight %d", r->what, n.count,
                     n.encrypted, n.placeholder, (int)n.weight);
        stanza_free(&st);
    }
}

static void the_secret_is_what_the_client_gave(void **state)
{
    (void)state;
    struct notification n;
    struct stanza *st = parse(PUBLISH(
        NOTIFICATION(""), OPTIONS(FIELD("pushModule", "fcm") FIELD("secret", "eruio"))));
    assert_true(notification_read(st, &n));
    assert_string_equal(n.secret, "eruio");
    stanza_free(&st);
    st = parse(PUBLISH(NOTIFICATION(""), OPTIONS("<field var='secret'/>")));
    assert_true(notification_read(st, &n));
    assert_string_equal(n.secret, "");
    stanza_free(&st);
}

static void without_a_node_there_is_nothing_to_publish_to(void **state)
{
    (void)state;
    static const char *const none[] = {
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish/></pubsub>",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node=''/></pubsub>",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='N1'/></pubsub>",
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct notification n;
        struct stanza *st = parse(none[i]);
        assert_false(notification_read(st, &n));
        stanza_free(&st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_server_is_understood),
        cmocka_unit_test(the_secret_is_what_the_client_gave),
        cmocka_unit_test(without_a_node_there_is_nothing_to_publish_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
