"""The real LXD daemon as a peer: started by the end-to-end kit, filled over its unix socket, asked over TLS like any
server by a guest.

    lxd = Lxd(place)
    lxd.start()
    lxd.take_in(path, "alias")      # a public image
"""

import http.client
import json
import os
import socket
import subprocess
import threading

from .process import Failed, Process

HELPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lxd.sh")


class Lxd:
    name = "lxd"

    def __init__(self, place):
        self.log = place.path("lxd.log")

    def start(self):
        self.helper = Process(["bash", HELPER], self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Ending the helper with a signal would work too, but closing its input lets it tidy up first.
        self.helper.end = self._end
        line = self.helper.child.stdout.readline().decode().split()
        if len(line) != 3:
            raise Failed(f"LXD did not start: {self.helper.tail()}")
        address, self.socket, pid = line
        self.https = "https://" + address
        self.process = Daemon(int(pid))
        self._connections = threading.local()

    def _end(self):
        self.helper.child.stdin.close()
        try:
            self.helper.child.wait(60)
        except subprocess.TimeoutExpired:
            self.helper.child.terminate()
            self.helper.child.wait(60)

    def take_in(self, path, alias):
        """Imports a unified image, publicly, with an alias; returns its fingerprint."""
        with open(path, "rb") as image:
            headers = {
                "Content-Type": "application/octet-stream",
                "X-LXD-public": "true",
                "X-LXD-filename": os.path.basename(path),
            }
            operation = self.ask("POST", "/1.0/images", image.read(), headers)["operation"]
        done = self.ask("GET", operation + "/wait?timeout=60")["metadata"]
        if done["status_code"] != 200:
            raise Failed(f"LXD did not take {path}: {done['err']}")
        fingerprint = done["metadata"]["fingerprint"]
        self.ask("POST", "/1.0/images/aliases", json.dumps({"name": alias, "target": fingerprint}))
        return fingerprint

    def ask(self, method, path, body=None, headers=None):
        """One request over the unix socket, trusted; the answer's JSON."""
        if not hasattr(self._connections, "one"):
            self._connections.one = UnixConnection(self.socket)
        connection = self._connections.one
        connection.request(method, path, body, headers or {})
        answer = json.load(connection.getresponse())
        if answer["type"] == "error":
            raise Failed(f"LXD answered {method} {path} with: {answer['error']}")
        return answer


class Daemon(Process):
    """The daemon's process, which the helper started and ends."""

    def __init__(self, pid):  # pylint: disable=super-init-not-called
        self.pid = pid


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("lxd", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)
