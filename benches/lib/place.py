"""Where a benchmark works: a throw-away folder, the built program, free ports."""

import os
import shutil
import socket
import tempfile

from .process import Failed, end_all
from .units import show

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RESULTS = os.path.join(TOP, "target", "bench")


class Place:
    """A folder that goes when the `with` block ends, after the processes that were started. `bytes` must be free."""

    def __init__(self, binary, bytes_needed=0):
        self.binary = binary
        self.bytes_needed = bytes_needed

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="hw-bench.")
        os.chmod(self.folder, 0o711)
        free = shutil.disk_usage(self.folder).free
        if free < self.bytes_needed:
            self.__exit__()
            raise Failed(
                f"{show(self.bytes_needed, 'B')} are needed in {tempfile.gettempdir()}, {show(free, 'B')} are free: "
                "set TMPDIR to a folder on a larger disk"
            )
        return self

    def __exit__(self, *_):
        end_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *parts):
        """A path below the folder; the folders above it are made."""
        path = os.path.join(self.folder, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Failed(f"{program} is not installed: run './dev setup'")
