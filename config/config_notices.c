// SPDX-License-Identifier: Apache-2.0
#include "config/config_int.h"

#include <string.h>

#include "base/arena.h"
#include "base/notice.h"

static const char *template_of(struct reader *r, int i, enum key k)
{
    const char *text = r->p->notices[i][k].text;
    if (text && !notice_template_is_good(text))
        complain_key(r, k, i, "%s: braces are for names of fields, as in \"Order {number}\"",
                     key_table[k].path);
    return text;
}

/* "orders/" of "orders/\*"; a star anywhere else would be taken for one of these. */
static void build_node(struct reader *r, int i, struct notice_opts *o)
{
    const char *node = r->p->notices[i][KEY_NOTICE_NODE].text;
    const char *star = node ? strchr(node, '*') : NULL;
    o->node = node;
    if (node && r->config->component.server == SERVER_OPENFIRE)
        complain_key(r, KEY_NOTICE_NODE, i,
                     "push.notices[].node: the copies that Openfire makes of events do not "
                     "say whom they are for");
    if (!star)
        return;
    size_t len = (size_t)(star - node);
    if (star[1] || len < 2 || star[-1] != '/')
        complain_key(r, KEY_NOTICE_NODE, i,
                     "push.notices[].node: expected a node, or a prefix as in \"orders/*\"");
    o->below = true;
    o->node = config_must(arena_strndup(r->p->arena, node, len));
}

static void build_notice(struct reader *r, int i, struct notice_opts *o)
{
    const struct value *v = r->p->notices[i];
    if (!v[KEY_NOTICE_FROM].item)
        complain_key(r, KEY_NOTICE_FROM, i, "push.notices[].from is missing");
    const char *from = config_domain(r, KEY_NOTICE_FROM, i, v[KEY_NOTICE_FROM].text);
    *o = (struct notice_opts){
        .from = from ? from : "",
        .title = template_of(r, i, KEY_NOTICE_TITLE),
        .body = template_of(r, i, KEY_NOTICE_BODY),
        .count = v[KEY_NOTICE_COUNT].number,
        .push =
            v[KEY_NOTICE_PUSH].item ? v[KEY_NOTICE_PUSH].number : v[KEY_NOTICE_COUNT].number,
    };
    build_node(r, i, o);
    if (o->push && !o->count)
        complain_key(r, KEY_NOTICE_PUSH, i,
                     "push.notices[].push: what is not counted is not pushed either");
}

void config_build_notices(struct reader *r)
{
    struct notice_opts *of =
        config_must(arena_alloc(r->p->arena, (r->p->notices_n + 1) * sizeof *of));
    for (size_t i = 0; i < r->p->notices_n; i++)
        build_notice(r, (int)i, &of[i]);
    r->config->push.notices = (struct notice_list){of, r->p->notices_n};
}
