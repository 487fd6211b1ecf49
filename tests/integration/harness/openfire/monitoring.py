# SPDX-License-Identifier: Apache-2.0
"""The monitoring plugin's archive (XEP-0313), as its versions 2.7 and 2.8 answer a component.

A row is made of each message with a body between two accounts, when it has been routed, of its
text at that moment.  Rows are found by time and cut by the ids of the database, which need not
grow with time: a page may be called the last one that is not.  Results have no sender, are routed
like any message (so they are copied, too), and come before the answer.
"""

import asyncio
import re

from . import xml

MAM = "urn:xmpp:mam:2"
FORWARD = "urn:xmpp:forward:0"
DELAY = "urn:xmpp:delay"
FORMS = "jabber:x:data"
RSM = "http://jabber.org/protocol/rsm"
CLIENT_NS = "jabber:client"

MAX = 1000  # results, when nobody says
FIELDS = ("FORM_TYPE", "with", "start", "end", "{urn:xmpp:fulltext:0}fulltext", "withtext",
          "search")
TIME = re.compile(r"^\d+(-\d+){2}T(\d+:){2}\d+(\.\d+)?(Z|[+-]\d+:\d+)$")

TOGETHER = 8  # questions at a time, of a well-behaved asker


class Refused(Exception):
    def __init__(self, kind, condition):
        super().__init__(condition)
        self.kind, self.condition = kind, condition


class Row:
    def __init__(self, number, at, sender, recipient, text, body):
        self.number, self.at, self.text, self.body = number, at, text, body
        self.parties = (xml.bare(sender), xml.bare(recipient))


class Monitoring:
    """host: the domain; route: gives a stanza to the router; now: its clock, as a text."""

    def __init__(self, host, properties, route, now, violations):
        self._host, self._properties = host, properties
        self._route, self._now, self._violations = route, now, violations
        self.rows = []
        self.archiving = True       # conversation.metadataArchiving
        self.write_delay = 0.05     # until what passed is in its database
        self.fail = {}              # bare JID -> how many times it fails for it
        self.silent = False
        self.silent_after = None    # so many questions that were answered
        self.asked = []             # (asker, bare JID, start, end) of every question
        self.results = 0            # that were sent
        self._open = 0

    def admins(self):
        """Whoever is named takes the place of the administrator that there is by default."""
        named = re.split(r"[,\s]+", self._properties["admin.authorizedJIDs"])
        return [jid for jid in named if jid] or [f"admin@{self._host}"]

    def passed(self, message):
        """A message that was routed."""
        body = message.findtext("body")
        if body is None or message.get("type", "normal") not in ("chat", "normal"):
            return
        sender, recipient = message.get("from"), message.get("to")
        if not (self._is_party(sender) and self._is_party(recipient)):
            return
        self.rows.append(Row(len(self.rows) + 1, self._now(), sender, recipient,
                             xml.write(message, ""), body))

    def _is_party(self, jid):
        """Accounts, of this server or far ones: none of its services or components."""
        if not jid or "@" not in xml.bare(jid):
            return False
        return xml.domain(jid) == self._host or not xml.domain(jid).endswith(self._host)

    async def answer(self, iq, to, reply):
        """reply: gives an IQ to the asker's session."""
        self._open += 1
        try:
            await self._answer(iq, to, reply)
        except Refused as refusal:
            reply(xml.error_reply(iq, refusal.kind, refusal.condition))
        finally:
            self._open -= 1

    async def _answer(self, iq, to, reply):
        query = iq[0]
        asker = xml.bare(iq.get("from"))
        if not self.archiving:
            raise Refused("cancel", "feature-not-implemented")
        fields = {field.get("var"): field.findtext(f"{{{FORMS}}}value") or ""
                  for field in query.iterfind(f"{{{FORMS}}}x/{{{FORMS}}}field")}
        if any(value and var not in FIELDS for var, value in fields.items()):
            raise Refused("modify", "bad-request")
        if asker != to and asker not in self.admins():
            raise Refused("auth", "forbidden")
        if query.find(f"{{{RSM}}}set/{{{RSM}}}index") is not None:
            raise Refused("cancel", "feature-not-implemented")
        self._judge(query, fields)
        self.asked.append((asker, to, fields.get("start"), fields.get("end")))
        silent = self.silent_after is not None and len(self.asked) > self.silent_after
        until = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < until + self.write_delay:
            await asyncio.sleep(0.01)
        if silent or self.silent:
            return
        if self.fail.get(to, 0) > 0:
            self.fail[to] -= 1
            raise Refused("wait", "internal-server-error")
        self._tell(iq, query, to, fields, reply)

    def _judge(self, query, fields):
        for end in "start", "end":
            if not TIME.match(fields.get(end, "")):
                self._violations.append(f"a question for an archive without its {end}")
        if query.findtext(f"{{{RSM}}}set/{{{RSM}}}max") is None:
            self._violations.append("a question for an archive that names no max")
        if self._open > TOGETHER:
            self._violations.append(f"{self._open} questions for archives at once")

    def _found(self, to, fields, after=0):
        start, end = ((fields.get(key) or other)[:23]
                      for key, other in (("start", ""), ("end", "9")))
        return sorted((row for row in self.rows
                       if to in row.parties and start <= row.at[:23] <= end and row.number > after),
                      key=lambda row: row.at)

    def _tell(self, iq, query, to, fields, reply):
        rsm = query.find(f"{{{RSM}}}set")
        number = rsm.findtext(f"{{{RSM}}}max") if rsm is not None else None
        after = int(rsm.findtext(f"{{{RSM}}}after") or 0) if rsm is not None else 0
        found = self._found(to, fields, after)
        page = found[:int(number) if number else MAX]
        for row in page:
            self.results += 1
            self._route(self._result(iq, query, row))
        answer = xml.ET.Element("iq", {"type": "result", "id": iq.get("id"), "from": to,
                                       "to": iq.get("from")})
        fin = xml.add(answer, f"{{{MAM}}}fin")
        if query.get("queryid"):
            fin.set("queryid", query.get("queryid"))
        bounds = xml.add(fin, f"{{{RSM}}}set")
        if page:
            xml.add(bounds, f"{{{RSM}}}first", str(page[0].number))
            xml.add(bounds, f"{{{RSM}}}last", str(page[-1].number))
        xml.add(bounds, f"{{{RSM}}}count", str(len(found)))
        if not page or not self._found(to, fields, page[-1].number):
            fin.set("complete", "true")
        reply(answer)

    @staticmethod
    def _result(iq, query, row):
        outer = xml.ET.Element("message", {"to": iq.get("from")})
        result = xml.add(outer, f"{{{MAM}}}result", id=str(row.number))
        if query.get("queryid"):
            result.set("queryid", query.get("queryid"))
        forwarded = xml.add(result, f"{{{FORWARD}}}forwarded")
        xml.add(forwarded, f"{{{DELAY}}}delay", stamp=row.at)
        message = xml.parse(row.text)
        message.find("body").text = row.body
        # The upper two levels get the clients' namespace, what is below keeps none.
        for element in (message, *message):
            if not element.tag.startswith("{"):
                element.tag = f"{{{CLIENT_NS}}}{element.tag}"
        forwarded.append(message)
        return outer
