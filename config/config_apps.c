// SPDX-License-Identifier: Apache-2.0
#include "config/config_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/hex.h"

#define HTTPS_PORT 443
#define APNS_HOST "api.push.apple.com"
#define APNS_SANDBOX_HOST "api.sandbox.push.apple.com"
#define APP_NAMES_MAX 200
#define TOKEN_KEYS_MAX 16
#define FCM_HOST "fcm.googleapis.com"

static int64_t number(const struct reader *r, enum key k)
{
    return r->p->values[k].number;
}

static bool parse_url(struct reader *r, const char *url, struct host_opts *out)
{
    if (strncmp(url, "https://", 8) != 0)
        return false;
    char *host = config_must(arena_strdup(r->p->arena, url + 8));
    size_t len = strlen(host);
    if (len && host[len - 1] == '/')
        host[len - 1] = '\0';
    return !strpbrk(host, "/?#@") && config_split_address(r, host, HTTPS_PORT, out);
}

static void need(struct reader *r, int i, enum key k)
{
    const struct value *v = &r->p->apps[i][k];
    if (!v->item)
        complain_key(r, k, i, "%s is missing", key_table[k].path);
}

/* Where the service is: its own address, unless there is another. */
static void build_address(struct reader *r, int i, enum key url, const char *host,
                          struct apns_app_opts *a)
{
    const struct value *v = &r->p->apps[i][url];
    struct host_opts at = {host, HTTPS_PORT};
    if (v->text && !parse_url(r, v->text, &at))
        complain_key(r, url, i, "%s: expected https://host:port", key_table[url].path);
    a->host = at.host;
    a->port = at.port;
}

/* Who we are: a key for provider tokens, or a certificate. */
static void build_credentials(struct reader *r, int i, struct apns_app_opts *a)
{
    static const enum key key[] = {KEY_APNS_KEY_FILE, KEY_APNS_KEY_ID, KEY_APNS_TEAM_ID};
    static const enum key certificate[] = {KEY_APNS_CERT_FILE, KEY_APNS_CERT_KEY};
    const struct value *v = r->p->apps[i];
    bool by_certificate = v[certificate[0]].item || v[certificate[1]].item;
    for (size_t k = 0; k < 2 && by_certificate; k++)
        need(r, i, certificate[k]);
    for (size_t k = 0; k < 3; k++) {
        if (!by_certificate)
            need(r, i, key[k]);
        else if (v[key[k]].item)
            complain_key(r, key[k], i, "%s: a certificate and a key exclude each other",
                         key_table[key[k]].path);
    }
    a->key_pem = v[KEY_APNS_KEY_FILE].text;
    a->key_id = v[KEY_APNS_KEY_ID].text;
    a->team_id = v[KEY_APNS_TEAM_ID].text;
    a->certificate_pem = v[KEY_APNS_CERT_FILE].text;
    a->private_key_pem = v[KEY_APNS_CERT_KEY].text;
}

static void build_apns(struct reader *r, int i, struct apns_app_opts *a)
{
    const struct value *v = r->p->apps[i];
    need(r, i, KEY_APNS_TOPIC);
    build_credentials(r, i, a);
    static const char *const levels[] = {"passive", NULL, "time-sensitive", "critical"};
    a->topic = v[KEY_APNS_TOPIC].text;
    a->category = v[KEY_APNS_CATEGORY].text;
    a->interruption_level = levels[v[KEY_APNS_INTERRUPTION].number];
    a->sandbox = v[KEY_APNS_ENVIRONMENT].number == 1;
    a->background = v[KEY_APNS_PUSH_TYPE].number == 1;
    a->voip = v[KEY_APNS_VOIP].number;
    if (a->voip && !a->calls)
        complain_key(r, KEY_APNS_VOIP, i,
                     "push.apps[].apns.voip: an app that is not told of calls (calls: true) "
                     "has no use for it");
    a->ca_pem = v[KEY_APNS_CA_FILE].text;
    build_address(r, i, KEY_APNS_URL, a->sandbox ? APNS_SANDBOX_HOST : APNS_HOST, a);
}

static void build_fcm(struct reader *r, int i, struct apns_app_opts *a)
{
    const struct value *v = r->p->apps[i];
    struct fcm_opts *f = config_must(arena_alloc(r->p->arena, sizeof *f));
    need(r, i, KEY_FCM_ACCOUNT_FILE);
    *f = (struct fcm_opts){.service_account = v[KEY_FCM_ACCOUNT_FILE].text,
                           .token_url = v[KEY_FCM_TOKEN_URL].text,
                           .form = (enum fcm_form)v[KEY_FCM_FORM].number,
                           .channel = v[KEY_FCM_CHANNEL].text};
    if (f->token_url && strncmp(f->token_url, "https://", 8) != 0)
        complain_key(r, KEY_FCM_TOKEN_URL, i, "%s: expected https://...",
                     key_table[KEY_FCM_TOKEN_URL].path);
    a->fcm = f;
    a->ca_pem = v[KEY_FCM_CA_FILE].text;
    build_address(r, i, KEY_FCM_URL, FCM_HOST, a);
}

/* Whether the file says anything of a section of the app. */
static bool has_section(const struct reader *r, int i, const char *section)
{
    for (enum key k = 0; k < KEYS_N; k++)
        if (strncmp(key_table[k].path, section, strlen(section)) == 0 && r->p->apps[i][k].item)
            return true;
    return false;
}

static void build_ports(struct reader *r, int i, struct webpush_opts *o)
{
    const struct value *v = &r->p->apps[i][KEY_WEBPUSH_PORTS];
    uint16_t *ports = config_must(arena_alloc(r->p->arena, (v->list_n + 1) * sizeof *ports));
    ports[0] = HTTPS_PORT;
    for (size_t k = 0; k < v->list_n; k++) {
        char *end;
        const char *text = v->list[k];
        unsigned long port = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || port < 1 || port > UINT16_MAX)
            complain_key(r, KEY_WEBPUSH_PORTS, i, "%s: \"%s\" is not a port",
                         key_table[KEY_WEBPUSH_PORTS].path, text);
        ports[k] = (uint16_t)port;
    }
    if (v->item && v->list_n == 0)
        complain_key(r, KEY_WEBPUSH_PORTS, i, "%s: no port at all is allowed",
                     key_table[KEY_WEBPUSH_PORTS].path);
    o->ports = ports;
    o->ports_n = v->list_n ? v->list_n : 1;
}

/* A name or an address, as endpoints have it, or a name below "*.". */
static bool is_host_pattern(const char *text)
{
    const char *host = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    return *host && host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789.-_[:]")] == '\0';
}

static void build_webpush(struct reader *r, int i, struct apns_app_opts *a)
{
    const struct value *v = r->p->apps[i];
    const struct value *hosts = &v[KEY_WEBPUSH_HOSTS];
    struct webpush_opts *o = config_must(arena_alloc(r->p->arena, sizeof *o));
    need(r, i, KEY_WEBPUSH_KEY_FILE);
    need(r, i, KEY_WEBPUSH_SUBJECT);
    *o = (struct webpush_opts){.private_key = v[KEY_WEBPUSH_KEY_FILE].text,
                               .subject = v[KEY_WEBPUSH_SUBJECT].text,
                               .allow_hosts = hosts->list,
                               .allow_hosts_n = hosts->list_n,
                               .allow_private = v[KEY_WEBPUSH_PRIVATE].number};
    for (size_t k = 0; k < hosts->list_n; k++)
        if (!is_host_pattern(hosts->list[k]))
            complain_key(r, KEY_WEBPUSH_HOSTS, i,
                         "%s: \"%s\" is not a host, or *.domain for all below it",
                         key_table[KEY_WEBPUSH_HOSTS].path, hosts->list[k]);
    build_ports(r, i, o);
    a->webpush = o;
    a->ca_pem = v[KEY_WEBPUSH_CA_FILE].text;
    a->host = "";
}

static void build_service(struct reader *r, int i, struct apns_app_opts *a)
{
    bool fcm = has_section(r, i, "push.apps[].fcm.");
    bool webpush = has_section(r, i, "push.apps[].webpush.");
    if (fcm + webpush + has_section(r, i, "push.apps[].apns.") > 1)
        complain_key(r, webpush ? KEY_WEBPUSH_KEY_FILE : KEY_FCM_ACCOUNT_FILE, i,
                     "push.apps[]: apns, fcm and webpush exclude each other; make an app of "
                     "each");
    else if (fcm)
        build_fcm(r, i, a);
    else if (webpush)
        build_webpush(r, i, a);
    else
        build_apns(r, i, a);
}

static bool is_among(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] && strcmp(list[i], name) == 0)
            return true;
    return false;
}

/* Each name means one app, whoever says it: a topic or a key is never the user's to choose. */
static void check_names(struct reader *r, int i, const struct apns_app_opts *apps)
{
    const struct apns_app_opts *a = &apps[i];
    for (int j = 0; j < i; j++)
        for (size_t n = 0; n < a->names_n; n++)
            if (is_among(a->names[n], apps[j].names, apps[j].names_n) ||
                (apps[j].id && strcmp(apps[j].id, a->names[n]) == 0))
                complain_key(r, KEY_APP_NAMES, i, "push.apps[].names: %s is another app's",
                             a->names[n]);
}

static void check_number_of_names(struct reader *r, const struct apns_app_opts *apps)
{
    size_t n = 0;
    for (size_t i = 0; i < r->p->apps_n; i++)
        n += apps[i].names_n;
    if (n > APP_NAMES_MAX)
        complain_key(r, KEY_APP_NAMES, 0, "push.apps[].names: more than %d in all",
                     APP_NAMES_MAX);
}

static void build_accept_from(struct reader *r)
{
    struct component_opts *c = &r->config->component;
    const struct value *v = &r->p->values[KEY_PUSH_ACCEPT_FROM];
    const char **out = config_must(arena_alloc(r->p->arena, (v->list_n + 1) * sizeof *out));
    c->accept_from = out;
    for (size_t i = 0; i < v->list_n; i++) {
        const char *name = config_domain(r, KEY_PUSH_ACCEPT_FROM, -1, v->list[i]);
        if (name && is_among(name, c->domains, c->domains_n))
            complain_key(r, KEY_PUSH_ACCEPT_FROM, -1,
                         "push.accept_from: %s is one of xmpp.domains already", name);
        else if (name)
            out[c->accept_from_n++] = name;
    }
}

static void build_stateless(struct reader *r)
{
    static const char words[] = "fpush mongooseim chatsecure";
    static const char *const names[] = {"fpush", "mongooseim", "chatsecure"};
    const struct value *v = &r->p->values[KEY_PUSH_STATELESS];
    for (size_t i = 0; i < v->list_n; i++) {
        char near[32];
        size_t k = 0;
        while (k < 3 && strcmp(names[k], v->list[i]) != 0)
            k++;
        if (k < 3)
            r->config->push.stateless |= 1u << k;
        else if (key_nearest_word(words, v->list[i], near))
            complain_key(r, KEY_PUSH_STATELESS, -1,
                         "push.stateless_dialects: expected fpush|mongooseim|chatsecure; did "
                         "you mean \"%s\"?",
                         near);
        else
            complain_key(r, KEY_PUSH_STATELESS, -1,
                         "push.stateless_dialects: expected fpush|mongooseim|chatsecure");
    }
}

/* push.content is what the operator promises for all; an app shows less, never more. */
static enum push_content app_content(struct reader *r, int i)
{
    enum push_content most = r->config->push.content;
    const struct value *v = &r->p->apps[i][KEY_APP_CONTENT];
    if (!v->item)
        return most;
    if ((enum push_content)v->number > most)
        complain_key(r, KEY_APP_CONTENT, i,
                     "push.apps[].content: %s shows more than push.content allows", v->text);
    return (enum push_content)v->number;
}

/* What a browser shows comes from us: it looks nothing up. */
static struct push_loc_keys read_loc_keys(struct reader *r, int i)
{
    static const enum key keys[] = {KEY_APP_LOC_MESSAGE, KEY_APP_LOC_COUNT,
                                    KEY_APP_LOC_ENCRYPTED, KEY_APP_LOC_CALL};
    const struct value *v = r->p->apps[i];
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *text = v[keys[k]].text;
        if (text && has_section(r, i, "push.apps[].webpush."))
            complain_key(r, keys[k], i, "%s is for apps of APNs and FCM",
                         key_table[keys[k]].path);
        for (const char *at = text; at && *at; at++)
            if ((unsigned char)*at <= ' ' || *at == 0x7f) {
                complain_key(r, keys[k], i, "%s: expected a name without spaces",
                             key_table[keys[k]].path);
                break;
            }
    }
    return (struct push_loc_keys){.message = v[KEY_APP_LOC_MESSAGE].text,
                                  .count = v[KEY_APP_LOC_COUNT].text,
                                  .encrypted = v[KEY_APP_LOC_ENCRYPTED].text,
                                  .call = v[KEY_APP_LOC_CALL].text};
}

static void build_app(struct reader *r, int i, struct apns_app_opts *a)
{
    const struct value *v = r->p->apps[i];
    *a = (struct apns_app_opts){
        .id = v[KEY_APP_ID].text,
        .names = v[KEY_APP_NAMES].list,
        .names_n = v[KEY_APP_NAMES].list_n,
        .domains = v[KEY_APP_DOMAINS].list,
        .domains_n = v[KEY_APP_DOMAINS].list_n,
        .content = app_content(r, i),
        .encrypted_text = v[KEY_APP_ENCRYPTED].text,
        .call_text = v[KEY_APP_CALL_TEXT].text,
        .loc_keys = read_loc_keys(r, i),
        .calls = v[KEY_APP_CALLS].number,
        .sound = v[KEY_APP_SOUND].text,
        .badge = (enum push_badge)v[KEY_APP_BADGE].number,
        .withdraws = v[KEY_APP_WITHDRAW].number,
        .one_account = v[KEY_APP_ACCOUNTS].number == 1,
    };
    if (!a->id)
        complain_key(r, KEY_APP_ID, i, "push.apps[].id is missing");
    for (int j = 0; j < i && a->id; j++) {
        const char *other = r->p->apps[j][KEY_APP_ID].text;
        if (other && strcmp(other, a->id) == 0)
            complain_key(r, KEY_APP_ID, i, "push.apps[].id: %s is there twice", a->id);
    }
    for (size_t d = 0; d < a->domains_n; d++) {
        const char *name = config_domain(r, KEY_APP_DOMAINS, i, a->domains[d]);
        const struct component_opts *c = &r->config->component;
        if (name && !is_among(name, c->domains, c->domains_n) &&
            !is_among(name, c->accept_from, c->accept_from_n))
            complain_key(r, KEY_APP_DOMAINS, i,
                         "push.apps[].domains: %s is not in xmpp.domains", name);
        if (name)
            v[KEY_APP_DOMAINS].list[d] = name;
    }
    build_service(r, i, a);
}

/* %40 and the like (RFC 3986 section 2.1), in place. */
static bool decode_percent(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        int c = (unsigned char)*in;
        if (c == '%') {
            int high = hex_digit(in[1]), low = high < 0 ? -1 : hex_digit(in[2]);
            c = 16 * high + low;
            if (low < 0 || c == 0)
                return false;
            in += 2;
        }
        *out++ = (char)c;
    }
    *out = '\0';
    return true;
}

/* "user:password@", taken off what follows it. */
static bool take_credentials(char **rest, struct proxy_opts *out)
{
    char *at = strrchr(*rest, '@');
    if (!at)
        return true;
    char *user = *rest, *colon = strchr(user, ':');
    *at = '\0';
    *rest = at + 1;
    if (!colon || colon > at || colon == user)
        return false;
    *colon = '\0';
    out->user = user;
    out->password = colon + 1;
    return decode_percent(user) && decode_percent(colon + 1) && !strchr(user, ':');
}

/* What it holds is not repeated in a complaint: there is a password in it. */
static const struct proxy_opts *read_proxy(struct reader *r)
{
    const char *url = r->p->values[KEY_PUSH_PROXY].text;
    if (!url || !*url)
        return NULL;
    struct proxy_opts *p = config_must(arena_alloc(r->p->arena, sizeof *p));
    struct host_opts at = {0};
    *p = (struct proxy_opts){0};
    bool good = strncmp(url, "http://", 7) == 0;
    if (good) {
        char *rest = config_must(arena_strdup(r->p->arena, url + 7));
        size_t len = strlen(rest);
        if (len > 0 && rest[len - 1] == '/')
            rest[len - 1] = '\0';
        good = take_credentials(&rest, p) && !strpbrk(rest, "/?# ") &&
               config_split_address(r, rest, 0, &at) && strlen(at.host) < 256;
    }
    if (!good)
        complain_key(
            r, KEY_PUSH_PROXY, -1,
            "push.proxy: expected http://host:port or http://user:password@host:port");
    p->host = at.host;
    p->port = at.port;
    return p;
}

static bool read_token_key(const char *line, size_t len, uint8_t out[TOKEN_KEY_BYTES])
{
    if (len != (size_t)2 * TOKEN_KEY_BYTES)
        return false;
    for (size_t i = 0; i < TOKEN_KEY_BYTES; i++) {
        int high = hex_digit(line[2 * i]), low = hex_digit(line[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(16 * high + low);
    }
    return true;
}

/* One key to a line.  What a line holds is not repeated in a complaint. */
static void build_token_keys(struct reader *r)
{
    const char *text = r->p->values[KEY_PUSH_TOKEN_KEY].text;
    if (!text)
        return;
    struct token_key_opts *t = &r->config->push.token_keys;
    uint8_t(*keys)[TOKEN_KEY_BYTES] =
        config_must(arena_alloc(r->p->arena, TOKEN_KEYS_MAX * sizeof *keys));
    size_t number = 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t len = strcspn(line, "\r\n");
        number++;
        if (number == 1 && len == 4 && memcmp(line, "none", 4) == 0)
            t->in_clear = true;
        else if (t->n == TOKEN_KEYS_MAX)
            complain_key(r, KEY_PUSH_TOKEN_KEY, -1, "push.token_key_file: more than %d keys",
                         TOKEN_KEYS_MAX);
        else if (read_token_key(line, len, keys[t->n]))
            t->n++;
        else
            complain_key(r, KEY_PUSH_TOKEN_KEY, -1,
                         "push.token_key_file: line %zu: expected a key of 64 hex digits (32 "
                         "random bytes: openssl rand -hex 32)",
                         number);
        if (r->count > 0)
            break;
    }
    t->keys = (const uint8_t(*)[TOKEN_KEY_BYTES])keys;
}

void config_build_push(struct reader *r)
{
    struct push_opts *p = &r->config->push;
    p->content = (enum push_content)number(r, KEY_PUSH_CONTENT);
    p->rooms = (enum event_notify)(NOTIFY_ALWAYS + number(r, KEY_PUSH_ROOMS));
    p->settle_ms = number(r, KEY_PUSH_SETTLE);
    p->confirm_after_ms = number(r, KEY_PUSH_CONFIRM_AFTER);
    p->while_active_elsewhere_ms = number(r, KEY_PUSH_ELSEWHERE);
    p->stale_after_ms = number(r, KEY_PUSH_STALE_AFTER);
    p->max_age_ms = number(r, KEY_PUSH_MAX_AGE);
    p->history_ms = number(r, KEY_PUSH_HISTORY);
    p->devices_per_account = (unsigned)number(r, KEY_LIMITS_DEVICES);
    struct apns_app_opts *apps =
        config_must(arena_alloc(r->p->arena, (r->p->apps_n + 1) * sizeof *apps));
    const struct proxy_opts *proxy = read_proxy(r);
    build_accept_from(r);
    build_stateless(r);
    build_token_keys(r);
    for (size_t i = 0; i < r->p->apps_n; i++) {
        build_app(r, (int)i, &apps[i]);
        apps[i].proxy = proxy;
        check_names(r, (int)i, apps);
    }
    check_number_of_names(r, apps);
    p->apps = apps;
    p->apps_n = r->p->apps_n;
}
