"""How the cost of a request grows: with connections, workers, grants and the names of a door."""
from dataclasses import replace

from bench import say
from load import COLUMNS
from machine import CPUS, placement
from upstream import PROFILE

CONNECTIONS = (1, 4, 16, 64, 256, 1024, 4096)
GRANTS = (1, 3, 10, 30, 100)
HOSTS = (1, 10, 100, 1000)
SMALL = COLUMNS["get_c64"]


def run(bench):
    return {"connections": connections(bench), "workers": workers(bench), "grants": grants(bench), "hosts": hosts(bench)}


def curve(bench, what, names, points, start):
    """Medians by contender and point. `start` makes ready and says scenario and processors."""
    samples = {}
    for number in range(min(bench.rounds, 3)):
        for point in points:
            for name in names:
                scenario, *cpus = start(bench.contenders[name], point)
                samples.setdefault(name, {}).setdefault(point, []).append(
                    bench.sample(scenario, bench.contenders[name], *cpus))
        say(f"growth: {what}, round {number + 1}")
    for name in names:
        bench.contenders[name].stop()
    return {name: {point: bench.median(taken) for point, taken in by.items()} for name, by in samples.items()}


def connections(bench):
    """On one worker. A connection is two files of the proxy, and its port one of a few ten thousand."""
    for contender in bench.contenders.values():
        contender.start()
    points = [n for n in CONNECTIONS if 2 * n + 200 < bench.files]
    points = points[:4] if bench.options.quick else points
    return curve(bench, "connections", bench.names, points,
                 lambda _, n: (replace(SMALL, connections=n),))


def workers(bench):
    """One to as many as there are processors; with as many, client and upstream share them."""
    def start(contender, n):
        cpus = placement(n)
        contender.start(workers=n, cpus=cpus[0])
        return SMALL, *cpus

    points = sorted({1, len(CPUS)} | {2**n for n in range(7) if 2**n < len(CPUS)})
    return curve(bench, "workers", bench.names, points, start)


def grants(bench):
    """Requests for so many profiles in turn. The upstream refuses a token of another profile."""
    def start(contender, n):
        contender.start(grants=n)
        return (replace(SMALL, env={"PROFILES": str(n), "PROFILE": str(PROFILE)}),)

    points = (1, 10) if bench.options.quick else GRANTS
    return curve(bench, "grants", bench.ours[:1], points, start)


def hosts(bench):
    """Names of a door, each request under the last. (The route table is built in, and has no size to set.)"""
    def start(contender, n):
        contender.start(hosts=n)
        return (replace(SMALL, env={"HOST": f"app-{n - 1}.internal"}),)

    return curve(bench, "hosts", bench.ours[:1], HOSTS, start)
