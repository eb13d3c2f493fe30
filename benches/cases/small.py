"""Small answers (one image, one alias, index.json, images.json, "not changed"), requests a second beside nginx with the same bytes."""

import os

from lib import images, load
from lib.client import HEADERS, Client
from lib.place import Place, need
from lib.process import Failed
from lib.report import Report
from lib.servers import Headwater, Nginx, certificate
from lib.stats import in_turn

IMAGES = 20
CONNECTIONS = 16
THREADS = 2  # of wrk: one of them is busier with a handshake than the server is
SECONDS = 3
GZIP = "Accept-Encoding: gzip"
AIM_KEPT, AIM_NEW = 0.9, 1.0  # of nginx's requests a second


def run(options):
    need("nginx", "wrk", "openssl")
    with Place(options.binary) as place:
        seconds = 1 if options.quick else SECONDS
        first, second, paths = (_itself if options.itself else _servers)(place)
        report = Report("small", "Small answers beside nginx", [first.name, second.name], options.command)
        report.note(f"{IMAGES} tiny images. nginx serves the bodies that Headwater answered with, as files (gzip_static).")
        report.note(
            f"wrk with {CONNECTIONS} connections in {THREADS} threads for {seconds} s, https with TLS 1.3, the same certificate and cipher; `new`: a "
            "connection and handshake for each request. wrk and server share the cores. Both servers write a line of log for each request."
        )
        for name, path, headers in _requests(first, second, paths):
            for keep in (True, False):
                _compare(report, (first, second), f"{name}, {'kept' if keep else 'new'}", path, headers, keep, options.rounds, seconds)
        return report.finish(options.results)


def _servers(place):
    """Headwater with some images, and nginx with what Headwater answers as files at the same paths."""
    headwater = Headwater(place)
    for number in range(IMAGES):
        path = place.path("images", f"{number}.tar.gz")
        images.unified(path, number)
        fingerprint, _ = headwater.publish(path, "--alias", _alias(number))
    headwater.start()
    client = Client(headwater.https)
    index = client.json("/streams/v1/index.json")
    products = "/" + next(iter(index["index"].values()))["path"]
    paths = {
        "one image (API)": f"/1.0/images/{fingerprint}",
        "one alias (API)": f"/1.0/images/aliases/{_alias(IMAGES // 2)}",
        "index.json": "/streams/v1/index.json",
        "images.json": products,
    }
    www = place.path("www", "")
    for path in paths.values():
        for coding, suffix in (("identity", ""), ("gzip", ".gz")):
            answer, body = client.get(path, **{"Accept-Encoding": coding})
            if coding == "identity" or answer.headers["Content-Encoding"] == "gzip":
                _write(www + path.lstrip("/") + suffix, body)
    cipher = load.download(headwater.https + "/1.0", 1, 10)["cipher"]
    nginx = Nginx(place, www, headwater.certificate, headwater.key, cipher)
    nginx.start()
    return headwater, nginx, paths


def _alias(number):
    return f"bench-{number:06d}"


def _itself(place):
    crt, key = certificate(place)
    www = place.path("www", "")
    _write(www + "images.json", os.urandom(20000))
    both = [Nginx(place, www, crt, key, "TLS_AES_128_GCM_SHA256", name) for name in ("nginx", "nginx-again")]
    for one in both:
        one.start()
    return *both, {"images.json": "/images.json"}


def _write(path, body):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(body)


def _requests(first, second, paths):
    """(name, path, headers per side) of what is asked for; conditions carry each server's own ETag."""
    for name, path in paths.items():
        yield name, path, ((), ())
    path = paths["images.json"]
    yield "images.json, gzip", path, ((GZIP,), (GZIP,))
    yield "images.json, not changed", path, tuple(_condition(side, path) for side in (first, second))


def _condition(side, path):
    """The headers to which the server answers that nothing changed. Of which document that is true depends on the User-Agent."""
    client, plain = Client(side.https), {"Accept-Encoding": "identity"}
    tag = client.get(path, **plain)[0].headers["ETag"]
    headers = {"If-None-Match": tag, "User-Agent": HEADERS["User-Agent"]}
    status = client.get(path, **plain, **headers)[0].status
    if status != 304:
        raise Failed(f"{side.name} answers {status} to a request with the tag that it gave")
    return tuple(f"{name}: {value}" for name, value in headers.items())


def _compare(report, sides, what, path, headers, keep, rounds, seconds):
    loads = [
        lambda s=side, h=own: load.measured(
            s, report, lambda: load.wrk(s.https + path, CONNECTIONS, seconds, h, keep, threads=THREADS)
        )
        for side, own in zip(sides, headers)
    ]
    results = in_turn(rounds, *loads)
    rates = [[one["rate"] for one in side] for side in results]
    report.row(what, "requests a second", "", *rates, better="higher", aim=AIM_KEPT if keep else AIM_NEW)
    report.row(what, "server CPU per request", "s", *([one["server_cpu"] / one["requests"] for one in side] for side in results))
    report.row(what, "slowest 1 %", "s", *([one["p99"] for one in side] for side in results))
