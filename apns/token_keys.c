// SPDX-License-Identifier: Apache-2.0
#include "apns/token_keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "apns/opts.h"

struct token_key {
    int32_t id;
    struct crypt_sealer *sealer;
};

struct token_keys {
    int32_t current;
    size_t n;
    struct token_key key[];
};

/* What each half of a key's work is done with tells nothing of the other's. */
static void derive(const uint8_t key[TOKEN_KEY_BYTES], const char *what,
                   uint8_t out[SHA256_BYTES])
{
    crypt_hmac_sha256(key, TOKEN_KEY_BYTES, what, strlen(what), out);
}

static int32_t id_of(const uint8_t key[TOKEN_KEY_BYTES])
{
    uint8_t hash[SHA256_BYTES];
    derive(key, "xmpp-sidecar device token key id", hash);
    uint32_t id = (uint32_t)(hash[0] & 0x7f) << 24 | (uint32_t)hash[1] << 16 |
                  (uint32_t)hash[2] << 8 | hash[3];
    return id == TOKEN_IN_CLEAR ? 1 : (int32_t)id;
}

struct token_keys *token_keys_new(const struct token_key_opts *opts)
{
    size_t n = opts ? opts->n : 0;
    struct token_keys *k = calloc(1, sizeof *k + n * sizeof k->key[0]);
    if (!k)
        abort();
    k->n = n;
    for (size_t i = 0; i < n; i++) {
        uint8_t secret[SHA256_BYTES];
        derive(opts->keys[i], "xmpp-sidecar device token", secret);
        k->key[i] = (struct token_key){id_of(opts->keys[i]), crypt_sealer_new(secret)};
    }
    if (n > 0 && !opts->in_clear)
        k->current = k->key[0].id;
    return k;
}

void token_keys_free(struct token_keys **k)
{
    if (!*k)
        return;
    for (size_t i = 0; i < (*k)->n; i++)
        crypt_sealer_free(&(*k)->key[i].sealer);
    free(*k);
    *k = NULL;
}

int32_t token_keys_current(const struct token_keys *k)
{
    return k->current;
}

static const struct token_key *find(const struct token_keys *k, int32_t id)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->key[i].id == id)
            return &k->key[i];
    return NULL;
}

bool token_keys_has(const struct token_keys *k, int32_t id)
{
    return id == TOKEN_IN_CLEAR || find(k, id) != NULL;
}

size_t token_keys_seal(struct token_keys *k, const uint8_t device[16], const char *token,
                       uint8_t out[TOKEN_SEALED_MAX])
{
    size_t len = strlen(token);
    assert(k->current != TOKEN_IN_CLEAR && len <= DEVICE_TOKEN_MAX);
    crypt_sealer_seal(k->key[0].sealer, device, 16, token, len, out);
    return len + CRYPT_SEAL_BYTES;
}

bool token_keys_open(struct token_keys *k, int32_t id, const uint8_t device[16],
                     const uint8_t *sealed, size_t len, char token[DEVICE_TOKEN_MAX + 1])
{
    const struct token_key *key = find(k, id);
    assert(key);
    if (len < CRYPT_SEAL_BYTES || len > TOKEN_SEALED_MAX ||
        !crypt_sealer_open(key->sealer, device, 16, sealed, len, token))
        return false;
    token[len - CRYPT_SEAL_BYTES] = '\0';
    return true;
}
