"""How cost grows with the catalog, from 1,000 to 1,000,000 images: look-ups, starting, memory, a list of everything."""

import urllib.parse

from lib import load
from lib.catalogs import catalog
from lib.chart import Chart
from lib.client import Client
from lib.place import Place, need
from lib.process import Failed
from lib.report import Report
from lib.servers import Headwater
from lib.stats import in_turn, median, percentile
from lib.units import MIB

import os
import random
import shutil
import time

COUNTS = (1_000, 20_000, 100_000, 1_000_000)
QUICK = (2_000, 10_000)
GROWTH = 1 / 1.5  # as fast with the largest catalog as this part of with the smallest
SECONDS = 3
SLOW = 0.5  # seconds of an answer from which on wrk gets too few of them
START = 1.0  # seconds, with the largest
IDLE = 64 * MIB
LISTING = 150 * MIB
LIST_RATE = 100e6  # bytes a second
DEFAULT_SECONDS = 20  # in which a server looks for deltas to build as it would all day
MATCHES = 10
LIST = "/1.0/images?recursion=1"


def run(options):
    need("wrk", "openssl")
    counts = QUICK if options.quick else COUNTS
    seconds = 1 if options.quick else SECONDS
    with Place(options.binary) as place:
        sides = [f"{count:,} images" for count in counts]
        report = Report("grow", "How cost grows with the catalog", sides, options.command, compare=[(-1, 0)])
        report.note(
            "Made-up images (benches/fill), all public, four versions of each product, and a twenty-fifth as many private ones "
            "in another project. The ratios are of the largest catalog to the smallest: 1× is a cost that does not grow."
        )
        report.note(
            f"Look-ups: wrk with one kept connection for {seconds} s, https with TLS 1.3; each request is for another of up to 200,000 images, "
            "5,000 aliases or 50,000 filters, drawn at random, and no answers are kept (`cache.answers_mib` is 0): what is measured is the look-up. Times are the median of a run's requests. Each catalog is read once before, "
            "so that it is in the page cache."
        )
        report.note(f"The filter is `properties.os eq … and properties.serial eq …`, which matches {MATCHES} images.")
        servers = _start(place, report, counts, options.rounds)
        _look_up(place, report, counts, servers, options.rounds, seconds)
        _list(report, counts, servers, min(options.rounds, 3))
        return report.finish(options.results)


def _start(place, report, counts, rounds):
    """Starts a server on each catalog, some times over; leaves them running."""
    servers = [Headwater(place, f"headwater-{count}", catalog(count).folder) for count in counts]
    for server in servers:
        # The answers of the smallest catalog would all be at hand, and those of the largest hardly ever.
        server.env["HEADWATER_CACHE_ANSWERS_MIB"] = "0"
        server.start()  # the first start makes certificates
        server.process.end()
        _read_once(server.data)

    def start(server):
        seconds = server.start()
        time.sleep(1)
        idle = server.process.rss()
        server.process.end()
        return seconds, idle

    results = in_turn(rounds, *(lambda s=server: start(s) for server in servers))
    starts = [[seconds for seconds, _ in side] for side in results]
    report.row("start", "until /readyz answers", "s", *starts, compared=False, goal=START)
    report.row("idle", "resident memory", "B", *([idle for _, idle in side] for side in results), compared=False)
    report.limit(f"idle, {counts[-1]:,} images", "resident memory", "B", max(idle for _, idle in results[-1]), IDLE)
    _as_it_comes(place, report, counts[-1])
    for server in servers:
        server.start()
    return servers


def _as_it_comes(place, report, count):
    """The largest catalog, opened for the first time by a server with the settings that it comes with, which looks for deltas to build. On a copy,
    because it writes down what it finds; of these images there are no bytes, so nothing comes of the builds."""
    server = Headwater(place, "as-it-comes", catalog(count).copy(place.path("as-it-comes", "")))
    del server.env["HEADWATER_DELTAS_ENABLED"]
    _read_once(server.data)
    seconds, most = server.start(), 0
    until = time.monotonic() + DEFAULT_SECONDS
    while time.monotonic() < until:
        time.sleep(0.2)
        most = max(most, server.process.rss())
    server.process.end()
    shutil.rmtree(server.data)
    if seconds > START:
        report.note(f"Default settings: the first start with {count:,} images took {seconds:.2f} s.")
    what = f"first {DEFAULT_SECONDS} s with default settings, deltas among them, {count:,} images"
    report.limit(what, "resident memory", "B", most, IDLE)


def _read_once(folder):
    """Into the page cache, from which a catalog that is in use is read."""
    with open(os.path.join(folder, "catalog.db"), "rb", buffering=0) as data:
        while data.read(16 * MIB):
            pass


def _look_up(place, report, counts, servers, rounds, seconds):
    chart = Chart("Look-ups, by the size of the catalog", "images in the catalog", "median time of a request (µs)")
    for kind, make in {"one image": _images, "one alias": _aliases, "filter": _filters}.items():
        files, seeds, slowest = [], [0] * len(servers), {}
        for count, server in zip(counts, servers):
            paths = make(catalog(count))
            slowest[server] = _check(kind, server, random.Random(count).sample(paths, 20))
            files.append(place.path("paths", f"{kind} {count}"))
            with open(files[-1], "w") as out:
                out.write("\n".join(paths))

        def ask(number):
            seeds[number] += 1
            server, file = servers[number], files[number]
            if slowest[server] > SLOW:
                return load.measured(server, report, lambda: _one_by_one(server, file, seeds[number]))
            return load.measured(
                server, report, lambda: load.wrk(server.https, 1, seconds, paths=file, seed=seeds[number])
            )

        results = in_turn(rounds, *(lambda n=number: ask(n) for number in range(len(servers))))
        times = [[one["p50"] for one in side] for side in results]
        report.row(kind, "time", "s", *times, aim=GROWTH)
        cpu = [[one["server_cpu"] / one["requests"] for one in side] for side in results]
        report.row(kind, "server CPU per request", "s", *cpu)
        chart.line(kind, [(count, median(side) * 1e6) for count, side in zip(counts, times)])
    report.picture("grow-look-ups", chart)


def _images(held):
    return [f"/1.0/images/{fingerprint}" for fingerprint in held.samples("fingerprints")]


def _aliases(held):
    return [f"/1.0/images/aliases/{urllib.parse.quote(name, safe='')}" for name in held.samples("aliases")]


def _filters(held):
    filters = [line.rsplit(" ", 1) for line in held.samples("filters")]
    questions = [f"properties.os eq {system} and properties.serial eq {serial}" for system, serial in filters]
    return ["/1.0/images?" + urllib.parse.urlencode({"recursion": 1, "filter": one}) for one in questions]


def _one_by_one(server, file, seed):
    """What wrk would measure, with as few as one answer."""
    with open(file) as lines:
        path = random.Random(seed).choice(lines.read().splitlines())
    result = Client(server.https).median(path, keep=True, seconds=SECONDS, least=1, most=1)
    return {"p50": result["seconds"], "requests": 2, "cpu": result["cpu"]}  # one before it, which is not timed


def _check(kind, server, paths):
    """What is timed must be the right answer. Gives the seconds of the slowest."""
    client, slowest, began = Client(server.https), 0.0, time.perf_counter()
    for path in paths:
        answer, seconds = load.timed(lambda p=path: client.json(p))
        found, slowest = answer["metadata"], max(slowest, seconds)
        if kind == "filter":
            right = len(found) == MATCHES
        elif kind == "one alias":
            right = urllib.parse.unquote(path).endswith("/" + found["name"])
        else:
            right = path.endswith(found["fingerprint"])
        if not right:
            raise Failed(f"{path} was answered with {str(found)[:300]}")
        if time.perf_counter() - began > 5:
            break
    return slowest


def _list(report, counts, servers, rounds):
    """Everything, as one answer; the client drops what arrives."""
    for count, server in zip(counts, servers):
        _whole(server, count)

    def ask(server):
        return load.measured(server, report, lambda: load.download(server.https + LIST, 1, 900))

    results = in_turn(rounds, *(lambda s=server: ask(s) for server in servers))
    rates = [[one["received"] / one["seconds"] for one in side] for side in results]
    report.row("list of all, as objects", "throughput", "MB/s", *([r / 1e6 for r in side] for side in rates), better="higher", compared=False, goal=LIST_RATE / 1e6)
    each = [[one["seconds"] / count for one in side] for side, count in zip(results, counts)]
    report.row("list of all, as objects", "time per image", "s", *each)
    memory = [[one["server_peak"] for one in side] for side in results]
    report.row("list of all, as objects", "resident memory, most", "B", *memory, compared=False)
    report.limit(f"list of {counts[-1]:,} images", "resident memory, most", "B", max(memory[-1]), LISTING)
    size = results[-1][0]["received"]
    report.note(
        f"The list of {counts[-1]:,} images is {size / 1e6:,.0f} MB, not compressed; the client counts and drops it. "
        f"99 of 100 runs of it took less than {percentile([one['seconds'] for one in results[-1]], 0.99):.1f} s."
    )
    chart = Chart("Resident memory of the server", "images in the catalog", "most while everything is listed (MiB)")
    chart.line("headwater", [(count, median(side) / MIB) for count, side in zip(counts, memory)])
    report.picture("grow-memory", chart)


def _whole(server, count):
    """The list is whole: it has so many fingerprints."""
    word, found, rest = b'"fingerprint":', 0, b""
    for piece in Client(server.https).pieces(LIST):
        text = rest + piece
        found += text.count(word)
        rest = text[1 - len(word) :]  # too short to hold the word, long enough for one that is cut in two
    if found != count:
        raise Failed(f"the list of {count} images has {found}")
