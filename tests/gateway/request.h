// SPDX-License-Identifier: Apache-2.0
/*
 * One request as it came from the wire (header fields and body), and what the checks
 * made of it.  Knows no HTTP/2 and no socket.
 */
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GW_HEADER_LIST_MAX = 8000, /* what the gateway announces, counted as RFC 9113 does */
    GW_BODY_KEPT_MAX = 8192,   /* beyond the largest payload; more is only counted */
    GW_TOKEN_HEX = 64,         /* Apple's */
    GW_TOKEN_MAX = 255,        /* Google's */
    GW_COLLAPSE_MAX = 127,
    GW_FIELD_PATH_MAX = 96
};

struct gw_field {
    uint32_t name, value; /* offsets into text */
};

struct gw_request {
    char *text;
    size_t text_len, text_cap;
    struct gw_field *fields;
    size_t n_fields, fields_cap;
    size_t list_bytes;
    uint8_t *body;
    size_t body_len; /* all that arrived */
    size_t body_kept, body_cap;
};

/* False when the header list has become too large; the field is then not kept. */
bool gw_request_add_field(struct gw_request *r, const uint8_t *name, size_t name_len,
                          const uint8_t *value, size_t value_len);
void gw_request_add_body(struct gw_request *r, const uint8_t *data, size_t len);
/* NULL when there is none; the first when there are several. */
const char *gw_request_header(const struct gw_request *r, const char *name);
/* Name of a header that is there twice, or NULL. */
const char *gw_request_duplicate(const struct gw_request *r);
void gw_request_deinit(struct gw_request *r);

/* What a request says, as far as the checks came.  Text belongs to the request. */
struct gw_push {
    char token[GW_TOKEN_MAX + 1]; /* Apple's in lower case; cut off when it is longer */
    const char *apns_id, *topic, *collapse_id, *push_type;
    bool payload_valid; /* RFC 8259, whatever it says */
    bool has_expiration;
    int64_t expiration_s;
    int priority;
    bool has_alert, has_badge;
    int64_t badge;
    unsigned kept; /* how many a phone that is off has stored for it, each under its own key */
    bool binary;   /* the body is no text */
    unsigned jwt;  /* number of the provider or access token, 0 when none is valid */
    char kept_collapse[GW_COLLAPSE_MAX + 1]; /* what collapse_id points to, for FCM */
};

struct gw_verdict {
    int status;                    /* 200 when the push passed; 0 when it is not answered */
    const char *reason;            /* NULL with 200 */
    int64_t timestamp_ms;          /* with 410, else 0 */
    char field[GW_FIELD_PATH_MAX]; /* FCM: which one is wrong, "" for none */
};

#endif
