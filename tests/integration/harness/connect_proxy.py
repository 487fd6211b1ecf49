# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy on loopback that knows CONNECT alone (RFC 9110 section 9.3.6)."""

import base64
import socket
import threading


class ConnectProxy:
    """Opens a way to whatever is named, and remembers to where; .answer is what it says instead
    (b"": nothing at all), .credentials what it wants to hear."""

    def __init__(self, workspace):
        self.targets, self.refused = [], 0
        self.answer = None
        self.credentials = None
        self._listener = None
        self.port = 0
        self.listen()
        workspace.on_close(self.close)

    def listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def url(self, credentials=""):
        return f"http://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}"

    def close(self):
        """Nobody gets in any more; the ways that are open stay."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _allows(self, lines):
        if self.credentials is None:
            return True
        wanted = b"Basic " + base64.b64encode(self.credentials.encode())
        said = [line.split(b":", 1)[1].strip() for line in lines
                if line.lower().startswith(b"proxy-authorization:")]
        return said == [wanted]

    def _serve(self, near):
        with near:
            head = b""
            while b"\r\n\r\n" not in head:
                data = near.recv(4096)
                if not data:
                    return
                head += data
            request, *lines = head.split(b"\r\n")
            method, target, version = request.split(b" ")
            assert (method, version) == (b"CONNECT", b"HTTP/1.1"), request
            answer = self.answer
            if answer is None and not self._allows(lines):
                answer = (b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                          b"Proxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n")
            if answer is not None:
                self.refused += 1
                near.sendall(answer)
                while near.recv(4096):
                    pass
                return
            host, port = target.decode().rsplit(":", 1)
            self.targets.append((host, int(port)))
            with socket.create_connection((host, int(port)), 5) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
                back.start()
                self._copy(near, far)
                back.join()

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
