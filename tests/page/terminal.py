"""A terminal of our own, with `status --watch` in it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from scene import BINARY


class Watch:
    def __init__(self, scene, rows=40, columns=100):
        self._master, self._slave = pty.openpty()
        self.raw = ""
        self._size(rows, columns)
        self.process = subprocess.Popen(
            [BINARY, "status", "--watch", "--config", scene.config],
            stdin=self._slave, stdout=self._slave, stderr=self._slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color"},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def _size(self, rows, columns):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows, columns):
        self.raw = ""
        self._size(rows, columns)

    def _read(self, patience):
        ready, _, _ = select.select([self._master], [], [], patience)
        if ready:
            self.raw += os.read(self._master, 65536).decode()

    def _frame(self):
        """The last whole frame, without colours."""
        frames = re.findall(r"\x1b\[\?2026h\x1b\[H(.*?)\x1b\[\?2026l", self.raw, re.S)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames[-1]) if frames else ""

    def lines(self):
        return len(self._frame().split("\r\n"))

    def shows(self, start, text, patience=15):
        """Whether a line that starts so comes to hold the text."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            lines = self._frame().split("\r\n")
            if any(line.startswith(start) and text in line for line in lines):
                return True
            self._read(0.2)
        return False

    def interrupt(self):
        """What Ctrl-C does: the terminal tells the process."""
        os.write(self._master, b"\x03")
        end = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        self._read(0.1)
        return self.process.wait(5)

    def echoes(self):
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)
