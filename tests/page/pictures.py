"""The pictures of the README, and what a test keeps when it is asked to."""

import os
import time

from scene import Traffic

WIDTH, HEIGHT = 1240, 900


MINUTES = float(os.environ.get("PICTURE_MINUTES", "5"))


def take(browser, scene, target, minutes=MINUTES):
    """Traffic as on a working day: a switch to the way back, a few errors, and home again."""
    target.mkdir(parents=True, exist_ok=True)
    second = lambda share: time.sleep(minutes * 60 * share)
    with Traffic(scene, 0.06) as traffic:
        second(0.35)
        scene.faults({"resource": {"disturb": {"kind": "html"}}})
        second(0.03)
        scene.faults({"resource": {"disturb": None}})
        scene.switch("personal", "payments answer 503, asking Wise")
        second(0.2)
        scene.command("token", "refresh", "main")
        scene.switch("oauth-mtls", "Wise has mended it")
        traffic.pause = 0.04
        second(0.43)
        for scheme in ("light", "dark"):
            shoot(browser, scene.url, scheme, target / f"status-{scheme}.png")


def shoot(browser, url, scheme, path, width=WIDTH, height=HEIGHT):
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, device_scale_factor=1.5
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("[data-live=yes]")
    page.screenshot(path=path, full_page=True)
    context.close()
