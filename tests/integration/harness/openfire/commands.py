# SPDX-License-Identifier: Apache-2.0
"""The ad-hoc commands that components may run on the server's own address.

A command is silent about what it does not like: the handler of its exceptions looks for a
client's session to answer to, and a component has none.
"""

import secrets

from . import xml

COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
ADMIN = "http://jabber.org/protocol/admin"
NOTIFICATION = ADMIN + "#packets_notification"
PRESENCES = ADMIN + "#get-active-presences"

SESSIONS_MAX = 100  # of one asker; those that were begun and left stay until a restart

FIELDS = {
    NOTIFICATION: (("packet_type", "list-multi", ("presence", "iq", "message")),
                   ("direction", "list-single", ("incoming", "outgoing")),
                   ("processed", "list-single", ("false", "true"))),
    PRESENCES: (("max_items", "list-single", ("25", "50", "75", "100", "150", "200", "none")),),
}


class Refused(Exception):
    def __init__(self, kind, condition):
        super().__init__(condition)
        self.kind, self.condition = kind, condition


class Silence(Exception):
    """There will be no answer."""


class Commands:
    def __init__(self, copier, presences, is_component):
        self._copier = copier
        self._presences = presences        # () -> presence elements
        self._is_component = is_component  # (jid) -> bool
        self._sessions = {}                # id -> (asker, node)
        self.refuse = None                 # a condition for every one
        self.lists = 0                     # of who is there, that were told

    def take(self, iq):
        """The answer's <command/>; Refused or Silence."""
        command = iq.find(f"{{{COMMANDS}}}command")
        node, asker = command.get("node"), iq.get("from")
        if node not in FIELDS:
            raise Refused("cancel", "item-not-found")
        # Exactly the domain: no local part, no resource.
        if self.refuse or not self._is_component(asker):
            raise Refused("auth", self.refuse or "forbidden")
        session = command.get("sessionid")
        if not session:
            return self._form(node, self._open(asker, node))
        if self._sessions.get(session) != (asker, node):
            raise Refused("modify", "bad-request")
        if command.get("action") == "cancel":
            del self._sessions[session]
            raise Refused("modify", "bad-request")  # though it has been cancelled
        answer = self._complete(asker, node, session, self._values(command))
        del self._sessions[session]
        return answer

    def _open(self, asker, node):
        if sum(owner == asker for owner, _ in self._sessions.values()) >= SESSIONS_MAX:
            raise Refused("cancel", "not-allowed")
        session = secrets.token_hex(8)
        self._sessions[session] = (asker, node)
        return session

    @staticmethod
    def _answer(node, session, status):
        return xml.ET.Element(f"{{{COMMANDS}}}command",
                              {"sessionid": session, "node": node, "status": status})

    def _form(self, node, session):
        answer = self._answer(node, session, "executing")
        form = xml.add(answer, f"{{{FORMS}}}x", type="form")
        xml.add(form, f"{{{FORMS}}}title", "Ein Titel")  # localised: nothing to rely on
        hidden = xml.add(form, f"{{{FORMS}}}field", var="FORM_TYPE", type="hidden")
        xml.add(hidden, f"{{{FORMS}}}value", ADMIN)
        for var, kind, options in FIELDS[node]:
            field = xml.add(form, f"{{{FORMS}}}field", var=var, type=kind)
            for option in options:
                xml.add(xml.add(field, f"{{{FORMS}}}option", label=option),
                        f"{{{FORMS}}}value", option)
        actions = xml.add(answer, f"{{{COMMANDS}}}actions", execute="complete")
        xml.add(actions, f"{{{COMMANDS}}}complete")
        return answer

    @staticmethod
    def _values(command):
        return {field.get("var"): [value.text or "" for value in field]
                for field in command.iterfind(f"{{{FORMS}}}x/{{{FORMS}}}field")}

    def _complete(self, asker, node, session, values):
        answer = self._answer(node, session, "completed")
        if node == PRESENCES:
            form = xml.add(answer, f"{{{FORMS}}}x", type="result")
            field = xml.add(form, f"{{{FORMS}}}field", var="activeuserpresences",
                            type="text-multi")
            for presence in self._presences():
                xml.add(field, f"{{{FORMS}}}value", xml.write(presence, ""))
            self.lists += 1
            return answer
        try:
            self._copier.subscribe(asker, values["packet_type"],
                                   values["direction"][0] == "incoming",
                                   values["processed"][0] == "true")
        except LookupError:
            raise Silence from None
        xml.add(answer, f"{{{COMMANDS}}}note", "Erledigt", type="info")
        return answer
