// SPDX-License-Identifier: Apache-2.0
/* Collections out of the real database.  Rules named A: docs/archive.md. */
#include "archive/xep0136.h"

#include "archive_world.h"
#include "memory_peak.h"

#include "base/arena.h"
#include "base/datetime.h"

#define MEI "mei@chat.example"
#define WANG "wang@chat.example"
#define LI "li@other.example"
#define BEGIN_S INT64_C(1772586000) /* 2026-03-04T01:00:00Z */
#define MINUTE 60
#define NS " xmlns='urn:xmpp:archive'"
#define RSM(inside) "<set xmlns='http://jabber.org/protocol/rsm'>" inside "</set>"

static struct xep0136 *x;

static void begin_ask(const struct archive_request *r, const struct archive_answer *answer)
{
    xep0136_ask(x, r, answer);
}

static const char *get(const char *xml)
{
    return archive_ask(begin_ask, MEI, false, xml);
}

static int64_t id_at(double after_s)
{
    return ident_id_from_us(BEGIN_S * 1000000 + (int64_t)(after_s * 1000000));
}

static void say_xml(const char *peer, bool out, double after_s, const char *inside)
{
    char stanza[2048];
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s/r\" to=\"%s\" type=\"chat\""
             " id=\"m1\">%s</message>",
             out ? MEI : peer, out ? peer : MEI, inside);
    archive_put(MEI, peer, id_at(after_s), out ? 2 : 1, stanza);
}

static void say(const char *peer, bool out, double after_s, const char *body)
{
    char inside[1024];
    snprintf(inside, sizeof inside, "<body>%s</body>", body);
    say_xml(peer, out, after_s, inside);
}

/* The text between before and after, of the last answer; "" when it is not there. */
static const char *between(const char *before, const char *after)
{
    static char found[4][256];
    static unsigned turn;
    char *out = found[turn++ % 4];
    const char *at = strstr(told.answer, before), *end;
    out[0] = '\0';
    if (at && (end = strstr(at += strlen(before), after)))
        snprintf(out, sizeof found[0], "%.*s", (int)(end - at), at);
    return out;
}

static const char *first(void)
{
    const char *id = between("<first>", "</first>");
    return *id ? id : between("<first index=\"0\">", "</first>");
}

static const char *last(void)
{
    return between("<last>", "</last>");
}

/* Of answers that told has no room for; what is asked of told is there: the result set. */
static size_t large_rows, large_bytes_max;

static void large_done(void *ctx, struct stanza *payload)
{
    struct buf b;
    (void)ctx;
    buf_init(&b, 64 << 20);
    stanza_write(&b, payload, NULL);
    size_t len = buf_len(&b);
    const char *text = buf_cstr(&b), *set = strstr(text, "<set ");
    large_bytes_max = len > large_bytes_max ? len : large_bytes_max;
    for (const char *at = text; (at = strstr(at, " with=\"")); at++)
        large_rows++;
    snprintf(told.answer, sizeof told.answer, "%s", set ? set : "");
    buf_deinit(&b);
    told.open = false;
}

static void ask_large(const char *xml)
{
    struct err e;
    struct arena *arena = arena_new(16 << 20); /* as a request has */
    struct stanza *payload = xml_parse_element(xml, strlen(xml), &e);
    const struct archive_request request = {
        .payload = stanza_copy(arena, payload), .account = MEI, .id = "q1"};
    const struct archive_answer answer = {.done = large_done, .error = told_error};
    stanza_free(&payload);
    told = (struct told){.open = true};
    begin_ask(&request, &answer);
    db_loop(loop, told_is_over, NULL);
    arena_free(&arena);
}

/* The starts of what was listed, as seconds after BEGIN_S. */
static const char *starts(void)
{
    static char out[4096];
    size_t n = 0;
    out[0] = '\0';
    for (const char *at = told.answer; (at = strstr(at, " start=\"")); at++) {
        char text[64];
        int64_t us = 0;
        snprintf(text, sizeof text, "%.*s", (int)strcspn(at + 8, "\""), at + 8);
        assert_true(datetime_parse_any(text, &us));
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%lld", n ? " " : "",
                              (long long)(us / 1000000 - BEGIN_S));
    }
    return out;
}

static const char *ask_starts(const char *xml)
{
    get(xml);
    return starts();
}

#define assert_answer(xml, expected) assert_string_equal(get(xml), expected)
#define assert_has(text)                                                                      \
    do {                                                                                      \
        if (!strstr(told.answer, text))                                                       \
            fail_msg("no %s in %s", text, told.answer);                                       \
    } while (0)

static int begin(void **state)
{
    (void)state;
    settings = (struct archive_opts){
        .page_max = 250, .page_default = 50, .conversation_gap_ms = 900000};
    archive_begin(BEGIN_S);
    x = xep0136_new(&settings, lookups);
    return 0;
}

static int end(void **state)
{
    (void)state;
    archive_end();
    xep0136_free(&x);
    return 0;
}

/* Three with wang, at 0, 20 and 60 minutes; two with li, at 21 and 61. */
static void talk(void)
{
    say(WANG, false, 0, "one");
    say(WANG, true, 9, "two");
    say(WANG, false, 20 * MINUTE, "three");
    say(LI, false, 21 * MINUTE, "li one");
    say(WANG, true, 22 * MINUTE, "four");
    say(WANG, false, 60 * MINUTE, "five");
    say(LI, false, 61 * MINUTE, "li two");
}

/* --- lists ------------------------------------------------------------------------------- */

static void an_empty_archive_is_an_empty_list(void **state)
{
    (void)state;
    assert_answer("<list" NS "/>", "<list xmlns=\"urn:xmpp:archive\"/>");
    assert_answer("<list" NS ">" RSM("<max>0</max>") "</list>",
                  "<list xmlns=\"urn:xmpp:archive\"><set xmlns=\"http://jabber.org/protocol/"
                  "rsm\"><count>0</count></set></list>");
}

static void collections_are_listed_by_their_start_with_every_attribute(void **state)
{
    (void)state;
    talk();
    assert_string_equal(ask_starts("<list" NS "/>"), "0 1200 1260 3600 3660");
    assert_has("<list xmlns=\"urn:xmpp:archive\"><chat with=\"wang@chat.example\""
               " start=\"2026-03-04T01:00:00Z\" version=\"1\"/>");
    assert_has("<chat with=\"li@other.example\" start=\"2026-03-04T01:21:00Z\""
               " version=\"0\"/>");
    assert_has("<first index=\"0\">");
    assert_has("<count>5</count></set></list>");
}

/* A6, A13, A14 */
static void filters(void **state)
{
    (void)state;
    talk();
    static const struct {
        const char *attrs, *starts;
    } cases[] = {
        {"with='wang@chat.example'", "0 1200 3600"},
        {"with='Wang@CHAT.example'", "0 1200 3600"},
        {"with='wang@chat.example/phone'", "0 1200 3600"},
        {"with='wang@chat.example' exactmatch='true'", "0 1200 3600"},
        {"with='wang@chat.example/phone' exactmatch='1'", ""},
        {"with='other.example'", "1260 3660"},
        {"with='other.example' exactmatch='true'", ""},
        {"with='er.example'", ""},
        {"with='nobody@chat.example'", ""},
        {"start='2026-03-04T01:20:00Z'", "1200 1260 3600 3660"},
        {"start='2026-03-04T01:20:00.000001Z'", "1260 3600 3660"},
        {"end='2026-03-04T01:20:00Z'", "0"},
        {"start='2026-03-04T09:20:00+08:00' end='2026-03-04T02:00:00Z'", "1200 1260"},
        {"start='0000-01-01T00:00:00Z' end='2038-01-01T00:00:00Z'", "0 1200 1260 3600 3660"},
        {"start='2026-03-05T00:00:00Z' end='2026-03-04T00:00:00Z'", ""},
        {"start='' end=''", "0 1200 1260 3600 3660"},
        {"with='other.example' start='2026-03-04T01:30:00Z'", "3660"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char xml[512];
        snprintf(xml, sizeof xml, "<list" NS " %s/>", cases[i].attrs);
        if (strcmp(ask_starts(xml), cases[i].starts) != 0)
            fail_msg("%s: %s", cases[i].attrs, told.answer);
    }
}

static void what_cannot_be_served_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *error;
    } cases[] = {
        {"<list" NS " with='@@'/>", "modify/jid-malformed"},
        {"<list" NS " start='yesterday'/>", "modify/bad-request"},
        {"<list" NS " end='2026-13-01T00:00:00Z'/>", "modify/bad-request"},
        {"<list" NS ">" RSM("<index>3</index>") "</list>", "cancel/feature-not-implemented"},
        {"<list" NS ">" RSM("<after>1</after>") "</list>", "cancel/item-not-found"},
        {"<list" NS ">" RSM("<before>0b0e6a52-77f1-4c6e-9d0f-2a8d6b3f1c11</before>") "</list>",
         "cancel/item-not-found"},
        {"<retrieve" NS " with='wang@chat.example'/>", "modify/bad-request"},
        {"<retrieve" NS " start='2026-03-04T01:00:00Z'/>", "modify/bad-request"},
        {"<retrieve" NS " with='wang@chat.example' start='2026-03-04T01:00:00Z'/>",
         "cancel/item-not-found"},
        {"<modified" NS "/>", "modify/bad-request"},
        {"<modified" NS " start='1970-01-01T00:00:00Z'>" RSM("<after>1</after>") "</modified>",
         "cancel/item-not-found"},
        {"<dance" NS "/>", "cancel/feature-not-implemented"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(get(cases[i].xml), cases[i].error) != 0)
            fail_msg("%s: %s", cases[i].xml, told.answer);
    archive_ask(begin_ask, MEI, true, "<list" NS "/>");
    assert_string_equal(told.answer, "cancel/feature-not-implemented");
}

static void pages_go_both_ways_and_miss_nothing(void **state)
{
    (void)state;
    talk();
    static const char *const filter[] = {"", " with='wang@chat.example'",
                                         " with='other.example'"};
    static const char *const all[] = {"0 1200 1260 3600 3660", "0 1200 3600", "1260 3660"};
    for (size_t f = 0; f < 3; f++) {
        for (int size = 1; size <= 4; size++) {
            char xml[512], seen[256] = "", anchor[128] = "", back[256] = "";
            do {
                snprintf(xml, sizeof xml, "<list" NS "%s>" RSM("<max>%d</max>%s") "</list>",
                         filter[f], size, anchor);
                strcat(seen, ask_starts(xml));
                snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
                if (*starts())
                    strcat(seen, " ");
            } while (*starts());
            seen[strlen(seen) - 1] = '\0';
            assert_string_equal(seen, all[f]);
            strcpy(anchor, "<before/>");
            do {
                snprintf(xml, sizeof xml, "<list" NS "%s>" RSM("<max>%d</max>%s") "</list>",
                         filter[f], size, anchor);
                get(xml);
                snprintf(xml, sizeof xml, "%s%s%s", starts(), *back && *starts() ? " " : "",
                         back);
                strcpy(back, xml);
                snprintf(anchor, sizeof anchor, "<before>%s</before>", first());
                assert_null(strstr(told.answer, "index="));
            } while (*starts());
            assert_string_equal(back, all[f]);
        }
    }
}

/* M11's sense: a place outside the filter is a place. */
static void an_anchor_outside_the_filter_is_valid(void **state)
{
    (void)state;
    talk();
    get("<list" NS " with='other.example'>" RSM("<max>1</max>") "</list>");
    char xml[512];
    snprintf(xml, sizeof xml,
             "<list" NS " with='wang@chat.example'>" RSM("<after>%s</after>") "</list>",
             last());
    assert_string_equal(ask_starts(xml), "3600");
}

static void an_anchor_of_another_account_is_unknown(void **state)
{
    (void)state;
    talk();
    get("<list" NS "/>");
    char xml[512];
    snprintf(xml, sizeof xml, "<list" NS ">" RSM("<after>%s</after>") "</list>", last());
    archive_ask(begin_ask, "wang@chat.example", false, xml);
    assert_string_equal(told.answer, "cancel/item-not-found");
    archive_ask(begin_ask, "wang@chat.example", false, "<list" NS "/>");
    assert_string_equal(told.answer, "<list xmlns=\"urn:xmpp:archive\"/>");
}

static void two_that_begin_in_one_second_are_two_places(void **state)
{
    (void)state;
    char names[8][32], xml[512], anchor[128] = "";
    for (int i = 0; i < 8; i++) {
        snprintf(names[i], sizeof names[i], "p%d@chat.example", i);
        say(names[i], false, 0.1 * i, "hi");
    }
    int seen = 0;
    for (; seen < 20; seen++) {
        snprintf(xml, sizeof xml, "<list" NS ">" RSM("<max>1</max>%s") "</list>", anchor);
        if (!*ask_starts(xml))
            break;
        assert_string_equal(starts(), "0");
        snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
    }
    assert_int_equal(seen, 8);
}

static void a_large_list_tells_no_count(void **state)
{
    (void)state;
    for (int i = 0; i < 1002; i++)
        say(WANG, i % 2, i * 16 * MINUTE, "hi");
    get("<list" NS ">" RSM("<max>2</max>") "</list>");
    assert_null(strstr(told.answer, "<count>"));
    get("<list" NS " start='2026-03-04T05:00:00Z'>" RSM("<max>0</max>") "</list>");
    assert_has("<count>987</count>");
    assert_null(strstr(told.answer, "<chat"));
    settings.page_max = 100;
    get("<list" NS ">" RSM("<max>5000</max>") "</list>");
    int n = 0;
    for (const char *at = told.answer; (at = strstr(at, "<chat ")); at++)
        n++;
    assert_int_equal(n, 100);
}

/* --- what becomes of collections --------------------------------------------------------- */

/* However many a page may have: the answer is one stanza. */
static void a_page_of_a_list_is_cut_before_it_is_too_large_for_a_stanza(void **state)
{
    (void)state;
    static const struct {
        const char *name, *back;
    } kinds[] = {{"list", ""}, {"list", "<before/>"}, {"modified", ""}};
    settings.page_max = 10000;
    say(WANG, false, 0, "x");
    get("<list" NS "/>");
    db_do("INSERT INTO xs.collection (owner, peer, start_us, jid, version, changed)"
          " SELECT owner, peer, start_us + n * 1000000::bigint, jid, 0, changed + n"
          " FROM xs.collection, generate_series(1, 2999) n");
    db_do("UPDATE xs.collection SET jid = "
          "'somebody.with.a.name.that.is.rather.long@chat.example'");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char xml[512], place[128] = "";
        bool back = *kinds[i].back;
        for (unsigned pages = 0; pages < 10; pages++) {
            snprintf(xml, sizeof xml,
                     "<%s" NS
                     " start='1970-01-01T00:00:00Z'>" RSM("<max>10000</max>%s") "</%s>",
                     kinds[i].name, *place ? place : kinds[i].back, kinds[i].name);
            ask_large(xml);
            if (*last())
                snprintf(place, sizeof place,
                         back ? "<before>%s</before>" : "<after>%s</after>",
                         back ? first() : last());
        }
        assert_int_equal(large_rows, 3000);
        assert_true(large_bytes_max < 300 << 10);
        large_rows = large_bytes_max = 0;
    }
}

/* A3: the version grows with every message, whether or not somebody looked in between. */
static void the_open_collection_grows(void **state)
{
    (void)state;
    say(WANG, false, 0.75, "one");
    get("<list" NS "/>");
    assert_has("start=\"2026-03-04T01:00:00Z\" version=\"0\"");
    say(WANG, false, 5, "two");
    get("<list" NS "/>");
    assert_has("start=\"2026-03-04T01:00:00Z\" version=\"1\"");
    say(WANG, false, 10, "three");
    say(WANG, false, 15, "four");
    get("<list" NS "/>");
    assert_has("start=\"2026-03-04T01:00:00Z\" version=\"3\"");
    assert_string_equal(starts(), "0");
    say(WANG, false, 15 + 15 * MINUTE + 1, "five");
    get("<list" NS "/>");
    assert_string_equal(starts(), "0 916");
    get("<list" NS "/>");
    assert_string_equal(starts(), "0 916");
    assert_int_equal(db_int("SELECT count(*) FROM xs.collection"), 2);
}

static void many_messages_are_gathered_in_several_steps(void **state)
{
    (void)state;
    say(WANG, false, 0, "one");
    db_do("INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
          " SELECT owner, id + n * 100 * (1000000::bigint << 8), peer, ref_id, 0, 1, stanza"
          " FROM xs.message, generate_series(1, 9000) n");
    say(WANG, false, 0.5, "late");
    get("<list" NS "/>");
    assert_string_equal(starts(), "0");
    assert_has("version=\"9001\"");
}

static void a_failed_message_is_in_none(void **state)
{
    (void)state;
    say(WANG, false, 0, "one");
    archive_put(MEI, WANG, id_at(60 * MINUTE), 32, "<message/>");
    assert_string_equal(ask_starts("<list" NS "/>"), "0");
}

/* A5 */
static void threads_are_collections_of_their_own(void **state)
{
    (void)state;
    say_xml(WANG, false, 0, "<body>one</body><thread>t&amp;1</thread>");
    say(WANG, true, 1, "two");
    say_xml(WANG, false, 2, "<x xmlns='urn:x'><thread>not this</thread></x><body>3</body>");
    say_xml(WANG, false, 3, "<body>three</body><thread>t2</thread>");
    get("<list" NS "/>");
    assert_has("start=\"2026-03-04T01:00:00Z\" thread=\"t&amp;1\" version=\"2\"");
    assert_has("start=\"2026-03-04T01:00:03Z\" thread=\"t2\" version=\"0\"");
    say_xml(WANG, false, 4, "<body>four</body><thread>t2</thread>");
    get("<list" NS "/>");
    assert_string_equal(starts(), "0 3");
    assert_has("thread=\"t2\" version=\"1\"");
}

/* A10 */
static void changes_come_in_the_order_they_happened(void **state)
{
    (void)state;
    talk();
    get("<modified" NS " start='1970-01-01T00:00:00Z'>" RSM("<max>3</max>") "</modified>");
    assert_string_equal(starts(), "0 1260 1200"); /* by their last message */
    assert_has("<modified xmlns=\"urn:xmpp:archive\"><changed with=\"wang@chat.example\""
               " start=\"2026-03-04T01:00:00Z\" version=\"1\"/>");
    assert_has("<count>5</count>");
    char xml[512], place[64];
    snprintf(xml, sizeof xml,
             "<modified" NS
             " start='1970-01-01T00:00:00Z'>" RSM("<after>%s</after>") "</modified>",
             last());
    get(xml);
    assert_string_equal(starts(), "3600 3660");
    snprintf(place, sizeof place, "%s", last());
    say(WANG, false, 61 * MINUTE + 1, "another");
    snprintf(xml, sizeof xml,
             "<modified" NS
             " start='1970-01-01T00:00:00Z'>" RSM("<after>%s</after>") "</modified>",
             place);
    get(xml);
    assert_string_equal(starts(), "3600");
    /* Also at a place whose collection has changed again since. */
    say(WANG, false, 62 * MINUTE, "another");
    get(xml);
    assert_string_equal(starts(), "3600");
    snprintf(place, sizeof place, "%s", last());
    say(LI, false, 62 * MINUTE + 1, "another");
    get(xml);
    assert_string_equal(starts(), "3600 3660");
    snprintf(xml, sizeof xml,
             "<modified" NS
             " start='1970-01-01T00:00:00Z'>" RSM("<after>%s</after>") "</modified>",
             place);
    get(xml);
    assert_string_equal(starts(), "3660");
}

static void changes_after_a_moment(void **state)
{
    (void)state;
    talk();
    get("<modified" NS " start='2026-03-04T01:22:00Z'/>"); /* that of the fourth message */
    assert_string_equal(starts(), "3600 3660");
    get("<modified" NS " start='2030-01-01T00:00:00Z'/>");
    assert_string_equal(told.answer, "<modified xmlns=\"urn:xmpp:archive\"/>");
    get("<modified" NS
        " start='1970-01-01T00:00:00Z'>" RSM("<max>2</max><before/>") "</modified>");
    assert_string_equal(starts(), "3600 3660");
}

/* --- one collection ---------------------------------------------------------------------- */

#define RETRIEVE(rsm)                                                                         \
    "<retrieve" NS " with='wang@chat.example' start='2026-03-04T01:00:00Z'>" rsm "</"         \
    "retrieve>"

static void a_collection_is_its_messages(void **state)
{
    (void)state;
    talk();
    get(RETRIEVE(""));
    assert_has("<chat xmlns=\"urn:xmpp:archive\" with=\"wang@chat.example\""
               " start=\"2026-03-04T01:00:00Z\" version=\"1\">"
               "<from secs=\"0\"><body>one</body></from><to secs=\"9\"><body>two</body></to>"
               "<set xmlns=\"http://jabber.org/protocol/rsm\"><first index=\"0\">");
    assert_has("<count>2</count></set></chat>");
    get("<retrieve" NS " with='wang@chat.example/phone' start='2026-03-04T09:20:00+08:00'/>");
    assert_has("<body>three</body>");
    assert_null(strstr(told.answer, "li one"));
}

/* A4: rounding does not add up. */
static void the_sum_of_secs_is_the_time(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++)
        say(WANG, false, 0.3 + i * 0.51, "hi");
    static const char *const pages[] = {"", "<max>7</max>", "<max>1</max>"};
    for (size_t k = 0; k < 3; k++) {
        char xml[512], anchor[128] = "";
        int n = 0, sum = 0;
        while (n < 40) {
            snprintf(xml, sizeof xml, RETRIEVE(RSM("%s%s")), pages[k], anchor);
            get(xml);
            for (const char *at = told.answer; (at = strstr(at, " secs=\"")); at++, n++) {
                sum += atoi(at + 7);
                assert_int_equal(sum, (int)(0.3 + n * 0.51));
            }
            snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
        }
    }
    /* Backwards, the page's first goes by the one before it. */
    get(RETRIEVE(RSM("<max>2</max><before/>")));
    assert_has("<from secs=\"0\"><body>hi</body></from><from secs=\"1\">");
}

static void messages_page_both_ways(void **state)
{
    (void)state;
    char body[16], xml[512], anchor[128] = "", seen[256] = "", page[256];
    for (int i = 0; i < 10; i++) {
        snprintf(body, sizeof body, "%d", i);
        say(WANG, i % 3 == 0, i, body);
    }
    bool more = true;
    for (int n = 0; more; n++) {
        snprintf(xml, sizeof xml, RETRIEVE(RSM("<max>3</max>%s")), anchor);
        get(xml);
        more = false;
        for (const char *at = told.answer; (at = strstr(at, "<body>")); at++, more = true)
            strncat(seen, at + 6, 1);
        snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
        assert_true(n < 10);
    }
    assert_string_equal(seen, "0123456789");
    assert_has("<chat xmlns=\"urn:xmpp:archive\" with=\"wang@chat.example\""
               " start=\"2026-03-04T01:00:00Z\" version=\"9\"/>");
    strcpy(anchor, "<before/>");
    seen[0] = '\0';
    do {
        snprintf(xml, sizeof xml, RETRIEVE(RSM("<max>4</max>%s")), anchor);
        get(xml);
        page[0] = '\0';
        for (const char *at = told.answer; (at = strstr(at, "<body>")); at++)
            strncat(page, at + 6, 1);
        snprintf(anchor, sizeof anchor, "<before>%s</before>", first());
        snprintf(xml, sizeof xml, "%s%s", page, seen);
        strcpy(seen, xml);
    } while (*page);
    assert_string_equal(seen, "0123456789");
    get(RETRIEVE(RSM("<max>0</max>")));
    assert_has("<count>10</count>");
    assert_null(strstr(told.answer, "<body>"));
}

/* What a message carries besides its text is there too, but what servers added. */
static void the_whole_message_is_kept(void **state)
{
    (void)state;
    say_xml(WANG, false, 0,
            "<body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='x' id='1'/>"
            "<encrypted xmlns='urn:xmpp:omemo:2'><payload>AA</payload></encrypted>"
            "<store xmlns='urn:xmpp:hints'/><thread>t</thread>");
    say_xml(WANG, false, 1, "<store xmlns='urn:xmpp:hints'/>");
    get(RETRIEVE(""));
    assert_has(
        "<from secs=\"0\"><body>hi</body><encrypted xmlns=\"urn:xmpp:omemo:2\"><payload>"
        "AA</payload></encrypted></from>");
    assert_has("<from secs=\"1\"><store xmlns=\"urn:xmpp:hints\"/></from>"); /* never empty */
}

static void a_collection_whose_messages_failed_later_is_empty(void **state)
{
    (void)state;
    say(WANG, false, 0, "one");
    get("<list" NS "/>");
    db_do("UPDATE xs.message SET flags = 32");
    assert_answer(RETRIEVE(""), "<chat xmlns=\"urn:xmpp:archive\" with=\"wang@chat.example\""
                                " start=\"2026-03-04T01:00:00Z\" version=\"0\"/>");
}

/* n more messages of 400 kB behind the one that is there. */
static void say_large(int n, const char *more)
{
    char sql[1024];
    snprintf(
        sql, sizeof sql,
        "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
        " SELECT owner, id + n * (1000000::bigint << 8), peer, ref_id, 0, 1,"
        " convert_to('<message xmlns=\"jabber:client\"><body>'||n||'</body><x xmlns=\"x\">'"
        " || repeat('x', 400000) || '</x>%s</message>', 'UTF8')"
        " FROM xs.message, generate_series(1, %d) n",
        more, n);
    db_do(sql);
}

static void a_page_is_cut_before_it_is_too_large_for_a_stanza(void **state)
{
    (void)state;
    say(WANG, false, 0, "0");
    say_large(5, "");
    char seen[64] = "", xml[512], anchor[128] = "";
    do {
        snprintf(xml, sizeof xml, RETRIEVE(RSM("%s")), anchor);
        get(xml);
        snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
        strcat(seen, "p");
    } while (*last() && strlen(seen) < 10);
    assert_string_equal(seen, "ppppppp");
}

static void large_messages_are_not_all_in_memory(void **state)
{
    (void)state;
    say(WANG, false, 0, "0");
    say_large(200, "<thread>t</thread>");
    peak_begin();
    assert_string_equal(ask_starts("<list" NS "/>"), "0");
    assert_has(" thread=\"t\" version=\"200\"");
    assert_true(peak_grown() < 40 << 20);
    peak_begin();
    get(RETRIEVE(RSM("<max>250</max>")));
    assert_has("<from secs=\"0\"><body>0</body></from><set");
    assert_has("<count>201</count>");
    assert_true(peak_grown() < 4 << 20);
}

/* Its place is there, so that paging goes on. */
static void a_message_that_no_stanza_can_hold_is_left_out(void **state)
{
    (void)state;
    say(WANG, false, 0, "one");
    say(WANG, false, 2, "three");
    db_do("INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
          " SELECT owner, id + (1000000::bigint << 8), peer, ref_id, 0, 1,"
          " convert_to('<message xmlns=\"jabber:client\">' || repeat('<a/>', 250000)"
          " || '</message>', 'UTF8') FROM xs.message ORDER BY id LIMIT 1");
    char xml[512], seen[64] = "", anchor[128] = "";
    for (int i = 0; i < 5; i++) {
        snprintf(xml, sizeof xml, RETRIEVE(RSM("%s")), anchor);
        get(xml);
        strcat(seen, between("<body>", "<"));
        strcat(seen, *last() ? "," : "");
        snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
        if (!*last())
            break;
    }
    assert_string_equal(seen, "one,,three,");
    settings.message_bytes_max = 100; /* and what is longer than a stanza of ours may be */
    get(RETRIEVE(""));
    assert_null(strstr(told.answer, "<body>"));
    assert_has("<last>");
}

/* --- saving (A9) ------------------------------------------------------------------------- */

static const char *set(const char *xml)
{
    return archive_ask(begin_ask, MEI, true, xml);
}

#define CHAT_1469(attrs, inside)                                                              \
    "<save" NS "><chat with='juliet@capulet.com/chamber' start='1469-07-21T02:56:15Z' " attrs \
    ">" inside "</chat></save>"
#define RETRIEVE_1469                                                                         \
    "<retrieve" NS " with='juliet@capulet.com' start='1469-07-21T02:56:15Z'/>"
#define SAVED_1469(attrs)                                                                     \
    "<save xmlns=\"urn:xmpp:archive\"><chat with=\"juliet@capulet.com\""                      \
    " start=\"1469-07-21T02:56:15Z\" " attrs "/></save>"

/* The examples of the XEP. */
static void a_client_saves_appends_and_renames(void **state)
{
    (void)state;
    assert_string_equal(
        set(CHAT_1469("thread='damduoeg08' subject='She speaks!'",
                      "<from secs='0'><body>Art thou not Romeo, and a Montague?</body></from>"
                      "<to secs='11'><body>Neither, fair saint.</body></to>"
                      "<from secs='7'><body>How cam&apos;st thou hither?</body></from>"
                      "<note utc='1469-07-21T03:04:35Z'>I think she might fancy me.</note>")),
        SAVED_1469("thread=\"damduoeg08\" subject=\"She speaks!\" version=\"0\""));
    assert_string_equal(
        set(CHAT_1469("thread='other' subject='She speaks twice!'", "")),
        SAVED_1469("thread=\"damduoeg08\" subject=\"She speaks twice!\" version=\"1\""));
    assert_string_equal(
        set(CHAT_1469("", "<from utc='1469-07-21T00:32:29Z'><body>earlier</body></from>"
                          "<to secs='11'><body>eleven later</body></to>")),
        SAVED_1469("thread=\"damduoeg08\" subject=\"She speaks twice!\" version=\"2\""));
    get(RETRIEVE_1469);
    assert_has("<from utc=\"1469-07-21T00:32:29Z\"><body>earlier</body></from>"
               "<to utc=\"1469-07-21T00:32:40Z\"><body>eleven later</body></to>"
               "<from secs=\"8615\"><body>Art thou");
    assert_has("Montague?</body></from><to secs=\"11\"><body>Neither, fair saint.</body></to>"
               "<from secs=\"7\"><body>How cam'st thou hither?</body></from>"
               "<note utc=\"1469-07-21T03:04:35Z\">I think she might fancy me.</note>");
    assert_has("<count>6</count>");
    get("<list" NS "/>");
    assert_has("<chat with=\"juliet@capulet.com\" start=\"1469-07-21T02:56:15Z\""
               " thread=\"damduoeg08\" subject=\"She speaks twice!\" version=\"2\"/>");
    get("<modified" NS " start='1970-01-01T00:00:00Z'/>");
    assert_has("<changed with=\"juliet@capulet.com\" start=\"1469-07-21T02:56:15Z\""
               " version=\"2\"/>");
}

static void saved_entries_of_one_moment_keep_their_order(void **state)
{
    (void)state;
    set(CHAT_1469("", "<from secs='0'><body>0</body></from><to><body>1</body></to>"));
    set(CHAT_1469("", "<from secs='0'><body>0</body></from><to><body>1</body></to>"));
    char seen[64] = "", xml[512], anchor[128] = "";
    do {
        snprintf(xml, sizeof xml,
                 "<retrieve" NS " with='juliet@capulet.com' start='1469-07-21T02:56:15Z'>" RSM(
                     "<max>1</max>%s") "</retrieve>",
                 anchor);
        get(xml);
        strncat(seen, between("<body>", "<"), 1);
        snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
    } while (*last() && strlen(seen) < 10);
    assert_string_equal(seen, "0101");
}

/* A4, over a page's border: nothing counts from a note. */
static void the_first_of_a_page_behind_a_note_says_its_time(void **state)
{
    (void)state;
    set(CHAT_1469("",
                  "<from secs='0'><body>a</body></from><from secs='10'><body>b</body></from>"
                  "<note utc='1469-07-21T02:57:15Z'>n</note>"
                  "<from secs='100'><body>c</body></from>"
                  "<from secs='5'><body>d</body></from>"));
    get(RETRIEVE_1469);
    assert_has("<body>b</body></from><note utc=\"1469-07-21T02:57:15Z\">n</note>"
               "<from secs=\"100\"><body>c</body></from><from secs=\"5\"><body>d");
    char xml[512];
    static const char one[] = "<retrieve" NS " with='juliet@capulet.com'"
                              " start='1469-07-21T02:56:15Z'>" RSM("%s") "</retrieve>";
    snprintf(xml, sizeof xml, one, "<max>3</max>");
    get(xml);
    assert_has("n</note><set");
    char anchor[128];
    snprintf(anchor, sizeof anchor, "<after>%s</after>", last());
    snprintf(xml, sizeof xml, one, anchor);
    get(xml);
    assert_has("<from utc=\"1469-07-21T02:58:05Z\"><body>c</body></from><from secs=\"5\">");
    snprintf(xml, sizeof xml, one, "<max>2</max><before/>");
    get(xml);
    assert_has("<from utc=\"1469-07-21T02:58:05Z\"><body>c</body></from><from secs=\"5\">");
}

static void links_and_the_form_come_first_and_are_replaced(void **state)
{
    (void)state;
    set(CHAT_1469("", "<from secs='0'><body>hi</body></from>"
                      "<x xmlns='jabber:x:data' type='submit'><field var='a'/></x>"
                      "<next with='a@b' start='1469-07-21T03:16:37Z'/>"
                      "<previous with='c@d' start='1469-07-21T03:01:54Z'/>"));
    get(RETRIEVE_1469);
    assert_has("version=\"0\"><previous with=\"c@d\" start=\"1469-07-21T03:01:54Z\"/>"
               "<next with=\"a@b\" start=\"1469-07-21T03:16:37Z\"/><x xmlns=\"jabber:x:data\""
               " type=\"submit\"><field var=\"a\"/></x><from secs=\"0\">");
    set(CHAT_1469("", "<next/><x xmlns='jabber:x:data' type='submit'/>"));
    get(RETRIEVE_1469);
    assert_has("version=\"1\"><previous with=\"c@d\" start=\"1469-07-21T03:01:54Z\"/>"
               "<x xmlns=\"jabber:x:data\" type=\"submit\"/><from secs=\"0\">");
    set(CHAT_1469("", "<next/><previous/>"));
    get(RETRIEVE_1469);
    assert_has("version=\"2\"><x xmlns=\"jabber:x:data\" type=\"submit\"/><from secs=\"0\">");
}

/* One collection, whoever stored what of it. */
static void a_client_adds_to_what_was_archived(void **state)
{
    (void)state;
    talk();
    assert_string_equal(
        set("<save" NS "><chat with='wang@chat.example' start='2026-03-04T01:00:00Z'"
            " subject='numbers'><to secs='4'><body>from elsewhere</body></to>"
            "<note>mine</note></chat></save>"),
        "<save xmlns=\"urn:xmpp:archive\"><chat with=\"wang@chat.example\""
        " start=\"2026-03-04T01:00:00Z\" subject=\"numbers\" version=\"2\"/></save>");
    get(RETRIEVE(""));
    assert_has("<from secs=\"0\"><body>one</body></from><to secs=\"4\"><body>from elsewhere"
               "</body></to><note>mine</note><to secs=\"5\"><body>two</body></to>");
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"), 7);
}

static void what_was_saved_gets_the_messages_of_its_name(void **state)
{
    (void)state;
    set("<save" NS "><chat with='wang@chat.example' start='2026-03-04T01:00:00Z'>"
        "<to secs='4'><body>saved</body></to></chat></save>");
    talk();
    get(RETRIEVE(""));
    assert_has(
        "version=\"2\"><from secs=\"0\"><body>one</body></from><to secs=\"4\"><body>saved"
        "</body></to><to secs=\"5\"><body>two</body></to>");
    get("<list" NS "/>");
    assert_string_equal(starts(), "0 1200 1260 3600 3660");
}

static void what_cannot_be_saved_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *error;
    } cases[] = {
        {"<save" NS "/>", "modify/bad-request"},
        {"<save" NS "><chat with='a@b'/></save>", "modify/bad-request"},
        {"<save" NS "><chat start='1469-07-21T02:56:15Z'/></save>", "modify/bad-request"},
        {"<save" NS "><chat with='@' start='1469-07-21T02:56:15Z'/></save>",
         "modify/jid-malformed"},
        {"<save" NS "><chat with='a@b' start='1469-07-21T02:56:15Z'/>"
         "<chat with='a@b' start='1469-07-21T02:56:15Z'/></save>",
         "modify/bad-request"},
        {CHAT_1469("", "<from secs='0'/>"), "modify/bad-request"},
        {CHAT_1469("", "<from secs='0'>text</from>"), "modify/bad-request"},
        {CHAT_1469("", "<from secs='-1'><body>x</body></from>"), "modify/bad-request"},
        {CHAT_1469("", "<from secs='x'><body>x</body></from>"), "modify/bad-request"},
        {CHAT_1469("", "<from secs='9999999999999'><body>x</body></from>"),
         "modify/bad-request"},
        {CHAT_1469("", "<from utc='now'><body>x</body></from>"), "modify/bad-request"},
        {CHAT_1469("", "<next with='a@b'/>"), "modify/bad-request"},
        {CHAT_1469("", "<previous with='a@b' start='then'/>"), "modify/bad-request"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(set(cases[i].xml), cases[i].error) != 0)
            fail_msg("%s: %s", cases[i].xml, told.answer);
    assert_int_equal(db_int("SELECT count(*) FROM xs.collection"), 0);
}

static void a_collection_and_an_account_have_an_end(void **state)
{
    (void)state;
    set(CHAT_1469("", "<from secs='0'><body>x</body></from>"));
    db_do("UPDATE xs.collection SET saved = 9999");
    set(CHAT_1469("", "<from secs='0'><body>x</body></from><to><body>y</body></to>"));
    assert_string_equal(told.answer, "modify/not-acceptable");
    set(CHAT_1469("", "<from secs='0'><body>x</body></from>"));
    assert_has("version=\"1\"");
    db_do("UPDATE xs.collected SET saved_bytes = (64 << 20) - 20");
    set(CHAT_1469("subject='x'", "<next with='a@b' start='1469-07-21T02:56:15Z'/>"));
    assert_string_equal(told.answer, "modify/not-acceptable");
    set(CHAT_1469("subject='x'", ""));
    assert_has("version=\"2\"");
    char xml[2048], *text = calloc(1, 1002);
    memset(text, 's', 1001);
    static const char *const names[] = {"thread", "subject"};
    for (int i = 0; i < 2; i++) {
        snprintf(xml, sizeof xml,
                 "<save" NS "><chat with='a@b' start='1469-07-21T02:56:15Z' %s='%s'/></save>",
                 names[i], text);
        assert_string_equal(set(xml), "modify/not-acceptable");
    }
    free(text);
}

/* What was removed takes no room, and says nothing of what comes under its name. */
static void a_name_is_free_again_when_its_collection_was_removed(void **state)
{
    (void)state;
    set(CHAT_1469("thread='old' subject='old'", "<from secs='0'><body>x</body></from>"));
    db_do("UPDATE xs.collection SET saved = 10000");
    assert_string_equal(set("<remove" NS "/>"), "");
    set(CHAT_1469("thread='new'", "<from secs='0'><body>y</body></from>"));
    assert_has("thread=\"new\" version=\"2\"");
    set(CHAT_1469("", "<from secs='1'><body>z</body></from>"));
    assert_has("thread=\"new\" version=\"3\"");
    get(RETRIEVE_1469);
    assert_has("<body>y</body></from><from secs=\"1\"><body>z</body></from><set");
}

/* --- removing (A8) ----------------------------------------------------------------------- */

static void removals(void **state)
{
    static const struct {
        const char *attrs, *left;
    } cases[] = {
        {"with='wang@chat.example' start='2026-03-04T01:20:00Z'", "0 1260 3600 3660"},
        {"with='wang@chat.example/phone' start='2026-03-04T01:20:00Z'", "0 1260 3600 3660"},
        {"with='wang@chat.example' start='2026-03-04T01:20:00Z' end='2026-03-04T02:00:00Z'",
         "0 1260 3600 3660"},
        {"with='wang@chat.example' start='2026-03-04T01:20:00Z' end='2038-01-01T00:00:00Z'",
         "0 1260 3660"},
        {"with='wang@chat.example'", "1260 3660"},
        {"with='other.example'", "0 1200 3600"},
        {"start='2026-03-04T01:20:00Z' end='2026-03-04T02:00:00.5Z'", "0 3660"},
        {"start='0000-01-01T00:00:00Z' end='2026-03-04T01:20:00Z'", "1200 1260 3600 3660"},
        {"start='2026-03-04T02:00:00Z'", "0 1200 1260"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char xml[512];
        end(state);
        begin(state);
        talk();
        snprintf(xml, sizeof xml, "<remove" NS " %s/>", cases[i].attrs);
        assert_string_equal(set(xml), "");
        if (strcmp(ask_starts("<list" NS "/>"), cases[i].left) != 0)
            fail_msg("%s: %s", cases[i].attrs, told.answer);
        set(xml);
        assert_string_equal(told.answer, "cancel/item-not-found");
    }
}

static void nothing_to_remove_is_not_found(void **state)
{
    (void)state;
    assert_string_equal(set("<remove" NS "/>"), "cancel/item-not-found");
    talk();
    static const char *const none[] = {"with='wang@chat.example' start='2026-03-04T01:20:01Z'",
                                       "with='nobody@chat.example'",
                                       "with='wang@chat.example/phone' exactmatch='true'",
                                       "with='other.example' exactmatch='true'",
                                       "end='2026-03-04T01:00:00Z'",
                                       "open='true'"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char xml[512];
        snprintf(xml, sizeof xml, "<remove" NS " %s/>", none[i]);
        assert_string_equal(set(xml), "cancel/item-not-found");
    }
    assert_string_equal(set("<remove" NS " start='then'/>"), "modify/bad-request");
    archive_ask(begin_ask, WANG, true, "<remove" NS "/>");
    assert_string_equal(told.answer, "cancel/item-not-found");
    assert_string_equal(ask_starts("<list" NS "/>"), "0 1200 1260 3600 3660");
}

static void only_what_is_being_recorded(void **state)
{
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    talk();
    double ago = (double)(now.tv_sec - BEGIN_S);
    say(WANG, false, ago - 16 * MINUTE, "over");
    say(LI, false, ago - 14 * MINUTE, "open");
    assert_string_equal(set("<remove" NS " with='wang@chat.example' open='true'/>"),
                        "cancel/item-not-found");
    assert_string_equal(set("<remove" NS " open='1'/>"), "");
    get("<list" NS "/>");
    assert_has("<count>6</count>");
}

/* The messages are gone, their places and the counts are right. */
static void what_is_removed_leaves_no_trace_but_its_place(void **state)
{
    (void)state;
    talk();
    db_do("UPDATE xs.conversation SET unread = 3, read_id = 0 WHERE jid = 'wang@chat.example';"
          "UPDATE xs.conversation SET unread = 1, read_id = first_id"
          " WHERE jid = 'li@other.example';"
          "UPDATE xs.account SET unread = 4, unread_conversations = 2;"
          "UPDATE xs.message SET body = 'text'");
    set(CHAT_1469("", "<from secs='0'><body>x</body></from>"));
    set("<remove" NS " with='wang@chat.example' end='2026-03-04T02:00:00Z'/>");
    assert_int_equal(db_int("SELECT unread FROM xs.conversation WHERE jid LIKE 'wang%'"), 1);
    assert_int_equal(db_int("SELECT unread FROM xs.account"), 2);
    assert_int_equal(db_int("SELECT unread_conversations FROM xs.account"), 2);
    set("<remove" NS "/>");
    assert_int_equal(db_int("SELECT sum(unread) FROM xs.conversation"), 0);
    assert_int_equal(db_int("SELECT unread + unread_conversations FROM xs.account"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.saved"), 0);
    assert_int_equal(db_int("SELECT saved_bytes FROM xs.collected"), 0);
    /* Clients with a copy hear of it. */
    get("<modified" NS " start='1970-01-01T00:00:00Z'/>");
    assert_has("<removed with=\"wang@chat.example\" start=\"2026-03-04T01:00:00Z\""
               " version=\"2\"/>");
    assert_has("<count>6</count>");
    assert_null(strstr(told.answer, "<changed"));
    /* What comes now is another one, though no silence was between. */
    say(LI, false, 61 * MINUTE + 0.5, "again");
    get("<list" NS "/>");
    assert_has("<list xmlns=\"urn:xmpp:archive\"><chat with=\"li@other.example\""
               " start=\"2026-03-04T02:01:00.5Z\" version=\"0\"/>");
}

/* A copy that comes late finds that it was there. */
static void what_is_removed_soon_keeps_its_place(void **state)
{
    (void)state;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    talk();
    say(WANG, false, (double)(now.tv_sec - BEGIN_S), "now");
    db_do("UPDATE xs.message SET body = 'text'");
    assert_string_equal(set("<remove" NS "/>"), "");
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 161 = 160"
                            " AND body IS NULL AND stanza = ''"),
                     1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"), 1);
    assert_int_equal(db_int("SELECT unread + unread_conversations FROM xs.account"), 0);
    assert_answer("<list" NS "/>", "<list xmlns=\"urn:xmpp:archive\"/>");
}

static void a_place_in_a_list_outlives_its_collection(void **state)
{
    (void)state;
    talk();
    char xml[512], place[64];
    get("<list" NS ">" RSM("<max>2</max>") "</list>");
    snprintf(place, sizeof place, "%s", last());
    set("<remove" NS " with='wang@chat.example' start='2026-03-04T01:20:00Z'/>");
    snprintf(xml, sizeof xml, "<list" NS ">" RSM("<after>%s</after>") "</list>", place);
    assert_string_equal(ask_starts(xml), "1260 3600 3660");
}

static void much_is_removed_in_several_steps(void **state)
{
    (void)state;
    say(WANG, false, 0, "one");
    db_do("INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
          " SELECT owner, id + n * 10 * (1000000::bigint << 8), peer, ref_id, 0, 1, stanza"
          " FROM xs.message, generate_series(1, 2500) n");
    for (int i = 0; i < 30; i++)
        say(LI, false, i * 16 * MINUTE + 1, "hi");
    assert_string_equal(set("<remove" NS "/>"), "");
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 32 = 0"), 0);
    assert_answer("<list" NS "/>", "<list xmlns=\"urn:xmpp:archive\"/>");
}

static int open_database(void **state)
{
    return db_open(state);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_archive_is_an_empty_list),
        TEST(collections_are_listed_by_their_start_with_every_attribute),
        TEST(filters),
        TEST(what_cannot_be_served_is_refused),
        TEST(pages_go_both_ways_and_miss_nothing),
        TEST(an_anchor_outside_the_filter_is_valid),
        TEST(an_anchor_of_another_account_is_unknown),
        TEST(two_that_begin_in_one_second_are_two_places),
        TEST(a_large_list_tells_no_count),
        TEST(a_page_of_a_list_is_cut_before_it_is_too_large_for_a_stanza),
        TEST(the_open_collection_grows),
        TEST(many_messages_are_gathered_in_several_steps),
        TEST(a_failed_message_is_in_none),
        TEST(threads_are_collections_of_their_own),
        TEST(changes_come_in_the_order_they_happened),
        TEST(changes_after_a_moment),
        TEST(a_collection_is_its_messages),
        TEST(the_sum_of_secs_is_the_time),
        TEST(messages_page_both_ways),
        TEST(the_whole_message_is_kept),
        TEST(a_collection_whose_messages_failed_later_is_empty),
        TEST(a_page_is_cut_before_it_is_too_large_for_a_stanza),
        TEST(large_messages_are_not_all_in_memory),
        TEST(a_message_that_no_stanza_can_hold_is_left_out),
        TEST(a_client_saves_appends_and_renames),
        TEST(saved_entries_of_one_moment_keep_their_order),
        TEST(the_first_of_a_page_behind_a_note_says_its_time),
        TEST(links_and_the_form_come_first_and_are_replaced),
        TEST(a_client_adds_to_what_was_archived),
        TEST(what_was_saved_gets_the_messages_of_its_name),
        TEST(what_cannot_be_saved_is_refused),
        TEST(a_collection_and_an_account_have_an_end),
        TEST(a_name_is_free_again_when_its_collection_was_removed),
        TEST(removals),
        TEST(nothing_to_remove_is_not_found),
        TEST(only_what_is_being_recorded),
        TEST(what_is_removed_leaves_no_trace_but_its_place),
        TEST(what_is_removed_soon_keeps_its_place),
        TEST(a_place_in_a_list_outlives_its_collection),
        TEST(much_is_removed_in_several_steps),
    };
    return cmocka_run_group_tests(tests, open_database, db_close);
}
