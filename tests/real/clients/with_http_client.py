"""http.client: `with_http_client.py BASE PROXY FILE`; with a proxy the target is absolute."""

import hashlib
import http.client
import json
import sys
import urllib.parse

base, proxy, file = sys.argv[1:]
connection = http.client.HTTPConnection(proxy or urllib.parse.urlsplit(base).netloc, timeout=30)
prefix = base if proxy else ""
body = open(file, "rb").read()
own = {"Authorization": "Bearer the-clients-own"}
hops = {
    "Connection": "keep-alive, X-Private", "X-Private": "the-clients-own", "Keep-Alive": "timeout=5",
    "TE": "trailers", "Proxy-Connection": "keep-alive", "Proxy-Authorization": "Basic the-clients-own",
}


def ask(method, path, content=None, **fields):
    connection.request(method, f"{prefix}{path}", content, own | fields)
    answer = connection.getresponse()
    return answer, answer.read()


_, echo = ask("GET", "/v1/echo?a=%2Fb%20c&d=1+2", **hops)
_, chunked = ask("POST", "/v1/digest", iter([body[:70_000], body[70_000:300_000]]))
with open(file, "rb") as stream:
    _, upload = ask("POST", "/v1/digest", stream, **{"Content-Length": str(len(body))})
_, download = ask("GET", "/files/big")
nothing, nothing_bytes = ask("DELETE", "/v1/nothing")
packed, packed_bytes = ask("GET", "/v1/gzip", **{"Accept-Encoding": "gzip"})
head, head_bytes = ask("HEAD", "/files/big")
print(json.dumps({
    "echo": json.loads(echo),
    "chunked": json.loads(chunked),
    "upload": json.loads(upload),
    "download": hashlib.sha256(download).hexdigest(),
    "nothing": [nothing.status, len(nothing_bytes)],
    "gzip": [packed.getheader("Content-Encoding"), hashlib.sha256(packed_bytes).hexdigest()],
    "head": [head.status, head.getheader("Content-Length"), len(head_bytes)],
}))
