"""The load generators, and the eleven columns: what is asked of a contender."""
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field

from machine import children_seconds, on
from upstream import HERE, SNI, TOKEN

RATE = 3000  # a second, in the open loop


@dataclass(frozen=True)
class Scenario:
    title: str
    tool: str
    connections: int
    path: str = "/v1/profiles"
    env: dict = field(default_factory=dict)


COLUMNS = {
    "get_c1": Scenario("small GET, 1 connection", "wrk", 1),
    "get_c16": Scenario("small GET, 16", "wrk", 16),
    "get_c64": Scenario("small GET, 64", "wrk", 64),
    "get_c256": Scenario("small GET, 256", "wrk", 256),
    "quote_c64": Scenario("8 KiB GET, 64", "wrk", 64, "/v1/quote"),
    "post2k_c64": Scenario("POST 2 KiB, 64", "wrk", 64, "/v1/transfers", {"BODY_BYTES": "2048"}),
    "down1m_c8": Scenario("1 MiB down, 8", "wrk", 8, "/statement.pdf"),
    "up10m_c4": Scenario("10 MiB up, 4", "upload", 4, "/v1/transfers"),
    "close_c16": Scenario("new connection each, 16", "wrk", 16, env={"CLOSE": "1"}),
    "rate_c64": Scenario(f"paced {RATE // 1000}k/s, 64", "oha", 64),
    "h2c_8x16": Scenario("h2c in, 8×16", "h2load", 8),
}
FIELDS = ["User-Agent: acme-payouts/4.2 (+https://example.com)", "X-Request-Id: 7f1d3f0e-2a64-4d5d-9a43-0d6e2a1b7c55"]


def load(bench, scenario, contender, seconds, cpus=None, before=()):
    """Runs a scenario against a contender, or one of the limits by its name; what the client saw.

    `before` is put in front of the command: what watches it.
    """
    limit = contender if isinstance(contender, str) else None
    if limit:
        command, env, parse = oha(bench, scenario, bench.upstream, seconds, limit)
    elif scenario.tool == "oha":
        command, env, parse = oha(bench, scenario, contender, seconds)
    else:
        command, env, parse = {"wrk": wrk, "upload": upload, "h2load": h2load}[scenario.tool](
            bench, scenario, contender, seconds)
    used = children_seconds()
    with on(cpus or bench.load_cpus):
        done = subprocess.run([*before, *map(str, command)], env={**os.environ, **env}, capture_output=True,
                              text=True, timeout=60 + 3 * seconds)
    try:
        seen = parse(done.stdout)
    except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise RuntimeError(f"{command[0]}: {error}; {done.stdout[-300:]} {done.stderr[-300:]}") from error
    seen["client"] = children_seconds() - used
    seen["said"] = done.stderr
    return seen


def result(text):
    return json.loads(re.search("^RESULT (.*)$", text, re.M)[1])


def wrk(bench, scenario, contender, seconds):
    url = f"http://127.0.0.1:{contender.port}{scenario.path}"
    command = [bench.tool("wrk"), "-t1", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s",
               "-s", HERE / "load/wrk.lua", url]
    shown = contender.fields.get("Authorization")
    return command, scenario.env | ({"AUTH": shown} if shown else {}), result


def upload(_, scenario, contender, seconds):
    each = max(1, round(12 * seconds))
    command = [sys.executable, HERE / "load/upload.py", contender.port, scenario.connections, each, 10 << 20]
    return [*command, *lines(contender)], {}, result


def oha(bench, scenario, target, seconds, limit=None):
    command = [bench.tool("oha"), "--no-tui", "--output-format", "json", "--worker-threads", "1", "-w",
               "-c", scenario.connections, "-z", f"{seconds}s", "--http-version", "1.1"]
    for line in FIELDS + ([f"Authorization: Bearer {TOKEN}"] if limit else lines(target)):
        command += ["-H", line]
    if scenario.tool == "oha":
        command += ["-q", RATE, "--latency-correction"]
    if "CLOSE" in scenario.env:
        command += ["--disable-keepalive"]
    if "BODY_BYTES" in scenario.env:
        command += ["-m", "POST", "-d", "x" * int(scenario.env["BODY_BYTES"])]
    if limit:
        port, certs = (target.mtls if limit == "direct" else target.plain), target.certs
        command += ["--connect-to", f"{SNI}:{port}:127.0.0.1:{port}", "--cacert", certs / "ca.pem",
                    "--cert", certs / "client.pem", "--key", certs / "client.key"]
        url = f"{'https' if limit == 'direct' else 'http'}://{SNI}:{port}{scenario.path}"
    else:
        url = f"http://127.0.0.1:{target.port}{scenario.path}"

    def parse(text):
        data = json.loads(text)
        codes = data["statusCodeDistribution"]
        errors = {why: n for why, n in data["errorDistribution"].items() if "deadline" not in why}
        return {"requests": codes.get("200", 0), "seconds": data["summary"]["total"], "errors": sum(errors.values()),
                "refused": sum(codes.values()) - codes.get("200", 0), "bytes": data["summary"]["totalData"] or 0,
                "p50": data["latencyPercentiles"]["p50"] * 1e6, "p99": data["latencyPercentiles"]["p99"] * 1e6}

    return [*command, url], {}, parse


def lines(contender):
    """What its clients must show, as field lines."""
    return [f"{name}: {value}" for name, value in contender.fields.items()]


def shown_to(contender):
    """The same for h2load, which wants names in lower case."""
    return [part for name, value in contender.fields.items() for part in ("-H", f"{name.lower()}: {value}")]


def h2load(bench, scenario, contender, seconds):
    log = bench.work / "h2load.log"
    log.unlink(missing_ok=True)
    command = [bench.tool("h2load"), "-t1", "-c", scenario.connections, "-m", 16, "-D", max(1, round(seconds)),
               f"--log-file={log}"]
    for line in FIELDS:
        command += ["-H", line.lower()]
    command += shown_to(contender)

    def parse(text):
        done = [line.split("\t") for line in log.read_text().splitlines()]
        times = sorted(int(time) for _, status, time in done if status == "200")
        rate = float(re.search(r"finished in \S+, ([\d.]+) req/s", text)[1])
        return {"requests": len(times), "seconds": len(done) / rate, "bytes": 0,
                "errors": int(re.search(r"(\d+) failed", text)[1]), "refused": len(done) - len(times),
                "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}

    return [*command, f"http://127.0.0.1:{contender.h2c_port}{scenario.path}"], {}, parse


def warm(bench, scenario, contender, cpus=None):
    """A short burst that opens as many upstream connections as the scenario will use."""
    command = [bench.tool("h2load"), "--h1", "-t1", "-n", 4 * scenario.connections + 16, "-c", scenario.connections,
               *shown_to(contender), f"http://127.0.0.1:{contender.port}/v1/profiles"]
    with on(cpus or bench.load_cpus):
        subprocess.run([str(part) for part in command], capture_output=True, timeout=60)
