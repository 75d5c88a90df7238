"""A plain HTTP/1.1 client, for the checks and for connections that stay idle."""
import json
import re
import socket


class Client:
    def __init__(self, address, timeout=20):
        """`address` is a port of this machine or the path of a unix socket."""
        if isinstance(address, int):
            self.socket = socket.create_connection(("127.0.0.1", address), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address))
        self.buffer = b""

    def close(self):
        self.socket.close()

    def request(self, method, path, headers=(), body=b""):
        """Status and body of the answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: application/json", *headers]
        if (body or method == "POST") and not any("chunked" in header for header in headers):
            lines.append(f"Content-Length: {len(body)}")
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = self.until(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        if length:
            content = self.exactly(int(length[1]))
        elif b"chunked" in head.lower():
            content = b"".join(self.chunks())
        else:
            content = b""
        return int(head.split()[1]), content

    def chunks(self):
        while size := int(self.until(b"\r\n"), 16):
            yield self.exactly(size)
            self.exactly(2)
        self.exactly(2)

    def until(self, end):
        while end not in self.buffer:
            self.more()
        found, self.buffer = self.buffer.split(end, 1)
        return found

    def exactly(self, size):
        while len(self.buffer) < size:
            self.more()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    def more(self):
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("closed early")
        self.buffer += part


def call(address, method, path, value=None):
    """One request on a connection of its own, with JSON in it; fails unless the answer is a 200."""
    client = Client(address)
    try:
        body = b"" if value is None else json.dumps(value).encode()
        status, text = client.request(method, path, ["Connection: close", "Content-Type: application/json"], body)
    finally:
        client.close()
    if status != 200:
        raise RuntimeError(f"{method} {path}: {status} {text[:300].decode(errors='replace')}")
    return text.decode()
