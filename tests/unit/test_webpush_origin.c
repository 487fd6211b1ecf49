// SPDX-License-Identifier: Apache-2.0
#include "apns/webpush_origin.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

static const struct push_verdict good = {.reaction = PUSH_DONE, .status = 201};
static const struct push_verdict bad = {.reaction = PUSH_RETRY, .reason = "500 server error"};

static bool fail_at(struct origin_state *o, int64_t ms)
{
    return origin_note(o, WEBPUSH_FAILS, &bad, ms, ms, UINT64_MAX);
}

static void works_at(struct origin_state *o, int64_t ms)
{
    assert_false(origin_note(o, WEBPUSH_WORKS, &good, ms, ms, 0));
}

static void a_service_gets_more_once_it_has_answered(void **state)
{
    (void)state;
    struct origin_state o;
    origin_init(&o);
    assert_int_equal(origin_in_flight_max(&o), 2);
    assert_int_equal(origin_items_max(&o), ORIGIN_ITEMS_NEW);
    assert_true(origin_is_small(&o));
    works_at(&o, 100);
    assert_int_equal(origin_in_flight_max(&o), ORIGIN_CONNECTIONS);
    assert_true(origin_items_max(&o) == UINT_MAX);
    assert_false(origin_is_small(&o));
    o.http2 = true;
    assert_int_equal(origin_in_flight_max(&o), 50);
}

static void three_failures_in_a_row_are_enough(void **state)
{
    (void)state;
    struct origin_state o;
    origin_init(&o);
    works_at(&o, 100);
    assert_false(fail_at(&o, 200)); /* one may happen to anybody */
    assert_true(o.proven);
    assert_false(fail_at(&o, 300));
    assert_false(o.proven);
    assert_int_equal(origin_in_flight_max(&o), 1);
    assert_false(origin_is_held(&o, 300));
    assert_true(fail_at(&o, 400));
    assert_true(origin_is_held(&o, 401));
    assert_true(origin_is_held(&o, 5399));
    assert_string_equal(o.reason, "500 server error");
    /* From then on each failure holds it, for longer. */
    int64_t first = o.held_until_ms - 400, later = 1000000;
    assert_false(origin_is_held(&o, later));
    for (int i = 0; i < 20; i++, later += 1000000)
        assert_true(fail_at(&o, later));
    assert_true(o.held_until_ms - (later - 1000000) > first);
    assert_true(o.held_until_ms - (later - 1000000) <= 600000);
    works_at(&o, later);
    assert_string_equal(o.reason, "");
    assert_false(fail_at(&o, later + 1));
    assert_false(fail_at(&o, later + 2));
}

static void what_was_sent_together_fails_once(void **state)
{
    (void)state;
    struct origin_state o;
    origin_init(&o);
    for (int i = 0; i < 50; i++)
        assert_false(origin_note(&o, WEBPUSH_FAILS, &bad, 100, 200 + i, 0));
    assert_int_equal(o.bad, 1);
    works_at(&o, 1000);
    assert_int_equal(o.bad, 0);
}

static void one_that_refuses_is_left_alone_but_stays_known(void **state)
{
    (void)state;
    struct origin_state o;
    origin_init(&o);
    works_at(&o, 1);
    const struct push_verdict refused = {.reaction = PUSH_PARK, .reason = "403 VAPID refused"};
    assert_false(origin_note(&o, WEBPUSH_REFUSES, &refused, 10, 10, 0));
    assert_false(origin_note(&o, WEBPUSH_REFUSES, &refused, 20, 20, 0));
    assert_true(origin_note(&o, WEBPUSH_REFUSES, &refused, 30, 30, 0));
    assert_true(o.proven && origin_is_held(&o, 31));
}

static void an_order_to_wait_is_kept_and_never_shortened(void **state)
{
    (void)state;
    struct origin_state o;
    origin_init(&o);
    struct push_verdict v = {.reaction = PUSH_RETRY, .reason = "429", .retry_after_ms = 5000};
    assert_true(origin_note(&o, WEBPUSH_HOLDS, &v, 100, 100, 0));
    assert_int_equal(o.held_until_ms, 5100);
    v.retry_after_ms = 1000;
    assert_false(origin_note(&o, WEBPUSH_HOLDS, &v, 100, 200, 0));
    assert_int_equal(o.held_until_ms, 5100);
    assert_false(origin_is_held(&o, 5100));
    v.retry_after_ms = 0;
    assert_false(origin_note(&o, WEBPUSH_HOLDS, &v, 6000, 6000, 0));
}

static void a_queue_that_does_not_move_makes_it_slow_until_it_is_empty(void **state)
{
    (void)state;
    struct origin_state o;
    origin_init(&o);
    works_at(&o, 0);
    assert_false(origin_note_queue(&o, 1000, 1000 + ORIGIN_SLOW_MS - 1));
    assert_true(origin_note_queue(&o, 1000, 1000 + ORIGIN_SLOW_MS));
    assert_false(origin_note_queue(&o, 1000, 1000 + ORIGIN_SLOW_MS)); /* it is already */
    assert_int_equal(origin_items_max(&o), ORIGIN_ITEMS_SLOW);
    assert_true(origin_is_small(&o));
    works_at(&o, 5000); /* an answer is not enough */
    assert_true(origin_is_small(&o));
    assert_false(origin_note_queue(&o, 4900, 5000));
    assert_true(origin_is_small(&o));
    assert_false(origin_note_queue(&o, -1, 5000));
    assert_false(origin_is_small(&o));
}

static void a_token_is_kept_for_half_its_life(void **state)
{
    (void)state;
    char pem[1024];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    pem[BIO_read(bio, pem, sizeof pem - 1)] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(key);
    struct vapid *v;
    struct err e;
    assert_int_equal(vapid_new(pem, "mailto:a@b", &v, &e), ERR_NONE);
    struct origin_state o;
    origin_init(&o);
    char first[VAPID_AUTHORIZATION_BYTES];
    const int64_t now = 1760000000;
    strcpy(first, origin_authorization(&o, v, "https://a.example", now));
    assert_string_equal(origin_authorization(&o, v, "https://a.example", now + 6 * 3600),
                        first);
    assert_string_not_equal(
        origin_authorization(&o, v, "https://a.example", now + 6 * 3600 + 1), first);
    /* A clock that was set back must not make us send what ends too late. */
    strcpy(first, o.authorization);
    assert_string_not_equal(origin_authorization(&o, v, "https://a.example", now - 10), first);
    /* Refused: another, unless it has just been made. */
    strcpy(first, o.authorization);
    assert_false(origin_renew(&o, now + 49));
    assert_string_equal(origin_authorization(&o, v, "https://a.example", now + 49), first);
    assert_true(origin_renew(&o, now + 50));
    assert_string_not_equal(origin_authorization(&o, v, "https://a.example", now + 50), first);
    assert_false(origin_renew(&o, now + 51));
    vapid_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_gets_more_once_it_has_answered),
        cmocka_unit_test(three_failures_in_a_row_are_enough),
        cmocka_unit_test(what_was_sent_together_fails_once),
        cmocka_unit_test(one_that_refuses_is_left_alone_but_stays_known),
        cmocka_unit_test(an_order_to_wait_is_kept_and_never_shortened),
        cmocka_unit_test(a_queue_that_does_not_move_makes_it_slow_until_it_is_empty),
        cmocka_unit_test(a_token_is_kept_for_half_its_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
