"""Catalogs of any size, made once by the program in benches/fill and kept in target/bench/catalogs.

    big = catalog(100_000)
    big.folder                          # a data folder; serve it, and leave it as it is
    big.copy(place.path("data"))        # one to change
    big.samples("fingerprints")         # what to ask for

A kept one is made anew when the schema or its maker is another, or with BENCH_FRESH=1 in the environment.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import time

from .place import TOP
from .process import Failed

FOLDER = os.path.join(TOP, "target", "bench", "catalogs")
MAKER = os.path.join(TOP, "benches", "fill", "src", "main.rs")
SCHEMA = os.path.join(TOP, "migrations", "sqlite")
SEED = 1


class Catalog:
    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "facts.json")) as facts:
            self.facts = json.load(facts)

    def samples(self, kind):
        """`fingerprints`, `aliases`, or `filters` (os and serial, divided by a blank) of public images."""
        with open(os.path.join(self.folder, "samples", kind)) as lines:
            return lines.read().splitlines()

    def copy(self, folder):
        """A data folder of its own, with the same catalog."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("samples", "tls"))
        return folder


@functools.cache
def catalog(images):
    """The catalog with so many public images; in one run the same one, whatever is edited meanwhile."""
    folder, key = os.path.join(FOLDER, str(images)), _key()
    known = os.path.join(folder, "key")
    if not os.environ.get("BENCH_FRESH") and os.path.exists(known) and _read(known) == key:
        return Catalog(folder)
    maker = _build()
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(FOLDER, exist_ok=True)
    print(f"    making a catalog of {images:,} images", flush=True)
    began = time.monotonic()
    said = subprocess.run(
        [maker, folder, "--images", str(images), "--seed", str(SEED)], capture_output=True, text=True, check=False
    )
    if said.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise Failed(f"no catalog of {images} images could be made: {said.stderr.strip()[-500:]}")
    with open(known, "w") as out:
        out.write(key)
    seconds = time.monotonic() - began
    print(f"    made in {seconds:.0f} s, {images / seconds:,.0f} images a second", flush=True)
    return Catalog(folder)


def _key():
    """What decides the rows: the schema and the maker."""
    key = hashlib.sha256()
    files = [os.path.join(SCHEMA, name) for name in sorted(os.listdir(SCHEMA))]
    for path in [*files, MAKER]:
        with open(path, "rb") as data:
            key.update(hashlib.sha256(data.read()).digest())
    return f"{key.hexdigest()} seed {SEED}"


def _read(path):
    with open(path) as text:
        return text.read()


def _build():
    """HEADWATER_FILL, or a release build."""
    path = os.environ.get("HEADWATER_FILL")
    if path:
        return os.path.abspath(path)
    build = ["cargo", "build", "--release", "--package", "headwater-fill"]
    if subprocess.run(build, cwd=TOP, check=False).returncode:
        raise Failed("the maker of catalogs could not be built")
    return os.path.join(TOP, "target", "release", "headwater-fill")
