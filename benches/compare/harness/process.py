"""Processes that this run starts, and ends."""
import os
import signal
import socket
import subprocess


def free_port():
    """A port nobody listens on, by the kernel's choice."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def spawn(command, log, env=None):
    with open(log, "ab") as out:
        return subprocess.Popen(
            [str(part) for part in command], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=out, stderr=out, start_new_session=True)


def stop(process, patience=2.0):
    """Ends a process and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start_failed(name, process, log):
    stop(process)
    raise RuntimeError(f"{name} did not start: {log.read_text(errors='replace')[-800:]}")
