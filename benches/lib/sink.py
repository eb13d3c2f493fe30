"""Many downloads at once, thrown away as cheaply as can be, so that the server is what is measured.

    python3 sink.py '{"url": "https://127.0.0.1:8443/images/x", "clients": 8, "seconds": 60}'

Prints one JSON line. Over http the kernel is asked to drop what arrives instead of copying it (MSG_TRUNC, tcp(7)). Over
https the handshake and the head of the answer are done in earnest, and of the rest the TLS records are counted and dropped
without being decrypted: what the server has to do is the same, and what arrives is counted to the last record. A client
that must check or keep what it gets is slower than this one; it is the same for all servers.

Many clients are spread over one process for each processor. In one process they would be the limit of a quick server: its connections would all
be full, so that most packets were sent, on loopback, by whoever reads, in the time of that one processor.

`rate` (bytes a second and client) makes slow clients. `seconds` bounds the whole; downloads that are then unfinished
count with what they got. Each client asks once, with "Connection: close", and reads to the end of the connection.
"""

import json
import multiprocessing
import os
import selectors
import socket
import ssl
import sys
import time
import urllib.parse

PIECE = 1 << 20


class Download:
    """One connection, one request."""

    def __init__(self, url, headers, rate):
        self.url = urllib.parse.urlsplit(url)
        self.rate = rate
        self.received = 0  # bytes off the wire since the request, head included
        self.head = b""
        self.done = None
        self.socket = socket.create_connection((self.url.hostname, self.url.port))
        if rate:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.tls = self._handshake() if self.url.scheme == "https" else None
        target = self.url.path + ("?" + self.url.query if self.url.query else "")
        lines = [f"GET {target} HTTP/1.1", f"Host: {self.url.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.request = ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _handshake(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                self._flush()
                return tls
            except ssl.SSLWantReadError:
                self._flush()
                data = self.socket.recv(1 << 16)
                if not data:
                    raise ConnectionError("the server ended the connection within the handshake")
                self.incoming.write(data)

    def _flush(self):
        data = self.outgoing.read()
        if data:
            self.socket.sendall(data)

    def begin(self):
        if self.tls:
            self.tls.write(self.request)
            self._flush()
        else:
            self.socket.sendall(self.request)
        self.socket.setblocking(False)

    def has_head(self):
        return b"\r\n\r\n" in self.head

    def read(self, buffer, most):
        """Takes what is there; False at the end."""
        try:
            if self.has_head():
                got = self.socket.recv_into(buffer, min(most, len(buffer)), socket.MSG_TRUNC)
            else:
                data = self.socket.recv(4096)
                got = len(data)
                self._take_head(data)
        except BlockingIOError:
            return True
        self.received += got
        return got > 0

    def _take_head(self, data):
        if self.tls:
            self.incoming.write(data)
            try:
                self.head += self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                pass
        else:
            self.head += data


def run(job):
    """The downloads of one process or several, which begin together."""
    processes = min(job["clients"], os.cpu_count() or 1)
    shares = [len(range(number, job["clients"], processes)) for number in range(processes)]
    if processes == 1:
        return share(job)
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(processes)
    with fork.Pool(processes, initializer=_begin_at, initargs=(together,)) as pool:
        results = pool.map(share, [{**job, "clients": clients} for clients in shares], chunksize=1)
    all_of_them = dict(results[0])
    for key in ("received", "finished", "each", "cpu", "status"):
        all_of_them[key] = sum((one[key] for one in results[1:]), start=results[0][key])
    return {
        **all_of_them,
        "seconds": max(one["seconds"] for one in results),
        "cpu": all_of_them["cpu"] + time.process_time(),
        "status": sorted(set(all_of_them["status"])),
    }


TOGETHER = None


def _begin_at(together):
    global TOGETHER
    TOGETHER = together


def share(job):
    """The downloads of one process."""
    downloads = [Download(job["url"], job.get("headers", {}), job.get("rate", 0)) for _ in range(job["clients"])]
    cipher = downloads[0].tls.cipher()[0] if downloads[0].tls else None
    buffer = bytearray(PIECE)
    if TOGETHER:
        TOGETHER.wait(60)
    began = time.perf_counter()
    for one in downloads:
        one.begin()
    drain = trickle if job.get("rate") else race
    drain(downloads, buffer, began, began + job["seconds"])
    wall = time.perf_counter() - began
    heads = {one.head.split(b"\r\n")[0].decode("latin-1") for one in downloads if one.has_head()}
    return {
        "seconds": wall,
        "received": sum(one.received for one in downloads),
        "finished": sum(one.done is not None for one in downloads),
        "each": [one.received for one in downloads],
        "cpu": time.process_time(),
        "status": sorted(heads),
        "cipher": cipher,
        "head": downloads[0].head.split(b"\r\n\r\n")[0].decode("latin-1"),
    }


def race(downloads, buffer, _began, deadline):
    """As fast as it comes."""
    waiting = selectors.DefaultSelector()
    for one in downloads:
        waiting.register(one.socket, selectors.EVENT_READ, one)
    left = len(downloads)
    while left and time.perf_counter() < deadline:
        for key, _ in waiting.select(timeout=1):
            one = key.data
            if not one.read(buffer, PIECE):
                one.done = time.perf_counter()
                waiting.unregister(one.socket)
                left -= 1


def trickle(downloads, buffer, began, deadline):
    """Each client at its own rate: a step every 50 ms."""
    left = set(downloads)
    while left and time.perf_counter() < deadline:
        time.sleep(0.05)
        now = time.perf_counter()
        for one in list(left):
            behind = int(one.rate * (now - began)) - one.received
            if behind > 0 and not one.read(buffer, min(behind, PIECE)):
                one.done = now
                left.discard(one)


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
