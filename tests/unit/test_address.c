// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *judge(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return address_not_public((const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return address_not_public((const struct sockaddr *)&in6);
}

static void what_is_not_public_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *address, *what;
    } cases[] = {
        {"0.0.0.0", "unspecified"},
        {"0.255.255.255", "unspecified"},
        {"10.0.0.0", "private"},
        {"10.255.255.255", "private"},
        {"100.64.0.0", "shared (CGNAT)"},
        {"100.127.255.255", "shared (CGNAT)"},
        {"127.0.0.1", "loopback"},
        {"127.255.255.255", "loopback"},
        {"169.254.169.254", "link-local"},
        {"172.16.0.0", "private"},
        {"172.31.255.255", "private"},
        {"192.0.0.170", "reserved"},
        {"192.0.2.1", "documentation"},
        {"192.88.99.1", "6to4 relay"},
        {"192.168.0.0", "private"},
        {"192.168.255.255", "private"},
        {"198.18.0.0", "benchmarking"},
        {"198.19.255.255", "benchmarking"},
        {"198.51.100.7", "documentation"},
        {"203.0.113.7", "documentation"},
        {"224.0.0.1", "multicast"},
        {"239.255.255.255", "multicast"},
        {"240.0.0.1", "reserved"},
        {"255.255.255.255", "reserved"},
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"::2", "reserved"},
        {"::127.0.0.1", "reserved"}, /* "compatible", of RFC 4291 section 2.5.5.1 */
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:10.1.2.3", "private"},
        {"::ffff:169.254.169.254", "link-local"},
        {"::ffff:0:127.0.0.1", "reserved"}, /* SIIT */
        {"64:ff9b::127.0.0.1", "loopback"},
        {"64:ff9b::192.168.1.1", "private"},
        {"64:ff9b::0.0.0.0", "unspecified"},
        {"64:ff9b:1::1.1.1.1", "local NAT64"},
        {"64:ff9b:2::1.1.1.1", "reserved"},
        {"2002:7f00:1::", "loopback"},
        {"2002:a00:1::1", "private"},
        {"2002:c0a8:101::", "private"},
        {"2001::1", "reserved"}, /* Teredo */
        {"2001:0:7f00:1::", "reserved"},
        {"2001:20::1", "reserved"},
        {"2001:1ff:ffff::1", "reserved"},
        {"2001:db8::1", "documentation"},
        {"3fff::1", "documentation"},
        {"3fff:fff:ffff::", "documentation"},
        {"fc00::1", "private"},
        {"fdff:ffff::1", "private"},
        {"fe80::1", "link-local"},
        {"febf::1", "link-local"},
        {"fec0::1", "site-local"},
        {"ff02::1", "multicast"},
        {"ff0e::1", "multicast"},
        {"100::1", "reserved"},
        {"4000::1", "reserved"},
        {"1fff::1", "reserved"},
        {"5f00::1", "reserved"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *what = judge(cases[i].address);
        if (!what)
            fail_msg("%s is taken for public", cases[i].address);
        assert_string_equal(what, cases[i].what);
    }
}

static void what_is_public_is_let_through_up_to_the_edges(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "1.0.0.0",         "1.1.1.1",         "9.255.255.255",    "11.0.0.0",
        "100.63.255.255",  "100.128.0.0",     "126.255.255.255",  "128.0.0.0",
        "169.253.255.255", "169.255.0.0",     "172.15.255.255",   "172.32.0.0",
        "192.0.1.0",       "192.0.3.0",       "192.167.255.255",  "192.169.0.0",
        "198.17.255.255",  "198.20.0.0",      "198.51.101.0",     "203.0.114.0",
        "223.255.255.255", "::ffff:1.1.1.1",  "64:ff9b::8.8.8.8", "2002:808:808::1",
        "2001:200::1",     "2001:4860::8888", "2001:db9::1",      "2606:4700::1111",
        "2a00:1450::1",    "3ffe::1",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *what = judge(cases[i]);
        if (what)
            fail_msg("%s is taken for %s", cases[i], what);
    }
}

static void another_family_is_none(void **state)
{
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_string_equal(address_not_public((const struct sockaddr *)&un),
                        "no Internet address");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_public_is_named),
        cmocka_unit_test(what_is_public_is_let_through_up_to_the_edges),
        cmocka_unit_test(another_family_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
