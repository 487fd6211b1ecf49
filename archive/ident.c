// SPDX-License-Identifier: Apache-2.0
#include "archive/ident.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypt.h"
#include "store/pg.h"

/* JID to owner is asked for every message and costs an HMAC: the last answers are kept. */
#define CACHE_SLOTS 32768 /* 3 MiB; a power of two */
#define CACHE_JID_MAX 79

struct cached {
    uint8_t owner[OWNER_BYTES];
    char jid[CACHE_JID_MAX + 1]; /* "" = empty */
};

struct ident {
    struct ident_keys keys;
    struct crypt_aes *aes;
    struct crypt_hmac *owner_hmac;
    uint8_t content_key[16];
    struct cached cache[CACHE_SLOTS];
};

/* What a hash is of comes first in its input, so that no two sorts can be mistaken. */
enum sort { SORT_PEER = 1, SORT_REF, SORT_REF_BODY, SORT_TAG };

int64_t ident_id_from_us(int64_t real_us)
{
    if (real_us <= IDENT_EPOCH_US)
        return 0;
    int64_t us = real_us - IDENT_EPOCH_US;
    return us > INT64_MAX >> 8 ? INT64_MAX : us << 8;
}

int64_t ident_us_from_id(int64_t id)
{
    return (id >> 8) + IDENT_EPOCH_US;
}

struct ident *ident_new(const struct ident_keys *keys)
{
    assert(keys->lanes >= 1 && keys->lanes <= IDENT_LANES_MAX &&
           (keys->lanes & (keys->lanes - 1)) == 0);
    struct ident *i = calloc(1, sizeof *i);
    if (!i)
        abort();
    i->keys = *keys;
    i->aes = crypt_aes_new(keys->archive);
    i->owner_hmac = crypt_hmac_new(keys->owner, sizeof keys->owner);
    for (size_t n = 0; n < sizeof i->content_key; n++)
        i->content_key[n] = keys->hash[n] ^ 0x5c;
    return i;
}

void ident_free(struct ident **i)
{
    if (!*i)
        return;
    crypt_aes_free(&(*i)->aes);
    crypt_hmac_free(&(*i)->owner_hmac);
    free(*i);
    *i = NULL;
}

const struct pg_statement ident_statement = {
    "ident", "SELECT name, value FROM xs.setting"
             " WHERE name IN ('key.owner', 'key.hash', 'key.archive', 'lanes')"};

void ident_derive(const struct ident *i, const char *purpose, uint8_t out[32])
{
    /* JIDs are hashed with the same key: none begins with a NUL. */
    char text[64] = {0};
    size_t len = strlen(purpose);
    assert(len + 1 <= sizeof text);
    for (size_t n = 0; n < len; n++)
        text[1 + n] = purpose[n];
    crypt_hmac_sha256(i->keys.owner, sizeof i->keys.owner, text, len + 1, out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static bool read_hex(const char *text, uint8_t *out, size_t len)
{
    if (strlen(text) != 2 * len)
        return false;
    for (size_t n = 0; n < len; n++) {
        int high = hex_digit(text[2 * n]), low = hex_digit(text[2 * n + 1]);
        if (high < 0 || low < 0)
            return false;
        out[n] = (uint8_t)(high << 4 | low);
    }
    return true;
}

enum err_kind ident_keys_read(struct ident_keys *out, const struct pg_result *r, struct err *e)
{
    unsigned seen = 0;
    *out = (struct ident_keys){0};
    for (int row = 0; row < pg_rows(r); row++) {
        const char *name = pg_text(r, row, 0), *value = pg_text(r, row, 1);
        bool good = false;
        if (strcmp(name, "key.owner") == 0) {
            good = read_hex(value, out->owner, sizeof out->owner);
        } else if (strcmp(name, "key.hash") == 0) {
            good = read_hex(value, out->hash, sizeof out->hash);
        } else if (strcmp(name, "key.archive") == 0) {
            good = read_hex(value, out->archive, sizeof out->archive);
        } else if (strcmp(name, "lanes") == 0) {
            long n = strtol(value, NULL, 10);
            good = n >= 1 && n <= IDENT_LANES_MAX && (n & (n - 1)) == 0;
            out->lanes = good ? (unsigned)n : 0;
        }
        if (!good)
            return err_set(e, ERR_CONFIG, "the setting %s in the database is broken", name);
        seen++;
    }
    if (seen != 4)
        return err_set(e, ERR_CONFIG, "the database has lost its keys (xs.setting)");
    return ERR_NONE;
}

static void owner_of(const struct ident *i, const char *bare, size_t len, uint8_t *owner_out)
{
    uint8_t mac[SHA256_BYTES];
    crypt_hmac(i->owner_hmac, bare, len, mac);
    memcpy(owner_out, mac, OWNER_BYTES);
    owner_out[6] = (uint8_t)((owner_out[6] & 0x0f) | 0x80); /* RFC 9562: version 8 */
    owner_out[8] = (uint8_t)((owner_out[8] & 0x3f) | 0x80);
}

void ident_owner(struct ident *i, const char *bare, uint8_t owner_out[OWNER_BYTES])
{
    size_t len = strlen(bare);
    if (len == 0 || len > CACHE_JID_MAX) {
        owner_of(i, bare, len, owner_out);
        return;
    }
    struct cached *c = &i->cache[crypt_siphash(i->keys.hash, bare, len) & (CACHE_SLOTS - 1)];
    if (strcmp(c->jid, bare) != 0) {
        memcpy(c->jid, bare, len + 1);
        owner_of(i, bare, len, c->owner);
    }
    memcpy(owner_out, c->owner, OWNER_BYTES);
}

unsigned ident_lane(const struct ident *i, const uint8_t owner[OWNER_BYTES])
{
    return owner[0] & (i->keys.lanes - 1);
}

unsigned ident_lanes(const struct ident *i)
{
    return i->keys.lanes;
}

/* head is up to 32 bytes; what follows may be long, and short ones need no memory. */
static uint64_t hash(const struct ident *i, const uint8_t *head, size_t head_len,
                     const void *text, size_t len)
{
    uint8_t small[512], *all = small;
    if (head_len + len > sizeof small && !(all = malloc(head_len + len)))
        abort();
    memcpy(all, head, head_len);
    memcpy(all + head_len, text, len);
    uint64_t h = crypt_siphash(i->keys.hash, all, head_len + len);
    if (all != small)
        free(all);
    return h;
}

uint64_t ident_peer(const struct ident *i, const uint8_t owner[OWNER_BYTES], const char *bare)
{
    uint8_t head[1 + OWNER_BYTES] = {SORT_PEER};
    memcpy(head + 1, owner, OWNER_BYTES);
    uint64_t h = hash(i, head, sizeof head, bare, strlen(bare));
    return h ? h : 1;
}

/* The same bytes on every machine: hashes outlive the one that made them. */
static void put_u64(uint8_t out[8], uint64_t v)
{
    for (int n = 0; n < 8; n++)
        out[n] = (uint8_t)(v >> (56 - 8 * n));
}

static uint64_t get_u64(const uint8_t in[8])
{
    uint64_t v = 0;
    for (int n = 0; n < 8; n++)
        v = v << 8 | in[n];
    return v;
}

static void ref_head(uint8_t head[10], enum sort sort, uint64_t peer, bool outgoing)
{
    head[0] = (uint8_t)sort;
    head[1] = outgoing;
    put_u64(head + 2, peer);
}

uint64_t ident_ref(const struct ident *i, uint64_t peer, bool outgoing, const char *id)
{
    uint8_t head[10];
    ref_head(head, SORT_REF, peer, outgoing);
    return hash(i, head, sizeof head, id, strlen(id));
}

uint64_t ident_ref_of_body(const struct ident *i, uint64_t peer, bool outgoing, uint64_t body)
{
    uint8_t head[10], raw[8];
    ref_head(head, SORT_REF_BODY, peer, outgoing);
    put_u64(raw, body);
    return hash(i, head, sizeof head, raw, sizeof raw);
}

void ident_ref_key(const uint8_t owner[OWNER_BYTES], uint64_t ref, uint8_t out[16])
{
    memcpy(out, owner, 8);
    for (int i = 0; i < 8; i++)
        out[8 + i] = (uint8_t)(ref >> (56 - 8 * i));
}

uint64_t ident_content(const struct ident *i, const void *content, size_t len)
{
    /* Long, so it is not copied behind a head: a key of its own sets it apart. */
    return crypt_siphash(i->content_key, content, len);
}

/* Binds an id to its owner: 8 bytes that another owner's id cannot have by chance. */
static void owner_tag(const struct ident *i, const uint8_t owner[OWNER_BYTES], uint8_t out[8])
{
    uint8_t head[1 + OWNER_BYTES] = {SORT_TAG};
    memcpy(head + 1, owner, OWNER_BYTES);
    put_u64(out, hash(i, head, sizeof head, "", 0));
}

void ident_archive_id(const struct ident *i, const uint8_t owner[OWNER_BYTES], int64_t id,
                      char out[ARCHIVE_ID_BYTES])
{
    uint8_t block[16], sealed[16];
    put_u64(block, (uint64_t)id);
    owner_tag(i, owner, block + 8);
    crypt_aes_encrypt(i->aes, block, sealed);
    uuid_format(sealed, out);
}

bool ident_archive_id_parse(const struct ident *i, const uint8_t owner[OWNER_BYTES],
                            const char *text, int64_t *id_out)
{
    uint8_t block[16], sealed[16], tag[8];
    if (!uuid_parse(text, sealed))
        return false;
    crypt_aes_decrypt(i->aes, sealed, block);
    owner_tag(i, owner, tag);
    if (!crypt_same(tag, sizeof tag, block + 8, 8))
        return false;
    *id_out = (int64_t)get_u64(block);
    return *id_out >= 0;
}

void ident_seal(const struct ident *i, int64_t a, uint64_t b, char out[ARCHIVE_ID_BYTES])
{
    uint8_t block[16], sealed[16];
    put_u64(block, (uint64_t)a);
    put_u64(block + 8, b);
    crypt_aes_encrypt(i->aes, block, sealed);
    uuid_format(sealed, out);
}

bool ident_unseal(const struct ident *i, const char *text, int64_t *a_out, uint64_t *b_out)
{
    uint8_t block[16], sealed[16];
    if (!uuid_parse(text, sealed))
        return false;
    crypt_aes_decrypt(i->aes, sealed, block);
    *a_out = (int64_t)get_u64(block);
    *b_out = get_u64(block + 8);
    return true;
}
