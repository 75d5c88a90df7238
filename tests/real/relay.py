"""A wire between a client and a door that counts the client's connections."""

import contextlib
import socket
import threading


class Relay:
    def __init__(self, door_port):
        self._door = ("127.0.0.1", door_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A thread that waits in accept keeps a closed socket listening.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                door = socket.create_connection(self._door)
                for end in (client, door):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for ends in ((client, door), (door, client)):
                    threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source, sink):
    try:
        while data := source.recv(256 * 1024):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone for good: the other must not wait for it.
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
