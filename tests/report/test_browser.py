"""The HTML report in a real browser: nothing on the console, every picture decoded."""

import pytest
from helpers.browser import opened
from helpers.experiment import make_experiment

from etdnn.report.collect import collect
from etdnn.report.write import write_page

WIDTHS = """return Promise.all([...document.images].map(
    (picture) => picture.decode().then(() => picture.naturalWidth)))"""


@pytest.fixture(scope="module")
def browser():
    with opened() as browser:
        yield browser


def test_page_in_a_browser(browser, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib (extra plots)")
    data, folder = make_experiment(tmp_path)
    page = write_page(collect("toy", data, folder), data, folder / "report", date="2020-01-01")
    browser.resize(390, 900)
    browser.open(page.as_uri())
    widths = browser.run(WIDTHS)
    assert browser.console() == []
    assert len(widths) == page.read_text().count("<img") == 9 and min(widths) > 0
    overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, "the page is wider than a phone's screen"


def test_the_console_would_be_seen(browser, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text("<!DOCTYPE html><title>x</title><script>missing()</script>")
    browser.open(broken.as_uri())
    assert any("missing is not defined" in line for line in browser.console())
