"""Memory while a 4 GiB virtual machine image is published, and while 64 clients download it: below 100 MiB."""

import os

from lib import images, load
from lib.place import Place, need
from lib.process import Failed, Sampler
from lib.report import Report
from lib.servers import Headwater
from lib.stats import percentile
from lib.units import GIB, MIB

LIMIT = 100 * MIB
CLIENTS = 64
SECONDS, QUICK_SECONDS = 40, 5  # of each kind of download, unless all are to be finished
WHOLE_SECONDS = 1800
SLOW = 256 * 1024  # bytes a second of a slow client


def run(options):
    need("openssl", "qemu-img")
    size, most = (GIB // 4, QUICK_SECONDS) if options.quick else (4 * GIB, SECONDS)
    with Place(options.binary, 3 * size) as place:
        metadata, root = images.machine(place.path("image", ""), size)
        size = os.path.getsize(root)
        report = Report("memory", "Memory: publishing and serving a 4 GiB image", ["headwater"], options.command)
        report.note(f"A qcow2 of {size / GIB:.2f} GiB, random bytes. Resident memory is VmHWM, the kernel's own highest value.")
        report.note(
            f"{CLIENTS} downloads at once, "
            + ("each to its end." if options.whole else f"for {most} s (each to its end with `--whole`).")
            + f" Slow clients take {SLOW // 1024} KiB/s each, so that buffers fill."
        )
        headwater = Headwater(place)
        headwater.start()
        fingerprint, published = headwater.publish(metadata, root)
        report.limit("`headwater publish`", "resident memory, most", "B", published.rss_peak, LIMIT)
        report.limit("server, meanwhile", "resident memory, most", "B", headwater.process.rss_peak(), LIMIT)
        for name, url in _downloads(headwater, root, fingerprint).items():
            seconds = WHOLE_SECONDS if options.whole and "slow" not in name else most
            _serve(report, headwater, name, url, seconds, size)
        return report.finish(options.results)


def _downloads(headwater, root, fingerprint):
    path = headwater.file_path(root)
    return {
        "http": headwater.http + path,
        "https": headwater.https + path,
        "LXD API export, https": f"{headwater.https}/1.0/images/{fingerprint}/export",
        "slow clients, http": headwater.http + path,
        "slow clients, https": headwater.https + path,
    }


def _serve(report, headwater, name, url, seconds, size):
    rate = SLOW if "slow" in name else 0
    if not headwater.process.alive():
        raise Failed(f"the server ended: {headwater.process.tail()}")
    with Sampler(headwater.process) as memory:
        result = load.measured(headwater, report, lambda: load.download(url, CLIENTS, seconds, size, rate))
    what = f"server, {CLIENTS} downloads, {name}"
    report.limit(what, "resident memory, most", "B", result["server_peak"], LIMIT)
    report.note(
        f"{name}: {result['received'] / GIB:.1f} GiB in {result['seconds']:.0f} s, {result['finished']} of {CLIENTS} finished; "
        f"resident memory {percentile(memory.samples, 0.5) / MIB:.1f} MiB in the middle, "
        f"{memory.samples[-1] / MIB:.1f} MiB at the end."
    )
