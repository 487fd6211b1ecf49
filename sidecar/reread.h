// SPDX-License-Identifier: Apache-2.0
/*
 * A stanza that was kept as it came, read again as it would be today: by today's limits, in
 * the namespaces of its stream's header.
 */
#ifndef SIDECAR_REREAD_H
#define SIDECAR_REREAD_H

#include "archive/quarantine.h"
#include "base/err.h"

struct adapter;
struct xml_parse_opts;

/* Calls event for each of its events, none or more, before it returns.  REJECT when the bytes
 * are not exactly one stanza within the limits, or its addresses are none. */
MUST_CHECK enum err_kind reread_stanza(const struct adapter *a,
                                       const struct xml_parse_opts *limits,
                                       const struct quarantine_stanza *s,
                                       quarantine_event_fn event, void *ctx, struct err *e);

#endif
