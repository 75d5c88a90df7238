"""Who is measured: our proxy, and what one would use instead. Their configurations are in ../peers."""
import hashlib
import json
import os
import subprocess
import time

from client import FAILURES, Client, call
from machine import on, tree
from process import free_port, spawn, start_failed, stop
from upstream import PROFILE, SNI, TOKEN, fill

OURS = ["ours", "ours-h1", "ours-h2", "ours-guarded"]
# What the application of `ours-guarded` shows; the configuration has its hash.
KEY = "key-of-the-measured-application"
PEERS = ["nginx", "haproxy", "haproxy-h2", "hyper", "hyper-h2"]
# The same program twice: so much of a difference says nothing.
CONTROL = "hyper-again"
# Nothing in between: a client with its own certificate, and one without any TLS.
LIMITS = ["direct", "plain"]
TITLES = {
    "ours": "**wise-auth-proxy**", "ours-h1": "… pinned to HTTP/1.1", "ours-h2": "… pinned to HTTP/2",
    "ours-guarded": "… with a caller and a policy",
    "nginx": "nginx", "haproxy": "HAProxy", "haproxy-h2": "HAProxy, HTTP/2 upstream",
    "hyper": "plain hyper", "hyper-h2": "plain hyper, HTTP/2 upstream",
    CONTROL: "plain hyper again, the control", "direct": "direct call over mTLS", "plain": "direct call without TLS",
}
HTTP = {"ours": "auto", "ours-h1": "1.1", "ours-h2": "2", "ours-guarded": "auto"}
GUARDED = """\
[[caller]]
name = "application"
hashes = ["sha256:{hash}"]
policy = "payouts"

[[policy]]
name = "payouts"
allow = ["reads", "transfers"]
deny = ["funding"]
"""


class Contender:
    """One proxy, started and stopped as often as a measurement wants."""

    def __init__(self, name, bench):
        self.name, self.bench = name, bench
        self.work = bench.work / name
        self.base, _, version = name.partition("-")
        self.h2 = version == "h2"
        self.mine = self.base == "ours"
        self.guarded = version == "guarded"
        # What its clients must show besides.
        self.fields = {"Authorization": f"Bearer {KEY}"} if self.guarded else {}
        self.process, self.logged_in = None, 0
        bench.started.append(self)

    def start(self, workers=1, cpus=None, upstream=None, grants=1, hosts=0):
        """Seconds from the start of the process to the first 200 through it."""
        self.stop()
        (self.work / "tmp").mkdir(parents=True, exist_ok=True)
        self.port, self.h2c_port, self.admin = (free_port() for _ in range(3))
        if self.base != "nginx":
            self.h2c_port = self.port
        command, env = self.command(workers, upstream or self.bench.upstream.mtls, grants, hosts)
        with on(cpus or self.bench.proxy_cpus):
            began = time.perf_counter()
            self.process = spawn(command, self.work / "log", env)
        while time.perf_counter() < began + 15 and self.process.poll() is None:
            try:
                client = Client(self.port, 3, self.fields)
                status, _ = client.ask("GET", "/v1/profiles")
                client.close()
                if status == 200:
                    took = time.perf_counter() - began
                    self.pids = tree(self.process.pid)
                    return took
            except FAILURES:
                pass
            time.sleep(0.0005)
        start_failed(self.name, self.process, self.work / "log")

    def stop(self):
        if self.process:
            stop(self.process)
            self.process = None

    def command(self, workers, upstream, grants, hosts):
        """What to start, and with which environment. Writes the configuration."""
        certs = self.bench.upstream.certs
        address = f"127.0.0.1:{upstream}"
        values = {
            "PORT": self.port, "H2C_PORT": self.h2c_port, "ADMIN_PORT": self.admin, "UPSTREAM": address,
            "UPSTREAM_PORT": upstream, "OPEN_PORT": self.bench.upstream.open, "SNI": SNI, "TOKEN": TOKEN,
            "WORKERS": workers, "WORK": self.work, "CA": certs / "ca.pem", "CERT": certs / "client.pem",
            "KEY": certs / "client.key", "COMBINED": certs / "combined.pem",
            "USER": "user root;" if os.geteuid() == 0 else "", "REUSEPORT": " reuseport" if workers > 1 else "",
            "ALPN": "h2" if self.h2 else "http/1.1",
        }
        if self.base == "nginx":
            config = self.work / "nginx.conf"
            fill("peers/nginx.conf", config, values)
            return ["nginx", "-e", self.work / "error.log", "-p", self.work, "-c", config], {}
        if self.base == "haproxy":
            fill("peers/haproxy.cfg", self.work / "haproxy.cfg", values)
            return ["haproxy", "-db", "-f", self.work / "haproxy.cfg"], {}
        if self.base == "hyper":
            names = ("UPSTREAM", "SNI", "CA", "CERT", "KEY", "TOKEN", "WORKERS")
            env = {name: str(values[name]) for name in names}
            env.update(LISTEN=f"127.0.0.1:{self.port}", UPSTREAM_H2=str(int(self.h2)))
            return [self.binary()], env
        return self.our_command(values, grants, hosts)

    def our_command(self, values, grants, hosts):
        """Ours: a configuration, certificates of its own to replace, and a login for each grant."""
        certs = self.bench.upstream.certs
        for name in ("client.pem", "client.key"):
            (self.work / name).write_bytes((certs / name).read_bytes())
        (self.work / "client.key").chmod(0o600)
        names = [f"grant-{number}" for number in range(grants)]
        values.update(
            CERT=self.work / "client.pem", KEY=self.work / "client.key", HTTP=HTTP[self.name],
            CALLERS='callers = ["application"]' if self.guarded else "",
            GUARDED=GUARDED.format(hash=hashlib.sha256(KEY.encode()).hexdigest()) if self.guarded else "",
            HOSTS=", ".join(f'"app-{number}.internal"' for number in range(hosts)),
            GRANTS="\n".join(
                f'[[grant]]\nname = "{name}"\nprofile = {PROFILE + number}\ndefault = {str(not number).lower()}\n'
                for number, name in enumerate(names)))
        config = self.work / "wise-auth-proxy.toml"
        fill("peers/wise-auth-proxy.toml", config, values)
        env = {"COMPARE_CLIENT_SECRET": "compare"}
        while self.logged_in < grants:
            subprocess.run(
                [self.binary(), "login", "--config", config, "--grant", names[self.logged_in],
                 "--code", str(PROFILE + self.logged_in), "--redirect-uri", "https://app.example/callback"],
                env={**os.environ, **env}, check=True, capture_output=True)
            self.logged_in += 1
        return [self.binary(), "run", "--config", config], env

    def tidy(self):
        """Access logs of hours at full load would fill the disk."""
        if self.mine:
            os.truncate(self.work / "access.log", 0)

    def binary(self):
        """The program's path."""
        return self.bench.program if self.mine else self.bench.tool(
            {"nginx": "nginx", "haproxy": "haproxy", "hyper": "compare-hyper"}[self.base])

    def version(self):
        if self.base == "hyper":
            return "hyper 1"
        flag = {"nginx": "-v", "haproxy": "-v"}.get(self.base, "--version")
        done = subprocess.run([self.binary(), flag], capture_output=True, text=True)
        line = (done.stdout + done.stderr).splitlines()[0]
        return line.removeprefix("nginx version: ").split(" 20")[0]

    def metrics(self):
        """Our metrics: each sample's value by its name and labels."""
        page = call(self.admin, "GET", "/metrics")
        pairs = (line.rsplit(" ", 1) for line in page.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def check(self):
        """What every forwarder must do; says what it did not."""
        wrong = []

        def want(what, ask):
            client = Client(self.port, fields=self.fields)
            try:
                if not ask(client):
                    wrong.append(what)
            except (*FAILURES, ValueError) as error:
                wrong.append(f"{what}: {error}")
            finally:
                client.close()

        def replaced(client):
            answers = [client.ask("GET", path, Authorization="Bearer of-the-application")
                       for path in ("/v1/profiles", "/v1/quote")]
            return [(status, len(body)) for status, body in answers] == [(200, 661), (200, 8192)]

        def whole(client):
            status, body = client.ask("GET", "/statement.pdf")
            return status == 200 and hashlib.sha256(body).digest() == self.bench.upstream.statement

        def arrives(size):
            def ask(client):
                status, body = client.ask("POST", "/v1/transfers", bytes(size))
                return status == 200 and json.loads(body)["received"] == size
            return ask

        def arrives_chunked(client):
            chunked = {"Transfer-Encoding": "chunked"}
            status, body = client.ask("POST", "/v1/transfers", iter([bytes(1000)] * 50), **chunked)
            return status == 200 and json.loads(body)["received"] == 50_000

        want("Authorization replaced", replaced)
        want("1 MiB down intact", whole)
        want("2 KiB up intact", arrives(2048))
        want("10 MiB up intact", arrives(10 << 20))
        want("a chunked body intact", arrives_chunked)
        return wrong
