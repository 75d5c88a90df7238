"""What stands behind nginx: a small Wise that says what it received and mints tokens."""

import base64
import gzip
import hashlib
import http.server
import json
import secrets
import threading
import urllib.parse

CLIENT_ID = "real-clients"
CLIENT_SECRET = "5d1f2a34-secret-of-the-origin"
REDIRECT = "https://app.example/callback?from=wise"
PROFILE = 14575282
PERSONAL_TOKEN = "3d9c1c5e-personal-4b3f"
COMPRESSED = gzip.compress(b"the same words again and again, " * 500, 9, mtime=7)


class Tokens:
    """The token endpoint's memory: a refresh ends the access token before it."""

    def __init__(self):
        self._lock = threading.Lock()
        self.codes = set()
        self.access = None
        self.refresh = None
        self.exchanges = []

    def code(self):
        code = f"code-{secrets.token_urlsafe(12)}"
        self.codes.add(code)
        return code

    def exchange(self, form):
        with self._lock:
            grant = form.get("grant_type")
            self.exchanges.append(grant)
            if grant == "authorization_code":
                wanted = {"client_id": CLIENT_ID, "redirect_uri": REDIRECT}
                if any(form.get(name) != value for name, value in wanted.items()):
                    return 400, {"error": "invalid_request"}
                if form.get("code") not in self.codes:
                    return 400, {"error": "invalid_grant"}
                self.codes.discard(form["code"])
            elif grant == "refresh_token":
                if self.refresh is None or form.get("refresh_token") != self.refresh:
                    return 400, {"error": "invalid_grant"}
            else:
                return 400, {"error": "unsupported_grant_type"}
            self.access, self.refresh = f"access-{secrets.token_hex(400)}", secrets.token_hex(16)
            return 200, {
                "access_token": self.access, "token_type": "bearer", "expires_in": 43199,
                "refresh_token": self.refresh, "scope": "transfers",
            }


class Origin:
    def __init__(self, mtls_name, plain_name):
        self.tokens = Tokens()
        self.mtls_name, self.plain_name = mtls_name, plain_name
        self.arrived = 0
        handler = type("Handler", (Handler,), {"origin": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def admits(self, headers):
        """Exactly one Authorization, and the one that counts at this server."""
        live = self.tokens.access
        wanted = {
            self.mtls_name: [f"Bearer {live}"],
            self.plain_name: [f"Bearer {PERSONAL_TOKEN}", f"Bearer {live}"],
        }.get(headers.get("X-Edge-Server"), [])
        sent = headers.get_all("Authorization", [])
        return len(sent) == 1 and sent[0] in wanted


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    origin: Origin

    def do_any(self):
        self.origin.arrived += 1
        body = self.body()
        path = self.path.partition("?")[0]
        if path == "/oauth/token":
            return self.token(body)
        if not self.origin.admits(self.headers):
            return self.reply(401, {"error": "invalid_token", "error_description": "not this one"})
        answers = {
            "/edge/admitted": lambda: self.reply(204, None),
            "/v1/me": lambda: self.reply(200, {"id": 42, "name": "Ada", "email": "ada@example.com"}),
            f"/v2/profiles/{PROFILE}": lambda: self.reply(200, profile()),
            "/v2/profiles": lambda: self.reply(200, [profile()]),
            "/v1/echo": lambda: self.reply(200, self.received(body)),
            "/v1/digest": lambda: self.reply(200, self.received(body)),
            "/v1/nothing": lambda: self.reply(204, None),
            "/v1/gzip": lambda: self.send(200, COMPRESSED, "text/plain", {"Content-Encoding": "gzip"}),
        }
        answers.get(path, lambda: self.reply(404, {"errors": [{"code": "NOT_FOUND"}]}))()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any

    def token(self, body):
        pair = f"{CLIENT_ID}:{CLIENT_SECRET}".encode()
        basic = f"Basic {base64.b64encode(pair).decode()}"
        if self.headers.get_all("Authorization") != [basic]:
            return self.reply(401, {"error": "invalid_client"})
        if self.command != "POST" or self.headers.get_content_type() != "application/x-www-form-urlencoded":
            return self.reply(400, {"error": "invalid_request"})
        form = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
        return self.reply(*self.origin.tokens.exchange(form))

    def received(self, body):
        return {
            "method": self.command,
            "target": self.path,
            "headers": self.headers.items(),
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def reply(self, status, value):
        self.send(status, None if value is None else json.dumps(value).encode(), "application/json", {})

    def send(self, status, content, kind, fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if content is not None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if content is not None and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def profile():
    return {"id": PROFILE, "type": "BUSINESS", "fullName": "Ada's Engines Ltd", "userId": 42}
