"""Images to measure with: real in form, and with bytes that do not compress, so that size is what is measured.

    split(folder, GIB)      # metadata.tar.xz and rootfs.squashfs of 1 GiB
    machine(folder, GIB)    # metadata.tar.xz and disk.qcow2
    unified(path, 17)       # the tiny image number 17
    tiny(folder, 17)        # metadata.tar.xz and rootfs.squashfs of a few hundred bytes
    metadata_of(folder, "Debian", "default")    # only a metadata.tar.xz
"""

import io
import os
import subprocess
import tarfile
import time

from .process import Failed

YAML = """architecture: x86_64
creation_date: {created}
properties:
  architecture: x86_64
  description: {os} {release} x86_64 {variant} ({serial})
  os: {os}
  release: {release}
  variant: {variant}
  serial: "{serial}"
"""


def split(folder, size):
    """Returns (metadata, root): a container image whose squashfs holds one file of `size` random bytes, stored as it is."""
    metadata = metadata_of(folder, "bench", "split")
    tree, root = os.path.join(folder, "tree"), os.path.join(folder, "rootfs.squashfs")
    os.makedirs(tree)
    noise(os.path.join(tree, "noise"), size)
    _run("mksquashfs", tree, root, "-noappend", "-no-progress", "-quiet", "-noD", "-noI", "-noF", "-no-xattrs", "-all-root")
    os.unlink(os.path.join(tree, "noise"))
    return metadata, root


def machine(folder, size):
    """Returns (metadata, root): a virtual machine image whose qcow2 holds `size` random bytes."""
    metadata = metadata_of(folder, "bench", "machine")
    raw, root = os.path.join(folder, "disk.raw"), os.path.join(folder, "disk.qcow2")
    noise(raw, size)
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, root)
    os.unlink(raw)
    return metadata, root


def unified(path, number):
    """The tiny unified image `number`: a tar.gz with metadata.yaml and a root of one file. Every fourth is of another OS,
    so that a filter finds a quarter."""
    text = YAML.format(
        os=("debian", "alpine", "ubuntu", "fedora")[number % 4],
        release=f"r{number // 4 % 50}",
        variant=("default", "cloud")[number // 200 % 2],
        serial=f"20250101_{number:06d}",
        created=1735689600 + number,
    ).encode()
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        _add(tar, "metadata.yaml", text)
        folder = tarfile.TarInfo("rootfs")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        _add(tar, "rootfs/etc-issue", f"image {number}\n".encode())


def tiny(folder, number, system="Debian", release="bookworm", variant="default"):
    """Returns (metadata, root) of the tiny container image `number`, one minute newer than the one before."""
    created = 1767225600 + 60 * number  # in 2026: newer than all made-up ones
    serial = time.strftime("%Y%m%d_%H:%M", time.gmtime(created))
    metadata = metadata_of(folder, system, variant, release, serial, created)
    tree, root = os.path.join(folder, "tree"), os.path.join(folder, "rootfs.squashfs")
    os.makedirs(tree)
    with open(os.path.join(tree, "issue"), "w") as out:
        out.write(f"{system} {release} {serial}\n")
    _run("mksquashfs", tree, root, "-noappend", "-no-progress", "-quiet", "-no-xattrs", "-all-root")
    return metadata, root


def noise(path, size):
    """Random bytes as fast as AES makes them, the same every time."""
    with open(path, "wb") as out:
        cipher = subprocess.Popen(
            ["openssl", "enc", "-aes-128-ctr", "-K", "0" * 31 + "1", "-iv", "0" * 32, "-nosalt"],
            stdin=subprocess.PIPE, stdout=out,
        )  # fmt: skip
        zeros = bytes(1 << 20)
        for _ in range(size // len(zeros)):
            cipher.stdin.write(zeros)
        cipher.stdin.write(bytes(size % len(zeros)))
        cipher.stdin.close()
        if cipher.wait():
            raise Failed(f"openssl could not write {path}")


def metadata_of(folder, system, variant, release="one", serial="20250101_0000", created=None):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "metadata.tar.xz")
    created = created or int(time.time())
    text = YAML.format(os=system, release=release, variant=variant, serial=serial, created=created)
    with tarfile.open(path, "w:xz") as tar:
        _add(tar, "metadata.yaml", text.encode())
    return path


def _add(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(data), 1735689600
    tar.addfile(entry, io.BytesIO(data))


def _run(*command):
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise Failed(f"{command[0]} failed: {said.stderr.strip()}")
