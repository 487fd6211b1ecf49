// SPDX-License-Identifier: Apache-2.0
#include "archive/ident.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypt.h"

static const struct ident_keys keys = {
    .owner = {1, 2, 3}, .hash = {4, 5}, .archive = {6}, .lanes = 8};

static void ids_are_microseconds_since_2020(void **state)
{
    (void)state;
    assert_int_equal(ident_id_from_us(IDENT_EPOCH_US), 0);
    assert_int_equal(ident_id_from_us(IDENT_EPOCH_US - 5), 0);
    assert_int_equal(ident_id_from_us(IDENT_EPOCH_US + 3), 3 << 8);
    assert_int_equal(ident_us_from_id((3 << 8) + 255), IDENT_EPOCH_US + 3);
    assert_true(ident_id_from_us(INT64_MAX) > 0);
}

static void owners_are_stable_uuids_of_version_8(void **state)
{
    (void)state;
    struct ident *i = ident_new(&keys);
    uint8_t a[16], again[16], b[16];
    char text[UUID_TEXT_BYTES];
    ident_owner(i, "mei@chat.example", a);
    ident_owner(i, "wang@chat.example", b);
    ident_owner(i, "mei@chat.example", again);
    assert_memory_equal(a, again, 16);
    assert_memory_not_equal(a, b, 16);
    uuid_format(a, text);
    assert_int_equal(text[14], '8');
    assert_non_null(strchr("89ab", text[19]));
    assert_int_equal(ident_lane(i, a), a[0] & 7);
    /* As long as any cache line is, and longer. */
    char jid[300];
    memset(jid, 'x', sizeof jid - 1);
    jid[sizeof jid - 1] = '\0';
    ident_owner(i, jid, a);
    jid[79] = '\0';
    ident_owner(i, jid, b);
    assert_memory_not_equal(a, b, 16);
    ident_free(&i);
}

static void peers_and_references_differ_by_owner_direction_and_id(void **state)
{
    (void)state;
    struct ident *i = ident_new(&keys);
    uint8_t a[16], b[16];
    ident_owner(i, "mei@chat.example", a);
    ident_owner(i, "wang@chat.example", b);
    uint64_t peer = ident_peer(i, a, "li@chat.example");
    assert_true(peer != ident_peer(i, b, "li@chat.example"));
    assert_true(peer == ident_peer(i, a, "li@chat.example"));
    assert_true(ident_ref(i, peer, true, "1") != ident_ref(i, peer, false, "1"));
    assert_true(ident_ref(i, peer, true, "1") != ident_ref(i, peer, true, "2"));
    assert_true(ident_ref(i, peer, true, "1") != ident_ref(i, peer + 1, true, "1"));
    assert_true(ident_ref_of_body(i, peer, true, 1) != ident_ref_of_body(i, peer, true, 2));
    char id[4000];
    memset(id, 'y', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    assert_true(ident_ref(i, peer, true, id) != ident_ref(i, peer, true, id + 1));
    ident_free(&i);
}

static void an_archive_id_is_worth_nothing_to_another_owner(void **state)
{
    (void)state;
    struct ident *i = ident_new(&keys);
    uint8_t a[16], b[16];
    char text[ARCHIVE_ID_BYTES], upper[ARCHIVE_ID_BYTES];
    int64_t id = 0;
    ident_owner(i, "mei@chat.example", a);
    ident_owner(i, "wang@chat.example", b);
    ident_archive_id(i, a, INT64_C(0x123456789abcdef), text);
    assert_int_equal(strlen(text), 36);
    assert_true(ident_archive_id_parse(i, a, text, &id));
    assert_int_equal(id, INT64_C(0x123456789abcdef));
    assert_false(ident_archive_id_parse(i, b, text, &id));
    strcpy(upper, text);
    upper[35] = upper[35] == '0' ? '1' : '0';
    assert_false(ident_archive_id_parse(i, a, upper, &id));
    assert_false(ident_archive_id_parse(i, a, "", &id));
    assert_false(ident_archive_id_parse(i, a, "1234567890123456", &id));
    ident_free(&i);
}

static void two_numbers_are_sealed_and_come_back(void **state)
{
    (void)state;
    struct ident *i = ident_new(&keys);
    char text[ARCHIVE_ID_BYTES], other[ARCHIVE_ID_BYTES];
    int64_t a = 0;
    uint64_t b = 0;
    ident_seal(i, INT64_C(-15792613425000000), UINT64_MAX - 3, text);
    assert_true(ident_unseal(i, text, &a, &b));
    assert_true(a == INT64_C(-15792613425000000) && b == UINT64_MAX - 3);
    ident_seal(i, INT64_C(-15792613425000000), UINT64_MAX - 4, other);
    assert_string_not_equal(text, other);
    assert_false(ident_unseal(i, "1", &a, &b));
    assert_false(ident_unseal(i, "", &a, &b));
    ident_free(&i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_microseconds_since_2020),
        cmocka_unit_test(owners_are_stable_uuids_of_version_8),
        cmocka_unit_test(peers_and_references_differ_by_owner_direction_and_id),
        cmocka_unit_test(an_archive_id_is_worth_nothing_to_another_owner),
        cmocka_unit_test(two_numbers_are_sealed_and_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
