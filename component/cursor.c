// SPDX-License-Identifier: Apache-2.0
#include "component/cursor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/resync.h"
#include "component/segments.h"

#define MAGIC 0x43555253
#define ID_BYTES 256

enum mode {
    MODE_READING, /* the bytes go to the parser */
    MODE_RESYNC,  /* bytes were lost: they go to the search for a boundary */
    MODE_PASSING, /* the stream is broken: they are passed over until it ends */
};

struct cursor {
    uint32_t magic;
    unsigned spool;
    char *dir;
    struct xml_parse_opts limits;
    struct cursor_events ev;

    struct segment_reader reader;
    uint64_t want;    /* bytes below were read before: they are not shown again */
    uint64_t read_to; /* end of the last record */
    struct record rec;
    const uint8_t *payload;
    uint64_t payload_at; /* spool offset of payload[0] */
    size_t used;

    uint64_t epoch;     /* of the stream we are in, 0: between streams */
    uint64_t announced; /* the last one that opened was called for */
    uint64_t headless;  /* the last one without a header */
    int64_t last_us;
    uint8_t *header;
    size_t header_len;
    struct xml_parse *parser;
    struct resync resync;
    char id[ID_BYTES];
    char from[ID_BYTES];

    uint64_t chunk_at;    /* spool offset of the bytes being parsed */
    uint64_t chunk_total; /* what the parser had before them */
    uint64_t total;       /* what it has */
    uint64_t boundary;    /* end of the last stanza */
    uint64_t resume;

    enum mode mode;
    bool exact;   /* want is the end of a stanza */
    bool has_rec; /* some of the payload is not yet parsed */
    bool root_seen;
    bool in_header; /* the parser is reading the header, which has no stanzas */
    bool partial;   /* something but white space came after the boundary */
    bool ended;     /* the root has: nothing more is expected */
    bool stop;
};

static struct cursor *self(void *ctx)
{
    struct cursor *c = ctx;
    assert(c->magic == MAGIC);
    return c;
}

/* What the parser calls back. */

static uint64_t offset_of(const struct cursor *c, uint64_t total)
{
    return c->chunk_at + (total - c->chunk_total);
}

static struct place pass_boundary(struct cursor *c, uint64_t total)
{
    struct place place = {.spool = c->spool, .begin = c->boundary, .end = offset_of(c, total)};
    c->boundary = c->resume = place.end;
    c->partial = false;
    return place;
}

static void on_root(void *ctx, const struct stanza *root)
{
    struct cursor *c = self(ctx);
    const char *id = stanza_get(root, "id"), *from = stanza_get(root, "from");
    c->id[0] = c->from[0] = '\0';
    strncat(c->id, id ? id : "", ID_BYTES - 1);
    strncat(c->from, from ? from : "", ID_BYTES - 1);
    c->root_seen = true;
}

static void on_stanza(void *ctx, struct stanza *s, uint64_t end)
{
    struct cursor *c = self(ctx);
    if (c->in_header) {
        c->root_seen = false;
        stanza_free(&s);
        return;
    }
    struct place place = pass_boundary(c, end);
    c->ev.stanza(c->ev.ctx, s, &place, c->last_us, c->epoch);
    if (c->stop)
        xml_parse_stop(c->parser);
}

static bool on_found(void *ctx, const uint8_t *bytes, size_t len, uint64_t end)
{
    struct cursor *c = self(ctx);
    if (c->in_header || !c->ev.found)
        return true;
    const struct cursor_piece piece = {.epoch = c->epoch,
                                       .place = {c->spool, c->boundary, offset_of(c, end)},
                                       .received_us = c->last_us,
                                       .raw = bytes,
                                       .bytes = len,
                                       .name = "",
                                       .why = ""};
    if (c->ev.found(c->ev.ctx, &piece))
        return true;
    (void)pass_boundary(c, end);
    if (c->stop)
        xml_parse_stop(c->parser);
    return false;
}

static void on_skipped(void *ctx, const char *name, const char *why, uint64_t begin,
                       uint64_t end)
{
    struct cursor *c = self(ctx);
    if (c->in_header) {
        c->root_seen = false;
        return;
    }
    const struct cursor_piece piece = {.epoch = c->epoch,
                                       .place = pass_boundary(c, end),
                                       .received_us = c->last_us,
                                       .bytes = end - begin,
                                       .name = name,
                                       .why = why};
    if (c->ev.skipped)
        c->ev.skipped(c->ev.ctx, &piece);
    if (c->stop)
        xml_parse_stop(c->parser);
}

static void on_root_end(void *ctx)
{
    struct cursor *c = self(ctx);
    c->partial = false;
    c->ended = true;
}

/* Streams. */

static void break_stream(struct cursor *c, const char *why)
{
    xml_parse_free(&c->parser);
    c->mode = MODE_PASSING;
    c->has_rec = false;
    if (c->ev.broken)
        c->ev.broken(c->ev.ctx, c->epoch, why);
}

/* A parser that has read the stream's header. */
static void start_parser(struct cursor *c, uint64_t boundary, bool resumed)
{
    struct xml_parse_events events = {.root = on_root,
                                      .found = on_found,
                                      .stanza = on_stanza,
                                      .skipped = on_skipped,
                                      .root_end = on_root_end,
                                      .ctx = c};
    struct err e;
    struct place place = {.spool = c->spool, .begin = c->resume, .end = boundary};
    xml_parse_free(&c->parser);
    c->parser = xml_parse_new(&c->limits, &events);
    c->mode = MODE_READING;
    c->root_seen = c->partial = c->ended = false;
    c->chunk_at = c->chunk_total = 0;
    c->boundary = c->resume = boundary;
    c->in_header = true;
    enum err_kind kind = xml_parse_input(c->parser, c->header, c->header_len, &e);
    c->in_header = false;
    if (kind != ERR_NONE || !c->root_seen) {
        break_stream(c, "stream header is not XML");
        return;
    }
    c->total = c->header_len;
    if (c->announced == c->epoch)
        return;
    c->announced = c->epoch;
    struct cursor_opened o = {.epoch = c->epoch,
                              .id = c->id,
                              .from = c->from,
                              .received_us = c->last_us,
                              .resumed = resumed,
                              .place = place};
    if (c->ev.opened)
        c->ev.opened(c->ev.ctx, &o);
}

/* By the record in hand.  us: when the link closed it, 0 when it did not. */
static void finish_stream(struct cursor *c, int64_t us, const char *why)
{
    bool half = c->mode != MODE_READING || c->partial;
    struct cursor_closed o = {
        .epoch = c->epoch,
        .last_us = half || !us ? c->last_us : us,
        .half_stanza = half,
        .why = why,
        .place = {c->spool, c->resume, c->rec.position + record_size(&c->rec)}};
    xml_parse_free(&c->parser);
    c->epoch = 0;
    c->mode = MODE_READING;
    c->partial = false;
    if (c->ev.closed)
        c->ev.closed(c->ev.ctx, &o);
}

static void start_resync(struct cursor *c)
{
    xml_parse_free(&c->parser);
    c->mode = MODE_RESYNC;
    c->exact = false;
    resync_init(&c->resync);
}

static void lose(struct cursor *c, uint64_t begin, uint64_t end, const char *why)
{
    /* Before want, damage was met and told by whoever read there. */
    if (begin < c->want && end <= c->want)
        return;
    bool streaming = c->epoch != 0;
    if (streaming && c->mode != MODE_PASSING)
        start_resync(c);
    if (c->ev.lost)
        c->ev.lost(c->ev.ctx, c->epoch, begin, end, streaming, why);
}

/* Reads again from a boundary; epoch and header stay known. */
static void seek(struct cursor *c, uint64_t to)
{
    segment_reader_close(&c->reader);
    xml_parse_free(&c->parser);
    c->mode = MODE_READING;
    c->has_rec = false;
    c->want = to;
    c->exact = true;
}

/* Records. */

static void keep_header(struct cursor *c)
{
    free(c->header);
    c->header = malloc(c->rec.len ? c->rec.len : 1);
    if (!c->header)
        abort();
    memcpy(c->header, c->payload, c->rec.len);
    c->header_len = c->rec.len;
    c->epoch = c->rec.epoch;
}

/* A record that was read before: only what it says of the stream. */
static void note_record(struct cursor *c)
{
    if (c->rec.kind == RECORD_OPEN || c->rec.kind == RECORD_AGAIN)
        keep_header(c);
    else if (c->rec.kind == RECORD_CLOSE && c->rec.epoch == c->epoch)
        c->epoch = 0;
    c->last_us = c->rec.received_us;
}

static void take_open(struct cursor *c, uint64_t end)
{
    if (c->epoch) /* the link had no time to write CLOSE */
        finish_stream(c, 0, "");
    c->last_us = c->rec.received_us;
    keep_header(c);
    start_parser(c, end, false);
}

/* The head of a later segment.  Usually it follows what we read and says nothing new. */
static void take_again(struct cursor *c)
{
    bool first = c->read_to == 0;
    bool follows = !first && c->read_to == c->rec.position;
    if (c->epoch == c->rec.epoch && follows)
        return;
    if (c->epoch && c->epoch != c->rec.epoch)
        finish_stream(c, 0, "");
    if (c->epoch == c->rec.epoch) {
        lose(c, c->read_to, c->rec.position, "segment missing");
        return;
    }
    c->last_us = c->rec.received_us;
    keep_header(c);
    if (c->exact && c->want == c->rec.position)
        start_parser(c, c->want, true);
    else
        lose(c, first ? c->want : c->read_to, c->rec.position, "segment missing");
}

/* Told once: nothing of it can be understood before the next segment repeats the header. */
static void lose_headless(struct cursor *c)
{
    if (c->headless == c->rec.epoch)
        return;
    c->headless = c->rec.epoch;
    if (c->ev.lost)
        c->ev.lost(c->ev.ctx, c->rec.epoch, c->rec.position,
                   c->rec.position + record_size(&c->rec), true,
                   "no stream header, nor can what follows be read");
}

static void take_data(struct cursor *c)
{
    if (c->epoch != c->rec.epoch) {
        if (c->epoch)
            finish_stream(c, 0, "");
        lose_headless(c);
        return;
    }
    c->last_us = c->rec.received_us;
    c->used = c->want > c->payload_at ? (size_t)(c->want - c->payload_at) : 0;
    if (c->mode == MODE_PASSING)
        return;
    if (c->mode == MODE_RESYNC) {
        resync_input(&c->resync, c->payload + c->used, c->rec.len - c->used,
                     c->payload_at + c->used);
        if (c->resync.found && c->resync.since >= c->limits.stanza_bytes_max)
            seek(c, c->resync.boundary);
        return;
    }
    c->has_rec = c->used < c->rec.len;
    if (!c->parser)
        start_parser(c, c->want, true);
}

static void take_close(struct cursor *c, uint64_t end)
{
    if (c->mode == MODE_RESYNC && c->epoch == c->rec.epoch && c->resync.found) {
        seek(c, c->resync.boundary); /* and come here again */
        return;
    }
    char why[ERR_TEXT_BYTES] = "";
    size_t len = c->rec.len < sizeof why - 1 ? c->rec.len : sizeof why - 1;
    memcpy(why, c->payload, len);
    if (c->epoch && c->epoch != c->rec.epoch)
        finish_stream(c, 0, "");
    c->epoch = c->rec.epoch;
    finish_stream(c, c->rec.received_us, why);
    c->resume = end;
}

static void take_record(struct cursor *c)
{
    uint64_t end = c->rec.position + record_size(&c->rec);
    c->payload_at = c->rec.position + RECORD_HEADER_BYTES;
    c->used = 0;
    if (end <= c->want) {
        note_record(c);
        c->read_to = end;
        return;
    }
    /* A new stream after a lost CLOSE ends the search like CLOSE itself. */
    if (c->mode == MODE_RESYNC && c->rec.epoch != c->epoch && c->resync.found) {
        seek(c, c->resync.boundary);
        return;
    }
    switch (c->rec.kind) {
    case RECORD_OPEN:
        take_open(c, end);
        break;
    case RECORD_AGAIN:
        take_again(c);
        break;
    case RECORD_DATA:
        take_data(c);
        break;
    case RECORD_CLOSE:
        take_close(c, end);
        break;
    }
    c->read_to = end;
}

/* Segments. */

static bool open_segment(struct cursor *c, uint64_t base)
{
    if (segment_reader_open(&c->reader, c->dir, base))
        return true;
    segment_reader_close(&c->reader);
    return false;
}

/* The segment with the byte before c->want, which tells what stream we are in or when the last
 * one ended; else the first one after it. */
static bool find_segment(struct cursor *c, uint64_t limit)
{
    uint64_t *bases;
    size_t n, i;
    if (!segment_list(c->dir, &bases, &n) || n == 0)
        return false;
    for (i = 0; i + 1 < n && bases[i + 1] < c->want; i++)
        ;
    uint64_t base = bases[i];
    free(bases);
    if (base > limit || !open_segment(c, base))
        return false;
    c->read_to = 0;
    if (base > c->want) {
        uint64_t before = c->want;
        c->want = base;
        c->exact = false;
        if (before > 0 && c->ev.lost)
            c->ev.lost(c->ev.ctx, 0, before, base, false, "no longer in the spool");
    }
    return true;
}

/* Where the segment after the present one begins; 0 when there is none up to limit. */
static uint64_t later_segment(const struct cursor *c, uint64_t limit)
{
    uint64_t *bases;
    size_t n, i;
    if (!segment_list(c->dir, &bases, &n))
        return 0;
    for (i = 0; i < n && bases[i] <= c->reader.base; i++)
        ;
    uint64_t base = i < n && bases[i] <= limit ? bases[i] : 0;
    free(bases);
    return base;
}

static bool next_segment(struct cursor *c, uint64_t limit)
{
    uint64_t base = later_segment(c, limit);
    if (base == 0)
        return false;
    uint64_t from = c->reader.at;
    segment_reader_skip(&c->reader);
    uint64_t end = c->reader.at;
    if (end > from) /* what a power cut left of the last record */
        lose(c, from, end < base ? end : base, "torn");
    return open_segment(c, base);
}

static enum segment_read read_record(struct cursor *c, uint64_t limit)
{
    enum segment_read got = segment_reader_next(&c->reader, limit, &c->rec, &c->payload);
    /* Of a file that is complete, what seems to go on beyond its end may have no more wrong
     * with it than its length: good records may follow. */
    if (got == SEGMENT_TORN && later_segment(c, limit) > 0)
        got = segment_reader_next(&c->reader, segment_reader_end(&c->reader), &c->rec,
                                  &c->payload);
    return got;
}

/* The next record is in c->rec; false when there is none now. */
static bool next_record(struct cursor *c, uint64_t limit)
{
    if (c->reader.fd < 0 && !find_segment(c, limit))
        return false;
    for (;;) {
        uint64_t from = c->reader.at;
        if (from >= limit)
            return false;
        switch (read_record(c, limit)) {
        case SEGMENT_RECORD:
            return true;
        case SEGMENT_DAMAGED:
            lose(c, from, c->reader.at, "damaged");
            break;
        case SEGMENT_ERROR:
            segment_reader_skip(&c->reader);
            if (c->reader.at == from)
                return false;
            lose(c, from, c->reader.at, "cannot be read");
            break;
        case SEGMENT_END:
        case SEGMENT_TORN:
            if (!next_segment(c, limit))
                return false;
            break;
        }
        if (c->stop)
            return false;
    }
}

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\t' || b == '\r' || b == '\n';
}

/* Shows some of the record to the parser; how many bytes it took. */
static size_t feed(struct cursor *c, size_t max)
{
    const uint8_t *data = c->payload + c->used;
    size_t len = c->rec.len - c->used < max ? c->rec.len - c->used : max;
    struct err e;
    c->chunk_at = c->payload_at + c->used;
    c->chunk_total = c->total;
    if (xml_parse_input(c->parser, data, len, &e) != ERR_NONE) {
        break_stream(c, e.text);
        return len;
    }
    size_t done = xml_parse_consumed(c->parser);
    size_t tail = c->boundary > c->chunk_at ? (size_t)(c->boundary - c->chunk_at) : 0;
    for (; tail < done && !c->partial && !c->ended; tail++)
        c->partial = !is_space(data[tail]);
    c->used += done;
    c->total += done;
    c->has_rec = c->used < c->rec.len;
    return done;
}

static bool pump(struct cursor *c, uint64_t limit, uint64_t until, size_t max_bytes)
{
    size_t done = 0;
    c->stop = false;
    while (!c->stop && done < max_bytes) {
        uint64_t at = cursor_read_position(c);
        if (at >= until)
            return false;
        if (c->has_rec) {
            size_t max = max_bytes - done;
            done += feed(c, until - at < max ? (size_t)(until - at) : max);
            continue;
        }
        if (!next_record(c, limit))
            return c->stop;
        take_record(c);
        done += RECORD_HEADER_BYTES + (c->has_rec ? 0 : c->rec.len);
    }
    return true;
}

bool cursor_pump(struct cursor *c, uint64_t limit, size_t max_bytes)
{
    return pump(c, limit, UINT64_MAX, max_bytes);
}

bool cursor_follow(struct cursor *c, const struct cursor *ahead, uint64_t limit,
                   size_t max_bytes)
{
    return pump(c, limit, cursor_read_position(ahead), max_bytes);
}

void cursor_stop(struct cursor *c)
{
    c->stop = true;
}

struct cursor *cursor_new(const char *dir, unsigned spool, uint64_t position,
                          const struct xml_parse_opts *limits,
                          const struct cursor_events *events)
{
    struct cursor *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->magic = MAGIC;
    c->dir = strdup(dir);
    if (!c->dir)
        abort();
    c->spool = spool;
    c->limits = limits ? *limits : xml_parse_defaults;
    c->ev = *events;
    segment_reader_init(&c->reader);
    c->want = c->resume = position;
    c->exact = position > 0;
    return c;
}

void cursor_free(struct cursor **cp)
{
    struct cursor *c = *cp;
    if (!c)
        return;
    xml_parse_free(&c->parser);
    segment_reader_deinit(&c->reader);
    free(c->header);
    free(c->dir);
    c->magic = 0;
    free(c);
    *cp = NULL;
}

uint64_t cursor_position(const struct cursor *c)
{
    return c->resume;
}

bool cursor_is_searching(const struct cursor *c)
{
    return c->mode == MODE_RESYNC || (c->exact && c->resume < c->want);
}

uint64_t cursor_read_position(const struct cursor *c)
{
    if (c->has_rec)
        return c->payload_at + c->used;
    if (c->reader.fd < 0)
        return c->want;
    return c->reader.at > c->want ? c->reader.at : c->want;
}

uint64_t cursor_epoch(const struct cursor *c)
{
    return c->epoch;
}

/* Adds what this record has of the place; false when out is full. */
static bool add_part(const struct record *r, const uint8_t *payload, const struct place *place,
                     struct buf *out)
{
    uint64_t from = r->position + RECORD_HEADER_BYTES, to = from + r->len;
    uint64_t a = place->begin > from ? place->begin : from;
    uint64_t b = place->end < to ? place->end : to;
    if (r->kind != RECORD_DATA || a >= b)
        return true;
    size_t room = out->max - buf_len(out);
    buf_add(out, payload + (a - from), b - a < room ? (size_t)(b - a) : room);
    return b - a <= room;
}

static void copy_place(struct cursor *c, const struct place *place, struct buf *out,
                       struct buf *header)
{
    bool more = true;
    while (more && cursor_read_position(c) < place->end && next_record(c, UINT64_MAX)) {
        if (header && (c->rec.kind == RECORD_OPEN || c->rec.kind == RECORD_AGAIN)) {
            buf_reset(header);
            buf_add(header, c->payload, c->rec.len);
        }
        more = add_part(&c->rec, c->payload, place, out);
        c->read_to = more ? c->rec.position + record_size(&c->rec) : place->end;
    }
}

static void count_loss(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end, bool streaming,
                       const char *why)
{
    (void)epoch;
    (void)begin;
    (void)end;
    (void)streaming;
    (void)why;
    ++*(unsigned *)ctx;
}

enum err_kind cursor_bytes(const char *dir, const struct place *place, struct buf *out,
                           struct buf *header, struct err *e)
{
    unsigned losses = 0;
    struct cursor_events events = {.lost = count_loss, .ctx = &losses};
    struct cursor *c = cursor_new(dir, place->spool, place->begin, NULL, &events);
    copy_place(c, place, out, header);
    bool opened = c->reader.fd >= 0;
    bool whole =
        losses == 0 && (buf_len(out) == out->max || cursor_read_position(c) >= place->end);
    cursor_free(&c);
    if (!opened)
        return err_set(e, ERR_RETRY, "spool %s cannot be read", dir);
    if (!whole)
        return err_set(e, ERR_REJECT, "stanza is no longer in the spool");
    return ERR_NONE;
}
