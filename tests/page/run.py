#!/usr/bin/env python3
"""The status page in Debian's Chromium, before a real proxy on a simulated Wise.

Needs chromium and Python's playwright (tests/page/requirements.txt), which drives that Chromium and
downloads none. WAP_BIN names the binary (default: target/debug/wise-auth-proxy).
`--screenshots DIR` makes the pictures of the README instead: five minutes of traffic, then
DIR/status-light.png and DIR/status-dark.png.
Ends with the line "N passed, N failed".
"""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "real"))


def with_playwright():
    """Starts again under the Python that tests/run has made, if this one has no playwright."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        own = HERE.parents[1] / "target/page-python/bin/python3"
        if own.exists() and pathlib.Path(sys.executable) != own:
            os.execv(own, [own, *sys.argv])
        sys.exit(f"missing: pip install -r {HERE / 'requirements.txt'}")


if __name__ == "__main__":
    with_playwright()

from playwright.sync_api import sync_playwright

import acts
import pictures
from checks import Checks
from scene import Scene

# Without these Chromium asks Google's hosts for news at each start.
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]


@contextlib.contextmanager
def chromium():
    path = shutil.which("chromium") or sys.exit("missing: chromium")
    flags = FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            browser.close()


def main():
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wap-"))
    checks = Checks()
    scene = None
    try:
        with checks.section("the scene"):
            scene = Scene(folder)
        if scene and "--screenshots" in sys.argv:
            target = pathlib.Path(sys.argv[sys.argv.index("--screenshots") + 1])
            with chromium() as browser:
                pictures.take(browser, scene, target)
            return 0
        if scene:
            with chromium() as browser:
                for act in acts.ALL:
                    with checks.section(act.__doc__):
                        act(checks, scene, browser)
    finally:
        if scene:
            scene.stop()
        shutil.rmtree(folder)
    print(f"\n{checks.total()}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
