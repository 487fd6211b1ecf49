// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/jid.h"
#include "config/config_int.h"
#include "config/keys.h"
#include "config/yaml.h"

#define CHECK_EVERY_MIN_MS 300000
#define ARENA_MAX (16 << 20)
#define COMPLAINTS_MAX 50
#define APPS "push.apps[]"
#define NOTICES "push.notices[]"

void config_complain(struct reader *r, size_t line, size_t column, const char *fmt, ...)
{
    char text[2 * ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (++r->count <= COMPLAINTS_MAX)
        buf_addf(r->complaints, "%s:%zu:%zu: %s\n", r->file, line, column, text);
}

/* The settings of a list's elements, NULL for others. */
static struct value (*list_of(const struct reader *r, enum key key))[KEYS_N]
{
    const char *path = key_table[key].path;
    if (strncmp(path, APPS, sizeof APPS - 1) == 0)
        return r->p->apps;
    return strncmp(path, NOTICES, sizeof NOTICES - 1) == 0 ? r->p->notices : NULL;
}

static struct value *config_slot(const struct reader *r, enum key key, int index)
{
    return list_of(r, key) && index >= 0 ? &list_of(r, key)[index][key] : &r->p->values[key];
}

void config_place(const struct reader *r, enum key key, int app, size_t *line, size_t *column)
{
    const struct value *v = config_slot(r, key, app);
    *line = *column = 1;
    if (v->item) {
        *line = v->item->line;
        *column = v->item->column;
        return;
    }
    size_t best = 0;
    for (const struct yaml_item *it = r->items; it; it = it->next) {
        size_t len = strlen(it->path);
        bool above = strncmp(key_table[key].path, it->path, len) == 0 &&
                     strchr(".[", key_table[key].path[len]);
        if (above && len >= best && (it->outer < 0 || it->outer == app)) {
            best = len;
            *line = it->key_line;
            *column = it->key_column;
        }
    }
}

void *config_must(void *p)
{
    if (!p)
        abort(); /* the arena's maximum is far above what one settings file can need */
    return p;
}

/* What opens devices' tokens must not be open itself. */
static void check_secrecy(struct reader *r, const struct yaml_item *it, FILE *f)
{
    struct stat st;
    if (key_find(it->path) == KEY_PUSH_TOKEN_KEY && fstat(fileno(f), &st) == 0 &&
        (st.st_mode & S_IRWXO))
        config_complain(r, it->line, it->column,
                        "%s: everybody on this machine may read %s (chmod o= helps)", it->path,
                        it->value);
}

/* The contents of the file a setting names; relative names start at the settings file. */
static const char *read_file(struct reader *r, const struct yaml_item *it, int64_t max)
{
    char path[2048];
    const char *slash = strrchr(r->file, '/');
    if (it->value[0] == '/' || !slash)
        snprintf(path, sizeof path, "%s", it->value);
    else
        snprintf(path, sizeof path, "%.*s/%s", (int)(slash - r->file), r->file, it->value);
    FILE *f = fopen(path, "re");
    if (!f) {
        config_complain(r, it->line, it->column, "%s: cannot read %s: %s", it->path, it->value,
                        strerror(errno));
        return NULL;
    }
    check_secrecy(r, it, f);
    char *text = config_must(arena_alloc(r->p->arena, (size_t)max + 2));
    size_t len = fread(text, 1, (size_t)max + 1, f);
    (void)fclose(f);
    if (len > (size_t)max || memchr(text, '\0', len)) {
        config_complain(r, it->line, it->column, "%s: %s is %s", it->path, it->value,
                        len > (size_t)max ? "too large" : "not a text file");
        return NULL;
    }
    while (len > 0 && strchr("\r\n", text[len - 1]))
        len--;
    text[len] = '\0';
    if (len == 0)
        config_complain(r, it->line, it->column, "%s: %s is empty", it->path, it->value);
    return len ? text : NULL;
}

static void take_list_element(struct reader *r, struct value *v, const struct yaml_item *it)
{
    const char **grown =
        config_must(arena_alloc(r->p->arena, (v->list_n + 1) * sizeof *grown));
    if (v->list_n)
        memcpy(grown, v->list, v->list_n * sizeof *grown);
    grown[v->list_n++] = it->value;
    v->list = grown;
}

static struct value *slot_of(struct reader *r, const struct yaml_item *it, enum key key)
{
    int max = list_of(r, key) == r->p->apps ? APPS_MAX : NOTICES_MAX;
    return list_of(r, key) && it->outer >= max ? NULL : config_slot(r, key, it->outer);
}

static void take_scalar(struct reader *r, const struct yaml_item *it)
{
    enum key key = key_find(it->path);
    if (key == KEYS_N) {
        const char *near = key_did_you_mean(it->path);
        config_complain(r, it->key_line, it->key_column, "unknown setting %s%s%s%s", it->path,
                        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
        return;
    }
    const struct key_info *info = &key_table[key];
    struct value *v = slot_of(r, it, key);
    if (!v)
        return;
    v->item = it;
    if (info->type == TYPE_LIST) {
        config_complain(r, it->line, it->column, "%s: expected a list, as in [a, b]",
                        info->path);
        return;
    }
    struct err e;
    if (key_read(info, it->value, it->quoted, &v->number, &e))
        config_complain(r, it->line, it->column, "%s: %s", info->path, e.text);
    else
        v->text = info->type == TYPE_FILE ? read_file(r, it, info->max) : it->value;
}

/* "xmpp.domains[]" is an element of the list setting xmpp.domains. */
static bool take_element(struct reader *r, const struct yaml_item *it)
{
    size_t len = strlen(it->path);
    char list[256];
    if (it->kind != YAML_SCALAR || len < 3 || strcmp(it->path + len - 2, "[]") != 0)
        return false;
    snprintf(list, sizeof list, "%.*s", (int)(len - 2), it->path);
    enum key key = key_find(list);
    if (key == KEYS_N || key_table[key].type != TYPE_LIST)
        return false;
    struct value *v = slot_of(r, it, key);
    if (v)
        take_list_element(r, v, it);
    return true;
}

static void take_index(struct reader *r, const struct yaml_item *it, const char *what, int max,
                       size_t *n)
{
    if (it->outer >= max)
        config_complain(r, it->line, it->column, "more than %d %s", max, what);
    else if (it->outer >= 0)
        *n = (size_t)it->outer + 1;
}

static void take_item(struct reader *r, const struct yaml_item *it)
{
    if (strcmp(it->path, APPS) == 0)
        take_index(r, it, "apps", APPS_MAX, &r->p->apps_n);
    if (strcmp(it->path, NOTICES) == 0)
        take_index(r, it, "notices", NOTICES_MAX, &r->p->notices_n);
    if (take_element(r, it))
        return;
    enum key key = key_find(it->path);
    if (it->kind == YAML_SEQUENCE && key != KEYS_N && key_table[key].type == TYPE_LIST) {
        struct value *v = slot_of(r, it, key);
        if (v)
            v->item = it;
        return;
    }
    if (it->kind != YAML_SCALAR && key_is_section(it->path)) {
        bool wants_list = key_is_list_section(it->path);
        if (wants_list != (it->kind == YAML_SEQUENCE))
            config_complain(r, it->line, it->column, "%s: expected %s", it->path,
                            wants_list ? "a list" : "settings below it, not a list");
        return;
    }
    if (it->kind == YAML_SCALAR && key_is_section(it->path) && it->value[0] == '\0')
        return; /* an empty section: "push:" with everything below it commented out */
    if (it->kind != YAML_SCALAR && key != KEYS_N) {
        config_complain(r, it->line, it->column, "%s: expected a single value", it->path);
        return;
    }
    take_scalar(r, it);
}

/* A file that no setting names, but systemd's LoadCredential=. */
static void take_credential(struct reader *r, enum key key, const char *name)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    struct value *v = config_slot(r, key, -1);
    if (v->item || !folder)
        return;
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (access(path, F_OK) != 0)
        return;
    struct yaml_item *it = config_must(arena_alloc(r->p->arena, sizeof *it));
    *it = (struct yaml_item){.path = key_table[key].path,
                             .value = config_must(arena_strdup(r->p->arena, path)),
                             .line = 1,
                             .column = 1};
    v->item = it;
    v->text = read_file(r, it, key_table[key].max);
}

static void fill_defaults(struct reader *r)
{
    for (enum key k = 0; k < KEYS_N; k++) {
        const struct key_info *info = &key_table[k];
        struct value(*list)[KEYS_N] = list_of(r, k);
        size_t n = !list ? 1 : list == r->p->apps ? r->p->apps_n : r->p->notices_n;
        for (size_t i = 0; i < n; i++) {
            struct value *v = config_slot(r, k, (int)i);
            if (v->item || !info->standard)
                continue;
            struct err e;
            if (key_read(info, info->standard, false, &v->number, &e))
                abort(); /* a default that its own row refuses */
            v->text = info->standard;
        }
    }
}

static int64_t number(const struct reader *r, enum key k)
{
    return r->p->values[k].number;
}

static const char *text(const struct reader *r, enum key k)
{
    return r->p->values[k].text;
}

/* What is in the contract but not in this version says so, instead of being ignored. */
static void refuse(struct reader *r, enum key k, int app, bool wanted)
{
    if (wanted)
        complain_key(r, k, app, "%s: this value is not available in this version",
                     key_table[k].path);
}

static void refuse_unavailable(struct reader *r)
{
    refuse(r, KEY_ARCHIVE_RETENTION, -1,
           text(r, KEY_ARCHIVE_RETENTION) &&
               strcmp(text(r, KEY_ARCHIVE_RETENTION), "forever") != 0);
    for (int i = 0; i < (int)r->p->apps_n; i++) {
        const struct value *v = r->p->apps[i];
        refuse(r, KEY_APP_COLLAPSE, i, v[KEY_APP_COLLAPSE].number != 0);
    }
}

bool config_split_address(struct reader *r, const char *address, uint16_t port_default,
                          struct host_opts *out)
{
    const char *host = address, *end, *colon;
    if (address[0] == '[') {
        host++;
        end = strchr(host, ']');
        if (!end || (end[1] != ':' && end[1] != '\0'))
            return false;
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strrchr(address, ':');
        end = colon ? colon : address + strlen(address);
    }
    long port = port_default;
    if (colon) {
        char *rest;
        port = strtol(colon + 1, &rest, 10);
        if (*rest || rest == colon + 1)
            return false;
    }
    if (end == host || port < 0 || port > 65535 || (port == 0 && !colon))
        return false;
    out->host = config_must(arena_strndup(r->p->arena, host, (size_t)(end - host)));
    out->port = (uint16_t)port;
    return true;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

static void build_hosts(struct reader *r)
{
    struct component_opts *c = &r->config->component;
    const struct value *hosts = &r->p->values[KEY_XMPP_HOSTS];
    uint16_t port = (uint16_t)number(r, KEY_XMPP_PORT);
    if (c->server == SERVER_OPENFIRE && !r->p->values[KEY_XMPP_PORT].item)
        port = c->tls ? OPENFIRE_TLS_PORT : OPENFIRE_PORT;
    c->hosts_n = hosts->item ? hosts->list_n : 1;
    struct host_opts *out =
        config_must(arena_alloc(r->p->arena, (c->hosts_n + 1) * sizeof *out));
    if (hosts->item && r->p->values[KEY_XMPP_HOST].item)
        complain_key(r, KEY_XMPP_HOSTS, -1, "xmpp.host and xmpp.hosts exclude each other");
    if (hosts->item && (hosts->list_n < 1 || hosts->list_n > 16))
        complain_key(r, KEY_XMPP_HOSTS, -1, "xmpp.hosts: 1 to 16 hosts are allowed");
    for (size_t i = 0; i < c->hosts_n; i++) {
        out[i] = (struct host_opts){text(r, KEY_XMPP_HOST), port};
        if (hosts->item && !config_split_address(r, hosts->list[i], port, &out[i])) {
            complain_key(r, KEY_XMPP_HOSTS, -1, "xmpp.hosts: \"%s\" is not host:port",
                         hosts->list[i]);
            out[i].host = "";
        }
        if (!out[i].host || c->tls || number(r, KEY_XMPP_TLS_INSECURE) ||
            is_loopback(out[i].host))
            continue;
        complain_key(r, hosts->item ? KEY_XMPP_HOSTS : KEY_XMPP_HOST, -1,
                     "%s is not this machine: the secret and all messages would cross the "
                     "network in clear; set xmpp.tls: direct (or tls_insecure: true)",
                     out[i].host);
    }
    c->hosts = out;
}

const char *config_domain(struct reader *r, enum key k, int app, const char *name)
{
    struct jid j;
    if (name && jid_parse(&j, name) && j.local_len == 0 && !j.resource[0])
        return config_must(arena_strdup(r->p->arena, j.bare));
    if (name)
        complain_key(r, k, app, "%s: \"%s\" is not a domain", key_table[k].path, name);
    return NULL;
}

/* Openfire serves one domain, and takes components only as its subdomains. */
static void check_openfire(struct reader *r, struct component_opts *c)
{
    const char *host = c->domains_n > 0 ? c->domains[0] : NULL;
    c->parse_bytes_max = c->stanza_bytes_max + OPENFIRE_ENVELOPE_BYTES;
    if (c->parse_bytes_max < OPENFIRE_LIST_BYTES)
        c->parse_bytes_max = OPENFIRE_LIST_BYTES;
    if (c->domains_n > 1)
        complain_key(r, KEY_XMPP_DOMAINS, -1,
                     "xmpp.domains: Openfire serves one domain, and %zu are named",
                     c->domains_n);
    if (c->hosts_n > 1)
        complain_key(r, KEY_XMPP_HOSTS, -1,
                     "xmpp.hosts: a component connects to one Openfire only");
    if (!host || !c->component || c->domains_n > 1)
        return;
    size_t len = strlen(c->component), host_len = strlen(host);
    if (len < host_len + 2 || strcmp(c->component + len - host_len, host) != 0 ||
        c->component[len - host_len - 1] != '.')
        complain_key(r, KEY_XMPP_COMPONENT, -1,
                     "xmpp.component: Openfire takes only subdomains of %s", host);
}

/* Whoever is named can make any message look as if it had been sent: for the servers that have
 * copies of their own, that is nobody. */
static void build_generic(struct reader *r, struct component_opts *c)
{
    const struct value *from = &r->p->values[KEY_XMPP_COPIES_FROM];
    const char **out = config_must(arena_alloc(r->p->arena, (from->list_n + 1) * sizeof *out));
    for (size_t i = 0; i < from->list_n; i++) {
        struct jid j;
        char full[3 * JID_PART_MAX + 4] = "";
        if (jid_parse(&j, from->list[i]))
            jid_full(&j, full);
        else
            complain_key(r, KEY_XMPP_COPIES_FROM, -1, "xmpp.copies_from: \"%s\" is no address",
                         from->list[i]);
        out[i] = config_must(arena_strdup(r->p->arena, full));
    }
    c->copies_from = out;
    c->copies_from_n = from->list_n;
    c->client_namespace = number(r, KEY_XMPP_CLIENT_NAMESPACE);
    static const enum key keys[] = {KEY_XMPP_COPIES_FROM, KEY_XMPP_CLIENT_NAMESPACE};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (c->server != SERVER_GENERIC && r->p->values[keys[i]].item)
            complain_key(r, keys[i], -1, "%s is for xmpp.server: generic",
                         key_table[keys[i]].path);
}

#define AROUND_MESSAGE_BYTES (16 << 10) /* addresses and envelopes */

/* A little less than what servers take of a component when nobody has told them otherwise: the
 * first that is longer ends the connection. */
static size_t sent_bytes(const struct reader *r, enum server_kind server)
{
    static const size_t standard[] = {[SERVER_EJABBERD] = 8 << 20,
                                      [SERVER_PROSODY] = 500 << 10,
                                      [SERVER_OPENFIRE] = 1000 << 10,
                                      [SERVER_GENERIC] = 8 << 20};
    bool is_set = r->p->values[KEY_LIMITS_SENT].item;
    return is_set ? (size_t)number(r, KEY_LIMITS_SENT) : standard[server];
}

static void build_component(struct reader *r)
{
    struct component_opts *c = &r->config->component;
    struct config_private *p = r->p;
    c->server = (enum server_kind)number(r, KEY_XMPP_SERVER);
    c->tls = number(r, KEY_XMPP_TLS) == 1;
    c->tls_ca_pem = text(r, KEY_XMPP_TLS_CA_FILE);
    c->tls_name = text(r, KEY_XMPP_TLS_NAME);
    c->stanza_bytes_max = (size_t)number(r, KEY_LIMITS_STANZA);
    c->sent_bytes_max = sent_bytes(r, c->server);
    c->commands_per_minute = (unsigned)number(r, KEY_LIMITS_COMMANDS);
    build_hosts(r);
    if (!p->values[KEY_XMPP_COMPONENT].item)
        complain_key(r, KEY_XMPP_COMPONENT, -1,
                     "xmpp.component is missing: the domain under which the server knows us");
    c->component = config_domain(r, KEY_XMPP_COMPONENT, -1, text(r, KEY_XMPP_COMPONENT));
    bool plain = p->values[KEY_XMPP_SECRET].item, file = p->values[KEY_XMPP_SECRET_FILE].item;
    if (plain == file)
        complain_key(r, KEY_XMPP_SECRET, -1,
                     plain ? "xmpp.secret and xmpp.secret_file exclude each other"
                           : "xmpp.secret or xmpp.secret_file is missing");
    c->secret = plain ? text(r, KEY_XMPP_SECRET) : text(r, KEY_XMPP_SECRET_FILE);
    const struct value *d = &p->values[KEY_XMPP_DOMAINS];
    if (d->list_n == 0)
        complain_key(r, KEY_XMPP_DOMAINS, -1,
                     "xmpp.domains is missing: whose users are to be served, as in "
                     "[example.org]");
    const char **out = config_must(arena_alloc(p->arena, (d->list_n + 1) * sizeof *out));
    for (size_t i = 0; i < d->list_n; i++) {
        out[i] = config_domain(r, KEY_XMPP_DOMAINS, -1, d->list[i]);
        if (out[i] && c->component && strcmp(out[i], c->component) == 0)
            complain_key(r, KEY_XMPP_COMPONENT, -1,
                         "xmpp.component must not be one of xmpp.domains");
    }
    c->domains = out;
    c->domains_n = d->list_n;
    c->parse_bytes_max = c->stanza_bytes_max;
    c->presence_every_ms = number(r, KEY_XMPP_PRESENCE_EVERY);
    c->presence_copies = number(r, KEY_XMPP_PRESENCE_COPIES) != 0;
    c->speak_directly = number(r, KEY_XMPP_SPEAK_AS_USERS) == 1;
    if (c->speak_directly && c->server != SERVER_EJABBERD)
        complain_key(r, KEY_XMPP_SPEAK_AS_USERS, -1,
                     "xmpp.speak_as_users: direct is for xmpp.server: ejabberd");
    c->groupchat = number(r, KEY_ARCHIVE_GROUPCHAT) != 0;
    build_generic(r, c);
    if (c->server == SERVER_OPENFIRE)
        check_openfire(r, c);
}

static void check_fill(struct reader *r)
{
    int64_t every_ms = number(r, KEY_ARCHIVE_CHECK);
    bool fills = number(r, KEY_ARCHIVE_FILL) != 0;
    if (fills && r->config->component.server != SERVER_OPENFIRE)
        complain_key(r, KEY_ARCHIVE_FILL, -1,
                     "archive.fill_gaps: monitoring is a plugin of Openfire");
    if (every_ms > 0 && !fills)
        complain_key(r, KEY_ARCHIVE_CHECK, -1,
                     "archive.check_every: nothing to check with while archive.fill_gaps is "
                     "off");
    if (every_ms > 0 && every_ms < CHECK_EVERY_MIN_MS)
        complain_key(r, KEY_ARCHIVE_CHECK, -1, "archive.check_every: 0, or at least 5m");
}

static void build_unified_push(struct reader *r)
{
    const char *listen = text(r, KEY_UP_LISTEN), *url = text(r, KEY_UP_URL);
    struct host_opts at = {0};
    if (*listen && !config_split_address(r, listen, 0, &at))
        complain_key(r, KEY_UP_LISTEN, -1, "unified_push.listen: expected address:port");
    if (*listen && !url)
        complain_key(r, KEY_UP_URL, -1,
                     "unified_push.url is missing: https://..., as your web "
                     "server passes it on to unified_push.listen");
    size_t len = url ? strlen(url) : 0;
    if (url && (strncmp(url, "https://", 8) != 0 || len < 9 || url[len - 1] == '/' ||
                strpbrk(url + 8, "?# \"<>@")))
        complain_key(r, KEY_UP_URL, -1,
                     "unified_push.url: expected https://host without a slash at its end");
    r->config->unified_push = (struct unified_push_opts){at.host, at.port, url};
}

static void build_rest(struct reader *r)
{
    struct config *c = r->config;
    c->spool = (struct spool_opts){
        .directory = text(r, KEY_SPOOL_DIRECTORY),
        .size_max = (uint64_t)number(r, KEY_SPOOL_MAX_SIZE),
        .when_full = (enum spool_when_full)number(r, KEY_SPOOL_WHEN_FULL),
        .fsync_ms = number(r, KEY_SPOOL_FSYNC),
    };
    c->store = (struct store_opts){
        .url = text(r, KEY_DATABASE_URL),
        .connections = (unsigned)number(r, KEY_DATABASE_CONNECTIONS),
        .migrate = number(r, KEY_DATABASE_MIGRATE),
    };
    unsigned page_max = (unsigned)number(r, KEY_ARCHIVE_PAGE_MAX);
    c->archive = (struct archive_opts){
        .serve = number(r, KEY_ARCHIVE_SERVE),
        .page_max = page_max,
        .page_default = page_max < 50 ? page_max : 50,
        .message_bytes_max = c->component.sent_bytes_max - AROUND_MESSAGE_BYTES,
        .conversation_gap_ms = number(r, KEY_ARCHIVE_GAP),
        .search = number(r, KEY_ARCHIVE_SEARCH),
        .own_message_reads = number(r, KEY_READ_OWN),
        .groupchat = number(r, KEY_ARCHIVE_GROUPCHAT) != 0,
        .fill_gaps = number(r, KEY_ARCHIVE_FILL) != 0,
        .check_every_ms = number(r, KEY_ARCHIVE_CHECK),
        .prefs_default = (enum prefs_mode)number(r, KEY_ARCHIVE_DEFAULT),
        .notices = c->push.notices,
    };
    for (size_t i = 0; i < c->push.apps_n; i++)
        c->archive.calls = c->archive.calls || c->push.apps[i].calls;
    c->log = (struct log_opts){(enum log_level)number(r, KEY_LOG_LEVEL),
                               (enum log_format)number(r, KEY_LOG_FORMAT)};
    const char *listen = text(r, KEY_HTTP_LISTEN);
    struct host_opts at = {0};
    if (listen && *listen && !config_split_address(r, listen, 0, &at))
        complain_key(r, KEY_HTTP_LISTEN, -1, "http.listen: expected address:port");
    c->http = (struct http_opts){at.host, at.port};
    build_unified_push(r);
    check_fill(r);
}

enum err_kind config_load(const char *file, struct config **out, struct buf *complaints)
{
    *out = NULL;
    struct config *c = config_must(calloc(1, sizeof *c));
    c->priv = config_must(calloc(1, sizeof *c->priv));
    c->priv->arena = arena_new(ARENA_MAX);
    struct reader r = {.file = file, .config = c, .p = c->priv, .complaints = complaints};
    struct yaml_error e;
    if (yaml_load(file, c->priv->arena, &r.items, &e)) {
        config_complain(&r, e.line ? e.line : 1, e.column ? e.column : 1, "%s", e.text);
    } else {
        for (const struct yaml_item *it = r.items; it; it = it->next)
            take_item(&r, it);
        take_credential(&r, KEY_PUSH_TOKEN_KEY, "push.token_key");
        fill_defaults(&r);
        build_component(&r);
        config_build_push(&r);
        config_build_notices(&r);
        build_rest(&r);
        refuse_unavailable(&r);
    }
    if (r.count > 0) {
        config_free(&c);
        return ERR_CONFIG;
    }
    *out = c;
    return ERR_NONE;
}

void config_free(struct config **c)
{
    if (!*c)
        return;
    arena_free(&(*c)->priv->arena);
    free((*c)->priv);
    free(*c);
    *c = NULL;
}

static bool same_value(const struct value *a, const struct value *b)
{
    const char *at = a->text ? a->text : "", *bt = b->text ? b->text : "";
    if (a->number != b->number || strcmp(at, bt) != 0 || a->list_n != b->list_n)
        return false;
    for (size_t i = 0; i < a->list_n; i++) {
        if (strcmp(a->list[i], b->list[i]) != 0)
            return false;
    }
    return true;
}

void config_restart_needed(const struct config *old, const struct config *fresh,
                           struct buf *names_out)
{
    for (enum key k = 0; k < KEYS_N; k++) {
        if (key_table[k].reload == RESTART &&
            !same_value(&old->priv->values[k], &fresh->priv->values[k]))
            buf_addf(names_out, "%s\n", key_table[k].path);
    }
}
