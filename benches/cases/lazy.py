"""A lazy mirror: the first byte of a cold file beside the upstream's own, and warm files beside published ones."""

import hashlib
import json
import os
import socket
import ssl
import time
from statistics import median

from lib import images, load
from lib.place import Place, need
from lib.process import Failed
from lib.report import Report
from lib.servers import Headwater, Nginx
from lib.stats import in_turn
from lib.units import GIB, MIB

COLD, QUICK_COLD = 20, 4  # cold files of a round
AIM_FIRST = 0.5  # no more than twice the upstream's own
AIM_WARM = 0.95


def run(options):
    need("openssl", "nginx", "curl", "mksquashfs")
    cold = QUICK_COLD if options.quick else COLD
    small, large = 8 * MIB, (GIB // 8 if options.quick else GIB)
    rounds = options.rounds
    with Place(options.binary, (rounds * cold * small + 4 * large) * 3) as place:
        tree = place.path("www", "tree", "")
        paths, big = _tree(tree, place, rounds * cold, small, large)
        maker = Headwater(place, "maker")  # for its certificate
        maker.start()
        maker.process.end()
        nginx = Nginx(place, place.path("www", ""), maker.certificate, maker.key, cipher="TLS_AES_128_GCM_SHA256")
        nginx.start()
        lazy = Headwater(place, "lazy")
        metadata, root = images.split(place.path("image", ""), large)
        lazy.publish(metadata, root)
        lazy.run("mirror", "add", "tree", nginx.https + "/tree", "--schedule", "0s", "--public", "--lazy", "--certificate", maker.certificate)
        listing = lazy.run("mirror", "run", "tree", "--format", "json")
        if json.loads(listing.output.splitlines()[-1]).get("taken") != rounds * cold + 1:
            raise Failed(f"the run said {listing.output[-300:]}")
        lazy.start()
        report = Report("lazy", "A lazy mirror", ["lazy mirror", "beside it"], options.command)
        report.note(
            f"The upstream is nginx (TLS 1.3) on loopback with {rounds * cold:,} files of {small // MIB} MiB and one of {large / GIB:.2f} GiB; the mirror has none of them. A sample of the first "
            f"byte is the median of {cold} files, each over a new connection with TLS, from its beginning to the first byte of the body; each file is asked for once of either side."
        )
        ours, theirs = iter(paths), iter(paths)
        first = in_turn(
            rounds,
            lambda: median(_first_byte(lazy.port, f"/images/{_digest(next(ours))}.squashfs") for _ in range(cold)),
            lambda: median(_first_byte(nginx.tls, "/tree/" + os.path.relpath(next(theirs), tree)) for _ in range(cold)),
        )
        report.row("cold file, beside the upstream itself", "first byte", "s", *first, aim=AIM_FIRST)
        path = f"/images/{_digest(big)}.squashfs"
        began = time.perf_counter()
        if load.sha256_over(lazy.https + path) != _digest(big):
            raise Failed("the cold file is not that of the upstream")
        report.note(f"The cold file of {large / GIB:.2f} GiB, from the first request to the last byte, hashed by the client: {time.perf_counter() - began:.1f} s.")
        published = lazy.file_path(root)
        for scheme in ("http", "https"):
            sides = [
                lambda url=getattr(lazy, scheme) + path: load.measured(lazy, report, lambda: load.download_again(url, 3, 10))
                for path in (path, published)
            ]
            results = in_turn(rounds, *sides)
            rates = [[one["received"] / one["seconds"] for one in side] for side in results]
            report.row(f"warm file, {scheme}, beside a published one", "throughput", "B/s", *rates, better="higher", aim=AIM_WARM)
        return report.finish(options.results)


def _digest(path):
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _first_byte(port, path):
    """Seconds from the beginning of a connection to the first byte of the body; all of it is read."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = b""
        while True:
            piece = stream.recv(65536)
            if not piece:
                raise Failed(f"{path} was answered with {head[:200]}")
            head += piece
            end = head.find(b"\r\n\r\n")
            if end >= 0 and len(head) > end + 4:
                break
        took = time.perf_counter() - began
        if b" 200 " not in head[:20]:
            raise Failed(f"{path} was answered with {head[:200]}")
        while stream.recv(1 << 20):
            pass
    return took


def _tree(tree, place, count, small, large):
    """A stream with one version for each file; their paths, and that of the large one."""
    os.makedirs(os.path.join(tree, "streams", "v1"), exist_ok=True)
    metadata = images.metadata_of(place.path("metadata", ""), "Debian", "default")
    with open(metadata, "rb") as data:
        metadata = data.read()
    with open(os.path.join(tree, "meta.tar.xz"), "wb") as out:
        out.write(metadata)
    big = os.path.join(tree, "big.squashfs")
    images.noise(big, large)
    with open(big, "rb") as data:
        block = data.read(small)
    paths = []
    for number in range(count):
        path = os.path.join(tree, f"{number}.squashfs")
        with open(path, "wb") as out:
            out.write(block[:-8] + number.to_bytes(8, "big"))
        paths.append(path)
    versions = {}
    for number, path in enumerate([*paths, big]):
        combined = hashlib.sha256(metadata)
        with open(path, "rb") as data:
            while piece := data.read(1 << 20):
                combined.update(piece)
        root = {"ftype": "squashfs", "path": os.path.relpath(path, tree), "size": os.path.getsize(path), "sha256": _digest(path)}
        head = {"ftype": "incus.tar.xz", "path": "meta.tar.xz", "size": len(metadata), "sha256": hashlib.sha256(metadata).hexdigest()}
        head["combined_squashfs_sha256"] = combined.hexdigest()
        versions[f"2025{1 + number // 27:02}{1 + number % 27:02}_0000"] = {"items": {"incus.tar.xz": head, "squashfs": root}}
    key = "debian:one:amd64:default"
    product = {"aliases": "debian/one", "arch": "amd64", "os": "Debian", "release": "one", "release_title": "one", "variant": "default", "versions": versions}
    index = {"format": "index:1.0", "index": {"images": {"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json", "products": [key]}}}
    document = {"format": "products:1.0", "content_id": "images", "datatype": "image-downloads", "products": {key: product}}
    for name, content in (("images.json", document), ("index.json", index)):
        with open(os.path.join(tree, "streams", "v1", name), "w") as out:
            json.dump(content, out)
    return paths, big
