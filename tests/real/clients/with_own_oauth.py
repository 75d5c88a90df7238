"""Authlib with its own OAuth: `with_own_oauth.py BASE KEY OLD_REFRESH_TOKEN`.

Its token code asks the door's /oauth/token, by client credentials and by refresh, then calls through.
Last come plain requests with the key in the base URL. Prints what it saw, without a token.
"""

import json
import os
import sys

import requests
from authlib.integrations.requests_client import OAuth2Session

base, key, old = sys.argv[1:]
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
token_url = f"{base}/oauth/token"


def without_dates(response):
    """Authlib wants `expires_at` as a number. Wise sends a date, and so does the door: whoever uses
    Authlib with Wise has a hook like this one."""
    body = response.json()
    body.pop("expires_at", None)
    response._content = json.dumps(body).encode()
    return response


def session(**more):
    made = OAuth2Session("the-clients-own-id", key, **more)
    made.trust_env = False
    for hook in ("access_token_response", "refresh_token_response"):
        made.register_compliance_hook(hook, without_dates)
    return made


def told(token):
    return [token["token_type"], token["expires_in"], token["access_token"][:7]]


story = {}
for method in ("client_secret_basic", "client_secret_post"):
    with session(token_endpoint_auth_method=method) as client:
        token = client.fetch_token(token_url, grant_type="client_credentials")
        story[method] = told(token) + [client.get(f"{base}/v1/echo").json()]

with session(token_endpoint=token_url) as client:
    # What the application has stored from before: its token is over, and Wise's refresh token its hope.
    client.token = {
        "access_token": "over", "token_type": "bearer", "refresh_token": old, "expires_at": 1,
    }
    renewed = client.get(f"{base}/v1/echo").json()
    story["refresh"] = told(client.token) + [renewed]
    again = client.refresh_token(token_url, refresh_token=client.token["refresh_token"])
    story["again"] = told(again) + [client.get(f"{base}/v1/echo").json()]

try:
    OAuth2Session("the-clients-own-id", "wrong").fetch_token(token_url, grant_type="client_credentials")
    story["wrong"] = "let in"
except Exception as error:
    story["wrong"] = getattr(error, "error", repr(error))

plain = requests.Session()
plain.trust_env = False
# requests drops a user that has no password behind a colon.
bases = [base.replace("http://", f"http://{userinfo}@") for userinfo in (f"app:{key}", f"{key}:")]
story["userinfo"] = [plain.get(f"{where}/v1/echo").status_code for where in (*bases, base)]
print(json.dumps(story))
