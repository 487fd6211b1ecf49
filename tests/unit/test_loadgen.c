// SPDX-License-Identifier: Apache-2.0
/* The load generator: what it sends is what the service understands, and what it measures is
 * right. */
#include "tests/unit/xmpp_world.h"

#include "component/page.h"
#include "component/spool.h"
#include "tests/bench/loadgen/committed.h"
#include "tests/bench/loadgen/histogram.h"
#include "tests/bench/loadgen/measure.h"
#include "tests/bench/loadgen/options.h"
#include "tests/bench/loadgen/traffic.h"
#include "tests/unit/spool_dir.h"

/* --- histogram --- */

static void quantiles_are_at_most_a_sixty_fourth_above_the_truth(void **state)
{
    (void)state;
    struct histogram h = {.n = 0};
    for (int64_t us = 1; us <= 200000; us++)
        histogram_add(&h, us);
    static const double shares[] = {0.001, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double truth = shares[i] * 200000;
        double told = (double)histogram_quantile(&h, shares[i]);
        assert_true(told >= truth && told <= truth * (1 + 1.0 / HISTOGRAM_STEPS) + 1);
    }
    assert_int_equal(histogram_quantile(&h, 1), 200000);
    assert_int_equal(h.max_us, 200000);
}

static void every_power_of_two_keeps_its_order(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 60; bit++) {
        for (int64_t d = -1; d <= 1; d++) {
            struct histogram h = {.n = 0};
            int64_t us = (INT64_C(1) << bit) + d;
            histogram_add(&h, us);
            histogram_add(&h, us);
            assert_int_equal(histogram_quantile(&h, 0.5), us);
        }
    }
    struct histogram h = {.n = 0};
    assert_int_equal(histogram_quantile(&h, 0.99), 0);
    histogram_add(&h, -5);
    assert_int_equal(histogram_quantile(&h, 0.99), 0);
}

/* --- traffic --- */

static struct traffic *make_traffic(const struct traffic_mix *mix, uint32_t accounts)
{
    const struct traffic_opts opts = {.domain = "e.test",
                                      .component = "sidecar.e.test",
                                      .accounts = accounts,
                                      .seed = 7,
                                      .mix = *mix};
    return traffic_new(&opts);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void plain_traffic_is_two_events_for_each_message(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct traffic *t = make_traffic(&traffic_plain, 100000);
    struct buf out;
    buf_init(&out, 16 << 20);
    for (int i = 0; i < 500; i++) {
        size_t before = buf_len(&out), end = traffic_message(t, &out);
        assert_true(end > before && end < buf_len(&out));
        assert_memory_equal(buf_data(&out) + end - 10, "</message>", 10);
    }
    world_feed(&w, buf_cstr(&out)); /* asserts that nothing was refused */
    assert_int_equal(count(buf_cstr(&w.events), "message "), 1000);
    assert_int_equal(count(buf_cstr(&w.events), "* -> user"), 1000); /* all local */
    assert_int_equal(traffic_counts(t)->messages, 500);
    assert_int_equal(traffic_counts(t)->stanzas, 1000);
    buf_deinit(&out);
    traffic_free(&t);
    world_end(&w);
}

static void typical_traffic_has_every_kind_of_stanza_and_none_that_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct traffic *t = make_traffic(&traffic_typical, 1000000);
    struct buf out;
    buf_init(&out, 64 << 20);
    for (int i = 0; i < 2000; i++)
        traffic_message(t, &out);
    world_feed(&w, buf_cstr(&out));
    const char *xml = buf_cstr(&out), *events = buf_cstr(&w.events);
    assert_true(count(xml, "<composing") > 1000);
    assert_true(count(xml, "<received") > 1000);
    assert_true(count(xml, "<show>away</show>") > 200);
    assert_true(count(xml, "<ping") > 100);
    assert_int_equal(count(events, "marker "), count(xml, "<displayed"));
    assert_true(count(events, "marker ") > 500);
    assert_true(count(events, "@remote.example/phone -> user") > 10);
    assert_true(count(xml, "</body>") > 3000 && count(xml, "</body>") < 4000); /* one or two */
    assert_true(count(xml, "&lt;3") > 100 && count(xml, "🎉") > 100);
    buf_deinit(&out);
    traffic_free(&t);
    world_end(&w);
}

static void on_question(void *ctx, struct iq_request *r)
{
    ++*(unsigned *)ctx;
    assert_true(r->delegated && r->own_account && r->is_set);
    iq_reply(r, NULL);
}

static void questions_are_answered_under_their_id(void **state)
{
    (void)state;
    struct world w;
    unsigned asked = 0;
    world_begin(&w);
    service_handle(w.service, "query", NS_MAM, on_question, &asked);
    struct traffic *t = make_traffic(&traffic_typical, 1000);
    struct buf out;
    buf_init(&out, 1 << 20);
    traffic_question(t, &out, TRAFFIC_MAM, "rr-1-1");
    traffic_question(t, &out, TRAFFIC_DISCO, "rr-2-1");
    traffic_question(t, &out, TRAFFIC_PING, "rr-3-1");
    world_feed(&w, buf_cstr(&out));
    assert_int_equal(asked, 1);
    assert_int_equal(w.opened, 3);
    assert_int_equal(w.done, 3);
    static const char *const ids[] = {"rr-1-1", "rr-2-1", "rr-3-1"};
    for (size_t i = 0; i < 3; i++)
        assert_non_null(strstr(buf_cstr(&w.sent), ids[i]));
    assert_null(strstr(buf_cstr(&w.sent), "type=\"error\""));
    buf_deinit(&out);
    traffic_free(&t);
    world_end(&w);
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    struct buf out[2];
    for (int i = 0; i < 2; i++) {
        struct traffic *t = make_traffic(&traffic_typical, 50000);
        buf_init(&out[i], 16 << 20);
        for (int n = 0; n < 300; n++)
            traffic_message(t, &out[i]);
        traffic_free(&t);
    }
    assert_int_equal(buf_len(&out[0]), buf_len(&out[1]));
    assert_memory_equal(buf_data(&out[0]), buf_data(&out[1]), buf_len(&out[0]));
    buf_deinit(&out[0]);
    buf_deinit(&out[1]);
}

static void few_accounts_write_most_and_a_million_may(void **state)
{
    (void)state;
    static struct people p;
    unsigned busy = 0, late = 0;
    uint32_t from, to;
    people_init(&p, PEOPLE_ACCOUNTS_MAX, 0.25, 3);
    for (int i = 0; i < 20000; i++) {
        people_next(&p, &from, &to);
        assert_true(from < PEOPLE_ACCOUNTS_MAX && to < PEOPLE_ACCOUNTS_MAX && from != to);
        assert_true(people_online(&p, from));
        busy += from < 1000;
        late += from >= 500000;
    }
    /* ln(1005 / 5) / ln(1000005 / 5) is 0.43; answers and those away move it a little. */
    assert_true(busy > 20000 * 0.3 && busy < 20000 * 0.55);
    assert_true(late > 20000 * 0.02 && late < 20000 * 0.12);
}

/* --- measuring --- */

static void a_commit_counts_from_the_last_byte_written(void **state)
{
    (void)state;
    struct measure *m = calloc(1, sizeof *m);
    measure_init(m, 20, 10);
    m->start_us = 1000000;
    measure_message(m, 100, 1, 2);
    measure_message(m, 200, 1, 2);
    measure_written(m, 150, 2000000);
    measure_committed(m, 500, 2003000); /* of the second not a byte is written yet */
    assert_int_equal(m->commit.n, 1);
    assert_int_equal(m->commit.max_us, 3000);
    assert_int_equal(measure_uncommitted(m), 1);
    measure_written(m, 200, 12000000);
    measure_committed(m, 199, 12500000);
    assert_int_equal(m->commit.n, 1);
    measure_committed(m, 200, 12600000);
    assert_int_equal(m->commit.n, 2);
    assert_int_equal(m->commit.max_us, 600000);
    assert_int_equal(m->windows_n, 2);
    assert_int_equal(m->windows[0].commit.n, 1);
    assert_int_equal(m->windows[1].commit.n, 1);
    assert_int_equal(measure_uncommitted(m), 0);
    measure_deinit(m);
    free(m);
}

static void a_question_is_answered_once_and_errors_are_counted_apart(void **state)
{
    (void)state;
    struct measure *m = calloc(1, sizeof *m);
    char a[MEASURE_ID_BYTES], b[MEASURE_ID_BYTES];
    measure_init(m, 10, 10);
    measure_question(m, 50, measure_ask(m, TRAFFIC_MAM, a));
    measure_question(m, 90, measure_ask(m, TRAFFIC_PING, b));
    measure_written(m, 90, 1000);
    assert_int_equal(m->open, 2);
    assert_false(measure_answered(m, "rr-77-1", false, 2000));
    assert_false(measure_answered(m, "delegation-0", false, 2000));
    assert_true(measure_answered(m, a, false, 2500));
    assert_false(measure_answered(m, a, false, 2600));
    assert_true(measure_answered(m, b, true, 3000));
    assert_int_equal(m->answers[TRAFFIC_MAM].n, 1);
    assert_int_equal(m->answers[TRAFFIC_MAM].max_us, 1500);
    assert_int_equal(m->answers[TRAFFIC_PING].n, 0);
    assert_int_equal(m->errors, 1);
    assert_int_equal(m->open, 0);
    measure_committed(m, 90, 5000); /* questions are no messages */
    assert_int_equal(m->commit.n, 0);
    measure_deinit(m);
    free(m);
}

static void the_log_says_when_each_message_was_written(void **state)
{
    (void)state;
    struct measure *m = calloc(1, sizeof *m);
    char *text = NULL, id[MEASURE_ID_BYTES];
    size_t len = 0;
    measure_init(m, 10, 10);
    m->log = open_memstream(&text, &len);
    measure_message(m, 100, 1, 2);
    measure_question(m, 150, measure_ask(m, TRAFFIC_PING, id));
    measure_message(m, 200, 7, 4000000);
    measure_message(m, 300, 8, 9); /* not written */
    measure_written(m, 100, 2000000);
    measure_written(m, 299, 2000500);
    measure_deinit(m);
    assert_string_equal(text, "2000000 1 2\n2000500 7 4000000\n");
    free(text);
    free(m);
}

static void many_marks_keep_their_order(void **state)
{
    (void)state;
    struct measure *m = calloc(1, sizeof *m);
    measure_init(m, 10, 10);
    for (uint64_t i = 1; i <= 50000; i++) {
        measure_message(m, i * 10, 1, 2);
        measure_written(m, i * 10, (int64_t)i);
        if (i > 100)
            measure_committed(m, (i - 100) * 10, (int64_t)i);
    }
    assert_int_equal(m->commit.n, 50000 - 100);
    assert_int_equal(histogram_quantile(&m->commit, 0.001), 100);
    assert_int_equal(m->commit.max_us, 100);
    measure_deinit(m);
    free(m);
}

/* --- what is committed --- */

/* The place in the spool of each byte of a stream is known to the byte, over records of any
 * size and over segments. */
static void a_place_in_the_spool_is_translated_to_bytes_of_the_stream(void **state)
{
    (void)state;
    struct temp_dir dir;
    struct spool *spool;
    struct page *page;
    struct committed *c;
    struct err e;
    uint64_t epoch, bytes;
    char path[80], text[5000];
    const char header[] = "<stream:stream id='1'>";
    temp_dir_make(&dir);
    struct spool_settings set = {.size_max = 64 << 20, .segment_bytes = 20000};
    assert_int_equal(spool_open(dir.spool, &set, &spool, &e), ERR_NONE);
    for (int stream = 0; stream < 2; stream++) /* the first one is not ours */
        assert_int_equal(
            spool_stream_open(spool, (const uint8_t *)header, strlen(header), 1, &epoch, &e),
            ERR_NONE);
    snprintf(path, sizeof path, "%s/page", dir.path);
    assert_int_equal(committed_open(dir.path, &c, &e), ERR_CONFIG);
    assert_int_equal(page_create(path, 1, &page, &e), ERR_NONE);
    assert_int_equal(committed_open(dir.path, &c, &e), ERR_RETRY);
    atomic_store(&page->links[0].state, LINK_UP);
    atomic_store(&page->links[0].epoch, epoch);
    assert_int_equal(committed_open(dir.path, &c, &e), ERR_NONE);
    assert_int_equal(committed_read(c, &bytes, &e), ERR_NONE);
    assert_int_equal(bytes, 0);
    memset(text, 'x', sizeof text);
    uint64_t sent = 0;
    for (size_t len = 1; len < sizeof text; len += 37) {
        assert_int_equal(spool_append(spool, (const uint8_t *)text, len, 1, &e), ERR_NONE);
        sent += len;
        uint64_t end = spool_end(spool);
        static const uint64_t before_end[] = {UINT64_MAX, 1, 0};
        for (size_t i = 0; i < 3; i++) {
            uint64_t back = before_end[i] == UINT64_MAX ? len : before_end[i];
            atomic_store(&page->links[0].archive_pos, end - back);
            assert_int_equal(committed_read(c, &bytes, &e), ERR_NONE);
            assert_int_equal(bytes, sent - back);
        }
    }
    assert_true(spool_end(spool) - spool_begin(spool) > 5 * set.segment_bytes);
    committed_close(&c);
    page_close(&page);
    spool_close(&spool);
    temp_dir_drop(&dir);
}

/* --- options --- */

static enum options_answer read_options(struct options *o, const char *last, const char *value)
{
    char words[8][32] = {"loadgen", "--spool", "/x", "--port", "5347", "--secret", "s"};
    char *argv[10];
    int argc = 7;
    for (int i = 0; i < argc; i++)
        argv[i] = words[i];
    char name[32], text[32];
    snprintf(name, sizeof name, "%s", last);
    snprintf(text, sizeof text, "%s", value);
    argv[argc++] = name;
    argv[argc++] = text;
    return options_read(o, argc, argv);
}

static void a_run_is_bounded_whatever_is_asked(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(read_options(&o, "--rate", "5000"), OPTIONS_RUN);
    assert_true(o.rate == 5000 && o.port == 5347 && o.accounts == 100000);
    assert_int_equal(read_options(&o, "--mix", "plain"), OPTIONS_RUN);
    assert_true(o.mix.composing == 0);
    static const char *const wrong[][2] = {
        {"--seconds", "3601"}, {"--seconds", "0"},  {"--rate", "1e9"},
        {"--rate", "nan"},     {"--port", "65536"}, {"--accounts", "1000001"},
        {"--accounts", "1.5"}, {"--mix", "wild"},   {"--host", "10.0.0.1"},
        {"--count", "-1"},     {"--window", "ten"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(read_options(&o, wrong[i][0], wrong[i][1]), OPTIONS_WRONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_at_most_a_sixty_fourth_above_the_truth),
        cmocka_unit_test(every_power_of_two_keeps_its_order),
        cmocka_unit_test(plain_traffic_is_two_events_for_each_message),
        cmocka_unit_test(typical_traffic_has_every_kind_of_stanza_and_none_that_is_refused),
        cmocka_unit_test(questions_are_answered_under_their_id),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes),
        cmocka_unit_test(few_accounts_write_most_and_a_million_may),
        cmocka_unit_test(a_commit_counts_from_the_last_byte_written),
        cmocka_unit_test(a_question_is_answered_once_and_errors_are_counted_apart),
        cmocka_unit_test(the_log_says_when_each_message_was_written),
        cmocka_unit_test(many_marks_keep_their_order),
        cmocka_unit_test(a_place_in_the_spool_is_translated_to_bytes_of_the_stream),
        cmocka_unit_test(a_run_is_bounded_whatever_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
