"""The one upstream that everybody is measured against: nginx with mTLS, see ../upstream."""
import hashlib
import json
import os
import random
import re
import subprocess
import time
from pathlib import Path

from client import call
from machine import on, tree
from process import free_port, spawn, start_failed, stop

HERE = Path(__file__).resolve().parent.parent
SNI = "wise.test"
SECRET = "5f2a8c1e-77b0-4a0c-9a35-1f0d5b6c2e90"  # of nobody: it opens the upstream of this run
PROFILE = 14575282
TOKEN = f"{SECRET}-{PROFILE}"


def fill(template, target, values):
    """Writes a template's text with each @NAME@ replaced."""
    text = re.sub(r"@([A-Z0-9_]+)@", lambda name: str(values[name[1]]), (HERE / template).read_text())
    target.write_text(text)


class Upstream:
    def __init__(self, work, cpus, workers):
        self.work = work / "upstream"
        self.certs = work / "certs"
        self.mtls, self.short, self.open, self.plain, self.status = (free_port() for _ in range(5))
        subprocess.run([HERE / "upstream/certificates", self.certs], check=True)
        (self.work / "www/v1").mkdir(parents=True)
        (self.work / "tmp").mkdir()
        noise = random.Random(7)
        quote = {"id": "11144c35-9fe8-4c32-b7fd-d05c2a7734bf", "rate": 1.14865, "paymentOptions": ""}
        room = 8192 - len(json.dumps(quote))
        quote["paymentOptions"] = "".join(noise.choice("0123456789abcdef") for _ in range(room))
        (self.work / "www/v1/quote").write_text(json.dumps(quote))
        statement = noise.randbytes(1 << 20)
        (self.work / "www/statement.pdf").write_bytes(statement)
        self.statement = hashlib.sha256(statement).digest()
        values = {
            "MODULES": "/usr/lib/nginx/modules", "USER": "user root;" if os.geteuid() == 0 else "",
            "WORKERS": workers, "WORK": self.work, "CERTS": self.certs, "SNI": SNI, "TOKEN": TOKEN,
            "SECRET": SECRET, "MTLS_PORT": self.mtls, "SHORT_PORT": self.short,
            "OPEN_PORT": self.open, "PLAIN_PORT": self.plain, "STATUS_PORT": self.status,
        }
        for name in ("nginx.conf", "locations.conf"):
            fill(f"upstream/{name}", self.work / name, values)
        with on(cpus):
            self.process = spawn(
                ["nginx", "-e", self.work / "error.log", "-p", self.work, "-c", self.work / "nginx.conf"],
                self.work / "log")
        for _ in range(200):
            try:
                self.accepted()
                break
            except OSError:
                time.sleep(0.02)
        else:
            start_failed("the upstream", self.process, self.work / "log")
        self.pids = tree(self.process.pid)

    def accepted(self):
        """Connections so far; each look adds one."""
        return int(call(self.status, "GET", "/").split()[7])

    def fresh_connections(self):
        """The connections on the short port so far: how many, and how many resumed a TLS session."""
        log = self.work / "connections.log"
        text = log.read_text() if log.exists() else ""
        return len(text.split()), text.count("r")

    def stop(self):
        stop(self.process)
