// SPDX-License-Identifier: Apache-2.0
/* What the disk does beside the loop: in order, failures told once. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "component/chores.h"
#include "tests/unit/spool_dir.h"

static struct temp_dir dir;
static int dirfd;
static struct chores *chores;

static int set_up(void **state)
{
    (void)state;
    temp_dir_make(&dir);
    dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    chores = chores_new(dirfd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    chores_free(&chores);
    close(dirfd);
    temp_dir_drop(&dir);
    return 0;
}

static int make_segment(uint64_t base)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(base, name);
    int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static size_t segments_left(void)
{
    uint64_t *bases;
    size_t n;
    assert_true(segment_list(dir.path, &bases, &n));
    free(bases);
    return n;
}

static void test_all_is_done_before_wait_returns(void **state)
{
    (void)state;
    int fd = make_segment(4096);
    close(make_segment(8192));
    assert_int_equal(write(fd, "x", 1), 1);
    chores_sync(chores, fd);
    chores_sync_names(chores);
    chores_delete(chores, 8192);
    chores_sync_and_close(chores, fd);
    chores_wait(chores);
    assert_true(chores_idle(chores));
    assert_int_equal(chores_failure(chores), 0);
    assert_int_equal(segments_left(), 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_the_end_waits_for_all(void **state)
{
    (void)state;
    for (uint64_t base = 1; base <= 50; base++)
        close(make_segment(base));
    for (uint64_t base = 1; base <= 50; base++)
        chores_delete(chores, base);
    chores_free(&chores);
    assert_int_equal(segments_left(), 0);
}

static void test_a_failed_sync_is_told_once(void **state)
{
    (void)state;
    chores_sync(chores, -1);
    chores_sync_names(chores);
    chores_wait(chores);
    assert_int_equal(chores_failure(chores), EBADF);
    assert_int_equal(chores_failure(chores), 0);
}

static void test_a_file_that_is_gone_is_no_failure(void **state)
{
    (void)state;
    chores_delete(chores, 4096);
    chores_wait(chores);
    assert_int_equal(chores_failure(chores), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_is_done_before_wait_returns, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_waits_for_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_gone_is_no_failure, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
