"""Serving and publishing while deltas are built, beside the same server that builds none."""

from lib import images, load
from lib.place import Place, need
from lib.process import Failed
from lib.report import Report
from lib.servers import Headwater
from lib.stats import in_turn
from lib.units import GIB, MIB

import json
import os
import shutil
import time

AIM = 0.9  # "at their speed": no more than what rounds differ by
LINES = 12  # products with a delta to build each
SECONDS, QUICK_SECONDS = 4, 1
CLIENTS = 8
CONNECTIONS = 16


def run(options):
    need("openssl", "mksquashfs", "wrk")
    size, seconds = (GIB // 4, SECONDS) if not options.quick else (GIB // 16, QUICK_SECONDS)
    with Place(options.binary, (LINES + 14) * size) as place:
        headwater = Headwater(place)
        path, other = _fill(place, headwater, size)
        report = Report("building", "Serving and publishing while deltas are built", ["while it builds", "builds none"], options.command)
        report.note(
            f"One server with {LINES} products of two versions, root files of {size // MIB} MiB of random bytes that differ in a "
            "hundred places, and a file four times as large that is downloaded. On one side it builds the deltas (default settings: one at a time, half of the processors, 512 MiB, idle threads), on the other "
            "`deltas.enabled` is false. That a build was going on when a measurement began and ended is asked of `headwater delta list`."
        )
        report.note("Clients, server and builds share the cores, in one session, so that a kernel that shares them out by session (`sched_autogroup`) does not "
            "hide that builds make way for clients, which are elsewhere otherwise. A server's CPU time holds that of its builds, and is not compared.")

        def side(building):
            headwater.env["HEADWATER_DELTAS_ENABLED"] = "true" if building else "false"
            headwater.start(own_session=False)
            if building:
                _until_building(headwater)
            loads = {
                "index.json, kept": lambda: load.wrk(headwater.https + "/streams/v1/index.json", CONNECTIONS, seconds),
                "one image (API), new": lambda: load.wrk(headwater.https + "/1.0/images?recursion=1", CONNECTIONS, seconds, keep=False),
                "http, 1 client": lambda: load.download_again(headwater.http + path, 10, seconds),
                f"https, {CLIENTS} clients": lambda: load.download(headwater.https + path, CLIENTS, seconds),
                "publish": lambda: _publish(headwater, *other),
            }
            results = {}
            for name, work in loads.items():
                results[name] = load.measured(headwater, report, work) if name != "publish" else work()
                if building and not _building(headwater):
                    raise Failed("the builds came to their end before what was measured beside them; there have to be more")
            headwater.process.end()
            return results

        busy, idle = in_turn(options.rounds, lambda: side(True), lambda: side(False))
        for name in ("index.json, kept", "one image (API), new"):
            report.row(name, "requests a second", "/s", *([one[name]["rate"] for one in each] for each in (busy, idle)), better="higher", aim=AIM)
        for name in ("http, 1 client", f"https, {CLIENTS} clients"):
            rates = ([one[name]["received"] / one[name]["seconds"] for one in each] for each in (busy, idle))
            report.row(name, "throughput", "B/s", *rates, better="higher", aim=AIM)
        report.row(f"publish {size // MIB} MiB", "time", "s", *([one["publish"].seconds for one in each] for each in (busy, idle)), aim=AIM)
        return report.finish(options.results)


def _fill(place, headwater, size):
    """Publishes two versions of each product, and an image four times as large that has nothing to start from; returns the path of the
    latter's root file, and an image to publish."""
    _, root = images.split(place.path("image", ""), size)
    newer = place.path("newer.squashfs")
    for line in range(LINES):
        shutil.copyfile(root, newer)
        with open(newer, "r+b") as data:
            for place_of in range(100):
                # Behind the superblock, and before the tables.
                data.seek(4096 + (size - 2 * MIB) // 100 * place_of + line)
                data.write(os.urandom(2000))
        for serial, file in (("20250101_0000", root), ("20250201_0000", newer)):
            metadata = images.metadata_of(place.path(f"{line}-{serial}", ""), "Debian", f"line-{line}", "bookworm", serial)
            headwater.publish(metadata, file)
    metadata, large = images.split(place.path("large", ""), 4 * size)
    headwater.publish(metadata, large)
    headwater.start()
    path = headwater.file_path(large)
    headwater.process.end()
    return path, (images.metadata_of(place.path("other", ""), "Alpine", "default", "3.22"), newer)


def _publish(headwater, metadata, root):
    fingerprint, run = headwater.publish(metadata, root)
    headwater.run("image", "delete", fingerprint)
    return run


def _building(headwater):
    return any(one["state"] == "building" for one in json.loads(headwater.run("delta", "list", "--format", "json").output))


def _until_building(headwater):
    until = time.monotonic() + 30
    while not _building(headwater):
        if time.monotonic() > until:
            raise Failed("the server began no build within 30 s")
        time.sleep(0.1)
