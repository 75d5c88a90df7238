"""The image: linted, and run as an engine would run it, since none can be counted on.

A container here is a network namespace, a mount namespace and a root directory: deploy/rootfs lays it
out as the Dockerfile does, the root is mounted read-only, volumes and tmpfs where the file says so, and
variables, user and commands are read from Dockerfile and compose.yaml.
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import struct
import subprocess
import threading

import able
import tools

DOCKERFILE = tools.ROOT / "deploy/Dockerfile"
USER = 65532
KEY = "a-key-of-the-test"
DEVICES = ["null", "zero", "random", "urandom"]


def check(checks, folder):
    code, said = tools.ran(tools.hadolint(), DOCKERFILE)
    checks.equal("hadolint finds nothing wrong with the Dockerfile", (code, said), (0, ""))
    # Its build stage is run by nobody here.
    rust = re.search(r"^FROM rust:([\d.]+)-", DOCKERFILE.read_text(), re.MULTILINE)[1]
    wanted = re.search(r'^channel = "(.*)"$', (tools.ROOT / "rust-toolchain.toml").read_text(), re.MULTILINE)[1]
    checks.equal("the Dockerfile builds with the Rust of rust-toolchain.toml", rust, wanted)
    program = static(checks, folder)
    if why := able.root():
        return tools.skip(checks, "the image's file system, and containers of it", why)
    root = folder / "root"
    code, said = tools.ran("deploy/rootfs", root, program)
    checks.equal("the file system is laid out", (code, said), (0, ""))
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    wanted = ["etc/group", "etc/nsswitch.conf", "etc/passwd", "usr/bin/wise-auth-proxy"]
    checks.equal("and holds one program and three files", files, wanted)
    alone = ["chroot", f"--userspec={USER}:{USER}", root, "/usr/bin/wise-auth-proxy", "--version"]
    code, said = tools.ran(*alone)
    checks.true("where the program runs with nothing else", code == 0 and "wise-auth-proxy" in said, said)
    if why := able.container():
        return tools.skip(checks, "containers of the image", why)
    with Network() as network:
        composed(checks, Engine(folder, root, network))


def static(checks, folder):
    """The program linked as the Dockerfile links it. Only the last step is done anew, and lands elsewhere."""
    text = DOCKERFILE.read_text()
    flags = shlex.split(re.search(r'RUSTFLAGS="(.*)"', text)[1])
    program = folder / "static"
    cargo = ["cargo", "rustc", "--quiet", "--locked", "--features", "failpoints", "--bin", "wise-auth-proxy", "--"]
    subprocess.run([*cargo, *flags, f"--emit=link={program}"], check=True, timeout=tools.WORK)
    subprocess.run(["strip", program], check=True, timeout=tools.WORK)
    with program.open("rb") as file:
        loader = b"/lib64/ld-linux" in file.read(4096)
    checks.true("the program needs no loader", not loader)
    return program


class Network:
    """A network namespace with loopback, and a DNS server that knows one name."""

    def __enter__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        tools.until(lambda: os.readlink(f"/proc/{self.keeper.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "netns")
        subprocess.run([*self.inside(), "ip", "link", "set", "lo", "up"], check=True, timeout=tools.PATIENCE)
        return self

    def inside(self):
        return ["nsenter", "--target", str(self.keeper.pid), "--net"]

    def __exit__(self, *_):
        self.keeper.kill()
        self.keeper.wait()


class Engine:
    """Runs services of a compose file."""

    def __init__(self, folder, root, network):
        self.folder, self.root, self.network = folder, root, network
        self.image = image()
        # Where an engine mounts what every container has.
        for name in ["dev", "proc"]:
            (root / name).mkdir()
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")

    def command(self, service, command, more=None):
        """What runs a command in a service's container."""
        volumes = []
        for volume in service.get("volumes", []):
            name, inside = volume.split(":")
            place = self.folder / f"volume-{name}"
            if not place.exists():
                # As an engine fills a new volume: with what the image has there.
                shutil.copytree(f"{self.root}{inside}", place)
                tools.ran("chown", f"--reference={self.root}{inside}", place)
                tools.ran("chmod", f"--reference={self.root}{inside}", place)
            volumes.append(f"mount --bind {place} $root{inside}")
        for tmpfs in service.get("tmpfs", []):
            inside, options = tmpfs.split(":")
            volumes.append(f"mount -t tmpfs -o {options} tmpfs $root{inside}")
        script = [
            "set -e",
            f"root={self.root}",
            "mount --make-rprivate /",
            "mount --bind $root $root",
            "mount -o remount,bind,ro $root",
            "mount -t tmpfs -o mode=755 tmpfs $root/dev",
            *(f"touch $root/dev/{name} && mount --bind /dev/{name} $root/dev/{name}" for name in DEVICES),
            "mount --rbind /proc $root/proc",
            *volumes,
            f'exec chroot --userspec={USER}:{USER} --groups= $root "$@"',
        ]
        variables = {**self.image["env"], **service.get("environment", {}), **(more or {})}
        # The one variable that what lays out the root needs as well.
        variables["PATH"] += ":/usr/sbin:/bin:/sbin"
        variables = [f"{key}={value}" for key, value in variables.items()]
        lay_out = ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh"]
        return [*self.network.inside(), "env", "-i", *variables, *lay_out, *command]

    def popen(self, service, command, more=None):
        command = self.command(service, command, more)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ran(self, service, command, more=None):
        return tools.ran(*self.command(service, command, more))


def image():
    """Variables, entry point, command and health check of the last stage."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    words = lambda key: json.loads(re.search(rf"^{key}\s+(?:.*CMD\s+)?(\[.*\])$", last, re.MULTILINE)[1])  # noqa: E731
    return {
        "env": dict(re.findall(r"^ENV (\w+)=(\S+)$", last, re.MULTILINE)),
        "entrypoint": words("ENTRYPOINT"),
        "cmd": words("CMD"),
        "health": words("HEALTHCHECK"),
        "user": re.search(r"^USER (\S+)$", last, re.MULTILINE)[1],
    }


def composed(checks, engine):
    """Both services of compose.yaml, and a third proxy that looks a name up by DNS."""
    import yaml

    image = engine.image
    checks.equal("the image's user is not root", image["user"], f"{USER}:{USER}")
    services = yaml.safe_load((tools.ROOT / "deploy/compose.yaml").read_text())["services"]
    simulator, proxy = services["simulator"], services["proxy"]
    proxy["environment"]["DOOR_KEY"] = KEY
    names = engine.folder / "names.json"
    with contextlib.ExitStack() as stack:
        wise = stack.enter_context(running(engine.popen(simulator, image["entrypoint"] + simulator["command"])))
        health = simulator["healthcheck"]["test"][1:]
        tools.until(lambda: engine.ran(simulator, health)[0] == 0, "the simulator is healthy")
        checks.true("the simulator's health check succeeds once its files are there", wise.poll() is None)

        process = stack.enter_context(running(engine.popen(proxy, image["entrypoint"] + proxy["command"])))
        # The admin socket lies in the container's own tmpfs: it is asked from inside.
        inside = ["nsenter", "--target", str(process.pid), "--mount", "--net"]
        chroot = ["chroot", f"--userspec={USER}:{USER}", "--groups=", str(engine.root)]
        variables = [f"{key}={value}" for key, value in {**image["env"], **proxy["environment"]}.items()]
        asked = lambda *command: tools.ran(*inside, "env", "-i", *variables, "/usr/sbin/chroot", *chroot[1:], *command)  # noqa: E731
        tools.until(lambda: asked(*image["health"])[0] == 0, "the proxy is healthy")
        checks.true("the image's health check succeeds", process.poll() is None)
        code, said = asked(*image["entrypoint"], "wait", "--timeout", "10s")
        checks.true("the proxy is ready", code == 0, said)
        code, said = asked(*image["entrypoint"], "status", "--json")
        measures = json.loads(said)["confinement"] if code == 0 else said
        checks.true("and confines itself in a container too", "Landlock" in str(measures), measures)
        for key, status in [(KEY, "200"), ("another", "407")]:
            found = curl(engine, f"http://127.0.0.1:8080/v2/profiles", "-H", f"Authorization: Bearer {key}")
            checks.equal(f"the published door answers {status}", found, status)
        code, said = asked(*image["entrypoint"], "shutdown", "--wait")
        checks.true("it can be told to end", code == 0, said)
        checks.equal("and ends well", process.wait(tools.PATIENCE), 0)
        code = asked(*image["health"])[0]
        checks.true("what has ended is not healthy", code != 0, code)
    by_dns(checks, engine, proxy)


def curl(engine, url, *more):
    quiet = ["curl", "--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}"]
    return tools.ran(*engine.network.inside(), *quiet, *more, url)[1]


def by_dns(checks, engine, proxy):
    """A static glibc resolves names by DNS on its own: without its shared parts."""
    name = "wise.test"
    options = engine.folder / "volume-wise/options.json"
    options.write_text(json.dumps({"names": [name]}))
    options.chmod(0o644)
    (engine.root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    service = {"volumes": proxy["volumes"], "tmpfs": proxy["tmpfs"]}
    simulator = ["simulator", "--plain=127.0.0.1:9443", "--mtls=127.0.0.1:9444", "--control=127.0.0.1:9445"]
    simulator += ["--dir=/var/lib/wise-auth-proxy/named", "--options=/var/lib/wise-auth-proxy/options.json"]
    program = engine.image["entrypoint"]
    variables = {
        "WISE_PROXY_WISE__PLAIN": f"https://{name}:9443",
        "WISE_PROXY_SWITCH__LANE": "personal",
        "WISE_PROXY_DOOR": '[{ address = "127.0.0.1:9080" }]',
        "WISE_PROXY_ADMIN__ADDRESS": "127.0.0.1:9081",
    }
    config = "/var/lib/wise-auth-proxy/named/proxy.toml"
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(dns_server(engine.network, name))
        stack.enter_context(running(engine.popen(service, program + simulator)))
        ready = [*program, "config", "check", "--secrets", "--config", config]
        tools.until(lambda: engine.ran(service, ready)[0] == 0, "the simulator's files are there")
        process = stack.enter_context(running(engine.popen(service, [*program, "run", "--config", config], variables)))
        there = [*program, "wait", "--for", "started", "--address", "127.0.0.1:9081"]
        code, said = engine.ran(service, there)
        checks.true("the proxy has started", code == 0, said)
        found = curl(engine, "http://127.0.0.1:9080/v1/me")
        checks.equal("a name that only DNS knows is found", found, "200")
        checks.true("by asking the server of /etc/resolv.conf", asked and process.poll() is None, asked)


@contextlib.contextmanager
def running(process):
    lines = []
    # Read on: a full pipe would hold the program up.
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        yield process
    except Exception:
        tools.end(process, 5)
        reader.join(5)
        print("".join(lines[-30:]), flush=True)
        raise
    tools.end(process)


@contextlib.contextmanager
def dns_server(network, name):
    """Answers A for `name` with loopback, and everything else with nothing; notes who was asked for."""
    here, there = os.open("/proc/self/ns/net", os.O_RDONLY), pathlib.Path(f"/proc/{network.keeper.pid}/ns/net")
    asked = []
    opened = {}

    def serve():
        # This thread alone moves: a namespace is a thread's.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        with there.open() as namespace:
            assert libc.setns(namespace.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        server = opened["socket"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))
        opened["bound"] = True
        while True:
            query, peer = server.recvfrom(512)
            if query == b"end":
                return
            end = query.index(b"\0", 12)
            wanted = question(query[12:end])
            kind = struct.unpack(">H", query[end + 1 : end + 3])[0]
            asked.append(wanted)
            known = wanted == name and kind == 1
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(known), 0, 0)
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
            server.sendto(head + query[12 : end + 5] + (record if known else b""), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    tools.until(lambda: opened.get("bound"), "the DNS server listens")
    try:
        yield asked
    finally:
        os.close(here)
        opened["socket"].sendto(b"end", ("127.0.0.1", 53))
        thread.join(5)


def question(labels):
    """The name in a query."""
    words, at = [], 0
    while at < len(labels):
        words.append(labels[at + 1 : at + 1 + labels[at]].decode())
        at += 1 + labels[at]
    return ".".join(words)
