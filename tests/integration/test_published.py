# SPDX-License-Identifier: Apache-2.0
"""The settings that administrators begin with, config/*/sidecar.yml.  What the servers are told
there (ejabberd.yml, prosody.cfg.lua, prosody.pfw, openfire.properties) all other tests run on."""

import subprocess

import pytest
import yaml

from harness.procs import ROOT
from harness.servers import KINDS
from harness.sidecar import build_folder


def check(path):
    done = subprocess.run([build_folder() / "xmpp-sidecar", "-c", path, "check"],
                          capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("kind", [path.parent.name for path in
                                  sorted((ROOT / "config").glob("*/sidecar.yml"))])
def test_they_are_accepted(kind):
    path = ROOT / "config" / kind / "sidecar.yml"
    assert check(path) == (0, "")
    assert yaml.safe_load(path.read_text())["xmpp"]["server"] == kind


def test_every_server_has_its_folder():
    assert {path.name for path in (ROOT / "config").iterdir() if path.is_dir()} >= set(KINDS)
