# SPDX-License-Identifier: Apache-2.0
"""One provider token for all apps of a key, over the deaths of workers: Apple counts them."""

import pytest

from harness.world import APP

APPS = (APP, "org.example.other")
AGED = "UPDATE xs.provider_token SET iat = extract(epoch FROM now()) - %s * 60 RETURNING 1"


def replace_worker(world):
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    world.sidecar.wait_ready()


def pushed(world, alice, bob, token):
    """The next push to the token."""
    seen = len(world.gateway.accepted(token))
    alice.send_chat(bob.bare, world.body())
    return world.gateway.wait(token, seen + 1, timeout=20)[-1]


def test_two_workers_die_and_apple_sees_one_token(world, alice):
    bob = world.user("bob")
    token, other = world.phone(bob, app=APP), world.phone(bob, "tablet", app=APPS[1])
    first = pushed(world, alice, bob, token)
    assert world.gateway.wait(other, 1)[0].jwt == first.jwt
    for _ in range(2):
        replace_worker(world)
        again = pushed(world, alice, bob, token)
        assert again.jwt == first.jwt
        assert again.connection != first.connection
    assert world.gateway.stats()["jwt_count"] == 1
    # Neither the log nor the database shows it: "eyJ" is how each part of a JWT begins.
    assert "eyJ" not in world.sidecar.log_text()
    (sealed,) = world.oracle.query("SELECT encode(sealed, 'escape') FROM xs.provider_token")
    assert "eyJ" not in sealed[0] and "bearer" not in sealed[0]


def test_a_token_that_apple_refuses_is_replaced_for_the_next_worker_too(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    old = pushed(world, alice, bob, token)
    world.gateway.expire_jwt(stick_to_connection=True)
    fresh = pushed(world, alice, bob, token)
    assert fresh.jwt != old.jwt
    replace_worker(world)
    again = pushed(world, alice, bob, token)
    assert again.jwt == fresh.jwt


def test_an_old_token_is_renewed_between_45_and_50_minutes(world, alice):
    bob = world.user("bob")
    token = world.phone(bob)
    old = pushed(world, alice, bob, token)
    # The token grows old; what the gateway compares with its own clock stays valid.
    world.oracle.query(AGED, (43,))
    replace_worker(world)
    kept = pushed(world, alice, bob, token)
    assert kept.jwt == old.jwt
    world.oracle.query(AGED, (50,))
    replace_worker(world)
    fresh = pushed(world, alice, bob, token)
    assert fresh.jwt != old.jwt
    assert world.oracle.value("SELECT count(*) FROM xs.provider_token") == 1
