// SPDX-License-Identifier: Apache-2.0
/* What report.h tells of the gaps that are filled; nothing where that is off. */
#ifndef SIDECAR_REPORT_FILL_H
#define SIDECAR_REPORT_FILL_H

struct buf;
struct cJSON;
struct fill_status;

void report_fill_json(const struct fill_status *f, struct cJSON *to);
void report_fill_text(const struct fill_status *f, struct buf *out);
void report_fill_metrics(const struct fill_status *f, struct buf *out);

#endif
