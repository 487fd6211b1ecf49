// SPDX-License-Identifier: Apache-2.0
/* Collections that grow, split and go while a client pages through them are what an array says
 * they are, and a client that follows the changes ends with what the list says. */
#include "archive/xep0136.h"

#include "archive_world.h"
#include "roll.h"

#include <limits.h>

#include "archive/rows.h"
#include "base/datetime.h"

#define MEI "mei@chat.example"
#define BEGIN_US INT64_C(1790812700000000) /* 100 s before two quarters meet */
#define GAP_US INT64_C(900000000)
#define SECOND_US INT64_C(1000000)
#define PEERS 3
#define CHATS_MAX 400
#define SAID_MAX 64
#define NS " xmlns='urn:xmpp:archive'"
#define RSM(inside) "<set xmlns='http://jabber.org/protocol/rsm'>" inside "</set>"

struct chat {
    unsigned peer;
    int64_t start_us;
    unsigned thread; /* 0: none */
    int64_t said_us[SAID_MAX];
    unsigned body[SAID_MAX];
    unsigned n;
    bool removed;
    unsigned listed;   /* in the walk that is under way */
    bool always;       /* it was there when that began */
    int known_version; /* of the client that follows changes; -1: it has none */
};

static struct chat chats[CHATS_MAX];
static unsigned chats_n;
static int open_chat[PEERS]; /* -1: none */
static int64_t now_us;
static int64_t last_id;
static unsigned said;
static struct xep0136 *x;

static const char *name_of(unsigned peer)
{
    static const char *const names[PEERS] = {"wang@chat.example", "li@other.example",
                                             "news.example"};
    return names[peer];
}

/* --- what happens ------------------------------------------------------------------------ */

static int64_t start_of(unsigned peer, int64_t at_us)
{
    int64_t last = INT64_MIN, units[] = {SECOND_US, 1000, 1};
    for (unsigned i = 0; i < chats_n; i++)
        if (chats[i].peer == peer && chats[i].start_us > last)
            last = chats[i].start_us;
    for (unsigned i = 0; i < 3; i++)
        if (at_us - at_us % units[i] > last)
            return at_us - at_us % units[i];
    return last + 1;
}

static struct chat *chat_for(unsigned peer, unsigned thread)
{
    struct chat *c = open_chat[peer] < 0 ? NULL : &chats[open_chat[peer]];
    bool fits = c && !c->removed && c->n < SAID_MAX &&
                now_us - c->said_us[c->n - 1] <= GAP_US &&
                (!thread || !c->thread || c->thread == thread);
    if (fits)
        return c;
    if (c && !c->removed && c->n == SAID_MAX) /* an array is full, no collection ever is */
        now_us = c->said_us[c->n - 1] + GAP_US + 1;
    assert_true(chats_n < CHATS_MAX);
    int64_t start_us = start_of(peer, now_us);
    open_chat[peer] = (int)chats_n;
    c = &chats[chats_n++];
    *c = (struct chat){.peer = peer, .start_us = start_us, .known_version = -1};
    return c;
}

static void say(void)
{
    static const int64_t steps[] = {
        0, 1, 900, 700000, 3 * SECOND_US, 60 * SECOND_US, GAP_US, GAP_US + 1};
    char stanza[512], thread_xml[64] = "";
    static unsigned peer;
    unsigned thread = roll(4) ? 0 : 1 + roll(2);
    peer = roll(2) ? peer : roll(PEERS);
    now_us += steps[roll(sizeof steps / sizeof *steps)];
    struct chat *c = chat_for(peer, thread);
    int64_t id = ident_id_from_us(now_us);
    last_id = id > last_id ? id : last_id + 1;
    if (thread)
        snprintf(thread_xml, sizeof thread_xml, "<thread>t%u</thread>", thread);
    if (!c->thread)
        c->thread = thread;
    c->said_us[c->n] = now_us;
    c->body[c->n++] = ++said;
    bool out = roll(2);
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s\" to=\"%s\"><body>%u</body>%s"
             "</message>",
             out ? MEI : name_of(peer), out ? name_of(peer) : MEI, said, thread_xml);
    archive_put(MEI, name_of(peer), last_id, out ? ROW_OUTGOING : ROW_COUNTED, stanza);
}

/* --- asking ------------------------------------------------------------------------------ */

static void begin_ask(const struct archive_request *r, const struct archive_answer *answer)
{
    xep0136_ask(x, r, answer);
}

static const char *ask(bool is_set, const char *xml)
{
    archive_ask(begin_ask, MEI, is_set, xml);
    if (strncmp(told.answer, "<", 1) != 0 && *told.answer)
        fail_msg("%s: %s", told.answer, xml);
    return told.answer;
}

/* An attribute or text of an element that begins at at; "" when it is not there. */
static const char *part(const char *at, const char *before, const char *after)
{
    static char found[4][128];
    static unsigned turn;
    char *out = found[turn++ % 4];
    const char *begin = strstr(at, before), *end;
    out[0] = '\0';
    if (begin && (end = strstr(begin + strlen(before), after)))
        snprintf(out, sizeof found[0], "%.*s", (int)(end - begin - (long)strlen(before)),
                 begin + strlen(before));
    return out;
}

static struct chat *chat_named(const char *at)
{
    int64_t start_us = 0;
    const char *with = part(at, " with=\"", "\"");
    assert_true(datetime_parse_any(part(at, " start=\"", "\""), &start_us));
    for (unsigned i = 0; i < chats_n; i++)
        if (chats[i].start_us == start_us && strcmp(name_of(chats[i].peer), with) == 0)
            return &chats[i];
    fail_msg("there is no such collection: %.200s", at);
    return NULL;
}

static void add_page(struct buf *xml, bool backward, const char *at, unsigned max)
{
    buf_addf(xml, "<set xmlns='http://jabber.org/protocol/rsm'><max>%u</max>", max);
    const char *name = backward ? "before" : "after";
    if (*at)
        buf_addf(xml, "<%s>%s</%s>", name, at, name);
    else if (backward)
        buf_add_str(xml, "<before/>");
    buf_add_str(xml, "</set>");
}

/* The place for the next page; "" at the end. */
static const char *next_place(bool backward)
{
    if (!backward)
        return part(told.answer, "<last>", "</last>");
    const char *first = part(told.answer, "<first>", "</first>");
    return *first ? first : part(told.answer, "<first index=\"0\">", "</first>");
}

static void remove_some(void)
{
    char xml[256], start[DATETIME_BYTES];
    struct chat *c = &chats[roll(chats_n)];
    if (c->removed)
        return;
    datetime_format_short(c->start_us, start);
    snprintf(xml, sizeof xml, "<remove" NS " with='%s' start='%s'/>", name_of(c->peer), start);
    assert_string_equal(ask(true, xml), "");
    c->removed = true;
}

/* Between two pages. */
static void live_on(void)
{
    for (unsigned n = roll(3); n > 0 && chats_n < CHATS_MAX - 50; n--)
        say();
    if (roll(4) == 0)
        remove_some();
}

/* --- lists ------------------------------------------------------------------------------- */

static void take_list(bool backward, int64_t *edge_us)
{
    int64_t previous_us = INT64_MIN, first_us = 0;
    const char *at = told.answer;
    for (unsigned n = 0; (at = strstr(at, "<chat ")); at++, n++) {
        char thread[32];
        struct chat *c = chat_named(at);
        const char *end = strchr(at, '>');
        snprintf(thread, sizeof thread, c->thread ? "t%u" : "", c->thread);
        const char *its = part(at, " thread=\"", "\"");
        bool has = strstr(at, " thread=\"") && strstr(at, " thread=\"") < end;
        assert_string_equal(has ? its : "", thread);
        assert_int_equal(atoi(part(at, " version=\"", "\"")), (int)c->n - 1);
        assert_false(c->removed);
        assert_true(c->start_us >= previous_us); /* A6 */
        previous_us = c->start_us;
        first_us = n == 0 ? c->start_us : first_us;
        c->listed++;
    }
    if (previous_us == INT64_MIN)
        return;
    /* Pages go on where the one before ended. */
    assert_true(backward ? previous_us <= *edge_us : first_us >= *edge_us);
    *edge_us = backward ? first_us : previous_us;
}

static void walk_list(bool backward, unsigned max)
{
    char place[128] = "";
    int64_t edge_us = backward ? INT64_MAX : INT64_MIN;
    for (unsigned i = 0; i < chats_n; i++) {
        chats[i].listed = 0;
        chats[i].always = !chats[i].removed;
    }
    do {
        struct buf xml;
        buf_init(&xml, 1024);
        buf_add_str(&xml, "<list" NS ">");
        add_page(&xml, backward, place, max);
        buf_add_str(&xml, "</list>");
        ask(false, buf_cstr(&xml));
        buf_deinit(&xml);
        take_list(backward, &edge_us);
        snprintf(place, sizeof place, "%s", next_place(backward));
        live_on();
    } while (*place);
    for (unsigned i = 0; i < chats_n; i++) {
        const struct chat *c = &chats[i];
        if (c->listed > 1 || (c->listed == 0 && c->always && !c->removed))
            fail_msg("collection %u of %u was listed %u times", i, chats_n, c->listed);
    }
}

/* --- one collection ---------------------------------------------------------------------- */

/* The bodies in a page, and where its messages stand in time. */
static unsigned take_page(const struct chat *c, unsigned from, bool backward)
{
    unsigned bodies[SAID_MAX], n = 0;
    for (const char *at = told.answer; (at = strstr(at, "<body>")); at++)
        bodies[n++] = (unsigned)atoi(at + 6);
    unsigned begin = backward ? from - n : from;
    int64_t before_s = begin ? (c->said_us[begin - 1] - c->start_us) / SECOND_US : 0;
    const char *at = told.answer;
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(bodies[i], c->body[begin + i]);
        int64_t at_s = (c->said_us[begin + i] - c->start_us) / SECOND_US;
        at = strstr(at, " secs=\""); /* A4 */
        assert_non_null(at);
        assert_int_equal(atoi(at + 7), at_s - before_s);
        before_s = at_s;
        at++;
    }
    return n;
}

static void walk_chat(const struct chat *c, bool backward, unsigned max)
{
    char place[128] = "", start[DATETIME_BYTES];
    unsigned before = c->n, seen = 0;
    datetime_format_short(c->start_us, start);
    do {
        struct buf xml;
        buf_init(&xml, 1024);
        buf_addf(&xml, "<retrieve" NS " with='%s' start='%s'>", name_of(c->peer), start);
        add_page(&xml, backward, place, max);
        buf_add_str(&xml, "</retrieve>");
        ask(false, buf_cstr(&xml));
        buf_deinit(&xml);
        unsigned n = take_page(c, backward ? before - seen : seen, backward);
        assert_true(n <= max);
        seen += n;
        snprintf(place, sizeof place, "%s", next_place(backward));
        if (roll(2) && chats_n < CHATS_MAX - 50)
            say();
    } while (*place);
    assert_int_equal(seen, backward ? before : c->n);
}

/* --- changes ----------------------------------------------------------------------------- */

static void follow_changes(char place[128], unsigned max)
{
    do {
        struct buf xml;
        buf_init(&xml, 1024);
        buf_add_str(&xml, "<modified" NS " start='1970-01-01T00:00:00Z'>");
        add_page(&xml, false, place, max);
        buf_add_str(&xml, "</modified>");
        ask(false, buf_cstr(&xml));
        buf_deinit(&xml);
        for (const char *at = told.answer; (at = strstr(at, " with=\"")); at++) {
            struct chat *c = chat_named(at);
            bool removed = at - told.answer > 8 && strncmp(at - 8, "<removed", 8) == 0;
            int version = atoi(part(at, " version=\"", "\""));
            assert_true(version > c->known_version);
            assert_true(removed || version < (int)c->n);
            c->known_version = removed ? INT_MAX : version;
        }
        const char *next = next_place(false);
        if (!*next)
            return;
        snprintf(place, 128, "%s", next);
        if (roll(3) == 0)
            live_on();
    } while (true);
}

static void a_client_that_follows_changes_has_what_there_is(void **state)
{
    (void)state;
    char place[128] = "";
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned n = 4 + roll(12); n > 0; n--)
            say();
        follow_changes(place, 1 + roll(6));
        for (unsigned i = 0; i < chats_n; i++)
            assert_int_equal(chats[i].known_version,
                             chats[i].removed ? INT_MAX : (int)chats[i].n - 1);
    }
}

static void lists_and_collections_are_paged_while_they_change(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 14; round++) {
        for (unsigned n = 8 + roll(20); n > 0; n--)
            say();
        walk_list(round % 2, 1 + roll(7));
        for (unsigned i = 0; i < chats_n; i++)
            if (!chats[i].removed && chats[i].n > 2 + roll(4))
                walk_chat(&chats[i], roll(2), 1 + roll(5));
    }
}

/* --- the world --------------------------------------------------------------------------- */

static int begin(void **state)
{
    (void)state;
    settings = (struct archive_opts){
        .page_max = 250, .page_default = 50, .conversation_gap_ms = GAP_US / 1000};
    archive_begin(BEGIN_US / SECOND_US);
    db_do("SELECT xs.ensure_partition(to_timestamp(1790812801))");
    x = xep0136_new(&settings, lookups);
    now_us = BEGIN_US;
    last_id = chats_n = said = 0;
    rng = 11;
    for (unsigned i = 0; i < PEERS; i++)
        open_chat[i] = -1;
    return 0;
}

static int end(void **state)
{
    (void)state;
    archive_end();
    xep0136_free(&x);
    return 0;
}

static int open_database(void **state)
{
    return db_open(state);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(lists_and_collections_are_paged_while_they_change),
        TEST(a_client_that_follows_changes_has_what_there_is),
    };
    return cmocka_run_group_tests(tests, open_database, db_close);
}
