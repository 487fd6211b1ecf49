# SPDX-License-Identifier: Apache-2.0
"""An app that shows Apple a certificate in place of a provider token."""

import re

import pytest

from harness.gateway import make_client_certificate
from harness.procs import wait_until

APP = "org.example.chat"
OLD = "org.example.old"  # its certificate is at its end
DAY_S = 24 * 3600
APPS = ()
CERTIFICATE_APPS = {APP: {}, OLD: {"days": 20}}


def shown(world, app):
    (found,) = [found for found in world.sidecar.status()["apps"] if found["id"] == app]
    return found


def seconds_left(world):
    """{app: until its certificate's end}"""
    return {app: int(seconds) for app, seconds in re.findall(
        r'xmpp_sidecar_certificate_expires_seconds\{app="([^"]+)"\} (-?\d+)\n',
        world.sidecar.http("/metrics")[1])}


def test_a_push_without_a_provider_token(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    alice.send_chat(bob.bare, world.body())
    push = world.gateway.wait(token, 1)[0]
    assert push.badge == 1 and push.header("apns-topic") == APP
    assert push.jwt == 0
    assert world.gateway.stats()["violations"] == []


def test_its_end_is_announced(world):
    world.sidecar.wait_log(f"level=warn process=worker gateway app={OLD} the certificate expires "
                           "in (19|20) days: a new one is needed")
    assert f"gateway app={APP} the certificate" not in world.sidecar.log_text()
    assert re.match(r"^\d{4}-\d\d-\d\dT", shown(world, OLD)["certificate_expires"])
    text = world.sidecar.command("status").stdout
    assert len(re.findall("certificate until", text)) == 2
    assert len(re.findall(r"EXPIRES in (19|20) days", text)) == 1
    left = seconds_left(world)
    assert 19 * DAY_S < left[OLD] <= 20 * DAY_S
    assert 364 * DAY_S < left[APP] <= 365 * DAY_S


def test_an_app_whose_certificate_has_expired_stands_alone(world, alice):
    """Nothing of it is sent or lost; the other app goes on."""
    world.sidecar.allow_error(rf"gateway app={OLD} stopped: the certificate has expired")
    bob = world.user("bob")
    old, good = world.phone(bob, "old", app=OLD), world.phone(bob, "new", app=APP)
    world.sidecar.set_clock(30 * DAY_S)
    wait_until(lambda: seconds_left(world)[OLD] < 0, 5, "the worker's clock is wrong")
    alice.send_chat(bob.bare, world.body())
    world.gateway.wait(good, 1)
    world.sidecar.wait_log(rf"level=error process=worker gateway app={OLD} stopped: "
                           "the certificate has expired")
    assert (shown(world, OLD)["state"], shown(world, OLD)["reason"]) == (
        "stopped", "the certificate has expired")
    assert world.gateway.pushes(old) == []
    wait_until(lambda: world.oracle.outbox(bob.bare) == 1, 5, "the other push is settled")
    world.sidecar.set_clock(0)
    # Until then what the link has just read seems to be weeks old.
    wait_until(lambda: seconds_left(world)[OLD] > 0, 5, "the worker's clock is right again")


def test_a_renewed_certificate_is_taken_up_by_a_reload(world, alice):
    world.sidecar.allow_error(rf"gateway app={OLD} stopped: the certificate has expired")
    bob = world.user("bob")
    token = world.phone(bob, app=OLD)
    world.gateway.certificate_app(OLD, days=300)
    old = world.sidecar.worker_pid()
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()
    alice.send_chat(bob.bare, world.body())
    world.gateway.wait(token, 1, timeout=20)
    wait_until(lambda: shown(world, OLD)["state"] == "up", 5, "it is up")


@pytest.mark.parametrize("change, complaint", [
    ({"topic": "org.example.another"}, "the certificate is not for the topic org.example.another"),
    ({"private_key_file": "{folder}/key.pem"}, "private_key_file is not the key of the certificate"),
    ({"certificate_file": "{folder}/AuthKey.p8"}, "certificate_file holds no readable PEM"),
    ({"private_key_file": "{folder}/ca.pem"}, "private_key_file holds no PEM private key"),
    ({"key_id": "ABC123DEFG"}, "a certificate and a key exclude each other")])
def test_what_cannot_be_used_is_refused(world, change, complaint):
    app = world.gateway.certificate_app("org.example.wrong")
    app["apns"] |= {key: value.format(folder=world.gateway.folder)
                    for key, value in change.items()}
    kept = world.sidecar.settings["push"]["apps"]
    world.sidecar.configure({"push.apps": [app]})
    done = world.sidecar.command("check")
    world.sidecar.configure({"push.apps": kept})
    assert done.returncode == 78 and complaint in done.stderr


def test_a_certificate_of_several_topics(world, alice):
    """One file for two apps; a third one is not in its list."""
    folder, (first, second) = world.gateway.folder, ("org.example.one", "org.example.two")
    make_client_certificate(folder, first, "universal", more_topics=(f"{first}.voip", second))
    apps = [world.gateway.certificate_app(app) for app in (first, second)]
    for app in apps:
        app["apns"] |= {"certificate_file": str(folder / "universal.pem"),
                        "private_key_file": str(folder / "universal.key")}
    kept, old = world.sidecar.settings["push"]["apps"], world.sidecar.worker_pid()
    world.sidecar.configure({"push.apps": kept + apps})
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()
    bob = world.user("bob")
    tokens = [world.phone(bob, app, app=app) for app in (first, second)]
    alice.send_chat(bob.bare, world.body())
    for app, token in zip((first, second), tokens):
        assert world.gateway.wait(token, 1)[0].header("apns-topic") == app
    apps[1]["apns"]["topic"] = "org.example.three"
    world.sidecar.configure({"push.apps": kept + apps})
    done = world.sidecar.command("check")
    world.sidecar.configure({"push.apps": kept})
    assert done.returncode == 78 and "not for the topic org.example.three" in done.stderr
