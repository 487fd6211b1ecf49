// SPDX-License-Identifier: Apache-2.0
/* The part of a report that the shared page tells, also when no worker answers. */
#ifndef SIDECAR_REPORT_PAGE_H
#define SIDECAR_REPORT_PAGE_H

struct config;
struct page;
struct report;

/* r is zeroed memory; strings are borrowed from config. */
void report_from_page(struct report *r, const struct page *page, const struct config *config);

#endif
