"""The LXD API's lists, one image, one alias and a filter, beside a real LXD daemon with as many images."""

import urllib.parse

from lib import images, load
from lib.client import Client
from lib.lxd import Lxd
from lib.place import Place, need
from lib.process import Failed
from lib.report import Report
from lib.servers import Headwater
from lib.stats import in_turn, median
from lib.units import show

COUNTS = (10, 200, 2000)
QUICK = (10, 40)
LISTS = ("list", "filter")
LISTS_AIM = 50.0  # times as fast as LXD with the largest number of images; single answers are to be as fast at least
FILTER = urllib.parse.urlencode({"recursion": 1, "filter": "properties.os eq debian"})


def run(options):
    need("lxd", "lxc", "openssl")
    counts = QUICK if options.quick else COUNTS
    with Place(options.binary) as place:
        headwater, lxd = Headwater(place), Lxd(place)
        headwater.start()
        lxd.start()
        report = Report("api", "The LXD API beside LXD", ["headwater", "lxd"], options.command)
        report.note("Both answer the same guest over TLS 1.3 on loopback, holding the same images, all public, one alias each.")
        report.note(
            "`new`: a connection and handshake for each request, as lxc 5.0 does; `kept`: one connection. One client asks one "
            "thing after another; times are medians of a second's requests (at least three), from connecting to the last byte."
        )
        report.note("The filter is `properties.os eq debian`, which a quarter of the images match.")
        fingerprints, medians = [], {}
        for count in counts:
            _fill(place, report, headwater, lxd, fingerprints, count)
            _compare(report, headwater, lxd, fingerprints[count // 2], count, medians, options.rounds, count == counts[-1])
        _growth(report, medians, counts)
        return report.finish(options.results)


def _alias(number):
    return f"bench-{number:06d}"


def _fill(place, report, headwater, lxd, fingerprints, count):
    """Gives both servers the images up to number `count`."""
    took = {"headwater": [], "lxd": []}
    for number in range(len(fingerprints), count):
        path = place.path("images", f"{number}.tar.gz")
        images.unified(path, number)
        ours, seconds = load.timed(lambda p=path, n=number: headwater.publish(p, "--alias", _alias(n))[0])
        took["headwater"].append(seconds)
        theirs, seconds = load.timed(lambda p=path, n=number: lxd.take_in(p, _alias(n)))
        took["lxd"].append(seconds)
        if ours != theirs:
            raise Failed(f"{path} has fingerprint {ours} in Headwater and {theirs} in LXD")
        fingerprints.append(ours)
    each = " and ".join(f"{show(median(times), 's')} ({side})" for side, times in took.items())
    report.note(
        f"Up to {count} images: taking one in took {each}, median; Headwater by a `headwater publish` each beside the "
        "running server, LXD by uploads over its unix socket."
    )


def _compare(report, headwater, lxd, fingerprint, count, medians, rounds, last):
    questions = {
        "list": "/1.0/images?recursion=1",
        "one image": f"/1.0/images/{fingerprint}",
        "one alias": f"/1.0/images/aliases/{_alias(count // 2)}",
        "filter": f"/1.0/images?{FILTER}",
    }
    clients = [Client(headwater.https), Client(lxd.https)]
    for question, path in questions.items():
        _same_answer(clients, path)
        for keep in (False, True):
            sides = [
                lambda c=c, s=s: load.measured(s, report, lambda: c.median(path, keep))
                for c, s in zip(clients, (headwater, lxd))
            ]
            results = in_turn(rounds, *sides)
            what = f"{question}, {count} images, {'kept' if keep else 'new'}"
            times = [[one["seconds"] for one in side] for side in results]
            report.row(what, "time", "s", *times, aim=LISTS_AIM if last and question in LISTS else 1.0)
            medians[question, keep, count] = [median(side) for side in times]
        sizes = " and ".join(show(side[0]["size"] / 1024, "KiB") for side in results)
        report.note(f"{question}, {count} images: {sizes} on the wire (Headwater and LXD).")


def _same_answer(clients, path):
    """What is compared must be the same answer: as many images, or the same target."""
    ours, theirs = (client.json(path)["metadata"] for client in clients)
    keys = ("fingerprint", "target")
    if isinstance(ours, list):
        same = {one["fingerprint"] for one in ours} == {one["fingerprint"] for one in theirs}
    else:
        same = all(ours.get(key) == theirs.get(key) for key in keys)
    if not same:
        raise Failed(f"Headwater and LXD answer {path} differently")


def _growth(report, medians, counts):
    for question in ("list", "one image", "one alias", "filter"):
        small, large = medians[question, True, counts[0]], medians[question, True, counts[-1]]
        growth = [[large[side] / small[side]] for side in (0, 1)]
        report.row(f"{question}, kept", f"time at {counts[-1]} images by that at {counts[0]}", "×", *growth)
