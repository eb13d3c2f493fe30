"""One alias of 24,000 images, asked for by the real lxc and incus: through the whole document, and through a view of it."""

import os
import random
import re
import shutil
import urllib.parse

from lib.catalogs import catalog
from lib.client import Client
from lib.machine import Others
from lib.place import Place, need
from lib.process import Failed, Run
from lib.report import Report
from lib.servers import Headwater

COUNT, QUICK = 24_000, 10_000
AIM = 50.0
CLIENTS = ("lxc", "incus")
VIEW = "bench"


def run(options):
    need(*CLIENTS, "openssl")
    count = QUICK if options.quick else COUNT
    with Place(options.binary) as place:
        held = catalog(count)
        server = Headwater(place, data=held.copy(place.path("headwater", "")))
        # Made by hand, so that there are thousands of them, whatever products there are.
        names = held.samples("following")
        random.Random(count).shuffle(names)
        saved, names = names[0], iter(names[1:])
        server.run("view", "create", VIEW, "--filter", f"alias={saved}")
        server.start()
        sides = ["a part", "whole document"]
        report = Report("aliases", f"One alias of {count:,} images, by the real clients", sides, options.command)
        report.note(
            "`lxc image info REMOTE:ALIAS` and `incus image info REMOTE:ALIAS`, from the start of the client to its end, each time with a configuration and a cache of "
            f"their own. The remotes are simplestreams ones of the same server: its address as it is, with `/only/alias=ALIAS`, and `/v/{VIEW}`, a saved view "
            "with the same filter. Each round asks for another alias, so that no view in an address was asked for before; the saved view, of one alias, and the whole document were."
        )
        report.note("`over the API`: the same question to a remote of the LXD protocol, which looks the alias up.")
        _document(report, server, count)
        for client in CLIENTS:
            _ask(place, report, server, client, names, saved, options.rounds)
        return report.finish(options.results)


def _document(report, server, count):
    """Has the document made for each family of clients, which is not what is measured here."""
    for family in ("LXD 5.0.2", "Incus 6.0.4"):
        answer, _ = Client(server.https).get("/streams/v1/images.json", **{"User-Agent": family})
        size = int(answer.headers["Content-Length"] or 0)
    report.note(f"images.json of {count:,} images has {size / 1e6:.1f} MB, compressed.") if size else None


def _ask(place, report, server, client, names, saved, rounds):
    runs = iter(range(10**6))
    alias = None

    def info(path, name, protocol="simplestreams"):
        others, spent = Others(), server.process.cpu_seconds()
        run, fingerprint = _info(place, server, client, next(runs), path, name, protocol)
        report.others.append(others.share(run.cpu + server.process.cpu_seconds() - spent))
        return {"seconds": run.seconds, "cpu": run.cpu, "fingerprint": fingerprint}

    kinds = {
        "/only/alias=…": lambda: info("/only/alias=" + urllib.parse.quote(alias, safe=""), alias),
        "a saved view": lambda: info("/v/" + VIEW, saved),
        "over the API": lambda: info("", alias, "lxd"),
        "whole": lambda: info("", alias),
    }
    for path in ("", "/v/" + VIEW):
        info(path, saved)  # the program itself is read from the disk, and the view is made
    results = {kind: [] for kind in kinds}
    for number in range(rounds):
        alias = next(names)
        order = list(kinds) if number % 2 == 0 else list(reversed(kinds))
        for kind in order:
            results[kind].append(kinds[kind]())
        found = {results[kind][-1]["fingerprint"] for kind in kinds if kind != "a saved view"}
        if len(found) != 1:
            raise Failed(f"{client} found {found} for {alias}, depending on how it asked")
    for kind in ("/only/alias=…", "a saved view", "over the API"):
        aim = None if "API" in kind else AIM
        pair = (results[kind], results["whole"])
        report.row(f"{client}, {kind}", "time", "s", *([one["seconds"] for one in side] for side in pair), aim=aim)
    pair = (results["/only/alias=…"], results["whole"])
    report.row(f"{client}, /only/alias=…", "CPU of the client", "s", *([one["cpu"] for one in side] for side in pair))


def _info(place, server, client, number, path, alias, protocol):
    """One `image info`; returns the finished Run and the fingerprint that it printed."""
    home = place.path(f"{client}-{number}", "")
    config = os.path.join(home, "config")
    os.makedirs(os.path.join(config, "servercerts"))
    shutil.copy(server.certificate, os.path.join(config, "servercerts", "bench.crt"))
    if client == "incus" and protocol == "lxd":
        protocol = "incus"
    with open(os.path.join(config, "config.yml"), "w") as out:
        out.write(
            f"default-remote: bench\nremotes:\n  bench:\n    addr: {server.https}{path}\n    protocol: {protocol}\n    public: true\n"
        )
    env = {**os.environ, "HOME": home, "LXD_CONF": config, "INCUS_CONF": config, "LXD_DIR": home, "INCUS_DIR": home}
    env = {key: value for key, value in env.items() if not key.startswith("XDG_") and not key.lower().endswith("_proxy")}
    run = Run([client, "image", "info", f"bench:{alias}"], env=env)
    shutil.rmtree(home)
    found = re.search(r"^Fingerprint: ([0-9a-f]{64})$", run.output, re.M)
    if not found:
        raise Failed(f"{client} image info {alias} said: {run.output[:500]}")
    return run, found.group(1)
