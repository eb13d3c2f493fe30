"""Processes that a benchmark starts, and what the kernel says they cost.

    server = Process(["nginx", "-c", conf], log)
    before = server.cpu_seconds()
    ...
    print(server.cpu_seconds() - before, server.rss_peak())
    server.end()

A process counts with its children (nginx's workers). It is known by its process id alone, and ended by that alone.
Knows nothing of HTTP, nor of what is measured.
"""

import os
import signal
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
_running = []


class Failed(Exception):
    """A benchmark cannot go on; the text is for people."""


class Process:
    """One program with its children, in a session of its own, as a service is.

    With `own_session=False` only in a process group of its own: kernels that share processors out by session
    (`sched_autogroup`) count how nice a thread is among those of its session alone, and clients are in that of the bench."""

    def __init__(self, command, log, env=None, stdin=subprocess.DEVNULL, stdout=None, own_session=True):
        self.command = command
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout or out,
                stderr=out,
                env=env,
                start_new_session=own_session,
                process_group=None if own_session else 0,
            )
        self.pid = self.child.pid
        _running.append(self)

    def alive(self):
        return self.child.poll() is None

    def tail(self, lines=8):
        """The end of what it printed, for a message about its failure."""
        with open(self.log, errors="replace") as text:
            return "".join(text.readlines()[-lines:]).strip()

    def family(self):
        """Its process id and those of its descendants."""
        return family(self.pid)

    def cpu_seconds(self):
        """User and system time of the whole family so far, children that ended included."""
        total = 0
        for pid in self.family():
            fields = _stat(pid)
            if fields:
                # utime, stime, cutime, cstime: proc(5). Children are added when the parent has waited for them.
                total += sum(int(fields[i]) for i in (11, 12, 13, 14))
        return total / TICK

    def rss(self):
        """Resident memory of the family now, in bytes. Pages that processes share count once for each of them."""
        return sum(status_bytes(pid, "VmRSS") for pid in self.family())

    def rss_peak(self):
        """The sum of each process's highest resident memory since its start or `forget_peak`, in bytes."""
        return sum(status_bytes(pid, "VmHWM") for pid in self.family())

    def forget_peak(self):
        for pid in self.family():
            with open(f"/proc/{pid}/clear_refs", "w") as refs:
                refs.write("5")

    def end(self, seconds=20):
        """Asks it to end, waits, then insists."""
        if self in _running:
            _running.remove(self)
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.child.wait()


def end_all():
    """Ends what is still running, the newest first. Called when a benchmark leaves, however it leaves."""
    for process in reversed(list(_running)):
        process.end()


class Sampler:
    """Looks at a process's resident memory every so often while a `with` block runs."""

    def __init__(self, process, every=0.05):
        self.process = process
        self.every = every
        self.samples = []  # bytes
        self._stop = threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _look(self):
        while not self._stop.is_set():
            self.samples.append(self.process.rss())
            self._stop.wait(self.every)


class Highest:
    """Follows a process's own highest resident memory (VmHWM) until it has ended.

    What `wait4` gives (`ru_maxrss`) is no less than what the process that started it had: a child begins with its parent's memory."""

    def __init__(self, pid, every=0.01):
        self.pid, self.every, self.bytes = pid, every, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        while not self._over.is_set():
            # Nothing is told of a process that has ended.
            self.bytes = max(self.bytes, status_bytes(self.pid, "VmHWM"))
            self._over.wait(self.every)

    def end(self):
        self._over.set()
        self._thread.join()
        return self.bytes


class Run:
    """A command that was run to its end: `seconds`, `cpu` seconds, `rss_peak` bytes, `output` text."""

    def __init__(self, command, env=None, seconds=600):
        began = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        killer = threading.Timer(seconds, child.kill)
        killer.start()
        said = []
        reader = threading.Thread(target=lambda: said.append(child.stderr.read()), daemon=True)
        reader.start()
        highest = Highest(child.pid)
        out = child.stdout.read()
        reader.join()
        _, code, usage = os.wait4(child.pid, 0)
        self.seconds = time.perf_counter() - began
        killer.cancel()
        child.returncode = os.waitstatus_to_exitcode(code)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss_peak = highest.end()
        self.output = out.decode(errors="replace")
        if child.returncode != 0:
            words = said[0].decode(errors="replace").strip() if said else ""
            raise Failed(f"{' '.join(map(str, command))} failed ({child.returncode}): {words[-2000:]}")


def family(pid):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo.extend(children.get(one, []))
    return found


def status_bytes(pid, key):
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _stat(pid):
    """The fields of /proc/PID/stat after the name: [0] is the state, [1] the parent."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
