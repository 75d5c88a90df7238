"""What a run has: its options, the upstream, the contenders, and how one sample is taken."""
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import machine
from contenders import OURS, PEERS, Contender
from load import COLUMNS, load, warm
from upstream import Upstream

CLEAN = 0.08  # cores that others may use during a sample that counts
STARTED = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


class Missing(Exception):
    """A program that the run needs is not there."""


class Bench:
    def __init__(self, options, root):
        self.options, self.cache = options, root / "target/compare"
        self.program = options.program
        self.files = machine.more_files()
        self.proxy_cpus, self.load_cpus = machine.placement(1)
        self.rounds, self.seconds = options.rounds, options.seconds
        self.names = [name for name in OURS + PEERS if name in options.contenders]
        self.ours = [name for name in self.names if name in OURS]
        self.yardstick = machine.Yardstick()
        self.work, self.upstream, self.contenders, self.started = None, None, {}, []

    def tool(self, name):
        """A program's path: from the cache, the path, or where daemons live."""
        path = os.pathsep.join([str(self.cache / "bin"), os.environ["PATH"], "/usr/sbin", "/sbin"])
        found = shutil.which(name, path=path)
        if not found:
            raise Missing(f"{name} is not there; benches/compare/setup installs it")
        return found

    def open(self):
        for name in ("openssl", "nginx", "haproxy", "wrk", "oha", "h2load", "compare-hyper"):
            self.tool(name)
        os.environ["PATH"] += os.pathsep + "/usr/sbin"
        os.sched_setaffinity(0, self.load_cpus)  # what it does itself is not to be in the proxy's way
        # Not /tmp, which may be memory: the store is synced to a disk, as it would be.
        self.work = Path(tempfile.mkdtemp(prefix="compare-", dir="/var/tmp"))
        self.upstream = Upstream(self.work, self.load_cpus, len(self.load_cpus))
        self.contenders = {name: Contender(name, self) for name in self.names}

    def close(self):
        for contender in self.started:
            contender.stop()
        if self.upstream:
            self.upstream.stop()
        if self.work and not self.options.keep:
            shutil.rmtree(self.work, ignore_errors=True)

    def columns(self):
        return {name: column for name, column in COLUMNS.items() if name in self.options.scenarios}

    def sample(self, scenario, contender, proxy_cpus=None, load_cpus=None):
        """One run of a scenario, repeated while others on this machine disturb it."""
        for _ in range(1 + self.options.retries):
            self.wait_for_quiet()
            seen = self.one_sample(scenario, contender, proxy_cpus or self.proxy_cpus, load_cpus or self.load_cpus)
            if seen["foreign"] <= CLEAN:
                break
        return seen

    def one_sample(self, scenario, contender, proxy_cpus, load_cpus):
        limit = isinstance(contender, str)
        pids = [] if limit else contender.pids
        if not limit:
            contender.tidy()
            warm(self, scenario, contender, load_cpus)
        accepted = self.upstream.accepted()
        speed = self.yardstick.read(proxy_cpus)
        used, user = machine.cpu_seconds(pids), machine.user_seconds(pids)
        upstream, busy = machine.cpu_seconds(self.upstream.pids), machine.busy_seconds()
        own = machine.own_seconds()
        # With nothing in between, the client has the processors that a proxy would have had.
        # Opening thousands of connections must not be what is measured.
        seconds = max(self.seconds, scenario.connections / 1024)
        seen = load(self, scenario, contender, seconds, proxy_cpus if limit else load_cpus)
        used, user = machine.cpu_seconds(pids) - used, machine.user_seconds(pids) - user
        upstream, busy = machine.cpu_seconds(self.upstream.pids) - upstream, machine.busy_seconds() - busy
        own = machine.own_seconds() - own
        speed = (speed + self.yardstick.read(proxy_cpus)) / 2
        if not seen["requests"]:
            seen["errors"] = max(1, seen["errors"])
        requests = max(1, seen["requests"])
        del seen["said"]
        seen.update(
            cpu_us=used / requests * 1e6, user_us=user / requests * 1e6, cores=used / seen["seconds"],
            upstream_us=upstream / requests * 1e6, client_us=seen.pop("client") / requests * 1e6,
            per_second=seen["requests"] / seen["seconds"], speed=speed,
            opened=self.upstream.accepted() - accepted - 1)
        others = busy - used - upstream - seen["client_us"] * requests / 1e6 - own
        seen["foreign"] = max(0.0, others) / seen["seconds"]
        return seen

    def wait_for_quiet(self):
        """Others use this machine too: wait a little for a moment without them."""
        give_up = time.monotonic() + self.options.patience
        while time.monotonic() < give_up:
            busy, own = machine.busy_seconds(), machine.own_seconds()
            time.sleep(0.1)
            if machine.busy_seconds() - busy - (machine.own_seconds() - own) <= 0.01:
                return

    def median(self, samples):
        """Each figure's median over the rounds. CPU times are scaled to the run's usual speed.

        Disturbed samples do not count where there are undisturbed ones.
        """
        clean = [seen for seen in samples if seen["foreign"] <= CLEAN]
        used = clean or samples
        scaled = [{key: value * self.yardstick.usual() / seen["speed"] if key.endswith("_us") else value
                   for key, value in seen.items() if isinstance(value, (int, float))} for seen in used]
        figures = {key: statistics.median(seen[key] for seen in scaled) for key in scaled[0]}
        cpu = [seen["cpu_us"] for seen in scaled]
        figures.update(rounds=len(used), clean=len(clean), lowest_cpu_us=min(cpu), highest_cpu_us=max(cpu))
        # A failure counts in whichever round it was.
        figures.update(failed=sum(seen["errors"] + seen["refused"] for seen in samples))
        return figures
