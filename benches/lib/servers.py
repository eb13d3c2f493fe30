"""The servers that are compared: Headwater, and nginx with the same certificate.

    headwater = Headwater(place)
    headwater.start()
    nginx = Nginx(place, root, headwater.certificate, headwater.key, cipher="TLS_AES_128_GCM_SHA256")
    nginx.start()
    nginx.http, nginx.https        # the addresses' beginnings

LXD is in lib/lxd.py.
"""

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time

from .client import Client
from .place import free_port
from .process import Failed, Process, Run

NGINX = """daemon off;
pid {etc}/pid;
error_log stderr error;
worker_processes 2;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log {log} combined buffer=256k flush=20ms;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    gzip_static on;
    gzip_vary on;
    etag on;
    open_file_cache max=10000;
    default_type application/octet-stream;
    client_body_temp_path {etc}/body;
    proxy_temp_path {etc}/proxy;
    fastcgi_temp_path {etc}/fastcgi;
    uwsgi_temp_path {etc}/uwsgi;
    scgi_temp_path {etc}/scgi;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites {cipher};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_session_cache off;
    server {{
        listen 127.0.0.1:{plain} backlog=4096;
        listen 127.0.0.1:{tls} ssl backlog=4096;
        root {root};
    }}
}}
"""


class Nginx:
    """nginx on the files below `root`: sendfile, two workers, TLS 1.3 with one cipher, and a log of all requests that is written as
    Headwater writes its own: together, within 20 ms."""

    def __init__(self, place, root, certificate, key, cipher, name="nginx"):
        self.name, self.etc = name, place.path(name, "")
        self.log = place.path(name, "log")
        self.plain, self.tls = free_port(), free_port()
        self.http, self.https = f"http://127.0.0.1:{self.plain}", f"https://127.0.0.1:{self.tls}"
        user = "user root;" if os.getuid() == 0 else ""
        with open(self.etc + "nginx.conf", "w") as conf:
            conf.write(
                NGINX.format(
                    etc=self.etc, log=place.path(name, "access.log"), user=user, root=root, plain=self.plain, tls=self.tls, cipher=cipher,
                    certificate=certificate, key=key,
                )
            )  # fmt: skip

    def start(self):
        self.process = Process(["nginx", "-e", "stderr", "-c", self.etc + "nginx.conf", "-p", self.etc], self.log)
        wait_for_port(self, self.plain)


def _digest(file):
    with open(file, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


class Headwater:
    """The built program, with a data folder below `place` (or the one that is given), and its command line on the same folder."""

    name = "headwater"

    def __init__(self, place, folder="headwater", data=None):
        self.binary = place.binary
        self.data = data or place.path(folder, "")
        self.log = place.path(folder + ".log")
        self.port = free_port()
        self.http, self.https = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.port}"
        self.certificate = os.path.join(self.data, "tls", "server.crt")
        self.key = os.path.join(self.data, "tls", "server.key")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HEADWATER_")}
        # Made-up catalogs are of a day long ago; nothing is to be tidied up while it is measured.
        self.env["HEADWATER_AUDIT_DAYS"] = "0"
        # Made-up catalogs name files that nothing has, and what is measured is not to depend on how far builds are.
        self.env["HEADWATER_DELTAS_ENABLED"] = "false"

    def start(self, **how):
        """Starts the server; returns the seconds from there until it said that it is ready."""
        command = [self.binary, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        began = time.perf_counter()
        self.process = Process(command, self.log, env=self.env, **how)
        return wait_until_ready(self, began)

    def run(self, *arguments):
        """A verb of the command line; returns the finished Run."""
        return Run([self.binary, *arguments, "--data", self.data], env=self.env)

    def publish(self, *arguments):
        """Publishes, publicly; returns (fingerprint, Run)."""
        run = self.run("publish", *arguments, "--public", "--format", "json")
        return json.loads(run.output)["fingerprint"], run

    def remove(self):
        shutil.rmtree(self.data)

    def blob(self, file):
        """Where the store has a published file."""
        digest = _digest(file)
        return os.path.join(self.data, "blobs", "sha256", digest[:2], digest)

    def file_path(self, file):
        """The path at which the streams name a published file."""
        digest = _digest(file)
        client = Client(self.https)
        for index in client.json("/streams/v1/index.json")["index"].values():
            for product in client.json("/" + index["path"])["products"].values():
                for version in product["versions"].values():
                    for item in version["items"].values():
                        if item["sha256"] == digest:
                            return "/" + item["path"]
        raise Failed(f"the streams name no file with the SHA-256 {digest}")


def wait_for_port(server, port, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not server.process.alive():
            raise Failed(f"{server.name} ended: {server.process.tail()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Failed(f"{server.name} does not listen on port {port}: {server.process.tail()}")


def wait_until_ready(server, began, seconds=120):
    """Asks /readyz again and again, a millisecond apart; returns the seconds since `began`."""
    while time.perf_counter() - began < seconds:
        if not server.process.alive():
            raise Failed(f"{server.name} ended: {server.process.tail()}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=seconds)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return time.perf_counter() - began
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.001)
    raise Failed(f"{server.name} was not ready after {seconds} s: {server.process.tail()}")


def certificate(place):
    """A P-256 certificate of our own, for runs without Headwater. Returns (certificate, key)."""
    crt, key = place.path("tls", "server.crt"), place.path("tls", "server.key")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost"
    said = subprocess.run([*command.split(), "-keyout", key, "-out", crt], capture_output=True, text=True, check=False)
    if said.returncode:
        raise Failed(f"openssl made no certificate: {said.stderr}")
    return crt, key
