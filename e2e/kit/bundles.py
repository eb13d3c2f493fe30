"""Bundles that are made and taken in by processes that are ended by force: used by e2e/kill.

A bundle is whole or not there; the state file is the old or the new one; what was taken in of a bundle stays and the next try takes the rest;
no document ever names a file that is not there (the checker of mirrors asks all the time); and in the end both sides have the same images.
"""

import json
import subprocess
import tarfile
import time

from mirrors import Checker

LINES = 5


def whole(path):
    """Whether a tar can be read to its end, by somebody else's reader."""
    with tarfile.open(path) as tar:
        names = tar.getnames()
    return names[0] == "manifest.jsonl"


def killed(house, moment, *args):
    """Runs a command for so many seconds at most: its exit code, output and errors, or nothing when it was killed."""
    process = house.command(*args)
    try:
        out, err = process.communicate(timeout=moment)
        return process.returncode, out.decode(), err.decode()
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None


def killed_bundles(count, maker, taker, images, dice, folder, kills, must, say):
    """Until KILLS processes were killed, a fifth of them of either kind at least: new versions, a bundle of them, and that taken in. Both are tried until they are not killed any more."""
    folder.mkdir()
    state, checker = folder / "state.json", None
    bundle, made, took, took_in = folder / "bundle.tar", [0.3], [0.5], 0
    hits = {"making": 0, "taking in": 0}

    def usual(times):
        return sorted(times[-9:])[len(times[-9:]) // 2]

    def publish():
        for line in range(LINES):
            image = images.next(images.version(kib=dice.randrange(200, 2500), own=100), release=f"r{line}")
            maker.settle(image, maker.good(*maker.publishing(image)))
        while len(maker.acknowledged) > 3 * LINES:
            maker.delete(dice.choice(sorted(maker.acknowledged)))

    def make():
        bundle.unlink(missing_ok=True)
        while True:
            before = state.read_bytes() if state.exists() else None
            began = time.monotonic()
            # Every third goes on to its end, so that slow machines come to one, too.
            moment = dice.random() * 1.3 * usual(made) if dice.random() < 0.7 else 60
            ended = killed(maker, moment, "export", "--to", bundle, "--state", state)
            if bundle.exists():
                must(whole(bundle), "a bundle has its name and is not whole")
            if ended:
                must(ended[0] == 0, f"making a bundle ended with {ended[0]}: {ended[2]}")
                must(bundle.exists(), "a bundle was reported and is not there")
                made.append(time.monotonic() - began)
                left = [path.name for path in folder.iterdir() if path.name.startswith(".headwater-bundle-")]
                must(not left, f"temporary files are left: {left}")
                return
            hits["making"] += 1
            after = state.read_bytes() if state.exists() else None
            must(after == before or bundle.exists(), "the state file knows of a bundle that is not there")
            json.loads(after or "{}")
            if after != before:
                # It was complete and could not be reported: its files will not be carried again, so it is the one to take.
                return

    def take():
        nonlocal took_in
        while True:
            began = time.monotonic()
            moment = dice.random() * 1.3 * usual(took) if dice.random() < 0.7 else 60
            ended = killed(taker, moment, "import", bundle, "--prune")
            if ended:
                must(ended[0] == 0, f"taking a bundle in ended with {ended[0]}: {ended[2]}")
                took.append(time.monotonic() - began)
                took_in += 1
                break
            hits["taking in"] += 1
            must(taker.listed() <= maker.attempted, "an image is there that nobody published")
        must(taker.listed() == maker.listed(), f"they differ: {taker.listed() ^ maker.listed()}")
        taker.verify()
        taker.gc()

    def one():
        publish()
        make()
        take()

    def in_the_end():
        checker.over.set()
        checker.join()
        must(checker.seen, "the checker saw nothing")
        must(not checker.wrong, f"{len(checker.wrong)} times: {checker.wrong[:3]}")

    # A server needs an image to have a document.
    publish()
    make()
    take()
    taker.serve()
    checker = Checker(taker)
    checker.start()
    rounds = 0
    while (sum(hits.values()) < kills or min(hits.values()) < kills // 5) and not count.failed:
        count.case(f"bundle {rounds}", one)
        rounds += 1
    count.case("bundles in the end", in_the_end)
    checker.over.set()
    taker.kill_server()
    say(f"{hits['making']} killed while making bundles, {hits['taking in']} while taking them in; {took_in} were taken in; {checker.rounds} looks at the list")
