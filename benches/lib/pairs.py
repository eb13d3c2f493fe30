"""Two real builds of one image, a month of updates apart, in every packing that builders use.

    pair = pairs.pair()                             # debootstraps two trees the first time (three minutes, as root)
    old, new = pair.files("squashfs zstd, 1 MiB")   # made when first asked for, then kept
    pairs.PACKINGS                                  # all names, in the order of the tables
    pairs.BUILDERS                                  # the one that builders of images use

Version 1 is a minimal Debian bookworm as of its last point release; version 2 is the same tree after its security and other updates and ten
more packages, about a quarter of its bytes. The trees and files are kept in target/bench/pairs, keyed by this script, so that all benchmarks
measure the same bytes. Files are made reproducibly: the same trees give the same files.
"""

import fcntl
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import time

from .place import TOP, need
from .process import Failed

FOLDER = os.path.join(TOP, "target", "bench", "pairs")
PACKAGES = "less nano curl iproute2 openssh-client rsync git-man procps tmux vim-tiny"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SERIALS = ("20250101_0000", "20250201_0000")
KIB, MIB = 1024, 1024 * 1024


def _squashfs(compressor, block, fragments=True, level=()):
    options = ["-comp", compressor, "-b", str(block), *level, *([] if fragments else ["-no-fragments"])]

    def make(tree, path):
        # Apart from the three that are measured, what distrobuilder and the makers of the public image servers say.
        _run("mksquashfs", tree, path, "-noappend", "-no-exports", "-no-progress", "-quiet", "-mkfs-time", "0", *options)

    return make


def _unpacked_squashfs(tree, path):
    plain = ["-noI", "-noD", "-noF", "-noX", "-b", str(128 * KIB), "-no-fragments"]
    _run("mksquashfs", tree, path, "-noappend", "-no-exports", "-no-progress", "-quiet", "-mkfs-time", "0", *plain)


def _tar(tree, path):
    _run("tar", "-C", tree, "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-cf", path, ".")


def _tar_xz(tree, path):
    _tar(tree, path + ".tar")
    with open(path, "wb") as out:
        subprocess.run(["xz", "-6", "-T1", "-c", path + ".tar"], stdout=out, check=True)
    os.unlink(path + ".tar")


def _qcow2(*options):
    """A disk with one ext4 that mke2fs fills from the tree; the times that it would take from the clock are fixed."""

    def make(tree, path):
        raw = path + ".raw"
        with open(raw, "wb") as out:
            out.truncate(1024 * MIB)
        fixed = ["-U", "b7c0a2de-5a7b-4c33-8a5f-0d1c9b1c2a11", "-E", "hash_seed=b7c0a2de-5a7b-4c33-8a5f-0d1c9b1c2a11"]
        _run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "rootfs", *fixed, "-d", tree, raw, E2FSPROGS_FAKE_TIME="1735689600")
        _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, path)
        os.unlink(raw)

    return make


def _squashfs_packings():
    for compressor, level in (("zstd", ["-Xcompression-level", "15"]), ("xz", []), ("gzip", [])):
        for size, block in (("1 MiB", MIB), ("128 KiB", 128 * KIB)):
            for fragments in (True, False):
                name = f"squashfs {compressor}, {size}" + ("" if fragments else ", no fragments")
                yield name, (".squashfs", _squashfs(compressor, block, fragments, level))


# Name of a packing: the end of its files' names, and what makes one of a tree.
_MAKERS = {
    **dict(_squashfs_packings()),
    "squashfs, not compressed": (".squashfs", _unpacked_squashfs),
    "tar": (".tar", _tar),
    "tar.xz": (".tar.xz", _tar_xz),
    "qcow2 of an ext4, compressed": (".qcow2", _qcow2("-c")),
    "qcow2 of an ext4": (".qcow2", _qcow2()),
}
PACKINGS = tuple(_MAKERS)
BUILDERS = "squashfs zstd, 1 MiB"


class Pair:
    def __init__(self, folder):
        self.folder = folder

    def tree(self, version):
        """The root folder of version 1 or 2; to be left as it is."""
        return os.path.join(self.folder, f"v{version}")

    def file(self, version, packing):
        """The root file of version 1 or 2."""
        ending, make = _MAKERS[packing]
        name = "".join(letter if letter.isalnum() else "-" for letter in packing).replace("--", "-")
        path = os.path.join(self.folder, f"v{version}-{name}{ending}")
        with _locked(self.folder):
            if not os.path.exists(path):
                print(f"    packing version {version}: {packing}", flush=True)
                make(self.tree(version), path + ".new")
                os.rename(path + ".new", path)
        return path

    def files(self, packing):
        """(old, new): the root files of versions 1 and 2."""
        return self.file(1, packing), self.file(2, packing)


@functools.cache
def pair():
    """The pair of this machine, made when there is none of this script's."""
    with open(__file__, "rb") as script:
        key = hashlib.sha256(script.read()).hexdigest()[:16]
    folder = os.path.join(FOLDER, key)
    os.makedirs(FOLDER, exist_ok=True)
    with _locked(FOLDER):
        if not os.path.exists(os.path.join(folder, "done")):
            _make(folder)
    return Pair(folder)


def _make(folder):
    need("debootstrap", "mksquashfs", "qemu-img", "mke2fs", "xz")
    if os.geteuid():
        raise Failed("debootstrap needs root to make the pair of images: run this as root once")
    print("    making two real images (about three minutes, once)", flush=True)
    began = time.monotonic()
    for old in os.listdir(FOLDER):
        if os.path.isdir(os.path.join(FOLDER, old)):
            shutil.rmtree(os.path.join(FOLDER, old), ignore_errors=True)
    os.makedirs(folder)
    first, second = (os.path.join(folder, version) for version in ("v1", "v2"))
    archive = _archive()
    _run("debootstrap", "--variant=minbase", "bookworm", first, archive, log=os.path.join(folder, "log"))
    _write(first + "/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    _write(first + "/usr/sbin/init", '#!/bin/sh\ntrap "exit 0" PWR INT TERM\nwhile :; do sleep 3600 & wait $!; done\n')
    _clean(first)
    _run("cp", "-a", first, second)
    _update(second, archive, os.path.join(folder, "log"))
    _clean(second)
    _write(os.path.join(folder, "done"), "")
    print(f"    made in {time.monotonic() - began:.0f} s", flush=True)


def _update(tree, archive, log):
    """Its updates, and ten packages more, by its own apt."""
    sources, resolv = tree + "/etc/apt/sources.list", tree + "/etc/resolv.conf"
    suites = [(archive, "bookworm"), (archive, "bookworm-updates"), (archive.rstrip("/") + "-security", "bookworm-security")]
    _write(sources, "".join(f"deb [signed-by={KEYRING}] {place} {suite} main\n" for place, suite in suites))
    shutil.copy("/etc/resolv.conf", resolv)
    _run("mount", "-t", "proc", "proc", tree + "/proc")
    try:
        for words in ("update", "-y dist-upgrade", "-y --no-install-recommends install " + PACKAGES):
            _run("chroot", tree, "apt-get", "-q", *words.split(), log=log, DEBIAN_FRONTEND="noninteractive")
    finally:
        _run("umount", tree + "/proc")
    os.unlink(resolv)


def _clean(tree):
    """What builders leave out; downloaded lists alone would be a third of the image."""
    _run("chroot", tree, "apt-get", "clean")
    for place in ("var/lib/apt/lists", "tmp"):
        for entry in os.scandir(os.path.join(tree, place)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    for name in os.listdir(os.path.join(tree, "var/log")):
        if name.endswith(".log"):
            os.unlink(os.path.join(tree, "var/log", name))


def _archive():
    """The Debian archive that this machine's apt uses."""
    script = f". {shlex.quote(os.path.join(TOP, 'e2e', 'debian.sh'))}; debian_archive"
    archive = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False).stdout.strip()
    if not archive:
        raise Failed("apt on this machine knows no Debian archive to make real images from")
    return archive


def _locked(folder):
    """One maker at a time, also among processes; the lock goes with the file object."""
    lock = open(os.path.join(folder, ".lock"), "a")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _write(path, text):
    with open(path, "w") as out:
        out.write(text)
    os.chmod(path, 0o755 if text.startswith("#!") else 0o644)


def _run(*command, log=None, **environment):
    environment = {**os.environ, "LC_ALL": "C", **environment}
    said = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    if log:
        with open(log, "a") as out:
            out.write(said.stdout + said.stderr)
    if said.returncode:
        raise Failed(f"{command[0]} failed: {(said.stderr or said.stdout).strip()[-1000:]}")
