"""An OAuth server that nobody here wrote: Authlib's, served by Flask behind the same nginx."""

import dataclasses
import os
import threading
import time

# Authlib refuses plain HTTP; TLS ends at nginx.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from werkzeug.serving import WSGIRequestHandler, make_server

CLIENT_ID = "acme-at-authlib"
CLIENT_SECRET = "0d7b6a1e-secret-of-authlib"
REDIRECT = "https://app.example/callback"
PROFILE = 30000000


class Client(ClientMixin):
    def get_client_id(self):
        return CLIENT_ID

    def get_default_redirect_uri(self):
        return REDIRECT

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri == REDIRECT

    def check_client_secret(self, client_secret):
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type in ("authorization_code", "refresh_token", "client_credentials")


@dataclasses.dataclass
class Code(AuthorizationCodeMixin):
    code: str

    def get_redirect_uri(self):
        return REDIRECT

    def get_scope(self):
        return ""


@dataclasses.dataclass
class Token(TokenMixin):
    access_token: str
    refresh_token: str | None
    expires_in: int
    grant_type: str
    issued: float = dataclasses.field(default_factory=time.time)
    revoked: bool = False

    def check_client(self, client):
        return True

    def get_scope(self):
        return ""

    def get_expires_in(self):
        return self.expires_in

    def is_expired(self):
        return time.time() > self.issued + self.expires_in

    def is_revoked(self):
        return self.revoked


class Books:
    """What a database would hold."""

    def __init__(self):
        self.client = Client()
        self.codes = {}
        self.tokens = []

    def find(self, client_id):
        return self.client if client_id == CLIENT_ID else None

    def save(self, token, request):
        self.tokens.append(Token(
            token["access_token"], token.get("refresh_token"), token["expires_in"],
            request.form["grant_type"],
        ))

    def token(self, **wanted):
        (name, value), = wanted.items()
        return next((token for token in self.tokens if getattr(token, name) == value), None)


class OauthServer:
    def __init__(self):
        self.books = books = Books()
        self.app = app = flask.Flask("oauth")
        app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
        server = AuthorizationServer(app, query_client=books.find, save_token=books.save)

        class ByCode(grants.AuthorizationCodeGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

            def save_authorization_code(self, code, request):
                books.codes[code] = Code(code)

            def query_authorization_code(self, code, client):
                return books.codes.get(code)

            def delete_authorization_code(self, authorization_code):
                del books.codes[authorization_code.code]

            def authenticate_user(self, authorization_code):
                return "ada"

        class ByRefresh(grants.RefreshTokenGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]
            INCLUDE_NEW_REFRESH_TOKEN = True

            def authenticate_refresh_token(self, refresh_token):
                token = books.token(refresh_token=refresh_token)
                return token if token and not token.is_revoked() else None

            def authenticate_user(self, credential):
                return "ada"

            def revoke_old_credential(self, credential):
                credential.revoked = True

        class ByToken(BearerTokenValidator):
            def authenticate_token(self, token_string):
                return books.token(access_token=token_string)

        for grant in (ByCode, ByRefresh, grants.ClientCredentialsGrant):
            server.register_grant(grant)
        guard = ResourceProtector()
        guard.register_token_validator(ByToken())

        @app.get("/oauth/authorize")
        def authorise():
            return server.create_authorization_response(grant_user="ada")

        @app.post("/oauth/token")
        def token():
            return server.create_token_response()

        @app.get("/v1/me")
        @guard()
        def me():
            return {"id": 7, "name": "Ada", "email": "ada@example.com"}

        @app.get("/v2/profiles/<int:profile>")
        @guard()
        def profile(profile):
            return {"id": profile, "type": "PERSONAL", "fullName": "Ada Lovelace", "userId": 7}

        @app.route("/v1/grant", methods=["GET"])
        @app.route("/v1/users/exists", methods=["POST"])
        @guard()
        def grant():
            return {"grant_type": current_token.grant_type}

        quiet = type("Quiet", (WSGIRequestHandler,), {"log_request": lambda *_: None})
        self.server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=quiet)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
