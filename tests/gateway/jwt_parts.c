// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/jwt_parts.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "tests/gateway/text.h"

static int base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool gw_base64url_decode(const char *s, size_t len, uint8_t *out, size_t *len_out)
{
    uint32_t bits = 0;
    size_t i, n = 0;
    int digit, have = 0;

    if (len == 0 || len % 4 == 1)
        return false;
    for (i = 0; i < len; i++) {
        digit = base64url_digit(s[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    *len_out = n;
    return true;
}

static cJSON *decode_object(const char *s, size_t len)
{
    uint8_t json[GW_JWT_TEXT_MAX];
    size_t n;
    cJSON *root;

    if (!gw_base64url_decode(s, len, json, &n) || !gw_json_valid(json, n))
        return NULL;
    root = cJSON_ParseWithLength((const char *)json, n);
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

bool gw_jwt_split(const char *text, struct cJSON **header_out, struct cJSON **claims_out,
                  uint8_t *sig_out, size_t *sig_len_out, size_t *signed_len_out)
{
    const char *claims = strchr(text, '.'), *sig;

    if (claims == NULL || strlen(text) > GW_JWT_TEXT_MAX)
        return false;
    sig = strchr(++claims, '.');
    if (sig == NULL || strchr(++sig, '.') != NULL)
        return false;
    if (!gw_base64url_decode(sig, strlen(sig), sig_out, sig_len_out))
        return false;
    *signed_len_out = (size_t)(sig - text) - 1;
    *header_out = decode_object(text, (size_t)(claims - text) - 1);
    *claims_out = decode_object(claims, (size_t)(sig - claims) - 1);
    if (*header_out != NULL && *claims_out != NULL)
        return true;
    cJSON_Delete(*header_out);
    cJSON_Delete(*claims_out);
    return false;
}

const char *gw_json_text(const struct cJSON *object, const char *name)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsString(m) ? m->valuestring : NULL;
}

bool gw_json_seconds(const struct cJSON *object, const char *name, int64_t *out)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(object, name);

    if (!cJSON_IsNumber(m) || m->valuedouble < 0 || m->valuedouble > 1e12 ||
        (double)(int64_t)m->valuedouble != m->valuedouble)
        return false;
    *out = (int64_t)m->valuedouble;
    return true;
}
