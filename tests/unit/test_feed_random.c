// SPDX-License-Identifier: Apache-2.0
/*
 * The way of a byte from the spool to the archive's door, played at random: a real spool with
 * small segments, a real feed, service, page and hand, and around them what the worker and the
 * link do, with their deaths.  The archive is played: lanes that commit when they like.  What
 * must be true at every step is asserted where it happens, what must be true in the end in
 * settle().
 *
 * FEED_RANDOM_SEED= plays one round again, FEED_RANDOM_ROUNDS= plays so many from there on.
 * Only which copy is still known when its second comes is not the seed's to say: that hash has
 * a key of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "archive/ingest.h"
#include "base/log.h"
#include "component/page.h"
#include "component/segments.h"
#include "component/spool.h"
#include "sidecar/death.h"
#include "sidecar/feed.h"
#include "sidecar/hand.h"
#include "sidecar/open_iqs.h"
#include "tests/unit/spool_dir.h"
#include "tests/unit/xmpp_world.h"

#define HEADER                                                                                \
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "    \
    "xmlns='jabber:component:accept' from='sidecar.e.test' id='s1'>"
#define SEED 1
#define ROUNDS 12
#define STEPS 200
#define NOTHING UINT64_MAX
#define NS_LATER "urn:test:later"
#define STANZA_BYTES_MAX ((size_t)64 << 10)
#define READ_BYTES ((size_t)256 << 10) /* what the link reads at once */
#define PENDING_BYTES_MAX ((size_t)1 << 20)
#define STANZAS_MAX 20000
#define FRAMES_MAX 20000
#define EPOCHS_MAX 256
#define HELD_MAX 64
#define RECORDS_MAX 8192
#define DAMAGES_MAX 64
#define LANES 3

/* --- what the server has written --- */

enum kind { MESSAGE, REQUEST, OTHER };

struct written {
    enum kind kind;
    unsigned id; /* of the message or request; two copies of a message have one */
    uint64_t epoch;
    struct place place;
};

struct coming {
    enum kind kind;
    unsigned id;
    size_t left; /* bytes that are not in the spool yet */
};

/* An answer on its way to the server. */
struct answer {
    uint64_t epoch;
    unsigned id; /* 0: something else */
};

/* --- the archive, in place of archive/ingest.c --- */

struct op {
    const struct written *stanza; /* NULL: the end or the beginning of a stream */
    uint64_t epoch;
    bool opened;
    uint64_t begin;
};

struct lane {
    struct op ops[STANZAS_MAX];
    size_t head, n;
    uint64_t stored;
};

struct ingest {
    struct lane lanes[LANES];
    bool ready;
    size_t room; /* ops that may wait */
    uint64_t reader;
    size_t checked;      /* stanzas whose ends were passed */
    uint64_t refused;    /* where the stanza began that found no room */
    uint64_t last_begin; /* of what was offered */
};

struct stage {
    struct temp_dir dir;
    struct world world;
    uint64_t rng;
    bool done; /* the round was played to its end */

    uint64_t segment_bytes;
    struct spool *spool;
    struct page *page;
    uint64_t boundary; /* end of the last whole stanza, or of the record that opened */
    struct written written[STANZAS_MAX];
    size_t written_n;
    unsigned ids;
    struct buf bytes; /* of the stream, not in the spool yet */
    struct coming coming[STANZAS_MAX];
    size_t coming_from, coming_to;

    struct ingest archive;
    unsigned taken_by[STANZAS_MAX]; /* by id: the worker whose archive took it last */
    bool committed[STANZAS_MAX];    /* by id */
    bool told[EPOCHS_MAX][2];       /* of streams: ended, begun */
    bool ended[EPOCHS_MAX];
    unsigned answers[STANZAS_MAX]; /* by id: that the server got */

    unsigned worker; /* 0: none lives */
    unsigned workers;
    bool killed; /* what its objects still say is not heard */
    struct service *service;
    struct hand *hand;
    struct open_iqs *iqs;
    struct feed *feed;
    bool awake;
    bool replayed;
    uint64_t replay_until;
    uint64_t frames;
    struct iq_request *held[HELD_MAX];
    size_t held_n;
    struct buf snapshot;
    bool has_snapshot;
    uint64_t snapshot_live;

    /* Answers: the link has read those before `taken`, and written those before `sent`. */
    struct answer answer[FRAMES_MAX];
    size_t sent, taken, answers_n;
    unsigned errors;

    struct place victim; /* the stanza that killed a worker last */
    /* Of the records that are damaged; an epoch whose header is may be lost as a whole. */
    bool damaging;
    struct place records[RECORDS_MAX]; /* with bytes of streams */
    size_t records_n;
    struct place damages[DAMAGES_MAX];
    size_t damages_n;
    bool hurt[EPOCHS_MAX + 1];
    uint64_t began[EPOCHS_MAX]; /* in the spool */
    bool any_hurt;
    bool wants_stream;
};

static struct stage s;
static unsigned seed;

static unsigned roll(unsigned n)
{
    s.rng = s.rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(s.rng >> 33) % n;
}

static bool one_in(unsigned n)
{
    return roll(n) == 0;
}

static bool is_streaming(void)
{
    return spool_streaming(s.spool);
}

/* --- the archive --- */

static const struct written *stanza_at(uint64_t end)
{
    size_t low = 0, high = s.written_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s.written[middle].place.end < end)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s.written_n && s.written[low].place.end == end ? &s.written[low] : NULL;
}

static size_t queued(const struct ingest *ing)
{
    size_t n = 0;
    for (unsigned l = 0; l < LANES; l++)
        n += ing->lanes[l].n - ing->lanes[l].head;
    return n;
}

static uint64_t first_begin(const struct lane *l, size_t skip)
{
    return l->head + skip < l->n ? l->ops[l->head + skip].begin : NOTHING;
}

uint64_t ingest_start_position(const struct ingest *ing, unsigned spool)
{
    assert_int_equal(spool, 0);
    uint64_t min = NOTHING;
    for (unsigned l = 0; l < LANES; l++)
        if (ing->lanes[l].stored < min)
            min = ing->lanes[l].stored;
    return min;
}

uint64_t ingest_committed(const struct ingest *ing, unsigned spool)
{
    assert_int_equal(spool, 0);
    uint64_t min = ing->reader;
    for (unsigned l = 0; l < LANES; l++)
        if (first_begin(&ing->lanes[l], 0) < min)
            min = first_begin(&ing->lanes[l], 0);
    return min;
}

static bool is_of(const struct place *damage, uint64_t epoch)
{
    return damage->begin >= s.began[epoch] &&
           (epoch == spool_epoch(s.spool) || damage->begin < s.began[epoch + 1]);
}

/* It lies in a damage, or between two of its stream, the second of which may be where the next
 * one begins: what is found behind the first is not trusted before the second. */
static bool is_touched(const struct written *w)
{
    bool before = false, behind = s.hurt[w->epoch + 1];
    for (size_t i = 0; i < s.damages_n; i++) {
        const struct place *d = &s.damages[i];
        before |= is_of(d, w->epoch) && d->begin < w->place.end;
        behind |= is_of(d, w->epoch) && d->end > w->place.begin;
    }
    return before && behind;
}

/* The one behind a damage tells where stanzas begin again. */
static bool may_be_lost(const struct written *w)
{
    return s.hurt[w->epoch] || is_touched(w) ||
           (w > s.written && w[-1].epoch == w->epoch && is_touched(w - 1));
}

/* Nothing is passed that was not taken or is committed. */
void ingest_passed(struct ingest *ing, unsigned spool, uint64_t end)
{
    assert_int_equal(spool, 0);
    for (; ing->checked < s.written_n; ing->checked++) {
        const struct written *w = &s.written[ing->checked];
        if (w->place.end > end)
            break;
        if (w->kind == MESSAGE && s.taken_by[w->id] != s.worker && !s.committed[w->id] &&
            !may_be_lost(w))
            fail_msg("m%u is passed and was not given begin=%llu end=%llu passed=%llu", w->id,
                     (unsigned long long)w->place.begin, (unsigned long long)w->place.end,
                     (unsigned long long)end);
    }
    assert_true(end <= ing->refused || s.any_hurt);
    if (end > ing->reader)
        ing->reader = end;
}

void ingest_wait_no_more(struct ingest *ing, unsigned spool)
{
    (void)ing;
    assert_int_equal(spool, 0);
    assert_true(hand_is_held(s.hand));
}

/* In order of place, but for what was refused; and nothing that was passed. */
static bool offer(struct ingest *ing, const struct place *p)
{
    assert_true(p->end > ing->reader);
    if (ing->refused == NOTHING)
        assert_true(p->begin >= ing->last_begin);
    else
        assert_true(p->begin == ing->refused || s.any_hurt);
    ing->last_begin = p->begin;
    ing->refused = queued(ing) < ing->room ? NOTHING : p->begin;
    if (ing->refused != NOTHING)
        return false;
    ingest_passed(ing, 0, p->begin);
    return true;
}

static void enqueue(struct ingest *ing, const struct place *p, struct op op)
{
    struct lane *l = &ing->lanes[(op.stanza ? op.stanza->id : op.epoch) % LANES];
    if (p->end <= l->stored)
        return;
    assert_true(l->n < STANZAS_MAX);
    op.begin = p->begin;
    l->ops[l->n++] = op;
}

static enum ingest_answer offer_stanza(struct ingest *ing, const struct place *p,
                                       const char *id)
{
    static const struct written nothing = {.kind = OTHER};
    const struct written *w = stanza_at(p->end);
    assert_true(s.any_hurt || (w && p->begin == w->place.begin));
    w = w ? w : &nothing;
    if (id) {
        char expected[16];
        snprintf(expected, sizeof expected, "m%u", w->id);
        assert_string_equal(id, expected);
    }
    if (!offer(ing, p))
        return INGEST_FULL;
    s.taken_by[w->id] = s.worker;
    enqueue(ing, p, (struct op){.stanza = w});
    return INGEST_TAKEN;
}

enum ingest_answer ingest_event(struct ingest *ing, const struct event *ev)
{
    return offer_stanza(ing, &ev->place, ev->id);
}

enum ingest_answer ingest_put_aside(struct ingest *ing, const struct ingest_aside *a)
{
    return offer_stanza(ing, &a->place, NULL);
}

enum ingest_answer ingest_stream(struct ingest *ing, const struct ingest_stream *st)
{
    assert_true(st->epoch < EPOCHS_MAX);
    if (!offer(ing, &st->place))
        return INGEST_FULL;
    enqueue(ing, &st->place, (struct op){.epoch = st->epoch, .opened = st->opened});
    return INGEST_TAKEN;
}

static void progress(void)
{
    if (!s.worker || !s.archive.ready)
        return;
    feed_archive_open(s.feed, &s.archive);
    s.awake = true;
}

/* One batch of one lane. */
static void commit(void)
{
    struct ingest *ing = &s.archive;
    struct lane *l = &ing->lanes[roll(LANES)];
    size_t n = one_in(2) ? l->n - l->head : roll(10);
    if (n > l->n - l->head)
        n = l->n - l->head;
    while (n > 0 && first_begin(l, n) == l->ops[l->head + n - 1].begin)
        n++;
    uint64_t next = first_begin(l, n), to = next < ing->reader ? next : ing->reader;
    for (; n > 0; n--) {
        const struct op *op = &l->ops[l->head++];
        if (op->stanza)
            s.committed[op->stanza->id] = true;
        else
            s.told[op->epoch][op->opened] = true;
    }
    if (to > l->stored)
        l->stored = to;
    progress();
}

/* --- the server and the link --- */

static void add_coming(enum kind kind, size_t before)
{
    assert_true(s.coming_to < STANZAS_MAX && s.ids < STANZAS_MAX);
    s.coming[s.coming_to++] =
        (struct coming){.kind = kind, .id = s.ids, .left = buf_len(&s.bytes) - before};
}

static void write_message(size_t before, size_t length)
{
    buf_addf(&s.bytes,
             "<message to='sidecar.e.test' from='e.test' id='1'><forwarded "
             "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@e.test/x' "
             "to='b@e.test' type='chat' id='m%u'><body>",
             s.ids);
    for (; length > 0; length--)
        buf_add_char(&s.bytes, 'y');
    buf_add_str(&s.bytes, "</body></message></forwarded></message>");
    add_coming(MESSAGE, before);
}

static void write_stanza(void)
{
    size_t before = buf_len(&s.bytes);
    unsigned dice = roll(100);
    s.ids++;
    if (one_in(20))
        buf_add_str(&s.bytes, " \n");
    if (dice < 10) {
        buf_addf(
            &s.bytes, "<iq type='%s' from='a@e.test/x' to='sidecar.e.test' id='q%u'>%s</iq>",
            one_in(2) ? "get" : "set", s.ids,
            one_in(2) ? "<ping xmlns='urn:xmpp:ping'/>" : "<query xmlns='" NS_LATER "'/>");
        add_coming(REQUEST, before);
    } else if (dice < 15) {
        buf_add_str(&s.bytes, "<presence from='a@e.test/x' to='sidecar.e.test'/>");
        add_coming(OTHER, before);
    } else if (dice < 16) {
        write_message(before, STANZA_BYTES_MAX + roll(100000));
    } else {
        size_t length = one_in(20) ? roll(30000) : roll(200);
        write_message(before, length);
        if (one_in(3))
            write_message(buf_len(&s.bytes), length);
    }
}

/* RLIMIT_FSIZE stands in for a disk that has so much room in a file and no more. */
static bool spool(size_t len, size_t room)
{
    struct rlimit old, tight;
    struct err e;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){.rlim_cur = room, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, room ? &tight : &old), 0);
    enum err_kind kind = spool_append(s.spool, buf_data(&s.bytes), len, s.world.real_us, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    if (kind != ERR_NONE)
        return false;
    uint64_t end = spool_end(s.spool);
    assert_true(s.records_n < RECORDS_MAX);
    s.records[s.records_n++] =
        (struct place){.begin = end - len - RECORD_HEADER_BYTES, .end = end};
    return true;
}

/* As one read of the link's; what finds no room stays in the socket. */
static void append(size_t len)
{
    if (!spool(len, one_in(20) ? 1 + roll(one_in(2) ? 100 : 3000) : 0))
        return;
    buf_consume(&s.bytes, len);
    uint64_t at = spool_end(s.spool) - len;
    while (s.coming_from < s.coming_to && s.coming[s.coming_from].left <= len) {
        const struct coming *c = &s.coming[s.coming_from++];
        assert_true(s.written_n < STANZAS_MAX);
        at += c->left;
        len -= c->left;
        s.written[s.written_n++] = (struct written){
            c->kind, c->id, spool_epoch(s.spool), {.begin = s.boundary, .end = at}};
        s.boundary = at;
    }
    if (len > 0)
        s.coming[s.coming_from].left -= len;
}

static void publish(void)
{
    uint64_t end = spool_end(s.spool);
    if (atomic_exchange(&s.page->links[0].spool_end, end) != end)
        s.awake = true;
}

static void forget_coming(void)
{
    buf_reset(&s.bytes);
    s.coming_from = s.coming_to = 0;
}

/* What it had still to write is the server's loss. */
static void drop_answers(void)
{
    struct page_link *l = &s.page->links[0];
    s.sent = s.taken;
    atomic_store(&l->frames_done, atomic_load(&l->frames_taken));
}

static void stream_open(void)
{
    struct err e;
    uint64_t epoch, begin = spool_end(s.spool);
    s.ended[spool_epoch(s.spool)] = true;
    forget_coming();
    drop_answers();
    assert_int_equal(spool_stream_open(s.spool, (const uint8_t *)HEADER, strlen(HEADER),
                                       s.world.real_us, &epoch, &e),
                     ERR_NONE);
    assert_true(epoch < EPOCHS_MAX);
    s.began[epoch] = begin;
    s.boundary = spool_end(s.spool);
    buf_add_str(&s.bytes, GRANT("urn:xmpp:privilege:2"));
    add_coming(OTHER, 0);
    while (buf_len(&s.bytes) > 0)
        append(buf_len(&s.bytes));
    publish();
}

static void stream_close(void)
{
    struct err e;
    if (s.coming_from == s.coming_to && one_in(2)) {
        buf_add_str(&s.bytes, "</stream:stream>");
        assert_true(spool(buf_len(&s.bytes), 0));
    }
    forget_coming();
    drop_answers();
    assert_int_equal(spool_stream_close(s.spool, "why not", s.world.real_us, &e), ERR_NONE);
    s.ended[spool_epoch(s.spool)] = true;
    s.boundary = spool_end(s.spool);
    publish();
}

static void write_some(void)
{
    if (!is_streaming()) {
        stream_open();
        return;
    }
    unsigned n = one_in(8) ? roll(600) : roll(4);
    for (; n > 0 && buf_len(&s.bytes) < PENDING_BYTES_MAX && s.ids < STANZAS_MAX - 700; n--)
        write_stanza();
    for (unsigned reads = 1 + roll(3); reads > 0 && buf_len(&s.bytes) > 0; reads--) {
        size_t most = buf_len(&s.bytes) < READ_BYTES ? buf_len(&s.bytes) : READ_BYTES;
        append(one_in(2) ? most : 1 + roll((unsigned)most));
    }
    if (!one_in(5))
        publish();
}

/* The link reads some of what the worker gave it, or all. */
static void read_answers(size_t most)
{
    struct page_link *l = &s.page->links[0];
    for (; most > 0 && s.taken < s.answers_n; most--) {
        const struct answer *a = &s.answer[s.taken++];
        atomic_fetch_add(&l->frames_taken, 1);
        bool up = is_streaming() && a->epoch == spool_epoch(s.spool);
        if (!up)
            s.answer[s.taken - 1].id = 0;
        if (!up && s.sent + 1 == s.taken)
            drop_answers();
    }
}

static void write_answers(void)
{
    for (; s.sent < s.taken; s.sent++) {
        unsigned id = s.answer[s.sent].id;
        if (id && ++s.answers[id] > 1)
            fail_msg("q%u was answered twice", id);
    }
    drop_answers();
}

/* --- the worker --- */

static void on_send(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data, size_t len)
{
    (void)ctx;
    assert_int_equal(link, 0);
    static const char mark[] = "id=\"q";
    const uint8_t *at = len > sizeof mark ? memmem(data, len, mark, sizeof mark - 1) : NULL;
    assert_true(s.answers_n < FRAMES_MAX);
    s.answer[s.answers_n].epoch = epoch;
    s.answer[s.answers_n++].id =
        at ? (unsigned)strtoul((const char *)at + sizeof mark - 1, NULL, 10) : 0;
    s.frames++;
}

static void on_event(void *ctx, const struct event *e)
{
    (void)ctx;
    feed_event(s.feed, e);
}

static void on_opened(void *ctx, const struct place *p)
{
    (void)ctx;
    open_iqs_opened(s.iqs, p);
}

static void forget_written(void)
{
    open_iqs_written(s.iqs, 0, atomic_load(&s.page->links[0].frames_done));
}

static void on_done(void *ctx, const struct place *p)
{
    (void)ctx;
    if (s.killed)
        return;
    s.awake |= hand_is_held(s.hand);
    forget_written();
    open_iqs_answered(s.iqs, p, s.frames);
}

static bool on_is_open(void *ctx, const struct place *p)
{
    (void)ctx;
    return open_iqs_has(s.iqs, p);
}

static void on_reconnect(void *ctx, unsigned link, uint64_t epoch, const char *why)
{
    (void)ctx;
    s.wants_stream |= epoch == spool_epoch(s.spool);
    if (!s.any_hurt)
        fail_msg("link=%u is asked for a new stream epoch=%llu: %s", link,
                 (unsigned long long)epoch, why);
}

static void on_passed(void *ctx, unsigned link, const struct place *p)
{
    (void)ctx;
    _Atomic uint64_t *live = &s.page->links[link].live_pos;
    if (p->end > atomic_load(live))
        atomic_store(live, p->end);
}

static void on_later(void *ctx, struct iq_request *r)
{
    (void)ctx;
    if (s.held_n < HELD_MAX)
        s.held[s.held_n++] = r;
    else
        iq_later(r, NULL);
}

static void answer_one(void)
{
    if (s.held_n == 0)
        return;
    size_t i = roll((unsigned)s.held_n);
    struct iq_request *r = s.held[i];
    s.held[i] = s.held[--s.held_n];
    iq_reply(r, NULL);
}

static void start_service(void)
{
    const struct service_events events = {.send = on_send,
                                          .event = on_event,
                                          .request_opened = on_opened,
                                          .request_done = on_done,
                                          .request_is_open = on_is_open,
                                          .reconnect = on_reconnect};
    s.service = service_new(&s.world.opts, world_key, &events);
    service_handle(s.service, "query", NS_LATER, on_later, NULL);
}

static void start_archive(void)
{
    for (unsigned l = 0; l < LANES; l++)
        s.archive.lanes[l].head = s.archive.lanes[l].n = 0;
    s.archive.ready = false;
    s.archive.reader = ingest_start_position(&s.archive, 0);
    s.archive.checked = 0;
    s.archive.refused = NOTHING;
    s.archive.last_begin = 0;
}

static void start_worker(void)
{
    page_place_set(&s.page->in_hand, NULL);
    s.worker = ++s.workers;
    s.killed = s.replayed = false;
    s.iqs = open_iqs_new(s.page);
    s.hand = hand_new(s.page);
    s.frames = atomic_load(&s.page->links[0].frames_taken);
    s.held_n = 0;
    start_archive();
    start_service();
    bool known =
        s.has_snapshot && service_load(s.service, buf_data(&s.snapshot), buf_len(&s.snapshot));
    assert_true(known || !s.has_snapshot);
    uint64_t oldest = open_iqs_oldest(s.iqs, 0), from = known ? s.snapshot_live : 0;
    atomic_store(&s.page->links[0].snapshot_pos, from);
    s.replay_until = atomic_load(&s.page->links[0].live_pos);
    struct feed_opts opts = {.link = 0,
                             .directory = s.dir.spool,
                             .server = "e.test:5347",
                             .live_from = oldest < from ? oldest : from,
                             .replay_until = s.replay_until,
                             .stanza_bytes_max = STANZA_BYTES_MAX,
                             .service = s.service,
                             .hand = s.hand,
                             .is_open = on_is_open,
                             .passed = on_passed,
                             .reconnect = on_reconnect};
    s.feed = feed_new(&opts);
    s.awake = true;
}

static void take_snapshot(void)
{
    buf_reset(&s.snapshot);
    service_save(s.service, &s.snapshot);
    s.snapshot_live = feed_live_position(s.feed);
    s.has_snapshot = true;
    atomic_store(&s.page->links[0].snapshot_pos, s.snapshot_live);
}

static void release(void)
{
    uint64_t pos = feed_keeps_from(s.feed);
    uint64_t snapshot = atomic_load(&s.page->links[0].snapshot_pos);
    uint64_t oldest = open_iqs_oldest(s.iqs, 0);
    pos = snapshot < pos ? snapshot : pos;
    pos = oldest < pos ? oldest : pos;
    pos = pos > 0 ? pos - 1 : 0;
    hand_released(s.hand, 0, pos);
    spool_delete_below(s.spool, pos);
    spool_wait(s.spool);
}

static void tick(void)
{
    world_pass(&s.world, 100);
    service_tick(s.service, s.world.mono_ms);
    forget_written();
    release();
    if (s.archive.ready)
        hand_passed(s.hand, 0, feed_live_position(s.feed), ingest_committed(&s.archive, 0));
    s.awake = true;
}

static void pump_once(void)
{
    if (!s.awake)
        return;
    s.awake = feed_pump(s.feed, atomic_load(&s.page->links[0].spool_end));
    if (!s.replayed && feed_live_position(s.feed) >= s.replay_until) {
        s.replayed = true;
        open_iqs_replayed(s.iqs, 0);
    }
}

/* However much there is to read, a turn reads some of it. */
static void pump(void)
{
    uint64_t bytes = spool_bytes(s.spool);
    for (uint64_t turns = 0; s.awake; turns++) {
        if (turns > 100 + bytes / 10000)
            fail_msg("there is more and more to do");
        pump_once();
    }
}

static void forget_worker(void)
{
    feed_free(&s.feed);
    service_free(&s.service);
    open_iqs_free(&s.iqs);
    hand_free(&s.hand);
    s.worker = 0;
    s.answers_n = s.taken;
}

static void stop_worker(void)
{
    take_snapshot();
    release();
    read_answers(SIZE_MAX);
    forget_worker();
}

static void kill_worker(bool fault)
{
    s.killed = true;
    read_answers(roll(4)); /* so many had gone out */
    forget_worker();
    if (fault)
        death_note_fault(s.page, roll(100), "signal 11");
}

/* The stanza that killed the worker before, or one that comes next.  Poison kills nobody. */
static void take_in_hand(void)
{
    bool may_look;
    uint64_t at = one_in(2) ? feed_live_position(s.feed) : s.archive.reader;
    if (s.victim.end == 0 || one_in(3)) {
        size_t i = 0;
        while (i < s.written_n && (s.written[i].place.end <= at || s.written[i].kind == OTHER))
            i++;
        if (i == s.written_n)
            return;
        s.victim = s.written[i].place;
    }
    if (!hand_poison(s.hand, &s.victim, &may_look))
        page_place_set(&s.page->in_hand, &s.victim);
}

/* --- the link's death --- */

static void append_junk(void)
{
    uint64_t *bases;
    size_t n;
    char name[SEGMENT_NAME_BYTES], path[200];
    assert_true(segment_list(s.dir.spool, &bases, &n) && n > 0);
    segment_name(bases[n - 1], name);
    free(bases);
    snprintf(path, sizeof path, "%s/%s", s.dir.spool, name);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_true(fd >= 0 && write(fd, "\377XS\376 and so on", 14) == 14);
    close(fd);
}

static void open_spool(uint64_t kept_to)
{
    struct err e;
    struct spool_settings set = {
        .size_max = 64 << 20, .segment_bytes = s.segment_bytes, .kept_to = kept_to};
    assert_int_equal(spool_open(s.dir.spool, &set, &s.spool, &e), ERR_NONE);
}

/* Somebody keeps the connection, or nobody does. */
static void kill_link(void)
{
    bool streaming = is_streaming(), kept = one_in(2);
    char clean[100];
    struct err e;
    kill_worker(false);
    struct page_link *l = &s.page->links[0];
    if (streaming && kept && one_in(2))
        write_answers(); /* the kernel had them all */
    s.answers_n = s.taken = s.sent;
    atomic_store(&l->frames_taken, atomic_load(&l->frames_done));
    uint64_t published = atomic_load(&l->spool_end);
    spool_close(&s.spool);
    snprintf(clean, sizeof clean, "%s/clean", s.dir.spool);
    assert_int_equal(unlink(clean), 0);
    if (kept && one_in(2))
        append_junk();
    if (!kept)
        page_forget_link(s.page, 0);
    open_spool(kept ? published : 0);
    bool goes_on = spool_resumable(s.spool);
    assert_true(goes_on == (kept && streaming) || s.any_hurt);
    s.hurt[spool_epoch(s.spool)] |=
        kept && streaming && !goes_on; /* the junk stays at its end */
    if (goes_on)
        assert_int_equal(spool_stream_resume(s.spool, s.world.real_us, &e), ERR_NONE);
    else
        stream_open();
    publish();
}

/* --- damage --- */

/* A byte of the next record's header, or any. */
static off_t choose_byte(int fd)
{
    static uint8_t bytes[RECORD_HEADER_BYTES + 4096];
    off_t size = lseek(fd, 0, SEEK_END);
    off_t at = size > 0 ? (off_t)roll((unsigned)size) : 0;
    ssize_t n = one_in(2) ? pread(fd, bytes, sizeof bytes, at) : 0;
    size_t found = n > 0 ? record_find(bytes, (size_t)n, 0) : 0;
    return n > 0 && found + RECORD_HEADER_BYTES <= (size_t)n
               ? at + (off_t)found + (off_t)roll(RECORD_HEADER_BYTES)
               : at;
}

static void note_damage(uint64_t at)
{
    s.any_hurt = true;
    for (size_t i = s.records_n; i > 0; i--)
        if (at >= s.records[i - 1].begin && at < s.records[i - 1].end) {
            assert_true(s.damages_n < DAMAGES_MAX);
            s.damages[s.damages_n++] = s.records[i - 1];
            return;
        }
    uint64_t epoch = spool_epoch(s.spool);
    while (s.began[epoch] > at)
        epoch--;
    s.hurt[epoch] = true;
}

/* One byte of what is in the spool. */
static void damage(void)
{
    uint64_t *bases, published = atomic_load(&s.page->links[0].spool_end);
    size_t n;
    char name[SEGMENT_NAME_BYTES], path[200];
    assert_true(segment_list(s.dir.spool, &bases, &n) && n > 0);
    size_t i = one_in(2) ? n - 1 : roll((unsigned)n);
    uint64_t base = bases[i];
    free(bases);
    segment_name(base, name);
    snprintf(path, sizeof path, "%s/%s", s.dir.spool, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    off_t at = choose_byte(fd);
    uint8_t byte;
    if (base + (uint64_t)at < published && pread(fd, &byte, 1, at) == 1) {
        byte ^= (uint8_t)(1 + roll(255));
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        note_damage(base + (uint64_t)at);
    }
    close(fd);
}

/* --- the play --- */

static void worker_step(void)
{
    switch (roll(12)) {
    case 0:
        pump();
        break;
    case 1:
    case 2:
    case 3:
        pump_once();
        break;
    case 4:
    case 5:
        commit();
        break;
    case 6:
        s.archive.room = one_in(3) ? 100000 : 1 + roll(30);
        break;
    case 7:
        answer_one();
        break;
    case 8:
        tick();
        break;
    case 9:
        if (one_in(3))
            take_snapshot();
        break;
    case 10:
        s.archive.ready = true;
        progress();
        break;
    case 11:
        world_pass(&s.world, one_in(5) ? HAND_QUIET_MS : 1);
        break;
    }
}

static void death_step(void)
{
    bool fault = one_in(2);
    if (one_in(4)) {
        stop_worker();
        return;
    }
    if (fault && one_in(2))
        take_in_hand();
    kill_worker(fault);
}

static void step(void)
{
    switch (roll(12)) {
    case 0:
    case 1:
        write_some();
        break;
    case 2:
        read_answers(roll(4));
        if (one_in(2))
            write_answers();
        break;
    case 3:
        if (one_in(10) && is_streaming())
            stream_close();
        else if (one_in(10))
            stream_open();
        break;
    case 4:
        if (one_in(3))
            death_step();
        break;
    case 5:
        if (one_in(12))
            kill_link();
        break;
    case 6:
        if (s.damaging && one_in(5))
            damage();
        break;
    default:
        worker_step();
        break;
    }
    if (!s.worker)
        start_worker();
    if (s.wants_stream && is_streaming() && one_in(5))
        stream_close();
    if (!is_streaming())
        s.wants_stream = false;
}

static bool is_settled(void)
{
    return !s.awake && !hand_is_careful(s.hand) && queued(&s.archive) == 0 && s.held_n == 0 &&
           s.archive.reader == s.boundary && s.sent == s.answers_n &&
           feed_live_position(s.feed) == s.boundary;
}

/* Nothing holds anybody up any more. */
static void settle(void)
{
    if (!is_streaming() || s.any_hurt) /* which tells where stanzas begin again */
        stream_open();
    while (buf_len(&s.bytes) > 0)
        append(buf_len(&s.bytes) < READ_BYTES ? buf_len(&s.bytes) : READ_BYTES);
    publish();
    s.archive.ready = true;
    s.archive.room = 100000;
    progress();
    world_pass(&s.world, HAND_QUIET_MS);
    for (unsigned turns = 0; !is_settled(); turns++) {
        if (turns > 100000)
            fail_msg("it comes to a stand");
        pump();
        commit();
        while (s.held_n > 0)
            answer_one();
        read_answers(SIZE_MAX);
        write_answers();
        tick();
        pump();
    }
    for (size_t i = 0; i < s.written_n; i++) {
        const struct written *w = &s.written[i];
        if (w->kind == MESSAGE && !s.committed[w->id] && !may_be_lost(w))
            fail_msg("m%u was lost", w->id);
        if (w->kind == REQUEST && w->epoch == spool_epoch(s.spool) && !s.answers[w->id])
            fail_msg("q%u was never answered", w->id);
    }
    for (uint64_t epoch = 1; epoch <= spool_epoch(s.spool); epoch++) {
        bool whole = s.told[epoch][true] && s.told[epoch][false] == s.ended[epoch];
        assert_true(whole || s.hurt[epoch]);
    }
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), 0);
    assert_true(s.errors == 0 || s.any_hurt);
}

/* Of deaths that a person must look at, the supervisor and the hand tell as they should. */
static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    if (level == LOG_ERROR && !strstr(line, " hand ") && !strstr(line, " supervisor ")) {
        if (!s.any_hurt)
            print_error("%s\n", line);
        s.errors++;
    }
}

static void begin_round(unsigned number, bool damaging)
{
    memset(&s, 0, sizeof s);
    s.damaging = damaging;
    s.rng = number * UINT64_C(0x9e3779b97f4a7c15);
    temp_dir_make(&s.dir);
    world_init(&s.world, 1);
    buf_init(&s.bytes, 4 << 20);
    buf_init(&s.snapshot, 1 << 20);
    s.page = calloc(1, sizeof *s.page);
    assert_non_null(s.page);
    s.page->links_n = 1;
    s.archive.room = 1 + roll(100);
    s.segment_bytes = one_in(2) ? 2000 + roll(20000) : 2000 + roll(600000);
    log_set_sink(on_log, NULL);
    open_spool(0);
    stream_open();
    start_worker();
}

static void end_round(void)
{
    s.killed = true;
    forget_worker();
    spool_close(&s.spool);
    temp_dir_drop(&s.dir);
    free(s.page);
    buf_deinit(&s.bytes);
    buf_deinit(&s.snapshot);
    clock_fake_off();
    log_set_sink(NULL, NULL);
}

static unsigned number_of(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void play(bool damaging)
{
    bool one = getenv("FEED_RANDOM_SEED") != NULL;
    unsigned rounds = number_of("FEED_RANDOM_ROUNDS", one ? 1 : ROUNDS);
    uint64_t stanzas = 0, workers = 0;
    seed = number_of("FEED_RANDOM_SEED", SEED);
    for (; rounds > 0; rounds--, seed++) {
        begin_round(seed, damaging);
        for (unsigned i = 0; i < STEPS; i++)
            step();
        settle();
        stanzas += s.written_n;
        workers += s.workers;
        end_round();
    }
    seed = 0;
    print_message("stanzas=%llu workers=%llu\n", (unsigned long long)stanzas,
                  (unsigned long long)workers);
}

static void every_message_is_archived_and_every_question_answered_once(void **state)
{
    (void)state;
    play(false);
}

static void damage_costs_nothing_of_other_streams(void **state)
{
    (void)state;
    play(true);
}

static int tell_seed(void **state)
{
    (void)state;
    if (seed)
        print_error("again: FEED_RANDOM_SEED=%u\n", seed);
    return 0;
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_message_is_archived_and_every_question_answered_once,
                                  tell_seed),
        cmocka_unit_test_teardown(damage_costs_nothing_of_other_streams, tell_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
