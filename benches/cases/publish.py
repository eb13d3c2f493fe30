"""`headwater publish` of a 1 GiB image beside hashing and copying the same file."""

import os

from lib import images
from lib.machine import Others
from lib.place import Place, need
from lib.process import Run
from lib.report import Report
from lib.servers import Headwater
from lib.stats import in_turn
from lib.units import GIB

AIM = 1 / 1.3  # of the speed of the hash alone


def run(options):
    need("openssl", "sha256sum", "mksquashfs")
    size = GIB if not options.quick else GIB // 8
    with Place(options.binary, 4 * size) as place:
        metadata, root = images.split(place.path("image", ""), size)
        copy = place.path("copy")
        report = Report("publish", "Publishing a 1 GiB image", ["headwater", "peer"], options.command)
        report.note(
            f"`headwater publish metadata.tar.xz rootfs.squashfs` of {os.path.getsize(root) / GIB:.2f} GiB, from a new process to "
            "its end, into a data folder on the same disk: two SHA-256 (the root file's and the image's), the copy, "
            "the checks, and everything synced. The source is in the page cache; the disk is synced before each run."
        )
        report.note("`hash`: `sha256sum FILE`, or `openssl dgst -sha256 FILE`, which uses the processor's SHA instructions.")
        report.note("`cp`: `cp FILE COPY`, a real copy; `synced`: `sync COPY` after it. Commands run one after another, as in a script.")

        peers = {
            "sha256sum": [["sha256sum", root]],
            "openssl hash": [["openssl", "dgst", "-sha256", root]],
            "sha256sum + cp": [["sha256sum", root], _cp(root, copy)],
            "sha256sum + cp, synced": [["sha256sum", root], _cp(root, copy), ["sync", copy]],
            "openssl hash + cp, synced": [["openssl", "dgst", "-sha256", root], _cp(root, copy), ["sync", copy]],
            "cp, synced": [_cp(root, copy), ["sync", copy]],
        }
        _compare(report, place, metadata, root, peers, options.rounds)
        return report.finish(options.results)


def _cp(root, copy):
    return ["cp", "--reflink=never", root, copy]


def _compare(report, place, metadata, root, peers, rounds):
    folders, tiny = iter(range(10**6)), place.path("tiny.tar.gz")
    images.unified(tiny, 0)

    def publish():
        headwater = Headwater(place, f"headwater-{next(folders)}")
        headwater.publish(tiny)  # makes the folder and the catalog, which is not what is measured
        _, run = _quietly(report, lambda: headwater.publish(metadata, root))
        headwater.remove()
        return run

    def commands(steps):
        runs = _quietly(report, lambda: [Run(step) for step in steps])
        return {"seconds": sum(run.seconds for run in runs), "cpu": sum(run.cpu for run in runs)}

    sides = [publish] + [lambda steps=steps: commands(steps) for steps in peers.values()]
    ours, *theirs = in_turn(rounds, *sides)
    for name, results in zip(peers, theirs):
        aim = AIM if name in ("sha256sum", "openssl hash") else 1.0 if "cp" in name and "hash" in name else None
        report.row(f"beside {name}", "time", "s", [run.seconds for run in ours], [run["seconds"] for run in results], aim=aim)
    report.row("publish, and sha256sum", "CPU", "s", [run.cpu for run in ours], [run["cpu"] for run in theirs[0]])
    report.row("publish", "memory, most", "B", [run.rss_peak for run in ours])


def _quietly(report, work):
    """Runs `work` with nothing left to be written by others, and notes how busy the machine was meanwhile."""
    os.sync()
    others = Others()
    result = work()
    runs = result if isinstance(result, list) else [result[1]]
    report.others.append(others.share(sum(run.cpu for run in runs)))
    return result
