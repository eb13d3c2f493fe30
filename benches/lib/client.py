"""One client that asks a server one thing after another over TLS, as lxc does: HTTP/1.1, TLS 1.3, no certificate of its
own, "Accept-Encoding: gzip".

    client = Client(server.https)
    client.json("/1.0")                                 # the document
    client.median("/1.0/images?recursion=1", keep=False)    # {"seconds": …, "size": …}
"""

import gzip
import http.client
import json
import ssl
import time
import urllib.parse
from statistics import median

from .process import Failed

HEADERS = {"User-Agent": "LXD 5.0.2 (Linux; x86_64; 6.1.0; Debian GNU/Linux; 12)", "Accept-Encoding": "gzip"}


class Client:
    def __init__(self, base):
        self.address = urllib.parse.urlsplit(base)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols(["http/1.1"])

    def _connect(self):
        return http.client.HTTPSConnection(self.address.hostname, self.address.port, timeout=120, context=self.context)

    def _ask(self, connection, path, headers):
        connection.request("GET", path, headers={**HEADERS, **headers})
        answer = connection.getresponse()
        return answer, answer.read()

    def get(self, path, **headers):
        """The answer (status, headers) and its body as it was sent."""
        connection = self._connect()
        try:
            return self._ask(connection, path, headers)
        finally:
            connection.close()

    def stream(self, path, began, **headers):
        """One request over a new connection: (status and headers, seconds from `began` to them and to the end, the body)."""
        connection = self._connect()
        try:
            connection.request("GET", path, headers={**HEADERS, **headers})
            answer = connection.getresponse()
            heads = time.perf_counter() - began
            body = answer.read()
            return answer, heads, time.perf_counter() - began, body
        finally:
            connection.close()

    def pieces(self, path):
        """An answer of any length, not compressed, as it comes."""
        connection = self._connect()
        try:
            connection.request("GET", path, headers={**HEADERS, "Accept-Encoding": "identity"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise Failed(f"GET {path} was answered with {answer.status}")
            while piece := answer.read(1 << 20):
                yield piece
        finally:
            connection.close()

    def json(self, path):
        answer, body = self.get(path)
        if answer.status != 200:
            raise Failed(f"GET {path} was answered with {answer.status}: {body[:200]!r}")
        return json.loads(gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body)

    def median(self, path, keep, seconds=1.0, least=3, most=200):
        """Asks for `seconds`, between `least` and `most` times, over one connection or with a new one each time (handshake
        included). Returns the median time, the time all took, and the body's size on the wire."""
        times, size = [], 0
        connection = self._connect() if keep else None
        if keep:
            self._ask(connection, path, {})  # the handshake, and what the server does only once
        began, cpu = time.perf_counter(), time.process_time()
        while len(times) < least or (len(times) < most and time.perf_counter() - began < seconds):
            start = time.perf_counter()
            one = connection or self._connect()
            answer, body = self._ask(one, path, {} if keep else {"Connection": "close"})
            if not keep:
                one.close()
            times.append(time.perf_counter() - start)
            size = len(body)
            if answer.status != 200:
                raise Failed(f"GET {path} was answered with {answer.status}")
        if connection:
            connection.close()
        return {"seconds": median(times), "requests": len(times), "size": size, "cpu": time.process_time() - cpu}
