// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apns/opts.h"
#include "sidecar/policy.h"

#define S INT64_C(1000000)
#define T0 (INT64_C(1800000000) * S)

static const struct push_opts opts = {
    .settle_ms = 500, .confirm_after_ms = 20000, .while_active_elsewhere_ms = 60000};

struct row {
    const char *name;
    uint64_t peer;
    enum session_state state;
    int64_t own, others, now; /* seconds after T0, when the message was counted; own, others:
                                 -1000 = never */
    enum outbox_answer answer;
    int64_t again_ms;
};

#define NEVER (-1000)

static struct outbox_decision decide(const struct push_opts *o, const struct row *r)
{
    struct outbox_candidate c = {.account = "a@b",
                                 .resource = "phone",
                                 .peer = r->peer,
                                 .counted_us = T0,
                                 .newest_us = T0};
    struct policy_presence p = {
        .state = r->state,
        .own_seen_us = r->own == NEVER ? 0 : T0 + r->own * S,
        .others_seen_us = r->others == NEVER ? 0 : T0 + r->others * S,
    };
    return policy_decide(o, &c, &p, T0 + r->now * S);
}

static void each_line_of_the_table_has_its_decision(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"nobody online", 7, SESSION_OFFLINE, NEVER, NEVER, 1, OUTBOX_NOW, 0},
        {"a test that the account asked for", OUTBOX_TEST_PEER, SESSION_ONLINE, 1, 1, 1,
         OUTBOX_NOW, 0},
        {"a call, whoever is online", (uint64_t)-2, SESSION_ONLINE, 1, 1, 1, OUTBOX_NOW, 0},
        {"somebody online, not yet confirmed", 7, SESSION_ONLINE, NEVER, -5, 1, OUTBOX_WAIT,
         19001},
        {"unknown counts as online", 7, SESSION_UNKNOWN, NEVER, NEVER, 1, OUTBOX_WAIT, 19001},
        {"unknown is pushed once confirmed", 7, SESSION_UNKNOWN, NEVER, NEVER, 20, OUTBOX_NOW,
         0},
        {"the device's own resource was seen since", 7, SESSION_ONLINE, 3, NEVER, 20,
         OUTBOX_SKIP, 0},
        {"its last sign is older than the message", 7, SESSION_ONLINE, -3, NEVER, 20,
         OUTBOX_NOW, 0},
        {"another resource is in use", 7, SESSION_ONLINE, NEVER, -10, 20, OUTBOX_WAIT, 60001},
        {"another resource still in use later", 7, SESSION_ONLINE, NEVER, 70, 80, OUTBOX_NOW,
         0},
        {"another resource is idle", 7, SESSION_ONLINE, NEVER, -101, 20, OUTBOX_NOW, 0},
        {"read elsewhere", 0, SESSION_ONLINE, NEVER, 0, 2, OUTBOX_NOW, 0},
        {"read elsewhere while the device is idle", 0, SESSION_ONLINE, -60, 0, 2, OUTBOX_NOW,
         0},
        {"read on the device itself", 0, SESSION_ONLINE, -1, NEVER, 2, OUTBOX_SKIP, 0},
        {"read on the device itself beside another", 0, SESSION_ONLINE, 0, -1, 2, OUTBOX_SKIP,
         0},
        {"read elsewhere while the device is in use", 0, SESSION_ONLINE, -1, 0, 2, OUTBOX_NOW,
         0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outbox_decision d = decide(&opts, &rows[i]);
        if (d.answer != rows[i].answer || d.again_ms != rows[i].again_ms || !d.reason)
            fail_msg("%s: answer %d again %lld", rows[i].name, (int)d.answer,
                     (long long)d.again_ms);
    }
}

static void the_servers_sign_of_trouble_ends_the_waiting(void **state)
{
    (void)state;
    struct outbox_candidate c = {
        .account = "a@b", .resource = "phone", .peer = 7, .counted_us = T0, .newest_us = T0};
    struct policy_presence p = {.state = SESSION_ONLINE,
                                .own_seen_us = T0 - 60 * S,
                                .others_seen_us = T0 - S,
                                .stuck_us = T0 + S / 10};
    struct outbox_decision d = policy_decide(&opts, &c, &p, T0 + S);
    assert_int_equal(d.answer, OUTBOX_NOW);
    assert_string_equal(d.reason, "not delivered");
    /* One of long before says nothing of this message: the session may be back. */
    p.stuck_us = T0 - 10 * S;
    assert_int_equal(policy_decide(&opts, &c, &p, T0 + S).answer, OUTBOX_WAIT);
    /* A badge is nobody's message. */
    c.peer = 0;
    p.stuck_us = T0;
    p.own_seen_us = T0;
    assert_int_equal(policy_decide(&opts, &c, &p, T0 + S).answer, OUTBOX_SKIP);
}

static void never_means_no_push_while_another_resource_is_in_use(void **state)
{
    (void)state;
    struct push_opts never = opts;
    never.while_active_elsewhere_ms = -1;
    struct row r = {"", 7, SESSION_ONLINE, NEVER, 10, 20, OUTBOX_WAIT, 110001};
    assert_int_equal(decide(&never, &r).answer, OUTBOX_WAIT);
    assert_int_equal(decide(&never, &r).again_ms, 110001);
    r.now = 130;
    assert_int_equal(decide(&never, &r).answer, OUTBOX_NOW);
}

static void a_clock_that_is_set_back_delays_nothing(void **state)
{
    (void)state;
    struct row r = {"", 7, SESSION_ONLINE, -5, -1, -3600, OUTBOX_NOW, 0};
    assert_int_equal(decide(&opts, &r).answer, OUTBOX_NOW);
    r.now = 0;
    assert_int_equal(decide(&opts, &r).answer, OUTBOX_WAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_of_the_table_has_its_decision),
        cmocka_unit_test(the_servers_sign_of_trouble_ends_the_waiting),
        cmocka_unit_test(a_clock_that_is_set_back_delays_nothing),
        cmocka_unit_test(never_means_no_push_while_another_resource_is_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
