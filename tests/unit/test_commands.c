// SPDX-License-Identifier: Apache-2.0
/*
 * Each dialect as its clients, and the servers of those that register nothing, speak it:
 * tests/fixtures/dialects, one stanza to a line, "C: " from the client and "S: " from us, byte
 * for byte.  {name:12} stands for 12 bytes of our choice, {name} for any; where the same name
 * comes again, so must the same bytes.
 */
#include "sidecar/commands.h"

#include "tests/unit/database.h"
#include "tests/unit/xmpp_world.h"

#include "apns/devices.h"
#include "apns/notification.h"
#include "apns/opts.h"
#include "apns/outbox.h"
#include "apns/token_keys.h"
#include "archive/ingest.h"
#include "archive/opts.h"
#include "sidecar/publish.h"
#include "store/pg.h"

#define NAMES_MAX 8

struct name {
    char name[16];
    char value[64];
};

struct talk {
    struct world xmpp;
    struct event_base *base;
    struct pg_pool *pool;
    struct ingest *ingest;
    struct token_keys *tokens;
    struct devices *devices;
    struct commands *commands;
    struct outbox *outbox;
    struct publish *publish;
    struct name names[NAMES_MAX];
    size_t names_n;
};

static const struct fcm_opts fcm = {0};
static const char *const guests[] = {"guest.test"};
static const char *const monal[] = {"monalProdiOS"};
static const struct apns_app_opts apps[] = {
    {.id = "org.example.chat", .topic = "org.example.chat", .names = monal, .names_n = 1},
    {.id = "org.example.chat.android", .fcm = &fcm}};
static const struct push_opts push = {.apps = apps, .apps_n = 2, .stateless = 7};
static const struct archive_opts archive;

static bool is_up(void *ctx)
{
    struct talk *t = ctx;
    return pg_pool_is_up(t->pool) && ingest_ready(t->ingest);
}

static struct outbox_decision on_decide(void *ctx, const struct outbox_candidate *c)
{
    (void)ctx, (void)c;
    return (struct outbox_decision){OUTBOX_WAIT, 60000, NULL};
}

static void on_publish(void *ctx, struct iq_request *r)
{
    publish_take(((struct talk *)ctx)->publish, r);
}

static void begin_publishing(struct talk *t, const uint8_t *key)
{
    struct outbox_opts opts = {
        .push = &push, .pool = t->pool, .key = key, .hooks = {.decide = on_decide}};
    t->outbox = outbox_new(t->base, &opts);
    t->publish = publish_new(t->xmpp.service, &push);
    service_handle(t->xmpp.service, "pubsub", NS_PUBSUB, on_publish, t);
    service_handle(t->xmpp.service, "pubsub", NS_PUBSUB_OWNER, on_publish, t);
    service_welcome(t->xmpp.service, NS_PUBSUB);
    const struct publish_opts ready = {
        .pool = t->pool, .devices = t->devices, .outbox = t->outbox, .ingest = t->ingest};
    publish_ready(t->publish, t->base, &ready);
}

static int begin(void **state)
{
    static const uint8_t key[DEVICES_KEY_BYTES] = {7};
    db_fresh();
    struct talk *t = calloc(1, sizeof *t);
    world_init(&t->xmpp, 1);
    t->xmpp.opts.domains_n = 2;
    t->xmpp.opts.accept_from = guests;
    t->xmpp.opts.accept_from_n = 1;
    t->xmpp.service = world_service(&t->xmpp);
    service_opened(t->xmpp.service, 0, 1, t->xmpp.real_us);
    service_live(t->xmpp.service, 0);
    clock_fake_off();
    t->xmpp.real_us = clock_real_us();
    t->base = event_base_new();
    struct pg_opts opts = {.url = db_url(), .name = "test", .statement_timeout_ms = 60000};
    t->pool = pg_pool_new(t->base, &opts, 1);
    struct ingest_opts ingest = {.url = db_url(),
                                 .archive = &archive,
                                 .queue_bytes_max = 1 << 20,
                                 .queue_rows_max = 100};
    t->ingest = ingest_new(t->base, &ingest);
    t->tokens = token_keys_new(NULL);
    t->devices = devices_new(t->pool, key, t->tokens, 20);
    t->commands = commands_new(t->xmpp.service, true);
    db_loop(t->base, is_up, t);
    const struct commands_opts ready = {.push = &push,
                                        .component = "sidecar.e.test",
                                        .ingest = t->ingest,
                                        .devices = t->devices};
    commands_ready(t->commands, &ready);
    begin_publishing(t, key);
    *state = t;
    return 0;
}

static int end(void **state)
{
    struct talk *t = *state;
    devices_free(&t->devices);
    token_keys_free(&t->tokens);
    ingest_free(&t->ingest);
    pg_pool_free(&t->pool);
    outbox_free(&t->outbox);
    world_end(&t->xmpp);
    publish_free(&t->publish);
    commands_free(&t->commands);
    event_base_free(t->base);
    free(t);
    return 0;
}

static struct name *find_name(struct talk *t, const char *text, size_t len)
{
    for (size_t i = 0; i < t->names_n; i++)
        if (strlen(t->names[i].name) == len && memcmp(t->names[i].name, text, len) == 0)
            return &t->names[i];
    assert_true(t->names_n < NAMES_MAX && len < sizeof t->names->name);
    struct name *n = &t->names[t->names_n++];
    memset(n, 0, sizeof *n);
    memcpy(n->name, text, len);
    return n;
}

/* What the name at `at` ("{name:12}") stands for; end_out is behind it. */
static struct name *name_at(struct talk *t, const char *at, size_t *size_out,
                            const char **end_out)
{
    size_t len = strcspn(at + 1, ":}");
    *size_out = at[1 + len] == ':' ? strtoul(at + 2 + len, NULL, 10) : 0;
    *end_out = strchr(at, '}') + 1;
    return find_name(t, at + 1, len);
}

static void expect(struct talk *t, const char *want, const char *got)
{
    const char *w = want, *g = got;
    while (*w && *g) {
        if (*w != '{') {
            if (*w++ != *g++)
                break;
            continue;
        }
        size_t size;
        struct name *n = name_at(t, w, &size, &w);
        size_t len = strcspn(g, "\"<");
        assert_true(len < sizeof n->value);
        if (size)
            assert_int_equal(len, size);
        if (!n->value[0])
            memcpy(n->value, g, len);
        if (strlen(n->value) != len || memcmp(n->value, g, len) != 0)
            fail_msg("%s is not the same:\n%s\n%s", n->name, n->value, got);
        g += len;
    }
    if (*w || strcmp(g, "\n") != 0)
        fail_msg("wanted %s\ngot    %s", want, got);
}

static void say(struct talk *t, const char *line)
{
    char xml[4096];
    size_t n = 0;
    while (*line) {
        size_t size;
        assert_true(n + 64 < sizeof xml);
        if (*line == '{')
            n += (size_t)sprintf(xml + n, "%s", name_at(t, line, &size, &line)->value);
        else
            xml[n++] = *line++;
    }
    xml[n] = '\0';
    world_feed(&t->xmpp, xml);
}

static bool has_answered(void *ctx)
{
    return buf_len(&((struct talk *)ctx)->xmpp.sent) > 0;
}

static void play(void **state, const char *file)
{
    struct talk *t = *state;
    char *text = world_fixture(file), *rest = text, *line;
    unsigned answers = 0;
    while ((line = strsep(&rest, "\n"))) {
        char sent[8192];
        if (strncmp(line, "C: ", 3) == 0) {
            say(t, line + 3);
            db_loop(t->base, has_answered, t);
        } else if (strncmp(line, "S: ", 3) == 0) {
            expect(t, line + 3, world_sent(&t->xmpp, sent, sizeof sent));
            answers++;
        } else {
            assert_true(*line == '#' || !*line);
        }
    }
    assert_true(answers > 0);
    free(text);
}

static void p2_through_fcm(void **state)
{
    play(state, "dialects/p2-fcm.txt");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 0);
}

static void p2_through_apns(void **state)
{
    play(state, "dialects/p2-apns.txt");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 0);
}

static void siskin_and_snikket(void **state)
{
    play(state, "dialects/tigase-siskin.txt");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 0);
}

static void stork(void **state)
{
    play(state, "dialects/tigase-stork.txt");
    assert_string_equal(db_ask("SELECT app FROM xs.device"), "org.example.chat.android");
}

static void mod_push_appserver(void **state)
{
    play(state, "dialects/appserver.txt");
    struct talk *t = *state;
    assert_string_not_equal(find_name(t, "secret", 6)->value, find_name(t, "other", 5)->value);
    assert_string_not_equal(find_name(t, "third", 5)->value, find_name(t, "other", 5)->value);
    assert_string_equal(db_ask("SELECT string_agg(a.jid || ' ' || r.node, ',')"
                               " FROM xs.registration r JOIN xs.account a USING (owner)"),
                        "romeo@e.test new-device-id");
}

static void fpush(void **state)
{
    play(state, "dialects/fpush.txt");
    assert_string_equal(db_ask("SELECT string_agg(app || ' ' || token, ',') FROM xs.device"),
                        "org.example.chat "
                        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer <> 0"), 1);
    assert_int_equal(db_int("SELECT published FROM xs.registration"), 1);
}

static void mongooseim(void **state)
{
    play(state, "dialects/mongooseim.txt");
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 1);
    assert_int_equal(db_int("SELECT published FROM xs.registration"), 2);
    assert_string_equal(db_ask("SELECT jid || ' ' || body FROM xs.published"),
                        "bob@e.test hello");
}

static void chatsecure(void **state)
{
    play(state, "dialects/chatsecure.txt");
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer <> 0"), 1);
}

static void who_may_publish(void **state)
{
    play(state, "dialects/trust.txt");
    /* Of all that was taken only the accepted server's made a push. */
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.published"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.account"), 1);
}

static void nothing_is_registered_before_the_database_is_there(void **state)
{
    struct talk *t = *state;
    struct world bare;
    char sent[2048];
    world_begin(&bare);
    struct commands *early = commands_new(bare.service, false);
    world_feed(&bare, "<iq type='set' id='1' from='juliet@e.test/r' to='sidecar.e.test'>"
                      "<command xmlns='http://jabber.org/protocol/commands'"
                      " node='v1-register-push'><x xmlns='jabber:x:data' type='submit'/>"
                      "</command></iq>");
    assert_non_null(strstr(world_sent(&bare, sent, sizeof sent),
                           "<error type=\"wait\"><internal-server-error "));
    world_end(&bare);
    commands_free(&early);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 0);
    (void)t;
}

#define ON_DATABASE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DATABASE(p2_through_fcm),
        ON_DATABASE(p2_through_apns),
        ON_DATABASE(siskin_and_snikket),
        ON_DATABASE(stork),
        ON_DATABASE(mod_push_appserver),
        ON_DATABASE(fpush),
        ON_DATABASE(mongooseim),
        ON_DATABASE(chatsecure),
        ON_DATABASE(who_may_publish),
        ON_DATABASE(nothing_is_registered_before_the_database_is_there),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
