"""The proxy as an operator runs it: a configuration file, the binary, its commands."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from edge import free_port

BINARY = os.environ.get("WAP_BIN") or str(
    pathlib.Path(__file__).resolve().parents[2] / "target/debug/wise-auth-proxy"
)

CONFIG = """\
environment = "custom"

[[door]]
address = "127.0.0.1:{port}"
[[door]]
address = "unix:{folder}/app.sock"

[wise]
plain = "{plain}"
mtls = "{mtls}"
extra_ca = "{authority}"
roots = "only-extra"

[upstream]
http = "{http}"
warm_connections = 1
resolve = {{ {resolve} }}

[switch]
lane = "{lane}"

[oauth]
client_id = "{client_id}"
client_secret = {{ file = "client_secret" }}

[[grant]]
name = "main"
profile = {profile}
default = true

[personal]
token = {{ file = "personal_token" }}

[mtls]
certificate = "client.pem"
key = "client.key"

[store]
path = "state"

[admin]
address = "127.0.0.1:{admin}"

[runtime]
workers = 2

[log]
access = "{folder}/access.log"
"""


class House:
    def __init__(self, folder: pathlib.Path, *, client, secret, personal, **settings):
        folder.mkdir()
        self.folder = folder
        self.port, self.admin = free_port(), free_port()
        self.socket = folder / "app.sock"
        self._secret("client_secret", secret)
        self._secret("personal_token", personal)
        self.install(client)
        resolve = ", ".join(f'"{name}" = "127.0.0.1"' for name in settings.pop("names"))
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(
            folder=folder, port=self.port, admin=self.admin, resolve=resolve, **settings
        ))
        self.process = None

    def install(self, pair):
        """Puts a certificate and its key in place, each in one step."""
        for name, source in (("client.key", pair.key), ("client.pem", pair.certificate)):
            fresh = self.folder / f"{name}.new"
            fresh.write_bytes(source.read_bytes())
            fresh.chmod(0o600)
            fresh.replace(self.folder / name)

    def _secret(self, name, value):
        path = self.folder / name
        path.write_text(value)
        path.chmod(0o600)

    def command(self, *arguments, **options):
        """Runs one of the binary's commands."""
        return subprocess.run(
            [BINARY, *map(str, arguments), "--config", self.config],
            capture_output=True, text=True, timeout=60, **options,
        )

    def set_http(self, version):
        self._set("http", f'"{version}"')

    def set_warm(self, connections):
        self._set("warm_connections", connections)

    def _set(self, key, value):
        text = re.sub(rf"^{key} = .*$", f"{key} = {value}", self.config.read_text(), flags=re.M)
        self.config.write_text(text)

    def add_door(self, *rules):
        """Writes one more door and returns its port; it opens at the next start."""
        port = free_port()
        door = "\n".join(["[[door]]", f'address = "127.0.0.1:{port}"', *rules])
        text = self.config.read_text().replace("\n[wise]\n", f"\n{door}\n\n[wise]\n", 1)
        self.config.write_text(text)
        return port

    def restart(self):
        """The exit code of the proxy before."""
        code = self.stop()
        self.start()
        return code

    def start(self, ready="/readyz"):
        """`ready`: what says that it can be used; without a login, `/startupz`."""
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [BINARY, "run", "--config", self.config], stdout=self.log, stderr=self.log
        )
        end = time.monotonic() + 20
        reasons = "nothing answers"
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.read(ready)
                return
            except urllib.error.HTTPError as error:
                reasons = error.read().decode()
            except OSError:
                pass
            time.sleep(0.02)
        said = (self.folder / "log").read_text()
        raise RuntimeError(f"the proxy is not ready: {reasons}\n{said}")

    def read(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name):
        """Sum of a metric over its labels."""
        lines = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.read("/metrics"), re.M)
        return sum(map(float, lines))

    def status(self):
        done = self.command("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        """Ends the proxy as a service manager does and returns its exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process and self.process.returncode
        self.process.terminate()
        try:
            return self.process.wait(35)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
