"""A server for one folder on the loopback interface: files out, nothing in."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from etdnn.errors import UsageError, UserError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
PORT = 8642
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's own policy (web/index.html), and no frames: what it is allowed to load and to reach is this server."""


class _Files(SimpleHTTPRequestHandler):
    """GET and HEAD of files, no listings; a browser starts modules and WebAssembly only under their proper types."""

    extensions_map = {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def parse_request(self):
        """Refuse other names than this machine's own: a site whose name leads here could read the models otherwise."""
        if not super().parse_request():
            return False
        name = self.headers.get("Host", "").partition(":")[0].lower()
        if name not in NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "the page is served on this machine only")
        return name in NAMES

    def end_headers(self):
        """Add the policy; the next start may have other models under the same names, so nothing is kept."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def list_directory(self, path):
        """Answer 404: folders are not listed."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_arguments):
        """Keep quiet: the terminal shows the address."""


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True  # a port that an ended server still waits on is free
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Say nothing of a browser that left in the middle of a file."""


def open_server(folder: str | Path, port: int = PORT) -> ThreadingHTTPServer:
    """Return a server of `folder` on the loopback interface; port 0 takes any free one (`server.server_port`).

    UserError for a port that is in use or not allowed.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: ports go from 0 (any free one) to 65535")
    try:
        return _Server((HOST, port), partial(_Files, directory=str(folder)))
    except OSError as error:
        reason = "in use" if error.errno == errno.EADDRINUSE else (error.strerror or str(error)).lower()
        raise UserError(f"port {port}: {reason}; give another --port, or --port 0 for any free one") from None


@contextmanager
def ends_when_told() -> Iterator[None]:
    """Make a request to end (SIGTERM) what Ctrl-C is, so that what was made for the time being is removed."""

    def leave(_number, _frame):
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
