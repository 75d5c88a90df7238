"""The Debian package: built, looked through, installed under a real systemd, run, upgraded and purged."""

import json
import pathlib
import re
import subprocess

import able
import machine
import tools

NAME = "wise-auth-proxy"
CONFIG = "/etc/wise-auth-proxy/config.toml"
STATE = "/var/lib/wise-auth-proxy"
WISE = "/var/tmp/wise"
DOOR = "http://127.0.0.1:8080/v1/me"


def check(checks, folder):
    package = built(checks, folder)
    linted(checks, package)
    if why := able.machine():
        return tools.skip(checks, "the package under a systemd of its own", why)
    with machine.Machine(folder) as there:
        # Out of /tmp, which is emptied while the machine boots.
        there.ran("cp", package, "/var/tmp")
        package = f"/var/tmp/{package.name}"
        before = places(there)
        code, said = there.ran("dpkg", "--install", package)
        checks.true("it installs", code == 0, said)
        installed(checks, there)
        with tools.Simulator(WISE, *there.inside()) as wise:
            configured(there, wise)
            serves(checks, there)
            logs_in(checks, there, wise)
            reloads(checks, there)
            is_watched(checks, there)
            is_activated(checks, there)
            upgrades(checks, there, package)
        code, said = there.ran("dpkg", "--remove", NAME)
        checks.true("it can be removed", code == 0, said)
        checks.equal("which ends the service", there.show(NAME, "ActiveState"), "inactive")
        kept = there.ran("ls", STATE, CONFIG)
        checks.equal("and leaves state and configuration", kept[0], 0)
        code, said = there.ran("dpkg", "--purge", NAME)
        checks.true("it can be purged", code == 0, said)
        left = places(there) - before - {"/etc/default/wise-auth-proxy", "/etc/wise-auth-proxy"}
        checks.equal("and leaves nothing but its user, and what an operator wrote", sorted(left), [])


def places(there):
    """Everything of the package's name, but for its user."""
    roots = ["/etc", "/usr/bin", "/usr/lib", "/usr/share", "/var/lib", "/run"]
    found = there.ran("find", *roots, "-xdev", "-name", f"*{NAME}*", "-not", "-path", "*/credstore/*")[1]
    # Of systemd's, for a unit that was there in this boot.
    passing = ("/run/systemd/", "/run/credentials/", "/var/lib/systemd/", "/var/lib/dpkg/")
    return {path for path in found.split("\n") if path and not path.startswith(passing)}


def built(checks, folder):
    """Twice, from the debug program: a release takes minutes and differs in nothing that is checked."""
    made = []
    for place in ["one", "two"]:
        command = ["deploy/debian/build", "--fast", "--binary", tools.BINARY, folder / place]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True, timeout=tools.WORK)
        made.append(pathlib.Path(done.stdout.strip()))
    same = made[0].read_bytes() == made[1].read_bytes()
    checks.true("the same source makes the same package", same)
    code, said = tools.ran("dpkg-deb", "--field", made[0], "Depends")
    checks.true("it depends on what it is linked with", re.match(r"libc6 \(>= 2\.\d+\), libgcc-s1", said), said)
    return made[0]


def linted(checks, package):
    code, said = tools.ran("lintian", "--fail-on=error,warning", "--allow-root", package)
    checks.equal("lintian finds nothing wrong with it", (code, said), (0, ""))


def installed(checks, there):
    user = there.ran("getent", "passwd", NAME)[1].strip().split(":")
    checks.true("it has a user who cannot log in", user[-1].endswith("nologin") and int(user[2]) < 1000, user)
    found = there.ran("stat", "--format=%U %a", STATE)[1].strip()
    checks.equal("whose state is his alone", found, f"{NAME} 700")
    conffiles = there.ran("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)[1].split()
    checks.equal("a changed configuration survives an upgrade", conffiles[::2], [CONFIG])
    for unit in ["service", "socket"]:
        state = there.ran("systemctl", "is-enabled", f"{NAME}.{unit}")[1].strip()
        checks.equal(f"the {unit} is not enabled before there are secrets", state, "disabled")
    units = [f"/usr/lib/systemd/system/{NAME}.{unit}" for unit in ["service", "socket"]]
    code, said = there.ran("systemd-analyze", "verify", "--man=no", *units)
    checks.equal("systemd finds nothing wrong with the installed units", (code, said), (0, ""))


def written(there, path, text, mode="0644"):
    """A file in the machine."""
    script = f'umask 077; mkdir -p "$(dirname {path})"; cat >{path}; chmod {mode} {path}'
    subprocess.run([*there.inside(), "sh", "-c", script], input=text, text=True, check=True, timeout=tools.WORK)


def configured(there, wise):
    """What an operator does, with a simulated Wise in the place of the sandbox."""
    for name in ["personal_token", "client_secret"]:
        secret = there.ran("cat", f"{WISE}/{name}")[1]
        written(there, f"/etc/credstore/{NAME}.{name}", secret, "0600")
    written(there, "/etc/wise-auth-proxy/ca.pem", there.ran("cat", f"{WISE}/ca.pem")[1])
    places = wise.places
    variables = {
        "WISE_PROXY_ENVIRONMENT": "custom",
        "WISE_PROXY_WISE__PLAIN": places["plain"],
        "WISE_PROXY_WISE__MTLS": places["mtls"],
        "WISE_PROXY_WISE__EXTRA_CA": "/etc/wise-auth-proxy/ca.pem",
        "WISE_PROXY_HARDENING__FILES": "required",
        "FAILPOINTS": f"{STATE}/failpoints",
    }
    lines = [f"{key}={value}\n" for key, value in variables.items()]
    written(there, "/etc/default/wise-auth-proxy", "".join(lines))


def answer(there):
    quiet = ["curl", "--silent", "--show-error", "--max-time", str(tools.PATIENCE), "--output", "/dev/null"]
    return there.ran(*quiet, "--write-out", "%{http_code}", DOOR)[1]


def started(there):
    code, said = there.ran("systemctl", "start", NAME)
    if code:
        said += there.ran("journalctl", "--unit", NAME, "--no-pager")[1]
    return code, said


def serves(checks, there):
    code, said = started(there)
    checks.true("systemd starts it, in its sandbox", code == 0, said)
    checks.equal("and knows how it is", there.show(NAME, "StatusText"), "lane personal, ready")
    checks.equal("it serves with the packaged configuration", answer(there), "200")
    code, said = there.ran("wise-auth-proxy", "wait", "--timeout", "10s")
    checks.true("root can ask it", code == 0, said)
    status = json.loads(there.ran("wise-auth-proxy", "status", "--json")[1])
    checks.true("it confines itself under systemd's filters too", "Landlock" in str(status["confinement"]), status)
    first = there.show(NAME, "MainPID")
    process = there.ran("cat", f"/proc/{first}/status")[1]
    checks.true("it is not root", re.search(r"^Uid:\t[1-9]", process, re.MULTILINE), process)


def logs_in(checks, there, wise):
    """As deploy/README.md says it: with the secret that the service has."""
    grant = '\n[oauth]\nclient_id = "demo"\nclient_secret = { credential = "client_secret" }\n\n[[grant]]\nname = "main"\n'
    there.ran("sh", "-c", f"cat >>{CONFIG} <<'END'\n{grant}\nEND")
    asked = ["curl", "--silent", "--data", '{"profile": 30000000}', f"{wise.places['control']}/authorise"]
    code = re.search(r"[\w-]{8,}", there.ran(*asked)[1])[0]
    readme = (tools.ROOT / "deploy/README.md").read_text()
    command = re.search(r"sudo (systemd-run .*?) login\n", readme.replace("\\\n", " "), re.DOTALL)[1]
    # A terminal wants a message bus, which is not here.
    waiting = "--pty --wait --collect"
    checks.true("the command in deploy/README.md is one for a terminal", waiting in command, command)
    command = command.replace(waiting, "--unit=login --service-type=oneshot").split()
    settings = ["-p", "EnvironmentFile=/etc/default/wise-auth-proxy"]
    login = ["login", "--code", code, "--redirect-uri", "http://127.0.0.1/callback"]
    done, said = there.ran(*command[:-1], *settings, command[-1], *login)
    if done:
        said += there.ran("journalctl", "--unit", "login", "--no-pager")[1]
    checks.true("a grant is authorised with the service's own secret", done == 0, said)
    done, said = there.ran("systemctl", "restart", NAME)
    checks.true("and is the service's after a restart", done == 0, said)
    done, said = there.ran("wise-auth-proxy", "switch", "oauth", "--reason", "a test")
    checks.true("the switch turns to it", done == 0, said)
    checks.equal("and money moves by the token", answer(there), "200")
    turned = lambda: there.show(NAME, "StatusText") == "lane oauth, ready"  # noqa: E731
    checks.true("as systemd knows", tools.until(turned, "the status text follows the switch"))


def reloads(checks, there):
    code, said = there.ran("systemctl", "reload", NAME)
    checks.true("systemd reloads it", code == 0, said)
    written(there, "/var/tmp/kept.toml", there.ran("cat", CONFIG)[1])
    there.ran("sh", "-c", f"echo nonsense >>{CONFIG}")
    code, said = there.ran("systemctl", "reload", NAME)
    checks.true("a refused reload fails where it was asked for", code != 0, said)
    checks.equal("and stops nobody", answer(there), "200")
    there.ran("cp", "/var/tmp/kept.toml", CONFIG)
    code, said = there.ran("systemctl", "reload", NAME)
    checks.true("until it is mended", code == 0, said)


def is_watched(checks, there):
    """A worker that hangs: systemd ends the process and starts another."""
    written(there, f"/run/systemd/system/{NAME}.service.d/impatient.conf", "[Service]\nWatchdogSec=2s\n")
    there.ran("systemctl", "daemon-reload")
    there.ran("systemctl", "restart", NAME)
    first = there.show(NAME, "MainPID")
    written(there, f"{STATE}/failpoints", "hold = worker-1\n")
    tools.until(lambda: there.show(NAME, "MainPID") not in (first, "0"), "systemd restarts what hangs")
    written(there, f"{STATE}/failpoints", "\n")
    well = lambda: there.show(NAME, "StatusText").endswith(", ready") and answer(there) == "200"  # noqa: E731
    checks.true("systemd restarts it when a worker hangs", tools.until(well, "the next one serves"))
    journal = there.ran("journalctl", "--unit", NAME, "--no-pager")[1]
    checks.true("by its watchdog", "Watchdog timeout" in journal, journal[-2000:])
    there.ran("rm", "-r", f"/run/systemd/system/{NAME}.service.d", f"{STATE}/failpoints")
    there.ran("systemctl", "daemon-reload")
    code, said = there.ran("systemctl", "stop", NAME)
    ended = [there.show(NAME, name) for name in ["Result", "ExecMainStatus", "ActiveState"]]
    checks.equal("it ends well", (code, ended), (0, ["success", "0", "inactive"]))


def is_activated(checks, there):
    """systemd's door: opened before the proxy, and open while there is none."""
    code, said = there.ran("systemctl", "start", f"{NAME}.socket")
    checks.true("systemd opens the door", code == 0, said)
    checks.equal("whoever comes starts the proxy, and is served", answer(there), "200")
    loop = f"while [ ! -e /run/enough ]; do curl --silent --max-time 30 --output /dev/null --write-out '%{{http_code}}\\n' {DOOR} || echo refused $?; done"
    log = tools.Log()
    served = lambda: log.text().count("200\n")  # noqa: E731
    customers = subprocess.Popen([*there.inside(), "sh", "-c", loop], stdout=log.file)
    try:
        for _ in range(3):
            code, said = there.ran("systemctl", "restart", NAME)
            checks.true("it restarts under traffic", code == 0, said)
            before = served()
            tools.until(lambda: served() > before + 1, "customers are served after a restart", log.text)
    finally:
        there.ran("touch", "/run/enough")
        customers.wait(tools.PATIENCE)
    answers = log.text().split("\n")[:-1]
    wrong = [one for one in answers if one not in ("200", "503") and one != "refused 52"]
    checks.equal("nobody is refused meanwhile", wrong, [])
    # One customer after the other: at a restart one at most is let in by who is leaving.
    checks.true("and next to nobody turned away", served() > 3 >= len(answers) - served(), answers)


def upgrades(checks, there, package):
    before = there.ran("ls", "-R", STATE)[1]
    process = there.show(NAME, "MainPID")
    code, said = there.ran("dpkg", "--install", package)
    checks.true("it can be upgraded", code == 0, said)
    checks.equal("which leaves the state alone", there.ran("ls", "-R", STATE)[1], before)
    checks.equal("and serves on", answer(there), "200")
    checks.true("in another process", there.show(NAME, "MainPID") not in (process, "0"))
