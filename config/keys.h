// SPDX-License-Identifier: Apache-2.0
/*
 * The one table of settings: name, type, range, default, and whether a reload applies it.
 * Everything else about a setting follows from its row.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum key_type {
    TYPE_TEXT,
    TYPE_FILE, /* a path, relative to the settings file; the value is what the file holds */
    TYPE_BOOL, /* true | false */
    TYPE_NUMBER,
    TYPE_SIZE, /* bytes: 512, 4KiB, 16MiB, 4GiB */
    TYPE_TIME, /* milliseconds: 500ms, 20s, 15m, 12h, 14d; a bare 0 is 0 */
    TYPE_WORD, /* one of words; the number is its place */
    TYPE_LIST, /* of texts */
};

enum key_reload {
    RELOAD,  /* SIGHUP applies it: a new worker takes over, the XMPP stream stays */
    RESTART, /* belongs to the link: only a restart applies it */
};

/* name, path, type, words, default (NULL: none), min, max, reload */
#define CONFIG_KEYS(KEY)                                                                      \
    KEY(XMPP_SERVER, "xmpp.server", WORD, "ejabberd prosody openfire generic", "ejabberd", 0, \
        0, RESTART)                                                                           \
    KEY(XMPP_HOST, "xmpp.host", TEXT, 0, "127.0.0.1", 1, 255, RESTART)                        \
    KEY(XMPP_HOSTS, "xmpp.hosts", LIST, 0, 0, 1, 16, RESTART)                                 \
    KEY(XMPP_PORT, "xmpp.port", NUMBER, 0, "5347", 1, 65535, RESTART)                         \
    KEY(XMPP_TLS, "xmpp.tls", WORD, "none direct", "none", 0, 0, RESTART)                     \
    KEY(XMPP_TLS_CA_FILE, "xmpp.tls_ca_file", FILE, 0, 0, 1, 1 << 20, RESTART)                \
    KEY(XMPP_TLS_NAME, "xmpp.tls_name", TEXT, 0, 0, 1, 255, RESTART)                          \
    KEY(XMPP_TLS_INSECURE, "xmpp.tls_insecure", BOOL, 0, "false", 0, 0, RESTART)              \
    KEY(XMPP_COMPONENT, "xmpp.component", TEXT, 0, 0, 1, 1023, RESTART)                       \
    KEY(XMPP_SECRET, "xmpp.secret", TEXT, 0, 0, 1, 1024, RESTART)                             \
    KEY(XMPP_SECRET_FILE, "xmpp.secret_file", FILE, 0, 0, 1, 1024, RESTART)                   \
    KEY(XMPP_DOMAINS, "xmpp.domains", LIST, 0, 0, 1, 1000, RELOAD)                            \
    KEY(XMPP_PRESENCE_EVERY, "xmpp.presence_every", TIME, 0, "60s", 1000, 3600000, RELOAD)    \
    KEY(XMPP_COPIES_FROM, "xmpp.copies_from", LIST, 0, 0, 0, 100, RELOAD)                     \
    KEY(XMPP_CLIENT_NAMESPACE, "xmpp.client_namespace", BOOL, 0, "false", 0, 0, RELOAD)       \
    KEY(XMPP_SPEAK_AS_USERS, "xmpp.speak_as_users", WORD, "privilege direct", "privilege", 0, \
        0, RELOAD)                                                                            \
    KEY(XMPP_PRESENCE_COPIES, "xmpp.presence_copies", BOOL, 0, "false", 0, 0, RELOAD)         \
    KEY(SPOOL_DIRECTORY, "spool.directory", TEXT, 0, "/var/lib/xmpp-sidecar/spool", 1, 900,   \
        RESTART)                                                                              \
    KEY(SPOOL_MAX_SIZE, "spool.max_size", SIZE, 0, "4GiB", 8 << 20, INT64_C(1) << 46,         \
        RESTART)                                                                              \
    KEY(SPOOL_WHEN_FULL, "spool.when_full", WORD, "disconnect stop_reading", "disconnect", 0, \
        0, RESTART)                                                                           \
    KEY(SPOOL_FSYNC, "spool.fsync", TIME, 0, "100ms", 0, 60000, RESTART)                      \
    KEY(DATABASE_URL, "database.url", TEXT, 0, "postgresql:///xmpp_sidecar", 1, 4096, RELOAD) \
    KEY(DATABASE_CONNECTIONS, "database.connections", NUMBER, 0, "4", 3, 64, RELOAD)          \
    KEY(DATABASE_MIGRATE, "database.migrate", BOOL, 0, "false", 0, 0, RELOAD)                 \
    KEY(ARCHIVE_SERVE, "archive.serve", BOOL, 0, "true", 0, 0, RELOAD)                        \
    KEY(ARCHIVE_DEFAULT, "archive.default", WORD, "always never roster", "always", 0, 0,      \
        RELOAD)                                                                               \
    KEY(ARCHIVE_GROUPCHAT, "archive.groupchat", WORD, "off room", "off", 0, 0, RELOAD)        \
    KEY(ARCHIVE_RETENTION, "archive.retention", TEXT, 0, "forever", 1, 32, RELOAD)            \
    KEY(ARCHIVE_GAP, "archive.conversation_gap", TIME, 0, "15m", 1000, 86400000, RELOAD)      \
    KEY(ARCHIVE_PAGE_MAX, "archive.page_max", NUMBER, 0, "250", 1, 10000, RELOAD)             \
    KEY(ARCHIVE_SEARCH, "archive.search", BOOL, 0, "true", 0, 0, RELOAD)                      \
    KEY(ARCHIVE_FILL, "archive.fill_gaps", WORD, "off monitoring", "off", 0, 0, RELOAD)       \
    KEY(ARCHIVE_CHECK, "archive.check_every", TIME, 0, "0", 0, 86400000, RELOAD)              \
    KEY(READ_OWN, "read.own_message_reads", BOOL, 0, "true", 0, 0, RELOAD)                    \
    KEY(PUSH_CONTENT, "push.content", WORD, "none count sender body", "sender", 0, 0, RELOAD) \
    KEY(PUSH_ROOMS, "push.rooms", WORD, "always mention never", "mention", 0, 0, RELOAD)      \
    KEY(PUSH_SETTLE, "push.settle", TIME, 0, "500ms", 0, 600000, RELOAD)                      \
    KEY(PUSH_CONFIRM_AFTER, "push.confirm_after", TIME, 0, "20s", 0, 3600000, RELOAD)         \
    KEY(PUSH_ELSEWHERE, "push.while_active_elsewhere", TIME, "never", "60s", 0, 86400000,     \
        RELOAD)                                                                               \
    KEY(PUSH_STALE_AFTER, "push.stale_after", TIME, 0, "30m", 1000, 604800000, RELOAD)        \
    KEY(PUSH_MAX_AGE, "push.max_age", TIME, 0, "12h", 1000, 2419200000, RELOAD)               \
    KEY(PUSH_ACCEPT_FROM, "push.accept_from", LIST, 0, 0, 0, 1000, RELOAD)                    \
    KEY(PUSH_STATELESS, "push.stateless_dialects", LIST, 0, 0, 0, 16, RELOAD)                 \
    KEY(PUSH_PROXY, "push.proxy", TEXT, 0, "", 0, 1024, RELOAD)                               \
    KEY(PUSH_HISTORY, "push.history", TIME, 0, "14d", 3600000, INT64_C(31536000000), RELOAD)  \
    KEY(PUSH_TOKEN_KEY, "push.token_key_file", FILE, 0, 0, 1, 4096, RELOAD)                   \
    KEY(NOTICE_FROM, "push.notices[].from", TEXT, 0, 0, 1, 1023, RELOAD)                      \
    KEY(NOTICE_NODE, "push.notices[].node", TEXT, 0, 0, 1, 1023, RELOAD)                      \
    KEY(NOTICE_TITLE, "push.notices[].title", TEXT, 0, 0, 1, 256, RELOAD)                     \
    KEY(NOTICE_BODY, "push.notices[].body", TEXT, 0, 0, 1, 1024, RELOAD)                      \
    KEY(NOTICE_COUNT, "push.notices[].count", BOOL, 0, "true", 0, 0, RELOAD)                  \
    KEY(NOTICE_PUSH, "push.notices[].push", BOOL, 0, 0, 0, 0, RELOAD)                         \
    KEY(APP_ID, "push.apps[].id", TEXT, 0, 0, 1, 255, RELOAD)                                 \
    KEY(APP_NAMES, "push.apps[].names", LIST, 0, 0, 0, 100, RELOAD)                           \
    KEY(APP_DOMAINS, "push.apps[].domains", LIST, 0, 0, 0, 1000, RELOAD)                      \
    KEY(APP_ACCOUNTS, "push.apps[].accounts_per_device", WORD, "many one", "many", 0, 0,      \
        RELOAD)                                                                               \
    KEY(APP_BADGE, "push.apps[].badge", WORD, "messages conversations since_opened",          \
        "messages", 0, 0, RELOAD)                                                             \
    KEY(APP_COLLAPSE, "push.apps[].collapse", WORD, "conversation message", "conversation",   \
        0, 0, RELOAD)                                                                         \
    KEY(APP_WITHDRAW, "push.apps[].withdraw", BOOL, 0, "false", 0, 0, RELOAD)                 \
    KEY(APP_CONTENT, "push.apps[].content", WORD, "none count sender body", 0, 0, 0, RELOAD)  \
    KEY(APP_ENCRYPTED, "push.apps[].encrypted_text", TEXT, 0, "Encrypted message", 1, 200,    \
        RELOAD)                                                                               \
    KEY(APP_CALLS, "push.apps[].calls", BOOL, 0, "false", 0, 0, RELOAD)                       \
    KEY(APP_CALL_TEXT, "push.apps[].call_text", TEXT, 0, "Incoming call", 1, 200, RELOAD)     \
    KEY(APP_LOC_MESSAGE, "push.apps[].message_loc_key", TEXT, 0, 0, 1, 100, RELOAD)           \
    KEY(APP_LOC_COUNT, "push.apps[].count_loc_key", TEXT, 0, 0, 1, 100, RELOAD)               \
    KEY(APP_LOC_ENCRYPTED, "push.apps[].encrypted_loc_key", TEXT, 0, 0, 1, 100, RELOAD)       \
    KEY(APP_LOC_CALL, "push.apps[].call_loc_key", TEXT, 0, 0, 1, 100, RELOAD)                 \
    KEY(APP_SOUND, "push.apps[].sound", TEXT, 0, "default", 0, 64, RELOAD)                    \
    KEY(APNS_TOPIC, "push.apps[].apns.topic", TEXT, 0, 0, 1, 255, RELOAD)                     \
    KEY(APNS_PUSH_TYPE, "push.apps[].apns.push_type", WORD, "alert background", "alert", 0,   \
        0, RELOAD)                                                                            \
    KEY(APNS_VOIP, "push.apps[].apns.voip", BOOL, 0, "false", 0, 0, RELOAD)                   \
    KEY(APNS_CATEGORY, "push.apps[].apns.category", TEXT, 0, 0, 1, 64, RELOAD)                \
    KEY(APNS_INTERRUPTION, "push.apps[].apns.interruption_level", WORD,                       \
        "passive active time-sensitive critical", "active", 0, 0, RELOAD)                     \
    KEY(APNS_KEY_FILE, "push.apps[].apns.key_file", FILE, 0, 0, 1, 65536, RELOAD)             \
    KEY(APNS_KEY_ID, "push.apps[].apns.key_id", TEXT, 0, 0, 1, 32, RELOAD)                    \
    KEY(APNS_TEAM_ID, "push.apps[].apns.team_id", TEXT, 0, 0, 1, 32, RELOAD)                  \
    KEY(APNS_CERT_FILE, "push.apps[].apns.certificate_file", FILE, 0, 0, 1, 65536, RELOAD)    \
    KEY(APNS_CERT_KEY, "push.apps[].apns.private_key_file", FILE, 0, 0, 1, 65536, RELOAD)     \
    KEY(APNS_ENVIRONMENT, "push.apps[].apns.environment", WORD, "production sandbox",         \
        "production", 0, 0, RELOAD)                                                           \
    KEY(APNS_URL, "push.apps[].apns.url", TEXT, 0, 0, 1, 1024, RELOAD)                        \
    KEY(APNS_CA_FILE, "push.apps[].apns.ca_file", FILE, 0, 0, 1, 1 << 20, RELOAD)             \
    KEY(FCM_ACCOUNT_FILE, "push.apps[].fcm.service_account_file", FILE, 0, 0, 1, 65536,       \
        RELOAD)                                                                               \
    KEY(FCM_FORM, "push.apps[].fcm.form", WORD, "notification data", "notification", 0, 0,    \
        RELOAD)                                                                               \
    KEY(FCM_CHANNEL, "push.apps[].fcm.channel", TEXT, 0, 0, 1, 128, RELOAD)                   \
    KEY(FCM_URL, "push.apps[].fcm.url", TEXT, 0, 0, 1, 1024, RELOAD)                          \
    KEY(FCM_TOKEN_URL, "push.apps[].fcm.token_url", TEXT, 0, 0, 1, 1024, RELOAD)              \
    KEY(FCM_CA_FILE, "push.apps[].fcm.ca_file", FILE, 0, 0, 1, 1 << 20, RELOAD)               \
    KEY(WEBPUSH_KEY_FILE, "push.apps[].webpush.private_key_file", FILE, 0, 0, 1, 65536,       \
        RELOAD)                                                                               \
    KEY(WEBPUSH_SUBJECT, "push.apps[].webpush.subject", TEXT, 0, 0, 1, 255, RELOAD)           \
    KEY(WEBPUSH_HOSTS, "push.apps[].webpush.allow_hosts", LIST, 0, 0, 0, 1000, RELOAD)        \
    KEY(WEBPUSH_PORTS, "push.apps[].webpush.ports", LIST, 0, 0, 1, 100, RELOAD)               \
    KEY(WEBPUSH_PRIVATE, "push.apps[].webpush.allow_private", BOOL, 0, "false", 0, 0, RELOAD) \
    KEY(WEBPUSH_CA_FILE, "push.apps[].webpush.ca_file", FILE, 0, 0, 1, 1 << 20, RELOAD)       \
    KEY(LIMITS_STANZA, "limits.stanza_bytes", SIZE, 0, "1MiB", 4096, 64 << 20, RELOAD)        \
    KEY(LIMITS_SENT, "limits.sent_stanza_bytes", SIZE, 0, 0, 64 << 10, 8 << 20, RELOAD)       \
    KEY(LIMITS_DEVICES, "limits.devices_per_account", NUMBER, 0, "20", 1, 1000, RELOAD)       \
    KEY(LIMITS_COMMANDS, "limits.commands_per_minute", NUMBER, 0, "10", 1, 6000, RELOAD)      \
    KEY(UP_LISTEN, "unified_push.listen", TEXT, 0, "", 0, 300, RELOAD)                        \
    KEY(UP_URL, "unified_push.url", TEXT, 0, 0, 1, 200, RELOAD)                               \
    KEY(HTTP_LISTEN, "http.listen", TEXT, 0, "127.0.0.1:9280", 0, 300, RELOAD)                \
    KEY(LOG_LEVEL, "log.level", WORD, "error warn info debug", "info", 0, 0, RELOAD)          \
    KEY(LOG_FORMAT, "log.format", WORD, "text json", "text", 0, 0, RELOAD)

#define CONFIG_KEY_ENUM(name, path, type, words, def, min, max, reload) KEY_##name,
enum key { CONFIG_KEYS(CONFIG_KEY_ENUM) KEYS_N };

struct key_info {
    const char *path;
    enum key_type type;
    const char *words; /* WORD: the choices; TIME: a word that means -1 */
    const char *standard;
    int64_t min; /* of the number, or of the length in bytes, or of the list's elements */
    int64_t max;
    enum key_reload reload;
};

extern const struct key_info key_table[KEYS_N];

/* The row of a path, KEYS_N when there is none. */
enum key key_find(const char *path);
/* True when path is a section above some setting. */
bool key_is_section(const char *path);
/* True when that section is a list of sections, as push.apps is. */
bool key_is_list_section(const char *path);
/* The known path most like this one, NULL when none is near. */
const char *key_did_you_mean(const char *path);
/* The choice most like this word, NULL when none is near. */
const char *key_nearest_word(const char *words, const char *text, char out[32]);

/* A scalar as the row's type: number for BOOL, NUMBER, SIZE, TIME and WORD.  CONFIG with a
 * text that says what was expected.  TEXT, FILE and LIST only have their length checked. */
MUST_CHECK enum err_kind key_read(const struct key_info *info, const char *text, bool quoted,
                                  int64_t *number_out, struct err *e);

#endif
