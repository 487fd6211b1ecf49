// SPDX-License-Identifier: Apache-2.0
/* Conversations that move to the top, fail and begin while a client pages through them: each
 * that stays where it is comes once, none twice, and every page is what an array says. */
#include "archive/inbox.h"

#include "archive_world.h"
#include "roll.h"

#include "archive/rows.h"

#define MEI "mei@chat.example"
#define BEGIN_US INT64_C(1790812799000000) /* a second before two quarters meet */
#define PEERS 40

struct conversation {
    bool begun;
    int64_t last_id;  /* its place */
    int64_t shown_id; /* its newest message that is shown; 0: none */
    unsigned unread;
    unsigned listed; /* in the walk that is under way */
    bool still;      /* it has not changed since that began */
};

static struct conversation all[PEERS];
static int64_t last_id;

/* What the last question was answered with. */
static struct page {
    unsigned peers[PEERS];
    unsigned n;
} page;

static void say(void)
{
    static const int64_t steps[] = {1, 2, 255, 256, 256 * 1000, 256 * INT64_C(400000)};
    char peer[64], stanza[256];
    unsigned n = roll(PEERS);
    struct conversation *c = &all[n];
    bool failed = roll(5) == 0, counts = !failed && roll(2);
    last_id += steps[roll(6)];
    snprintf(peer, sizeof peer, "p%u@chat.example", n);
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s\"><body>hi</body></message>", peer);
    archive_put(MEI, peer, last_id, failed ? ROW_HIDDEN : counts ? ROW_COUNTED : 0, stanza);
    c->begun = true;
    c->still = false;
    c->last_id = last_id;
    c->shown_id = failed ? c->shown_id : last_id;
    c->unread += counts;
}

/* --- asking ------------------------------------------------------------------------------ */

static bool on_result(void *ctx, const void *xml, size_t len)
{
    (void)ctx;
    const char *jid = memmem(xml, len, " jid=\"p", 7);
    assert_non_null(jid);
    assert_true(page.n < PEERS);
    page.peers[page.n++] = (unsigned)atoi(jid + 7);
    return true;
}

static void begin_ask(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_ask(lookups, &settings, r, answer);
}

static void ask(const char *xml)
{
    page = (struct page){.n = 0};
    const char *answer = archive_ask_each(begin_ask, MEI, false, xml, on_result);
    if (*answer != '<')
        fail_msg("%s", answer);
}

/* --- what the answer must be ------------------------------------------------------------- */

static bool is_listed(const struct conversation *c, bool unread_only)
{
    return c->shown_id > 0 && (c->unread > 0 || !unread_only);
}

/* The nearest that is listed, strictly between, from the end that is meant; PEERS: none. */
static unsigned nearest(int64_t above, int64_t below, bool newest, bool unread_only)
{
    unsigned found = PEERS;
    for (unsigned i = 0; i < PEERS; i++) {
        const struct conversation *c = &all[i];
        if (!is_listed(c, unread_only) || c->last_id <= above || c->last_id >= below)
            continue;
        bool nearer = found == PEERS || (newest ? c->last_id > all[found].last_id
                                                : c->last_id < all[found].last_id);
        found = nearer ? i : found;
    }
    return found;
}

static void expect_page(int64_t at, bool backward, unsigned max, bool unread_only)
{
    unsigned wanted[PEERS], n = 0;
    int64_t above = backward ? at : 0, below = backward ? INT64_MAX : at;
    for (unsigned i; n < max; n++) {
        if ((i = nearest(above, below, !backward, unread_only)) == PEERS)
            break;
        wanted[n] = i;
        *(backward ? &above : &below) = all[i].last_id;
    }
    assert_int_equal(page.n, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(page.peers[i], wanted[backward ? n - 1 - i : i]);
    unsigned total = 0, with_unread = 0, unread = 0;
    for (unsigned i = 0; i < PEERS; i++) {
        total += all[i].begun;
        with_unread += all[i].unread > 0;
        unread += all[i].unread;
    }
    char fin[256];
    snprintf(fin, sizeof fin,
             "<fin xmlns=\"urn:xmpp:inbox:1\" total=\"%u\" unread=\"%u\" all-unread=\"%u\">",
             total, with_unread, unread);
    if (strncmp(told.answer, fin, strlen(fin)) != 0)
        fail_msg("%s instead of %s", told.answer, fin);
}

static void walk(bool backward, unsigned max, bool unread_only)
{
    char xml[512], place[64] = "";
    int64_t at = backward ? 0 : INT64_MAX;
    for (unsigned i = 0; i < PEERS; i++) {
        all[i].listed = 0;
        all[i].still = true;
    }
    for (unsigned pages = 0; pages == 0 || page.n > 0; pages++) {
        assert_true(pages < 200);
        const char *name = backward ? "before" : "after";
        snprintf(
            xml, sizeof xml,
            "<inbox xmlns='urn:xmpp:inbox:1' messages='%s' unread-only='%s'><set"
            " xmlns='http://jabber.org/protocol/rsm'><max>%u</max><%s>%s</%s></set></inbox>",
            roll(2) ? "true" : "false", unread_only ? "true" : "false", max, name, place,
            name);
        ask(xml);
        expect_page(at, backward, max, unread_only);
        for (unsigned i = 0; i < page.n; i++)
            all[page.peers[i]].listed++;
        const char *edge = strstr(told.answer, backward ? "<first>" : "<last>");
        if (edge) {
            snprintf(place, sizeof place, "%.36s", strchr(edge, '>') + 1);
            at = all[page.peers[backward ? 0 : page.n - 1]].last_id;
        }
        /* Backwards, towards the newest, whoever talks is never overtaken. */
        for (unsigned n = backward ? 0 : roll(4); n > 0; n--)
            say();
    }
    for (unsigned i = 0; i < PEERS; i++) {
        const struct conversation *c = &all[i];
        bool must = c->still && is_listed(c, unread_only);
        if (c->listed > 1 || (c->listed == 0 && must))
            fail_msg("conversation %u was listed %u times", i, c->listed);
    }
}

static void pages_are_what_an_array_says_while_conversations_move(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned n = roll(12); n > 0; n--)
            say();
        settings.groupchat = roll(2);
        walk(roll(3) == 0, 1 + roll(9), roll(3) == 0);
    }
}

static int begin(void **state)
{
    if (db_open(state))
        return -1;
    settings = (struct archive_opts){.page_max = 250, .page_default = 50};
    archive_begin(BEGIN_US / 1000000);
    db_do("SELECT xs.ensure_partition(to_timestamp(1790812801))");
    last_id = ident_id_from_us(BEGIN_US);
    rng = 5;
    return 0;
}

static int finish(void **state)
{
    archive_end();
    return db_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_what_an_array_says_while_conversations_move),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
