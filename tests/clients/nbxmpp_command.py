#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nbxmpp, the library of Gajim: finds a command at a component, fills its form in and submits it,
as Gajim's window for commands does."""

import json
import sys
import traceback

from gi.repository import GLib
from nbxmpp.const import AdHocAction
from nbxmpp.modules.dataforms import extend_form

from nbxmpp_login import be_done, give_up, log_in, say


def result_of(task):
    try:
        return task.finish()
    except Exception:
        give_up(traceback.format_exc())


class Runner:
    """Each step is a method: nbxmpp keeps no other callback alive."""

    def __init__(self, config):
        self.component, self.node = config["component"], config["node"]
        self.values = config["values"]
        self.client = log_in(config, self.list)
        self.commands = self.client.get_module("AdHoc")

    def list(self):
        self.commands.request_command_list(self.component, callback=self.choose)

    def choose(self, task):
        listed = result_of(task)
        say({"commands": {command.node: command.name for command in listed}})
        for command in listed:
            if command.node == self.node:
                self.commands.execute_command(command, callback=self.fill_in)

    def fill_in(self, task):
        command = result_of(task)
        form = extend_form(node=command.data)
        say({"status": command.status.value, "default": command.default.value,
             "fields": [field.var for field in form.iter_fields()]})
        for var, value in self.values.items():
            form[var].value = value
        form.type_ = "submit"
        self.commands.execute_command(command, AdHocAction.COMPLETE, form, callback=self.end)

    def end(self, task):
        command = result_of(task)
        say({"status": command.status.value, "notes": [note.text for note in command.notes]})
        be_done()


runner = Runner(json.loads(sys.stdin.readline()))
GLib.MainLoop().run()
