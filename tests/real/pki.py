"""A private certificate authority, made with openssl."""

import os
import pathlib
import subprocess

CONFIG = """\
[ca]
default_ca = book
[book]
database = $ENV::BOOK
default_md = sha256
default_crl_days = 2
[req]
distinguished_name = name
prompt = no
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
"""
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*arguments, book="none"):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True,
        env={**os.environ, "BOOK": str(book)},
    )
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


class Pair:
    """A certificate, its key, and its serial number as nginx writes it."""

    def __init__(self, certificate: pathlib.Path, key: pathlib.Path):
        self.certificate = certificate
        self.key = key

    @property
    def serial(self):
        said = openssl("x509", "-in", self.certificate, "-noout", "-serial")
        return said.strip().removeprefix("serial=").upper()


class Authority:
    def __init__(self, folder: pathlib.Path, name: str):
        folder.mkdir()
        self.folder = folder
        self.config = folder / "openssl.cnf"
        self.config.write_text(CONFIG)
        self.certificate = folder / "ca.pem"
        self.key = folder / "ca.key"
        openssl(
            "req", "-x509", *CURVE, "-days", 2, "-config", self.config, "-extensions", "authority",
            "-subj", f"/O=Real clients/CN={name}", "-keyout", self.key, "-out", self.certificate,
        )
        self.book = folder / "index.txt"
        self.book.touch()
        self.revocations = folder / "crl.pem"
        self._list()

    def server(self, *names):
        return self._issue("server", names[0], "subjectAltName = " + ",".join(f"DNS:{n}" for n in names))

    def client(self, common_name):
        return self._issue("client", common_name, "")

    def revoke(self, pair):
        self._ca("-revoke", pair.certificate)
        self._list()

    def _list(self):
        self._ca("-gencrl", "-out", self.revocations)

    def _ca(self, *arguments):
        openssl(
            "ca", "-config", self.config, "-cert", self.certificate, "-keyfile", self.key, *arguments,
            book=self.book,
        )

    def _issue(self, kind, common_name, extra):
        stem = f"{kind}-{len(list(self.folder.glob('*.key')))}"
        pair = Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        request, extensions = self.folder / f"{stem}.csr", self.folder / f"{stem}.cnf"
        extensions.write_text(f"{CONFIG.replace(f'[{kind}]', f'[{kind}]{chr(10)}{extra}')}")
        openssl(
            "req", "-new", *CURVE, "-config", self.config, "-subj", f"/O=Real clients/CN={common_name}",
            "-keyout", pair.key, "-out", request,
        )
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-days", 2,
            "-CAcreateserial", "-extfile", extensions, "-extensions", kind, "-out", pair.certificate,
        )
        pair.key.chmod(0o600)
        return pair
