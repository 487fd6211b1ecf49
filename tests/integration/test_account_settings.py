# SPDX-License-Identifier: Apache-2.0
"""What people can do at the component's address with any client that has ad-hoc commands: see
and remove their devices, send a test, say what they want to be told of and when."""

import datetime
import re

import pytest

from harness.clients import NS, StanzaError, form_fields, new_id
from harness.drivers import Driver
from harness.procs import wait_until

SETTINGS = {"push.settle": "300ms", "push.confirm_after": "1500ms", "push.content": "body",
            "limits.commands_per_minute": 1000}

CMD, X = "{%s}" % NS["cmd"], "{%s}" % NS["x"]


class Wizard:
    """One command as a person meets it: the form, and what is answered to it."""

    def __init__(self, client, component, node):
        self.client, self.component, self.node = client, component, node
        self.command = client.command(component, node)
        self.form = self.command.find(f"{X}x")

    @property
    def fields(self):
        return form_fields(self.form)

    def options(self, var):
        """{value: label}"""
        field = next(f for f in self.form.findall(f"{X}field") if f.get("var") == var)
        return {o.findtext(f"{X}value") or "": o.get("label") for o in field.findall(f"{X}option")}

    def submit(self, fields):
        """The note's text."""
        done = self.client.command(self.component, self.node, fields, action="complete",
                                   session=self.command.get("sessionid"))
        assert done.get("status") == "completed"
        return done.findtext(f"{CMD}note")


def settings(world, client, **fields):
    wizard = Wizard(client, world.component, "notification-settings")
    return wizard.submit({var.replace("_", "-"): value for var, value in fields.items()})


def test_settings_sent_in_a_row_all_count(world, alice):
    """A field that is not submitted stays as it was: as the submission before it left it."""
    wanted = {"content": "count", "muted-in-badge": "1", "always": "boss@example.org"}
    ids = {new_id("s"): field for field in wanted.items()}
    since = len(alice.inbox)
    alice.send_xml("".join(
        f"<iq type='set' id='{iq_id}' to='{world.component}'><command xmlns='{NS['cmd']}'"
        f" node='notification-settings' action='complete'><x xmlns='{NS['x']}' type='submit'>"
        f"<field var='{var}'><value>{value}</value></field></x></command></iq>"
        for iq_id, (var, value) in ids.items()))
    for iq_id in ids:
        assert alice.iq_finish((iq_id, since)).get("type") == "result"
    fields = Wizard(alice, world.component, "notification-settings").fields
    assert {var: fields[var] for var in wanted} == wanted


def around_now(zone):
    """Quiet hours on the clock of that place that began an hour ago and last another hour."""
    import zoneinfo
    now = datetime.datetime.now(zoneinfo.ZoneInfo(zone))
    hour = datetime.timedelta(hours=1)
    return {"quiet_from": f"{now - hour:%H:%M}", "quiet_to": f"{now + hour:%H:%M}",
            "time_zone": zone}


def test_commands_are_listed(world, alice):
    items = alice.iq("get", f"<query xmlns='{NS['items']}' node='{NS['cmd']}'/>", world.component)
    nodes = {item.get("node") for item in items.iter("{%s}item" % NS["items"])}
    assert {"devices", "notification-settings", "test-push", "mark-all-read"} <= nodes


# My devices


def test_a_device_is_shown_and_removed(world, alice, bob):
    tokens = [world.phone(bob, resource) for resource in ("phone", "tablet")]
    laptop = world.login(bob, "laptop")
    wizard = Wizard(laptop, world.component, "devices")
    devices = wizard.options("remove")
    assert devices.pop("") == "none" and len(devices) == 2
    by_resource = {re.match(r"org\.example\.chat, (\w+), since", label).group(1): value
                   for value, label in devices.items()}
    for token in tokens:
        assert token not in str(devices)
    assert wizard.submit({"remove": ""}) == "Nothing was changed."
    wizard = Wizard(laptop, world.component, "devices")
    assert wizard.submit({"remove": by_resource["tablet"]}) == "The device is removed."
    assert world.oracle.registrations(bob.bare) == 1
    laptop.logout()
    world.away(bob)
    alice.send_chat(bob.bare, world.body())
    world.gateway.wait(tokens[0], 1)
    world.no_push(tokens[1], 1)


def test_nobody_removes_anothers_device(world, bob):
    world.phone(bob)
    laptop = world.login(bob, "laptop")
    device = max(Wizard(laptop, world.component, "devices").options("remove"))
    mallory = world.login(world.user("mallory"))
    world.register_device(mallory)
    for value, error in ((device, "cancel/item-not-found"), ("nonsense", "modify/bad-request")):
        wizard = Wizard(mallory, world.component, "devices")
        with pytest.raises(StanzaError, match=error):
            wizard.submit({"remove": value})
    assert world.oracle.registrations(bob.bare) == 1
    # Nor by going on with somebody else's session.
    wizard = Wizard(laptop, world.component, "devices")
    wizard.client = mallory
    with pytest.raises(StanzaError, match="cancel/not-allowed"):
        wizard.submit({"remove": device})
    assert world.oracle.registrations(bob.bare) == 1


def test_who_has_no_device_is_told(world, alice):
    done = alice.command(world.component, "devices")
    assert done.get("status") == "completed"
    assert done.findtext(f"{CMD}note") == "No device is registered."
    done = alice.command(world.component, "test-push")
    assert done.findtext(f"{CMD}note") == "No device is registered."


def test_strangers_are_refused(world):
    stranger = world.login(world.remote_user())
    for node in ("devices", "notification-settings", "test-push"):
        with pytest.raises(StanzaError, match="^auth/forbidden$"):
            stranger.command(world.component, node)


# A test


def test_a_test_reaches_every_device_and_counts_nothing(world, alice, bob):
    tokens = [world.phone(bob, resource) for resource in ("phone", "tablet")]
    alice.send_chat(bob.bare, world.body())
    for token in tokens:
        world.gateway.wait(token, 1)
    laptop = world.login(bob, "laptop")
    done = laptop.command(world.component, "test-push")
    assert done.findtext(f"{CMD}note") == "A test is on its way to 2 devices."
    for token in tokens:
        push = world.gateway.wait(token, 2, timeout=5)[1]
        assert push.alert["body"] == "This is a test" and push.badge == 1
    assert world.oracle.unread(bob.bare) == 1
    wait_until(lambda: world.oracle.outbox(bob.bare) == 0, 5, "it is settled")


# Quiet hours


def test_in_quiet_hours_there_is_a_badge_and_no_alert(world, alice, bob):
    token = world.phone(bob)
    carol = world.login(world.user("carol"))
    laptop = world.login(bob, "laptop")
    assert settings(world, laptop, always=[carol.bare],
                    **around_now("Asia/Shanghai")) == "The settings are kept."
    laptop.logout()
    world.away(bob)
    sent = alice.send_chat(bob.bare, world.body())
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 1 and push.alert is None and push.sound is None
    assert world.oracle.unread(bob.bare) == 1
    carol.send_chat(bob.bare, world.body())  # who is heard at any time
    push = world.gateway.wait(token, 2)[1]
    assert push.badge == 2 and push.alert is not None
    wait_until(lambda: [reason for _, reason in world.oracle.push_log(bob.bare)] ==
               ["quiet hours", None], 5, "it is told why")
    told = world.sidecar.command("explain", bob.bare, sent)
    assert "quiet hours  because: offline  badge 1" in told.stdout
    # Nothing is made up for afterwards: what is unread is on the icon.
    laptop = world.login(bob, "laptop")
    settings(world, laptop, quiet_from="", quiet_to="")
    laptop.logout()
    world.away(bob)
    world.no_push(token, 1, since=2)
    alice.send_chat(bob.bare, world.body())
    push = world.gateway.wait(token, 3)[2]
    assert push.badge == 3 and push.alert is not None


def test_the_form_shows_what_was_kept_and_changes_what_was_submitted(world, bob):
    laptop = world.login(bob, "laptop")
    wizard = Wizard(laptop, world.component, "notification-settings")
    assert wizard.fields == {"content": "default", "quiet-from": "", "quiet-to": "",
                             "time-zone": "", "always": [], "muted-in-badge": "0"}
    assert list(wizard.options("content")) == ["default", "none", "count", "sender", "body"]
    wizard.submit({"content": "count", "quiet-from": "22:00", "quiet-to": "07:00",
                   "time-zone": "Europe/Berlin", "muted-in-badge": "true",
                   "always": ["ALICE@e.test", "wang@example.net"]})
    shown = {"content": "count", "quiet-from": "22:00", "quiet-to": "07:00",
             "time-zone": "Europe/Berlin", "always": ["alice@e.test", "wang@example.net"],
             "muted-in-badge": "1"}
    assert Wizard(laptop, world.component, "notification-settings").fields == shown
    settings(world, laptop, content="none")
    shown["content"] = "none"
    assert Wizard(laptop, world.component, "notification-settings").fields == shown
    settings(world, laptop, always=[], quiet_from="", quiet_to="")
    shown.update({"always": [], "quiet-from": "", "quiet-to": "", "time-zone": ""})
    assert Wizard(laptop, world.component, "notification-settings").fields == shown
    other = world.login(world.user("other"))
    assert Wizard(other, world.component,
                  "notification-settings").fields["content"] == "default"


@pytest.mark.parametrize("wrong", [
    {"quiet_from": "22:00"}, {"quiet_from": "22:00", "quiet_to": "07:00"},
    {"quiet_from": "25:00", "quiet_to": "07:00", "time_zone": "UTC"},
    {"quiet_from": "7", "quiet_to": "8", "time_zone": "UTC"},
    {"quiet_from": "07:00", "quiet_to": "07:00", "time_zone": "UTC"},
    {"quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "Atlantis/Poseidonis"},
    {"quiet_from": "22:00", "quiet_to": "07:00", "time_zone": "UTC-8"},
    {"content": "everything"}, {"always": ["@"]}, {"always": ["alice@e.test/phone"]},
    {"always": [f"user{n}@e.test" for n in range(101)]}, {"muted_in_badge": "perhaps"}])
def test_what_makes_no_sense_changes_nothing(world, bob, wrong):
    laptop = world.login(bob, "laptop")
    with pytest.raises(StanzaError, match="modify/bad-request"):
        settings(world, laptop, **wrong)
    fields = Wizard(laptop, world.component, "notification-settings").fields
    assert fields["content"] == "default" and fields["quiet-from"] == "" and not fields["always"]


# Content, and muted conversations


def test_an_account_may_show_less(world, alice, bob):
    token = world.phone(bob)
    laptop = world.login(bob, "laptop")
    settings(world, laptop, content="sender")
    laptop.logout()
    world.away(bob)
    body = world.body()
    alice.send_chat(bob.bare, body)
    alert = world.gateway.wait(token, 1)[0].alert
    assert alert["title"] == alice.user and body not in str(alert)


def test_an_account_cannot_show_more(make_world):
    world = make_world(settings={**SETTINGS, "push.content": "count"})
    bob = world.login(world.user("bob"))
    wizard = Wizard(bob, world.component, "notification-settings")
    assert list(wizard.options("content")) == ["default", "none", "count"]
    with pytest.raises(StanzaError, match="modify/bad-request"):
        wizard.submit({"content": "body"})


def test_muted_conversations_are_on_the_icon_of_who_wants_that(world, alice, bob):
    token = world.phone(bob)
    carol = world.login(world.user("carol"))
    laptop = world.login(bob, "laptop")
    for client in (alice, carol):
        laptop.wait_id(client.send_chat(bob.bare, world.body()))
    laptop.iq("set", "<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation'"
                     f" jid='{alice.bare}'><mute>3600</mute></query>")
    laptop.logout()
    world.away(bob)
    alice.send_chat(bob.bare, world.body())
    carol.send_chat(bob.bare, world.body())
    wait_until(lambda: world.gateway.device(token)["badge"] == 2, 10, "carol's two")
    laptop = world.login(bob, "laptop")
    settings(world, laptop, muted_in_badge="1")
    wait_until(lambda: world.gateway.device(token)["badge"] == 4, 10, "alice's are there, too")
    settings(world, laptop, muted_in_badge="0")
    wait_until(lambda: world.gateway.device(token)["badge"] == 2, 10, "and gone again")
    assert world.oracle.unread(bob.bare) == 4  # muting takes nothing from what is unread


# As libraries do it


def test_slixmpp_runs_the_commands(world, bob):
    """XEP-0050 by slixmpp itself: listed, begun, filled in, completed."""
    world.phone(bob)
    laptop = world.login(bob, "laptop")
    done = laptop.loop.call(_run_command(laptop.xmpp, world.component, "notification-settings",
                                         {"content": "none"}))
    assert done == ("completed", "The settings are kept.")
    assert Wizard(laptop, world.component,
                  "notification-settings").fields["content"] == "none"
    device = max(Wizard(laptop, world.component, "devices").options("remove"))
    done = laptop.loop.call(_run_command(laptop.xmpp, world.component, "devices",
                                         {"remove": device}))
    assert done == ("completed", "The device is removed.")
    assert world.oracle.registrations(bob.bare) == 0


def test_gajims_library_runs_the_commands(world, bob):
    """XEP-0050 by nbxmpp, as Gajim's window for commands does it."""
    gajim = Driver("nbxmpp", world.server, bob, "gajim")
    listed, form, done = gajim.run_command(world.component, "notification-settings",
                                           {"content": "count"})
    assert {"devices", "test-push", "notification-settings", "mark-all-read"} <= \
        listed["commands"].keys()
    assert all(listed["commands"].values()), "each has a name that people can read"
    assert (form["status"], form["default"]) == ("executing", "complete")
    assert "content" in form["fields"]
    assert done == {"status": "completed", "notes": ["The settings are kept."]}
    assert Wizard(world.login(bob, "laptop"), world.component,
                  "notification-settings").fields["content"] == "count"


async def _run_command(xmpp, component, node, values):
    first = await xmpp["xep_0050"].send_command(component, node)
    form = first["command"]["form"]
    assert first["command"]["status"] == "executing" and form["type"] == "form"
    form.reply()
    form["type"] = "submit"
    for var, value in values.items():
        form.field[var]["value"] = value
    last = await xmpp["xep_0050"].send_command(
        component, node, action="complete", payload=form,
        sessionid=first["command"]["sessionid"])
    notes = list(last["command"]["notes"])
    return last["command"]["status"], notes[0][1]
