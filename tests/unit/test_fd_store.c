// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "sidecar/fd_store.h"
#include "tests/unit/spool_dir.h"

static struct temp_dir dir;
static int manager;

static int setup(void **state)
{
    (void)state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    temp_dir_make(&dir);
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/notify", dir.path);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return bind(manager, (struct sockaddr *)&addr, sizeof addr) ||
           setenv("NOTIFY_SOCKET", addr.sun_path, 1);
}

static int teardown(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    close(manager);
    temp_dir_drop(&dir);
    return 0;
}

static struct fd_store_key some_key(void)
{
    struct fd_store_key key = {.link = 3, .epoch = 18446744073709551615u};
    uuid_random(key.spool_id);
    crypt_sha1_hex("a", "b", key.settings);
    return key;
}

/* The next message to the manager; how many descriptors came with it. */
static unsigned heard(char *text, size_t size)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = size - 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(manager, &m, 0);
    assert_true(n > 0);
    text[n] = '\0';
    int fd;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        return 0;
    memcpy(&fd, CMSG_DATA(c), sizeof fd);
    close(fd);
    return 1;
}

static void test_a_name_tells_all_of_the_key_and_no_other_name_is_taken(void **state)
{
    (void)state;
    struct fd_store_key key = some_key(), again;
    char name[FD_STORE_NAME_BYTES], other[FD_STORE_NAME_BYTES + 8];
    fd_store_name(&key, name);
    assert_true(fd_store_parse(name, &again));
    assert_int_equal(again.link, key.link);
    assert_true(again.epoch == key.epoch);
    assert_memory_equal(again.spool_id, key.spool_id, UUID_BYTES);
    assert_string_equal(again.settings, key.settings);
    for (size_t len = 0; name[len]; len++) {
        snprintf(other, sizeof other, "%.*s", (int)len, name);
        assert_false(fd_store_parse(other, &again));
        snprintf(other, sizeof other, "%s", name);
        other[len] = 'G';
        assert_false(fd_store_parse(other, &again));
    }
    snprintf(other, sizeof other, "%sx", name);
    assert_false(fd_store_parse(other, &again));
    snprintf(other, sizeof other, "link. 3%s", name + strlen("link.3"));
    assert_false(fd_store_parse(other, &again));
    assert_false(fd_store_parse("stored", &again));
    assert_null(strchr(name, ':'));
}

static void test_the_manager_is_given_the_descriptor_and_told_when_it_is_over(void **state)
{
    (void)state;
    struct fd_store_key key = some_key();
    char name[FD_STORE_NAME_BYTES], text[512], expected[256];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fd_store_name(&key, name);
    assert_true(fd_store_keep(&key, fd));
    assert_int_equal(heard(text, sizeof text), 1);
    snprintf(expected, sizeof expected, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    assert_string_equal(text, expected);
    fd_store_discard(&key);
    assert_int_equal(heard(text, sizeof text), 0);
    snprintf(expected, sizeof expected, "FDSTOREREMOVE=1\nFDNAME=%s", name);
    assert_string_equal(text, expected);
    unsetenv("NOTIFY_SOCKET");
    assert_false(fd_store_keep(&key, fd));
    close(fd);
}

static void give(const char *names, unsigned n)
{
    char number[16];
    /* They begin at 3; what the test itself has open there stays where it is. */
    for (unsigned i = 0; i < n; i++)
        assert_true(fcntl(3 + (int)i, F_GETFD) >= 0);
    snprintf(number, sizeof number, "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
    snprintf(number, sizeof number, "%u", n);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", names, 1);
}

static void test_what_was_kept_is_found_and_what_is_of_no_use_is_given_up(void **state)
{
    (void)state;
    struct fd_store_key key = some_key();
    char name[FD_STORE_NAME_BYTES], names[400], text[512];
    int saved = fcntl(manager, F_DUPFD_CLOEXEC, 100);
    close(manager);
    for (int fd = 3; fd < 6; fd++)
        assert_int_equal(dup2(saved, fd), fd);
    fd_store_name(&key, name);
    snprintf(names, sizeof names, "%s:stored:%s", name, name);
    give(names, 3);
    manager = saved;
    struct fd_store s;
    fd_store_read(&s);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.entries[0].fd, 3);
    assert_int_equal(s.entries[0].key.link, 3);
    assert_true(fd_store_has(&s, 3, key.spool_id));
    assert_false(fd_store_has(&s, 2, key.spool_id));
    key.spool_id[0]++;
    assert_false(fd_store_has(&s, 3, key.spool_id));
    assert_int_equal(fcntl(3, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(4, F_GETFD), -1); /* not ours */
    assert_int_equal(fcntl(5, F_GETFD), -1); /* twice the same */
    assert_null(getenv("LISTEN_FDS"));
    (void)heard(text, sizeof text);
    assert_string_equal(text, "FDSTOREREMOVE=1\nFDNAME=stored");
    fd_store_drop(&s);
    assert_int_equal(fcntl(3, F_GETFD), -1);
    (void)heard(text, sizeof text);
    assert_non_null(strstr(text, name));
    fd_store_read(&s);
    assert_int_equal(s.n, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_name_tells_all_of_the_key_and_no_other_name_is_taken),
        T(test_the_manager_is_given_the_descriptor_and_told_when_it_is_over),
        T(test_what_was_kept_is_found_and_what_is_of_no_use_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
