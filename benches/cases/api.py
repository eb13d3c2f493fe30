"""The LXD API's lists, one image, one alias and a filter, beside real LXD and Incus daemons with as many images."""

import urllib.parse

from lib import images, load
from lib.chart import Chart
from lib.client import Client
from lib.daemons import Daemon
from lib.place import Place, need
from lib.process import Failed
from lib.report import Report
from lib.servers import Headwater
from lib.stats import in_turn, median
from lib.units import show

COUNTS = (10, 200, 2000)
QUICK = (10, 40)
AIMS = {"list": 200.0, "filter": 50.0}  # times as fast with the largest number of images; single answers are to be as fast at least
CONNECTIONS, BUSY_AIM = 8, 20.0  # so many that ask for one image, and how many times as many answers they are to get
SECONDS, QUICK_SECONDS = 3, 1
FILTER = urllib.parse.urlencode({"recursion": 1, "filter": "properties.os eq debian"})


def run(options):
    need("lxd", "lxc", "incus", "wrk", "openssl")
    counts = QUICK if options.quick else COUNTS
    with Place(options.binary) as place:
        headwater, *peers = servers = [Headwater(place), Daemon(place, "lxd"), Daemon(place, "incus")]
        for server in servers:
            server.start()
        names = [server.name for server in servers]
        report = Report("api", "The LXD API beside LXD and Incus", names, options.command, compare=[(0, 1), (0, 2)])
        report.note("All answer the same guest over TLS 1.3 on loopback, holding the same images, all public, one alias each.")
        report.note(
            "`new`: a connection and handshake for each request, as lxc 5.0 does; `kept`: one connection. One client asks one "
            "thing after another; times are medians of a second's requests (at least three), from connecting to the last byte."
        )
        report.note("The filter is `properties.os eq debian`, which a quarter of the images match.")
        seconds = 0.1 if options.quick else 1.0
        fingerprints, medians = [], {}
        for count in counts:
            _fill(place, report, headwater, peers, fingerprints, count)
            _compare(report, servers, fingerprints[count // 2], count, medians, options.rounds, seconds, count == counts[-1])
        _busy(report, servers, fingerprints, options.rounds, QUICK_SECONDS if options.quick else SECONDS)
        _growth(report, medians, counts, names)
        return report.finish(options.results)


def _alias(number):
    return f"bench-{number:06d}"


def _fill(place, report, headwater, peers, fingerprints, count):
    """Gives all servers the images up to number `count`."""
    took = {server.name: [] for server in (headwater, *peers)}
    for peer in peers:
        peer.reconnect()
    for number in range(len(fingerprints), count):
        path = place.path("images", f"{number}.tar.gz")
        images.unified(path, number)
        ours, seconds = load.timed(lambda p=path, n=number: headwater.publish(p, "--alias", _alias(n))[0])
        took["headwater"].append(seconds)
        for peer in peers:
            theirs, seconds = load.timed(lambda d=peer, p=path, n=number: d.take_in(p, _alias(n)))
            took[peer.name].append(seconds)
            if ours != theirs:
                raise Failed(f"{path} has fingerprint {ours} in Headwater and {theirs} in {peer.name}")
        fingerprints.append(ours)
    each = ", ".join(f"{show(median(times), 's')} ({side})" for side, times in took.items())
    report.note(
        f"Up to {count} images: taking one in took {each}, median; Headwater by a `headwater publish` each beside the "
        "running server, the daemons by uploads over their unix sockets."
    )


def _compare(report, servers, fingerprint, count, medians, rounds, seconds, last):
    questions = {
        "list": "/1.0/images?recursion=1",
        "one image": f"/1.0/images/{fingerprint}",
        "one alias": f"/1.0/images/aliases/{_alias(count // 2)}",
        "filter": f"/1.0/images?{FILTER}",
    }
    clients = [Client(server.https) for server in servers]
    for question, path in questions.items():
        _same_answer(clients, path)
        for keep in (False, True):
            sides = [
                lambda c=c, s=s: load.measured(s, report, lambda: c.median(path, keep, seconds)) for c, s in zip(clients, servers)
            ]
            results = in_turn(rounds, *sides)
            what = f"{question}, {count} images, {'kept' if keep else 'new'}"
            times = [[one["seconds"] for one in side] for side in results]
            report.row(what, "time", "s", *times, aim=AIMS.get(question, 1.0) if last else 1.0)
            medians[question, keep, count] = [median(side) for side in times]
        sizes = ", ".join(f"{show(side[0]['size'] / 1024, 'KiB')} ({server.name})" for side, server in zip(results, servers))
        report.note(f"{question}, {count} images: {sizes} on the wire.")


def _busy(report, servers, fingerprints, rounds, seconds):
    """Several connections that ask for one image as often as they can."""
    path = f"/1.0/images/{fingerprints[len(fingerprints) // 2]}"
    sides = [
        lambda s=server: load.measured(s, report, lambda: load.wrk(s.https + path, CONNECTIONS, seconds)) for server in servers
    ]
    results = in_turn(rounds, *sides)
    what = f"one image of {len(fingerprints)}, {CONNECTIONS} connections"
    report.row(what, "requests a second", "", *([one["rate"] for one in side] for side in results), better="higher", aim=BUSY_AIM)
    report.row(what, "server CPU per request", "s", *([one["server_cpu"] / one["requests"] for one in side] for side in results))
    report.row(what, "slowest 1 %", "s", *([one["p99"] for one in side] for side in results))


def _same_answer(clients, path):
    """What is compared must be the same answer: as many images, or the same target."""
    answers = [client.json(path)["metadata"] for client in clients]
    keys = ("fingerprint", "target")
    if isinstance(answers[0], list):
        told = [{one["fingerprint"] for one in answer} for answer in answers]
    else:
        told = [[answer.get(key) for key in keys] for answer in answers]
    if any(one != told[0] for one in told):
        raise Failed(f"Headwater, LXD and Incus answer {path} differently")


def _growth(report, medians, counts, names):
    chart = Chart("A list of all images as objects, by their number", "images", "time (ms)")
    for side, name in enumerate(names):
        chart.line(name, [(count, medians["list", True, count][side] * 1e3) for count in counts], dashed=side > 0)
    report.picture("api-list", chart)
    for question in ("list", "one image", "one alias", "filter"):
        small, large = medians[question, True, counts[0]], medians[question, True, counts[-1]]
        growth = [[large[side] / small[side]] for side in range(len(names))]
        report.row(f"{question}, kept", f"time at {counts[-1]} images by that at {counts[0]}", "×", *growth)
