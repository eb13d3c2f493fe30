"""Runs of a mirror that are ended by force: used by e2e/kill.

What is complete is never transferred again, what is partial goes on from where it was, and no document ever names a file that is not there:
a checker asks a server beside all the time.
"""

import hashlib
import threading
import time

from upstream import Upstream

LINES = 6
CONNECTIONS = 3
PACE = 6 << 20  # bytes a second of each connection: a run takes about a second


class Checker(threading.Thread):
    """Asks the server for its list and for every file in it that was not seen before."""

    def __init__(self, house):
        super().__init__(daemon=True)
        self.house, self.seen, self.wrong, self.rounds = house, set(), [], 0
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                self.wrong.append(repr(error))
            self.rounds += 1
            time.sleep(0.02)

    def look(self):
        for product in self.house.document("/streams/v1/images.json", "Incus 6.0")["products"].values():
            for version in product["versions"].values():
                for item in version["items"].values():
                    if item["path"] in self.seen:
                        continue
                    status, body = self.house.get("/" + item["path"])
                    if status != 200 or hashlib.sha256(body).hexdigest() != item["sha256"]:
                        self.wrong.append(f"{item['path']} was named and answers {status}, {len(body)} bytes of {item['size']}")
                    self.seen.add(item["path"])


def held(house, upstream):
    """How many bytes of each of the upstream's files are here: of blobs, or of parts."""
    found = {}
    for digest, path in upstream.files.items():
        blob = house.data / "blobs/sha256" / digest[:2] / digest
        part = house.data / "blobs/partial" / digest
        for file in (blob, part):
            if file.exists():
                found[digest] = max(found.get(digest, 0), min(file.stat().st_size, path.stat().st_size))
    return found


def killed_runs(count, house, images, dice, folder, kills, must, say):
    """KILLS times a run is killed at a random moment; runs that end are followed by a new version of every line."""
    folder.mkdir()
    upstream = Upstream(folder, PACE)
    house.good(
        "mirror", "add", "up", upstream.url, "--schedule", "0s", "--public", "--certificate", upstream.certificate,
        "--connections", str(CONNECTIONS),
    )  # fmt: skip
    wanted, versions, killed, resumed, spared = set(), 0, 0, 0, 0

    def publish():
        nonlocal versions
        versions += 1
        for line in range(LINES):
            release = f"r{line}"
            metadata, root, _ = images.next(images.version(kib=dice.randrange(200, 2500), own=100), release=release)
            wanted.add(upstream.put(release, f"20250101_{versions // 60:02}{versions % 60:02}", metadata, root))

    def transferred(before):
        """What was sent since then, beside what was here at that time."""
        nonlocal resumed, spared
        for digest, first, _ in upstream.sent():
            size, had = upstream.files[digest].stat().st_size, before.get(digest, 0)
            must(had < size, f"{digest} was complete and was asked for again, from {first}")
            # Two requests in one run are a retry of its own.
            must(first >= min(had, size) or first > 0 or had == 0, f"{digest}: {had} of {size} bytes were here, and it began anew")
            resumed += first > 0
        spared += sum(had == upstream.files[digest].stat().st_size for digest, had in before.items())

    def one():
        nonlocal killed
        before = held(house, upstream)
        upstream.sent()
        process = house.command("mirror", "run", "up", "--format", "json")
        patience = time.monotonic() + dice.uniform(0.0, 1.5)
        while process.poll() is None and time.monotonic() < patience:
            time.sleep(0.005)
        if process.poll() is None:
            process.kill()
            process.communicate()
            killed += 1
            time.sleep(0.05)  # what was sent is written down when the connection breaks
            transferred(before)
            return False
        out, err = process.communicate()
        transferred(before)
        must(process.returncode == 0, f"a run ended with {process.returncode}: {err.decode().strip()}\n{out.decode().strip()}")
        must(house.listed() == wanted, "a run that ended well did not take everything")
        return True

    house.serve()
    checker = Checker(house)
    checker.start()
    publish()
    # Claims of dead runs are waited for by others; this one is told apart by nobody, so it waits, too.
    while killed < kills and not count.failed:
        def case():
            if one():
                publish()
        count.case(f"run {killed}", case)
    def in_the_end():
        code, out, err = house.run("mirror", "run", "up", "--format", "json")
        must(code == 0, f"the last run: {out}{err}")
        must(house.listed() == wanted, "the last run did not take everything")
        checker.over.set()
        checker.join()
        must(not checker.wrong, f"{len(checker.wrong)} times: {checker.wrong[:3]}")
        house.verify()
        house.gc()
        parts = house.data / "blobs/partial"
        must(not parts.exists() or not list(parts.iterdir()), f"parts are left: {list(parts.iterdir()) if parts.exists() else ''}")
    count.case("the last run of a mirror", in_the_end)
    upstream.end()
    house.kill_server()
    say(f"{killed} runs of a mirror killed, {versions} versions; {resumed} transfers went on where they had been cut, {spared} complete files were spared; {checker.rounds} looks at the list")
