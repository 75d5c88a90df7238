"""A simulated Wise, a proxy in front of it, and applications that use it."""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

BINARY = os.environ.get("WAP_BIN") or str(
    pathlib.Path(__file__).resolve().parents[2] / "target/debug/wise-auth-proxy"
)
KEY = "a-key-for-the-status-page-alone"
PROFILE = 30_000_000

CONFIG = """
[runtime]
workers = 2
[admin]
address = "127.0.0.1:0"
socket = "admin.sock"
key = { file = "admin_key" }
[log]
access = "off"
"""


class Program:
    """One of the binary's commands, running, with what it says."""

    def __init__(self, folder, name, *arguments):
        self.said = folder / f"{name}.log"
        log = open(self.said, "ab")
        self.process = subprocess.Popen([BINARY, *map(str, arguments)], stdout=log, stderr=log)

    def until(self, text, patience=20):
        end = time.monotonic() + patience
        while time.monotonic() < end and self.process.poll() is None:
            for line in self.said.read_text().splitlines():
                if text in line:
                    return line
            time.sleep(0.02)
        raise RuntimeError(f"never said {text!r}:\n{self.said.read_text()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError(f"it does not end:\n{self.said.read_text()}") from None


class Scene:
    """`key`: the page may change the lane."""

    def __init__(self, folder, key=True):
        self.folder = folder
        self.key = key
        wise = folder / "wise"
        self.simulator = Program(
            folder, "simulator", "simulator", "--plain", "127.0.0.1:0", "--mtls", "127.0.0.1:0",
            "--control", "127.0.0.1:0", "--profile", PROFILE, "--dir", wise, "--json",
        )
        self.simulator.until("a simulated Wise is listening")
        told = self.simulator.said.read_text()
        told, _ = json.JSONDecoder().raw_decode(told[told.index("{"):])
        self.control, self.config = told["control"], pathlib.Path(told["config"])
        self._configure()
        self.log_in()
        self.address = None
        self.start()

    def log_in(self):
        code = self.ask(f"{self.control}/authorise", {"profile": PROFILE})
        done = self.command("login", "--code", code["code"], "--redirect-uri", code["redirect_uri"])
        if done.returncode:
            raise RuntimeError(done.stderr)

    def _configure(self):
        text = self.config.read_text()
        kept = []
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line
            if section not in ("[admin]", "[log]"):
                kept.append(line)
        text = "\n".join(kept) + CONFIG
        if not self.key:
            text = text.replace('key = { file = "admin_key" }\n', "")
        (self.config.parent / "admin_key").write_text(KEY)
        (self.config.parent / "admin_key").chmod(0o600)
        self.config.write_text(text)

    def start(self):
        settings = ["--set", f"admin.address={self.address}"] if self.address else []
        name = f"proxy-{time.monotonic_ns()}"
        self.proxy = Program(
            self.folder, name, "run", "--config", self.config, *settings,
            "--set", 'door=[{ address = "127.0.0.1:0" }]',
        )
        line = self.proxy.until("status on http://")
        self.address = line.split("http://")[1].split("/")[0]
        self.url = f"http://{self.address}/"
        line = self.proxy.until("serving on ")
        self.door = line.split("serving on ")[1].split(",")[0].strip()

    def command(self, *arguments):
        return subprocess.run(
            [BINARY, *map(str, arguments), "--config", self.config],
            capture_output=True, text=True, timeout=60,
        )

    def switch(self, lane, reason):
        done = self.command("switch", lane, "--reason", reason)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def status(self):
        return self.ask(f"http://{self.address}/status")

    def faults(self, faults):
        self.ask(f"{self.control}/faults", faults, "PATCH")

    def ask(self, url, body=None, method=None):
        body = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def call(self, path="/v1/me"):
        """An application's request; the status is all it tells."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.door}{path}", timeout=20) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self):
        self.proxy.stop()
        self.simulator.stop()


class Traffic:
    """Applications that ask now and then, until told to stop."""

    def __init__(self, scene, pause=0.1):
        self._stop = threading.Event()
        self.pause = pause

        def work(place):
            turn = 0
            while not self._stop.wait(self.pause * (1 + (turn * 7 + place * 3) % 5 / 2)):
                turn += 1
                try:
                    scene.call("/v1/me" if turn % 3 else f"/v2/profiles/{PROFILE}")
                except OSError:
                    pass

        self._threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(2)]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
