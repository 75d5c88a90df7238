"""Memory, cold start and size of each contender."""
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from bench import say
from client import Client, Http2Client
from load import COLUMNS, load
from machine import memory, tree

IDLE = 1000
SETTLE = 0.5  # seconds until what a start or a load left behind is put away


def run(bench):
    starts = 3 if bench.options.quick else max(9, bench.rounds)
    cold = {name: [] for name in bench.names}
    for number in range(starts):
        for name, contender in bench.contenders.items():
            cold[name].append(contender.start())
            contender.stop()
    say(f"footprint: {starts} starts each")
    cells = {}
    for name, contender in bench.contenders.items():
        over_http2 = http2_clients(contender)
        contender.start()
        cells[name] = {"cold_ms": statistics.median(cold[name]) * 1e3, "slowest_start_ms": max(cold[name]) * 1e3,
                       "starts": starts, "per_http2_client": over_http2, **resident(bench, contender), **size(bench, contender)}
        contender.stop()
        say(f"footprint: {name}")
    return {"cells": cells, "idle": IDLE}


def now(contender):
    time.sleep(SETTLE)
    return memory(tree(contender.process.pid))


def http2_clients(contender):
    """KiB that an idle client over HTTP/2 takes."""
    contender.start()
    idle = now(contender)
    clients = [Http2Client(contender.h2c_port, "/v1/profiles", contender.fields) for _ in range(IDLE)]
    many = now(contender)
    for client in clients:
        client.close()
    contender.stop()
    return (many["rss"] - idle["rss"]) / IDLE


def resident(bench, contender):
    """KiB at rest, with idle clients, and after the same load once and twice."""
    idle = now(contender)
    clients = []
    for _ in range(IDLE):
        clients.append(Client(contender.port, fields=contender.fields))
        clients[-1].ask("GET", "/v1/profiles")
    many = now(contender)
    for client in clients:
        client.close()
    after = []
    for _ in range(2):
        for column in ("get_c64", "get_c256", "down1m_c8"):
            load(bench, COLUMNS[column], contender, bench.seconds)
        after.append(now(contender))
    return {"idle": idle["rss"], "idle_anonymous": idle["anonymous"], "idle_pss": idle["pss"], "many": many["rss"],
            "per_client": (many["rss"] - idle["rss"]) / IDLE,
            "after": after[0]["rss"], "after_again": after[1]["rss"], "peak": after[1]["peak"]}


def size(bench, contender):
    program = Path(contender.binary())
    if not shutil.which("strip"):
        return {"binary": program.stat().st_size}
    stripped = bench.work / "stripped"
    subprocess.run(["strip", "-o", stripped, program], check=True)
    return {"binary": program.stat().st_size, "stripped": stripped.stat().st_size}
