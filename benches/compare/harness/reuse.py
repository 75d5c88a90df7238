"""How many requests travel on a connection that was there, and whether new ones resume their TLS session."""
from bench import say
from load import COLUMNS, load, warm

SCENARIO = COLUMNS["get_c64"]
HANDSHAKES = "wise_proxy_upstream_handshakes_total"


def run(bench):
    cells = {}
    for name, contender in bench.contenders.items():
        cells[name] = {**warm_pool(bench, contender), **reconnecting(bench, contender)}
        contender.stop()
        say(f"reuse: {name}")
    return {"cells": cells}


def warm_pool(bench, contender):
    """The upstream keeps its connections; the first ones are open."""
    contender.start()
    warm(bench, SCENARIO, contender)
    accepted = bench.upstream.accepted()
    seen = load(bench, SCENARIO, contender, bench.seconds)
    opened = bench.upstream.accepted() - accepted - 1
    return {"requests": seen["requests"], "opened": opened, "reused": 1 - opened / seen["requests"],
            "failed": seen["errors"] + seen["refused"]}


def reconnecting(bench, contender):
    """The upstream ends each connection after 500 requests. The first ones do not count."""
    contender.start(upstream=bench.upstream.short)
    warm(bench, SCENARIO, contender)
    before, resumed_before = bench.upstream.fresh_connections()
    counted = handshakes(contender)
    seen = load(bench, SCENARIO, contender, 3 * bench.seconds)
    fresh, resumed = bench.upstream.fresh_connections()
    cell = {"short_requests": seen["requests"], "short_failed": seen["errors"] + seen["refused"],
            "handshakes": fresh - before, "resumed": resumed - resumed_before}
    if contender.mine:
        cell["own_count"] = {name: value - counted.get(name, 0) for name, value in handshakes(contender).items()}
    return cell


def handshakes(contender):
    """By kind, as our own metrics count them."""
    metrics = contender.metrics() if contender.mine else {}
    return {name: value for name, value in metrics.items() if name.startswith(HANDSHAKES)}
