# SPDX-License-Identifier: Apache-2.0
"""What clients that cannot run here send to an archive: the stanza, with {places} to fill in.

`to` is " to='…'" or nothing; dates are in the form in which that client writes them.
"""

FORM_TYPE = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
SET = "<set xmlns='http://jabber.org/protocol/rsm'>"


def _query(queryid, form, paging, to="{to}"):
    """An <iq/> with id {id}; each part may be left out."""
    attribute = f" queryid='{queryid}'" if queryid else ""
    if form is not None:
        form = f"<x xmlns='jabber:x:data' type='submit'>{form}</x>"
    if paging is not None:
        paging = f"{SET}{paging}</set>"
    return (f"<iq type='set' id='{{id}}'{to}><query xmlns='urn:xmpp:mam:2'{attribute}>"
            f"{form or ''}{paging or ''}</query></iq>")


def _field(var, value, kind=""):
    return f"<field var='{var}'{kind}><value>{value}</value></field>"


OWN = " to='{own}'"

# XMPPFramework: the form always, a new id for each page, no address for the own account.
XMPPFRAMEWORK_FORM = "<iq type='get' id='{id}'{to}><query xmlns='urn:xmpp:mam:2'/></iq>"
XMPPFRAMEWORK_FIRST = _query("{id}-q", FORM_TYPE, "<max>20</max>")
XMPPFRAMEWORK_NEXT = _query("{id}-q", FORM_TYPE, "<max>20</max><after>{anchor}</after>")
XMPPFRAMEWORK_LAST_PAGE = _query("{id}-q", FORM_TYPE, "<max>20</max><before/>")
XMPPFRAMEWORK_PREF = "<iq type='get' id='{id}'><pref xmlns='urn:xmpp:archive'/></iq>"

# ChatSecure: since when it last asked; no size of pages at all.
_CHATSECURE = FORM_TYPE + _field("start", "{start}") + _field("with", "{peer}")
CHATSECURE_FIRST = _query("{id}-q", _CHATSECURE, None)
CHATSECURE_NEXT = _query("{id}-q", _CHATSECURE, "<after>{anchor}</after>")

# Smack: types on every field; for a count, or a page size of 0, no paging at all.
_SMACK = FORM_TYPE + _field("with", "{peer}", " type='jid-single'")
SMACK_FORM = "<iq id='{id}' type='get' to='{own}'><query xmlns='urn:xmpp:mam:2'/></iq>"
SMACK_PAGE = _query("{id}-q", _SMACK, "<max>10</max>", OWN)
SMACK_NEXT = _query("{id}-q", _SMACK, "<max>10</max><after>{anchor}</after>", OWN)
SMACK_PREVIOUS = _query("{id}-q", _SMACK, "<max>10</max><before>{anchor}</before>", OWN)
SMACK_LAST_PAGE = _query("{id}-q", _SMACK, "<max>10</max><before/>", OWN)
SMACK_COUNT = _query("{id}-q", _SMACK, None, OWN)
SMACK_BETWEEN = _query("{id}-q", FORM_TYPE + _field("start", "{start}", " type='text-single'")
                       + _field("end", "{end}", " type='text-single'"), "<max>250</max>", OWN)

# Conversations: forwards after the last id, or since a time; backwards in one chat.
_CONVERSATIONS = _field("FORM_TYPE", "urn:xmpp:mam:2")
CONVERSATIONS_CATCH_UP = _query(
    "{id}-q", _CONVERSATIONS + _field("start", "{start}"), "<max>50</max>", OWN)
CONVERSATIONS_NEXT = _query(
    "{id}-q", _CONVERSATIONS + _field("start", "{start}"),
    "<max>50</max><after>{anchor}</after>", OWN)
CONVERSATIONS_SCROLL = _query(
    "{id}-q", _CONVERSATIONS + _field("with", "{peer}") + _field("end", "{end}"),
    "<max>50</max><before/>", OWN)
CONVERSATIONS_SCROLL_NEXT = _query(
    "{id}-q", _CONVERSATIONS + _field("with", "{peer}") + _field("end", "{end}"),
    "<max>50</max><before>{anchor}</before>", OWN)

# Dino: always backwards, between ids that it knows; the queryid stays over the pages.
DINO_RANGE = _query("dino-q", FORM_TYPE + _field("start", "{start}") + _field("after-id", "{low}"),
                    "<max>20</max><before/>", OWN)
DINO_RANGE_NEXT = _query(
    "dino-q", FORM_TYPE + _field("start", "{start}") + _field("after-id", "{low}"),
    "<max>20</max><before>{anchor}</before>", OWN)

# Monal: asks for the newest id first; from then on after the last that it knows.
MONAL_PRIME = _query("MLignore:{id}", FORM_TYPE + _field("end", "{end}"),
                     "<max>1</max><before/>", "")
MONAL_CATCH_UP = _query("MLcatchup:{id}", FORM_TYPE, "<max>50</max><after>{anchor}</after>", "")
MONAL_SINCE = _query("MLcatchup:{id}", FORM_TYPE + _field("start", "{start}"), "<max>50</max>", "")
MONAL_HISTORY = _query("MLhistory:{id}", FORM_TYPE + _field("with", "{peer}"),
                       "<max>50</max><before>{anchor}</before>", "")
MONAL_PREFS = "<iq type='get' id='{id}'><prefs xmlns='urn:xmpp:mam:2'/></iq>"
MONAL_PREFS_SET = ("<iq type='set' id='{id}'><prefs xmlns='urn:xmpp:mam:2' default='always'/>"
                   "</iq>")

# Siskin and Beagle, by their library Martin: since a time, large pages.
MARTIN_SYNC = _query("{id}-q", FORM_TYPE + _field("start", "{start}"), "<max>150</max>")
MARTIN_NEXT = _query("{id}-q", FORM_TYPE + _field("start", "{start}"),
                     "<max>300</max><after>{anchor}</after>")
# It writes those who are never archived as a second <always/>.
MARTIN_PREFS_SET = (
    "<iq type='set' id='{id}'><prefs xmlns='urn:xmpp:mam:2' default='always'>"
    "<always><jid>{peer}</jid></always><always/></prefs></iq>")

# Snikket for iOS: for long with the message's own id where the archive's belongs.
SNIKKET_SYNC = _query("{id}-q", FORM_TYPE + _field("after-id", "{anchor}"), "<max>150</max>")

# Profanity: no queryid, no address; microseconds and a numeric offset.
_PROFANITY = FORM_TYPE + _field("with", "{peer}")
PROFANITY_COUNT = _query(None, _PROFANITY + _field("start", "{start}") + _field("end", "{end}"),
                         "<max>0</max>", "")
PROFANITY_LAST_PAGE = _query(
    None, _PROFANITY + _field("start", "{start}") + _field("end", "{end}"),
    "<max>10</max><before/>", "")
PROFANITY_NEXT = _query(None, _PROFANITY + _field("start", "{start}"),
                        "<max>10</max><after>{anchor}</after>", "")
# Debian's 0.13 puts the anchor beside the form, not into a set.
PROFANITY_0_13_NEXT = (
    "<iq type='set' id='{id}'><query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' "
    "type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
    "<field var='with'><value>{peer}</value></field><field var='start'><value>{start}</value>"
    "</field></x><after>{anchor}</after></query></iq>")

# Converse: the last page since its newest message; sizes are text.
CONVERSE_SYNC = _query("{id}-q", FORM_TYPE + _field("start", "{start}"),
                       "<max>50</max><before/>", OWN)
