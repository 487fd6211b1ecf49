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
#include "config/config.h"

static char folder[64];

#define MINIMAL                                                                               \
    "xmpp:\n  component: sidecar.example.org\n  secret: s\n  domains: [example.org]\n"

#define APNS                                                                                  \
    "push:\n  apps:\n    - id: org.example.chat\n      apns:\n        topic: t\n"             \
    "        key_file: key.p8\n        key_id: K\n        team_id: T\n"

#define FCM                                                                                   \
    "push:\n  apps:\n    - id: org.example.chat\n      fcm:\n"                                \
    "        service_account_file: account.json\n"

#define WEBPUSH                                                                               \
    "push:\n  apps:\n    - id: org.example.chat\n      webpush:\n"                            \
    "        private_key_file: vapid.pem\n        subject: mailto:a@example.org\n"

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test-config-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void put(const char *name, const char *content)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(content, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* The complaints about this content, "" when it is accepted; *out may be NULL. */
static char *load(const char *content, struct config **out)
{
    char path[128];
    snprintf(path, sizeof path, "%s/sidecar.yml", folder);
    put("sidecar.yml", content);
    struct buf b;
    buf_init(&b, 1 << 16);
    struct config *c = NULL;
    enum err_kind k = config_load(path, &c, &b);
    assert_int_equal(k == ERR_NONE, buf_len(&b) == 0);
    assert_int_equal(k == ERR_NONE, c != NULL);
    char *text = strdup(buf_cstr(&b));
    buf_deinit(&b);
    if (out)
        *out = c;
    else
        config_free(&c);
    return text;
}

static void expect(const char *content, const char *complaint)
{
    char *text = load(content, NULL);
    char *at = strstr(text, "sidecar.yml:");
    if (*complaint == '\0')
        assert_string_equal(text, "");
    else if (!at || !strstr(text, complaint))
        fail_msg("expected \"%s\", got \"%s\"", complaint, text);
    free(text);
}

static void a_minimal_file_gives_the_documented_defaults(void **state)
{
    (void)state;
    struct config *c;
    char *text = load(MINIMAL, &c);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(c->component.server, SERVER_EJABBERD);
    assert_int_equal(c->component.hosts_n, 1);
    assert_string_equal(c->component.hosts[0].host, "127.0.0.1");
    assert_int_equal(c->component.hosts[0].port, 5347);
    assert_string_equal(c->spool.directory, "/var/lib/xmpp-sidecar/spool");
    assert_true(c->spool.size_max == UINT64_C(4) << 30);
    assert_int_equal(c->spool.fsync_ms, 100);
    assert_string_equal(c->store.url, "postgresql:///xmpp_sidecar");
    assert_int_equal(c->store.connections, 4);
    assert_false(c->store.migrate);
    assert_true(c->archive.serve);
    assert_int_equal(c->archive.page_max, 250);
    assert_true(c->archive.own_message_reads);
    assert_true(c->archive.search);
    assert_int_equal(c->push.content, PUSH_CONTENT_SENDER);
    assert_int_equal(c->push.rooms, NOTIFY_MENTION);
    assert_int_equal(c->push.settle_ms, 500);
    assert_int_equal(c->push.confirm_after_ms, 20000);
    assert_int_equal(c->push.while_active_elsewhere_ms, 60000);
    assert_int_equal(c->push.stale_after_ms, 1800000);
    assert_int_equal(c->push.max_age_ms, 12 * 3600000);
    assert_int_equal(c->push.devices_per_account, 20);
    assert_int_equal(c->component.stanza_bytes_max, 1 << 20);
    assert_int_equal(c->component.sent_bytes_max, 8 << 20);
    assert_string_equal(c->http.host, "127.0.0.1");
    assert_int_equal(c->http.port, 9280);
    assert_int_equal(c->log.level, LOG_INFO);
    config_free(&c);
}

static void every_complaint_has_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *content, *complaint;
    } cases[] = {
        {MINIMAL "  prot: 5348\n", ":5:3: unknown setting xmpp.prot; did you mean xmpp.port?"},
        {MINIMAL "  port: many\n", ":5:9: xmpp.port: expected a whole number"},
        {MINIMAL "  port: 70000\n", ":5:9: xmpp.port: out of range: 1 to 65535"},
        {MINIMAL "  server: ejaberd\n",
         ":5:11: xmpp.server: expected one of ejabberd|prosody|openfire|generic; did you mean "
         "\"ejabberd\"?"},
        {MINIMAL "spool: {max_size: 4GB}\n", ":5:19: spool.max_size: expected a size"},
        {MINIMAL "push: {settle: 5}\n", ":5:16: push.settle: expected a time"},
        {MINIMAL "push: {settle: 99d}\n", "push.settle: out of range"},
        {MINIMAL "archive: {serve: yes}\n", ":5:18: archive.serve: expected true or false"},
        {MINIMAL "archive: [1]\n", ":5:10: archive: expected settings below it, not a list"},
        {MINIMAL "read: {own_message_reads: [true]}\n", "expected a single value"},
        {MINIMAL "  domains: [a]\n", ":5:12: xmpp.domains is set twice"},
        {MINIMAL "  secret: &a s\n", "xmpp.secret is set twice"},
        {MINIMAL "log: *a\n", ":5:6:"},
        {MINIMAL "log:\n  level: ${NO_SUCH_NAME_HERE}\n",
         ":6:10: the environment has no NO_SUCH_NAME_HERE"},
        {MINIMAL "log: {level: \"${\"}\n", ":5:14: \"${\" without a name"},
        {MINIMAL "\tlog: x\n", ":5:1:"},
        {MINIMAL "---\nlog: {level: info}\n", "a second document"},
        {"- a\n", ":1:1: the file must be a mapping"},
        {"", "xmpp.component is missing"},
        {"xmpp: {secret: s, domains: [a.b]}\n", ":1:1: xmpp.component is missing"},
        {"xmpp: {component: c.a.b, domains: [a.b]}\n", "xmpp.secret or xmpp.secret_file"},
        {"xmpp: {component: c.a.b, secret: s}\n", "xmpp.domains is missing"},
        {"xmpp: {component: a.b, secret: s, domains: [a.b]}\n", "must not be one of"},
        {"xmpp: {component: \"u@c.a.b\", secret: s, domains: [a.b]}\n", "is not a domain"},
        {"xmpp: {component: c.a.b, secret: s, domains: a.b}\n", "expected a list"},
        {MINIMAL "  host: 10.1.2.3\n", ":5:9: 10.1.2.3 is not this machine"},
        {MINIMAL "  secret_file: none\n", "cannot read none"},
        {MINIMAL "  hosts: [\"1:2:x\"]\n", "is not host:port"},
        {MINIMAL "  hosts: []\n", "1 to 16 hosts"},
        {MINIMAL "http: {listen: nowhere}\n", ":5:16: http.listen: expected address:port"},
        {MINIMAL "database: {connections: 2}\n", "out of range: 3 to 64"},
        {MINIMAL "push: {rooms: all}\n",
         ":5:15: push.rooms: expected one of always|mention|never"},
        {MINIMAL "archive: {groupchat: rooms}\n",
         ":5:22: archive.groupchat: expected one of off|room"},
        {MINIMAL "  server: generic\n  copies_from: [\"@\"]\n",
         ":6:16: xmpp.copies_from: \"@\" is no address"},
        {MINIMAL "  copies_from: [bot@a.b]\n", "xmpp.copies_from is for xmpp.server: generic"},
        {MINIMAL "  server: prosody\n  speak_as_users: direct\n",
         ":6:19: xmpp.speak_as_users: direct is for xmpp.server: ejabberd"},
        {MINIMAL "  speak_as_users: anyhow\n", "expected one of privilege|direct"},
        {MINIMAL "  client_namespace: true\n",
         "xmpp.client_namespace is for xmpp.server: generic"},
        {MINIMAL "  server: openfire\n  hosts: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n",
         ":6:10: xmpp.hosts: a component connects to one Openfire only"},
        {MINIMAL "archive: {fill_gaps: monitoring}\n",
         "archive.fill_gaps: monitoring is a plugin of Openfire"},
        {MINIMAL "archive: {check_every: 1h}\n",
         "archive.check_every: nothing to check with while archive.fill_gaps is off"},
        {"xmpp: {server: openfire, component: c.a.b, secret: s, domains: [a.b]}\n"
         "archive: {fill_gaps: monitoring, check_every: 1m}\n",
         "archive.check_every: 0, or at least 5m"},
        {"xmpp: {server: openfire, component: c.b, secret: s, domains: [a.b]}\n",
         ":1:37: xmpp.component: Openfire takes only subdomains of a.b"},
        {"xmpp: {server: openfire, component: ca.b, secret: s, domains: [a.b]}\n",
         "xmpp.component: Openfire takes only subdomains of a.b"},
        {"xmpp: {server: openfire, component: c.a.b, secret: s, domains: [a.b, x.b]}\n",
         "xmpp.domains: Openfire serves one domain, and 2 are named"},
        {MINIMAL "push: {apps: [{id: a, apns: {topic: t, certificate_file: key.p8}}]}\n",
         "push.apps[].apns.private_key_file is missing"},
        {MINIMAL "push: {apps: [{id: a, apns: {topic: t, private_key_file: key.p8}}]}\n",
         "push.apps[].apns.certificate_file is missing"},
        {MINIMAL "push: {apps: [{id: a}]}\n", "push.apps[].apns.topic is missing"},
        {MINIMAL APNS "        certificate_file: key.p8\n        private_key_file: key.p8\n",
         ":10:19: push.apps[].apns.key_file: a certificate and a key exclude each other"},
        {MINIMAL "push: {proxy: proxy.example.org:3128}\n",
         ":5:15: push.proxy: expected http://"},
        {MINIMAL "push: {proxy: \"https://a:1\"}\n", ":5:15: push.proxy: expected http://"},
        {MINIMAL "push: {proxy: \"http://a\"}\n", ":5:15: push.proxy: expected http://"},
        {MINIMAL "push: {proxy: \"http://a:1/path\"}\n",
         ":5:15: push.proxy: expected http://"},
        {MINIMAL "push: {proxy: \"http://user@a:1\"}\n",
         ":5:15: push.proxy: expected http://"},
        {MINIMAL "push: {proxy: \"http://u:%zz@a:1\"}\n",
         ":5:15: push.proxy: expected http://"},
        {MINIMAL APNS "      content: body\n",
         ":13:16: push.apps[].content: body shows more than push.content allows"},
        {MINIMAL APNS "        voip: true\n",
         ":13:15: push.apps[].apns.voip: an app that is not told of calls"},
        {MINIMAL APNS "        push_type: silent\n",
         ":13:20: push.apps[].apns.push_type: expected one of alert|background"},
        {MINIMAL APNS "      content: all\n", ":13:16: push.apps[].content: expected one of"},
        {MINIMAL APNS "      accounts_per_device: 2\n",
         ":13:28: push.apps[].accounts_per_device: expected one of many|one"},
        {MINIMAL APNS "      badge: since-opened\n",
         ":13:14: push.apps[].badge: expected one of messages|conversations|since_opened"},
        {MINIMAL APNS "      withdraw: maybe\n",
         ":13:17: push.apps[].withdraw: expected true or false"},
        {MINIMAL APNS "        interruption_level: loud\n",
         ":13:29: push.apps[].apns.interruption_level: expected one of passive|active"},
        {MINIMAL APNS "        url: http://x\n",
         ":13:14: push.apps[].apns.url: expected https"},
        {MINIMAL APNS "      domains: [b.c]\n", "b.c is not in xmpp.domains"},
        {MINIMAL FCM "        url: http://x\n", ":10:14: push.apps[].fcm.url: expected https"},
        {MINIMAL FCM "        token_url: http://x\n",
         ":10:20: push.apps[].fcm.token_url: expected https"},
        {MINIMAL FCM "        form: picture\n",
         ":10:15: push.apps[].fcm.form: expected one of"},
        {MINIMAL "push: {apps: [{id: a, fcm: {form: data}}]}\n",
         "push.apps[].fcm.service_account_file is missing"},
        {MINIMAL "push: {apps: [{id: a, fcm: {service_account_file: none.json}}]}\n",
         "cannot read none.json"},
        {MINIMAL FCM "      apns: {topic: t}\n", "apns, fcm and webpush exclude each other"},
        {MINIMAL WEBPUSH "      fcm: {form: data}\n", "apns, fcm and webpush exclude"},
        {MINIMAL WEBPUSH "      apns: {topic: t}\n", "apns, fcm and webpush exclude"},
        {MINIMAL "push: {apps: [{id: a, webpush: {subject: \"mailto:a@b\"}}]}\n",
         "push.apps[].webpush.private_key_file is missing"},
        {MINIMAL "push: {apps: [{id: a, webpush: {private_key_file: vapid.pem}}]}\n",
         "push.apps[].webpush.subject is missing"},
        {MINIMAL WEBPUSH "        ports: [443, 0]\n",
         ":11:16: push.apps[].webpush.ports: \"0\" is not a port"},
        {MINIMAL WEBPUSH "        ports: [65536]\n", "\"65536\" is not a port"},
        {MINIMAL WEBPUSH "        ports: [\" 443\"]\n", "\" 443\" is not a port"},
        {MINIMAL WEBPUSH "        ports: [https]\n", "\"https\" is not a port"},
        {MINIMAL WEBPUSH "        ports: []\n", "no port at all is allowed"},
        {MINIMAL WEBPUSH "        ports: 443\n", "expected a list"},
        {MINIMAL WEBPUSH "        allow_hosts: [\"https://a.example\"]\n",
         ":11:22: push.apps[].webpush.allow_hosts: \"https://a.example\" is not a host"},
        {MINIMAL WEBPUSH "        allow_hosts: [\"a.*.example\"]\n", "is not a host"},
        {MINIMAL WEBPUSH "        allow_hosts: [\"*.\"]\n", "is not a host"},
        {MINIMAL WEBPUSH "        allow_private: maybe\n", "expected true or false"},
        {MINIMAL WEBPUSH "        url: https://a.example\n",
         "unknown setting push.apps[].webpush.url"},
        {MINIMAL "push: {accept_from: [\"a b\"]}\n",
         ":5:21: push.accept_from: \"a b\" is not"},
        {MINIMAL "push: {accept_from: [example.org]}\n",
         ":5:21: push.accept_from: example.org is one of xmpp.domains"},
        {MINIMAL "push: {accept_from: other.org}\n", "expected a list"},
        {MINIMAL "push:\n  stateless_dialects: [fpush, monal]\n",
         ":6:23: push.stateless_dialects: expected fpush|mongooseim|chatsecure"},
        {MINIMAL "push:\n  stateless_dialects: [fpsh]\n", "did you mean \"fpush\"?"},
        {MINIMAL APNS "    - id: b\n      names: [org.example.chat]\n      apns: {topic: t, "
                      "key_file: key.p8, key_id: K, team_id: T}\n",
         ":14:14: push.apps[].names: org.example.chat is another app's"},
        {MINIMAL "unified_push: {listen: \"127.0.0.1:1\"}\n", "unified_push.url is missing"},
        {MINIMAL "unified_push: {listen: here, url: \"https://a.b\"}\n",
         ":5:24: unified_push.listen: expected address:port"},
        {MINIMAL "unified_push: {url: \"http://a.b\"}\n", ":5:21: unified_push.url: expected"},
        {MINIMAL "unified_push: {url: \"https://a.b/\"}\n",
         "unified_push.url: expected https"},
        {MINIMAL "unified_push: {url: \"https://a.b?x\"}\n",
         "unified_push.url: expected https"},
        {MINIMAL "unified_push: {url: \"https://\"}\n", "unified_push.url: expected https"},
        {MINIMAL "push:\n  notices:\n    - node: a\n", ":7:7: push.notices[].from is missing"},
        {MINIMAL "push:\n  notices:\n    - from: a@b\n", ":7:13: push.notices[].from: "},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, node: \"a*\"}\n",
         ":7:25: push.notices[].node: expected a node"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, node: \"*\"}\n",
         "push.notices[].node: expected a node"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, node: \"a/*/b\"}\n",
         "push.notices[].node: expected a node"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, title: \"{a\"}\n",
         ":7:26: push.notices[].title: braces are for"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, body: \"a}\"}\n",
         ":7:25: push.notices[].body: braces are for"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, count: 1}\n",
         ":7:26: push.notices[].count: expected true or false"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, count: false, push: true}\n",
         ":7:39: push.notices[].push: what is not counted"},
        {MINIMAL "push:\n  notices:\n    - {from: b.c, text: a}\n",
         ":7:19: unknown setting push.notices[].text"},
        {MINIMAL "push: {notices: a}\n", "push.notices"},
        {MINIMAL APNS "      color: red\n", ":13:7: unknown setting push.apps[].color"},
    };
    put("key.p8", "KEY\n");
    put("account.json", "{}\n");
    put("vapid.pem", "KEY\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i].content, cases[i].complaint);
}

static void whose_publishes_are_taken_and_how_is_read(void **state)
{
    (void)state;
    struct config *c;
    put("key.p8", "KEY\n");
    char *text = load(MINIMAL APNS "      names: [monalProdiOS, default]\n"
                                   "      domains: [other.org]\n"
                                   "  accept_from: [Other.org, push.example.net]\n"
                                   "  stateless_dialects: [fpush, chatsecure]\n",
                      &c);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(c->component.accept_from_n, 2);
    assert_string_equal(c->component.accept_from[0], "other.org");
    assert_int_equal(c->push.stateless, PUSH_STATELESS_FPUSH | PUSH_STATELESS_CHATSECURE);
    assert_int_equal(c->push.apps[0].names_n, 2);
    assert_string_equal(c->push.apps[0].names[1], "default");
    config_free(&c);
    text = load(MINIMAL, &c);
    free(text);
    assert_int_equal(c->component.accept_from_n, 0);
    assert_int_equal(c->push.stateless, 0);
    config_free(&c);
}

static void notices_are_read(void **state)
{
    (void)state;
    struct config *c;
    char *text = load(MINIMAL "push:\n  notices:\n"
                              "    - {from: PubSub.example.org, node: \"orders/*\",\n"
                              "       title: \"Order {number}\", body: \"{state}\"}\n"
                              "    - {from: pubsub.example.org, node: joined, push: false}\n"
                              "    - {from: example.org, count: false}\n",
                      &c);
    assert_string_equal(text, "");
    free(text);
    const struct notice_list *list = &c->push.notices;
    assert_int_equal(list->n, 3);
    assert_ptr_equal(c->archive.notices.of, list->of);
    assert_string_equal(list->of[0].from, "pubsub.example.org");
    assert_string_equal(list->of[0].node, "orders/");
    assert_true(list->of[0].below && list->of[0].count && list->of[0].push);
    assert_string_equal(list->of[0].title, "Order {number}");
    assert_string_equal(list->of[0].body, "{state}");
    assert_string_equal(list->of[1].node, "joined");
    assert_true(!list->of[1].below && list->of[1].count && !list->of[1].push);
    assert_null(list->of[2].node);
    assert_true(!list->of[2].count && !list->of[2].push);
    config_free(&c);
    text = load(MINIMAL, &c);
    free(text);
    assert_int_equal(c->push.notices.n, 0);
    config_free(&c);
}

static void too_many_notices_are_refused(void **state)
{
    (void)state;
    char content[4096] = MINIMAL "push:\n  notices:\n";
    for (int i = 0; i < 33; i++)
        strcat(content, "    - {from: a.b, node: x}\n");
    char *text = load(content, NULL);
    assert_non_null(strstr(text, ":39:7: more than 32 notices"));
    free(text);
}

static void notices_of_nodes_are_not_for_openfire(void **state)
{
    (void)state;
    expect("xmpp: {server: openfire, component: s.b.c, secret: s, domains: [b.c]}\n"
           "push: {notices: [{from: p.b.c, node: a}]}\n",
           ":2:38: push.notices[].node: the copies that Openfire makes");
}

static void all_complaints_are_reported_at_once(void **state)
{
    (void)state;
    char *text = load("xmpp: {prot: 1}\nlog: {level: loud}\n", NULL);
    assert_non_null(strstr(text, "xmpp.prot"));
    assert_non_null(strstr(text, "log.level"));
    assert_non_null(strstr(text, "xmpp.domains"));
    free(text);
}

static void environment_and_files_fill_values(void **state)
{
    (void)state;
    put("secret", "from a file\n");
    put("key.p8", "KEY\n");
    setenv("TEST_CONFIG_DOMAIN", "Example.ORG", 1);
    struct config *c;
    char *text =
        load("xmpp: {component: \"sidecar.${TEST_CONFIG_DOMAIN}\", secret_file: secret,\n"
             "  domains: [\"${TEST_CONFIG_DOMAIN}\"]}\n" APNS
             "        url: https://[::1]:2197\n        environment: sandbox\n",
             &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->component.component, "sidecar.example.org");
    assert_string_equal(c->component.domains[0], "example.org");
    assert_string_equal(c->component.secret, "from a file");
    assert_int_equal(c->push.apps_n, 1);
    assert_string_equal(c->push.apps[0].key_pem, "KEY");
    assert_string_equal(c->push.apps[0].host, "::1");
    assert_int_equal(c->push.apps[0].port, 2197);
    assert_true(c->push.apps[0].sandbox);
    assert_string_equal(c->push.apps[0].sound, "default");
    config_free(&c);
}

#define TOKEN_KEY "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define WITH_TOKEN_KEY MINIMAL "push:\n  token_key_file: token.key\n"

static void put_token_key(const char *content, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof path, "%s/token.key", folder);
    put("token.key", content);
    assert_int_equal(chmod(path, mode), 0);
}

static void expect_token_keys(const char *yaml, size_t n, bool in_clear)
{
    struct config *c;
    char *text = load(yaml, &c);
    assert_string_equal(text, "");
    free(text);
    const struct token_key_opts *t = &c->push.token_keys;
    assert_int_equal(t->n, n);
    assert_int_equal(t->in_clear, in_clear);
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(t->keys[i] + 16, "\0\x11\"3DUfw\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
                            16);
    config_free(&c);
}

static void tokens_have_a_key_and_may_have_older_ones(void **state)
{
    (void)state;
    expect_token_keys(MINIMAL, 0, false);
    put_token_key(TOKEN_KEY "\n", 0600);
    expect_token_keys(WITH_TOKEN_KEY, 1, false);
    put_token_key(TOKEN_KEY "\r\n" TOKEN_KEY, 0640);
    expect_token_keys(WITH_TOKEN_KEY, 2, false);
    put_token_key("none\n" TOKEN_KEY "\n", 0600);
    expect_token_keys(WITH_TOKEN_KEY, 1, true);
    put_token_key("none\n", 0600);
    expect_token_keys(WITH_TOKEN_KEY, 0, true);

    static const char wrong[] = "6:19: push.token_key_file: line 1: expected a key of 64 hex "
                                "digits (32 random bytes: openssl rand -hex 32)";
    put_token_key("0011", 0600);
    expect(WITH_TOKEN_KEY, wrong);
    put_token_key(TOKEN_KEY "0", 0600);
    expect(WITH_TOKEN_KEY, wrong);
    put_token_key("x" TOKEN_KEY, 0600);
    expect(WITH_TOKEN_KEY, wrong);
    put_token_key(TOKEN_KEY "\nnone\n", 0600);
    expect(WITH_TOKEN_KEY, "push.token_key_file: line 2: expected a key");
    put_token_key("", 0600);
    expect(WITH_TOKEN_KEY, "push.token_key_file: token.key is empty");
    put_token_key(TOKEN_KEY, 0604);
    expect(WITH_TOKEN_KEY, "push.token_key_file: everybody on this machine may read token.key "
                           "(chmod o= helps)");
    char many[17 * 65 + 1] = "";
    for (int i = 0; i < 17; i++)
        strcat(many, TOKEN_KEY "\n");
    put_token_key(many, 0600);
    expect(WITH_TOKEN_KEY, "push.token_key_file: more than 16 keys");
}

static void systemd_may_hand_the_token_key_over(void **state)
{
    (void)state;
    char path[128];
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    expect_token_keys(MINIMAL, 0, false);
    put("push.token_key", "wrong\n");
    snprintf(path, sizeof path, "%s/push.token_key", folder);
    assert_int_equal(chmod(path, 0440), 0); /* as systemd gives it with an ACL */
    expect(MINIMAL, "push.token_key_file: line 1: expected a key");
    put_token_key(TOKEN_KEY "\n" TOKEN_KEY, 0600);
    expect_token_keys(WITH_TOKEN_KEY, 2, false); /* who names a file means that */
    put("push.token_key", TOKEN_KEY "\n");
    expect_token_keys(MINIMAL, 1, false);
    unsetenv("CREDENTIALS_DIRECTORY");
    expect_token_keys(MINIMAL, 0, false);
    assert_int_equal(unlink(path), 0);
}

static void a_certificate_takes_the_place_of_a_key(void **state)
{
    (void)state;
    struct config *c;
    put("app.pem", "CERT\n");
    put("app.key", "SECRET\n");
    char *text = load(MINIMAL "push: {apps: [{id: a, apns: {topic: t, certificate_file: "
                              "app.pem, private_key_file: app.key}}]}\n",
                      &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->push.apps[0].certificate_pem, "CERT");
    assert_string_equal(c->push.apps[0].private_key_pem, "SECRET");
    assert_null(c->push.apps[0].key_pem);
    config_free(&c);
}

static void unified_push_is_off_until_it_has_an_address(void **state)
{
    (void)state;
    struct config *c;
    char *text = load(MINIMAL, &c);
    assert_string_equal(text, "");
    free(text);
    assert_null(c->unified_push.host);
    config_free(&c);
    text = load(MINIMAL "unified_push: {listen: \"127.0.0.1:9281\", url: \"https://a.b/c\"}\n",
                &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->unified_push.host, "127.0.0.1");
    assert_int_equal(c->unified_push.port, 9281);
    assert_string_equal(c->unified_push.url, "https://a.b/c");
    config_free(&c);
}

static void an_app_is_reached_through_web_push(void **state)
{
    (void)state;
    struct config *c;
    put("vapid.pem", "KEY\n");
    put("ca.pem", "CA\n");
    char *text = load(MINIMAL WEBPUSH, &c);
    assert_string_equal(text, "");
    free(text);
    const struct webpush_opts *o = c->push.apps[0].webpush;
    assert_string_equal(o->private_key, "KEY");
    assert_string_equal(o->subject, "mailto:a@example.org");
    assert_int_equal(o->ports_n, 1);
    assert_int_equal(o->ports[0], 443);
    assert_int_equal(o->allow_hosts_n, 0);
    assert_false(o->allow_private);
    assert_null(c->push.apps[0].fcm);
    assert_null(c->push.apps[0].ca_pem);
    config_free(&c);
    text = load(MINIMAL WEBPUSH "        allow_private: true\n"
                                "        ports: [8443, 65535]\n"
                                "        allow_hosts: [push.example.net, \"*.example.org\"]\n"
                                "        ca_file: ca.pem\n",
                &c);
    assert_string_equal(text, "");
    free(text);
    o = c->push.apps[0].webpush;
    assert_int_equal(o->ports_n, 2);
    assert_int_equal(o->ports[1], 65535);
    assert_int_equal(o->allow_hosts_n, 2);
    assert_string_equal(o->allow_hosts[1], "*.example.org");
    assert_true(o->allow_private);
    assert_string_equal(c->push.apps[0].ca_pem, "CA");
    config_free(&c);
}

static void of_rooms_is_pushed_what_was_said(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum event_notify notify;
    } cases[] = {
        {"always", NOTIFY_ALWAYS}, {"mention", NOTIFY_MENTION}, {"never", NOTIFY_NEVER}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c;
        char yaml[4096];
        snprintf(yaml, sizeof yaml, "%spush: {rooms: %s}\n", MINIMAL, cases[i].word);
        char *text = load(yaml, &c);
        assert_string_equal(text, "");
        free(text);
        assert_int_equal(c->push.rooms, cases[i].notify);
        config_free(&c);
    }
}

static void an_app_may_show_less_and_look_its_own_way(void **state)
{
    (void)state;
    struct config *c;
    put("key.p8", "KEY\n");
    char *text = load(MINIMAL APNS, &c);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(c->push.apps[0].content, PUSH_CONTENT_SENDER);
    assert_string_equal(c->push.apps[0].encrypted_text, "Encrypted message");
    assert_null(c->push.apps[0].interruption_level);
    assert_false(c->push.apps[0].one_account);
    assert_false(c->push.apps[0].withdraws);
    assert_int_equal(c->push.apps[0].badge, PUSH_BADGE_MESSAGES);
    assert_false(c->push.apps[0].calls || c->push.apps[0].voip);
    assert_false(c->push.apps[0].background || c->archive.calls);
    assert_string_equal(c->push.apps[0].call_text, "Incoming call");
    assert_null(c->push.apps[0].category);
    config_free(&c);
    text = load(
        MINIMAL APNS
        "        category: MESSAGE\n        interruption_level: passive\n"
        "        voip: true\n        push_type: background\n"
        "      content: count\n      encrypted_text: verschlüsselt\n"
        "      accounts_per_device: one\n      withdraw: true\n      badge: since_opened\n"
        "      calls: true\n      call_text: Anruf\n",
        &c);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(c->push.apps[0].content, PUSH_CONTENT_COUNT);
    assert_string_equal(c->push.apps[0].encrypted_text, "verschlüsselt");
    assert_string_equal(c->push.apps[0].interruption_level, "passive");
    assert_true(c->push.apps[0].one_account);
    assert_true(c->push.apps[0].withdraws);
    assert_int_equal(c->push.apps[0].badge, PUSH_BADGE_SINCE_OPENED);
    assert_true(c->push.apps[0].calls && c->archive.calls);
    assert_string_equal(c->push.apps[0].call_text, "Anruf");
    assert_true(c->push.apps[0].voip && c->push.apps[0].background);
    assert_string_equal(c->push.apps[0].category, "MESSAGE");
    config_free(&c);
}

static void an_app_may_have_its_own_words(void **state)
{
    (void)state;
    struct config *c;
    put("key.p8", "KEY\n");
    char *text = load(MINIMAL APNS "      message_loc_key: new\n      count_loc_key: unread\n"
                                   "      encrypted_loc_key: secret\n"
                                   "      call_loc_key: rings\n",
                      &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->push.apps[0].loc_keys.message, "new");
    assert_string_equal(c->push.apps[0].loc_keys.count, "unread");
    assert_string_equal(c->push.apps[0].loc_keys.encrypted, "secret");
    assert_string_equal(c->push.apps[0].loc_keys.call, "rings");
    config_free(&c);
    text = load(MINIMAL APNS, &c);
    assert_string_equal(text, "");
    free(text);
    assert_null(c->push.apps[0].loc_keys.message);
    assert_null(c->push.apps[0].loc_keys.encrypted);
    config_free(&c);
    expect(MINIMAL APNS "      message_loc_key: new message\n",
           "push.apps[].message_loc_key: expected a name without spaces");
    put("vapid.pem", "KEY\n");
    expect(MINIMAL WEBPUSH "      encrypted_loc_key: secret\n",
           "push.apps[].encrypted_loc_key is for apps of APNs and FCM");
}

static void a_proxy_may_want_credentials(void **state)
{
    (void)state;
    struct config *c;
    put("key.p8", "KEY\n");
    char *text = load(MINIMAL APNS, &c);
    assert_string_equal(text, "");
    free(text);
    assert_null(c->push.apps[0].proxy);
    config_free(&c);
    text = load(MINIMAL APNS "  proxy: \"http://me%40home:p%3aw%25@[::1]:3128/\"\n", &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->push.apps[0].proxy->host, "::1");
    assert_int_equal(c->push.apps[0].proxy->port, 3128);
    assert_string_equal(c->push.apps[0].proxy->user, "me@home");
    assert_string_equal(c->push.apps[0].proxy->password, "p:w%");
    config_free(&c);
    /* Nothing of it is in a complaint. */
    text = load(MINIMAL "push: {proxy: \"http://me:verysecret@a/\"}\n", NULL);
    assert_non_null(strstr(text, "push.proxy"));
    assert_null(strstr(text, "verysecret"));
    free(text);
}

static void an_app_is_reached_through_apns_or_fcm(void **state)
{
    (void)state;
    struct config *c;
    put("account.json", "ACCOUNT\n");
    char *text = load(MINIMAL FCM, &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->push.apps[0].fcm->service_account, "ACCOUNT");
    assert_null(c->push.apps[0].fcm->token_url);
    assert_int_equal(c->push.apps[0].fcm->form, FCM_NOTIFICATION);
    assert_string_equal(c->push.apps[0].host, "fcm.googleapis.com");
    assert_int_equal(c->push.apps[0].port, 443);
    config_free(&c);
    put("ca.pem", "CA\n");
    text = load(MINIMAL FCM "        form: data\n        url: https://127.0.0.1:8443\n"
                            "        token_url: https://127.0.0.1:8443/token\n"
                            "        ca_file: ca.pem\n",
                &c);
    assert_string_equal(text, "");
    free(text);
    assert_string_equal(c->push.apps[0].fcm->token_url, "https://127.0.0.1:8443/token");
    assert_int_equal(c->push.apps[0].fcm->form, FCM_DATA);
    assert_string_equal(c->push.apps[0].ca_pem, "CA");
    assert_int_equal(c->push.apps[0].port, 8443);
    config_free(&c);
}

static void special_words_have_their_numbers(void **state)
{
    (void)state;
    struct config *c;
    char *text = load(MINIMAL "spool: {fsync: always}\npush: {while_active_elsewhere: never}\n"
                              "http: {listen: \"\"}\n",
                      &c);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(c->spool.fsync_ms, 0);
    assert_int_equal(c->push.while_active_elsewhere_ms, -1);
    assert_null(c->http.host);
    config_free(&c);
}

static void a_cluster_names_its_hosts(void **state)
{
    (void)state;
    struct config *c;
    char *text =
        load(MINIMAL "  hosts: [\"127.0.0.1:1\", \"[::1]:2\", localhost]\n  port: 9\n", &c);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(c->component.hosts_n, 3);
    assert_string_equal(c->component.hosts[1].host, "::1");
    assert_int_equal(c->component.hosts[1].port, 2);
    assert_int_equal(c->component.hosts[2].port, 9);
    config_free(&c);
}

static void a_reload_names_what_needs_a_restart(void **state)
{
    (void)state;
    struct config *a, *b;
    free(load(MINIMAL, &a));
    free(load(MINIMAL "  port: 5348\nlog: {level: debug}\n", &b));
    struct buf names;
    buf_init(&names, 4096);
    config_restart_needed(a, b, &names);
    assert_string_equal(buf_cstr(&names), "xmpp.port\n");
    buf_deinit(&names);
    config_free(&a);
    config_free(&b);
}

static void expect_port(const char *content, int port)
{
    struct config *c;
    char *text = load(content, &c);
    assert_string_equal(text, "");
    assert_int_equal(c->component.hosts[0].port, port);
    config_free(&c);
    free(text);
}

#define OPENFIRE(more)                                                                        \
    "xmpp: {server: openfire, component: c.a.b, secret: s, domains: [a.b]" more "}\n"

static void openfire_has_ports_of_its_own(void **state)
{
    (void)state;
    expect_port(MINIMAL, 5347);
    expect_port(OPENFIRE(""), 5275);
    expect_port(OPENFIRE(", tls: direct"), 5276);
    expect_port(OPENFIRE(", port: 5347"), 5347);
    expect_port(OPENFIRE(", hosts: [127.0.0.1]"), 5275);
}

static void expect_parse_limit(const char *content, size_t bytes)
{
    struct config *c;
    char *text = load(content, &c);
    assert_string_equal(text, "");
    assert_int_equal(c->component.parse_bytes_max, bytes);
    assert_int_equal(c->component.presence_every_ms, 60000);
    config_free(&c);
    free(text);
}

static void openfires_lists_may_be_longer_than_messages(void **state)
{
    (void)state;
    expect_parse_limit(OPENFIRE(""), OPENFIRE_LIST_BYTES);
    expect_parse_limit(OPENFIRE("") "limits: {stanza_bytes: 16MiB}\n",
                       (16 << 20) + OPENFIRE_ENVELOPE_BYTES);
    expect_parse_limit(MINIMAL, 1 << 20);
}

static void expect_sent_limit(const char *content, size_t bytes)
{
    struct config *c;
    char *text = load(content, &c);
    assert_string_equal(text, "");
    assert_int_equal(c->component.sent_bytes_max, bytes);
    assert_int_equal(c->archive.message_bytes_max, bytes - (16 << 10));
    config_free(&c);
    free(text);
}

static void what_is_sent_is_no_longer_than_the_server_takes(void **state)
{
    (void)state;
    expect_sent_limit(MINIMAL, 8 << 20);
    expect_sent_limit(MINIMAL "  server: prosody\n", 500 << 10);
    expect_sent_limit(OPENFIRE(""), 1000 << 10);
    expect_sent_limit(MINIMAL "  server: prosody\nlimits: {sent_stanza_bytes: 2MiB}\n",
                      2 << 20);
}

static void the_example_file_is_accepted(void **state)
{
    (void)state;
    const char *root = getenv("SIDECAR_ROOT");
    char path[1024];
    snprintf(path, sizeof path, "%s/config/sidecar.yml", root ? root : ".");
    struct buf b;
    buf_init(&b, 1 << 16);
    struct config *c;
    assert_int_equal(config_load(path, &c, &b), ERR_NONE);
    assert_string_equal(buf_cstr(&b), "");
    buf_deinit(&b);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_minimal_file_gives_the_documented_defaults),
        cmocka_unit_test(every_complaint_has_line_and_column),
        cmocka_unit_test(notices_are_read),
        cmocka_unit_test(too_many_notices_are_refused),
        cmocka_unit_test(notices_of_nodes_are_not_for_openfire),
        cmocka_unit_test(all_complaints_are_reported_at_once),
        cmocka_unit_test(environment_and_files_fill_values),
        cmocka_unit_test(tokens_have_a_key_and_may_have_older_ones),
        cmocka_unit_test(systemd_may_hand_the_token_key_over),
        cmocka_unit_test(a_certificate_takes_the_place_of_a_key),
        cmocka_unit_test(of_rooms_is_pushed_what_was_said),
        cmocka_unit_test(an_app_may_show_less_and_look_its_own_way),
        cmocka_unit_test(an_app_may_have_its_own_words),
        cmocka_unit_test(a_proxy_may_want_credentials),
        cmocka_unit_test(an_app_is_reached_through_apns_or_fcm),
        cmocka_unit_test(an_app_is_reached_through_web_push),
        cmocka_unit_test(unified_push_is_off_until_it_has_an_address),
        cmocka_unit_test(special_words_have_their_numbers),
        cmocka_unit_test(a_cluster_names_its_hosts),
        cmocka_unit_test(whose_publishes_are_taken_and_how_is_read),
        cmocka_unit_test(a_reload_names_what_needs_a_restart),
        cmocka_unit_test(openfire_has_ports_of_its_own),
        cmocka_unit_test(openfires_lists_may_be_longer_than_messages),
        cmocka_unit_test(what_is_sent_is_no_longer_than_the_server_takes),
        cmocka_unit_test(the_example_file_is_accepted),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
