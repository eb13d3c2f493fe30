"""A list over the API while 2,000 connections are idle or send a byte a second: answered in less than a second, below 200 MiB."""

import resource
import socket
import ssl
import threading
import time

from lib import images
from lib.client import Client
from lib.place import Place, need
from lib.report import Report
from lib.servers import Headwater
from lib.stats import percentile
from lib.units import MIB

IMAGES = 20
LIMIT = 200 * MIB
ANSWER = 1.0  # seconds
PATH = "/1.0/images?recursion=1"
HEAD = b"GET /1.0/images HTTP/1.1\r\nHost: x\r\nX-Slow: "
HELLO = b"\x16\x03\x01\x01\x40\x01\x00\x01\x3c\x03\x03"


def run(options):
    need("openssl")
    count, seconds = (200, 5) if options.quick else (2000, 40)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Place(options.binary) as place:
        report = Report("slow", f"Slow clients: {count:,} connections that hardly say anything", ["alone", "beside them"], options.command)
        report.note(
            f"{IMAGES} tiny images, listed as objects, each time over a new connection with TLS 1.3. A quarter each of the slow connections says "
            "nothing, sends the head of a request or of a TLS handshake at a byte a second, or has made a handshake and asks nothing. "
            "Those that the server gives up (limits.handshake_seconds, limits.idle_seconds) are opened again."
        )
        headwater = Headwater(place)
        for number in range(IMAGES):
            path = place.path("images", f"{number}.tar.gz")
            images.unified(path, number)
            headwater.publish(path)
        headwater.start()
        client = Client(headwater.https)
        client.json(PATH)
        alone = _ask(client, seconds / 4)
        headwater.process.forget_peak()
        with Slow(headwater.port, count) as slow:
            beside = _ask(client, seconds)
        report.row("list of images", "time", "s", alone, beside, compared=False)
        report.limit("list of images, beside them", "time, longest", "s", max(beside), ANSWER)
        report.limit("server", "resident memory, most", "B", headwater.process.rss_peak(), LIMIT)
        report.note(
            f"{len(beside)} lists; 99 of 100 in less than {percentile(beside, 0.99) * 1000:.0f} ms. "
            f"{slow.opened - count} connections were given up by the server and opened again."
        )
        return report.finish(options.results)


def _ask(client, seconds):
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        client.json(PATH)
        times.append(time.perf_counter() - began)
        time.sleep(0.05)
    return times


class Slow:
    """So many connections that are kept open, each by a turn once a second."""

    def __init__(self, port, count):
        self.port, self.count, self.opened = port, count, 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.ending = threading.Event()

    def __enter__(self):
        self.connections = [self._open(number % 4) for number in range(self.count)]
        self.thread = threading.Thread(target=self._turns)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        for _, stream, _ in self.connections:
            stream.close()

    def _open(self, kind):
        stream = socket.create_connection(("127.0.0.1", self.port), 30)
        if kind == 3:
            stream = self.context.wrap_socket(stream)
        stream.setblocking(False)
        self.opened += 1
        return kind, stream, 0

    def _turns(self):
        while not self.ending.wait(1.0):
            for number, (kind, stream, said) in enumerate(self.connections):
                if self._turn(kind, stream, said):
                    self.connections[number] = (kind, stream, said + 1)
                else:
                    stream.close()
                    self.connections[number] = self._open(kind)

    def _turn(self, kind, stream, said):
        """Says a byte, if it is of a kind that does; whether the connection is still there."""
        try:
            if kind in (1, 2):
                text = HEAD if kind == 1 else HELLO
                stream.send(text[said : said + 1] or b"x")
            return stream.recv(1) != b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
