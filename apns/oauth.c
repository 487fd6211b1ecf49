// SPDX-License-Identifier: Apache-2.0
#include "apns/oauth.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/http_post.h"
#include "apns/service_account.h"
#include "apns/verdict.h"
#include "base/backoff.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"

#define MAGIC 0x6f617574u
#define TOKEN_MAX 4096
#define LIFE_MIN_S 10
#define LIFE_MAX_S (24 * 3600)
#define CLOCK_OFF_S 30 /* more than this is worth a word */
#define ISSUED_AGO_S 5 /* so that a clock a little fast is no assertion from the future */
#define GRANT "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="

const struct oauth_tuning oauth_tuning_default = {
    .renew_before_ms = 300000,
    .spacing_ms = 10000,
    .backoff_min_ms = 1000,
    .backoff_max_ms = 60000,
    .refused_ms = 600000,
    .timeout_ms = 15000,
};

struct oauth {
    unsigned magic;
    struct oauth_opts opts;
    struct oauth_tuning tuning;
    struct service_account *account;
    char *url;
    struct http_post *post;
    struct event *timer;
    char *texts[3]; /* the present one is texts[serial % 3]; two older stay readable */
    size_t len;
    unsigned serial;        /* 0: there never was one */
    int64_t valid_until_ms; /* monotonic; INT64_MIN: there is none now */
    int64_t renew_at_ms;
    bool fetching;
    bool refused;       /* the last fetch: by an answer that only a person can change */
    int64_t started_ms; /* the last fetch */
    int64_t next_ms;    /* no fetch before */
    struct backoff backoff;
    int64_t clock_off_s; /* how much the service's clock is ahead of ours */
    bool corrected;      /* the fetch under way has been tried with our clock before */
    char reason[96];     /* of the last failure; "" when the last fetch was good */
};

static bool has_token(const struct oauth *o, int64_t now_ms)
{
    return now_ms < o->valid_until_ms;
}

static void wake_at(struct oauth *o, int64_t at_ms, int64_t now_ms)
{
    int64_t wait_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    struct timeval tv = {wait_ms / 1000, wait_ms % 1000 * 1000};
    if (evtimer_add(o->timer, &tv) != 0)
        abort();
}

static void fetch(struct oauth *o, int64_t now_ms)
{
    struct buf form;
    buf_init(&form, ASSERTION_MAX + sizeof GRANT);
    buf_add_str(&form, GRANT);
    service_account_assert(o->account, o->url,
                           clock_real_us() / 1000000 + o->clock_off_s - ISSUED_AGO_S, &form);
    assert(!buf_failed(&form)); /* the account's texts are bounded */
    o->fetching = true;
    o->started_ms = now_ms;
    evtimer_del(o->timer);
    const char *body = buf_cstr(&form);
    http_post_send(o->post, body, buf_len(&form));
    buf_deinit(&form);
}

static void fetch_if_due(struct oauth *o, int64_t now_ms)
{
    bool due = !has_token(o, now_ms) || now_ms >= o->renew_at_ms;
    if (due && !o->fetching && now_ms >= o->next_ms)
        fetch(o, now_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct oauth *o = ctx;
    assert(o->magic == MAGIC);
    int64_t now_ms = clock_mono_ms();
    if (now_ms < o->next_ms)
        wake_at(o, o->next_ms, now_ms);
    else
        fetch_if_due(o, now_ms);
}

/* --- what the service says --- */

static bool is_token(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return len > 0 && len <= TOKEN_MAX;
}

static void keep_token(struct oauth *o, const char *token, double life_s, int64_t now_ms)
{
    static const char scheme[] = "Bearer ";
    if (!(life_s >= LIFE_MIN_S))
        life_s = LIFE_MIN_S;
    if (life_s > LIFE_MAX_S)
        life_s = LIFE_MAX_S;
    int64_t life_ms = (int64_t)life_s * 1000;
    char **at = &o->texts[++o->serial % 3];
    free(*at);
    o->len = sizeof scheme - 1 + strlen(token);
    *at = malloc(o->len + 1);
    if (!*at)
        abort();
    memcpy(*at, scheme, sizeof scheme - 1);
    strcpy(*at + sizeof scheme - 1, token);
    /* It began to live while we waited for it. */
    o->valid_until_ms = o->started_ms + life_ms;
    o->renew_at_ms = life_ms > 2 * o->tuning.renew_before_ms
                         ? o->valid_until_ms - o->tuning.renew_before_ms
                         : o->started_ms + life_ms / 2;
    o->next_ms = now_ms;
    o->refused = false;
    o->reason[0] = '\0';
    backoff_reset(&o->backoff);
    log_info(o->opts.log_prefix, "access token fetched valid_s=%lld",
             (long long)(life_ms / 1000));
}

static bool take_token(struct oauth *o, const struct http_answer *a, int64_t now_ms)
{
    cJSON *root = cJSON_ParseWithLength((const char *)a->body, a->len);
    const cJSON *token = cJSON_GetObjectItemCaseSensitive(root, "access_token");
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(root, "token_type");
    const cJSON *life = cJSON_GetObjectItemCaseSensitive(root, "expires_in");
    bool good = cJSON_IsString(token) && is_token(token->valuestring) &&
                cJSON_IsString(type) && strcasecmp(type->valuestring, "Bearer") == 0 &&
                cJSON_IsNumber(life) && life->valuedouble > 0;
    if (good)
        keep_token(o, token->valuestring, life->valuedouble, now_ms);
    cJSON_Delete(root);
    return good;
}

static void read_refusal(const struct http_answer *a, char *out, size_t size)
{
    char word[48] = "";
    cJSON *root = NULL;
    if (a->len > 0)
        root = cJSON_ParseWithLength((const char *)a->body, a->len);
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(root, "error");
    if (cJSON_IsString(error))
        verdict_word(error->valuestring, word, sizeof word);
    snprintf(out, size, "access token refused: %d%s%s", a->status, *word ? " " : "", word);
    cJSON_Delete(root);
}

/* An assertion from the future or the past is refused, and whoever says so has the better
 * clock: once more by that one. */
static bool clock_was_wrong(struct oauth *o, const struct http_answer *a)
{
    int64_t off_s = a->date_s - clock_real_us() / 1000000;
    int64_t change_s = off_s - o->clock_off_s;
    if (a->date_s < 0 || o->corrected || (change_s <= CLOCK_OFF_S && change_s >= -CLOCK_OFF_S))
        return false;
    o->corrected = true;
    o->clock_off_s = off_s;
    if (off_s > CLOCK_OFF_S || off_s < -CLOCK_OFF_S)
        log_warn(o->opts.log_prefix,
                 "the clock of this machine is %lld s %s: set it, pushes need the right time",
                 (long long)(off_s > 0 ? off_s : -off_s), off_s > 0 ? "slow" : "fast");
    return true;
}

/* What is the account's or the request's fault stays so; anything else may pass. */
static bool is_final(int status)
{
    return status >= 400 && status < 500 && status != 408 && status != 425 && status != 429;
}

static void take_failure(struct oauth *o, const struct http_answer *a, int64_t now_ms)
{
    bool was_refused = o->refused;
    o->refused = is_final(a->status);
    if (o->refused) {
        read_refusal(a, o->reason, sizeof o->reason);
        o->next_ms = now_ms + o->tuning.refused_ms;
        if (!was_refused)
            log_error(o->opts.log_prefix, "%s; tried again every %lld s", o->reason,
                      (long long)(o->tuning.refused_ms / 1000));
        return;
    }
    if (a->status == 0)
        snprintf(o->reason, sizeof o->reason, "no access token: %s", a->error);
    else
        snprintf(o->reason, sizeof o->reason, "no access token: %s%d",
                 a->status == 200 ? "an answer that is none, " : "", a->status);
    int64_t wait_ms = backoff_next_ms(&o->backoff, crypt_random_u64());
    struct verdict_answer named = {.retry_after_s = a->retry_after_s};
    if (wait_ms < verdict_delay_ms(&named, 0))
        wait_ms = verdict_delay_ms(&named, 0);
    o->next_ms = now_ms + wait_ms;
    log_warn(o->opts.log_prefix, "%s retry_ms=%lld", o->reason, (long long)wait_ms);
}

static void on_answer(void *ctx, const struct http_answer *a)
{
    struct oauth *o = ctx;
    assert(o->magic == MAGIC);
    int64_t now_ms = clock_mono_ms();
    o->fetching = false;
    if (is_final(a->status) && clock_was_wrong(o, a)) {
        fetch(o, now_ms);
        return;
    }
    o->corrected = false;
    if (a->status != 200 || !take_token(o, a, now_ms)) {
        take_failure(o, a, now_ms);
        wake_at(o, o->next_ms, now_ms);
    }
    o->opts.changed(o->opts.ctx);
}

/* --- for the owner --- */

enum err_kind oauth_new(const struct oauth_opts *opts, const struct oauth_tuning *tuning,
                        struct oauth **out, struct err *e)
{
    struct service_account *account = NULL;
    if (!opts->service_account)
        return err_set(e, ERR_CONFIG, "service_account_file is missing");
    enum err_kind kind = service_account_read(opts->service_account, &account, e);
    if (kind)
        return kind;
    struct oauth *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    o->magic = MAGIC;
    o->opts = *opts;
    o->opts.service_account = NULL;
    o->tuning = *tuning;
    o->account = account;
    o->url = strdup(opts->url ? opts->url : account->token_uri);
    o->timer = evtimer_new(opts->base, on_timer, o);
    if (!o->url || !o->timer)
        abort();
    const struct http_post_opts post = {
        opts->base, o->url, opts->ca_pem, opts->proxy, tuning->timeout_ms, on_answer, o};
    o->post = http_post_new(&post);
    o->valid_until_ms = o->next_ms = INT64_MIN;
    backoff_init(&o->backoff, tuning->backoff_min_ms, tuning->backoff_max_ms);
    wake_at(o, 0, 0);
    *out = o;
    return ERR_NONE;
}

void oauth_free(struct oauth **op)
{
    struct oauth *o = *op;
    if (!o)
        return;
    http_post_free(&o->post);
    event_free(o->timer);
    service_account_free(&o->account);
    for (size_t i = 0; i < 3; i++)
        free(o->texts[i]);
    free(o->url);
    o->magic = 0;
    free(o);
    *op = NULL;
}

const char *oauth_authorization(struct oauth *o, int64_t now_ms, size_t *len_out,
                                unsigned *serial_out)
{
    fetch_if_due(o, now_ms);
    if (!has_token(o, now_ms))
        return NULL;
    *len_out = o->len;
    *serial_out = o->serial;
    return o->texts[o->serial % 3];
}

void oauth_reject(struct oauth *o, unsigned serial, int64_t now_ms)
{
    if (serial != o->serial || !has_token(o, now_ms))
        return;
    o->valid_until_ms = INT64_MIN;
    if (o->next_ms < o->started_ms + o->tuning.spacing_ms)
        o->next_ms = o->started_ms + o->tuning.spacing_ms;
    if (!o->fetching)
        wake_at(o, o->next_ms, now_ms);
}

enum oauth_state oauth_get_state(const struct oauth *o, int64_t now_ms,
                                 const char **reason_out)
{
    *reason_out = "";
    if (has_token(o, now_ms))
        return OAUTH_GOOD;
    if (o->reason[0] == '\0')
        return OAUTH_WAITING;
    *reason_out = o->reason;
    return o->refused ? OAUTH_REFUSED : OAUTH_FAILING;
}

const char *oauth_project(const struct oauth *o)
{
    return o->account->project_id;
}
