# SPDX-License-Identifier: Apache-2.0
"""Fixtures.  A module says what it needs in module-level names:

    KIND = "ejabberd"                      the server under test, of harness/servers.py
    SERVER = {"ejabberd": {"with_muc": True}}  how each kind is set up
    SETTINGS = {"push.settle": "1s"}       what differs in sidecar.yml
    APPS = ("org.example.chat",)           the apps that clients may name
    FCM_APPS = {"chat.android": {}}        those reached through FCM, with their settings
    CERTIFICATE_APPS = {"chat.old": {}}    those that show Apple a certificate
    WEBPUSH_APPS = {"chat.web": {}}        those reached through Web Push
    APP_SETTINGS = {"chat.web": {"calls": True}}   what differs in entries of push.apps, dotted

and gets one world (server, database, gateway, sidecar) for all its tests;
tests use users of their own.  A test that breaks things makes its own world.

    pytestmark = pytest.mark.servers()     a module, or one test, runs on every kind of server,
                                           with a world for each; servers("prosody"): on those
    @pytest.mark.needs("rosters")          but not where that is missing (harness/abilities.py)
"""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

pytest.register_assert_rewrite("harness")  # what failed there is said, too

from harness.abilities import reason  # noqa: E402
from harness.clients import ClientLoop  # noqa: E402
from harness.openfire.installed import home  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.procs import ROOT, Workspace  # noqa: E402
from harness.servers import KINDS, make_server  # noqa: E402
from harness.world import APP, World  # noqa: E402

LOGS = ROOT / "build" / "test-logs"
PROVEN = ROOT / "build" / "abilities.json"  # for tests/servers.py

_proven = set()


def pytest_configure(config):
    # A polite end (CI's timeout) cleans up like Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "slow: takes more than half a minute")
    config.addinivalue_line("markers", "servers(kinds): runs on these kinds, none named: on all")
    config.addinivalue_line("markers", "needs(what): skipped where a server lacks it")


def pytest_generate_tests(metafunc):
    """One run of a test for each kind of server that it is for."""
    if "server_kind" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("servers")
        own = getattr(metafunc.module, "KIND", "ejabberd")
        kinds = (mark.args or tuple(KINDS)) if mark else (own,)
        metafunc.parametrize("server_kind", kinds, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for number, item in enumerate(items):
        kind = item.callspec.params.get("server_kind") if hasattr(item, "callspec") else None
        for needed in [arg for mark in item.iter_markers("needs") for arg in mark.args]:
            item.user_properties.append(("proves", [kind, needed]))
            why = reason(kind, needed, stand_in=home() is None)
            if why:
                item.add_marker(pytest.mark.skip(reason=why))
        # With --dist loadgroup: what shares a world stays together, and nothing else has to.
        item.add_marker(pytest.mark.xdist_group(
            f"{item.path.stem}-{kind if _shares_a_world(item) else number}"))
    if items and hasattr(items[0].config, "workerinput"):
        _longest_first(items)


def _shares_a_world(item):
    """Whether a fixture that the test needs is its module's."""
    found = item._fixtureinfo.name2fixturedefs
    return any(definitions[-1].scope == "module" for name, definitions in found.items()
               if name != "server_kind")


def _longest_first(items):
    """What is long and begun at the end is waited for by processors that have nothing to do:
    what says that it is slow first, then groups by their size."""
    groups = {}
    for item in items:
        name = item.get_closest_marker("xdist_group").args[0]
        groups.setdefault(name, []).append(item)

    def weight(group):
        return sum(30 if item.get_closest_marker("slow") else 1 for item in group)
    items[:] = [item for group in sorted(groups.values(), key=weight, reverse=True)
                for item in group]


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        _proven.update(tuple(value) for name, value in report.user_properties
                       if name == "proves")


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        PROVEN.parent.mkdir(exist_ok=True)
        PROVEN.write_text(json.dumps(sorted(_proven)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


def _keep_logs_if_failed(request, workspace):
    reports = [getattr(request.node, f"report_{when}", None) for when in ("setup", "call")]
    if any(report is not None and report.failed for report in reports):
        _keep_logs(request, workspace)


def _keep_logs(request, workspace):
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid.replace("tests/integration/", ""))
    target = LOGS / name[:150]
    shutil.rmtree(target, ignore_errors=True)
    workspace.keep_logs(target)
    print(f"logs kept in {target}", file=sys.stderr)


def _stop_sidecar(world):
    """Ends the service in order; what was wrong with its end or its log."""
    status = world.sidecar.stop()
    problems = world.sidecar.findings()
    if status not in (0, None):
        problems.append(f"exit status {status}")
    return problems


@pytest.fixture(scope="session")
def session_workspace():
    with Workspace() as workspace:
        yield workspace


@pytest.fixture(scope="session")
def postgres(session_workspace):
    """One cluster for all tests that do not disturb it."""
    return Postgres(session_workspace).start()


@pytest.fixture(scope="session")
def loop():
    clients = ClientLoop()
    yield clients
    clients.close()


@pytest.fixture(scope="module")
def server_kind(request):
    """Of the server under test; see pytest_generate_tests, which does not see what a fixture
    needs that a module has put its own in front of."""
    return getattr(request, "param", None) or getattr(request.module, "KIND", "ejabberd")


@pytest.fixture(scope="module")
def module_workspace(server_kind):
    with Workspace() as workspace:
        yield workspace


@pytest.fixture(scope="module")
def server(request, module_workspace, server_kind):
    options = getattr(request.module, "SERVER", {}).get(server_kind, {})
    return make_server(server_kind, module_workspace, **options).start()


@pytest.fixture(scope="module")
def ejabberd(server):
    """For tests of what only ejabberd has."""
    return server


@pytest.fixture(scope="module")
def module_world(request, module_workspace, postgres, server, loop):
    try:
        world = World(module_workspace, postgres, loop, server,
                      settings=getattr(request.module, "SETTINGS", None),
                      apps=getattr(request.module, "APPS", (APP,)),
                      fcm_apps=getattr(request.module, "FCM_APPS", {}),
                      certificate_apps=getattr(request.module, "CERTIFICATE_APPS", {}),
                      webpush_apps=getattr(request.module, "WEBPUSH_APPS", {}),
                      app_settings=getattr(request.module, "APP_SETTINGS", {}))
    except BaseException:
        _keep_logs(request, module_workspace)
        raise
    yield world
    problems = _stop_sidecar(world)
    world.postgres.drop_database(world.database)
    if problems:
        _keep_logs(request, module_workspace)
    assert problems == []


@pytest.fixture
def world(request, module_world):
    """The module's world; afterwards nothing of the test is left but its accounts."""
    if module_world.sidecar.process is None or not module_world.sidecar.process.alive():
        module_world.sidecar.start()
    yield module_world
    module_world.loop.close_clients()
    module_world.gateway.reset()
    try:
        module_world.assert_sound()
    except AssertionError:
        _keep_logs(request, module_world.workspace)
        raise
    finally:
        module_world.sidecar.allowed_errors.clear()
        _keep_logs_if_failed(request, module_world.workspace)


@pytest.fixture
def alice(world):
    """Online."""
    return world.login(world.user("alice"))


@pytest.fixture
def bob(world):
    """Away."""
    return world.user("bob")


@pytest.fixture
def own_workspace(request):
    with Workspace() as workspace:
        yield workspace
        _keep_logs_if_failed(request, workspace)


@pytest.fixture
def own_postgres(own_workspace):
    """A cluster that the test may stop, kill and stall."""
    return Postgres(own_workspace).start()


@pytest.fixture
def make_world(request, own_workspace, postgres, loop, server_kind):
    """Worlds of the test's own: make_world(settings={…}, kind="…", options={…}, start=False)."""
    made = []

    def make(cluster=None, **options):
        options.setdefault("kind", server_kind)
        world = World(own_workspace, cluster or postgres, loop,
                      name=str(len(made)) if made else "", **options)
        made.append(world)
        return world

    yield make
    loop.close_clients()
    problems = []
    for world in made:
        problems += _stop_sidecar(world)
    if problems:
        _keep_logs(request, own_workspace)
    assert problems == []
