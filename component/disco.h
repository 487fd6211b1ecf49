// SPDX-License-Identifier: Apache-2.0
/*
 * Service discovery (XEP-0030) of the component's own address, the nested nodes by which a
 * server asks what to show for a delegated namespace, ping (XEP-0199) and version (XEP-0092).
 */
#ifndef COMPONENT_DISCO_H
#define COMPONENT_DISCO_H

#include <stdbool.h>
#include <stddef.h>

struct adapter;
struct adhoc;
struct delegation;
struct iq_request;

#define DISCO_FEATURES_MAX 512

struct disco_feature {
    const char *ns; /* the delegated namespace that it belongs to, NULL: our own */
    const char *var;
};

struct disco {
    const struct adapter *adapter; /* all borrowed */
    const struct adhoc *adhoc;
    const struct delegation *delegation;
    /* That host has delegated the namespace (its place in delegation) to us. */
    bool (*delegated)(void *ctx, const char *host, int ns);
    void *ctx;
    struct disco_feature features[DISCO_FEATURES_MAX];
    size_t features_n;
};

void disco_add_feature(struct disco *d, const char *ns, const char *feature);
/* Each ends the request. */
void disco_info(const struct disco *d, struct iq_request *r);
void disco_items(const struct disco *d, struct iq_request *r);
void disco_ping(struct iq_request *r);
void disco_version(struct iq_request *r);

#endif
