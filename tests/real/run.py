#!/usr/bin/env python3
"""The proxy between real clients and a real nginx that wants a client certificate.

Needs nginx, haproxy, curl, openssl, node, java, and Python's requests, authlib, flask and jwcrypto. WAP_BIN
names the binary (default: target/debug/wise-auth-proxy). `--keep` leaves the folder with all logs behind,
`--ways` makes the checks of ways.py alone, `--jose` those of jose_checks.py.
Ends with the line "N passed, N failed".
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
NEEDED = "import authlib, flask, jwcrypto, requests"


def with_modules():
    """Starts again under the system's Python if only that one has the modules."""
    for python in (sys.executable, "/usr/bin/python3"):
        probe = [python, "-c", NEEDED]
        if pathlib.Path(python).exists() and subprocess.run(probe, capture_output=True).returncode == 0:
            if python != sys.executable:
                os.execv(python, [python, *sys.argv])
            return
    sys.exit(
        "missing: python3-authlib python3-flask python3-jwcrypto python3-requests; "
        "install them and run this again"
    )


if __name__ == "__main__":
    with_modules()

import edge as edges
import jose_checks
import oauth_server
import origin as origins
import stories
import ways
from checks import Checks
from house import House
from load import Load
from pki import Authority

BIG = 10 * 1024 * 1024


class Scene:
    """Everything that is there before the first check."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder / "ca", "Real CA")
        self.stranger = Authority(folder / "other-ca", "Another CA").client(origins.CLIENT_ID)
        server = self.authority.server(edges.MTLS, edges.PLAIN, edges.OAUTH)
        self.client = self.authority.client(origins.CLIENT_ID)
        self.origin = origins.Origin(edges.MTLS, edges.PLAIN)
        self.oauth = oauth_server.OauthServer()
        self.edge = edges.Edge(
            folder / "nginx", server, self.authority, self.origin.port, self.oauth.port
        )
        big = folder / "nginx/files/big"
        big.write_bytes(os.urandom(BIG))
        self.files = stories.Files(folder, big)
        self.house = House(
            folder / "wise", client=self.client, secret=origins.CLIENT_SECRET,
            personal=origins.PERSONAL_TOKEN, client_id=origins.CLIENT_ID, profile=origins.PROFILE,
            mtls=self.edge.mtls(), plain=self.edge.plain(), names=[edges.MTLS, edges.PLAIN],
            authority=self.authority.certificate, http="1.1", lane="oauth-mtls",
        )

    def expected(self, protocol, pair=None):
        return stories.Expected(
            f"Bearer {self.origin.tokens.access}", f"{edges.MTLS}:{self.edge.mtls_port}",
            protocol, (pair or self.client).serial,
        )

    def direct(self, base, path, pair=None, *more):
        """curl straight to nginx: status and body."""
        port = urllib.parse.urlsplit(base).port
        name = urllib.parse.urlsplit(base).hostname
        certificate = ["--cert", pair.certificate, "--key", pair.key] if pair else []
        done = stories.run([
            "curl", "-sS", "--cacert", self.authority.certificate, "-w", "\n%{response_code}",
            "--resolve", f"{name}:{port}:127.0.0.1", *certificate, *more, f"{base}{path}",
        ])
        body, _, status = done.stdout.decode().rpartition("\n")
        return int(status), body

    def through(self, house, path, *more):
        """curl through a door: status and body."""
        door = f"http://127.0.0.1:{house.port}"
        done = stories.run(["curl", "-sS", "-w", "\n%{response_code}", *more, f"{door}{path}"])
        body, _, status = done.stdout.decode().rpartition("\n")
        return int(status), body


def main():
    keep = "--keep" in sys.argv
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wap-"))
    checks = Checks()
    scene = None
    try:
        with checks.section("the scene"):
            scene = Scene(folder)
        if scene and "--ways" in sys.argv:
            ways.ways_in(checks, scene)
        elif scene and "--jose" in sys.argv:
            jose_checks.jose(checks, scene)
        elif scene:
            act(checks, scene)
    finally:
        if scene:
            scene.house.stop()
            scene.edge.stop()
        if keep:
            print(f"\neverything is in {folder}")
        else:
            shutil.rmtree(folder)
    print(f"\n{checks.total()}")
    return 1 if checks.failed else 0


def act(checks, scene):
    house = scene.house
    with checks.section("login through nginx"):
        login(checks, scene)
    with checks.section("the start"):
        house.start()
        checks.equal("the proxy starts ready, in lane oauth-mtls", house.status()["lane"], "oauth-mtls")
    if house.process is None or house.process.poll() is not None:
        return
    with checks.section("the refusal without the proxy"):
        refusal(checks, scene)
    with checks.section("the doctor"):
        doctor(checks, scene)
    for version, protocol in (("1.1", "HTTP/1.1"), ("2", "HTTP/2.0")):
        with checks.section(f"HTTP/{version} upstream"):
            house.set_http(version)
            done = house.command("reload")
            checks.equal(f"a reload to upstream.http = {version} succeeds", done.returncode, 0)
        every_client(checks, scene, version, scene.expected(protocol))
        with checks.section(f"one upstream connection, HTTP/{version}"):
            one_connection(checks, scene)
    with checks.section("Expect: 100-continue"):
        expect_continue(checks, scene)
    with checks.section("a token refresh under load"):
        refresh(checks, scene)
    with checks.section("a new client certificate under load"):
        certificate(checks, scene)
    with checks.section("personal and back under load"):
        switch(checks, scene)
    with checks.section("a certificate that nginx refuses"):
        rejected(checks, scene)
    with checks.section("an OAuth server nobody here wrote"):
        authlib(checks, scene)
    with checks.section("an application that runs its own OAuth"):
        own_oauth(checks, scene)
    ways.ways_in(checks, scene)
    jose_checks.jose(checks, scene)
    with checks.section("the end"):
        checks.equal("SIGTERM ends the proxy with exit code 0", house.stop(), 0)
        secrets(checks, scene)


def own_oauth(checks, scene):
    """A door of a caller's own that answers /oauth/token; the last act but the end, for it restarts."""
    house, old = scene.house, "01234567-89ab-cdef-0123-456789abcdef"
    port = house.add_door("stand_in = true")
    done = house.command("caller", "add", "shop", "--door", f"127.0.0.1:{port}")
    checks.equal("caller add succeeds", outcome(done)[:4], "done")
    key = done.stdout.strip()
    checks.equal("the door is opened by a restart", house.restart(), 0)
    exchanges = len(scene.origin.tokens.exchanges)
    done = stories.run([sys.executable, stories.CLIENTS / "with_own_oauth.py", f"http://127.0.0.1:{port}", key, old])
    story = json.loads(done.stdout)
    ours = f"Bearer {scene.origin.tokens.access}"
    for what in ("client_secret_basic", "client_secret_post", "refresh", "again"):
        kind, life, begins, echo = story[what]
        checks.equal(f"Authlib, {what}: a token of the door's", [kind, life, begins], ["bearer", 43200, "wap_at_"])
        sent = [value for name, value in echo["headers"] if name.lower() == "authorization"]
        checks.equal(f"Authlib, {what}: Wise gets the proxy's token", sent, [ours])
    checks.equal("Authlib with a wrong secret hears invalid_client", story["wrong"], "invalid_client")
    checks.equal("requests with the key in the base URL, and without", story["userinfo"], [200, 200, 407])
    new = scene.origin.tokens.exchanges[exchanges:]
    checks.equal("nothing of it reached the token endpoint", new, [])
    log, end = house.folder / "access.log", time.monotonic() + 10
    while "caller=shop" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)  # Lines come in batches.
    said = log.read_text()
    checks.true("the access log names the caller", "caller=shop" in said)
    checks.true("and no key and no token", key not in said and "wap_" not in said)


def outcome(done):
    """How a command ended: `done`, or what it complained of."""
    return "done" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr}"


def login(checks, scene):
    tokens = scene.origin.tokens
    wrong = scene.house.command("login", "--code", "made-up", "--redirect-uri", origins.REDIRECT)
    checks.true("a code that nobody gave is refused", wrong.returncode != 0, wrong.stderr)
    done = scene.house.command("login", "--code", tokens.code(), "--redirect-uri", origins.REDIRECT)
    checks.equal("login exchanges the code", outcome(done), "done")
    checks.equal("both codes took one exchange each", tokens.exchanges, ["authorization_code"] * 2)
    said = done.stdout + done.stderr
    checks.true("login shows the profile", str(origins.PROFILE) in said, said)
    checks.true("login shows no token", tokens.access not in said and tokens.refresh not in said, said)


def refusal(checks, scene):
    token = ["-H", f"Authorization: Bearer {scene.origin.tokens.access}"]
    mtls, client = scene.edge.mtls(), scene.client
    status, body = scene.direct(mtls, "/v1/me", None, *token)
    refused = (status, "No required SSL certificate was sent" in body)
    checks.equal("nginx refuses a request without a certificate", refused, (400, True))
    status, body = scene.direct(mtls, "/v1/me", scene.stranger, *token)
    refused = (status, "The SSL certificate error" in body)
    checks.equal("nginx refuses a stranger's certificate", refused, (400, True))
    checks.equal("the certificate without the token is a 401", scene.direct(mtls, "/v1/me", client)[0], 401)
    wrong = ["-H", "Host: elsewhere.test", *token]
    checks.equal("another Host is a 421", scene.direct(mtls, "/v1/me", client, *wrong)[0], 421)
    checks.equal("with all of them it passes", scene.direct(mtls, "/v1/me", client, *token)[0], 200)
    checks.equal("through the proxy a plain request passes", scene.through(scene.house, "/v1/me")[0], 200)
    foreign = ["-x", f"http://127.0.0.1:{scene.house.port}"]
    done = stories.run(["curl", "-s", "-o", "/dev/null", "-w", "%{response_code}", *foreign, "http://elsewhere.test/"])
    checks.equal("the proxy is no way to other hosts", done.stdout, b"403")


def examined(scene):
    """What doctor says, check by check."""
    done = scene.house.command("doctor", "--json")
    return {check["id"]: check for check in json.loads(done.stdout)["checks"]}


def doctor(checks, scene):
    said = examined(scene)
    state = {name: check["state"] for name, check in said.items()}
    well = ["tls.plain", "tls.mtls", "clock.wise", "certificate.accepted", "grant.main.accepted", "door.0", "door.1"]
    checks.equal("it finds nginx as it is", {name: state[name] for name in well}, dict.fromkeys(well, "good"))
    facts = said["tls.mtls"]["facts"]
    checks.equal("nginx asks for a certificate", facts["asks_for_certificate"], True)
    checks.true("and its chain is told", "Real CA" in facts["chain"][0]["issuer"], facts["chain"])
    checks.equal("nobody's token was refreshed for it", scene.origin.tokens.exchanges.count("refresh_token"), 0)


def every_client(checks, scene, version, expected):
    house, files, api = scene.house, scene.files, edges.MTLS
    for name, command, file, modes, most in stories.programs():
        for through_proxy in modes:
            who = f"{name} {'as http_proxy' if through_proxy else 'by base URL'}, HTTP/{version} upstream"
            with checks.section(who):
                told = stories.program(file, command, house.port, files, api, through_proxy)
                stories.tell(checks, who, *told, files, expected, most)
    door = f"http://127.0.0.1:{house.port}"
    ways = [
        ("curl by base URL", door, [], False),
        ("curl as http_proxy", f"http://{api}", ["-x", f"http://caller:the-clients-own@127.0.0.1:{house.port}"], False),
        ("curl with HTTP/2 prior knowledge", door, ["--http2-prior-knowledge"], True),
        ("curl over the unix socket", "http://localhost", ["--unix-socket", house.socket], False),
    ]
    for name, base, flags, http2 in ways:
        who = f"{name}, HTTP/{version} upstream"
        with checks.section(who):
            stories.tell(checks, who, *stories.curl(base, flags, files, http2), files, expected)


def one_connection(checks, scene):
    # Those that lie ready are dialled by themselves.
    scene.house.set_warm(0)
    done = scene.house.command("reload")
    checks.equal("a reload to no spares succeeds", done.returncode, 0)
    url = f"http://127.0.0.1:{scene.house.port}/v1/echo"
    before = scene.house.metric("wise_proxy_upstream_dials_total")
    stories.run(["curl", "-sSf", "-o", "/dev/null", f"{url}?n=[1-50]"])
    dials = scene.house.metric("wise_proxy_upstream_dials_total") - before
    checks.true("fifty requests on one connection dial at most once", dials <= 1, dials)
    scene.house.set_warm(1)
    scene.house.command("reload")


def expect_continue(checks, scene):
    for version in ("1.1", "2"):
        scene.house.set_http(version)
        scene.house.command("reload")
        url = f"http://127.0.0.1:{scene.house.port}/v1/digest"
        wait = ["-H", "Expect: 100-continue", "--expect100-timeout", "30"]
        done = stories.run(["curl", "-sSv", *wait, "-X", "POST", "-T", scene.files.big, url])
        heads = [line for line in done.stderr.decode().splitlines() if line.startswith("< HTTP/")]
        heads = [line.split()[2] for line in heads]
        checks.equal(f"curl is told to go on, HTTP/{version} upstream", heads, ["100", "200"])
        checks.true("the upload arrives whole", scene.files.digest in done.stdout.decode(), done.stdout)


def refresh(checks, scene):
    tokens = scene.origin.tokens
    old, exchanges = tokens.access, len(tokens.exchanges)
    with Load(scene.house.port) as load:
        load.wait_for(lambda echo: echo["authorization"] == f"Bearer {old}")
        done = scene.house.command("token", "refresh", "main")
        checks.equal("token refresh succeeds", outcome(done), "done")
        new = f"Bearer {tokens.access}"
        seen = load.wait_for(lambda echo: echo["authorization"] == new)
        checks.true("requests carry the new token", seen and tokens.access != old)
    checks.equal("it took one exchange", tokens.exchanges[exchanges:], ["refresh_token"])
    checks.equal("no request failed", load.failures, [])


def certificate(checks, scene):
    old, fresh = scene.client.serial, scene.authority.client(origins.CLIENT_ID)
    new = fresh.serial
    with Load(scene.house.port) as load:
        load.wait_for(lambda echo: echo["x-edge-serial"] == old)
        scene.house.install(fresh)
        scene.house.hang_up()
        seen = load.wait_for(lambda echo: echo["x-edge-serial"] == new)
        checks.true("nginx sees the new certificate", seen)
        more = len(load.echoes) + 200
        load.wait_for(lambda _: len(load.echoes) >= more)
    serials = [echo["x-edge-serial"] for echo in load.echoes]
    checks.equal("nobody else's certificate was shown", set(serials), {old, new})
    # Four requests were on their way; theirs may still tell of the old one.
    first = serials.index(new)
    checks.true("the old one ends with what was on its way", old not in serials[first + 4:], serials[first:])
    checks.equal("no request failed", load.failures, [])
    found = scene.house.status()["certificate"]["serial"].replace(":", "").upper()
    checks.equal("status shows the new serial", found.lstrip("0"), new.lstrip("0"))
    scene.client = fresh


def switch(checks, scene):
    live, personal = f"Bearer {scene.origin.tokens.access}", f"Bearer {origins.PERSONAL_TOKEN}"
    with Load(scene.house.port) as load:
        for lane, server, token in (
            ("personal", edges.PLAIN, personal), ("oauth", edges.PLAIN, live), ("oauth-mtls", edges.MTLS, live),
        ):
            done = scene.house.command("switch", lane, "--reason", "a rehearsal")
            checks.equal(f"switch {lane} succeeds", outcome(done), "done")
            arrived = lambda echo: (echo["x-edge-server"], echo["authorization"]) == (server, token)
            checks.true(f"requests travel in lane {lane}", load.wait_for(arrived))
            checks.equal(f"status says {lane}", scene.house.status()["lane"], lane)
    lanes = {(echo["x-edge-server"], echo["authorization"], echo.get("x-edge-serial")) for echo in load.echoes}
    whole = {
        (edges.PLAIN, personal, None), (edges.PLAIN, live, None), (edges.MTLS, live, scene.client.serial),
    }
    checks.equal("every request was wholly in one lane", lanes, whole)
    checks.equal("no request failed", load.failures, [])


def rejected(checks, scene):
    """nginx judges after the handshake and says so in HTTP: it is Wise's answer, and passes as such."""
    house, good = scene.house, scene.authority.client(origins.CLIENT_ID)
    revoked = scene.authority.client(origins.CLIENT_ID)
    scene.authority.revoke(revoked)
    scene.edge.reload()
    for what, pair in (("a stranger's", scene.stranger), ("a revoked", revoked)):
        house.install(pair)
        checks.equal(f"a reload to {what} certificate succeeds", outcome(house.command("reload")), "done")
        before = scene.origin.arrived
        status, body = scene.through(house, "/v1/me", "-i", "-d", "{}")
        seen = (status, "The SSL certificate error" in body, "proxy-status" in body.lower())
        checks.equal(f"nginx's 400 to {what} certificate passes untouched", seen, (400, True, False))
        checks.equal("and nothing arrived behind nginx", scene.origin.arrived, before)
        said = examined(scene)["certificate.accepted"]
        told = (said["state"], said["text"].startswith("the edge says 400"))
        checks.equal(f"doctor says that nginx refuses {what} certificate", told, ("failed", True))
    house.install(good)
    checks.equal("a reload to a good one succeeds", outcome(house.command("reload")), "done")
    checks.equal("and it serves again", scene.through(house, "/v1/me")[0], 200)


def authlib(checks, scene):
    base, books = scene.edge.mtls(edges.OAUTH), scene.oauth.books
    client = scene.authority.client(oauth_server.CLIENT_ID)
    house = House(
        scene.folder / "authlib", client=client, secret=oauth_server.CLIENT_SECRET, personal="unused",
        client_id=oauth_server.CLIENT_ID, profile=oauth_server.PROFILE, mtls=base, plain=base,
        names=[edges.OAUTH], authority=scene.authority.certificate, http="auto", lane="oauth-mtls",
    )
    query = urllib.parse.urlencode({
        "response_type": "code", "client_id": oauth_server.CLIENT_ID,
        "redirect_uri": oauth_server.REDIRECT, "state": "a state",
    })
    where = ["-o", "/dev/null", "-w", "%{redirect_url}\n%{response_code}"]
    status, redirect = scene.direct(base, f"/oauth/authorize?{query}", client, *where)
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(redirect).query)["code"][0]
    log_in = ["login", "--code", code, "--redirect-uri", oauth_server.REDIRECT]
    done = house.command(*log_in)
    checks.equal("login exchanges a code of Authlib's", outcome(done), "done")
    try:
        house.start()
        grant = lambda *more: scene.through(house, *more)
        first = books.tokens[-1]
        checks.equal("its token passes", grant("/v1/grant"), (200, '{"grant_type":"authorization_code"}\n'))
        done = house.command("token", "refresh", "main")
        checks.equal("token refresh succeeds", outcome(done), "done")
        checks.equal("the refreshed token passes", grant("/v1/grant"), (200, '{"grant_type":"refresh_token"}\n'))
        old = ["-H", f"Authorization: Bearer {first.access_token}"]
        checks.equal("the one before is dead", scene.direct(base, "/v1/grant", client, *old)[0], 401)
        done = house.command("token", "refresh", "main")
        checks.equal("the rotated refresh token serves the next", done.returncode, 0)
        checks.equal("and its token passes", grant("/v1/grant")[0], 200)
        partner = ["-H", "Content-Type: application/json", "-d", '{"email":"ada@example.com"}']
        answer = grant("/v1/users/exists", *partner)
        checks.equal("what only the partner may call carries client credentials", answer, (200, '{"grant_type":"client_credentials"}\n'))
        again = house.command(*log_in)
        checks.true("a code cannot be used again", again.returncode != 0, again.stderr)
        checks.equal("and the grant lives on", grant("/v1/grant")[0], 200)
        issued = [token.grant_type for token in books.tokens]
        wanted = ["authorization_code", "client_credentials", "refresh_token", "refresh_token"]
        checks.equal("one exchange for each token", sorted(issued), wanted)
    finally:
        checks.equal("SIGTERM ends it with exit code 0", house.stop(), 0)


def secrets(checks, scene):
    tokens = scene.origin.tokens
    markers = {
        "access token": tokens.access, "refresh token": tokens.refresh,
        "client secret": origins.CLIENT_SECRET, "personal token": origins.PERSONAL_TOKEN,
        "client's own": "the-clients-own",
    }
    logs = [scene.house.folder / "log", scene.house.folder / "access.log"]
    text = "".join(path.read_text() for path in logs)
    checks.true("the logs have lines", len(text.splitlines()) > 100, text)
    found = [name for name, value in markers.items() if value in text]
    checks.equal("no log holds a secret", found, [])


if __name__ == "__main__":
    sys.exit(main())
