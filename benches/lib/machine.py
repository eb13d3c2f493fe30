"""The machine that a benchmark runs on: what it is, and how busy others keep it.

    quiet = Others()
    ...
    print(quiet.share(ours=3.2))    # 0.1: others took a tenth of the machine meanwhile
"""

import datetime
import os
import platform
import re
import subprocess
import time

from .process import TICK


def describe():
    """What a reader needs to compare figures."""
    return {
        "cpu": _first("/proc/cpuinfo", r"model name\s*:\s*(.+)"),
        "cores": os.cpu_count(),
        "memory_bytes": int(_first("/proc/meminfo", r"MemTotal:\s*(\d+)")) * 1024,
        "kernel": platform.release(),
        "system": _first("/etc/os-release", r'PRETTY_NAME="(.+)"'),
        "virtual": _said(["systemd-detect-virt"]) or "unknown",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def sentence(machine):
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_bytes'] / 2**30:.0f} GiB memory, "
        f"{machine['system']}, kernel {machine['kernel']}; {machine['date']}"
    )


class Others:
    """How much of the machine other people's processes take from now on."""

    def __init__(self):
        self.began = time.monotonic()
        self.busy = _busy()

    def share(self, ours):
        """Their part of all CPU time since the start, 0 to 1; `ours` are the CPU seconds of the measured processes."""
        elapsed = time.monotonic() - self.began
        if elapsed <= 0:
            return 0.0
        return max(0.0, (_busy() - self.busy - ours) / (elapsed * os.cpu_count()))


def _busy():
    """Seconds that all cores have spent not idle (proc(5): idle and iowait are fields 4 and 5)."""
    with open("/proc/stat") as stat:
        fields = [int(word) for word in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def _first(path, pattern):
    try:
        with open(path) as text:
            found = re.search(pattern, text.read())
            return found.group(1) if found else "unknown"
    except OSError:
        return "unknown"


def _said(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
