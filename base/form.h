// SPDX-License-Identifier: Apache-2.0
/*
 * Data forms (XEP-0004).  Reading ignores field types, which clients get wrong.  Writing makes
 * the element.
 */
#ifndef BASE_FORM_H
#define BASE_FORM_H

#include <stdbool.h>

#include "base/stanza.h"

#define NS_DATA_FORMS "jabber:x:data"

/* The <x xmlns='jabber:x:data'> child of parent, NULL when there is none. */
struct stanza *form_find(const struct stanza *parent);
/* The form's type attribute, "submit" when it is missing. */
const char *form_type(const struct stanza *x);
/* First value of the field; NULL when the field is absent, "" when it has no value. */
const char *form_value(const struct stanza *x, const char *var);
/* The field's element, to walk its <value/> children; NULL when absent. */
struct stanza *form_field(const struct stanza *x, const char *var);

/* <x type=...> below parent; form_type_value, when not NULL, becomes the hidden FORM_TYPE. */
struct stanza *form_add(struct stanza *parent, const char *type, const char *form_type_value);
/* A field with its type attribute (NULL: none) and one value (NULL: no <value/>). */
struct stanza *form_add_field(struct stanza *x, const char *var, const char *type,
                              const char *value);
/* What a person reads: of the form, of a field, of one of the values to choose from. */
void form_set_title(struct stanza *x, const char *title);
void form_set_label(struct stanza *field, const char *label);
void form_add_option(struct stanza *field, const char *label, const char *value);
void form_add_value(struct stanza *field, const char *value);

#endif
