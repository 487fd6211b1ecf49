# SPDX-License-Identifier: Apache-2.0
"""The list of conversations (XEP-0430), as a client asks for it."""

from .clients import NS, body_of

INBOX = "urn:xmpp:inbox:1"


class Listed:
    def __init__(self, message):
        entry = message.find(f"{{{INBOX}}}entry")
        result = message.find("mam:result", NS)
        self.sender = message.get("from")
        self.jid, self.id = entry.get("jid"), entry.get("id")
        self.unread = int(entry.get("unread"))
        self.body = self.queryid = None
        if result is not None:
            self.queryid = result.get("queryid")
            self.body = body_of(result.find("fwd:forwarded/c:message", NS))
            assert result.get("id") == self.id


def inbox(client, attributes="", rsm="", to=None):
    """(entries, fin, id of the question)"""
    inside = f"<set xmlns='{NS['rsm']}'>{rsm}</set>" if rsm else ""
    started = client.iq_start("get", f"<inbox xmlns='{INBOX}' {attributes}>{inside}</inbox>",
                              to or client.server.archive_address)
    answer = client.iq_finish(started)
    assert answer.get("type") == "result"
    entries = [Listed(message) for message in client.messages(started[1])
               if message.find(f"{{{INBOX}}}entry") is not None]
    return entries, answer.find(f"{{{INBOX}}}fin"), started[0]
