"""A page in a real browser: Debian's chromium, without a network, with WebGL drawn in software."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# A container has no user namespaces for the sandbox, no large /dev/shm and no graphics card.
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


@dataclass
class Shown:
    """An open page.

    Attributes:
        page: Playwright's own, to click and ask.
        faults: Errors of the console and of scripts, and requests that failed.
        outside: Requests that would have left the machine; they were refused.
    """

    page: Page
    faults: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def find_browser() -> str:
    """Path of a chromium; skips where there is none, and fails in continuous integration."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no browser here (looked for {', '.join(NAMES)}): apt-get install chromium"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def browsing() -> Iterator[Callable[[Path | str], Shown]]:
    """Give a function that opens a file, or an address of this machine, in a page of its own."""
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))

        def show(place: Path | str) -> Shown:
            page = browser.new_page(viewport={"width": 900, "height": 1400})
            shown = Shown(page)

            def gate(route) -> None:
                address = route.request.url
                if address.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:")):
                    route.continue_()
                else:
                    shown.outside.append(address)
                    route.abort()

            page.route("**/*", gate)
            page.on("console", lambda said: shown.faults.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: shown.faults.append(str(error)))
            page.on("requestfailed", lambda request: shown.faults.append(f"failed: {request.url}"))
            page.goto(place.as_uri() if isinstance(place, Path) else place)
            return shown

        try:
            yield show
        finally:
            browser.close()
