// SPDX-License-Identifier: Apache-2.0
/* Preferences in XEP-0136's words, through the real store.  Rules A11, A12: docs/archive.md.
 */
#include "archive/xep0136_pref.h"

#include "archive_world.h"

#include "archive/mam_prefs.h"
#include "archive/prefs_store.h"

#define MEI "mei@chat.example"
#define NS " xmlns='urn:xmpp:archive'"
#define METHODS                                                                               \
    "<method type=\"auto\" use=\"prefer\"/><method type=\"local\" use=\"concede\"/>"          \
    "<method type=\"manual\" use=\"concede\"/></pref>"
#define PREF(auto_save, defaults, items)                                                      \
    "<pref xmlns=\"urn:xmpp:archive\"><auto save=\"" auto_save "\"/><default otr=\"concede\"" \
    " save=\"" defaults "/>" items METHODS
#define ITEM(jid, save) "<item jid=\"" jid "\" otr=\"concede\" save=\"" save "\"/>"

static struct prefs_store *store;

static void begin_ask(const struct archive_request *r, const struct archive_answer *answer)
{
    if (r->payload->name[0] == 'p' && strcmp(r->payload->name, "prefs") == 0)
        mam_prefs_ask(store, r, true, answer);
    else if (xep0136_is_pref(r))
        xep0136_pref_ask(store, r, answer);
    else
        answer->error(answer->ctx, "none", "of ours", NULL);
}

static const char *set(const char *xml)
{
    return archive_ask(begin_ask, MEI, true, xml);
}

static void assert_pref(const char *expected)
{
    assert_string_equal(archive_ask(begin_ask, MEI, false, "<pref" NS "/>"), expected);
}

static int begin(void **state)
{
    (void)state;
    settings = (struct archive_opts){.page_max = 250, .page_default = 50};
    archive_begin(1772586000);
    store = prefs_store_new(&settings, lookups, ing);
    return 0;
}

static int end(void **state)
{
    (void)state;
    archive_end();
    prefs_store_free(&store);
    return 0;
}

/* XMPPFramework stops storing when there is no <default save/> in the answer. */
static void what_was_never_set_says_so_and_is_complete(void **state)
{
    (void)state;
    assert_pref(PREF("true", "message\" unset=\"true\"", ""));
    settings.prefs_default = PREFS_NEVER;
    assert_pref(PREF("false", "false\" unset=\"true\"", ""));
}

static void the_default_and_items_are_set_by_name(void **state)
{
    (void)state;
    assert_string_equal(set("<pref" NS "><default otr='concede' save='false'/></pref>"), "");
    assert_pref(PREF("false", "false\"", ""));
    set("<pref" NS "><item jid='Romeo@Montague.NET' otr='concede' save='message'/>"
        "<item jid='benvolio@montague.net' otr='require' save='false'/></pref>");
    assert_pref(PREF("false", "false\"",
                     ITEM("romeo@montague.net", "message")
                         ITEM("benvolio@montague.net", "false")));
    /* One that is there changes sides. */
    set("<pref" NS "><item jid='benvolio@montague.net' save='body' expire='630720000'/>"
        "<default otr='concede' save='body'/></pref>");
    assert_pref(PREF("true", "message\"",
                     ITEM("romeo@montague.net", "message")
                         ITEM("benvolio@montague.net", "message")));
    set("<itemremove" NS "><item jid='romeo@montague.net'/></itemremove>");
    set("<itemremove" NS "><item jid='nobody@montague.net'/></itemremove>");
    assert_pref(PREF("true", "message\"", ITEM("benvolio@montague.net", "message")));
}

static void both_protocols_see_the_same(void **state)
{
    (void)state;
    set("<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>a@b</jid></always>"
        "<never><jid>c@d/e</jid></never></prefs>");
    assert_pref(PREF("true", "message\"", ITEM("a@b", "message") ITEM("c@d/e", "false")));
    /* What saves anyway stays what it is. */
    set("<pref" NS "><default otr='concede' save='message'/></pref>");
    assert_string_equal(
        archive_ask(begin_ask, MEI, false, "<prefs xmlns='urn:xmpp:mam:2'/>"),
        "<prefs xmlns=\"urn:xmpp:mam:2\" default=\"roster\"><always><jid>a@b</jid></always>"
        "<never><jid>c@d/e</jid></never></prefs>");
    set("<auto" NS " save='false' scope='global'/>");
    assert_string_equal(
        archive_ask(begin_ask, MEI, false, "<prefs xmlns='urn:xmpp:mam:2'/>"),
        "<prefs xmlns=\"urn:xmpp:mam:2\" default=\"never\"><always><jid>a@b</jid></always>"
        "<never><jid>c@d/e</jid></never></prefs>");
}

static unsigned answered;

static void on_any(void *ctx, struct stanza *payload)
{
    (void)ctx, (void)payload;
    answered++;
}

static void on_any_error(void *ctx, const char *type, const char *condition, const char *text)
{
    (void)ctx;
    fail_msg("%s/%s %s", type, condition, text);
}

static bool are_answered(void *ctx)
{
    return answered == *(const unsigned *)ctx;
}

/* Clients do not wait for one answer before they send the next request. */
static void requests_in_a_row_all_count(void **state)
{
    (void)state;
    static const char *const xml[] = {
        "<pref" NS "><item jid='a@b' save='message'/></pref>",
        "<pref" NS "><item jid='c@d' save='false'/></pref>",
        "<prefs xmlns='urn:xmpp:mam:2' "
        "default='roster'><always><jid>e@f</jid></always></prefs>",
        "<pref" NS "><item jid='g@h' save='false'/></pref>",
        "<itemremove" NS "><item jid='nobody@h'/></itemremove>",
        "<pref" NS "><item jid='i@j' save='message'/></pref>"};
    struct stanza *payloads[6];
    unsigned n = 6;
    answered = 0;
    for (unsigned i = 0; i < n; i++) {
        struct err e;
        payloads[i] = xml_parse_element(xml[i], strlen(xml[i]), &e);
        assert_non_null(payloads[i]);
        const struct archive_request request = {
            .payload = payloads[i], .is_set = true, .account = MEI, .id = "q"};
        const struct archive_answer answer = {.done = on_any, .error = on_any_error};
        begin_ask(&request, &answer);
    }
    db_loop(loop, are_answered, &n);
    for (unsigned i = 0; i < n; i++)
        stanza_free(&payloads[i]);
    assert_pref(PREF("true", "message\"",
                     ITEM("e@f", "message") ITEM("i@j", "message") ITEM("g@h", "false")));
}

/* A12 */
static void automatic_archiving_is_the_account_s(void **state)
{
    (void)state;
    assert_string_equal(set("<auto" NS " save='true'/>"), "");
    assert_pref(PREF("true", "message\" unset=\"true\"", ""));
    assert_string_equal(set("<auto" NS " save='false'/>"), "cancel/not-allowed");
    assert_string_equal(set("<auto" NS " save='0' scope='stream'/>"), "cancel/not-allowed");
    assert_string_equal(set("<auto" NS " save='0' scope='global'/>"), "");
    assert_pref(PREF("false", "false\"", ""));
    assert_string_equal(set("<auto" NS " save='1' scope='global'/>"), "");
    assert_pref(PREF("true", "message\"", ""));
}

static void what_cannot_be_set_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *error;
    } cases[] = {
        {"<pref" NS "><default otr='concede' save='stream'/></pref>",
         "cancel/feature-not-implemented"},
        {"<pref" NS "><default otr='concede' save='sometimes'/></pref>", "modify/bad-request"},
        {"<pref" NS "><default otr='concede'/></pref>", "modify/bad-request"},
        {"<pref" NS "><default otr='require' save='body'/></pref>", "modify/bad-request"},
        {"<pref" NS "><item save='body'/></pref>", "modify/jid-malformed"},
        {"<pref" NS "><item jid='@' save='body'/></pref>", "modify/jid-malformed"},
        {"<pref" NS "><default save='false'/><item jid='a@b' save='x'/></pref>",
         "modify/bad-request"},
        {"<pref" NS "><method type='auto' use='forbid'/></pref>",
         "cancel/feature-not-implemented"},
        {"<pref" NS "><session thread='t' save='false'/></pref>",
         "cancel/feature-not-implemented"},
        {"<itemremove" NS "><item/></itemremove>", "modify/jid-malformed"},
        {"<auto" NS "/>", "modify/bad-request"},
        {"<auto" NS " save='perhaps'/>", "modify/bad-request"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(set(cases[i].xml), cases[i].error) != 0)
            fail_msg("%s: %s", cases[i].xml, told.answer);
    assert_pref(PREF("true", "message\" unset=\"true\"", ""));
    assert_string_equal(set("<pref" NS "><method type='auto' use='prefer'/></pref>"), "");
    assert_string_equal(set("<list" NS "/>"), "none/of ours");
}

static void lists_have_an_end(void **state)
{
    (void)state;
    char xml[60000];
    size_t n = (size_t)snprintf(xml, sizeof xml, "<pref" NS ">");
    for (int i = 0; i < 1001; i++)
        n += (size_t)snprintf(xml + n, sizeof xml - n, "<item jid='u%d@x' save='body'/>", i);
    snprintf(xml + n, sizeof xml - n, "</pref>");
    assert_string_equal(set(xml), "modify/policy-violation");
    char name[1001];
    memset(name, 'x', 1000);
    name[1000] = '\0';
    const char *answer = "";
    int i = 0;
    for (; !*answer && i < 100; i++) {
        snprintf(xml, sizeof xml, "<pref" NS "><item save='body' jid='%s@%d'/></pref>", name,
                 i);
        answer = set(xml);
    }
    assert_string_equal(answer, "modify/policy-violation");
    assert_in_range(i, 60, 70);
}

static int open_database(void **state)
{
    return db_open(state);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(what_was_never_set_says_so_and_is_complete),
        TEST(the_default_and_items_are_set_by_name),
        TEST(both_protocols_see_the_same),
        TEST(requests_in_a_row_all_count),
        TEST(automatic_archiving_is_the_account_s),
        TEST(what_cannot_be_set_is_refused),
        TEST(lists_have_an_end),
    };
    return cmocka_run_group_tests(tests, open_database, db_close);
}
