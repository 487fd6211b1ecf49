// SPDX-License-Identifier: Apache-2.0
/* Rules named P: docs/archive.md. */
#include "archive/prefs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "archive/prefs_cache.h"
#include "base/buf.h"

#define LI "li@chat.example"

struct rule {
    enum prefs_mode mode;
    const char *always;
    const char *never;
    bool in_roster;
    const char *resource;
    bool want;
};

static void p4_p5_lists_are_matched_exactly_then_bare_and_never_wins_a_draw(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {PREFS_ALWAYS, "", "", false, "pad", true},
        {PREFS_NEVER, "", "", true, "pad", false},
        {PREFS_ROSTER, "", "", true, "pad", true},
        {PREFS_ROSTER, "", "", false, "pad", false},
        /* a list beats the mode */
        {PREFS_NEVER, LI "\n", "", false, "pad", true},
        {PREFS_ALWAYS, "", LI "\n", false, "pad", false},
        {PREFS_ROSTER, LI "\n", "", false, "pad", true},
        {PREFS_ROSTER, "", LI "\n", true, "pad", false},
        /* who is meant */
        {PREFS_ALWAYS, "", LI "/pad\n", false, "pad", false},
        {PREFS_ALWAYS, "", LI "/pad\n", false, "phone", true},
        {PREFS_ALWAYS, "", LI "/pad\n", false, "", true},
        {PREFS_ALWAYS, "", LI "/pad\n", false, "pad2", true},
        {PREFS_ALWAYS, "", "chat.example\n", false, "pad", true},
        {PREFS_ALWAYS, "", "x" LI "\n" LI "x\n", false, "pad", true},
        {PREFS_ALWAYS, "", "a@b\n\nc@d\n" LI, false, "pad", false},
        /* both lists */
        {PREFS_ALWAYS, LI "\n", LI "\n", false, "pad", false},
        {PREFS_ALWAYS, LI "/pad\n", LI "\n", false, "pad", true},
        {PREFS_ALWAYS, LI "/pad\n", LI "\n", false, "phone", false},
        {PREFS_NEVER, LI "\n", LI "/pad\n", false, "pad", false},
        {PREFS_NEVER, LI "\n", LI "/pad\n", false, "phone", true},
        {PREFS_ALWAYS, LI "/pad\n", LI "/pad\n", false, "pad", false},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        struct prefs p = {.mode = r->mode, .always = r->always, .never = r->never};
        if (prefs_want(&p, r->in_roster, LI, r->resource) != r->want)
            fail_msg("row %zu: mode %s always '%s' never '%s' resource '%s'", i,
                     prefs_mode_name(r->mode), r->always, r->never, r->resource);
    }
}

static void p6_addresses_are_prepared_before_they_are_kept(void **state)
{
    (void)state;
    struct buf list;
    char jid[PREFS_JID_BYTES];
    buf_init(&list, PREFS_LIST_BYTES);
    assert_true(prefs_list_add(&list, "Lao.Wang@CHAT.example"));
    assert_true(prefs_list_add(&list, "LI@chat.example/Pad"));
    assert_false(prefs_list_add(&list, "@"));
    assert_false(prefs_list_add(&list, "a@b\nc@d"));
    assert_false(prefs_list_add(&list, ""));
    const char *at = buf_cstr(&list);
    assert_string_equal(at, "lao.wang@chat.example\nli@chat.example/Pad\n");
    assert_true(prefs_list_next(&at, jid));
    assert_string_equal(jid, "lao.wang@chat.example");
    assert_true(prefs_list_next(&at, jid));
    assert_string_equal(jid, "li@chat.example/Pad");
    assert_false(prefs_list_next(&at, jid));
    buf_deinit(&list);
}

static void modes_have_names(void **state)
{
    (void)state;
    enum prefs_mode mode;
    for (int i = PREFS_ALWAYS; i <= PREFS_ROSTER; i++) {
        assert_true(prefs_mode_read(prefs_mode_name((enum prefs_mode)i), &mode));
        assert_int_equal(mode, i);
    }
    assert_false(prefs_mode_read("Always", &mode));
    assert_false(prefs_mode_read("", &mode));
    assert_false(prefs_mode_read(NULL, &mode));
}

/* --- the cache -------------------------------------------------------------------------- */

#define SECOND INT64_C(1000000)

static const uint8_t mei[OWNER_BYTES] = {1, [15] = 1};
static const uint8_t wang[OWNER_BYTES] = {1, [15] = 2};
static const uint8_t one_contact[] = {0, 0, 0, 0, 0, 0, 0, 7};

static bool wants(struct prefs_cache *c, const uint8_t *owner, uint64_t peer, int64_t now_us,
                  bool *due)
{
    const struct prefs_case of = {.owner = owner,
                                  .owner_jid = "mei@chat.example",
                                  .peer = peer,
                                  .bare = LI,
                                  .resource = "pad",
                                  .now_us = now_us};
    return prefs_cache_wants(c, 3, &of, due);
}

static void a_lane_knows_what_it_was_told_until_it_forgets(void **state)
{
    (void)state;
    struct prefs_cache *c = prefs_cache_new(PREFS_ALWAYS, 8);
    bool due;
    assert_false(prefs_cache_knows(c, 3, mei));
    prefs_cache_put_nothing(c, 3, mei);
    assert_true(prefs_cache_knows(c, 3, mei));
    assert_false(prefs_cache_knows(c, 4, mei));
    assert_false(prefs_cache_knows(c, 3, wang));
    assert_true(wants(c, mei, 7, SECOND, &due));
    prefs_cache_put(c, 3, mei,
                    &(struct prefs){.mode = PREFS_NEVER, .always = "", .never = ""});
    assert_false(wants(c, mei, 7, SECOND, &due));
    assert_true(wants(c, wang, 7, SECOND, &due));
    assert_false(due);
    prefs_cache_forget(c, 3);
    assert_false(prefs_cache_knows(c, 3, mei));
    prefs_cache_put_any(c, 3, false);
    assert_true(prefs_cache_knows(c, 3, mei) && prefs_cache_knows(c, 3, wang));
    assert_false(prefs_cache_knows(c, 4, mei));
    prefs_cache_put(c, 3, mei,
                    &(struct prefs){.mode = PREFS_NEVER, .always = "", .never = ""});
    assert_true(prefs_cache_knows(c, 3, mei));
    assert_false(prefs_cache_knows(c, 3, wang));
    prefs_cache_put_any(c, 3, false);
    prefs_cache_forget(c, 3);
    assert_false(prefs_cache_knows_any(c, 3) || prefs_cache_knows(c, 3, wang));
    prefs_cache_free(&c);
}

static void who_is_dropped_for_room_is_asked_for_again(void **state)
{
    (void)state;
    struct prefs_cache *c = prefs_cache_new(PREFS_ALWAYS, 8);
    static char never[PREFS_LIST_BYTES];
    memset(never, 'x', sizeof never - 1);
    uint8_t owner[OWNER_BYTES] = {0};
    for (int i = 0; i < 40; i++) {
        owner[8] = (uint8_t)i;
        prefs_cache_begin(c, 3);
        prefs_cache_put_nothing(c, 3, owner);
        prefs_cache_put(c, 3, owner,
                        &(struct prefs){.mode = PREFS_NEVER, .always = "", .never = never});
        assert_true(prefs_cache_knows(c, 3, owner));
    }
    owner[8] = 0;
    assert_false(prefs_cache_knows(c, 3, owner)); /* not "has nothing" */
    prefs_cache_free(&c);
}

static void a_roster_decides_and_is_asked_for_when_it_is_missing_or_old(void **state)
{
    (void)state;
    struct prefs_cache *c = prefs_cache_new(PREFS_ROSTER, 8);
    int64_t now = 1000000 * SECOND;
    bool due;
    /* Not known: everything is kept, and it is asked for once a minute. */
    assert_true(wants(c, mei, 7, now, &due));
    assert_true(due);
    assert_true(wants(c, mei, 8, now + SECOND, &due));
    assert_false(due);
    assert_true(wants(c, mei, 8, now + 61 * SECOND, &due));
    assert_true(due);
    prefs_cache_put_roster(c, 3, mei, one_contact, 1, now + 62 * SECOND);
    assert_true(wants(c, mei, 7, now + 63 * SECOND, &due));
    assert_false(wants(c, mei, 8, now + 63 * SECOND, &due));
    assert_false(due);
    /* An hour later it still decides, and is asked for. */
    assert_false(wants(c, mei, 8, now + 3700 * SECOND, &due));
    assert_true(due);
    /* Preferences that come later leave the roster as it is. */
    prefs_cache_put(c, 3, mei,
                    &(struct prefs){.mode = PREFS_ROSTER, .always = LI "/pad", .never = ""});
    assert_true(wants(c, mei, 8, now + 3701 * SECOND, &due));
    prefs_cache_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p4_p5_lists_are_matched_exactly_then_bare_and_never_wins_a_draw),
        cmocka_unit_test(p6_addresses_are_prepared_before_they_are_kept),
        cmocka_unit_test(modes_have_names),
        cmocka_unit_test(a_lane_knows_what_it_was_told_until_it_forgets),
        cmocka_unit_test(who_is_dropped_for_room_is_asked_for_again),
        cmocka_unit_test(a_roster_decides_and_is_asked_for_when_it_is_missing_or_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
