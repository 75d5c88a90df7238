"""The same seven requests from every client, and what must be true of them whoever asks."""

import dataclasses
import gzip
import hashlib
import json
import pathlib
import subprocess
import sys

from origin import COMPRESSED
from relay import Relay

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
TARGET = "/v1/echo?a=%2Fb%20c&d=1+2"
PART = 300_000
HOPS = (
    "X-Got-Connection", "X-Got-Keep-Alive", "X-Got-TE", "X-Got-Upgrade", "X-Got-Expect",
    "X-Got-Transfer-Encoding", "Proxy-Connection", "Proxy-Authorization", "HTTP2-Settings",
    "X-Private",
)


@dataclasses.dataclass
class Files:
    """What goes up and comes down."""

    folder: pathlib.Path
    big: pathlib.Path

    def __post_init__(self):
        content = self.big.read_bytes()
        self.size = len(content)
        self.digest = sha256(content)
        self.part = self.folder / "part"
        self.part.write_bytes(content[:PART])
        self.part_digest = sha256(content[:PART])


@dataclasses.dataclass
class Expected:
    """What nginx and the origin must have seen."""

    authorization: str
    host: str
    protocol: str
    serial: str


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def tell(checks, who, story, connections, files, expected, most=1):
    """Checks a client's story; `connections` is None where the client cannot keep one."""
    received(checks, who, story["echo"], expected)
    up = [PART, files.part_digest]
    checks.equal(f"{who}: a chunked upload arrives", arrived(story["chunked"]), up)
    up = [files.size, files.digest]
    checks.equal(f"{who}: 10 MiB go up", arrived(story["upload"]), up)
    checks.equal(f"{who}: 10 MiB come down", story["download"], files.digest)
    checks.equal(f"{who}: 204 has no body", story["nothing"], [204, 0])
    if "gzip" in story:
        packed = ["gzip", sha256(COMPRESSED)]
        checks.equal(f"{who}: gzip passes untouched", story["gzip"], packed)
    else:
        unpacked = ["gzip", sha256(gzip.decompress(COMPRESSED))]
        checks.equal(f"{who}: gzip can be unpacked", story["unpacked"], unpacked)
    length = str(files.size)
    checks.equal(f"{who}: HEAD has a length and no body", story["head"], [200, length, 0])
    if connections is not None:
        kept = 1 <= connections <= most
        checks.true(f"{who}: seven requests, connections at most {most}", kept, connections)


def received(checks, who, echo, expected):
    headers = {}
    for name, value in echo["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    got = lambda name: headers.get(name.lower(), [])
    checks.equal(f"{who}: path and query arrive as they were", echo["target"], TARGET)
    ours = [expected.authorization]
    checks.equal(f"{who}: one Authorization arrives, ours", got("Authorization"), ours)
    left = [name for name in HOPS if got(name)]
    left += [name for name, value in echo["headers"] if "the-clients-own" in value]
    checks.equal(f"{who}: nothing of the client's own hop arrives", left, [])
    via = got("Via")
    checks.true(f"{who}: Via names us", len(via) == 1 and via[0].endswith(" wise-auth-proxy"), via)
    edge = [*got("Host"), *got("X-Edge-Protocol"), *got("X-Edge-Tls"), *got("X-Edge-Verified")]
    wanted = [expected.host, expected.protocol, "TLSv1.3", "SUCCESS"]
    checks.equal(f"{who}: host, protocol, TLS 1.3 and client certificate", edge, wanted)
    serial = [expected.serial]
    checks.equal(f"{who}: the certificate is ours", got("X-Edge-Serial"), serial)


def arrived(upload):
    return [upload["length"], upload["sha256"]]


def run(command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, timeout=120, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:2]}: exit {done.returncode}: {done.stderr.decode()}")
    return done


def program(name, command, door_port, files, api, through_proxy):
    """A client program's story and the connections it opened."""
    with Relay(door_port) as relay:
        door = f"127.0.0.1:{relay.port}"
        where = [f"http://{api}", door] if through_proxy else [f"http://{door}", ""]
        done = run([*command, CLIENTS / name, *where, files.big])
        return json.loads(done.stdout), relay.connections


def programs():
    """Every client that is a program: name, command, file, proxy user or not, most connections."""
    python, node, java = [sys.executable], ["node"], ["java"]
    yield "requests", python, "with_requests.py", (False, True), 1
    yield "http.client", python, "with_http_client.py", (False, True), 1
    # Against any server, fetch opens its second connection for its second request.
    yield "Node fetch", node, "fetch.mjs", (False,), 2
    yield "Node http2", node, "http2.mjs", (False,), 1
    yield "Node http.request", node, "request.mjs", (False, True), 1
    yield "Java HttpClient", java, "Client.java", (False, True), 1


def curl(base, flags, files, http2=False):
    """curl's story, told by one curl with seven transfers, and the connections it opened.

    With prior knowledge of HTTP/2 it takes seven: curl 7.88 cannot use such a connection twice.
    """
    out = files.folder / "curl"
    out.mkdir(exist_ok=True)
    private = ["-H", "Connection: keep-alive, X-Private", "-H", "X-Private: the-clients-own"]
    private += ["-H", "Keep-Alive: timeout=5", "-H", "TE: trailers"]
    chunked = ["-H", "Transfer-Encoding: chunked"]
    transfers = [
        ("echo", TARGET, [] if http2 else private),
        ("chunked", "/v1/digest", ["--data-binary", f"@{files.part}", *([] if http2 else chunked)]),
        ("upload", "/v1/digest", ["-X", "POST", "-T", files.big, "-H", "Expect:"]),
        ("download", "/files/big", []),
        ("nothing", "/v1/nothing", ["-X", "DELETE"]),
        ("gzip", "/v1/gzip", ["-H", "Accept-Encoding: gzip"]),
        ("head", "/files/big", ["--head"]),
    ]
    calls = []
    told = '{"code": %{response_code}, "connects": %{num_connects}, "version": "%{http_version}"}\\n'
    for name, path, more in transfers:
        (out / name).unlink(missing_ok=True)
        common = ["-sS", "-w", told, "-o", out / name, "-D", out / f"{name}.head"]
        own = ["-H", "Authorization: Bearer the-clients-own"]
        calls.append([*common, *own, *flags, *more, f"{base}{path}"])
    if not http2:
        calls = [[word for call in calls for word in ("--next", *call)][1:]]
    said = [line for call in calls for line in run(["curl", *call]).stdout.splitlines()]
    lines = [json.loads(line) for line in said]
    spoken = {line["version"] for line in lines}
    if spoken != {"2" if http2 else "1.1"}:
        raise RuntimeError(f"curl spoke HTTP/{spoken}")
    read = lambda name: (out / name).read_bytes() if (out / name).exists() else b""
    field = lambda name, wanted: next(
        (line.partition(":")[2].strip()
         for line in (out / f"{name}.head").read_text().splitlines()
         if line.lower().startswith(f"{wanted}:")), None)
    # With --head, curl writes the head it got where a body would go.
    body_of_head = read("head").partition(b"\r\n\r\n")[2]
    return {
        "echo": json.loads(read("echo")),
        "chunked": json.loads(read("chunked")),
        "upload": json.loads(read("upload")),
        "download": sha256(read("download")),
        "nothing": [lines[4]["code"], len(read("nothing"))],
        "gzip": [field("gzip", "content-encoding"), sha256(read("gzip"))],
        "head": [lines[6]["code"], field("head", "content-length"), len(body_of_head)],
    }, None if http2 else sum(line["connects"] for line in lines)
