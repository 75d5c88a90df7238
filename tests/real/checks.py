"""Named promises, and the count of those kept and broken."""

import contextlib
import traceback


class Checks:
    """Prints each check as it is made; a section that breaks off counts as one failure."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self._section = ""

    def true(self, name, kept, found=None):
        self._tell(name, bool(kept), "true", found)

    def equal(self, name, found, expected):
        self._tell(name, found == expected, expected, found)

    @contextlib.contextmanager
    def section(self, title):
        print(f"\n-- {title}", flush=True)
        self._section = title
        try:
            yield
        except Exception:  # The sections after it still have something to say.
            self._tell("runs to its end", False, "no exception", traceback.format_exc())

    def total(self):
        return f"{self.passed} passed, {self.failed} failed"

    def _tell(self, name, kept, expected, found):
        if kept:
            self.passed += 1
            print(f"ok      {name}", flush=True)
            return
        self.failed += 1
        shown = name if name.startswith(self._section) else f"{self._section}: {name}"
        print(f"FAILED  {shown}", flush=True)
        print(f"          expected  {_short(expected)}", flush=True)
        print(f"          found     {_short(found)}", flush=True)


def _short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 2000 else f"{text[:2000]}… ({len(text)} characters)"
