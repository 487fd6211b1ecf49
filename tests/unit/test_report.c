// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/buf.h"
#include "sidecar/report.h"

#define NOW (INT64_C(1800000000) * 1000000)

static struct report report;

static struct report *healthy(void)
{
    report = (struct report){.component = "sidecar.example.org",
                             .now_us = NOW,
                             .worker_pid = 42,
                             .worker_starts = 3,
                             .worker_answers = true,
                             .links_n = 1,
                             .nodes = {1, 1, 1, "ejabberd@localhost"},
                             .apps_n = 1};
    report.links[0] = (struct report_link){.host = "127.0.0.1",
                                           .port = 5347,
                                           .state = "up",
                                           .since_us = NOW - 65 * INT64_C(1000000),
                                           .behind_bytes = 17,
                                           .spool_bytes = 3 << 20,
                                           .spool_max = UINT64_C(4) << 30,
                                           .known = true,
                                           .messages_granted = true};
    report.relay = (struct relay_status){.database_up = true,
                                         .schema = SCHEMA_GOOD,
                                         .advice = "",
                                         .archive_ready = true,
                                         .outbox_ready = true};
    report.relay.ingest.up = true;
    report.relay.ingest.rows = 1000;
    report.relay.outbox.stored = 5;
    report.relay.outbox.oldest_us = NOW - 9 * INT64_C(1000000);
    report.apps[0].id = "org.example.chat";
    report.apps[0].gateway.state = GATEWAY_UP;
    report.apps[0].gateway.accepted = 77;
    return &report;
}

static void a_service_is_ready_when_messages_flow(void **state)
{
    (void)state;
    struct buf why;
    buf_init(&why, 4096);
    assert_true(report_ready(healthy(), &why));
    assert_string_equal(buf_cstr(&why), "");
    struct report *r = healthy();
    r->relay.ingest.up = false;
    r->relay.advice = "run migrate";
    assert_false(report_ready(r, &why));
    assert_string_equal(buf_cstr(&why), "run migrate");
    r = healthy();
    r->relay.ingest.up = false;
    buf_reset(&why);
    assert_false(report_ready(r, &why));
    assert_string_equal(buf_cstr(&why), "PostgreSQL is not reachable");
    r = healthy();
    r->worker_answers = false;
    assert_false(report_ready(r, NULL));
    buf_deinit(&why);
}

static void what_was_put_aside_and_how_workers_died_is_told_in_every_form(void **state)
{
    (void)state;
    struct buf b;
    struct report *r = healthy();
    buf_init(&b, 1 << 20);
    report_text(r, &b);
    assert_null(strstr(buf_cstr(&b), "quarantine"));
    assert_null(strstr(buf_cstr(&b), "faults"));
    r->relay.quarantine = (struct quarantine_status){
        .rows = 11, .bytes = 222, .total = 3333, .evicted = 44, .waiting = 5};
    r->worker_faults = 6;
    r->faults_unclear = 3;
    r->poison = 7;
    snprintf(r->worker_death, sizeof r->worker_death, "signal 11");
    buf_reset(&b);
    report_text(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "11 stanzas put aside, 3333 ever, 5 to be tried "
                                         "again; IT IS FULL, the oldest were given up"));
    assert_non_null(strstr(buf_cstr(&b), "6 deaths by faults of its own, AGAIN AND AGAIN with "
                                         "no stanza to blame; the last: signal 11"));
    buf_reset(&b);
    report_json(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "\"quarantine\":{\"rows\":11,\"bytes\":222,"
                                         "\"total\":3333,\"evicted\":44,\"waiting\":5}"));
    assert_non_null(strstr(buf_cstr(&b), "\"faults\":6,\"faults_unclear\":3,\"poison\":7,"
                                         "\"last_death\":\"signal 11\""));
    buf_reset(&b);
    report_metrics(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "\nxmpp_sidecar_quarantined_total 3333\n"));
    assert_non_null(strstr(buf_cstr(&b), "\nxmpp_sidecar_quarantine_rows 11\n"));
    assert_non_null(strstr(buf_cstr(&b), "\nxmpp_sidecar_quarantine_bytes 222\n"));
    assert_non_null(strstr(buf_cstr(&b), "\nxmpp_sidecar_quarantine_evicted_total 44\n"));
    assert_non_null(strstr(buf_cstr(&b), "\nxmpp_sidecar_worker_faults_total 6\n"));
    buf_deinit(&b);
}

/* One of two nodes of a cluster. */
static struct report *with_a_lost_node(void)
{
    struct report *r = healthy();
    r->links_n = 2;
    r->links[1] = (struct report_link){.host = "10.0.0.2",
                                       .port = 5348,
                                       .state = "backoff",
                                       .why = "Connection refused",
                                       .down_since_us = NOW - 3600 * INT64_C(1000000),
                                       .gaps = 2,
                                       .gap_from_us = NOW - 7200 * INT64_C(1000000),
                                       .gap_to_us = NOW - 7190 * INT64_C(1000000)};
    return r;
}

static void a_node_without_a_link_is_named_with_since_when_and_why(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_false(report_ready(with_a_lost_node(), &b));
    assert_string_equal(buf_cstr(&b), "no link to 10.0.0.2:5348 since 2027-01-15T07:00:00Z, "
                                      "backoff: Connection refused");
    buf_reset(&b);
    report_text(with_a_lost_node(), &b);
    assert_non_null(strstr(buf_cstr(&b), "10.0.0.2:5348  backoff  NOTHING IS READ since "
                                         "2027-01-15T07:00:00Z  (Connection refused)"));
    buf_deinit(&b);
}

static void gaps_are_told_with_from_and_to(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    report_text(with_a_lost_node(), &b);
    assert_non_null(strstr(buf_cstr(&b), "2 gaps, the last from 2027-01-15T06:00:00Z to "
                                         "2027-01-15T06:00:10Z"));
    buf_reset(&b);
    report_json(with_a_lost_node(), &b);
    assert_non_null(strstr(buf_cstr(&b), "\"down_since\":null,\"connects\":0,\"gaps\":0,"
                                         "\"gap_from\":null,\"gap_to\":null"));
    assert_non_null(strstr(buf_cstr(&b), "\"down_since\":\"2027-01-15T07:00:00.000000Z\""));
    assert_non_null(strstr(buf_cstr(&b), "\"gap_to\":\"2027-01-15T06:00:10.000000Z\""));
    buf_reset(&b);
    report_metrics(with_a_lost_node(), &b);
    assert_non_null(strstr(buf_cstr(&b), "link_gaps_total{link=\"1\"} 2\n"));
    assert_non_null(strstr(buf_cstr(&b), "link_last_gap_seconds{link=\"1\"} 10\n"));
    buf_deinit(&b);
}

static void copies_that_do_not_come_are_told_with_the_remedy(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    struct report *r = healthy();
    r->links[0].copies = SERVICE_COPIES_REFUSED;
    r->links[0].copies_trouble = "do this";
    assert_false(report_ready(r, &b));
    assert_string_equal(buf_cstr(&b), "the server sends no copies of messages: do this");
    report_text(r, &b);
    assert_non_null(
        strstr(buf_cstr(&b), "WRONG: the server sends no copies of messages: do this\n"));
    report_json(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "\"copies\":\"refused\",\"copies_since\":null,"
                                         "\"copies_trouble\":\"do this\""));
    r = healthy();
    r->links[0].copies = SERVICE_COPIES_ASKED;
    assert_false(report_ready(r, NULL));
    r->links[0].copies = SERVICE_COPIES_SENT;
    r->links[0].copies_since_us = NOW - 3600 * INT64_C(1000000);
    assert_true(report_ready(r, NULL));
    buf_reset(&b);
    report_text(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "copies of messages since 2027-01-15T07:00:00Z, "
                                         "at most 0 in 5 s\n"));
    assert_null(strstr(buf_cstr(&b), "COPIES LOST"));
    r->links[0].copies_busiest = 1600;
    r->links[0].copies_losses = 2;
    r->links[0].copies_lost_from_us = NOW - 7200 * INT64_C(1000000);
    r->links[0].copies_lost_to_us = NOW - 7198 * INT64_C(1000000);
    buf_reset(&b);
    report_text(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "at most 1600 in 5 s: NEAR what the server's queue"));
    assert_non_null(strstr(buf_cstr(&b), "COPIES LOST 2 times, it seems, the last from "
                                         "2027-01-15T06:00:00Z to 2027-01-15T06:00:02Z: "));
    buf_reset(&b);
    report_metrics(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "link_copies_lost_total{link=\"0\"} 2\n"));
    buf_deinit(&b);
}

static void nodes_and_links_that_do_not_fit_are_told(void **state)
{
    (void)state;
    static const struct {
        struct service_nodes nodes;
        const char *why; /* NULL: fits */
    } cases[] = {
        {{0, 1, 1, ""}, NULL}, /* the server does not tell */
        {{1, 1, 1, "a@x"}, NULL},
        {{2, 2, 2, "a@x b@x"}, NULL},
        {{1, 2, 1, "a@x"}, NULL}, /* a node is down, and its link says so */
        {{2, 1, 1, "a@x b@x"},
         "the server runs 2 nodes (a@x b@x), and xmpp.hosts has 1: users of the others are "
         "not seen: name every node in xmpp.hosts"},
        {{1, 2, 2, "a@x"},
         "the server runs 1 node (a@x), and xmpp.hosts has 2: two of them lead to one node, "
         "or the nodes are no cluster"},
    };
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct report *r = healthy();
        r->nodes = cases[i].nodes;
        buf_reset(&b);
        assert_true(report_ready(r, &b) == !cases[i].why);
        assert_string_equal(buf_cstr(&b), cases[i].why ? cases[i].why : "");
        buf_reset(&b);
        report_text(r, &b);
        if (cases[i].why)
            assert_non_null(strstr(buf_cstr(&b), cases[i].why));
        assert_true(!strstr(buf_cstr(&b), "WRONG") == !cases[i].why);
        buf_reset(&b);
        report_metrics(r, &b);
        assert_true(!strstr(buf_cstr(&b), "server_nodes_without_link 1\n") == (i != 4));
    }
    buf_deinit(&b);
}

static double number_at(const cJSON *o, const char *a, const char *b)
{
    const cJSON *inner = cJSON_GetObjectItem(o, a);
    if (cJSON_IsArray(inner))
        inner = cJSON_GetArrayItem(inner, 0);
    const cJSON *n = cJSON_GetObjectItem(inner, b);
    assert_true(cJSON_IsNumber(n));
    return n->valuedouble;
}

static void json_has_every_part(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    report_json(healthy(), &b);
    cJSON *o = cJSON_Parse(buf_cstr(&b));
    assert_non_null(o);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(o, "ready")));
    assert_true(number_at(o, "links", "up_s") == 65);
    assert_true(number_at(o, "spools", "behind_bytes") == 17);
    assert_true(number_at(o, "worker", "starts") == 3);
    assert_true(number_at(o, "archive", "rows") == 1000);
    assert_true(number_at(o, "outbox", "depth") == 5);
    assert_true(number_at(o, "outbox", "oldest_s") == 9);
    assert_true(number_at(o, "apps", "accepted") == 77);
    cJSON_Delete(o);
    buf_deinit(&b);
}

static void without_a_worker_the_link_is_still_told(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    struct report *r = healthy();
    r->worker_answers = false;
    r->links[0].known = false;
    report_text(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "127.0.0.1:5347  up for 65 s"));
    assert_non_null(strstr(buf_cstr(&b), "DOES NOT ANSWER"));
    assert_null(strstr(buf_cstr(&b), "outbox"));
    buf_reset(&b);
    report_json(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "\"answers\":false"));
    assert_null(strstr(buf_cstr(&b), "outbox"));
    buf_deinit(&b);
}

static void text_names_what_a_person_looks_for(void **state)
{
    (void)state;
    static const char *const words[] = {
        "17 bytes behind",     "3 of 4096 MiB",    "database   up", "1000 rows stored",
        "depth 5, oldest 9 s", "org.example.chat", "77 accepted"};
    struct buf b;
    buf_init(&b, 1 << 20);
    report_text(healthy(), &b);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!strstr(buf_cstr(&b), words[i]))
            fail_msg("no \"%s\" in:\n%s", words[i], buf_cstr(&b));
    }
    buf_deinit(&b);
}

static void every_metric_has_help_and_type(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    report_metrics(healthy(), &b);
    unsigned values = 0;
    char *save, *text = (char *)(uintptr_t)buf_cstr(&b);
    char declared[128] = "";
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[128];
        if (sscanf(line, "# TYPE %127s", name) == 1) {
            strcpy(declared, name);
        } else if (line[0] != '#') {
            size_t len = strcspn(line, " {");
            assert_true(len == strlen(declared) && strncmp(line, declared, len) == 0);
            values++;
        }
    }
    assert_true(values >= 15);
    buf_deinit(&b);
}

static void gaps_that_are_filled_are_told_with_what_is_in_the_way(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    struct report *r = healthy();
    report_text(r, &b);
    report_json(r, &b);
    report_metrics(r, &b);
    assert_null(strstr(buf_cstr(&b), "fill")); /* it is off */
    buf_reset(&b);
    r->relay.fill = (struct fill_status){.on = true,
                                         .trouble = "do this",
                                         .tasks = 2,
                                         .accounts = 30,
                                         .failed = 1,
                                         .messages = 400,
                                         .done_us = NOW};
    report_text(r, &b);
    assert_non_null(strstr(buf_cstr(&b),
                           "gap fill   2 to fill, 30 accounts asked (1 in vain), "
                           "400 messages told of\n           WRONG: do this\n"));
    buf_reset(&b);
    report_json(r, &b);
    assert_non_null(strstr(buf_cstr(&b),
                           "\"fill\":{\"tasks\":2,\"accounts\":30,\"failed\":1,"
                           "\"messages\":400,\"trouble\":\"do this\",\"done\":\""));
    buf_reset(&b);
    report_metrics(r, &b);
    assert_non_null(strstr(buf_cstr(&b), "xmpp_sidecar_fill_trouble 1\n"));
    assert_non_null(strstr(buf_cstr(&b), "xmpp_sidecar_fill_messages_total 400\n"));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_ready_when_messages_flow),
        cmocka_unit_test(what_was_put_aside_and_how_workers_died_is_told_in_every_form),
        cmocka_unit_test(a_node_without_a_link_is_named_with_since_when_and_why),
        cmocka_unit_test(copies_that_do_not_come_are_told_with_the_remedy),
        cmocka_unit_test(gaps_that_are_filled_are_told_with_what_is_in_the_way),
        cmocka_unit_test(gaps_are_told_with_from_and_to),
        cmocka_unit_test(nodes_and_links_that_do_not_fit_are_told),
        cmocka_unit_test(json_has_every_part),
        cmocka_unit_test(without_a_worker_the_link_is_still_told),
        cmocka_unit_test(text_names_what_a_person_looks_for),
        cmocka_unit_test(every_metric_has_help_and_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
