// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "sidecar/snapshot.h"

static char folder[64];
static char path[128];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test-snapshot-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/state", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static struct snapshot two_links(void)
{
    struct snapshot s = {.links_n = 2, .live = {4096, 70000}};
    memset(s.spool_ids[0], 'a', 16);
    memset(s.spool_ids[1], 'b', 16);
    return s;
}

static void write_two(const char *text)
{
    struct snapshot s = two_links();
    struct buf b;
    struct err e;
    buf_init(&b, 4096);
    buf_add_str(&b, text);
    assert_int_equal(snapshot_write(path, &s, &b, &e), ERR_NONE);
    buf_deinit(&b);
}

static bool read_into(struct snapshot *s, char out[64])
{
    struct buf b;
    buf_init(&b, 4096);
    bool good = snapshot_read(path, s, &b);
    snprintf(out, 64, "%s", buf_cstr(&b));
    buf_deinit(&b);
    return good;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    write_two("an old state");
    write_two("the state");
    struct snapshot s = two_links();
    memset(s.live, 0, sizeof s.live);
    char text[64];
    assert_true(read_into(&s, text));
    assert_string_equal(text, "the state");
    assert_int_equal(s.live[0], 4096);
    assert_int_equal(s.live[1], 70000);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_snapshot_of_other_spools_is_none(void **state)
{
    (void)state;
    write_two("x");
    char text[64];
    struct snapshot s = two_links();
    s.spool_ids[1][0] ^= 1;
    assert_false(read_into(&s, text));
    s = two_links();
    s.links_n = 1;
    assert_false(read_into(&s, text));
}

static void a_snapshot_cut_anywhere_is_none(void **state)
{
    (void)state;
    write_two("the state");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t len = st.st_size - 1; len >= 0; len -= 7) {
        assert_int_equal(truncate(path, len), 0);
        struct snapshot s = two_links();
        char text[64];
        assert_false(read_into(&s, text));
    }
    assert_int_equal(unlink(path), 0);
    struct snapshot s = two_links();
    char text[64];
    assert_false(read_into(&s, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_snapshot_of_other_spools_is_none),
        cmocka_unit_test(a_snapshot_cut_anywhere_is_none),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
