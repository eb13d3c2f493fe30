"""Downloads of a 1 GiB file, over http and https, by 1, 8, 64 and 256 clients, beside nginx."""

from lib import images, load
from lib.report import Report
from lib.place import Place, need
from lib.process import Failed
from lib.servers import Headwater, Nginx, certificate
from lib.stats import in_turn
from lib.units import GIB, MIB

import hashlib
import os

CLIENTS = (1, 8, 64, 256)
MEMORY = (64, 256)  # so many clients cost memory worth telling
LIMIT = 100 * MIB  # of the server's, with the most clients
SECONDS, QUICK_SECONDS = 10, 2  # the most that one run may take
ALONE = 10  # downloads of one client that are one sample


def run(options):
    need("nginx", "curl", "openssl", "mksquashfs")
    size = GIB if not options.quick else GIB // 8
    with Place(options.binary, 4 * size) as place:
        metadata, root = images.split(place.path("image", ""), size)
        size = os.path.getsize(root)
        first, second, path = (_itself if options.itself else _servers)(place, metadata, root)
        report = Report("download", "Downloads of a 1 GiB file", [first.name, second.name], options.command)
        report.note(f"One file of {size / GIB:.2f} GiB (a squashfs of random bytes), in the page cache, loopback.")
        report.note("nginx: sendfile, 2 workers, the same file in the same memory, the same certificate, the same cipher (below).")
        report.note(
            "The client drops what arrives, without copying or decrypting it, so that the server is what is measured, in a process for each processor; "
            "the rows of curl are a real client's. Server and client share the cores."
        )
        seconds = QUICK_SECONDS if options.quick else SECONDS
        report.note(
            f"A run ends after {seconds} s at the latest: 64 clients seldom finish the file, and what came by then counts."
        )
        _compare(report, first, second, path, root, size, options.rounds, seconds)
        return report.finish(options.results)


def _servers(place, metadata, root):
    """Headwater with the image, and nginx with the same file at the same path: the very one in the store, because copies lie otherwise in memory."""
    headwater = Headwater(place)
    headwater.publish(metadata, root)
    headwater.start()
    path = headwater.file_path(root)
    www = place.path("www", "")
    os.makedirs(os.path.dirname(www + path.lstrip("/")), exist_ok=True)
    os.link(headwater.blob(root), www + path.lstrip("/"))
    cipher = load.download(headwater.https + "/1.0", 1, 10)["cipher"]
    nginx = Nginx(place, www, headwater.certificate, headwater.key, cipher)
    nginx.start()
    return headwater, nginx, path


def _itself(place, _metadata, root):
    """nginx on both sides: what the instrument makes of two servers that are the same."""
    crt, key = certificate(place)
    www = place.path("www", "")
    os.link(root, www + "file")
    both = [Nginx(place, www, crt, key, "TLS_AES_128_GCM_SHA256", name) for name in ("nginx", "nginx-again")]
    for one in both:
        one.start()
    return *both, "/file"


def _compare(report, first, second, path, root, size, rounds, seconds):
    with open(root, "rb") as file:
        wanted = hashlib.file_digest(file, "sha256").hexdigest()
    for scheme in ("http", "https"):
        urls = [getattr(side, scheme) + path for side in (first, second)]
        for url in urls:
            if load.sha256_over(url) != wanted:
                raise Failed(f"{url} is not the file that was published")
        for clients in CLIENTS:
            sides = [
                lambda side=side, url=url: load.measured(
                    side, report, lambda: _downloads(url, clients, seconds, size)
                )
                for side, url in zip((first, second), urls)
            ]
            results = in_turn(rounds, *sides)
            what = f"{scheme}, {clients} client{'s' * (clients > 1)}"
            _rows(report, what, results)
            if clients in MEMORY:
                _memory(report, what, results)
            if clients == max(CLIENTS) and first.name == "headwater":
                most = max(one["server_peak"] for one in results[0])
                report.limit(f"server, {what}", "resident memory, most", "B", most, LIMIT)
        ciphers = [side[0]["cipher"] for side in results]
        if scheme == "https":
            report.note(f"Cipher: {ciphers[0]} ({first.name}), {ciphers[1]} ({second.name}).")
        sides = [
            lambda side=side, url=url: load.measured(side, report, lambda: load.curl(url))
            for side, url in zip((first, second), urls)
        ]
        _rows(report, f"{scheme}, curl", in_turn(rounds, *sides))


def _downloads(url, clients, seconds, size):
    return load.download_again(url, ALONE, seconds, size) if clients == 1 else load.download(url, clients, seconds, size)


def _rows(report, what, results, aim=1.0):
    throughput = [[one["received"] / one["seconds"] for one in side] for side in results]
    cpu = [[one["server_cpu"] / (one["received"] / GIB) for one in side] for side in results]
    report.row(what, "throughput", "B/s", *throughput, better="higher", aim=aim)
    report.row(what, "server CPU per GiB", "s", *cpu, aim=aim)


def _memory(report, what, results):
    report.row(what, "server memory, most", "B", *([one["server_peak"] for one in side] for side in results))
    if not all(one["finished"] == len(one["each"]) for side in results for one in side):
        least = [[100 * min(one["each"]) * len(one["each"]) / one["received"] for one in side] for side in results]
        report.row(what, "least served client got, of its fair part", "%", *least, compared=False)
