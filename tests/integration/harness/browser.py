# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, spoken to over a pair of pipes (its DevTools protocol), and a small web
server for the page of the client under test."""

import base64
import functools
import http.server
import itertools
import json
import os
import queue
import shutil
import threading

from .procs import ROOT, HarnessError, Process

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
CONVERSE = ROOT / "build" / "clients" / "node_modules" / "converse.js" / "dist"


def program():
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


class Site:
    """Files of one folder at http://127.0.0.1:port/."""

    def __init__(self, workspace, folder):
        handler = functools.partial(_Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        workspace.on_close(self.server.shutdown)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Browser:
    """One page."""

    def __init__(self, workspace, width=1200, height=800):
        folder = workspace.folder("browser")
        to_them, ours_out = os.pipe()
        ours_in, from_them = os.pipe()
        # The protocol's pipes are descriptors 3 and 4.
        command = f"exec 3<&{to_them} 4>&{from_them}; exec \"$@\""
        self.process = Process("chromium", [
            "bash", "-c", command, "bash", program(), "--headless", "--no-sandbox", "--disable-gpu",
            "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
            "--hide-scrollbars", f"--window-size={width},{height}", "about:blank"],
            folder / "chromium.log", pass_fds=(to_them, from_them))
        workspace.on_close(self.process.stop)
        os.close(to_them)
        os.close(from_them)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self._numbers, self._answers, self.console = itertools.count(1), {}, []
        threading.Thread(target=self._read, daemon=True).start()
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime"):
            self.command(f"{domain}.enable")
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=1, mobile=False)

    _session = None

    def _read(self):
        buffer = b""
        while chunk := self._in.read1(1 << 16):
            *messages, buffer = (buffer + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if message.get("id") in self._answers:
                    self._answers[message["id"]].put(message)
                elif message.get("method") == "Runtime.consoleAPICalled":
                    self.console.append(" ".join(str(argument.get("value"))
                                                 for argument in message["params"]["args"]))

    def command(self, method, timeout=30, **params):
        number = next(self._numbers)
        answer = self._answers[number] = queue.Queue()
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        try:
            message = answer.get(timeout=timeout)
        except queue.Empty:
            raise HarnessError(f"the browser does not answer {method}:\n"
                               + self.process.log_tail()) from None
        if "error" in message:
            raise HarnessError(f"{method}: {message['error']}")
        return message["result"]

    def go(self, url):
        self.command("Page.navigate", url=url)

    def run(self, expression, timeout=30):
        """Evaluates in the page; a promise is awaited."""
        result = self.command("Runtime.evaluate", timeout, expression=expression,
                              awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def screenshot(self, path):
        picture = self.command("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(picture))
