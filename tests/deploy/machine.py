"""A machine within this one, with a real systemd as its first process.

Namespaces, and an overlay of this machine's disk: what is installed in there is gone with it. It has a
network of its own, so that ports mean nothing outside.
"""

import pathlib
import shutil
import signal
import subprocess

import able
import tools

BOOT = """
set -e
echo $$ >"$2/cgroup.procs"
exec unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child sh -c '
    set -e
    base=$1
    root=$base/root
    ip link set lo up
    mount --make-rprivate /
    mount -t tmpfs tmpfs $base
    mkdir $base/up $base/work $root
    mount -t overlay -o lowerdir=/,upperdir=$base/up,workdir=$base/work overlay $root
    mount -t proc proc $root/proc
    mount -t tmpfs -o mode=755 tmpfs $root/run
    # As in every container: nothing for udev to do.
    mount -t sysfs -o ro sysfs $root/sys
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
    else
        mount -t tmpfs -o mode=755 tmpfs $root/sys/fs/cgroup
        mkdir $root/sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=systemd cgroup $root/sys/fs/cgroup/systemd
    fi
    mount -t tmpfs -o mode=755 tmpfs $root/dev
    for device in null zero full random urandom tty; do
        touch $root/dev/$device
        mount --bind /dev/$device $root/dev/$device
    done
    mkdir $root/dev/pts $root/dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts $root/dev/pts
    ln -s pts/ptmx $root/dev/ptmx
    mount -t tmpfs tmpfs $root/dev/shm
    # Where packages must start nothing, on images that are no machines.
    rm -f $root/usr/sbin/policy-rc.d
    : >$root/etc/fstab
    printf "[Unit]\\nDescription=A machine for a test\\nDefaultDependencies=no\\n" >$root/etc/systemd/system/test.target
    for service in systemd-sysctl systemd-udevd systemd-udev-trigger systemd-modules-load keyboard-setup; do
        ln -sf /dev/null $root/etc/systemd/system/$service.service
    done
    # Not chroot: whoever is in one may make no user namespace (PrivateUsers=).
    cd $root
    mkdir var/tmp/outside
    pivot_root . var/tmp/outside
    umount --lazy /var/tmp/outside
    # Credentials are mounted by a child and must be seen by its parent.
    mount --make-rshared /
    exec env -i container=wise-auth-proxy-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=journal
' sh "$1"
"""


class Machine:
    """Boots on entry; gone without a trace on exit."""

    def __init__(self, folder):
        self.folder = folder / "machine"
        self.log = folder / "machine.log"
        self.cgroup = able.hierarchy() / f"wise-auth-proxy-{folder.name}"

    def __enter__(self):
        self.folder.mkdir()
        self.cgroup.mkdir()
        with self.log.open("w") as log:
            self.outer = subprocess.Popen(
                ["sh", "-c", BOOT, "sh", self.folder, self.cgroup], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        children = pathlib.Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        try:
            self.first = tools.until(lambda: self.boots() and children.read_text().strip(), "a first process")
            tools.until(lambda: self.boots() and "test.target" in self.ran("systemctl", "list-units", "--plain")[1], "systemd boots")
        except BaseException:
            self.__exit__()
            print(self.log.read_text(), flush=True)
            raise
        return self

    def __exit__(self, *_):
        # With the first process everything in there ends.
        self.outer.send_signal(signal.SIGKILL)
        self.outer.wait()
        tools.until(lambda: not self.members(), "all of its processes end")
        for place in sorted(self.cgroup.rglob("*"), reverse=True):
            if place.is_dir():
                place.rmdir()
        self.cgroup.rmdir()
        shutil.rmtree(self.folder)

    def boots(self):
        assert self.outer.poll() is None, "the machine ended"
        return True

    def members(self):
        lists = [*self.cgroup.rglob("cgroup.procs")]
        return "".join(one.read_text() for one in lists)

    def inside(self):
        return ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wd"]

    def ran(self, *command, **more):
        return tools.ran(*self.inside(), *command, **more)

    def show(self, unit, name):
        return self.ran("systemctl", "show", "--value", f"--property={name}", unit)[1].strip()
