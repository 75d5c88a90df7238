"""nginx in the place of Wise's edge: a mutual-TLS server, a plain-TLS one, and an OAuth server's."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

MTLS = "api-mtls.wise.test"
PLAIN = "api.wise.test"
OAUTH = "oauth.wise.test"
WORKERS = 2

# What nginx takes off on its way to the origin is reported to it in fields of its own.
CONFIG = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_processes {workers};
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;

  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:sessions:1m;
  ssl_client_certificate {authority};
  ssl_crl {revocations};

  keepalive_requests 100000;
  client_max_body_size 0;
  large_client_header_buffers 4 32k;
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_request_buffering off;

  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Edge-Server $ssl_server_name;
  proxy_set_header X-Edge-Protocol $server_protocol;
  proxy_set_header X-Edge-Tls $ssl_protocol;
  proxy_set_header X-Edge-Verified $ssl_client_verify;
  proxy_set_header X-Edge-Serial $ssl_client_serial;
  proxy_set_header X-Edge-Connection $connection;
  proxy_set_header X-Got-Connection $http_connection;
  proxy_set_header X-Got-Keep-Alive $http_keep_alive;
  proxy_set_header X-Got-TE $http_te;
  proxy_set_header X-Got-Upgrade $http_upgrade;
  proxy_set_header X-Got-Transfer-Encoding $http_transfer_encoding;
  proxy_set_header X-Got-Expect $http_expect;

  add_header X-Edge-Protocol $server_protocol always;
  add_header X-Edge-Tls $ssl_protocol always;

  upstream origin {{ server 127.0.0.1:{origin}; keepalive 16; }}
  upstream oauth {{ server 127.0.0.1:{oauth}; }}

  server {{
    listen 127.0.0.1:{mtls} ssl http2 default_server;
    ssl_verify_client on;
    return 421;
  }}
  server {{
    listen 127.0.0.1:{mtls} ssl http2;
    server_name {mtls_name};
    ssl_verify_client on;
    if ($http_host != "{mtls_name}:{mtls}") {{ return 421; }}
    location / {{ proxy_pass http://origin; }}
    location /files/ {{ auth_request /edge/admitted; root {folder}; }}
    location = /edge/admitted {{
      internal;
      proxy_pass http://origin;
      proxy_pass_request_body off;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Edge-Server $ssl_server_name;
      proxy_set_header Content-Length "";
    }}
  }}
  server {{
    listen 127.0.0.1:{mtls} ssl http2;
    server_name {oauth_name};
    ssl_verify_client on;
    if ($http_host != "{oauth_name}:{mtls}") {{ return 421; }}
    location / {{ proxy_pass http://oauth; }}
  }}
  server {{
    listen 127.0.0.1:{plain} ssl http2;
    server_name {plain_name};
    if ($http_host != "{plain_name}:{plain}") {{ return 421; }}
    location / {{ proxy_pass http://origin; }}
  }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds=10):
    """Waits until somebody listens, or the process that should has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port}")


class Edge:
    def __init__(self, folder: pathlib.Path, server, authority, origin_port, oauth_port):
        self.folder = folder
        self.mtls_port, self.plain_port = free_port(), free_port()
        (folder / "files").mkdir(parents=True)
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(
            folder=folder, certificate=server.certificate, key=server.key,
            authority=authority.certificate, revocations=authority.revocations, mtls=self.mtls_port, plain=self.plain_port,
            mtls_name=MTLS, plain_name=PLAIN, oauth_name=OAUTH,
            origin=origin_port, oauth=oauth_port, workers=WORKERS,
            user="user root;" if os.getuid() == 0 else "",
        ))
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        self.process = subprocess.Popen(
            [program, "-p", folder, "-c", config, "-e", folder / "error.log"],
            stdout=subprocess.DEVNULL, stderr=open(folder / "stderr.log", "wb"),
        )
        try:
            wait_for_port(self.mtls_port, self.process)
        except RuntimeError:
            raise RuntimeError(f"nginx: {(folder / 'stderr.log').read_text()}") from None

    def mtls(self, name=MTLS):
        return f"https://{name}:{self.mtls_port}"

    def plain(self):
        return f"https://{PLAIN}:{self.plain_port}"

    def reload(self, seconds=10):
        """Takes new revocations into use: returns when no old worker takes connections any more."""
        left = "gracefully shutting down"
        log = self.folder / "error.log"
        before = log.read_text().count(left)
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + seconds
        while log.read_text().count(left) < before + WORKERS:
            if time.monotonic() > end:
                raise RuntimeError("nginx does not reload")
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
