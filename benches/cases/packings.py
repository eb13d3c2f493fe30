"""How the packing of a root file decides what a delta saves: the same two builds of an image in every packing."""

import os
import subprocess

from lib import images, pairs
from lib.place import TOP, Place, need
from lib.process import Failed, Run
from lib.report import Report
from lib.servers import Headwater
from lib.units import GIB, show

MOST_LARGER = 1.08  # the root file beside the builders' packing
MOST_DELTA = 0.32  # the delta beside the root file
HEADINGS = ["packing", "root file", "beside builders'", "delta", "of the root file", "beside the tarballs' delta"]


def run(options):
    need("mksquashfs", "sqfstar", "qemu-img", "xz")
    encoder = _encoder()
    packings = [pairs.BUILDERS, "squashfs zstd, 128 KiB, no fragments", "tar"] if options.quick else pairs.PACKINGS
    with Place(options.binary, 4 * GIB) as place:
        pair = pairs.pair()
        report = Report("packings", "Packings, and what a delta saves", [], options.command, compare=())
        report.note(
            "Two builds of one image: Debian bookworm, and the same with its updates and ten packages more. Sizes are those of the second "
            "build's root file, and of the delta from the first build's, made by Headwater's encoder."
        )
        report.note(f"`{pairs.BUILDERS}` is how builders pack. `--repack`: what `headwater publish --repack` makes of that.")
        found = {packing: _measured(place, encoder, *pair.files(packing)) for packing in packings}
        found["`--repack`"] = _measured(place, encoder, *_repacked(place, pair))
        tarball, builders = found["tar"]["delta"], found[pairs.BUILDERS]["full"]
        for packing, sizes in found.items():
            full, delta = sizes["full"], sizes["delta"]
            larger = f"{full / builders - 1:+.1%}" if full < 2 * builders else f"× {full / builders:.1f}"
            cells = [packing, show(full, "B"), larger, show(delta, "B"), f"{delta / full:.1%}", f"× {delta / tarball:.2f}"]
            report.line(HEADINGS, cells)
        ours = found["`--repack`"]
        report.limit("`--repack`", "root file", "B", ours["full"], builders * MOST_LARGER)
        report.limit("`--repack`", "delta", "B", ours["delta"], ours["full"] * MOST_DELTA)
        return report.finish(options.results)


def _repacked(place, pair):
    """The root files of both builds as Headwater packs them anew."""
    roots = []
    for version in (1, 2):
        headwater = Headwater(place, f"repacked-{version}")
        metadata = images.metadata_of(place.path(f"image-{version}", ""), "Debian", "default", "bookworm", pairs.SERIALS[version - 1])
        headwater.publish(metadata, pair.file(version, pairs.BUILDERS), "--repack")
        # The root file is the larger one of two.
        roots.append(max(_files(os.path.join(headwater.data, "blobs", "sha256")), key=os.path.getsize))
    return roots


def _files(folder):
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]


def _measured(place, encoder, old, new):
    delta = place.path("delta")
    Run([encoder, "encode", old, new, delta])
    sizes = {"full": os.path.getsize(new), "delta": os.path.getsize(delta)}
    os.unlink(delta)
    return sizes


def _encoder():
    build = ["cargo", "build", "--release", "--package", "headwater-vcdiff", "--example", "vcdiff"]
    if subprocess.run(build, cwd=TOP, check=False).returncode:
        raise Failed("the encoder could not be built")
    return os.path.join(TOP, "target", "release", "examples", "vcdiff")
