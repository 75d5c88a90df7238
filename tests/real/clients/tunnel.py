"""`tunnel.py KIND URL [CERTIFICATE KEY]`: asks once, by HTTPS_PROXY if it is set; prints the status."""

import base64
import http.client
import os
import ssl
import sys
import urllib.parse
import urllib.request

kind, url, *pair = sys.argv[1:]
proxy = os.environ.get("HTTPS_PROXY")


def by_requests():
    import requests

    return requests.get(url, cert=tuple(pair) or None, timeout=30).status_code


def by_urllib():
    return urllib.request.urlopen(url, timeout=30).status


def by_http_client():
    through, to = urllib.parse.urlsplit(proxy), urllib.parse.urlsplit(url)
    connection = http.client.HTTPSConnection(
        through.hostname, through.port, timeout=30, context=ssl.create_default_context()
    )
    headers = {}
    if through.username:
        pair = base64.b64encode(f"{through.username}:{through.password}".encode()).decode()
        headers["Proxy-Authorization"] = f"Basic {pair}"
    connection.set_tunnel(to.hostname, to.port, headers)
    connection.request("GET", to.path)
    return connection.getresponse().status


print({"requests": by_requests, "urllib": by_urllib, "http.client": by_http_client}[kind]())
