"""The browser that tests of pages use: it draws WebGL in software, and nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests import browser
from tests.browser import Shown

PAGE = """<!doctype html><title>three</title><canvas id="c" width="8" height="8"></canvas>
<img src="https://example.org/picture.png"><script>
const gl = document.getElementById("c").getContext("webgl2", {preserveDrawingBuffer: true});
gl.clearColor(0, 1, 0, 1); gl.clear(gl.COLOR_BUFFER_BIT);
const pixel = new Uint8Array(4); gl.readPixels(3, 3, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
document.title = pixel.join();
</script>"""


def test_webgl_draws_and_outside_requests_are_refused(tmp_path: Path, show_page: Callable[[Path], Shown]):
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    shown = show_page(path)
    assert shown.page.title() == "0,255,0,255"
    assert shown.outside == ["https://example.org/picture.png"]
    assert any("example.org" in fault for fault in shown.faults)


def test_a_missing_browser_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(browser, "NAMES", ("no-such-browser",))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        browser.find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        browser.find_browser()
