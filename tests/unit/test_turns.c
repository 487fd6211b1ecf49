// SPDX-License-Identifier: Apache-2.0
#include "archive/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MANY 40

/* A turn with a name: who begins writes it down. */
struct asker {
    struct turn turn; /* first */
    char name;
    bool at_once; /* gives back as soon as it begins */
};

static struct turns *turns;
static struct asker askers[MANY];
static char begun[MANY + 1];

static void go(struct turn *t)
{
    struct asker *a = (struct asker *)t;
    size_t n = strlen(begun);
    assert_true(n < MANY);
    begun[n] = a->name;
    if (a->at_once)
        turns_give_back(turns, t);
}

static void start(unsigned running_max, unsigned running_each, unsigned waiting_each)
{
    struct turn_limits limits[TURN_WEIGHTS];
    for (int w = 0; w < TURN_WEIGHTS; w++)
        limits[w] = (struct turn_limits){running_max, running_each, waiting_each};
    memset(askers, 0, sizeof askers);
    memset(begun, 0, sizeof begun);
    turns = turns_new(limits);
}

static int finish(void **state)
{
    (void)state;
    turns_free(&turns);
    return 0;
}

static bool take(unsigned n, char name, uint8_t owner, enum turn_weight w)
{
    const uint8_t id[OWNER_BYTES] = {owner};
    askers[n].name = name;
    return turns_take(turns, &askers[n].turn, id, w, go);
}

static void give_back(char name)
{
    for (unsigned n = 0; n < MANY; n++)
        if (askers[n].name == name && askers[n].turn.state != TURN_NONE) {
            turns_give_back(turns, &askers[n].turn);
            return;
        }
    fail_msg("%c has no turn", name);
}

static void one_accounts_many_never_come_before_anothers_one(void **state)
{
    (void)state;
    start(2, 2, 10);
    for (unsigned n = 0; n < 6; n++)
        assert_true(take(n, (char)('a' + n), 1, TURN_PAGE));
    assert_true(take(10, 'X', 2, TURN_PAGE));
    assert_true(take(11, 'Y', 3, TURN_PAGE));
    assert_string_equal(begun, "ab");
    give_back('a'); /* X, though four of the first account have waited for longer */
    assert_string_equal(begun, "abX");
    give_back('X');
    give_back('b');
    assert_string_equal(begun, "abXYc");
    for (const char *c = "Ycdef"; *c; c++)
        give_back(*c);
    assert_string_equal(begun, "abXYcdef");
}

static void an_account_runs_only_so_many(void **state)
{
    (void)state;
    start(10, 2, 10);
    for (unsigned n = 0; n < 4; n++)
        assert_true(take(n, (char)('a' + n), 1, TURN_PAGE));
    assert_string_equal(begun, "ab");
    assert_true(take(10, 'X', 2, TURN_PAGE));
    assert_string_equal(begun, "abX");
    give_back('b');
    assert_string_equal(begun, "abXc");
    for (const char *c = "aXcd"; *c; c++)
        give_back(*c);
}

static void scans_wait_only_for_scans(void **state)
{
    (void)state;
    start(1, 1, 10);
    assert_true(take(0, 's', 1, TURN_SCAN));
    assert_true(take(1, 't', 2, TURN_SCAN));
    assert_true(take(2, 'p', 1, TURN_PAGE));
    assert_string_equal(begun, "sp"); /* the same account's page, too */
    give_back('s');
    assert_string_equal(begun, "spt");
    give_back('p');
    give_back('t');
}

static void too_many_waiting_are_refused(void **state)
{
    (void)state;
    start(1, 1, 2);
    assert_true(take(0, 'a', 1, TURN_PAGE));
    assert_true(take(1, 'b', 1, TURN_PAGE));
    assert_true(take(2, 'c', 1, TURN_PAGE));
    assert_false(take(3, 'd', 1, TURN_PAGE));
    assert_true(take(4, 'X', 2, TURN_PAGE)); /* others are not */
    turns_give_back(turns, &askers[3].turn); /* not taken: nothing */
    for (const char *c = "aXbc"; *c; c++)
        give_back(*c);
    assert_string_equal(begun, "aXbc");
}

static void one_that_waits_can_leave(void **state)
{
    (void)state;
    start(1, 1, 10);
    for (unsigned n = 0; n < 4; n++)
        assert_true(take(n, (char)('a' + n), 1, TURN_PAGE));
    assert_true(take(10, 'X', 2, TURN_PAGE));
    give_back('c');
    give_back('d'); /* the last of its queue */
    give_back('X'); /* the only one of its account */
    assert_true(take(5, 'e', 1, TURN_PAGE));
    give_back('a');
    give_back('b');
    give_back('e');
    assert_string_equal(begun, "abe");
}

static void while_held_nobody_begins(void **state)
{
    (void)state;
    start(2, 2, 10);
    assert_true(take(0, 'a', 1, TURN_PAGE));
    turns_hold(turns, true);
    assert_true(turns_are_held(turns));
    assert_true(take(1, 'b', 1, TURN_PAGE));
    give_back('a');
    assert_string_equal(begun, "a");
    turns_hold(turns, false);
    assert_string_equal(begun, "ab");
    give_back('b');
}

static void one_that_ends_at_once_makes_room_at_once(void **state)
{
    (void)state;
    start(1, 1, 30);
    turns_hold(turns, true);
    for (unsigned n = 0; n < 20; n++) {
        askers[n].at_once = true;
        assert_true(take(n, (char)('a' + n), (uint8_t)(n % 3), n % 2 ? TURN_PAGE : TURN_SCAN));
    }
    turns_hold(turns, false);
    assert_int_equal(strlen(begun), 20);
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, finish)
    const struct CMUnitTest tests[] = {
        T(one_accounts_many_never_come_before_anothers_one),
        T(an_account_runs_only_so_many),
        T(scans_wait_only_for_scans),
        T(too_many_waiting_are_refused),
        T(one_that_waits_can_leave),
        T(while_held_nobody_begins),
        T(one_that_ends_at_once_makes_room_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
