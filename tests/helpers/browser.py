"""Chromium, driven as a person would: pages opened, files chosen, keys pressed, pictures taken.

The W3C's WebDriver protocol is a few JSON requests to chromedriver, fewer than a client's packages would be.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic",
           "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key under which WebDriver names an element


def required(reason: str) -> None:
    """Skip the test, saying why; fail it where ETDNN_REQUIRE_BROWSER=1 says that all is installed."""
    if os.environ.get("ETDNN_REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def find_programs() -> tuple[str, str]:
    """Return the paths of Chromium and chromedriver."""
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        required(f"no browser: {' or '.join(BROWSERS)}, and chromedriver, must be on PATH")
    return browser, driver


class Browser:
    """A session of chromedriver; `opened` is a context that ends it."""

    def __init__(self, address: str, binary: str, options: list[str]):
        self.address = address
        wanted = {
            "goog:chromeOptions": {"binary": binary, "args": [*OPTIONS, *options]},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self.address += f"/{session}"
        self._call("POST", "/timeouts", {"script": 120000, "pageLoad": 120000})

    def open(self, address: str) -> None:
        """Load a page."""
        self._call("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page; a promise that it returns is waited for."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """Return the text that an element shows, "" where it is hidden."""
        script = "const it = document.querySelector(arguments[0]); return it.checkVisibility() ? it.innerText : ''"
        return self.run(script, selector)

    def find(self, selector: str) -> str:
        """Return WebDriver's name of an element."""
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]

    def click(self, selector: str) -> None:
        """Click on an element where it can be clicked on."""
        self._call("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Send keys to an element; to a file input, the path of a file."""
        self._call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def wait(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        """Return what `condition` gives once it is true; the test fails when it never is."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "the page did not get there in time"
            time.sleep(0.05)
        return found

    def resize(self, width: int, height: int, *, dark: bool = False) -> None:
        """Show the page as on a screen of this size, light or dark."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        shown = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shown["data"]))

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Run a command of Chromium's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def console(self) -> list[str]:
        """Return what the console got since the last call."""
        return [line["message"] for line in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[tuple[str, str]]:
        """Return (method, address) of all requests since the last call."""
        lines = (
            json.loads(line["message"])["message"] for line in self._call("POST", "/se/log", {"type": "performance"})
        )
        sent = (line["params"]["request"] for line in lines if line["method"] == "Network.requestWillBeSent")
        return [(request["method"], request["url"]) for request in sent]

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", "")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {json.load(error)['value']['message']}") from None


@contextmanager
def opened(*options: str) -> Iterator[Browser]:
    """Give a browser of its own profile, started with further options."""
    binary, driver = find_programs()
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = next(
            found[1] for line in process.stdout if (found := re.search(r"started successfully on port (\d+)", line))
        )
        browser = Browser(f"http://127.0.0.1:{port}/session", binary, list(options))
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def web_runtime() -> Path:
    """Return the folder of onnxruntime-web."""
    folder = Path(__file__).resolve().parents[2] / "tools" / "web"
    if not (folder / "VERSION").is_file():
        required("onnxruntime-web is not installed: bash tools/install_web.sh")
    return folder
