# SPDX-License-Identifier: Apache-2.0
"""Debian's ejabberd as a child process: no systemd, no ejabberdctl; epmd only for a cluster."""

import base64
import json
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from .procs import (PATIENCE, ROOT, HarnessError, OneProcess, Process, free_port, port_answers,
                    wait_until)

FRAGMENT = ROOT / "config" / "ejabberd" / "ejabberd.yml"
HOST = "e.test"
REMOTE_HOST = "r.test"
ROOMS = "conference.e.test"
COMPONENT = "sidecar.e.test"

# What a server has anyway.  The published fragment is merged into it, so that
# what administrators paste is what is tested.
BASE = """
hosts: [{host}, {remote}]
loglevel: info
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
auth_password_format: plain
language: en
listen:
  - {{port: {c2s_port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: infinity}}
  - {{port: {api_port}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{/api: mod_http_api, /ws: ejabberd_http_ws}}}}
acl:
  loopback: {{ip: ["127.0.0.0/8"]}}
access_rules:
  local: {{allow: all}}
api_permissions:
  "loopback all": {{from: [mod_http_api], who: {{access: {{allow: {{acl: loopback}}}}}}, what: "*"}}
modules:
  mod_disco: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
  mod_private: {{}}
  mod_vcard: {{}}
  mod_privacy: {{}}
  mod_blocking: {{}}
  mod_offline: {{}}
  mod_carboncopy: {{}}
  mod_stream_mgmt: {{resume_timeout: {resume_timeout}, max_resume_timeout: {resume_timeout}, resend_on_timeout: true}}
  mod_admin_extra: {{}}
  mod_http_api: {{}}
host_config:
  {remote}:
    # A server that knows nothing of the sidecar: the remote side of tests.
    modules:
      mod_disco: {{}}
      mod_roster: {{}}
      mod_offline: {{}}
      mod_admin_extra: {{}}
      mod_http_api: {{}}
"""

MUC = """
modules:
  mod_muc:
    host: {rooms}
    default_room_options: {{persistent: true, allow_subscription: true, allow_private_messages: true, anonymous: false}}
  mod_muc_admin: {{}}
"""

MAM_NEVER = """
modules:
  mod_mam: {default: never}
"""


def merge(base, extra):
    """Sections are merged, lists appended to; returns base."""
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif isinstance(value, list) and isinstance(base.get(key), list):
            base[key] += value
        else:
            base[key] = value
    return base


def fragment(component, secret, port):
    """The published fragment with its placeholders filled in."""
    text = FRAGMENT.read_text()
    for placeholder in ("sidecar.example.org", "SECRET", "5347"):
        if placeholder not in text:
            raise HarnessError(f"{FRAGMENT} has no placeholder {placeholder}")
    text = text.replace("sidecar.example.org", component)
    text = text.replace("SECRET", secret).replace("5347", str(port))
    return yaml.safe_load(text)


def _library_folder():
    for folder in Path("/usr/lib").glob("*/ejabberd-*/ebin"):
        return folder.parents[1]
    raise HarnessError("ejabberd is not installed")


class Ejabberd(OneProcess):
    """One node with the hosts e.test (tapped) and r.test (not)."""

    kind = "ejabberd"
    archive_address = None  # queries to the users' own addresses are delegated

    def __init__(self, workspace, name="ejabberd", with_mam_never=False, with_muc=False,
                 resume_timeout=3, component=COMPONENT, extra=None, cluster=None,
                 resolvable=False, check_from=True):
        self.host, self.remote_host, self.rooms = HOST, REMOTE_HOST, ROOMS
        self.component = component
        self._resolvable = resolvable
        self.cluster = cluster
        self.node = f"{name}@localhost" if cluster else None
        self.secret = cluster.secret if cluster else secrets.token_hex(16)
        self.c2s_port, self.api_port, self.component_port = (free_port() for _ in range(3))
        self.folder = workspace.folder(name)
        self.spool = workspace.folder(f"{name}/spool")
        self.config = self.folder / "ejabberd.yml"
        settings = yaml.safe_load(BASE.format(
            host=HOST, remote=REMOTE_HOST, c2s_port=self.c2s_port, api_port=self.api_port,
            resume_timeout=resume_timeout))
        merge(settings, fragment(component, self.secret, self.component_port))
        if not check_from:
            settings["listen"][-1]["check_from"] = False
        if with_muc:
            merge(settings, yaml.safe_load(MUC.format(rooms=ROOMS)))
        if with_mam_never:
            merge(settings, yaml.safe_load(MAM_NEVER))
        merge(settings, extra or {})
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        workspace.on_close(self.stop)

    @staticmethod
    def settings():
        return {}

    def settle(self, client):
        """Copies go out with the stanza itself."""

    def start(self):
        """Ready once the listeners answer, about 1.2 s later."""
        env = {
            "ERL_LIBS": str(_library_folder()),
            "EJABBERD_CONFIG_PATH": str(self.config),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_CRASH_DUMP": os.devnull,
            "HOME": str(self.folder),
        }
        # Without -sname there is no distribution: no epmd, no cookie, and any
        # number of nodes side by side.
        args = ["erl", "-noinput", "+S", "2", "+sbwt", "none",
                "-mnesia", "dir", f'"{self.spool}"']
        if self.cluster:
            args += self.cluster.arguments(self.node)
            env.update(self.cluster.environment)
        args += ["-s", "ejabberd"]
        if self._resolvable:
            args = self._with_address(args)
        self.process = Process("ejabberd", args, self.folder / "stdout.log", env=env,
                               cwd=self.spool)
        self.wait_ready()
        return self

    def _with_address(self, args):
        """With an address for the component's name, as docs/servers.md asks for: in a file
        /etc/hosts of its own."""
        hosts = self.folder / "hosts"
        hosts.write_text(Path("/etc/hosts").read_text() + f"127.0.0.9 {self.component}\n")
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"',
                str(hosts), *args]

    @staticmethod
    def can_have_address():
        """Whether this user may give a process an /etc/hosts of its own."""
        return subprocess.run(["unshare", "--mount", "true"], capture_output=True,
                              check=False).returncode == 0

    def wait_ready(self):
        self.process.wait_ready(
            lambda: all(port_answers(p) for p in (self.component_port, self.c2s_port,
                                                  self.api_port)), 30)

    @property
    def websocket(self):
        """Where clients of the web connect (RFC 7395)."""
        return f"ws://127.0.0.1:{self.api_port}/ws"

    # Administration by mod_http_api on loopback.

    def api(self, command, **arguments):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}/api/{command}",
            data=json.dumps(arguments).encode(), headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20 * PATIENCE) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise HarnessError(f"ejabberd {command}: {error.code} {error.read()!r}") from error

    def register(self, user, password, host=HOST):
        self.api("register", user=user, host=host, password=password)

    def ensure(self, user, password, host=HOST):
        """An account that a killed node may have forgotten: ejabberd writes them down late."""
        if self.api("check_account", user=user, host=host) != 0:
            self.register(user, password, host)

    def unregister(self, user, host=HOST):
        self.api("unregister", user=user, host=host)

    def offline_count(self, user, host=HOST):
        answer = self.api("get_offline_count", user=user, server=host)
        return answer["value"] if isinstance(answer, dict) else int(answer)

    def kick(self, user, resource, host=HOST):
        self.api("kick_session", user=user, host=host, resource=resource, reason="test")

    def sessions(self, user, host=HOST):
        """Resources of the user that have a session, hibernating ones included."""
        return sorted(entry["resource"] if isinstance(entry, dict) else entry
                      for entry in self.api("user_sessions_info", user=user, host=host))

    def connected_users(self):
        return self.api("connected_users")

    def log_text(self):
        return (self.folder / "ejabberd.log").read_text(errors="replace")

    def component_connections(self):
        """How often a component shook hands since the node was first started."""
        return self.log_text().count("Accepted external component handshake")

    def component_refusals(self):
        return self.log_text().count("Failed external component handshake")

    def wait_no_session(self, user, timeout=10):
        wait_until(lambda: not self.sessions(user), timeout, f"{user} has no session")

    def create_room(self, room):
        self.api("create_room", name=room, service=ROOMS, host=HOST)


# What ejabberd_cluster:join does, before ejabberd is started for the first time: there is then
# nothing to stop and to forget.  At a later start it changes nothing.
JOIN = """
ok = mnesia:start(), First = '{first}',
mnesia:change_config(extra_db_nodes, [First]),
mnesia:change_table_copy_type(schema, node(), disc_copies),
[mnesia:add_table_copy(T, node(), rpc:call(First, mnesia, table_info, [T, storage_type]))
 || T <- mnesia:system_info(tables), T =/= schema,
    not lists:member(node(), mnesia:table_info(T, all_nodes))].
"""


class Cluster:
    """Nodes that are one server: on loopback, with an epmd and a cookie of their own."""

    def __init__(self, workspace, size=2, **options):
        self.secret = secrets.token_hex(16)
        self._cookie = secrets.token_hex(16)
        port = free_port()
        self.environment = {"ERL_EPMD_PORT": str(port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        self._epmd = Process("epmd", ["epmd", "-port", str(port)],
                             workspace.folder("epmd") / "epmd.log", env=self.environment)
        workspace.on_close(self._epmd.stop)
        self._epmd.wait_ready(lambda: port_answers(port), 10)
        self.nodes = [Ejabberd(workspace, name=f"n{number + 1}", cluster=self, **options)
                      for number in range(size)]
        for node in self.nodes:
            node.start()
        wait_until(lambda: self.running() == sorted(node.node for node in self.nodes), 20,
                   "the nodes are one cluster")

    def arguments(self, node):
        arguments = ["-sname", node, "-setcookie", self._cookie, "-start_epmd", "false",
                     "-kernel", "inet_dist_use_interface", "{127,0,0,1}"]
        first = self.nodes[0].node
        return arguments if node == first else [*arguments, "-eval", JOIN.format(first=first)]

    def call(self, node, module, function, arguments="[]"):
        """A function of a node, with its arguments as an Erlang list; the answer as text."""
        done = subprocess.run(
            ["erl_call", "-sname", node.node, "-c", self._cookie, "-timeout", "30",
             "-a", f"{module} {function} {arguments}"],
            env={**os.environ, **self.environment, "HOME": str(node.folder)},
            capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise HarnessError(f"{node.node} {module}:{function}: {done.stdout}{done.stderr}")
        return done.stdout

    def running(self, seen_by=0):
        answer = self.call(self.nodes[seen_by], "ejabberd_cluster", "get_nodes")
        return sorted(word.strip(" '[]\n") for word in answer.split(","))


def new_password():
    return base64.b32encode(os.urandom(10)).decode().lower()
