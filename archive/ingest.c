// SPDX-License-Identifier: Apache-2.0
#include "archive/ingest_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "archive/known.h"
#include "archive/opts.h"
#include "archive/prefs_cache.h"
#include "archive/recent.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crypt.h"

#define RECENT_BYTES ((size_t)16 << 20)
#define ROSTER_BYTES ((size_t)1 << 20)
#define PROVISIONAL_AGAIN_US INT64_C(86400000000) /* a restart may say one again */
#define IDLE_S 5 /* how often the stored place of idle lanes follows the reader */

static struct ingest *checked(void *arg)
{
    struct ingest *ing = arg;
    assert(ing->magic == INGEST_MAGIC);
    return ing;
}

static void *zeroed(size_t n, size_t size)
{
    void *at = calloc(n ? n : 1, size);
    if (!at)
        abort();
    return at;
}

/* --- life ------------------------------------------------------------------------------- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ingest_schedule(checked(arg));
}

/* A lane without traffic keeps its place of long ago, and a new worker would read from there;
 * so it follows from time to time. */
static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct ingest *ing = checked(arg);
    for (unsigned l = 0; l < ing->lanes_n; l++)
        for (unsigned s = 0; s < ing->spools; s++)
            if (ing->lanes[l].stored[s] < ing->reader[s])
                ing->lanes[l].advance_due = true;
    ingest_schedule(ing);
}

struct ingest *ingest_new(struct event_base *base, const struct ingest_opts *opts)
{
    struct ingest *ing = zeroed(1, sizeof *ing);
    ing->magic = INGEST_MAGIC;
    ing->base = base;
    ing->hooks = opts->hooks;
    ing->archive = opts->archive;
    ing->spools = opts->spools;
    ing->spool_ids = zeroed(opts->spools, sizeof *ing->spool_ids);
    if (opts->spools)
        memcpy(ing->spool_ids, opts->spool_ids, opts->spools * sizeof *ing->spool_ids);
    ing->queue_bytes_max = opts->queue_bytes_max;
    ing->queue_rows_max = opts->queue_rows_max;
    ing->reader = zeroed(opts->spools, sizeof *ing->reader);
    ing->known = known_new();
    ing->recent = recent_new(IDENT_LANES_MAX, RECENT_BYTES);
    if (ing->archive->groupchat) {
        ing->rooms_said = zeroed(INGEST_SAID, sizeof *ing->rooms_said);
        ing->early_told = early_told_new();
    }
    ing->prefs = prefs_cache_new(ing->archive->prefs_default, IDENT_LANES_MAX);
    ing->turn = event_new(base, -1, 0, on_turn, ing);
    ing->retry = evtimer_new(base, on_turn, ing);
    ing->idle = event_new(base, -1, EV_PERSIST, on_idle, ing);
    if (!ing->turn || !ing->retry || !ing->idle)
        abort();
    event_add(ing->idle, &(struct timeval){IDLE_S, 0});
    ingest_run_start(ing, opts->url);
    return ing;
}

void ingest_free(struct ingest **ingp)
{
    struct ingest *ing = *ingp;
    if (!ing)
        return;
    ingest_run_stop(ing);
    ingest_end_waiting(ing);
    for (unsigned l = 0; l < ing->lanes_n; l++) {
        op_queue_free(&ing->lanes[l].queue);
        free(ing->lanes[l].stored);
    }
    event_free(ing->turn);
    event_free(ing->retry);
    event_free(ing->idle);
    rows_free(&ing->rows);
    ident_free(&ing->ident);
    known_free(&ing->known);
    recent_free(&ing->recent);
    prefs_cache_free(&ing->prefs);
    free(ing->lanes);
    free(ing->reader);
    free(ing->spool_ids);
    free(ing->rooms_said);
    early_told_free(&ing->early_told);
    ing->magic = 0;
    free(ing);
    *ingp = NULL;
}

bool ingest_ready(const struct ingest *ing)
{
    return ing->ident != NULL;
}

struct ident *ingest_ident(struct ingest *ing)
{
    return ing->ident;
}

/* --- places ----------------------------------------------------------------------------- */

uint64_t ingest_start_position(const struct ingest *ing, unsigned spool)
{
    assert(spool < ing->spools);
    uint64_t min = UINT64_MAX;
    for (unsigned l = 0; l < ing->lanes_n; l++)
        if (ing->lanes[l].stored[spool] < min)
            min = ing->lanes[l].stored[spool];
    return ing->lanes_n && !ing->lost ? min : 0;
}

void ingest_passed(struct ingest *ing, unsigned spool, uint64_t end)
{
    assert(spool < ing->spools);
    if (end <= ing->reader[spool])
        return;
    ing->reader[spool] = end;
    if (ing->unoffered > 0)
        ingest_tell_offered(ing, spool);
}

uint64_t ingest_committed(const struct ingest *ing, unsigned spool)
{
    assert(spool < ing->spools);
    uint64_t min = ing->reader[spool];
    for (unsigned l = 0; l < ing->lanes_n; l++) {
        uint64_t begin = op_queue_first_begin(ing->lanes[l].queue, spool, 0);
        if (begin < min)
            min = begin;
    }
    return min;
}

/* --- taking ----------------------------------------------------------------------------- */

size_t ingest_queue_rows(const struct ingest *ing)
{
    size_t sum = 0;
    for (unsigned l = 0; l < ing->lanes_n; l++)
        sum += op_queue_count(ing->lanes[l].queue);
    return sum;
}

size_t ingest_queue_bytes(const struct ingest *ing)
{
    size_t sum = 0;
    for (unsigned l = 0; l < ing->lanes_n; l++)
        sum += op_queue_bytes(ing->lanes[l].queue);
    return sum;
}

bool ingest_has_room(const struct ingest *ing)
{
    return ing->ident && !ing->lost && ingest_queue_rows(ing) < ing->queue_rows_max &&
           ingest_queue_bytes(ing) < ing->queue_bytes_max;
}

/* Committed before we started to read again. */
static bool is_stored(const struct lane *lane, const struct place *place)
{
    return place->end <= lane->stored[place->spool];
}

static void queue_write(struct ingest *ing, struct lane *lane, const struct write *w,
                        const struct place *place, int64_t received_us)
{
    if (is_stored(lane, place))
        return;
    op_queue_add(lane->queue, w, place, received_us, ++lane->seq);
    if (!event_pending(ing->turn, EV_TIMEOUT, NULL))
        event_active(ing->turn, EV_TIMEOUT, 0);
}

/* A room of ten thousand tells ten thousand times of one message, and subscribers learn with
 * each message that they are: said before it counts for nothing, until the opposite is said.
 * With each presence an occupant learns his nick; another one is not the same.  What is passed
 * over was queued before it, so a crash has both read again; what is read again and was
 * committed by another worker stands for nothing, as another link may have told more since.
 * Keys are hashes: to meet another's slot costs one write more. */
static bool said_already(struct ingest *ing, const struct write *w)
{
    bool undoes =
        w->kind == WRITE_NO_MEMBER || (w->kind == WRITE_ROW && w->flags & ROW_UNCONFIRMED);
    bool says = w->kind == WRITE_MEMBER || w->kind == WRITE_CONFIRM ||
                (w->kind == WRITE_RETRACT && !w->peer);
    if (!ing->rooms_said || (!undoes && !says))
        return false;
    bool bond = w->kind == WRITE_MEMBER || w->kind == WRITE_NO_MEMBER;
    uint64_t key = (bond ? w->flags : w->ref) ^ (w->content << 17 | w->content >> 47);
    uint64_t *slot = &ing->rooms_said[key % INGEST_SAID];
    uint64_t *nick = &ing->rooms_said[(key + 1) % INGEST_SAID];
    if (w->kind == WRITE_MEMBER && w->peer_resource) {
        key ^= ident_ref(ing->ident, w->content, false, w->peer_resource);
        slot = nick;
    }
    bool same = *slot == key;
    if (w->kind == WRITE_NO_MEMBER)
        *nick = 0;
    if (undoes)
        *slot = same ? 0 : *slot;
    else
        *slot = key;
    return same && !undoes;
}

/* A confirmation and its row may come in any order; said twice it is as if once. */
static void match_early(struct ingest *ing, const struct write *w, const struct event *ev)
{
    if (!ing->early_told)
        return;
    if (w->kind == WRITE_CONFIRM && !early_told_of(ing->early_told, w, ev->received_us))
        early_told_add(ing->early_told, w, ev->received_us);
    if (w->kind != WRITE_ROW || !(w->flags & ROW_UNCONFIRMED))
        return;
    const struct write *told = early_told_of(ing->early_told, w, ev->received_us);
    if (told)
        queue_write(ing, ingest_lane_of(ing, told->owner), told, &ev->place, ev->received_us);
}

enum ingest_answer ingest_event(struct ingest *ing, const struct event *ev)
{
    assert(ev->place.spool < ing->spools);
    if (!ingest_has_room(ing))
        return INGEST_FULL;
    /* What lies before this stanza was offered; the stanza itself may have more events. */
    ingest_passed(ing, ev->place.spool, ev->place.begin);
    struct write writes[WRITES_MAX];
    size_t n = rows_from_event(ing->rows, ev, writes);
    for (size_t i = 0; i < n; i++) {
        struct lane *lane = ingest_lane_of(ing, writes[i].owner);
        if (!is_stored(lane, &ev->place) && said_already(ing, &writes[i]))
            continue;
        queue_write(ing, lane, &writes[i], &ev->place, ev->received_us);
        match_early(ing, &writes[i], ev);
    }
    return INGEST_TAKEN;
}

/* At the promise that each gap is kept once: both ends travel like rows, with their place in
 * the spool, through a lane that is always the same for this spool.  A crash before its COMMIT
 * has them read again, a crash after it has them passed over. */
enum ingest_answer ingest_stream(struct ingest *ing, const struct ingest_stream *st)
{
    assert(st->place.spool < ing->spools);
    if (!ingest_has_room(ing))
        return INGEST_FULL;
    ingest_passed(ing, st->place.spool, st->place.begin);
    const struct write w = {.kind = st->opened ? WRITE_GAP_END : WRITE_GAP_BEGIN,
                            .peer_jid = st->server,
                            .ref = st->epoch,
                            .stamp_us = st->at_us,
                            .body = st->why};
    queue_write(ing, &ing->lanes[st->place.spool % ing->lanes_n], &w, &st->place, st->at_us);
    return INGEST_TAKEN;
}

/* At the promise that a stanza put aside is kept once: it travels like a row, with its place,
 * through a lane that is always the same for this place.  A crash before its COMMIT has it met
 * again, a crash after it has it passed over. */
enum ingest_answer ingest_put_aside(struct ingest *ing, const struct ingest_aside *a)
{
    assert(a->place.spool < ing->spools);
    if (!ingest_has_room(ing))
        return INGEST_FULL;
    ingest_passed(ing, a->place.spool, a->place.begin);
    const struct write w = {
        .kind = WRITE_ASIDE, .content = a->length, .flags = a->with_bytes, .body = a->why};
    queue_write(ing, &ing->lanes[a->place.begin % ing->lanes_n], &w, &a->place,
                a->received_us);
    return INGEST_TAKEN;
}

enum ingest_answer ingest_again(struct ingest *ing, const struct event *ev,
                                const struct ingest_again *key)
{
    if (!ingest_has_room(ing))
        return INGEST_FULL;
    ing->again = *key;
    struct write writes[WRITES_MAX];
    size_t n = rows_from_event(ing->rows, ev, writes);
    for (size_t i = 0; i < n; i++) {
        struct lane *lane = ingest_lane_of(ing, writes[i].owner);
        writes[i].again = true;
        writes[i].flags |= writes[i].kind == WRITE_ROW ? ROW_LATE : 0u;
        writes[i].reads = false; /* what came in since then was not there to be read */
        op_queue_add(lane->queue, &writes[i], NULL, ev->received_us, ++lane->seq);
    }
    if (n > 0)
        event_active(ing->turn, EV_TIMEOUT, 0);
    return INGEST_TAKEN;
}

/* --- reading ---------------------------------------------------------------------------- */

/* The peer may be a room, and all rooms are in all lanes; done is said when the account's own
 * lane is, and those of the rooms a moment before or after. */
static void mark_rooms_read(struct ingest *ing, const char *owner_jid, const char *peer_jid)
{
    struct write w = {.kind = peer_jid ? WRITE_ROOM_READ : WRITE_ROOMS_READ,
                      .owner_jid = peer_jid ? peer_jid : owner_jid};
    const int64_t now_us = clock_real_us();
    ident_owner(ing->ident, w.owner_jid, w.owner);
    if (peer_jid)
        w.content = ident_peer(ing->ident, w.owner, owner_jid);
    for (unsigned l = 0; l < ing->lanes_n; l++) {
        struct lane *lane = &ing->lanes[l];
        if (!peer_jid || lane == ingest_lane_of(ing, w.owner))
            op_queue_add(lane->queue, &w, NULL, now_us, ++lane->seq);
    }
}

void ingest_mark_read(struct ingest *ing, const char *owner_jid, const char *peer_jid,
                      int64_t deadline_mono_ms, ingest_done_fn done, void *ctx)
{
    struct lane *lane = NULL;
    if (ing->ident) {
        struct write w = {.kind = WRITE_READ, .owner_jid = owner_jid, .peer_jid = peer_jid};
        ident_owner(ing->ident, owner_jid, w.owner);
        if (peer_jid)
            w.peer = ident_peer(ing->ident, w.owner, peer_jid);
        if (ing->archive->groupchat)
            mark_rooms_read(ing, owner_jid, peer_jid);
        lane = ingest_lane_of(ing, w.owner);
        op_queue_add(lane->queue, &w, NULL, clock_real_us(), ++lane->seq);
        event_active(ing->turn, EV_TIMEOUT, 0);
    }
    ingest_wait_for(ing, lane, NULL, deadline_mono_ms, done, ctx);
}

/* --- publishes -------------------------------------------------------------------------- */

/* NULL when there is no room: these come from no spool, which would keep them. */
static struct lane *add_of_owner_at(struct ingest *ing, struct write *w, int64_t at_us)
{
    if (!ingest_has_room(ing))
        return NULL;
    struct lane *lane = ingest_lane_of(ing, w->owner);
    op_queue_add(lane->queue, w, NULL, at_us, ++lane->seq);
    event_active(ing->turn, EV_TIMEOUT, 0);
    return lane;
}

void ingest_provisional(struct ingest *ing, const struct ingest_provisional *p,
                        int64_t deadline_mono_ms, ingest_done_fn done, void *ctx)
{
    struct lane *lane = NULL;
    if (ing->ident) {
        char id[sizeof "publish " + UUID_TEXT_BYTES] = "publish ";
        uuid_format(p->id, id + strlen(id));
        struct write w = {.kind = WRITE_ROW,
                          .owner_jid = p->owner_jid,
                          .peer_jid = p->peer_jid,
                          .peer_resource = "",
                          .flags = ROW_COUNTED | ROW_PROVISIONAL |
                                   (p->encrypted ? ROW_ENCRYPTED : 0u),
                          .has_id = true,
                          .high = INT64_MAX};
        ident_owner(ing->ident, p->owner_jid, w.owner);
        w.peer = ident_peer(ing->ident, w.owner, p->peer_jid);
        w.ref = ident_ref(ing->ident, w.peer, false, id);
        w.content = ident_content(ing->ident, id, strlen(id));
        w.low = ident_id_from_us(p->at_us - PROVISIONAL_AGAIN_US);
        rows_unkeep(&w);
        w.body = p->body;
        lane = add_of_owner_at(ing, &w, p->at_us);
    }
    ingest_wait_for(ing, lane, NULL, deadline_mono_ms, done, ctx);
}

void ingest_forget_provisional(struct ingest *ing, const char *owner_jid, uint64_t peer,
                               uint64_t ref)
{
    struct write w = {.kind = WRITE_BOUNCE, .owner_jid = owner_jid, .peer = peer, .ref = ref};
    if (!ing->ident)
        return;
    ident_owner(ing->ident, owner_jid, w.owner);
    (void)add_of_owner_at(ing, &w, clock_real_us());
}

/* --- preferences ------------------------------------------------------------------------ */

static struct lane *add_of_owner(struct ingest *ing, struct write *w)
{
    if (!ingest_has_room(ing))
        return NULL;
    ident_owner(ing->ident, w->owner_jid, w->owner);
    return add_of_owner_at(ing, w, clock_real_us());
}

void ingest_set_prefs(struct ingest *ing, const char *owner_jid, const struct prefs *p,
                      int64_t deadline_mono_ms, ingest_done_fn done, void *ctx)
{
    struct write w = {.kind = WRITE_PREFS,
                      .owner_jid = owner_jid,
                      .flags = p->mode,
                      .body = p->always,
                      .peer_jid = p->never};
    ingest_wait_for(ing, add_of_owner(ing, &w), NULL, deadline_mono_ms, done, ctx);
}

void ingest_roster_changed(struct ingest *ing, const char *owner_jid)
{
    struct write w = {.kind = WRITE_ROSTER_OLD, .owner_jid = owner_jid};
    add_of_owner(ing, &w);
}

void ingest_set_roster(struct ingest *ing, const char *owner_jid, const char *contacts)
{
    if (!ing->ident)
        return;
    uint8_t owner[OWNER_BYTES];
    char contact[PREFS_JID_BYTES];
    struct buf hashes;
    ident_owner(ing->ident, owner_jid, owner);
    buf_init(&hashes, ROSTER_BYTES);
    while (prefs_list_next(&contacts, contact))
        buf_add_u64(&hashes, ident_peer(ing->ident, owner, contact));
    struct write w = {.kind = WRITE_ROSTER,
                      .owner_jid = owner_jid,
                      .stanza = buf_data(&hashes),
                      .stanza_len = buf_len(&hashes)};
    if (!buf_failed(&hashes))
        add_of_owner(ing, &w);
    buf_deinit(&hashes);
}

/* --- stats ------------------------------------------------------------------------------ */

void ingest_get_stats(const struct ingest *ing, struct ingest_stats *out)
{
    *out = ing->stats;
    out->up = ing->up;
    out->queue_rows = ingest_queue_rows(ing);
    out->queue_bytes = ingest_queue_bytes(ing);
    out->oldest_queued_us = 0;
    for (unsigned l = 0; l < ing->lanes_n; l++) {
        const struct op *oldest = op_queue_oldest(ing->lanes[l].queue);
        if (oldest && (!out->oldest_queued_us || oldest->received_us < out->oldest_queued_us))
            out->oldest_queued_us = oldest->received_us;
    }
}
