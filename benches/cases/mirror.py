"""A mirror of a thousand products with small files, beside `sstream-mirror` and `curl --parallel`; memory with 20,000 products."""

import hashlib
import io
import json
import os
import shutil
import tarfile

from lib import images
from lib.place import TOP, Place, need
from lib.process import Failed, Process, Run, Sampler
from lib.report import Report
from lib.servers import Headwater, Nginx
from lib.stats import in_turn
from lib.units import GIB, MIB

PRODUCTS, QUICK = 1000, 200
MANY, QUICK_MANY = 20_000, 2000
AIM_SSTREAM, AIM_CURL = 20.0, 0.9
MEMORY = 150 * MIB
CONNECTIONS = 16
SSTREAM = os.path.join(TOP, "target", "tools", "python", "bin", "sstream-mirror")


def run(options):
    need("openssl", "mksquashfs", "nginx", "curl")
    products, many = (QUICK, QUICK_MANY) if options.quick else (PRODUCTS, MANY)
    with Place(options.binary, 4 * GIB) as place:
        tree = place.path("www", "tree", "")
        files = _tree(place, tree, products)
        maker = Headwater(place, "maker")  # for its certificate
        maker.start()
        maker.process.end()
        nginx = Nginx(place, place.path("www", ""), maker.certificate, maker.key, cipher="TLS_AES_128_GCM_SHA256")
        nginx.start()
        report = Report("mirror", "A mirror of small files", ["headwater", "sstream-mirror", "curl"], options.command, compare=[(0, 1), (0, 2)])
        report.note(
            f"{products:,} products with one version each: a metadata tarball for either family of clients, which are the same bytes, and a squashfs of 4 KiB: {len(files):,} files with both documents, "
            "served by nginx (TLS 1.3) on loopback. A whole first run, from a new process to its end."
        )
        report.note(
            f"headwater: `headwater mirror run` with `--connections {CONNECTIONS}` into an empty installation: files checked, looked into, synced, and listed; what is the same is fetched once. sstream-mirror: `--no-verify`, which checks hashes. "
            f"curl: `curl --parallel --parallel-max {CONNECTIONS}` of the same addresses, which checks and syncs nothing."
        )
        report.note("Before each run all that was written before is brought to the disk, and nothing is removed between them.")
        # For some minutes ext4 gives the inode of a removed file to no other one, and passes over all of these for each new file: it made what ran next several
        # times as slow, whichever it was.
        numbers = iter(range(10**6))
        ours, theirs, plain = in_turn(
            min(options.rounds, 3),
            lambda: _ours(place, next(numbers), nginx.https + "/tree", maker.certificate, products),
            lambda: _sstream(place, next(numbers), nginx.https, maker.certificate, len(files) - 2),
            lambda: _curl(place, next(numbers), nginx.https + "/tree/", maker.certificate, files),
        )
        report.row("first run", "time", "s", [one.seconds for one in ours], [one.seconds for one in theirs], [one.seconds for one in plain], aim=None)
        _aims(report, ours, theirs, plain)
        report.row("first run", "processor time", "s", [one.cpu for one in ours], [one.cpu for one in theirs], [one.cpu for one in plain])
        report.row("first run", "resident memory", "B", [one.rss_peak for one in ours], [one.rss_peak for one in theirs], [one.rss_peak for one in plain])
        # In another place: nginx keeps files open.
        _memory(place, report, place.path("www", "many", ""), nginx, maker, many)
        return report.finish(options.results)


def _aims(report, ours, theirs, plain):
    for name, peer, aim in (("sstream-mirror", theirs, AIM_SSTREAM), ("curl", plain, AIM_CURL)):
        ratios = sorted(b.seconds / a.seconds for a, b in zip(ours, peer))
        met = "met" if ratios[len(ratios) // 2] >= aim else "MISSED"
        report.line(["beside", "times as fast", "aim", ""], [name, f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", f"{aim:g}", met])


def _tree(place, tree, products):
    """Writes a static tree; the paths below it of all files, the documents last."""
    os.makedirs(os.path.join(tree, "streams", "v1"), exist_ok=True)
    _, root = images.tiny(place.path("squashfs", ""), 1)
    with open(root, "rb") as data:
        squashfs = bytearray(data.read().ljust(4096, b"\0"))
    os.unlink(root)
    shutil.rmtree(place.path("squashfs", ""))
    listed, files = {}, []
    for number in range(products):
        release = f"r{number}"
        # What is behind the file system does not belong to it, so that no two files are the same.
        squashfs[-16:] = number.to_bytes(16, "big")
        text = images.YAML.format(os="Debian", release=release, variant="default", serial="20250101_0000", created=1735689600)
        metadata = _tar("metadata.yaml", text.encode())
        items = {}
        for name, ftype, data in (("lxd.tar.xz", "lxd.tar.xz", metadata), ("incus.tar.xz", "incus.tar.xz", metadata), ("root.squashfs", "squashfs", bytes(squashfs))):
            path = f"images/{number // 1000}/{release}-{name}"
            os.makedirs(os.path.dirname(os.path.join(tree, path)), exist_ok=True)
            with open(os.path.join(tree, path), "wb") as out:
                out.write(data)
            files.append(path)
            items[ftype] = {"ftype": ftype, "path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for ftype in ("lxd.tar.xz", "incus.tar.xz"):
            items[ftype]["combined_squashfs_sha256"] = hashlib.sha256(metadata + squashfs).hexdigest()
        listed[f"debian:{release}:amd64:default"] = {
            "aliases": f"debian/{release}/default,debian/{release}", "arch": "amd64", "os": "Debian", "release": release, "release_title": release, "variant": "default",
            "versions": {"20250101_0000": {"items": items}},
        }
    index = {"format": "index:1.0", "index": {"images": {"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json", "products": list(listed)}}}
    document = {"format": "products:1.0", "content_id": "images", "datatype": "image-downloads", "products": listed}
    for name, content in (("images.json", document), ("index.json", index)):
        with open(os.path.join(tree, "streams", "v1", name), "w") as out:
            json.dump(content, out)
    return [*files, "streams/v1/images.json", "streams/v1/index.json"]


def _tar(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _ours(place, number, url, certificate, wanted):
    headwater = Headwater(place, f"mirror-{number}")
    headwater.run("mirror", "add", "tree", url, "--schedule", "0s", "--public", "--certificate", certificate, "--connections", str(CONNECTIONS))
    os.sync()
    run = headwater.run("mirror", "run", "tree", "--format", "json")
    ended = json.loads(run.output.splitlines()[-1])
    if ended.get("taken") != wanted:
        raise Failed(f"the mirror took {ended} where {wanted} images were to be taken")
    return run


def _sstream(place, number, url, certificate, wanted):
    to = place.path(f"sstream-{number}", "")
    env = {**os.environ, "REQUESTS_CA_BUNDLE": certificate, "SSL_CERT_FILE": certificate}
    os.sync()
    run = Run([SSTREAM, "--no-verify", url + "/tree/streams/v1/index.json", to], env=env)
    found = sum(len(names) for folder, _, names in os.walk(os.path.join(to, "images")))
    if found != wanted:
        raise Failed(f"sstream-mirror took {found} files where {wanted} were to be taken: {run.output[-300:]}")
    return run


def _curl(place, number, url, certificate, files):
    to = place.path(f"curl-{number}", "")
    config = place.path(f"curl-{number}.conf")
    with open(config, "w") as out:
        for at, path in enumerate(files):
            out.write(f'url = "{url}{path}"\noutput = "{to}{at}"\n')
    os.sync()
    run = Run(["curl", "-sSf", "--cacert", certificate, "--parallel", "--parallel-max", str(CONNECTIONS), "--parallel-immediate", "--config", config])
    if len(os.listdir(to)) != len(files):
        raise Failed(f"curl took {len(os.listdir(to))} files where {len(files)} were to be taken")
    return run


def _memory(place, report, tree, nginx, maker, many):
    _tree(place, tree, many)
    headwater = Headwater(place, "many")
    headwater.run("mirror", "add", "tree", nginx.https + "/many", "--schedule", "0s", "--public", "--certificate", maker.certificate, "--connections", str(CONNECTIONS))
    for what in ("first run", "second run, which finds nothing new"):
        run = headwater.run("mirror", "run", "tree", "--format", "json")
        report.limit(f"{what}, {many:,} products", "resident memory", "B", run.rss_peak, MEMORY)
        report.note(f"{what[0].upper()}{what[1:]} with {many:,} products: {run.seconds:.1f} s.")
    headwater.remove()
