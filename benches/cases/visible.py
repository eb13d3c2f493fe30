"""From publish to visible in images.json, by the number of versions, beside incus-simplestreams on the same tree."""

import gzip
import hashlib
import os
import time

from lib import images
from lib.catalogs import catalog
from lib.chart import Chart
from lib.client import Client
from lib.machine import Others
from lib.place import Place, need
from lib.process import Failed, Run
from lib.report import Report
from lib.servers import Headwater
from lib.stats import in_turn, median

COUNTS = (2_000, 34_000, 167_000)  # images: containers and virtual machines share versions, three versions for five images
QUICK = (1_000, 5_000)
GOAL = 0.020  # seconds from the end of a publication to the headers of the new document, with the most versions
DOCUMENT = "/streams/v1/images.json"


def run(options):
    need("incus-simplestreams", "mksquashfs", "openssl")
    counts = QUICK if options.quick else COUNTS
    with Place(options.binary) as place:
        report = Report("visible", "From publish to visible", ["headwater", "incus-simplestreams"], options.command)
        report.note(
            "A new version (two files of a few hundred bytes) of one of the products is published beside a running server by `headwater publish`. As soon as that has "
            "ended, a new connection (TLS 1.3) asks for images.json with gzip: to its headers, which have a new ETag, and to the end of "
            "the document, which is long and lists the version. Before that, the document was asked for as it was."
        )
        report.note(
            "incus-simplestreams: `incus-simplestreams add` of the same files to a tree with the same images.json, which it reads and writes as a whole. "
            "What a web server does to send it afterwards is not counted."
        )
        lines = {"headwater, to the headers": [], "headwater, to the end": [], "headwater, publish to the end": [], "incus-simplestreams add": []}
        for count in counts:
            _one(place, report, catalog(count), options.rounds, lines, count == counts[-1])
        chart = Chart("From publish to visible, by the number of versions", "versions in the catalog", "time (ms)")
        for name, points in lines.items():
            chart.line(name, points, dashed=name.startswith("incus"))
        report.picture("visible", chart)
        return report.finish(options.results)


def _one(place, report, held, rounds, lines, last):
    versions = held.facts["versions"]
    folder = f"headwater-{versions}"
    server = Headwater(place, folder, held.copy(place.path(folder, "")))
    server.start()
    client = Client(server.https)
    tree = place.path(f"tree-{versions}", "")
    first, size = _tree(client, tree)
    numbers = iter(range(1, 10**6))

    def ours():
        metadata, root, before = _new(place, versions, numbers, "ours", client)
        others, spent = Others(), server.process.cpu_seconds() + time.process_time()
        began = time.perf_counter()
        fingerprint, run = server.publish(metadata, root)
        ended = time.perf_counter()
        heads, end = _until_listed(client, fingerprint, before, ended)
        report.others.append(others.share(run.cpu + server.process.cpu_seconds() + time.process_time() - spent))
        return {"heads": heads, "end": end, "whole": ended - began + end}

    def theirs():
        metadata, root, _ = _new(place, versions, numbers, "theirs", None)
        run = Run(["sh", "-c", 'cd "$1" && exec incus-simplestreams add "$2" "$3"', "sh", tree, metadata, root])
        with open(root, "rb") as data, open(os.path.join(tree, "streams", "v1", "images.json")) as document:
            if hashlib.file_digest(data, "sha256").hexdigest() not in document.read():
                raise Failed(f"incus-simplestreams did not list {root}: {run.output}")
        return run.seconds

    mine, added = in_turn(rounds, ours, theirs)
    what = f"{versions:,} versions"
    report.row(f"{what}, end of publish to headers", "time", "s", [one["heads"] for one in mine], goal=GOAL if last else None)
    report.row(f"{what}, end of publish to the end of the document", "time", "s", [one["end"] for one in mine])
    report.row(f"{what}, start of publish to the end of the document", "time", "s", [one["whole"] for one in mine], added)
    report.row(f"{what}, first document of a server that has just started", "time", "s", [first])
    report.row(f"{what}, server", "resident memory, most", "B", [server.process.rss_peak()])
    report.note(f"{what}: images.json has {size / 1e6:,.1f} MB.")
    lines["headwater, to the headers"].append((versions, median([one["heads"] for one in mine]) * 1e3))
    lines["headwater, to the end"].append((versions, median([one["end"] for one in mine]) * 1e3))
    lines["headwater, publish to the end"].append((versions, median([one["whole"] for one in mine]) * 1e3))
    lines["incus-simplestreams add"].append((versions, median(added) * 1e3))
    server.process.end()
    server.remove()


def _tree(client, tree):
    """Writes the server's documents as files; returns the seconds that the first one took, and its size."""
    os.makedirs(os.path.join(tree, "streams", "v1"))
    first, size = None, 0
    for name in ("images.json", "index.json"):
        answer, _, seconds, body = client.stream(f"/streams/v1/{name}", time.perf_counter(), **{"User-Agent": "Incus 6.0"})
        if answer.status != 200:
            raise Failed(f"{name} was answered with {answer.status}")
        text = _plain(answer, body)
        first, size = first or seconds, size or len(text)
        with open(os.path.join(tree, "streams", "v1", name), "wb") as out:
            out.write(text)
    return first, size


def _new(place, versions, numbers, side, client):
    """The files of the next version, and the ETag of the document that does not have it yet."""
    number = next(numbers)
    metadata, root = images.tiny(place.path("images", f"{versions}-{side}-{number}", ""), number)
    if client is None:
        return metadata, root, None
    return metadata, root, client.get(DOCUMENT)[0].headers["ETag"]


def _until_listed(client, fingerprint, before, ended):
    """Asks until the document lists the image; returns the seconds from `ended` to the headers and to the end of the first that does."""
    while time.perf_counter() - ended < 300:
        answer, heads, end, body = client.stream(DOCUMENT, ended)
        if answer.status != 200:
            raise Failed(f"{DOCUMENT} was answered with {answer.status}")
        if answer.headers["ETag"] != before:
            if fingerprint.encode() not in _plain(answer, body):
                raise Failed("the document changed, but does not list what was published")
            return heads, end
    raise Failed("what was published was not listed within five minutes")


def _plain(answer, body):
    return gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body
