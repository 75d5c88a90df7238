"""From figures to Markdown and charts."""
import statistics

import charts
from contenders import CONTROL, LIMITS, OURS, PEERS, TITLES
from disturbance import COUNTERS
from load import COLUMNS

BEGIN, END = "<!-- figures: written by benches/compare/run --write -->", "<!-- end of figures -->"


def write(results, docs):
    """Puts the tables between the markers of performance.md, and the charts beside it."""
    page = docs / "performance.md"
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    folder = docs / "performance"
    folder.mkdir(exist_ok=True)
    drawn = {name: chart for name, chart in pictures(results).items() if chart}
    for name, chart in drawn.items():
        (folder / f"{name}.svg").write_text(chart)
    page.write_text(f"{before}{BEGIN}\n\n{markdown(results, drawn)}\n{END}{after}")


def markdown(results, drawn=()):
    parts = {"columns": columns, "syscalls": syscalls, "footprint": footprint, "growth": growth,
             "disturbance": disturbance, "reuse": reuse}
    text = []
    for name, part in parts.items():
        if name in results:
            text += [line for line in part(results[name], drawn)] + [about(results[name]["about"]), ""]
    return "\n".join(text)


def about(run):
    length = f"{run['rounds']} round{'s' * (run['rounds'] > 1)} of {run['sample_seconds']} s"
    quick = "; a quick look, not a measurement" if run["quick"] else ""
    return f"<sub>{run['day']}, commit {run['commit']}, {length}{quick}. {run['machine']}.</sub>"


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|---|" + "---:|" * (len(head) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def picture(name, alt, drawn):
    return [f"![{alt}](performance/{name}.svg)", ""] if name in drawn else []


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def mib(kib):
    return f"{kib / 1024:.1f}"


# Heading, figure, whether less is better, factor.
FIGURES = [
    ("CPU µs a request (user and system)", "cpu_us", True, 1),
    ("Requests a second", "per_second", False, 1),
    ("p50, ms", "p50", True, 1e-3),
    ("p99, ms", "p99", True, 1e-3),
]


def best(cells, key, less):
    """The best peer's figure in a column; a peer with failures is none."""
    values = [cells[peer][key] for peer in PEERS if peer in cells and not cells[peer]["failed"] and cells[peer][key]]
    return (min if less else max)(values) if values else None


def columns(part, drawn):
    cells = {column: part["cells"][column] for column in COLUMNS if column in part["cells"]}
    yield "### Beside the others\n"
    yield "Ours over the best peer of each column. Below 1.00 is ahead in CPU, p50 and p99; above it in requests a second.\n"
    yield from table(["", *(COLUMNS[column].title for column in cells)],
                     ([heading, *(ratio(by, key, less) for by in cells.values())] for heading, key, less, _ in FIGURES))
    yield from together(cells)
    yield from picture("cpu", "CPU a request by column, ours beside peers", drawn)
    for heading, key, less, factor in FIGURES:
        names = [name for name in OURS + PEERS + [CONTROL] + ([] if key == "cpu_us" else LIMITS)
                 if any(name in by for by in cells.values())]
        yield f"#### {heading}\n"
        yield from table(["", *(COLUMNS[column].title for column in cells)],
                         ([TITLES[name], *(cell(by, name, key, less, factor) for by in cells.values())] for name in names))
        if key == "cpu_us":
            yield "#### Of that in user space, µs\n"
            yield from table(["", *(COLUMNS[column].title for column in cells)],
                             ([TITLES[name], *(number(by[name]["user_us"]) if name in by else "" for by in cells.values())]
                              for name in names))
    yield from direct(cells)
    yield from twins(cells)
    shaky = sum(by[name]["clean"] == 0 for by in cells.values() for name in by)
    yield ("In brackets: the ratio to the best peer; `!n`: n requests failed. "
           f"{shaky} of {sum(map(len, cells.values()))} cells have no sample that others on the machine left undisturbed. "
           + "; ".join(dict.fromkeys(part["versions"].values())) + ".")
    for name, wrong in part["wrong"].items():
        if wrong:
            yield f"\n{name} was left out, because it does not forward correctly: {'; '.join(wrong)}."
    yield ""


TWINS = [("hyper", CONTROL, "The control is the plain hyper proxy a second time: the two"),
         ("ours", "ours-h2", "Ours as it comes runs the same code as ours pinned to HTTP/2, for the upstream offers both: the two")]


def twins(cells):
    """How far apart figures are that should be the same."""
    for one, other, what in TWINS:
        apart = sorted(abs(by[other]["cpu_us"] / by[one]["cpu_us"] - 1) for by in cells.values() if one in by and other in by)
        if apart:
            yield f"{what} differ by {apart[-1]:.0%} at most, by {apart[len(apart) // 2]:.0%} in the middle column.\n"
    rounds = sorted(seen["highest_cpu_us"] / seen["lowest_cpu_us"] - 1
                    for by in cells.values() for name, seen in by.items() if name not in LIMITS)
    if rounds:
        yield (f"The rounds of a cell lie {rounds[len(rounds) // 2]:.0%} apart in the middle cell, "
               f"{rounds[len(rounds) * 9 // 10]:.0%} in the one after nine of ten. Differences of such a size say nothing.\n")


def together(cells):
    """All columns in one figure for each peer: none is the best of all of them."""
    def mean(peer, key):
        both = [by for by in cells.values() if "ours" in by and peer in by]
        return f"{statistics.geometric_mean(by['ours'][key] / by[peer][key] for by in both):.2f}" if both else ""

    yield "And over each peer, all columns together (geometric mean):\n"
    yield from table(["", *(TITLES[peer] for peer in PEERS)],
                     ([heading, *(mean(peer, key) for peer in PEERS)] for heading, key, _, _ in FIGURES))


def ratio(cells, key, less):
    top = best(cells, key, less)
    return f"{cells['ours'][key] / top:.2f}" if top and "ours" in cells else ""


def cell(cells, name, key, less, factor):
    if name not in cells:
        return ""
    figures, top = cells[name], best(cells, key, less)
    text = number(figures[key] * factor)
    if top and name not in LIMITS:
        text += f" ({figures[key] / top:.2f})"
    return text + (f" !{figures['failed']:.0f}" if figures["failed"] else "")


def direct(cells):
    """What a client pays for TLS itself, when nothing does it for the client."""
    both = {column: by for column, by in cells.items() if "direct" in by and "plain" in by}
    if both:
        yield "#### What the client pays without a proxy, CPU µs a request\n"
        rows = [(TITLES["direct"], lambda by: by["direct"]["client_us"]),
                (TITLES["plain"], lambda by: by["plain"]["client_us"]),
                ("so much is its TLS", lambda by: by["direct"]["client_us"] - by["plain"]["client_us"])]
        yield from table(["", *(COLUMNS[column].title for column in both)],
                         ([title, *(number(figure(by)) for by in both.values())] for title, figure in rows))


def syscalls(part, _):
    yield "### System calls a request\n"
    if not part["cells"]:
        yield "Not counted: neither perf nor strace is there.\n"
        return
    by = {"perf": "the kernel's tracepoints (`perf stat -e raw_syscalls:sys_enter,…`)",
          "strace": "`strace -c -f`, which slows everybody down"}[part["by"]]
    yield f"Counted by {by}, in a run of their own.\n"
    counts = part["cells"]
    yield from table(["", *(COLUMNS[column].title for column in counts)],
                     ([TITLES[name], *(f"{sum(by[name].values()):.2f}" for by in counts.values())]
                      for name in OURS + PEERS if name in next(iter(counts.values()))))
    yield "By name, those that are made in every twentieth request or more often:\n"
    for column, cells in counts.items():
        calls = sorted({call for name in NAMED if name in cells for call, each in cells[name].items() if each >= 0.05})
        yield from table([COLUMNS[column].title, *(f"`{call}`" for call in calls)],
                         ([TITLES[name], *(f"{cells[name].get(call, 0):.2f}" for call in calls)]
                          for name in NAMED if name in cells))


def footprint(part, _):
    yield "### Footprint\n"
    head = ["", "cold start to the first 200, ms", "slowest", "resident at rest, MiB", "of that its own",
            f"with {part['idle']:,} idle clients", "KiB a client", "over HTTP/2", "after a load", "after the same again", "peak",
            "binary, MiB", "stripped"]
    yield from table(head, ([
        TITLES[name], f"{row['cold_ms']:.1f}", f"{row['slowest_start_ms']:.1f}", mib(row["idle"]),
        mib(row["idle_anonymous"]), mib(row["many"]), f"{row['per_client']:.1f}",
        f"{row['per_http2_client']:.1f}", mib(row["after"]),
        mib(row["after_again"]), mib(row["peak"]),
        f"{row['binary'] / 2**20:.1f}", f"{row['stripped'] / 2**20:.1f}" if "stripped" in row else "",
    ] for name, row in part["cells"].items()))
    starts = next(iter(part["cells"].values()))["starts"] if part["cells"] else 0
    yield (f"Cold start: median of {starts}. Of several processes the resident pages are summed, shared ones twice. "
           "Its own is what is no page of a file: those the kernel may drop, and who runs the same program shares them. "
           "nginx and HAProxy load OpenSSL and PCRE from the system; the others carry what they need.\n")


# Whose system calls are shown by name.
NAMED = ["ours", "ours-h1", "nginx", "haproxy-h2", "hyper", "hyper-h2"]

CURVES = {
    "connections": ("connections of clients, one worker", "CPU µs a request by connections"),
    "workers": ("workers, 64 connections", "CPU µs a request by workers"),
    "grants": ("grants, asked for in turn", "CPU µs a request by grants"),
    "hosts": ("names of the door, the last of them asked for", "CPU µs a request by names of the door"),
}


def growth(part, drawn):
    yield "### How the cost grows\n"
    yield "CPU µs a request. `!n`: n requests failed, and the figure is not drawn.\n"
    for what, (under, alt) in CURVES.items():
        curves = part.get(what)
        if curves:
            points = list(max(curves.values(), key=len))
            yield from picture(f"growth-{what}", alt, drawn)
            yield from table([under, *points], ([TITLES[name], *(point(curve.get(at)) for at in points)]
                                                for name, curve in curves.items()))


def point(figures):
    if not figures:
        return ""
    return f"{figures['cpu_us']:.1f}" + (f" !{figures['failed']:.0f}" if figures["failed"] else "")


def disturbance(part, _):
    yield "### While something happens every second\n"
    cells = part["cells"]
    if not cells:
        return
    yield f"Our proxy under {COLUMNS['rate_c64'].title} connections, open loop, {part['seconds']} s a round.\n"
    head = ["each second", "p50, ms", "p99, ms", "p99 to that of nothing", "half of the rounds", "requests", "failed", *COUNTERS]
    yield from table(head, ([
        name, number(row["p50"] / 1e3), number(row["p99"] / 1e3),
        f"{row['quartiles'][1]:.2f}", "{:.2f} to {:.2f}".format(*row["quartiles"][::2]), f"{row['requests']:,}",
        str(row["failed"]), *(f"{part['did'][name][key]:.0f}" for key in COUNTERS),
    ] for name, row in cells.items()))
    yield ("The ratio is the median of those within a round, and half of the rounds lie between the two beside it. "
           "The last columns count, from our metrics, what was done meanwhile.\n")


def reuse(part, _):
    yield "### Connection reuse and TLS resumption\n"
    head = ["", "requests on a warm pool", "connections opened", "reused", "requests, 500 a connection", "handshakes",
            "resumed", "failed"]
    yield from table(head, ([
        TITLES[name], f"{row['requests']:,}", f"{row['opened']:,}", f"{row['reused']:.3%}", f"{row['short_requests']:,}",
        f"{row['handshakes']:,}", f"{row['resumed']:,}", str(row["failed"] + row["short_failed"]),
    ] for name, row in part["cells"].items()))
    own = part["cells"].get("ours", {}).get("own_count")
    if own:
        counts = ", ".join(f"`{name}` {value:.0f}" for name, value in own.items())
        yield f"64 connections. Counted by the upstream; our own metrics say of the same: {counts}.\n"


def pictures(results):
    """The charts by name."""
    drawn = {}
    if "columns" in results:
        cells = results["columns"]["cells"]
        panels = [(COLUMNS[column].title, {name: cells[column][name]["cpu_us"] for name in OURS + PEERS
                                           if name in cells[column] and not cells[column][name]["failed"]})
                  for column in COLUMNS if column in cells]
        drawn["cpu"] = charts.bars("CPU microseconds a request, less is better", [p for p in panels if p[1]])
    for what, (under, title) in CURVES.items():
        curves = {name: {at: figures["cpu_us"] for at, figures in curve.items() if not figures["failed"]}
                  for name, curve in results.get("growth", {}).get(what, {}).items()}
        curves = {name: curve for name, curve in curves.items() if curve}
        drawn[f"growth-{what}"] = charts.lines(title, under, curves) if curves else None
    return drawn
