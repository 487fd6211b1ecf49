// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/devices.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/gateway/request.h"
#include "tests/gateway/text.h"

enum {
    BUCKETS = 1 << 16,
    MINUTE_MS = 60000,
    NOTIFICATIONS_MAX = 100,  /* shown by one phone; the oldest goes */
    UNREGISTERED_MAX = 200000 /* devices only known by a push; the oldest goes */
};

struct notification {
    char *collapse_id, *apns_id, *payload;
    bool shown; /* has an alert: stays in the list */
    bool has_badge, has_expiration;
    int64_t badge, expiration_s, time_ms;
    TAILQ_ENTRY(notification) next;
};

TAILQ_HEAD(notification_list, notification);

struct topic {
    char *name;
    SLIST_ENTRY(topic) next;
};

struct device {
    char *token;
    int64_t minute_ms;
    unsigned in_minute;
    bool registered, offline, expired, has_badge;
    int64_t expired_ms, badge;
    uint64_t seen, accepted;
    uint64_t lost; /* came while offline and was not kept */
    SLIST_HEAD(, topic) topics;
    struct notification_list list;
    size_t n_list;
    struct notification_list stored;
    unsigned n_stored;
    SLIST_ENTRY(device) in_bucket;
    TAILQ_ENTRY(device) in_order; /* unregistered ones, oldest first */
};

SLIST_HEAD(bucket, device);

struct gw_devices {
    struct bucket buckets[BUCKETS];
    TAILQ_HEAD(, device) unregistered;
    size_t n_unregistered;
};

struct gw_devices *gw_devices_new(void)
{
    struct gw_devices *d = gw_alloc(sizeof(*d));

    TAILQ_INIT(&d->unregistered);
    return d;
}

static void notification_free(struct notification *n)
{
    if (n == NULL)
        return;
    free(n->collapse_id);
    free(n->apns_id);
    free(n->payload);
    free(n);
}

static void forget_topics(struct device *dev)
{
    struct topic *t;

    while ((t = SLIST_FIRST(&dev->topics)) != NULL) {
        SLIST_REMOVE_HEAD(&dev->topics, next);
        free(t->name);
        free(t);
    }
}

static void device_free(struct device *dev)
{
    struct notification *n;

    while ((n = TAILQ_FIRST(&dev->list)) != NULL) {
        TAILQ_REMOVE(&dev->list, n, next);
        notification_free(n);
    }
    while ((n = TAILQ_FIRST(&dev->stored)) != NULL) {
        TAILQ_REMOVE(&dev->stored, n, next);
        notification_free(n);
    }
    forget_topics(dev);
    free(dev->token);
    free(dev);
}

void gw_devices_reset(struct gw_devices *d)
{
    struct device *dev;
    size_t i;

    for (i = 0; i < BUCKETS; i++) {
        while ((dev = SLIST_FIRST(&d->buckets[i])) != NULL) {
            SLIST_REMOVE_HEAD(&d->buckets[i], in_bucket);
            device_free(dev);
        }
    }
    TAILQ_INIT(&d->unregistered);
    d->n_unregistered = 0;
}

void gw_devices_free(struct gw_devices **d)
{
    if (*d == NULL)
        return;
    gw_devices_reset(*d);
    free(*d);
    *d = NULL;
}

/* FNV-1a */
static size_t bucket_of(const char *token)
{
    uint32_t h = 2166136261u;

    while (*token != '\0')
        h = (h ^ (uint8_t)*token++) * 16777619u;
    return h & (BUCKETS - 1);
}

static struct device *find(const struct gw_devices *d, const char *token)
{
    struct device *dev;

    SLIST_FOREACH(dev, &d->buckets[bucket_of(token)], in_bucket)
    if (strcmp(dev->token, token) == 0)
        return dev;
    return NULL;
}

static void forget_oldest(struct gw_devices *d)
{
    struct device *dev = TAILQ_FIRST(&d->unregistered);

    TAILQ_REMOVE(&d->unregistered, dev, in_order);
    d->n_unregistered--;
    SLIST_REMOVE(&d->buckets[bucket_of(dev->token)], dev, device, in_bucket);
    device_free(dev);
}

static struct device *find_or_add(struct gw_devices *d, const char *token)
{
    struct device *dev = find(d, token);

    if (dev != NULL)
        return dev;
    if (d->n_unregistered == UNREGISTERED_MAX)
        forget_oldest(d);
    dev = gw_alloc(sizeof(*dev));
    dev->token = gw_strdup(token);
    TAILQ_INIT(&dev->list);
    TAILQ_INIT(&dev->stored);
    SLIST_INSERT_HEAD(&d->buckets[bucket_of(dev->token)], dev, in_bucket);
    TAILQ_INSERT_TAIL(&d->unregistered, dev, in_order);
    d->n_unregistered++;
    return dev;
}

void gw_devices_register(struct gw_devices *d, const char *token)
{
    struct device *dev = find_or_add(d, token);

    dev->expired = false;
    forget_topics(dev);
    if (dev->registered)
        return;
    dev->registered = true;
    TAILQ_REMOVE(&d->unregistered, dev, in_order);
    d->n_unregistered--;
}

void gw_devices_add_topic(struct gw_devices *d, const char *token, const char *topic)
{
    struct device *dev = find_or_add(d, token);
    struct topic *t = gw_alloc(sizeof(*t));

    t->name = gw_strdup(topic);
    SLIST_INSERT_HEAD(&dev->topics, t, next);
}

void gw_devices_expire(struct gw_devices *d, const char *token, int64_t timestamp_ms)
{
    struct device *dev = find_or_add(d, token);

    dev->expired = true;
    dev->expired_ms = timestamp_ms;
}

bool gw_devices_expired(const struct gw_devices *d, const char *token,
                        int64_t *timestamp_ms_out)
{
    const struct device *dev = find(d, token);

    if (dev == NULL || !dev->expired)
        return false;
    *timestamp_ms_out = dev->expired_ms;
    return true;
}

bool gw_devices_known(const struct gw_devices *d, const char *token)
{
    const struct device *dev = find(d, token);

    return dev != NULL && dev->registered;
}

bool gw_devices_has_topic(const struct gw_devices *d, const char *token, const char *topic,
                          bool any)
{
    const struct device *dev = find(d, token);
    const struct topic *t;

    if (dev == NULL || !dev->registered)
        return any;
    SLIST_FOREACH(t, &dev->topics, next)
    if (strcmp(t->name, topic) == 0)
        return true;
    return SLIST_EMPTY(&dev->topics) && any;
}

static void show(struct device *dev, struct notification *n)
{
    struct notification *old;

    if (n->has_badge) {
        dev->has_badge = true;
        dev->badge = n->badge;
    }
    if (!n->shown) {
        notification_free(n);
        return;
    }
    TAILQ_FOREACH(old, &dev->list, next)
    if (n->collapse_id != NULL && old->collapse_id != NULL &&
        strcmp(old->collapse_id, n->collapse_id) == 0)
        break;
    if (old == NULL && dev->n_list == NOTIFICATIONS_MAX)
        old = TAILQ_FIRST(&dev->list);
    if (old != NULL) {
        TAILQ_REMOVE(&dev->list, old, next);
        notification_free(old);
    } else {
        dev->n_list++;
    }
    TAILQ_INSERT_TAIL(&dev->list, n, next);
}

static void drop_stored(struct device *dev, struct notification *n)
{
    TAILQ_REMOVE(&dev->stored, n, next);
    dev->n_stored--;
    dev->lost++;
    notification_free(n);
}

static bool same_key(const struct notification *a, const struct notification *b)
{
    return a->collapse_id != NULL && b->collapse_id != NULL &&
           strcmp(a->collapse_id, b->collapse_id) == 0;
}

/* The newest push that may be kept takes the place of its key, or else the oldest one's;
 * expiration 0 says not to. */
static void store(struct device *dev, struct notification *n, unsigned kept, int64_t now_ms)
{
    struct notification *old;

    if (n->has_expiration && n->expiration_s * 1000 <= now_ms) {
        dev->lost++;
        notification_free(n);
        return;
    }
    TAILQ_FOREACH(old, &dev->stored, next)
    if (same_key(old, n))
        break;
    if (old == NULL && dev->n_stored >= kept)
        old = TAILQ_FIRST(&dev->stored);
    if (old != NULL)
        drop_stored(dev, old);
    TAILQ_INSERT_TAIL(&dev->stored, n, next);
    dev->n_stored++;
}

void gw_devices_deliver(struct gw_devices *d, const struct gw_push *push,
                        const struct gw_request *r, bool counted, int64_t now_ms)
{
    struct device *dev = find_or_add(d, push->token);
    struct notification *n = gw_alloc(sizeof(*n));

    if (counted)
        dev->accepted++;
    n->collapse_id = push->collapse_id == NULL ? NULL : gw_strdup(push->collapse_id);
    n->apns_id = push->apns_id == NULL ? NULL : gw_strdup(push->apns_id);
    n->payload = gw_strndup((const char *)r->body, r->body_kept);
    n->shown = push->has_alert;
    n->has_badge = push->has_badge;
    n->badge = push->badge;
    n->has_expiration = push->has_expiration;
    n->expiration_s = push->expiration_s;
    n->time_ms = now_ms;
    if (dev->offline)
        store(dev, n, push->kept, now_ms);
    else
        show(dev, n);
}

void gw_devices_set_online(struct gw_devices *d, const char *token, bool online,
                           int64_t now_ms)
{
    struct device *dev = find_or_add(d, token);
    struct notification *n;

    dev->offline = !online;
    while (online && (n = TAILQ_FIRST(&dev->stored)) != NULL) {
        if (n->has_expiration && n->expiration_s * 1000 <= now_ms) {
            drop_stored(dev, n);
            continue;
        }
        TAILQ_REMOVE(&dev->stored, n, next);
        dev->n_stored--;
        show(dev, n);
    }
}

void gw_devices_saw(struct gw_devices *d, const char *token)
{
    find_or_add(d, token)->seen++;
}

uint64_t gw_devices_seen(const struct gw_devices *d, const char *token)
{
    const struct device *dev = find(d, token);

    return dev == NULL ? 0 : dev->seen;
}

uint64_t gw_devices_accepted(const struct gw_devices *d, const char *token)
{
    const struct device *dev = find(d, token);

    return dev == NULL ? 0 : dev->accepted;
}

unsigned gw_devices_rate(struct gw_devices *d, const char *token, int64_t now_ms)
{
    struct device *dev = find_or_add(d, token);

    if (now_ms - dev->minute_ms >= MINUTE_MS) {
        dev->minute_ms = now_ms;
        dev->in_minute = 0;
    }
    return ++dev->in_minute;
}

static void write_notification(const struct notification *n, struct gw_text *out)
{
    gw_text_puts(out, "{\"collapse_id\":");
    gw_text_json_str(out, n->collapse_id);
    gw_text_puts(out, ",\"apns_id\":");
    gw_text_json_str(out, n->apns_id);
    gw_text_printf(out, ",\"time_ms\":%" PRId64 ",\"payload\":%s}", n->time_ms, n->payload);
}

void gw_devices_write(const struct gw_devices *d, const char *token, struct gw_text *out)
{
    static const struct device nothing;
    struct device unknown = nothing;
    const struct device *dev = find(d, token);
    const struct notification *n;

    TAILQ_INIT(&unknown.list);
    if (dev == NULL)
        dev = &unknown;
    gw_text_puts(out, "{\"token\":");
    gw_text_json_str(out, token);
    gw_text_printf(out, ",\"online\":%s,\"registered\":%s,\"expired\":%s,\"badge\":",
                   dev->offline ? "false" : "true", dev->registered ? "true" : "false",
                   dev->expired ? "true" : "false");
    if (dev->has_badge)
        gw_text_printf(out, "%" PRId64, dev->badge);
    else
        gw_text_puts(out, "null");
    gw_text_puts(out, ",\"notifications\":[");
    TAILQ_FOREACH(n, &dev->list, next)
    {
        if (n != TAILQ_FIRST(&dev->list))
            gw_text_puts(out, ",");
        write_notification(n, out);
    }
    gw_text_puts(out, "],\"stored\":");
    if (dev->n_stored > 0)
        write_notification(TAILQ_LAST(&dev->stored, notification_list), out);
    else
        gw_text_puts(out, "null");
    gw_text_printf(out, ",\"stored_count\":%u", dev->n_stored);
    gw_text_printf(out,
                   ",\"seen\":%" PRIu64 ",\"accepted\":%" PRIu64
                   ",\"lost_while_offline\":%" PRIu64 "}",
                   dev->seen, dev->accepted, dev->lost);
}
