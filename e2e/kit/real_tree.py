#!/usr/bin/env python3
"""Makes a static tree of a stream document of the world, whose files are not kept: with small real files in their places.

    real_tree.py FOLDER-OR-DOCUMENT TO

Of a folder with streams/v1/index.json, its index and the documents that this names are taken; of a document alone, which lists
products, an index that names it is made. Every file that an item names is made: metadata of the product's architecture, squashfs,
tarballs and disks, and deltas that lead from one to the other; what is no image for LXD and Incus is a few bytes of text.

In the documents, the text of sizes and hashes is replaced, those of files and those of images (combined_*), and nothing else, not
even a blank. Files that had one hash have one hash again, and two that had two have two.
"""

import hashlib
import io
import json
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "armhf": "armv7l", "riscv64": "riscv64"}
METADATA = {"lxd.tar.xz", "incus.tar.xz"}
DISKS = {"disk-kvm.img", "disk1.img", "uefi1.img"}
# The fields of metadata items that say which image it is with a root file of these kinds.
COMBINED = {
    "combined_sha256": "root.tar.xz",
    "combined_rootxz_sha256": "root.tar.xz",
    "combined_squashfs_sha256": "squashfs",
    "combined_disk-kvm-img_sha256": "disk-kvm.img",
    "combined_disk1-img_sha256": "disk1.img",
    "combined_uefi1-img_sha256": "uefi1.img",
}
# An item is an object without objects in it that says its kind.
ITEM = re.compile(r'\{[^{}]*"ftype"[^{}]*\}')


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def tarball(files):
    """A .tar.xz of these texts, the same bytes each time."""
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return lzma.compress(text.getvalue())


def metadata(product, version, seed):
    about = {
        "architecture": ARCHITECTURES[product["arch"]],
        "creation_date": 1,
        "properties": {"os": product["os"], "release": product["release"], "serial": version, "seed": seed},
    }
    # YAML takes JSON as it is.
    return tarball({"metadata.yaml": json.dumps(about).encode()})


def content(seed):
    """What is in a root file: much that all of a kind share, and a line of its own, so that deltas are small."""
    return b"".join(hashlib.sha256(b"%d" % at).digest() for at in range(500)) + seed.encode()


def root(kind, seed, work):
    if kind == "root.tar.xz":
        return tarball({"etc/issue": content(seed)})
    result = work / "result"
    result.unlink(missing_ok=True)
    if kind == "squashfs":
        tree = work / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "issue").write_bytes(content(seed))
        run("mksquashfs", tree, result, "-all-root", "-noappend", "-no-progress", "-quiet", "-mkfs-time", 0, "-all-time", 0)
    else:
        raw = work / "raw"
        raw.write_bytes(content(seed).ljust(1 << 16, b"\0"))
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, result)
    return result.read_bytes()


def delta(kind, base, target, work):
    """The base may be a file that is listed nowhere: then nobody can use the delta, as in the original."""
    for name, seed in (("base", base), ("target", target)):
        (work / name).write_bytes(root(kind, seed, work))
    run("xdelta3", "-f", "-e", "-s", work / "base", work / "target", work / "delta")
    return (work / "delta").read_bytes()


def seed_of(item):
    """What two items share if and only if they are to have the same bytes."""
    return item.get("sha256") or item.get("md5") or item["path"]


class Tree:
    def __init__(self, to, work):
        self.to, self.work = to, work
        self.made = {}

    def document(self, text):
        """The text of the document with new sizes and hashes; the files are written."""
        hashes, files = {}, {}
        for product in json.loads(text)["products"].values():
            for name, version in product["versions"].items():
                for item in version["items"].values():
                    if "path" in item:
                        files[seed_of(item)] = self.file(product, name, item)
                for item in version["items"].values():
                    self.combined(version, item, hashes)

        def rewritten(match):
            item = json.loads(match[0])
            new = files[seed_of(item)]
            changed = re.sub(r'("size"\s*:\s*"?)\d+', rf"\g<1>{len(new)}", match[0])
            values = {kind: getattr(hashlib, kind)(new).hexdigest() for kind in ("sha256", "md5", "sha512")}
            values |= {field: hashes.get(item[field], item[field]) for field in item.keys() & COMBINED.keys()}
            for field, value in values.items():
                # The value of the field alone: paths hold hashes, too.
                changed = re.sub(rf'("{field}"\s*:\s*")[0-9a-f]+', rf"\g<1>{value}", changed)
            return changed

        return ITEM.sub(rewritten, text)

    def file(self, product, version, item):
        kind, seed = item["ftype"], seed_of(item)
        if seed not in self.made:
            if kind in METADATA:
                new = metadata(product, version, seed)
            elif kind in DISKS or kind in ("squashfs", "root.tar.xz"):
                new = root(kind, seed, self.work)
            elif "delta_base" in item:
                new = self.delta(product, version, item)
            else:
                new = f"{kind} {seed}\n".encode()
            self.made[seed] = new
        path = self.to / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != self.made[seed]:
            sys.exit(f"{item['path']} is listed as two files")
        path.write_bytes(self.made[seed])
        return self.made[seed]

    def delta(self, product, version, item):
        kind = item["ftype"].removesuffix(".vcdiff")

        def of(name):
            items = product["versions"].get(name, {"items": {}})["items"].values()
            found = [seed_of(item) for item in items if item["ftype"] == kind]
            return found[0] if found else f"{kind} of {name}"

        return delta(kind, of(item["delta_base"]), of(version), self.work)

    def combined(self, version, item, hashes):
        """Notes the new fingerprints of an item. One that belongs to a root file that is not listed is nobody's, and stays."""
        items = version["items"].values()
        for field in item.keys() & COMBINED.keys():
            of_metadata = item if item["ftype"] in METADATA else next(one for one in items if one["ftype"] in METADATA)
            roots = [one for one in items if one["ftype"] == COMBINED[field]]
            if not roots:
                continue
            both = self.made[seed_of(of_metadata)] + self.made[seed_of(roots[0])]
            new = hashlib.sha256(both).hexdigest()
            if hashes.setdefault(item[field], new) != new:
                sys.exit(f"{item[field]} is the fingerprint of two images")


def main():
    source, to = map(Path, sys.argv[1:])
    index = source / "streams/v1/index.json"
    if source.is_dir():
        base, text = source, index.read_text()
        streams = json.loads(text)["index"].values()
        paths = [stream["path"] for stream in streams if isinstance(stream, dict)]
    else:
        # Where its own index has it is not known.
        base, paths, document = source.parent, [source.name], json.loads(source.read_text())
        stream = {"datatype": document["datatype"], "format": "products:1.0", "path": source.name, "products": list(document["products"])}
        text = json.dumps({"format": "index:1.0", "index": {document["content_id"]: stream}})
    (to / "streams/v1").mkdir(parents=True)
    (to / "streams/v1/index.json").write_text(text)
    with tempfile.TemporaryDirectory() as work:
        tree = Tree(to, Path(work))
        for path in paths:
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_text(tree.document((base / path).read_text()))


if __name__ == "__main__":
    main()
