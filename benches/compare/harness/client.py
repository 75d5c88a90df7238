"""Requests of our own: for the checks, for connections that stay idle, and to the admin doors."""
import http.client
import json
import socket

FAILURES = (OSError, http.client.HTTPException)


class Client(http.client.HTTPConnection):
    """A kept connection to a port of this machine, or to the path of a unix socket."""

    def __init__(self, address, timeout=20, fields=None):
        self.fields = fields or {}
        self.path = None if isinstance(address, int) else str(address)
        super().__init__("127.0.0.1", None if self.path else address, timeout=timeout)

    def connect(self):
        if not self.path:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        return self.sock.connect(self.path)

    def ask(self, method, path, body=None, **headers):
        """Status and body of the answer. An iterable body goes out in chunks."""
        headers = {"Host": "localhost", **headers, **self.fields}
        self.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
        answer = self.getresponse()
        return answer.status, answer.read()


def call(address, method, path, value=None):
    """One request on a connection of its own, with JSON in it; fails unless the answer is a 200."""
    client = Client(address)
    try:
        body = None if value is None else json.dumps(value)
        status, text = client.ask(method, path, body, **{"Content-Type": "application/json"})
    finally:
        client.close()
    if status != 200:
        raise RuntimeError(f"{method} {path}: {status} {text[:300].decode(errors='replace')}")
    return text.decode()
