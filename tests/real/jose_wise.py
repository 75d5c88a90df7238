"""A Wise that signs and encrypts with jwcrypto: the token endpoint, the calls about keys, the playground.

What it does wrong is chosen by `Wise.answers`, a function that makes an answer's body.
"""

import base64
import http.server
import json
import secrets
import ssl
import threading
import traceback
import urllib.parse

from jwcrypto import jwe, jwk, jws
from jwcrypto.common import base64url_decode, base64url_encode

from oauth_server import CLIENT_SECRET

CLIENT_ID = "acme-at-jwcrypto"
KEYS = "/v1/auth/jose/response/public-keys"
REGISTRATION = "/v1/auth/jose/request/public-keys"
PLAYGROUND = "/v1/auth/jose/playground/"
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
ALGORITHMS = [*CURVES, "PS256", "PS384", "PS512"]


def make_key(algorithm):
    if algorithm in CURVES:
        return jwk.JWK.generate(kty="EC", crv=CURVES[algorithm])
    return jwk.JWK.generate(kty="RSA", size=2048)


def public_der(key):
    """The SubjectPublicKeyInfo in base64, as Wise's API carries it."""
    lines = key.export_to_pem().decode().strip().splitlines()
    return "".join(lines[1:-1])


def from_der(text):
    pem = f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"
    return jwk.JWK.from_pem(pem.encode())


class Refused(Exception):
    """An answer with a status of its own."""

    def __init__(self, status, body):
        super().__init__(body)
        self.status, self.body = status, body


class Wise:
    """One per scene. Keys that sign are made once for each algorithm; `rotate` makes the next ones."""

    def __init__(self, pair):
        self.signing, self.version = {}, 0
        self.rotate()
        self.encryption = make_key("RSA")
        self.registered = {}
        self.token = secrets.token_hex(24)
        self.seen = []
        self.broken = []
        self.answers = protected
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def rotate(self):
        self.signing = {algorithm: make_key(algorithm) for algorithm in ALGORITHMS}
        self.version += 1

    def answer(self, method, target, headers, body):
        """Status, media type and body."""
        path, _, query = target.partition("?")
        if path == "/oauth/token":
            wanted = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
            if headers.get("Authorization") != f"Basic {wanted}":
                raise Refused(401, {"error": "invalid_client"})
            return 200, {"access_token": self.token, "token_type": "bearer", "expires_in": 43199}
        if headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, {"error": "invalid_token"})
        if (method, path) == ("GET", KEYS):
            return 200, self.published(dict(urllib.parse.parse_qsl(query)))
        if (method, path) == ("POST", REGISTRATION):
            return 201, self.register(json.loads(body))
        if path.startswith(PLAYGROUND):
            return self.play(method, path, headers, body)
        raise Refused(404, {"error": "not_found"})

    def published(self, asked):
        if asked["scope"] == "PAYLOAD_SIGNING":
            key = self.signing[asked["algorithm"]]
        else:
            key = self.encryption
        material = {"algorithm": asked["algorithm"], "keyMaterial": public_der(key)}
        return {"version": self.version, "keyMaterial": material, "scope": asked["scope"]}

    def register(self, asked):
        material = asked["publicKeyMaterial"]
        self.registered[asked["keyId"]] = (
            asked["scope"], material["algorithm"], from_der(material["keyMaterial"])
        )
        return {**asked, "clientId": None, "deactivationTimestamp": None}

    def play(self, method, path, headers, body):
        mode = headers.get("X-TW-JOSE-Method", "")
        call = Call(self, method, path, mode.split("+"), headers.get("X-TW-JOSE-Encryption-kid"))
        if method == "POST":
            call.read(body)
        self.seen.append(call)
        payload = json.dumps({"message": f"jose-playground-response-{call.message}", "method": method})
        return 200, self.answers(call, payload.encode())


class Call:
    """A request of the playground, and what its answer is protected with."""

    def __init__(self, wise, method, path, mode, kid):
        self.wise, self.method, self.path, self.mode, self.kid = wise, method, path, mode, kid
        self.message, self.algorithm, self.header, self.content_key = "", None, None, None

    @property
    def name(self):
        return self.path.removeprefix(PLAYGROUND)

    def read(self, body):
        text = body.decode()
        if "jwe" in self.mode:
            text = self.decrypted(text)
        if "jws" in self.mode:
            text = self.verified(text)
        self.message = json.loads(text)["message"]

    def decrypted(self, text):
        message = jwe.JWE()
        try:
            message.deserialize(text, key=self.wise.encryption)
        except jwe.InvalidJWEData as error:
            raise Refused(500, {"message": "An unexpected error occurred", "cause": repr(error)})
        header = json.loads(message.objects["protected"])
        assert (header["alg"], header["enc"]) == ("RSA-OAEP-256", "A256GCM"), header
        self.content_key = message.cek
        return message.payload.decode()

    def verified(self, text):
        message = jws.JWS()
        message.deserialize(text)
        self.header = json.loads(message.objects["protected"])
        scope, self.algorithm, key = self.wise.registered.get(self.header.get("kid"), (None,) * 3)
        try:
            if scope != "PAYLOAD_SIGNING" or self.header["alg"] != self.algorithm:
                raise jws.InvalidJWSSignature("no such key")
            message.verify(key, alg=self.algorithm)
        except jws.InvalidJWSSignature:
            said = "Unable to verify the request signature"
            raise Refused(400, {"error": "jws_error", "error_description": said})
        assert self.header["url"] == self.path, self.header
        return message.payload.decode()

    def sign(self, payload, key=None, header=None, algorithm=None):
        algorithm = algorithm or self.algorithm
        message = jws.JWS(payload)
        message.allowed_algs = ["HS256", "RS256", *ALGORITHMS]
        protected_header = {"version": self.wise.version, "alg": algorithm, **(header or {})}
        key = key or self.wise.signing[algorithm]
        message.add_signature(key, algorithm, protected=json.dumps(protected_header))
        return message.serialize(compact=True).encode()

    def encrypt(self, payload, key=None, header=None):
        """To the client's key, or directly with the request's content key."""
        if self.name == "jwe-direct-encryption":
            recipient = jwk.JWK(kty="oct", k=base64url_encode(self.content_key))
            protected_header = {"enc": "A256GCM", "alg": "dir"}
        else:
            scope, _, recipient = self.wise.registered[self.kid]
            assert scope == "PAYLOAD_ENCRYPTION", scope
            protected_header = {"kid": self.kid, "enc": "A256GCM", "alg": "RSA-OAEP-256"}
        protected_header.update(header or {})
        allowed = ["RSA-OAEP-256", "RSA-OAEP", "dir", "A256GCM", "A128GCM", "A256CBC-HS512"]
        message = jwe.JWE(payload, protected=json.dumps(protected_header), algs=allowed)
        message.add_recipient(key or recipient)
        return message.serialize(compact=True).encode()


def protected(call, payload):
    """As Wise answers."""
    if "jws" in call.mode:
        payload = call.sign(payload)
    if "jwe" in call.mode:
        payload = call.encrypt(payload)
    return payload


def changed(message, part, turn=0):
    """One bit of a part of a compact message, turned."""
    parts = message.decode().split(".")
    bits = bytearray(base64url_decode(parts[part]))
    bits[turn] ^= 1
    parts[part] = base64url_encode(bytes(bits))
    return ".".join(parts).encode()


def handler(wise):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            try:
                status, answer = wise.answer(self.command, self.path, self.headers, body)
            except Refused as refusal:
                status, answer = refusal.status, refusal.body
            except Exception:
                wise.broken.append(traceback.format_exc())
                status, answer = 500, {"message": "the test itself is broken"}
            kind = "application/json"
            if isinstance(answer, bytes):
                kind = "application/jose+json"
            else:
                answer = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = serve

        def log_message(self, *_):
            pass

    return Handler
