"""What an operator's work does to the requests meanwhile: an open loop at a fixed rate, with and without."""
import contextlib
import itertools
import os
import statistics
import threading
import time

from bench import say
from client import FAILURES, call
from columns import turned
from load import COLUMNS, load, warm

PACED = COLUMNS["rate_c64"]


def run(bench):
    if not bench.ours:
        return {"cells": {}, "seconds": 0, "did": {}}
    seconds = 3 if bench.options.quick else 10
    contender = bench.contenders[bench.ours[0]]
    contender.start()
    warm(bench, PACED, contender)
    samples, did = {}, {}
    for number in range(bench.rounds):
        acted = kinds(contender, bench.upstream)
        for name in turned(list(acted), number / bench.rounds):
            acts = acted[name]
            bench.wait_for_quiet()
            before = contender.metrics()
            with every_second(acts) as failed:
                seen = load(bench, PACED, contender, seconds)
            if failed:
                raise RuntimeError(f"{name}: {failed[0]}")
            seen.pop("said")
            samples.setdefault(name, []).append(seen)
            count(did, name, before, contender.metrics())
        say(f"disturbance: round {number + 1} of {bench.rounds}")
    contender.stop()
    calm = samples["nothing"]
    return {"cells": {name: figures(samples[name], calm) for name in acted}, "seconds": seconds, "did": did}


def figures(samples, calm):
    """Medians over the rounds, and how p99 compares within each, for an hour changes faster than what is compared."""
    figures = {key: statistics.median(seen[key] for seen in samples) for key in ("p50", "p99")}
    ratios = [seen["p99"] / beside["p99"] for seen, beside in zip(samples, calm)]
    figures["quartiles"] = statistics.quantiles(ratios, method="inclusive") if len(ratios) > 1 else ratios * 3
    figures["failed"] = sum(seen["errors"] + seen["refused"] for seen in samples)
    figures["requests"] = sum(seen["requests"] for seen in samples)
    return figures


def kinds(contender, upstream):
    """What is done each second, by name.

    Over the admin socket, as the commands do it: starting a program each second would take the
    client's processor for a twentieth of the time, and that is what would be measured.
    """
    socket = contender.work / "state/admin.sock"
    certificates = itertools.cycle(["next.pem", "client.pem"])

    def refresh():
        call(socket, "POST", "/tokens/grant-0/refresh")

    def switch():
        for lane in ("oauth", "oauth-mtls"):
            call(socket, "POST", "/switch", {"lane": lane, "reason": "compare", "by": "compare"})
            time.sleep(0.25)  # on each lane there are requests

    def reload():
        fresh = contender.work / "client.pem.new"
        fresh.write_bytes((upstream.certs / next(certificates)).read_bytes())
        os.replace(fresh, contender.work / "client.pem")
        call(socket, "POST", "/reload")

    def scrape():
        call(contender.admin, "GET", "/metrics")

    single = {"token refresh": [refresh], "lane switch and back": [switch], "certificate reload": [reload],
              "metrics scrape": [scrape]}
    return {"nothing": [], **single, "all of these": [refresh, switch, reload, scrape], "nothing, the control": []}


@contextlib.contextmanager
def every_second(acts):
    """Does it each second, from half a second on. What failed is in the list."""
    over, failed = threading.Event(), []

    def work():
        pause = 0.5
        while not over.wait(pause):
            began = time.monotonic()
            try:
                for act in acts:
                    act()
            except (*FAILURES, RuntimeError) as error:
                failed.append(error)
                return
            pause = max(0.0, 1 - (time.monotonic() - began))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failed
    finally:
        over.set()
        thread.join()


COUNTERS = {
    "refreshes": "wise_proxy_token_refreshes_total", "switches": "wise_proxy_lane_switches_total",
    "reloads": "wise_proxy_reloads_total", "dials": "wise_proxy_upstream_dials_total",
    "waits": "wise_proxy_renewal_waits_total", "replays": "wise_proxy_replays_total",
}


def count(did, name, before, after):
    """Adds what our own counters say was done meanwhile."""
    sums = did.setdefault(name, dict.fromkeys(COUNTERS, 0))
    for key, metric in COUNTERS.items():
        sums[key] += sum(value - before.get(sample, 0) for sample, value in after.items() if sample.startswith(metric))
