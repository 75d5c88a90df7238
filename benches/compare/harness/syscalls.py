"""System calls a request, counted by the kernel's tracepoints or, where that is not to be had, by strace."""
import re
import shutil
import signal
import subprocess

from bench import say
from load import COLUMNS, load, warm

# Counting every name there is takes the kernel a quarter of a minute to set up.
NAMES = ("read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "splice", "epoll_wait",
         "epoll_pwait", "epoll_ctl", "futex", "accept4", "close", "shutdown", "setsockopt", "mmap", "munmap", "mprotect",
         "madvise")
EVENTS = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in NAMES)]
COUNTED = ("get_c1", "get_c64", "post2k_c64", "down1m_c8", "up10m_c4", "h2c_8x16")


def run(bench):
    count = by_perf if perf_counts() else by_strace
    if count is by_strace and not shutil.which("strace"):
        return {"by": "nothing", "cells": {}}
    cells = {}
    for name, contender in bench.contenders.items():
        contender.start()
        for column in COUNTED:
            warm(bench, COLUMNS[column], contender)
            seen, calls = count(bench, COLUMNS[column], contender)
            each = {call: number / seen["requests"] for call, number in calls.items() if number}
            cells.setdefault(column, {})[name] = each
        contender.stop()
        say(f"syscalls: {name}")
    return {"by": "perf" if count is by_perf else "strace", "cells": cells}


def perf_counts():
    if not shutil.which("perf"):
        return False
    done = subprocess.run(["perf", "stat", "-x,", "-e", ",".join(EVENTS), "true"], capture_output=True, text=True)
    return re.search(r"^\d+,.*raw_syscalls", done.stderr, re.M) is not None


def by_perf(bench, scenario, contender):
    pids = ",".join(map(str, contender.pids))
    watch = ["perf", "stat", "-x,", "-e", ",".join(EVENTS), "-p", pids, "--"]
    seen = load(bench, scenario, contender, bench.seconds, before=watch)
    counts = re.findall(r"^(\d+),.*?syscalls:sys_enter(?:_(\w+))?,", seen["said"], re.M)
    calls = {name: int(count) for count, name in counts}
    calls["other"] = calls.pop("") - sum(calls.values())
    return seen, calls


def by_strace(bench, scenario, contender):
    """Ten times slower for the contender, so that more of its reads find something to read."""
    table = bench.work / "strace"
    pids = [part for pid in contender.pids for part in ("-p", str(pid))]
    watch = subprocess.Popen(["strace", "-f", "-c", "-o", table, *pids], stderr=subprocess.PIPE, text=True)
    watch.stderr.readline()  # "Process … attached": it counts from here on
    seen = load(bench, scenario, contender, 3 * bench.seconds)
    watch.send_signal(signal.SIGINT)
    watch.communicate()
    calls = re.findall(r"^\s*\d+\.\d+\s+\S+\s+\S+\s+(\d+)\s+(?:\d+\s+)?(?!total)(\w+)$", table.read_text(), re.M)
    return seen, {call: int(number) for number, call in calls}
