"""Every way in besides a base URL: CONNECT under Wise's own name, TLS doors, balancers in front.

The applications say `https://api.wise.test:PORT`, a name that no name server knows: whoever gets an
answer got it through the proxy.
"""

import json
import os
import pathlib
import shutil
import subprocess

import edge as edges
import origin as origins
from edge import free_port
from house import BINARY, House
from stories import CLIENTS, run

KEY = "planted-key-of-a-caller"
PASSWORD = "changeit"

DOORS = """
[[door]]
address = "127.0.0.1:{open}"
connect = true
[[door]]
address = "127.0.0.1:{asking}"
connect = true
callers = ["application"]
[[door]]
address = "127.0.0.1:{tls}"
tls = {{ certificate = "door.pem", key = "door.key", client_ca = "{authority}" }}
[[door]]
address = "127.0.0.1:{balanced}"
proxy_protocol = true
[[door]]
address = "127.0.0.1:{keyed}"
callers = ["application"]
[[caller]]
name = "application"
key = {{ file = "door_key" }}
[audit]
file = "{audit}"
"""

HAPROXY = """\
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen first
  bind 127.0.0.1:{first}
  server proxy 127.0.0.1:{door} send-proxy
listen second
  bind 127.0.0.1:{second}
  server proxy 127.0.0.1:{door} send-proxy-v2
"""


class Ways:
    """A proxy with a door for each way in, in lane personal."""

    def __init__(self, scene):
        self.folder = scene.folder / "ways"
        self.url = f"{scene.edge.plain()}/v1/me"
        self.client = scene.authority.client("payroll")
        self.authority = scene.authority.certificate
        self.house = House(
            self.folder, client=self.client, secret=origins.CLIENT_SECRET,
            personal=origins.PERSONAL_TOKEN, client_id=origins.CLIENT_ID, profile=origins.PROFILE,
            mtls=scene.edge.mtls(), plain=scene.edge.plain(), names=[edges.MTLS, edges.PLAIN],
            authority=self.authority, http="1.1", lane="personal",
        )
        door = scene.authority.server("localhost")
        for name, source in (("door.key", door.key), ("door.pem", door.certificate)):
            (self.folder / name).write_bytes(source.read_bytes())
            (self.folder / name).chmod(0o600)
        self.house._secret("door_key", KEY)
        self.ports = {name: free_port() for name in ("open", "asking", "tls", "balanced", "keyed")}
        self.audit = self.folder / "audit.log"
        with open(self.house.config, "a") as config:
            config.write(DOORS.format(authority=self.authority, audit=self.audit, **self.ports))
        self.ca = self.folder / "exported.pem"

    def proxy(self, door, user=""):
        return f"http://{user}127.0.0.1:{self.ports[door]}"


def environment(**more):
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **more}


def ways_in(checks, scene):
    ways = Ways(scene)
    house = ways.house
    try:
        with checks.section("the local authority"):
            authority(checks, ways)
        with checks.section("the start with every way in"):
            house.start()
            checks.equal("it serves", scene.through(house, "/v1/me")[0], 200)
        for name, client in clients(ways):
            with checks.section(f"https_proxy: {name}"):
                checks.equal(f"{name} reaches Wise by its own name", client("open", ""), "200")
                checks.equal(f"{name} with Proxy-Authorization", client("asking", f"x:{KEY}@"), "200")
        for platform, script, expected in printed(ways):
            with checks.section(f"what `ca export --for {platform}` prints"):
                done = run(["sh", "-ec", script], cwd=ways.folder, env=ways.printed)
                checks.equal(f"its lines for {platform} reach Wise", done.stdout.decode().split(), expected)
        with checks.section("https_proxy: who must not"):
            strangers(checks, ways)
        with checks.section("a key in the base URL"):
            keyed(checks, ways)
        with checks.section("a unix door"):
            done = run(["/usr/bin/python3", CLIENTS / "unix.py", house.socket, "/v1/me"], env=environment())
            checks.equal("Python http.client over it", done.stdout.decode().strip(), "200")
        with checks.section("a TLS door with client certificates"):
            tls_door(checks, ways)
        with checks.section("HAProxy in front"):
            clients_behind = balanced(checks, ways)
            # At an orderly stop all of the record is written.
            house.stop()
            lines = [json.loads(line) for line in ways.audit.read_text().splitlines()]
            door = f"127.0.0.1:{ways.ports['balanced']}"
            peers = [line["peer"] for line in lines if line["kind"] == "request" and line["door"] == door]
            # Each worker hands over its own.
            checks.equal("the record names the clients, and not HAProxy", sorted(peers), sorted(clients_behind))
        with checks.section("nothing of it is told"):
            said = "".join((ways.folder / name).read_text() for name in ("log", "access.log", "audit.log"))
            for what, secret in (("key", KEY), ("personal token", origins.PERSONAL_TOKEN)):
                checks.true(f"no log and no record holds the {what}", secret not in said)
    finally:
        checks.equal("SIGTERM ends it with exit code 0", house.stop(), 0)


def authority(checks, ways):
    house = ways.house
    missing = subprocess.run(
        [BINARY, "run", "--config", house.config], capture_output=True, text=True, timeout=60
    )
    hint = "ca init" in missing.stderr and missing.returncode != 0
    checks.true("without an authority the start says `ca init`", hint, missing.stderr)
    made = house.command("ca", "init")
    checks.equal("ca init makes one", (made.returncode, made.stdout), (0, ""))
    again = house.command("ca", "init")
    checks.true("and never a second one by itself", again.returncode != 0, again.stderr)
    done = house.command("ca", "export", "--out", ways.ca, "--for", "java")
    checks.true("ca export says how", "keytool -importcert" in done.stderr, done.stderr)
    text = run(["openssl", "x509", "-in", ways.ca, "-noout", "-text"]).stdout.decode()
    for what in ("Name Constraints: critical", f"DNS:{edges.PLAIN}", f"DNS:{edges.MTLS}", "pathlen:0"):
        checks.true(f"openssl reads in it: {what}", what in text, text)


def clients(ways):
    """Each as a name and a function of door and `user:key@` that returns the status it got."""
    trust = ways.folder / "wise-truststore"

    def curl(door, user, *more):
        told = "%{response_code}"
        return run(
            ["curl", "-sS", "-o", "/dev/null", "-w", told, "--cacert", ways.ca, *more, ways.url],
            env=environment(https_proxy=ways.proxy(door, user)),
        ).stdout.decode()

    def python(kind):
        def client(door, user):
            command = ["/usr/bin/python3", CLIENTS / "tunnel.py", kind, ways.url]
            own = {"REQUESTS_CA_BUNDLE": str(ways.ca), "SSL_CERT_FILE": str(ways.ca)}
            return run(command, env=environment(HTTPS_PROXY=ways.proxy(door, user), **own)).stdout.decode().strip()
        return client

    def node(door, user):
        own = {"NODE_EXTRA_CA_CERTS": str(ways.ca), "HTTPS_PROXY": ways.proxy(door, user)}
        return run(["node", CLIENTS / "tunnel.mjs", ways.url], env=environment(**own)).stdout.decode().strip()

    def java(kind):
        def client(door, user):
            if not trust.exists():
                run(["keytool", "-importcert", "-noprompt", "-alias", "wise-auth-proxy", "-file", ways.ca,
                     "-keystore", trust, "-storepass", PASSWORD])
            return run([
                "java", f"-Djavax.net.ssl.trustStore={trust}", f"-Djavax.net.ssl.trustStorePassword={PASSWORD}",
                "-Dhttps.proxyHost=127.0.0.1", f"-Dhttps.proxyPort={ways.ports[door]}",
                "-Djdk.http.auth.tunneling.disabledSchemes=",
                CLIENTS / "Tunnel.java", kind, ways.url, user.rstrip("@"),
            ]).stdout.decode().strip()
        return client

    yield "curl", curl
    yield "curl, HTTP/1.1 inside", lambda door, user: curl(door, user, "--http1.1")
    yield "curl, asked for the key", lambda door, user: curl(door, user, "--proxy-anyauth")
    for kind in ("requests", "urllib", "http.client"):
        yield f"Python {kind}", python(kind)
    yield "Node https.Agent", node
    yield "Java HttpClient", java("HttpClient")
    yield "Java HttpsURLConnection", java("HttpsURLConnection")


def printed(ways):
    """For each platform the commands that `ca export` prints, with our clients in the applications' place."""
    java_home = pathlib.Path(shutil.which("java")).resolve().parents[1]
    ways.printed = environment(JAVA_HOME=str(java_home)) | {"PATH": f"{java_home}/bin:/usr/bin:{os.environ['PATH']}"}
    quiet = "-sS -o /dev/null -w '%{response_code}\\n'"
    told = {}
    for platform in ("curl", "python", "java"):
        done = ways.house.command("ca", "export", "--out", ways.ca, "--for", platform)
        # The first line says where the certificate is.
        told[platform] = [line for line in done.stderr.splitlines()[1:] if not line.startswith("#")]

    call, variables = told["curl"]
    call = call.replace("/v1/profiles", "/v1/me")
    yield "curl", f"{call} {quiet}\n{variables}\ncurl {quiet} {ways.url}", ["200", "200"]
    bundle, *commands = told["python"]
    kinds = zip(commands, ("requests", "urllib"), strict=True)
    commands = [line.replace("app.py", f"{CLIENTS}/tunnel.py {kind} {ways.url}") for line, kind in kinds]
    yield "python", "\n".join([bundle, *commands]), ["200", "200"]
    script = "\n".join(told["java"])
    runs = [script.replace("…", f"{CLIENTS}/Tunnel.java HttpClient {ways.url} ''")]
    runs.append(runs[0].splitlines()[-1].replace(" HttpClient ", " HttpsURLConnection "))
    yield "java", "\n".join(runs), ["200", "200"]


def keyed(checks, ways):
    status = ["curl", "-sS", "-o", "/dev/null", "-w", "%{response_code}"]
    for what, user, expected in (("its key", f"x:{KEY}@", "200"), ("a wrong key", "x:wrong@", "407"), ("none", "", "407")):
        url = f"http://{user}127.0.0.1:{ways.ports['keyed']}/v1/me"
        checks.equal(f"curl with {what}", run([*status, url], env=environment()).stdout.decode(), expected)


def strangers(checks, ways):
    quiet = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_connect} %{response_code}"]
    done = lambda door, url, *more, user="": subprocess.run(
        [*quiet, *map(str, more), url], capture_output=True, text=True, timeout=60,
        env=environment(https_proxy=ways.proxy(door, user)),
    )
    trusting = ["--cacert", ways.ca]
    checks.equal("curl that does not trust the authority", done("open", ways.url).returncode, 60)
    checks.equal("another host", done("open", "https://example.com/", *trusting).stdout, "403 000")
    checks.equal("another port", done("open", f"https://{edges.PLAIN}:22/", *trusting).stdout, "403 000")
    checks.equal("no key", done("asking", ways.url, *trusting).stdout, "407 000")
    wrong = done("asking", ways.url, *trusting, user="x:wrong@")
    checks.equal("a wrong key", wrong.stdout, "407 000")


def tls_door(checks, ways):
    url = f"https://localhost:{ways.ports['tls']}/v1/me"
    certificate = ["--cert", ways.client.certificate, "--key", ways.client.key]
    for version, flag in (("2", "--http2"), ("1.1", "--http1.1")):
        done = run([
            "curl", "-sS", "-o", "/dev/null", "-w", "%{response_code} %{http_version}", flag,
            "--cacert", ways.authority, *certificate, url,
        ], env=environment())
        checks.equal(f"curl with a certificate, HTTP/{version}", done.stdout.decode(), f"200 {version}")
    bare = subprocess.run(
        ["curl", "-sS", "--cacert", ways.authority, url], capture_output=True, env=environment()
    )
    checks.true("curl without one is refused", bare.returncode != 0, bare.stdout)
    plain = run(["curl", "-sS", url.replace("https:", "http:")], env=environment()).stdout.decode()
    checks.true("curl without TLS is told so", "say https:// instead of http://" in plain, plain)
    command = ["/usr/bin/python3", CLIENTS / "tunnel.py", "requests", url, ways.client.certificate, ways.client.key]
    done = run(command, env=environment(REQUESTS_CA_BUNDLE=str(ways.authority)))
    checks.equal("requests with a certificate", done.stdout.decode().strip(), "200")

    command = ["node", CLIENTS / "tls.mjs", url, ways.client.certificate, ways.client.key]
    done = run(command, env=environment(NODE_EXTRA_CA_CERTS=str(ways.authority)))
    checks.equal("Node https with a certificate", done.stdout.decode().strip(), "200")

    store, trust = ways.folder / "client.p12", ways.folder / "door-truststore"
    run(["openssl", "pkcs12", "-export", "-in", ways.client.certificate, "-inkey", ways.client.key,
         "-out", store, "-passout", f"pass:{PASSWORD}"])
    run(["keytool", "-importcert", "-noprompt", "-alias", "door", "-file", ways.authority,
         "-keystore", trust, "-storepass", PASSWORD])
    for kind in ("HttpClient", "HttpsURLConnection"):
        done = run([
            "java", f"-Djavax.net.ssl.trustStore={trust}", f"-Djavax.net.ssl.trustStorePassword={PASSWORD}",
            f"-Djavax.net.ssl.keyStore={store}", f"-Djavax.net.ssl.keyStorePassword={PASSWORD}",
            "-Djavax.net.ssl.keyStoreType=PKCS12", CLIENTS / "Tunnel.java", kind, url, "",
        ])
        checks.equal(f"Java {kind} with a certificate", done.stdout.decode().strip(), "200")


def balanced(checks, ways):
    """The addresses of the clients that came through it."""
    peers = []
    ports = {"first": free_port(), "second": free_port()}
    config = ways.folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(door=ways.ports["balanced"], **ports))
    process = subprocess.Popen(["haproxy", "-q", "-db", "-f", config])
    try:
        for version, port in (("1", ports["first"]), ("2", ports["second"])):
            url = f"http://127.0.0.1:{port}/v1/me"
            status, client = patiently(url)
            checks.equal(f"through PROXY protocol version {version}", status, "200")
            peers.append(client)
    finally:
        process.terminate()
        process.wait(10)
    straight = f"http://127.0.0.1:{ways.ports['balanced']}/v1/me"
    done = subprocess.run(["curl", "-sS", straight], capture_output=True, env=environment())
    checks.true("without a header nobody comes in", done.returncode != 0, done.stdout)
    return peers


def patiently(url):
    """curl's status and its own address, once somebody listens there."""
    told = "%{response_code} %{local_ip}:%{local_port}"
    retry = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
    done = run(["curl", "-sS", "-o", "/dev/null", "-w", told, *retry, url], env=environment())
    return done.stdout.decode().split()
