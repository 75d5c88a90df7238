"""The eleven columns: rounds of all contenders, column by column, so that a slow moment hits all."""
from bench import say
from contenders import CONTROL, LIMITS, Contender

# What the client that can do TLS is able to ask for.
WITHOUT_LIMIT = {"up10m_c4", "h2c_8x16"}


def turned(names, part):
    """Begun elsewhere in each round: whoever follows the change of column would always be the same."""
    first = round(part * len(names))
    return names[first:] + names[:first]


def run(bench):
    samples, wrong, contenders = {}, {}, dict(bench.contenders)
    if "hyper" in contenders:
        contenders[CONTROL] = Contender(CONTROL, bench)
    for name, contender in contenders.items():
        contender.start()
        wrong[name] = contender.check()
        say(f"{name} {contender.version()}: {'; '.join(wrong[name]) or 'forwards correctly'}")
    limits = [name for name in LIMITS if name in bench.options.contenders]
    for number in range(bench.rounds):
        for column, scenario in bench.columns().items():
            for name in turned([*contenders] + ([] if column in WITHOUT_LIMIT else limits), number / bench.rounds):
                if wrong.get(name):
                    continue
                seen = bench.sample(scenario, contenders.get(name, name))
                samples.setdefault((column, name), []).append(seen)
            say(f"columns: {column}, round {number + 1} of {bench.rounds}")
    for contender in contenders.values():
        contender.stop()
    cells = {}
    for (column, name), taken in samples.items():
        cells.setdefault(column, {})[name] = bench.median(taken)
    return {"cells": cells, "wrong": wrong, "versions": {n: c.version() for n, c in contenders.items()}}
