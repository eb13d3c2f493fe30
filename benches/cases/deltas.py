"""Deltas beside xdelta3: how large, how fast, in how much memory; and how fast a client applies them."""

import hashlib
import os
import random
import subprocess

from lib import pairs
from lib.machine import Others
from lib.place import TOP, Place, need
from lib.process import Failed, Run
from lib.report import Report
from lib.stats import in_turn
from lib.units import GIB, MIB

MEMORY = 512 * MIB  # what a server gives to a build
THREADS = 2
SIDES = ["headwater", "xdelta3 -9 -B", "xdelta3 -e", "xdelta3 -e -9"]
PACKINGS = (
    "squashfs zstd, 1 MiB",
    "squashfs zstd, 128 KiB, no fragments",
    "squashfs xz, 1 MiB",
    "squashfs gzip, 128 KiB, no fragments",
    "squashfs, not compressed",
    "tar",
    "qcow2 of an ext4, compressed",
    "qcow2 of an ext4",
)
QUICK = ("squashfs zstd, 1 MiB", "squashfs, not compressed")
SPARSE = 5 * GIB


def run(options):
    need("xdelta3")
    program = _program()
    with Place(options.binary, 2 * GIB) as place:
        report = Report("deltas", "Deltas beside xdelta3", SIDES, options.command)
        report.note("Two builds of one image (Debian bookworm minimal, a month of updates and ten packages later), in each packing; the files are in the page cache.")
        report.note(f"headwater: `crates/vcdiff` with {THREADS} threads and {MEMORY // MIB} MiB, as a server's builds with the default settings.")
        report.note("`xdelta3 -9 -B`: `xdelta3 -e -9 -S none -A -B SIZE -s` with a source window that covers the whole base. It is what ratios and aims are about.")
        report.note("`xdelta3 -e`: `xdelta3 -e -s`, as linuxcontainers.org makes its deltas; `xdelta3 -e -9`: `xdelta3 -e -9 -s`, as simplestream-maintainer does. Both compress with LZMA, which not every client's xdelta3 can read.")
        report.note("Decoding is the clients' own command, `xdelta3 -f -d -s BASE DELTA TARGET`; run again and again for a second and a half; every target is compared by SHA-256, and ours is decoded by `crates/vcdiff`, too.")
        for packing in QUICK if options.quick else PACKINGS:
            _pair(report, place, program, packing, *pairs.pair().files(packing), options.rounds)
        _sparse(report, place, program, SPARSE // 8 if options.quick else SPARSE)
        return report.finish(options.results)


def _program():
    """The crate's example, built as the server is."""
    subprocess.run(["cargo", "build", "--release", "-p", "headwater-vcdiff", "--example", "vcdiff"], cwd=TOP, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(TOP, "target")), "release", "examples", "vcdiff")


def _encoders(program, base, target, delta):
    """By side: the command that makes a delta."""
    covering = max(64 * MIB, os.path.getsize(base))
    return {
        SIDES[0]: [program, "encode", base, target, delta, str(MEMORY // MIB), str(THREADS)],
        SIDES[1]: ["xdelta3", "-f", "-e", "-9", "-S", "none", "-A", "-B", str(covering), "-s", base, target, delta],
        SIDES[2]: ["xdelta3", "-f", "-e", "-s", base, target, delta],
        SIDES[3]: ["xdelta3", "-f", "-e", "-9", "-s", base, target, delta],
    }


def _pair(report, place, program, packing, base, target, rounds):
    # Reads the base, too, so that both are in the page cache.
    expected, size = (_digest(base), _digest(target))[1], os.path.getsize(target)
    report.note(f"{packing}: from {os.path.getsize(base) / MIB:.1f} to {size / MIB:.1f} MiB.")
    made = place.path("made")

    def side(name):
        delta = place.path(name.replace(" ", ""))
        encode = _quietly(report, _encoders(program, base, target, delta)[name])
        decode = _seconds_of(report, ["xdelta3", "-f", "-d", "-s", base, delta, made])
        if _digest(made) != expected:
            raise Failed(f"{packing}: what {name} wrote does not make the target")
        return {"size": os.path.getsize(delta), "encode": encode, "decode": decode}

    results = in_turn(rounds, *(lambda name=name: side(name) for name in SIDES))
    Run([program, "decode", base, place.path(SIDES[0]), made])
    if _digest(made) != expected:
        raise Failed(f"{packing}: our own decoder does not make the target")

    def row(measure, unit, value, aim=None):
        report.row(packing, measure, unit, *([value(one) for one in each] for each in results), aim=aim)

    # "Not more than 1 % larger".
    row("delta", "B", lambda one: one["size"], aim=1 / 1.01)
    row("delta, part of the target", "%", lambda one: 100 * one["size"] / size)
    row("encoding", "s", lambda one: one["encode"].seconds, aim=4.0)
    row("encoding, CPU", "s", lambda one: one["encode"].cpu)
    row("encoding, memory, most", "B", lambda one: one["encode"].rss_peak, aim=1.0)
    row("decoding by clients", "s", lambda one: one["decode"], aim=5.0 if packing == "tar" else 1.0)
    report.limit(f"headwater, {packing}", "memory, most", "B", max(one["encode"].rss_peak for one in results[0]), MEMORY)


def _sparse(report, place, program, size):
    """A pair of disks of which little is written to. Here and not among the unit tests because it reads five times 5 GiB of zeros, which takes an
    unoptimised build minutes; what decoders write is hashed and not stored."""
    base, target, delta = place.path("sparse-base"), place.path("sparse-target"), place.path("sparse-delta")
    choose = random.Random(5)
    pieces = [choose.randbytes(64 * 1024) for _ in range(48)]
    places = sorted(choose.sample(range(size // MIB), len(pieces)))
    _write_sparse(base, size, [(MIB * at, piece) for at, piece in zip(places, pieces)])
    # Some are where they were, with a change; some have moved anywhere, by a number of bytes that is no block's; some are new.
    moved = []
    for number, (at, piece) in enumerate(zip(places, pieces)):
        changed = bytearray(piece)
        changed[choose.randrange(len(piece))] ^= 1
        elsewhere = choose.randrange(size - len(piece))
        moved.append([(MIB * at, bytes(changed)), (elsewhere, piece), (MIB * at, choose.randbytes(4096))][number % 3])
    _write_sparse(target, size + 12345, moved)
    expected = _digest(target)

    encode = _quietly(report, _encoders(program, base, target, delta)[SIDES[0]])
    for name, decode in {
        "xdelta3": ["xdelta3", "-f", "-d", "-s", base, delta, "/dev/stdout"],
        "our own decoder": [program, "decode", base, delta, "/dev/stdout"],
    }.items():
        if _said(decode) != expected:
            raise Failed(f"sparse disks: {name} does not make the target of our delta")
    what = f"headwater, sparse disks of {size / GIB:.2g} GiB"
    report.note(f"{what}: encoded in {encode.seconds:.1f} s; xdelta3 by the clients' command and our own decoder make the target.")
    # 16 new pieces of 4 KiB, and a little for each that moved or was changed.
    report.limit(what, "delta", "B", os.path.getsize(delta), 16 * 4096 + 48 * 128 + 64 * size // (8 * MIB))
    report.limit(what, "memory, most", "B", encode.rss_peak, MEMORY)


def _write_sparse(path, size, pieces):
    with open(path, "wb") as out:
        for at, piece in pieces:
            out.seek(at)
            out.write(piece)
        out.truncate(size)


def _seconds_of(report, command):
    """What a command takes, on average of as many times as fill a second and a half: a tenth of a second differs from one time to the next by half."""
    seconds = []
    while sum(seconds) < 1.5 and len(seconds) < 12:
        seconds.append(_quietly(report, command).seconds)
    return sum(seconds) / len(seconds)


def _quietly(report, command):
    """Runs a command, and notes how busy the machine was meanwhile."""
    others = Others()
    one = Run(command)
    report.others.append(others.share(one.cpu))
    return one


def _digest(path):
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _said(command):
    """The digest of what a command writes."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    digest = hashlib.sha256()
    while piece := child.stdout.read(MIB):
        digest.update(piece)
    if child.wait():
        raise Failed(f"{' '.join(command)} failed ({child.returncode})")
    return digest.hexdigest()
