"""Load on a server: whole downloads (lib/sink.py), many small requests (wrk), one request after another (Python).

Every function returns what the clients saw; what the server spent is read by `measured`.
"""

import json
import os
import re
import subprocess
import sys
import time

from .machine import Others
from .process import Failed, Run

HERE = os.path.dirname(os.path.abspath(__file__))
SINK, ASK = os.path.join(HERE, "sink.py"), os.path.join(HERE, "ask.lua")


def measured(server, report, load):
    """Runs `load()`, which returns a dict with `cpu` (the client's seconds), and adds `server_cpu` and `server_peak`.
    Notes in the report how busy the machine was with other things."""
    server.process.forget_peak()
    before, others = server.process.cpu_seconds(), Others()
    result = load()
    result["server_cpu"] = server.process.cpu_seconds() - before
    result["server_peak"] = server.process.rss_peak()
    report.others.append(others.share(result["server_cpu"] + result["cpu"]))
    return result


def download(url, clients, seconds, size=None, rate=0):
    """`clients` downloads of one file at once, dropped as they come. With `size`, a finished one must have had so much."""
    job = {"url": url, "clients": clients, "seconds": seconds, "rate": rate}
    result = json.loads(Run([sys.executable, SINK, json.dumps(job)], seconds=seconds + 60).output)
    if not result["status"] or [status for status in result["status"] if " 200 " not in status]:
        raise Failed(f"{url} was answered with {result['status']}")
    if size and result["finished"] == clients and result["received"] < size * clients:
        raise Failed(f"{url}: {result['received']} bytes came for {clients} downloads of {size}")
    return result


def download_again(url, times, seconds, size=None):
    """One client is done in a fraction of a second, which differs from one time to the next by half: so many downloads are one sample."""
    all_of_them = [download(url, 1, seconds, size) for _ in range(times)]
    return {**all_of_them[-1], **{key: sum(one[key] for one in all_of_them) for key in ("received", "seconds", "cpu")}}


def curl(url, out="/dev/null"):
    """One download by curl, as a person would do it."""
    run = Run(["curl", "-sSfk", "--http1.1", "-o", out, "-w", "%{size_download} %{time_total}", url])
    size, seconds = run.output.split()
    return {"received": int(size), "seconds": float(seconds), "cpu": run.cpu}


def wrk(url, connections, seconds, headers=(), keep=True, paths=None, seed=0, threads=1):
    """Requests a second by wrk, over kept connections or with a new one for each request. With `paths`, a file of one path a
    line, each request is for one of them at random, compressed or not."""
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "60s"]
    for header in (*headers, *(() if keep else ("Connection: close",))):
        command += ["-H", header]
    script = ["-s", ASK, url, "--", paths, str(seed)] if paths else [url]
    run = Run([*command, *script], seconds=seconds + 90)
    text = run.output
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if not rate or wrong or float(rate.group(1)) == 0:
        raise Failed(f"wrk on {url} said: {text}")
    return {
        "rate": float(rate.group(1)),
        "p50": _wrk_seconds(re.search(r"^\s+50%\s+(\S+)", text, re.M).group(1)),
        "p99": _wrk_seconds(re.search(r"^\s+99%\s+(\S+)", text, re.M).group(1)),
        "requests": int(re.search(r"(\d+) requests in", text).group(1)),
        "cpu": run.cpu,
    }


def _wrk_seconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def sha256_over(url):
    """The SHA-256 of what curl gets."""
    curl_process = subprocess.Popen(["curl", "-sSfk", "--http1.1", url], stdout=subprocess.PIPE)
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], stdin=curl_process.stdout, capture_output=True, check=True)
    if curl_process.wait():
        raise Failed(f"curl could not get {url}")
    return digest.stdout.decode().split()[0]


def timed(work):
    """(what `work()` returns, the seconds it took)"""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began
