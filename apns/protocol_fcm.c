// SPDX-License-Identifier: Apache-2.0
/* Google's service: one path for a project, everything that is to be known of a push in its
 * body, and an access token that is fetched. */
#include <stdlib.h>
#include <string.h>

#include "apns/fcm_message.h"
#include "apns/fcm_verdict.h"
#include "apns/oauth.h"
#include "apns/opts.h"
#include "apns/protocol.h"
#include "base/clock.h"

struct fcm {
    struct oauth *oauth;
    char *path;
    size_t path_len;
};

enum { FIELD_TYPE };

const struct h2_protocol h2_fcm = {
    .fields = {[FIELD_TYPE] = "content-type"},
    .fields_n = 1,
};

/* What the service would refuse for certain is not sent. */
static const char *find_fault(const struct push_request *r)
{
    if (r->payload_len == 0)
        return "PayloadEmpty";
    return r->payload_len > FCM_MESSAGE_MAX ? "PayloadTooLarge" : NULL;
}

static struct item *make_item(void *self, const struct push_request *r)
{
    static const char json[] = "application/json";
    const struct fcm *f = self;
    struct item *it = item_new(r, 0, FCM_BODY_MAX);
    it->refused = find_fault(r);
    /* A message takes the place of the one before it with the same collapse key. */
    it->idempotent = r->collapse_id != NULL;
    it->push.path = (struct h2_text){f->path, f->path_len};
    it->push.fields[FIELD_TYPE] = (struct h2_text){json, sizeof json - 1};
    return it;
}

static const char *authorization(void *self, int64_t real_s, int64_t mono_ms, size_t *len_out,
                                 unsigned *serial_out)
{
    (void)real_s;
    struct fcm *f = self;
    return oauth_authorization(f->oauth, mono_ms, len_out, serial_out);
}

static bool renew(void *self, unsigned serial, int64_t real_s, int64_t mono_ms)
{
    (void)real_s;
    struct fcm *f = self;
    oauth_reject(f->oauth, serial, mono_ms);
    return true;
}

static enum protocol_state state(const void *self, const char **reason_out)
{
    const struct fcm *f = self;
    switch (oauth_get_state(f->oauth, clock_mono_ms(), reason_out)) {
    case OAUTH_WAITING:
        return PROTOCOL_WAITING;
    case OAUTH_GOOD:
        return PROTOCOL_READY;
    case OAUTH_FAILING:
        return PROTOCOL_FAILING;
    case OAUTH_REFUSED:
        return PROTOCOL_REFUSED;
    }
    return PROTOCOL_REFUSED;
}

static void fcm_free(void *self)
{
    struct fcm *f = self;
    oauth_free(&f->oauth);
    free(f->path);
    free(f);
}

static const struct protocol_ops ops = {
    .h2 = &h2_fcm,
    .wave = "another project's?",
    .make_item = make_item,
    .authorization = authorization,
    .renew = renew,
    .state = state,
    .judge = fcm_verdict_of_answer,
    .free = fcm_free,
};

static char *make_path(const char *project)
{
    static const char start[] = "/v1/projects/", end[] = "/messages:send";
    char *path = malloc(sizeof start + sizeof end + strlen(project));
    if (!path)
        abort();
    strcpy(stpcpy(stpcpy(path, start), project), end);
    return path;
}

enum err_kind protocol_fcm(const struct protocol_opts *opts, struct protocol *out,
                           struct err *e)
{
    const struct fcm_opts *app = opts->app->fcm;
    const struct oauth_opts o = {.base = opts->base,
                                 .service_account = app->service_account,
                                 .url = app->token_url,
                                 .ca_pem = opts->app->ca_pem,
                                 .proxy = opts->app->proxy,
                                 .log_prefix = opts->log_prefix,
                                 .changed = opts->changed,
                                 .ctx = opts->ctx};
    struct fcm *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    enum err_kind kind = oauth_new(&o, &oauth_tuning_default, &f->oauth, e);
    if (kind) {
        free(f);
        return kind;
    }
    f->path = make_path(oauth_project(f->oauth));
    f->path_len = strlen(f->path);
    *out = (struct protocol){&ops, f};
    return ERR_NONE;
}
