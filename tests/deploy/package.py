"""The Debian package: built, looked through, installed, run as its unit runs it, and purged."""

import os
import pathlib
import pwd
import re
import shlex
import subprocess

import tools

NAME = "wise-auth-proxy"

# What dpkg puts in place, and what the unit says of its directories.
UNIT = pathlib.Path("/usr/lib/systemd/system/wise-auth-proxy.service")
STATE = pathlib.Path("/var/lib/wise-auth-proxy")
RUNTIME = pathlib.Path("/run/wise-auth-proxy")
CONFIG = pathlib.Path("/etc/wise-auth-proxy/config.toml")


def check(checks, folder):
    code, said = tools.ran("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", NAME)
    if code == 0 and not said.startswith("un"):
        # Somebody's own, perhaps with grants.
        checks.true("the package is not on this machine already: purge it first", False, said)
        return
    before = places()
    package = built(checks, folder)
    linted(checks, package)
    try:
        code, said = tools.ran("dpkg", "--install", package)
        checks.equal("it installs", code, 0)
        installed(checks, said)
        with tools.Simulator(folder / "wise") as wise:
            Service(checks, folder, wise).lives()
        code, said = tools.ran("dpkg", "--install", package)
        checks.equal("it can be installed over itself", code, 0)
        checks.true("which leaves the state alone", (STATE / "switch.json").exists() or any(STATE.iterdir()))
        code, said = tools.ran("dpkg", "--remove", NAME)
        checks.equal("it can be removed", code, 0)
        checks.true("which leaves state and configuration", STATE.exists() and CONFIG.exists(), said)
    finally:
        code, said = tools.ran("dpkg", "--purge", NAME)
    checks.equal("it can be purged", (code, "warning" in said), (0, False))
    checks.equal("and leaves nothing but its user", sorted(places() - before), [])


def places():
    """Everything of the package's name on this machine, but for its user."""
    roots = ["/etc", "/usr/bin", "/usr/lib", "/usr/share", "/var/lib", "/run", "/lib/systemd"]
    command = ["find", *roots, "-xdev", "-name", f"*{NAME}*", "-not", "-path", "/var/lib/dpkg/info/*"]
    return set(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split())


def built(checks, folder):
    """Twice, from the debug program: a release takes minutes and differs in nothing that is checked."""
    made = []
    for place in ["one", "two"]:
        command = ["deploy/debian/build", "--fast", "--binary", tools.BINARY, folder / place]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
        made.append(pathlib.Path(done.stdout.strip()))
    same = made[0].read_bytes() == made[1].read_bytes()
    checks.true("the same source makes the same package", same)
    code, said = tools.ran("dpkg-deb", "--field", made[0], "Depends")
    checks.true("it depends on what it is linked with", re.match(r"libc6 \(>= 2\.\d+\), libgcc-s1", said), said)
    return made[0]


def linted(checks, package):
    # Only a release is documented by pages that it makes itself.
    command = ["lintian", "--fail-on=error,warning", "--allow-root", "--suppress-tags=no-manual-page", package]
    code, said = tools.ran(*command)
    checks.equal("lintian finds nothing wrong with it", (code, said), (0, ""))


def installed(checks, said):
    user = pwd.getpwnam(NAME)
    checks.true("it has a user who cannot log in", user.pw_shell.endswith("nologin") and user.pw_uid < 1000, user)
    found = STATE.stat()
    checks.equal("whose state is his alone", (found.st_uid, found.st_mode & 0o777), (user.pw_uid, 0o700))
    conffiles = tools.ran("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)[1].split()
    checks.equal("a changed configuration survives an upgrade", conffiles[:1], [str(CONFIG)])
    code, said = tools.ran("systemd-analyze", "verify", "--man=no", UNIT, UNIT.with_suffix(".socket"))
    checks.equal("systemd finds nothing wrong with the installed units", (code, said), (0, ""))
    links = [*pathlib.Path("/etc/systemd/system").rglob(f"*{NAME}*")]
    checks.equal("it is not enabled before there are secrets", links, [])


class Service:
    """The unit, run without systemd: its user, its variables, its directories and its command."""

    def __init__(self, checks, folder, wise):
        self.checks = checks
        self.folder = folder
        self.wise = wise
        self.unit = UNIT.read_text()
        self.ear = tools.Ear(folder / "notify")
        credentials = folder / "credentials"
        credentials.mkdir()
        for name in ["personal_token", "client_secret"]:
            (credentials / name).write_bytes((folder / "wise" / name).read_bytes())
        # The simulator's authority, where the service may read it.
        (STATE / "ca.pem").write_bytes((folder / "wise/ca.pem").read_bytes())
        RUNTIME.mkdir(mode=0o755)
        for path in [credentials, *credentials.iterdir(), STATE / "ca.pem", RUNTIME]:
            os.chown(path, *self.identity())
        places = wise.places
        self.variables = {
            "NOTIFY_SOCKET": str(self.ear.path),
            "CREDENTIALS_DIRECTORY": str(credentials),
            # As /etc/default/wise-auth-proxy would say it: the packaged configuration stays as it is.
            "WISE_PROXY_ENVIRONMENT": "custom",
            "WISE_PROXY_WISE__PLAIN": places["plain"],
            "WISE_PROXY_WISE__MTLS": places["mtls"],
            "WISE_PROXY_WISE__EXTRA_CA": str(STATE / "ca.pem"),
            "WISE_PROXY_DOOR": '[{ address = "127.0.0.1:0" }]',
            "WISE_PROXY_ADMIN__ADDRESS": "off",
            "WISE_PROXY_HARDENING__FILES": "required",
        }

    def identity(self):
        user = pwd.getpwnam(re.search(r"^User=(.*)$", self.unit, re.MULTILINE)[1])
        return user.pw_uid, user.pw_gid

    def as_unit(self, key):
        """The command of `key`, as the unit's user."""
        uid, gid = self.identity()
        command = shlex.split(re.search(rf"^{key}=(.*)$", self.unit, re.MULTILINE)[1])
        narrow = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *narrow, *command]

    def lives(self):
        checks = self.checks
        process = subprocess.Popen(
            self.as_unit("ExecStart"), env=self.variables, cwd="/", stderr=subprocess.PIPE, text=True
        )
        try:
            ready = self.ear.hears("READY=1")
            checks.equal("it starts and says so", ready[0], "READY=1\nSTATUS=lane personal, ready\n")
            said = ""
            while not (found := re.search(r"^serving on (\S+)$", said, re.MULTILINE)):
                said += process.stderr.readline()
            code, status = tools.ran(
                *["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", f"http://{found[1]}/v1/me"]
            )
            checks.equal("it serves with the packaged configuration", (code, status), (0, "200"))
            code, said = tools.ran("wise-auth-proxy", "wait", "--timeout", "10s")
            checks.equal("root can ask it from anywhere", code, 0)
            code, said = tools.ran("wise-auth-proxy", "switch", "personal", "--reason", "package test")
            checks.equal("and turn its switch", code, 0)
            code, said = tools.ran(*self.as_unit("ExecReload"), env=self.variables)
            checks.equal("its unit's reload works", code, 0)
        finally:
            code = tools.end(process)
        checks.equal("it ends well", code, 0)
        checks.true("and says that it ends", self.ear.hears("STOPPING=1"))
        checks.equal("and leaves no socket", list(RUNTIME.iterdir()), [])
