"""The systemd units, and the shell scripts of the whole repository."""

import os
import re
import subprocess

import tools

UNITS = ["wise-auth-proxy.service", "wise-auth-proxy.socket"]

# Tenths. What is left and why is in deploy/README.md.
EXPOSURE = 11


def check(checks, folder):
    # The program is looked for by the name in the unit.
    for unit in UNITS:
        text = (tools.ROOT / "deploy/systemd" / unit).read_text()
        (folder / unit).write_text(text.replace("/usr/bin/wise-auth-proxy", str(tools.BINARY)))
    code, said = tools.ran("systemd-analyze", "verify", "--man=no", *(folder / unit for unit in UNITS))
    checks.equal("systemd finds nothing wrong with the units", (code, said), (0, ""))

    service = tools.ROOT / "deploy/systemd" / UNITS[0]
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    code, said = tools.ran(*command, f"--threshold={EXPOSURE}", service)
    checks.equal(f"the unit's exposure is at most {EXPOSURE / 10}", code, 0)
    found = re.search(r"Overall exposure level for \S+: (\S+)", said)[1]
    readme = (tools.ROOT / "deploy/README.md").read_text()
    checks.true("and as deploy/README.md has it", f"gives the unit {found} " in readme, found)

    configurations = [path.read_text() for place in ["deploy", "config"] for path in (tools.ROOT / place).rglob("*.toml")]
    for name in re.findall(r"^LoadCredential=(\S+):", service.read_text(), re.MULTILINE):
        named = any(f'credential = "{name}"' in text for text in configurations)
        checks.true(f"the credential {name} is one that a configuration names", named)

    activated(checks, folder)

    scripts = [path for path in repository() if is_script(path)]
    checks.true("there are scripts", len(scripts) >= 10, scripts)
    code, said = tools.ran("shellcheck", *scripts)
    checks.equal("shellcheck finds nothing wrong with the scripts", (code, said), (0, ""))


def repository():
    """Every file that is kept."""
    code, said = tools.ran("git", "ls-files", "-z")
    assert code == 0, said
    return [tools.ROOT / name for name in said.split("\0") if name and (tools.ROOT / name).is_file()]


def is_script(path):
    """A shell's; those of other languages are not shellcheck's business."""
    with path.open("rb") as file:
        first = file.readline(100)
    return re.match(rb"#!.*\b(ba|da)?sh\b", first) is not None


def activated(checks, folder):
    """systemd's own program opens a door, and starts the proxy when somebody comes."""
    socket = folder / "app.sock"
    with tools.Simulator(folder / "wise") as wise:
        config = folder / "wise/activated.toml"
        base = (folder / "wise/proxy.toml").read_text()
        config.write_text(f'{base}\n[[door]]\naddress = "unix:{socket}"\nmode = "0600"\n[admin]\naddress = "off"\n')
        log = tools.Log()
        process = subprocess.Popen(
            ["systemd-socket-activate", "--listen", socket, "--fdname=app", tools.BINARY, "run"]
            + ["--config", config, "--set", "switch.lane=personal", "--set", "hardening.files=required"],
            preexec_fn=private,
            stdout=subprocess.DEVNULL,
            stderr=log.file,
        )
        try:
            tools.until(socket.exists, "systemd-socket-activate opens the door", log.text)
            code, said = tools.ran(
                *["curl", "--silent", "--show-error", "--unix-socket", socket, "--max-time", str(tools.PATIENCE)],
                *["--output", "/dev/null", "--write-out", "%{http_code}", "http://localhost/v1/me"],
            )
            checks.equal("who knocks at a door of systemd's is served", (code, said), (0, "200"))
        finally:
            code = tools.end(process)
        checks.equal("the proxy that it started ends well", code, 0)
        checks.true("and leaves systemd's socket", socket.exists(), log.text())
        checks.true("Wise was asked", wise.process.poll() is None)


def private():
    os.umask(0o077)
