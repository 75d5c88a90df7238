"""What the kernel knows: who used the processors, who holds memory, what this machine is."""
import contextlib
import hashlib
import os
import re
import resource
import socket
import statistics
import time
from pathlib import Path

CPUS = sorted(os.sched_getaffinity(0))
TICK = os.sysconf("SC_CLK_TCK")


def tree(root):
    """A process and its descendants."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def cpu_seconds(pids):
    """User and system time of these processes, to the nanosecond, ended threads included."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK, CPUCLOCK_SCHED
    return total


def user_seconds(pids):
    """The user part, in the kernel's ticks of 10 ms."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])
    return total / TICK


def memory(pids):
    """KiB in memory: resident, of that what is no page of a file, the high-water mark, and shared pages by share."""
    total = {"rss": 0, "anonymous": 0, "peak": 0, "pss": 0}
    fields = (("status", "VmRSS", "rss"), ("status", "RssAnon", "anonymous"), ("status", "VmHWM", "peak"),
              ("smaps_rollup", "Pss", "pss"))
    for pid in pids:
        for file, field, key in fields:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/{file}").read_text()
                total[key] += int(re.search(rf"^{field}:\s+(\d+)", text, re.M)[1])
    return total


def busy_seconds():
    """Of all processors together, whoever used them."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[:3]) + sum(ticks[5:7])) / TICK


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def more_files():
    """As many open files as may be, for us and what we start. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, 20000)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@contextlib.contextmanager
def on(cpus):
    """What is started inside runs on these processors."""
    home = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, home)


def placement(workers):
    """Processors of a proxy with so many workers, and of upstream and client: apart if there are enough."""
    if workers < len(CPUS):
        return set(CPUS[:workers]), set(CPUS[workers:])
    return set(CPUS), set(CPUS)


class Yardstick:
    """How fast a processor is just now: a fixed round of loopback TCP and SHA-256.

    Virtual processors change their speed by a fifth within minutes.
    """

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.near = socket.create_connection(server.getsockname())
            self.far, _ = server.accept()
        self.seen = []

    def read(self, cpus, rounds=1500):
        """CPU microseconds of a round."""
        text = b"x" * 1024
        with on(cpus):
            began = time.thread_time()
            for _ in range(rounds):
                self.near.send(text)
                self.far.recv(2048)
                hashlib.sha256(text).digest()
            took = (time.thread_time() - began) / rounds * 1e6
        self.seen.append(took)
        return took

    def usual(self):
        return statistics.median(self.seen)


def describe():
    name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    guest = " in a virtual machine" if " hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    return (f"{len(CPUS)} processors ({name[1] if name else os.uname().machine}){guest}, "
            f"{gib:.0f} GiB, Linux {'.'.join(os.uname().release.split('.')[:2])}, {system[1] if system else 'unknown system'}")
