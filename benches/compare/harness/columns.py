"""The eleven columns: rounds of all contenders, column by column, so that a slow moment hits all."""
from bench import say
from contenders import LIMITS

# What the client that can do TLS is able to ask for.
WITHOUT_LIMIT = {"up10m_c4", "h2c_8x16"}


def run(bench):
    samples, wrong = {}, {}
    for name, contender in bench.contenders.items():
        contender.start()
        wrong[name] = contender.check()
        say(f"{name} {contender.version()}: {'; '.join(wrong[name]) or 'forwards correctly'}")
    limits = [name for name in LIMITS if name in bench.options.contenders]
    for number in range(bench.rounds):
        for column, scenario in bench.columns().items():
            for name in bench.names + ([] if column in WITHOUT_LIMIT else limits):
                if wrong.get(name):
                    continue
                seen = bench.sample(scenario, bench.contenders.get(name, name))
                samples.setdefault((column, name), []).append(seen)
            say(f"columns: {column}, round {number + 1} of {bench.rounds}")
    cells = {}
    for (column, name), taken in samples.items():
        cells.setdefault(column, {})[name] = bench.median(taken)
    return {"cells": cells, "wrong": wrong, "versions": {n: c.version() for n, c in bench.contenders.items()}}
