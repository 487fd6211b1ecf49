// SPDX-License-Identifier: Apache-2.0
#include "base/form.h"

#include <string.h>

struct stanza *form_find(const struct stanza *parent)
{
    return stanza_child(parent, "x", NS_DATA_FORMS);
}

const char *form_type(const struct stanza *x)
{
    const char *type = stanza_get(x, "type");
    return type ? type : "submit";
}

struct stanza *form_field(const struct stanza *x, const char *var)
{
    struct stanza *f = stanza_child(x, "field", NS_DATA_FORMS);
    for (; f; f = stanza_sibling(f, "field", NS_DATA_FORMS)) {
        const char *its = stanza_get(f, "var");
        if (its && strcmp(its, var) == 0)
            return f;
    }
    return NULL;
}

const char *form_value(const struct stanza *x, const char *var)
{
    const struct stanza *f = form_field(x, var);
    if (!f)
        return NULL;
    const char *value = stanza_child_text(f, "value", NS_DATA_FORMS);
    return value ? value : "";
}

struct stanza *form_add(struct stanza *parent, const char *type, const char *form_type_value)
{
    struct stanza *x = stanza_add(parent, "x", NS_DATA_FORMS);
    stanza_set(x, "type", type);
    if (form_type_value)
        form_add_field(x, "FORM_TYPE", "hidden", form_type_value);
    return x;
}

struct stanza *form_add_field(struct stanza *x, const char *var, const char *type,
                              const char *value)
{
    struct stanza *field = stanza_add(x, "field", NS_DATA_FORMS);
    stanza_set(field, "var", var);
    if (type)
        stanza_set(field, "type", type);
    if (value)
        form_add_value(field, value);
    return field;
}

void form_add_value(struct stanza *field, const char *value)
{
    stanza_add_leaf(field, "value", NS_DATA_FORMS, value);
}

void form_set_title(struct stanza *x, const char *title)
{
    stanza_add_leaf(x, "title", NS_DATA_FORMS, title);
}

void form_set_label(struct stanza *field, const char *label)
{
    stanza_set(field, "label", label);
}

void form_add_option(struct stanza *field, const char *label, const char *value)
{
    struct stanza *option = stanza_add(field, "option", NS_DATA_FORMS);
    stanza_set(option, "label", label);
    stanza_add_leaf(option, "value", NS_DATA_FORMS, value);
}
