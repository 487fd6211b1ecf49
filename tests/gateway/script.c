// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/script.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tests/gateway/text.h"

enum { PENDING_MAX = 100000, DELAY_MAX_MS = 600000, CODE_MAX = 13 };

struct step {
    struct gw_action action;
    STAILQ_ENTRY(step) next;
};

STAILQ_HEAD(step_list, step);

struct script {
    char *token;
    struct step_list steps;
    LIST_ENTRY(script) next;
};

struct gw_scripts {
    LIST_HEAD(, script) list;
    size_t pending;
};

struct gw_scripts *gw_scripts_new(void)
{
    struct gw_scripts *s = gw_alloc(sizeof(*s));

    LIST_INIT(&s->list);
    return s;
}

static void steps_free(struct step_list *steps)
{
    struct step *st;

    while ((st = STAILQ_FIRST(steps)) != NULL) {
        STAILQ_REMOVE_HEAD(steps, next);
        free(st);
    }
}

static void script_remove(struct script *sc)
{
    LIST_REMOVE(sc, next);
    steps_free(&sc->steps);
    free(sc->token);
    free(sc);
}

void gw_scripts_reset(struct gw_scripts *s)
{
    while (!LIST_EMPTY(&s->list))
        script_remove(LIST_FIRST(&s->list));
    s->pending = 0;
}

void gw_scripts_free(struct gw_scripts **s)
{
    if (*s == NULL)
        return;
    gw_scripts_reset(*s);
    free(*s);
    *s = NULL;
}

static bool get_int(const cJSON *item, int min, int max, int *out)
{
    if (!cJSON_IsNumber(item) || item->valuedouble < min || item->valuedouble > max)
        return false;
    *out = (int)item->valuedouble;
    return true;
}

static bool get_text(const cJSON *item, char *out, size_t size)
{
    if (!cJSON_IsString(item) || strlen(item->valuestring) >= size)
        return false;
    snprintf(out, size, "%s", item->valuestring);
    return true;
}

static bool get_goaway(const cJSON *item, struct gw_action *a)
{
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(item, "reason");
    const cJSON *last = cJSON_GetObjectItemCaseSensitive(item, "last");

    if (reason != NULL && !get_text(reason, a->reason, sizeof(a->reason)))
        return false;
    if (!cJSON_IsString(last))
        return false;
    if (strcmp(last->valuestring, "before") == 0)
        a->kind = GW_ACT_GOAWAY_BEFORE;
    else if (strcmp(last->valuestring, "after") == 0)
        a->kind = GW_ACT_GOAWAY_AFTER;
    else
        return false;
    return true;
}

/* One member that says what to do; kinds counts them, exactly one must be there. */
static bool parse_kind(const cJSON *item, struct gw_action *a, int *kinds)
{
    const char *name = item->string;
    int code;

    if (strcmp(name, "status") == 0) {
        a->kind = GW_ACT_ANSWER;
        ++*kinds;
        return get_int(item, 200, 599, &a->status);
    }
    if (strcmp(name, "silence") == 0) {
        a->kind = GW_ACT_SILENCE;
    } else if (strcmp(name, "refuse_stream") == 0) {
        a->kind = GW_ACT_RESET;
        a->code = 7;
    } else if (strcmp(name, "two_step_goaway") == 0) {
        a->kind = GW_ACT_TWO_STEP;
    } else if (strcmp(name, "reset_stream") == 0) {
        a->kind = GW_ACT_RESET;
        ++*kinds;
        if (!get_int(item, 0, CODE_MAX, &code))
            return false;
        a->code = (uint32_t)code;
        return true;
    } else if (strcmp(name, "goaway") == 0) {
        ++*kinds;
        return get_goaway(item, a);
    } else if (strcmp(name, "cut") == 0 && cJSON_IsString(item)) {
        ++*kinds;
        a->kind = strcmp(item->valuestring, "before_answer") == 0 ? GW_ACT_CUT_BEFORE
                                                                  : GW_ACT_CUT_AFTER;
        return a->kind == GW_ACT_CUT_BEFORE || strcmp(item->valuestring, "after_answer") == 0;
    } else {
        return false;
    }
    ++*kinds;
    return cJSON_IsTrue(item);
}

static bool parse_member(const cJSON *item, struct gw_action *a, int *kinds)
{
    const char *name = item->string;

    if (strcmp(name, "times") == 0)
        return get_int(item, -1, 1000000000, &a->times) && a->times != 0;
    if (strcmp(name, "delay_ms") == 0)
        return get_int(item, 0, DELAY_MAX_MS, &a->delay_ms);
    if (strcmp(name, "gap_ms") == 0)
        return get_int(item, 0, DELAY_MAX_MS, &a->gap_ms);
    if (strcmp(name, "retry_after") == 0)
        return get_int(item, 0, 1000000, &a->retry_after_s);
    if (strcmp(name, "retry_as_date") == 0) {
        a->retry_as_date = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    }
    if (strcmp(name, "reason") == 0)
        return get_text(item, a->reason, sizeof(a->reason));
    if (strcmp(name, "field") == 0)
        return get_text(item, a->field, sizeof(a->field));
    if (strcmp(name, "location") == 0)
        return get_text(item, a->location, sizeof(a->location));
    if (strcmp(name, "body") == 0)
        return get_text(item, a->body, sizeof(a->body));
    if (strcmp(name, "hold") == 0) {
        a->hold = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    }
    if (strcmp(name, "deliver") == 0) {
        a->deliver = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    }
    if (strcmp(name, "timestamp_ms") == 0) {
        a->timestamp_ms = cJSON_IsNumber(item) ? (int64_t)item->valuedouble : 0;
        return a->timestamp_ms > 0;
    }
    return parse_kind(item, a, kinds);
}

static bool parse_action(const cJSON *object, struct gw_action *a)
{
    const cJSON *item;
    int kinds = 0;

    *a = (struct gw_action){
        .kind = GW_ACT_ANSWER, .times = 1, .status = 200, .retry_after_s = -1, .gap_ms = 100};
    if (!cJSON_IsObject(object))
        return false;
    cJSON_ArrayForEach(item, object)
    {
        if (!parse_member(item, a, &kinds))
            return false;
    }
    /* A delay alone is an answer 200 that comes late. */
    return kinds == 1 || (kinds == 0 && (a->delay_ms > 0 || a->hold));
}

static struct script *find(struct gw_scripts *s, const char *token)
{
    struct script *sc;

    LIST_FOREACH(sc, &s->list, next)
    if (strcmp(sc->token, token) == 0)
        return sc;
    return NULL;
}

const char *gw_scripts_add(struct gw_scripts *s, const char *token,
                           const struct cJSON *actions)
{
    struct step_list steps = STAILQ_HEAD_INITIALIZER(steps);
    struct gw_action a;
    struct script *sc;
    struct step *st;
    const cJSON *item;
    size_t n = 0;

    if (!cJSON_IsArray(actions) || cJSON_GetArraySize(actions) == 0)
        return "actions must be an array with something in it";
    cJSON_ArrayForEach(item, actions)
    {
        if (!parse_action(item, &a) || s->pending + n == PENDING_MAX) {
            steps_free(&steps);
            return "an action that is not understood, or too many of them";
        }
        st = gw_alloc(sizeof(*st));
        st->action = a;
        STAILQ_INSERT_TAIL(&steps, st, next);
        n++;
    }
    sc = find(s, token);
    if (sc == NULL) {
        sc = gw_alloc(sizeof(*sc));
        sc->token = gw_strdup(token);
        STAILQ_INIT(&sc->steps);
        LIST_INSERT_HEAD(&s->list, sc, next);
    }
    STAILQ_CONCAT(&sc->steps, &steps);
    s->pending += n;
    return NULL;
}

bool gw_scripts_take(struct gw_scripts *s, const char *token, struct gw_action *action_out)
{
    struct script *sc;
    struct step *st;

    if (LIST_EMPTY(&s->list))
        return false;
    sc = find(s, token);
    if (sc == NULL && strcmp(token, GW_SCRIPT_OAUTH) != 0)
        sc = find(s, "*");
    if (sc == NULL)
        return false;
    st = STAILQ_FIRST(&sc->steps);
    *action_out = st->action;
    if (st->action.times > 0 && --st->action.times == 0) {
        STAILQ_REMOVE_HEAD(&sc->steps, next);
        free(st);
        s->pending--;
        if (STAILQ_EMPTY(&sc->steps))
            script_remove(sc);
    }
    return true;
}

size_t gw_scripts_pending(const struct gw_scripts *s)
{
    return s->pending;
}
