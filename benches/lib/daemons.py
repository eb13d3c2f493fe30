"""The real LXD and Incus daemons as peers: started by the end-to-end kit, filled over their unix sockets, asked over TLS like any
server by a guest.

    lxd = Daemon(place, "lxd")
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

HELPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "daemon.sh")


# What the kit calls each, and how the headers of an upload begin.
CLIENTS = {"lxd": ("lxc", "X-LXD"), "incus": ("incus", "X-Incus")}


class Daemon:
    def __init__(self, place, name):
        self.name = name
        self.client, self.header = CLIENTS[name]
        self.log = place.path(name + ".log")

    def start(self):
        self.helper = Process(["bash", HELPER, self.client], self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Ending the helper with a signal would work too, but closing its input lets it tidy up first.
        self.helper.end = self._end
        line = self.helper.child.stdout.readline().decode().split()
        if len(line) != 3:
            raise Failed(f"{self.name} did not start: {self.helper.tail()}")
        address, self.socket, pid = line
        self.https = "https://" + address
        self.process = Started(int(pid))
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
                f"{self.header}-public": "true",
                f"{self.header}-filename": os.path.basename(path),
            }
            operation = self.ask("POST", "/1.0/images", image.read(), headers)["operation"]
        done = self.ask("GET", operation + "/wait?timeout=60")["metadata"]
        if done["status_code"] != 200:
            raise Failed(f"{self.name} did not take {path}: {done['err']}")
        fingerprint = done["metadata"]["fingerprint"]
        self.ask("POST", "/1.0/images/aliases", json.dumps({"name": alias, "target": fingerprint}))
        return fingerprint

    def reconnect(self):
        """Has the next request go over a new connection: after half a minute in which nothing was asked, daemons close theirs."""
        self._connections = threading.local()

    def ask(self, method, path, body=None, headers=None):
        """One request over the unix socket, trusted; the answer's JSON."""
        if not hasattr(self._connections, "one"):
            self._connections.one = UnixConnection(self.socket)
        connection = self._connections.one
        connection.request(method, path, body, headers or {})
        answer = json.load(connection.getresponse())
        if answer["type"] == "error":
            raise Failed(f"{self.name} answered {method} {path} with: {answer['error']}")
        return answer


class Started(Process):
    """The daemon's process, which the helper started and ends."""

    def __init__(self, pid):  # pylint: disable=super-init-not-called
        self.pid = pid


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("daemon", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)
