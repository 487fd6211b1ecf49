// SPDX-License-Identifier: Apache-2.0
#include "sidecar/unified_push_token.h"

#include <assert.h>
#include <string.h>

#include "base/crypt.h"

#define HEAD_BYTES (8 + 2 * UP_HASH_BYTES)
#define PLAIN_MAX (HEAD_BYTES + UP_JID_MAX)
#define SEALED_MAX (PLAIN_MAX + CRYPT_SEAL_BYTES)

_Static_assert(4 * ((SEALED_MAX + 2) / 3) + 1 <= UP_TOKEN_BYTES, "a token has room");

bool up_read_hash(const char *text, uint8_t out[UP_HASH_BYTES])
{
    char url[UP_HASH_TEXT_BYTES];
    if (!text || strlen(text) != UP_HASH_TEXT_BYTES - 1 || text[UP_HASH_TEXT_BYTES - 2] != '=')
        return false;
    for (size_t i = 0; i < UP_HASH_TEXT_BYTES - 2; i++) {
        if (text[i] == '-' || text[i] == '_')
            return false;
        url[i] = text[i];
        if (text[i] == '+')
            url[i] = '-';
        if (text[i] == '/')
            url[i] = '_';
    }
    url[UP_HASH_TEXT_BYTES - 2] = '\0';
    return crypt_base64url_decode(url, out, UP_HASH_BYTES);
}

void up_seal(const uint8_t key[32], const struct up_registration *r, char out[UP_TOKEN_BYTES])
{
    uint8_t plain[PLAIN_MAX], sealed[SEALED_MAX];
    size_t jid_len = strlen(r->jid);
    assert(jid_len <= UP_JID_MAX);
    for (size_t i = 0; i < 8; i++)
        plain[i] = (uint8_t)((uint64_t)r->until_s >> (56 - 8 * i));
    memcpy(plain + 8, r->application, UP_HASH_BYTES);
    memcpy(plain + 8 + UP_HASH_BYTES, r->instance, UP_HASH_BYTES);
    memcpy(plain + HEAD_BYTES, r->jid, jid_len);
    crypt_seal(key, plain, HEAD_BYTES + jid_len, sealed);
    crypt_base64url(sealed, HEAD_BYTES + jid_len + CRYPT_SEAL_BYTES, out);
}

bool up_open(const uint8_t key[32], const char *token, struct up_registration *out)
{
    uint8_t plain[PLAIN_MAX], sealed[SEALED_MAX];
    size_t len = strlen(token) / 4 * 3 + (strlen(token) % 4 ? strlen(token) % 4 - 1 : 0);
    if (len < HEAD_BYTES + CRYPT_SEAL_BYTES || len > SEALED_MAX ||
        !crypt_base64url_decode(token, sealed, len) || !crypt_unseal(key, sealed, len, plain))
        return false;
    size_t jid_len = len - HEAD_BYTES - CRYPT_SEAL_BYTES;
    uint64_t until = 0;
    for (size_t i = 0; i < 8; i++)
        until = until << 8 | plain[i];
    out->until_s = (int64_t)until;
    memcpy(out->application, plain + 8, UP_HASH_BYTES);
    memcpy(out->instance, plain + 8 + UP_HASH_BYTES, UP_HASH_BYTES);
    memcpy(out->jid, plain + HEAD_BYTES, jid_len);
    out->jid[jid_len] = '\0';
    return true;
}
