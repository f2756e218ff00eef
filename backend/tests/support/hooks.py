"""Web hooks on loopback that take alerts, refuse them, or hang."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SECRET = "s3cret-in-the-path"
LONGEST_HANG_S = 30.0

loads_apprise = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""One of Apprise's plugins imports what Python 3.13 no longer has."""


class Hook:
    """A real HTTP server. ``answers`` are the statuses of the next requests; the last one stays. ``hang`` holds all."""

    def __init__(self, port: int, answers: list[int], *, hangs: bool) -> None:
        self.url = f"json://user:{SECRET}@127.0.0.1:{port}/{SECRET}?rto={LONGEST_HANG_S:g}"
        self.label = f"json://127.0.0.1:{port}/********"
        self.messages: list[dict[str, Any]] = []
        """What came, whatever it was answered."""
        self.released = threading.Event()
        self._answers = answers
        if not hangs:
            self.released.set()

    @property
    def titles(self) -> list[str]:
        """The titles of what came."""
        return [message["title"] for message in self.messages]

    @property
    def sentences(self) -> list[str]:
        """The first lines of what came."""
        return [message["message"].split("\n")[0] for message in self.messages]

    def take(self, message: dict[str, Any]) -> int:
        """The status for a message, once it may be answered."""
        self.messages.append(message)
        self.released.wait(LONGEST_HANG_S)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextmanager
def web_hook(*answers: int, hangs: bool = False) -> Iterator[Hook]:
    """A hook that answers so, 200 unless told otherwise; one that hangs is released at the end."""
    hooks: list[Hook] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = hooks[0].take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            try:
                self.send_response(status)
                self.end_headers()
            except OSError:
                """Nobody waited for it."""

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hooks.append(Hook(server.server_port, list(answers) or [200], hangs=hangs))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hooks[0]
    finally:
        hooks[0].released.set()
        server.shutdown()
        thread.join()
        server.server_close()
