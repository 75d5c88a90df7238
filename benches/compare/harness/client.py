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


class Http2Client:
    """A kept connection over HTTP/2 with prior knowledge (RFC 9113 §3.3), on which one GET is asked.

    What it sends is put together by hand, with fields as literals (RFC 7541 §6.2.2); of what it hears it looks for the
    end of the answer alone.
    """
    SETTINGS, GET, ENDS = 4, 0x8286, 1  # a kind of frame; `:method: GET`, `:scheme: http`; END_STREAM

    def __init__(self, port, path, fields=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        literal = lambda text: bytes([len(text)]) + text.encode()
        head = self.GET.to_bytes(2) + b"\x04" + literal(path) + b"\x01" + literal("localhost")
        for name, value in (fields or {}).items():
            head += b"\0" + literal(name.lower()) + literal(value)
        frame = lambda kind, flags, stream, payload: (
            len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(self.SETTINGS, 0, 0, b"")
                            + frame(1, 4 | self.ENDS, 1, head))
        with self.socket.makefile("rb") as heard:
            while True:
                header = heard.read(9)
                if len(header) < 9:
                    raise RuntimeError("the proxy ended a connection over HTTP/2")
                kind, flags, stream = header[3], header[4], int.from_bytes(header[5:])
                heard.read(int.from_bytes(header[:3]))
                if kind == self.SETTINGS and not flags & 1:
                    self.socket.sendall(frame(self.SETTINGS, 1, 0, b""))
                if kind in (0, 1) and stream == 1 and flags & self.ENDS:
                    return

    def close(self):
        self.socket.close()


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
