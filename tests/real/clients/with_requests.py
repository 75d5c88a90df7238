"""requests: `with_requests.py BASE PROXY FILE`; PROXY is host:port or empty. Prints what it saw."""

import hashlib
import json
import sys

import requests

base, proxy, file = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.headers["Authorization"] = "Bearer the-clients-own"
if proxy:
    session.proxies = {"http": f"http://caller:the-clients-own@{proxy}"}
body = open(file, "rb").read()
own = {"Connection": "keep-alive, X-Private", "X-Private": "the-clients-own", "TE": "trailers"}


def pieces():
    for start in range(0, 300_000, 70_000):
        yield body[start:min(start + 70_000, 300_000)]


echo = session.get(f"{base}/v1/echo?a=%2Fb%20c&d=1+2", headers=own)
chunked = session.post(f"{base}/v1/digest", data=pieces())
with open(file, "rb") as stream:
    upload = session.post(f"{base}/v1/digest", data=stream)
download = session.get(f"{base}/files/big")
nothing = session.delete(f"{base}/v1/nothing")
packed = session.get(f"{base}/v1/gzip", stream=True)
packed_bytes = packed.raw.read(decode_content=False)
head = session.head(f"{base}/files/big")
print(json.dumps({
    "echo": echo.json(),
    "chunked": chunked.json(),
    "upload": upload.json(),
    "download": hashlib.sha256(download.content).hexdigest(),
    "nothing": [nothing.status_code, len(nothing.content)],
    "gzip": [packed.headers.get("Content-Encoding"), hashlib.sha256(packed_bytes).hexdigest()],
    "head": [head.status_code, head.headers.get("Content-Length"), len(head.content)],
}))
