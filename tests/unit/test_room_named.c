// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "archive/room_named.h"
#include "base/buf.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

/* Everybody who is named, one behind the other. */
static void expect(const char *inside, const char *wanted)
{
    char text[8192], all[4096] = "";
    struct err e;
    struct room_named n;
    struct jid who;
    snprintf(text, sizeof text, "<message xmlns='jabber:client'>%s</message>", inside);
    struct stanza *st = xml_parse_element(text, strlen(text), &e);
    assert_non_null(st);
    room_named_begin(&n, st);
    while (room_named_next(&n, &who)) {
        char full[3 * JID_PART_MAX + 4];
        jid_full(&who, full);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s ", full);
    }
    stanza_free(&st);
    assert_string_equal(all, wanted);
}

#define MENTION(uri) "<reference xmlns='urn:xmpp:reference:0' type='mention' uri='" uri "'/>"

static void whom_a_message_addresses(void **state)
{
    (void)state;
    expect("<body>hi</body>", "");
    expect(MENTION("xmpp:Mei@Here"), "mei@here ");
    expect(MENTION("xmpp:mei@here") "<body/>" MENTION("xmpp:den@rooms.here/Mei%20L"),
           "mei@here den@rooms.here/Mei L ");
    expect(MENTION("xmpp:mei@here?message;body=x") MENTION("xmpp:li@here#f"),
           "mei@here li@here ");
    expect("<reply xmlns='urn:xmpp:reply:0' to='den@rooms.here/mei' id='1'/>",
           "den@rooms.here/mei ");
}

static void what_names_nobody(void **state)
{
    (void)state;
    expect("<reference xmlns='urn:xmpp:reference:0' type='data' uri='xmpp:mei@here'/>", "");
    expect("<reference xmlns='urn:xmpp:reference:0' uri='xmpp:mei@here'/>", "");
    expect("<reference xmlns='urn:xmpp:other' type='mention' uri='xmpp:mei@here'/>", "");
    expect("<reference xmlns='urn:xmpp:reference:0' type='mention'/>", "");
    expect(MENTION("https://here/mei") MENTION("xmpp:") MENTION("xmpp:@here")
               MENTION("xmpp:mei%00@here") MENTION("xmpp:%"),
           "");
    expect("<reply xmlns='urn:xmpp:reply:0' id='1'/>", "");
    expect("<x><reply xmlns='urn:xmpp:reply:0' to='den@rooms.here/mei'/></x>", "");
}

static void no_more_are_looked_at_than_a_person_would_write(void **state)
{
    (void)state;
    char text[8192] = "", wanted[1024] = "";
    for (int i = 0; i < ROOM_NAMED_MAX + 5; i++)
        strcat(text, MENTION("xmpp:a@b"));
    for (int i = 0; i < ROOM_NAMED_MAX; i++)
        strcat(wanted, "a@b ");
    expect(text, wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whom_a_message_addresses),
        cmocka_unit_test(what_names_nobody),
        cmocka_unit_test(no_more_are_looked_at_than_a_person_would_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
