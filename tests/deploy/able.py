"""What this machine lets the checks do: tried, not guessed. Each answer is "" or says what is missing."""

import functools
import os
import pathlib
import subprocess
import tempfile

import tools

CONTAINER = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/proc" "$1/dev"
mount --rbind /proc "$1/proc"
touch "$1/dev/null"
mount --bind /dev/null "$1/dev/null"
"""

MACHINE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir up work root
mount -t overlay -o lowerdir=/,upperdir="$1/up",workdir="$1/work" overlay root
mount -t proc proc root/proc
mount -t sysfs -o ro sysfs root/sys
cd root
mkdir -p var/tmp/outside
pivot_root . var/tmp/outside
umount --lazy /var/tmp/outside
"""


def root():
    return "" if os.geteuid() == 0 else "not root"


@functools.cache
def container():
    """Namespaces and mounts, as an engine needs them."""
    return root() or tried(["--net", "--mount"], CONTAINER)


@functools.cache
def machine():
    """A root directory and a process tree of its own, and a control group to put them in."""
    return root() or control_group() or tried(["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup"], MACHINE)


def tried(namespaces, script):
    with tempfile.TemporaryDirectory(prefix="wap-able-") as folder:
        code, said = tools.ran("unshare", *namespaces, "sh", "-c", script, "sh", folder)
    return said.strip() or f"exit code {code}" if code else ""


def hierarchy():
    """Where systemd keeps its control groups."""
    place = pathlib.Path("/sys/fs/cgroup")
    return place if (place / "cgroup.controllers").exists() else place / "systemd"


def control_group():
    place = hierarchy() / f"wise-auth-proxy-able-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        return f"no control group: {error}"
    try:
        member = subprocess.run(["sh", "-c", 'echo $$ >"$1/cgroup.procs"', "sh", place], capture_output=True, text=True)
        return member.stderr.strip()
    finally:
        place.rmdir()
