#!/usr/bin/env python3
"""Uploads a fixed count of bodies over kept connections, and prints a JSON line.

upload.py PORT CONNECTIONS UPLOADS_EACH BYTES [FIELD LINE]...
"""
import json
import socket
import sys
import threading
import time

port, connections, each, size = map(int, sys.argv[1:5])
more = "".join(f"{line}\r\n" for line in sys.argv[5:])
head = (
    "POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n{more}\r\n"
).encode()
body = bytes(size)
wanted = b'"received":%d}' % size
times, failures = [], []


def worker():
    try:
        s = socket.create_connection(("127.0.0.1", port), timeout=60)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(each):
            began = time.perf_counter()
            s.sendall(head)
            s.sendall(body)
            reply = b""
            while wanted not in reply:
                part = s.recv(65536)
                reply += part
                if not part or not reply.startswith(b"HTTP/1.1 200"[: len(reply)]):
                    raise ConnectionError(reply[:60].decode())
            times.append(time.perf_counter() - began)
    except OSError as error:
        failures.append(str(error))


began = time.perf_counter()
threads = [threading.Thread(target=worker) for _ in range(connections)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
seconds = time.perf_counter() - began
times.sort()


def at(share):
    return times[min(len(times) - 1, int(share * len(times)))] * 1e6 if times else 0


print("RESULT " + json.dumps({
    "requests": len(times), "seconds": seconds, "bytes": size * len(times), "errors": len(failures),
    "refused": 0, "p50": at(0.5), "p99": at(0.99), "why": failures[:2],
}))
