"""The HTML report in a real browser: nothing on the console, every picture decoded."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.experiment import make_experiment

from etdnn.report.collect import collect
from etdnn.report.write import write_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--enable-logging=stderr", "--v=0")  # fmt: skip
PROBE = """<script>addEventListener("load", async () => {
  const pictures = [...document.images];
  await Promise.all(pictures.map((picture) => picture.decode()));
  document.body.dataset.widths = pictures.map((picture) => picture.naturalWidth).join(" ");
  document.body.dataset.overflow = document.documentElement.scrollWidth - innerWidth;
});</script></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """The path of Chromium; absent, the test is skipped by name, with ETDNN_REQUIRE_BROWSER=1 it fails."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found:
        return found
    reason = f"no browser: none of {', '.join(NAMES)} is on PATH"
    if os.environ.get("ETDNN_REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def visit(browser: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """Return the page's DOM after loading, and the lines that it wrote to the console."""
    command = [browser, *OPTIONS, "--window-size=500,900", f"--user-data-dir={profile}", "--virtual-time-budget=10000",
               "--dump-dom", page.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_page_in_a_browser(browser, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib (extra plots)")
    data, folder = make_experiment(tmp_path)
    page = write_page(collect("toy", data, folder), data, folder / "report", date="2020-01-01")
    text = page.read_text()
    probed = page.with_name("probed.html")
    probed.write_text(text.replace("</body>", PROBE))
    dom, console = visit(browser, probed, tmp_path / "profile")
    assert console == []
    widths = [int(width) for width in re.search(r'data-widths="([\d ]+)"', dom)[1].split()]
    assert len(widths) == text.count("<img") == 9 and min(widths) > 0
    assert int(re.search(r'data-overflow="(-?\d+)"', dom)[1]) <= 0, "the page is wider than a phone's screen"


def test_the_console_would_be_seen(browser, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text("<!DOCTYPE html><title>x</title><script>missing()</script>")
    _, console = visit(browser, broken, tmp_path / "profile")
    assert any("missing is not defined" in line for line in console)
