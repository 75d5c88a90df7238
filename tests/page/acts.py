"""What the page promises, one act each, in this order."""

import contextlib
import http.server
import threading
import urllib.parse

import contrast
import terminal
from scene import KEY, Traffic

MARKUP = """<img src=x onerror="document.title='hit'"> & 'quotes'"""

WATCH = """
window.broken = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.broken.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Watched:
    """A page, and all that went wrong or went elsewhere on it."""

    def __init__(self, browser, scene, **options):
        self.own = scene.url
        self.complaints, self.elsewhere, self.loads = [], [], 0
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        if options.get("java_script_enabled", True):
            self.page.add_init_script(WATCH)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(scene.url)

    def _said(self, message):
        # A proxy that has been stopped refuses connections, and Chromium says so.
        if message.type in ("error", "warning") and "ERR_" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, request):
        if not request.url.startswith(self.own):
            self.elsewhere.append(request.url)
        self.loads += request.url == self.own

    def violations(self):
        return self.page.evaluate("window.broken")

    def huge(self, section):
        return self.page.inner_text(f"#{section} .huge")

    def live(self):
        self.page.wait_for_selector("[data-live=yes]")

    def until_loaded_anew(self):
        """Playwright's own wait would evaluate a text, which the page's policy forbids."""
        for _ in range(300):
            if self.loads > 1:
                return
            self.page.wait_for_timeout(100)
        raise RuntimeError("it never loaded itself anew")

    def shows(self, selector, text):
        self.page.wait_for_selector(f"{selector}:has-text({quoted(text)})")
        return True


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextlib.contextmanager
def watched(browser, scene, **options):
    it = Watched(browser, scene, **options)
    try:
        yield it
    finally:
        it.context.close()


def first_sight(checks, scene, browser):
    """the page at first sight"""
    for _ in range(5):
        scene.call()
    with watched(browser, scene) as it:
        it.live()
        checks.equal("it shows the lane", it.huge("lane"), "oauth-mtls")
        checks.equal("it shows readiness", it.huge("ready"), "Ready")
        checks.equal("the title says both", it.page.title(), "ready, oauth-mtls · wise-auth-proxy")
        heads = [head.strip().split("\n")[0] for head in it.page.locator("main h2").all_inner_texts()]
        parts = ["Lane", "Readiness", "Tokens", "Client certificate", "Traffic the last 5 min",
                 "Renewals", "Events", "Proxy"]
        checks.equal("every part is there", [" ".join(head.split()) for head in heads], parts)
        checks.true("the token has a clock", "renewal in" in it.page.inner_text("#tokens"))
        checks.true("the style sheet is in force", it.page.evaluate(
            "getComputedStyle(document.querySelector('.board')).display") == "grid")
        it.shows("#traffic .traffic.in-oauth-mtls dd", "5")
        checks.equal("the policy is not broken", it.violations(), [])
        checks.equal("nothing is said on the console", it.complaints, [])
        checks.equal("nothing is asked elsewhere", it.elsewhere, [])


def live_update(checks, scene, browser):
    """a switch, seen without a reload"""
    with watched(browser, scene) as it:
        it.live()
        it.page.evaluate("window.mark = 'the same page'")
        it.page.focus("#turn")
        with Traffic(scene):
            scene.switch("personal", "payments answer 401")
            checks.true("the lane changes", it.shows("#lane .huge", "personal"))
            checks.true("the reason is there", it.shows("#lane blockquote", "payments answer 401"))
            checks.true("the event is there", it.shows("#events li", "lane switched"))
            checks.true("traffic moves over", it.shows(
                "#traffic .in-personal:has(.chip) figcaption", "Latency p99"))
        checks.equal("the title follows", it.page.title(), "ready, personal · wise-auth-proxy")
        checks.true("a reader is told", "personal" in it.page.inner_text("#said"))
        checks.equal("the page was not loaded again", (it.page.evaluate("window.mark"), it.loads), ("the same page", 1))
        checks.equal("the focus stays", it.page.evaluate("document.activeElement.id"), "turn")
        scene.switch("oauth-mtls", "over")
        it.shows("#lane .huge", "oauth-mtls")
        checks.equal("the policy is not broken", it.violations(), [])
        checks.equal("nothing is said on the console", it.complaints, [])
        checks.equal("nothing is asked elsewhere", it.elsewhere, [])


def selection(checks, scene, browser):
    """text that somebody is copying"""
    with watched(browser, scene) as it:
        it.live()
        it.page.evaluate("""() => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector("#lane .huge"));
            getSelection().addRange(range);
        }""")
        scene.switch("personal", "while somebody copies")
        it.shows("#events li", "while somebody copies")
        checks.equal("stays as long as it is selected", it.huge("lane"), "oauth-mtls")
        it.page.evaluate("getSelection().removeAllRanges()")
        checks.true("and follows afterwards", it.shows("#lane .huge", "personal"))
        scene.switch("oauth-mtls", "over")


def no_script(checks, scene, browser):
    """the page without JavaScript"""
    with watched(browser, scene, java_script_enabled=False) as it:
        checks.equal("it shows the lane", it.huge("lane"), "oauth-mtls")
        scene.switch("personal", "seen by a page without script")
        with it.page.expect_navigation(timeout=20_000):
            pass
        checks.equal("it loads itself anew", it.huge("lane"), "personal")
        it.page.click("#turn")
        turn(it.page, "oauth-mtls", "back, without script", KEY)
        checks.equal("the form works", it.huge("lane"), "oauth-mtls")
        checks.true("and is written down", "status page" in it.page.inner_text("#lane .turn"))
        checks.equal("nothing is said on the console", it.complaints, [])
        checks.equal("nothing is asked elsewhere", it.elsewhere, [])


def turn(page, lane, reason, key):
    page.check(f"input[value={lane}]")
    page.fill("input[name=reason]", reason)
    page.fill("input[name=key]", key)
    page.click("button[type=submit]")


def change(checks, scene, browser):
    """another lane by the form"""
    with watched(browser, scene) as it:
        it.page.click("#turn")
        checks.equal("the lane in use cannot be chosen", it.page.is_disabled("input[value=oauth-mtls]"), True)
        turn(it.page, "personal", "with a wrong key", "not-the-key-at-all")
        it.shows(".told", "This is not the admin key")
        checks.equal("a wrong key changes nothing", scene.status()["lane"], "oauth-mtls")
        checks.equal("the reason is still there", it.page.input_value("input[name=reason]"), "with a wrong key")
        checks.equal("the key is not", it.page.input_value("input[name=key]"), "")
        it.complaints.clear()  # Chromium mentions the 403.
        turn(it.page, "personal", "with the right key", KEY)
        it.page.wait_for_url(scene.url)
        it.live()
        checks.equal("the right key changes the lane", it.huge("lane"), "personal")
        switched = scene.status()["switched"]
        checks.equal("it is written down", (switched["by"], switched["reason"]), ("status page", "with the right key"))
        it.page.click("#turn")
        turn(it.page, "oauth-mtls", "and back", KEY)
        it.page.wait_for_url(scene.url)
        checks.equal("and back", scene.status()["lane"], "oauth-mtls")
        checks.equal("the policy is not broken", it.violations(), [])
        checks.equal("nothing is said on the console", it.complaints, [])
        checks.equal("nothing is asked elsewhere", it.elsewhere, [])


def strangers(checks, scene, browser):
    """pages of others"""
    address = urllib.parse.urlsplit(scene.url)
    fields = {"lane": "personal", "reason": "forged", "key": KEY}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    pages = {
        "/form": f'<form method="post" action="{scene.url}lane">{inputs}</form><script>document.forms[0].submit()</script>',
        "/frame": f'<iframe src="{scene.url}"></iframe>',
        "/read": f"""<p id="out">waiting</p><script>
            fetch("{scene.url}status").then((answer) => answer.text(), (error) => "refused")
              .then((text) => document.getElementById("out").textContent = text)</script>""",
        "/script": f"""<p id="out">waiting</p><script src="{scene.url}page.js"
            onload="document.getElementById('out').textContent='loaded'"
            onerror="document.getElementById('out').textContent='refused'"></script>""",
    }
    with stranger(pages) as port, contextlib.closing(browser.new_context()) as context:
        for host in ("localhost", "127.0.0.1"):
            page = context.new_page()
            elsewhere = f"http://{host}:{port}"
            page.goto(f"{elsewhere}/form")
            page.wait_for_url(f"{scene.url}lane")
            checks.true(f"a form on {host} is refused", "may not read this" in page.inner_text("body"))
            page.goto(f"{elsewhere}/frame")
            page.wait_for_timeout(500)
            shown = [frame.url for frame in page.frames if frame.url.startswith(scene.url)]
            texts = [frame.locator("#lane").count() for frame in page.frames[1:]]
            checks.equal(f"a frame on {host} shows nothing", (shown, sum(texts)), ([], 0))
            for path in ("/read", "/script"):
                page.goto(f"{elsewhere}{path}")
                page.wait_for_function("document.getElementById('out').textContent !== 'waiting'")
                checks.equal(f"{path} on {host} is refused", page.inner_text("#out"), "refused")
            page.close()
    checks.equal("nothing was changed", scene.status()["lane"], "oauth-mtls")
    checks.equal("the address is a loopback one", address.hostname, "127.0.0.1")


@contextlib.contextmanager
def stranger(pages):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            page = pages.get(self.path)
            self.send_response(200 if page else 404)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def markup(checks, scene, browser):
    """other people's words"""
    with watched(browser, scene) as it:
        it.live()
        scene.switch("personal", MARKUP)
        checks.true("a reason is shown as it was written", it.shows("#lane blockquote", MARKUP))
        checks.true("so is the event", it.shows("#events li", MARKUP))
        it.page.reload()
        checks.equal("in the page as it comes, too", it.page.inner_text("#lane blockquote"), MARKUP)
        checks.equal("no element came of it", it.page.locator("main img").count(), 0)
        checks.true("no script ran", it.page.title() != "hit")
        checks.equal("the policy is not broken", it.violations(), [])
        scene.switch("oauth-mtls", "over")


def everywhere(checks, scene, browser):
    """light, dark, and narrow"""
    for scheme in ("light", "dark"):
        for width in (1240, 800, 360):
            size = {"width": width, "height": 800}
            with watched(browser, scene, color_scheme=scheme, viewport=size) as it:
                it.live()
                for path in ("", "lane"):
                    name = f"/{path} in {scheme}, {width} wide"
                    if path:
                        it.page.goto(scene.url + path)
                    wide = it.page.evaluate("document.documentElement.scrollWidth")
                    checks.true(f"{name}: nothing stands out to the side", wide <= width, wide)
                    checks.equal(f"{name}: every text can be read", contrast.faint(it.page), [])
    with watched(browser, scene) as it:
        it.live()
        checks.equal("one h1", it.page.locator("h1").count(), 1)
        unnamed = it.page.locator("svg:not([aria-label]), input:not(label input)").count()
        checks.equal("pictures and fields have names", unnamed, 0)


def not_ready(checks, scene, browser):
    """a grant that has ended"""
    with watched(browser, scene) as it:
        it.live()
        scene.ask(f"{scene.control}/disconnect", {"profile": 30_000_000})
        scene.command("token", "refresh", "main")
        checks.true("it is not ready", it.shows("#ready .huge", "Not ready"))
        checks.true("and says why", it.shows("#ready .reasons li", "login"))
        checks.true("the clock says dead", it.shows("#tokens .chip", "dead"))
        checks.true("the try is in the history", it.shows("#renewals li", "invalid grant"))
        checks.equal("the title says so", it.page.title(), "NOT READY, oauth-mtls · wise-auth-proxy")
        scene.log_in()
        checks.true("a login makes it ready", it.shows("#ready .huge", "Ready"))
        checks.equal("nothing is said on the console", it.complaints, [])


def end_and_return(checks, scene, browser):
    """a proxy that ends and comes back"""
    with watched(browser, scene) as it:
        it.live()
        it.page.evaluate("window.mark = 'the same page'")
        checks.equal("an open page does not hold up the end", scene.proxy.stop(), 0)
        it.page.wait_for_selector("[data-live=no]")
        checks.true("the page says that it is old", "what you see is old" in it.page.inner_text("#clock"))
        checks.true("so does the title", it.page.title().startswith("NO ANSWER"))
        scene.start()
        it.until_loaded_anew()
        it.live()
        checks.equal("it loads itself anew when the proxy is back", it.huge("lane"), "oauth-mtls")
        checks.equal("nothing is asked elsewhere", it.elsewhere, [])


def in_a_terminal(checks, scene, _browser):
    """status --watch in a terminal"""
    scene.faults({"resource": {"disturb": {"kind": "too-many-requests", "times": 1}}})
    checks.equal("a request is throttled", scene.call(), 429)
    checks.equal("a token is renewed", scene.command("token", "refresh", "main").returncode, 0)
    with terminal.Watch(scene, rows=60) as it:
        checks.true("it shows the lane", it.shows("lane", "oauth-mtls"))
        # Every part of the page, by the start of a line.
        for part, start, text in [
            ("readiness", "ready", "yes"), ("requests and connections", "in flight", "to Wise"),
            ("the tokens", "main", "live"), ("the certificate", "certificate", "days left"),
            ("the traffic", "oauth-mtls", "/s"), ("Wise's refusals", "Wise refused on oauth-mtls", "429"),
            ("the renewals", "20", "renewal  renewed: main: generation"),
            ("the events", "20", "token renewed: main:"), ("the proxy", "proxy", "version"),
        ]:
            checks.true(f"it shows {part}", it.shows(start, text))
        checks.true("the cursor is gone", "\x1b[?25l" in it.raw)
        before = it.raw.count("\x1b[2J")
        scene.switch("personal", "seen in a terminal")
        checks.true("a switch is seen", it.shows("lane", "personal"))
        checks.true("and its reason", it.shows("lane", "seen in a terminal"))
        checks.equal("without clearing the screen", it.raw.count("\x1b[2J"), before)
        it.resize(10, 60)
        checks.true("a small window is kept to", it.shows("…", "more lines"))
        checks.true("no line goes beyond it", it.lines() <= 10, it.lines())
        checks.equal("Ctrl-C ends it", it.interrupt(), 0)
        checks.true("the cursor is back", it.raw.rstrip().endswith("\x1b[?7h\x1b[?25h\x1b[?1049l"))
        checks.equal("typing is shown again", it.echoes(), True)
    scene.switch("oauth-mtls", "over")


ALL = [
    first_sight, live_update, selection, no_script, change, strangers, markup, everywhere,
    in_a_terminal, not_ready, end_and_return,
]
