"""Signed and encrypted messages between the proxy's commands and jwcrypto, which nobody here wrote."""

import json
import subprocess

import jose_wise
from house import House
from jose_wise import ALGORITHMS, Wise, changed, protected

NAME = "jose.wise.test"
CALLS = ["POST jws", "GET jwe", "POST jwe", "POST jwe-direct-encryption", "POST jwsjwe"]


class Site:
    """The proxy's configuration; the proxy itself never runs."""

    def __init__(self, scene):
        self.wise = Wise(scene.authority.server(NAME))
        origin = f"https://{NAME}:{self.wise.port}"
        self.house = House(
            scene.folder / "jose", client=scene.client, secret=jose_wise.CLIENT_SECRET,
            personal="not-used-here", client_id=jose_wise.CLIENT_ID, profile=1, mtls=origin,
            plain=origin, names=[NAME], authority=scene.authority.certificate, http="1.1", lane="oauth",
        )

    def done(self, *words):
        done = self.house.command("jose", *words)
        if done.returncode != 0:
            raise RuntimeError(f"jose {words}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def key(self, name, pem):
        path = self.house.folder / name
        path.write_bytes(pem)
        path.chmod(0o600)
        return path

    def register(self, path, *what):
        return self.done("register", *what, "--key", path)

    def test(self):
        """States and details by call, and what was said."""
        done = self.house.command("jose", "test", "--json")
        report = json.loads(done.stdout)
        calls = {
            call["call"].replace(jose_wise.PLAYGROUND, ""): (call["state"], call["detail"])
            for call in report["calls"]
        }
        return calls, done.stderr

    def with_answers(self, answers):
        self.wise.answers = answers
        try:
            return self.test()
        finally:
            self.wise.answers = protected


def jose(checks, scene):
    with checks.section("JOSE, with jwcrypto"):
        site = Site(scene)
        try:
            both_ways(checks, site)
            refusals(checks, site)
            on_the_way(checks, site)
            checks.equal("jwcrypto itself has done all of that", site.wise.broken, [])
        finally:
            site.wise.stop()


ROUTES = """
[[jose.route]]
match = ["POST /v1/auth/jose/playground/jws"]
method = "jws"
[[jose.route]]
match = ["GET /v1/auth/jose/playground/jwe", "POST /v1/auth/jose/playground/jwe", \
"POST /v1/auth/jose/playground/jwe-direct-encryption"]
method = "jwe"
[[jose.route]]
match = ["POST /v1/auth/jose/playground/jwsjwe"]
method = "jws+jwe"
"""


def on_the_way(checks, site):
    """An application of one line: curl sends plain JSON to the proxy, and jwcrypto takes none."""
    wise, house = site.wise, site.house
    site.register(house.folder / "ours-ES256.key", "--signing", "--algorithm", "ES256")
    with open(house.config, "a") as config:
        config.write(ROUTES)
    house.start(ready="/startupz")
    try:
        def curl(method, call):
            sent = ["--json", '{"message": "plain"}'] if method == "POST" else []
            url = f"http://127.0.0.1:{house.port}{jose_wise.PLAYGROUND}{call}"
            done = subprocess.run(
                ["curl", "-sS", "--max-time", "30", "-w", "\n%{http_code} %{content_type}", *sent, url],
                capture_output=True, text=True, timeout=60,
            )
            body, _, told = done.stdout.rpartition("\n")
            return told, json.loads(body) if body else done.stderr

        for call in CALLS:
            method, name = call.split()
            message = "jose-playground-response-" + ("plain" if method == "POST" else "")
            wanted = "200 application/json", {"message": message, "method": method}
            checks.equal(f"through the proxy, {call}: plain JSON to and fro", curl(method, name), wanted)
        stranger = jose_wise.make_key("ES256")
        for what, answers in (
            ("signed with another key", lambda call, payload: call.sign(payload, key=stranger)),
            ("changed on its way", lambda call, payload: changed(call.sign(payload), 1)),
            ("not signed at all", lambda call, payload: payload),
        ):
            wise.answers = answers
            told, problem = curl("POST", "jws")
            checks.equal(
                f"through the proxy, an answer {what} is not handed on",
                (told, problem["type"]),
                ("502 application/problem+json", "urn:wise-auth-proxy:problem:jose-unverified"),
            )
        wise.answers = protected
        wise.rotate()
        wanted = {"message": "jose-playground-response-plain", "method": "POST"}
        checks.equal("through the proxy, Wise's next keys are fetched", curl("POST", "jwsjwe")[1], wanted)
    finally:
        wise.answers = protected
        house.stop()


def states(calls):
    return {name: state for name, (state, _) in calls.items()}


def both_ways(checks, site):
    """Every algorithm, with keys that we make and with keys that jwcrypto makes."""
    all_well = dict.fromkeys(CALLS, "ok")
    encryption = site.house.folder / "encryption.key"
    site.done("keygen", "--encryption", "--out", encryption)
    site.register(encryption, "--encryption")
    for algorithm in ALGORITHMS:
        ours = site.house.folder / f"ours-{algorithm}.key"
        site.done("keygen", "--signing", algorithm, "--out", ours)
        theirs = jose_wise.make_key(algorithm).export_to_pem(private_key=True, password=None)
        for whose, path in ("ours", ours), ("jwcrypto's", site.key(f"theirs-{algorithm}.key", theirs)):
            kid = site.register(path, "--signing", "--algorithm", algorithm)
            site.wise.seen.clear()
            calls, said = site.test()
            checks.equal(f"{algorithm}, a key of {whose}: all calls are understood both ways", states(calls), all_well)
            signed = [call.header for call in site.wise.seen if "jws" in call.mode]
            checks.equal(
                f"{algorithm}, a key of {whose}: the header says what Wise wants to see",
                signed,
                [
                    {"alg": algorithm, "typ": "JWT", "url": jose_wise.PLAYGROUND + name, "kid": kid}
                    for name in ("jws", "jwsjwe")
                ],
            )
            if states(calls) != all_well:
                print(said)
    theirs = jose_wise.make_key("RSA").export_to_pem(private_key=True, password=None)
    site.register(site.key("theirs-encryption.key", theirs), "--encryption")
    checks.equal("what is encrypted to a key of jwcrypto's is read", states(site.test()[0]), all_well)


def refusals(checks, site):
    """What jwcrypto makes wrong is not handed on, and is called by its name."""
    wise = site.wise
    path = site.house.folder / "ours-ES256.key"
    site.register(path, "--signing", "--algorithm", "ES256")
    forged = "the answer is not verified, and was not looked at"
    closed = "the answer cannot be decrypted with our key"
    other, stranger = jose_wise.make_key("ES256"), jose_wise.make_key("RSA")
    # A public key is no secret: whoever signs with it as if it were one signs nothing (RFC 8725 §2.1).
    public = wise.signing["ES256"].export_to_pem()
    confused = jose_wise.jwk.JWK(kty="oct", k=jose_wise.base64url_encode(public))

    def signed(**how):
        """The payload signed in some other way, on both calls that are signed."""
        return lambda call, payload: (
            call.sign(payload, **how) if call.mode == ["jws"]
            else call.encrypt(call.sign(payload, **how)) if "jws" in call.mode
            else protected(call, payload)
        )

    def touched(part):
        def answers(call, payload):
            if call.mode == ["jws"]:
                return changed(call.sign(payload), part)
            if "jws" in call.mode:
                return call.encrypt(changed(call.sign(payload), part))
            return protected(call, payload)
        return answers

    def unsigned(call, payload):
        if "jws" not in call.mode:
            return protected(call, payload)
        none = jose_wise.base64url_encode(json.dumps({"alg": "none"}))
        bare = f"{none}.{jose_wise.base64url_encode(payload)}.".encode()
        return call.encrypt(bare) if "jwe" in call.mode else bare

    for what, answers, wanted in (
        ("signed with a key that is not Wise's", signed(key=other), forged),
        ("signed with another algorithm's key", signed(algorithm="RS256", key=stranger), forged),
        ("signed with the public key as a secret", signed(algorithm="HS256", key=confused), forged),
        ("not signed, by its own word", unsigned, forged),
        ("with a changed payload", touched(1), forged),
        ("with a changed signature", touched(2), forged),
        ("with a critical header", signed(header={"crit": ["b64"], "b64": False}), "did not come signed"),
    ):
        calls, said = site.with_answers(answers)
        for name in "POST jws", "POST jwsjwe":
            state, detail = calls[name]
            checks.equal(f"{name}: an answer {what} is refused", state, "failed")
            checks.true(f"{name}: an answer {what} is called what it is", wanted in detail, detail)
        checks.equal(f"an answer {what} spoils no other call", calls["POST jwe"][0], "ok")
        checks.true(f"an answer {what} makes a hint", "hint: " in said, said)

    def encrypted(**how):
        return lambda call, payload: (
            protected(call, payload) if call.name not in ("jwe", "jwsjwe")
            else call.encrypt(call.sign(payload) if "jws" in call.mode else payload, **how)
        )

    def tampered(part):
        def answers(call, payload):
            # Nothing stands in the second part of what is encrypted directly.
            if "jwe" not in call.mode or (part == 1 and call.name == "jwe-direct-encryption"):
                return protected(call, payload)
            return changed(protected(call, payload), part)
        return answers

    def plain(call, payload):
        return payload

    unlike = "the answer did not come encrypted as it must, and was not looked at"
    to_us = ["GET jwe", "POST jwe", "POST jwsjwe"]
    direct = ["POST jwe-direct-encryption"]
    for what, answers, names, wanted in (
        ("encrypted to another key", encrypted(key=stranger), to_us, closed),
        ("with a changed text", tampered(3), to_us + direct, closed),
        ("with a changed tag", tampered(4), to_us + direct, closed),
        ("with a changed nonce", tampered(2), to_us + direct, closed),
        ("with a changed content key", tampered(1), to_us, closed),
        ("with an older padding", encrypted(header={"alg": "RSA-OAEP"}), to_us, unlike),
        ("with a shorter content key", encrypted(header={"enc": "A128GCM"}), to_us, unlike),
        ("with another cipher", encrypted(header={"enc": "A256CBC-HS512"}), to_us, unlike),
        ("compressed", encrypted(header={"zip": "DEF"}), to_us, unlike),
        ("without any protection", plain, ["POST jws", *to_us, *direct], "and was not looked at"),
    ):
        calls, _ = site.with_answers(answers)
        for name in names:
            state, detail = calls[name]
            checks.equal(f"{name}: an answer {what} is refused", state, "failed")
            checks.true(f"{name}: an answer {what} is called what it is", wanted in detail, detail)

    # Wise's key changed between two calls: it is fetched once more, and the answer is good.
    def once_rotated(call, payload):
        if call.name == "jws":
            wise.rotate()
        return protected(call, payload)

    calls, _ = site.with_answers(once_rotated)
    checks.equal("a key that Wise changes meanwhile is fetched once more", states(calls), dict.fromkeys(CALLS, "ok"))
    checks.true("and that is said", "fetched once more" in calls["POST jws"][1], calls["POST jws"])
    # The other way round: what jwcrypto cannot verify, Wise refuses, and we say so.
    wise.registered = {
        kid: known for kid, known in wise.registered.items() if known[0] == "PAYLOAD_ENCRYPTION"
    }
    calls, said = site.test()
    checks.true("a signature that jwcrypto does not know is said", "Wise does not take our signature" in calls["POST jws"][1], calls)
    checks.true("with what to do", "jose register --signing" in said, said)
