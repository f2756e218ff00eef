"""What every HTTP answer passes: security headers, a bound on the time of an answer to a GET, a word for our bugs."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import Problem

READ_TIMEOUT_S = 30.0
"""For an answer to a GET. What acts on the exchange is never cut off: it goes on, and so does whoever waits for it."""
_READING = ("GET", "HEAD", "OPTIONS")
_LATE = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "not_ready",
    f"no answer within {READ_TIMEOUT_S:.0f} s: ask for less, or again later",
    headers={"Retry-After": "5"},
)
_BUG = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "the service failed; its log says where")

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What an answer gets unless it says otherwise. There is no CORS header anywhere: no other site's page may ask."""


class Edge:
    """ASGI middleware around everything but streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through, within its bounds."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def securing(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                headers += [header for header in SECURITY_HEADERS if header[0] not in said]
                message = {**message, "headers": headers}
            await send(message)

        timeout_s = READ_TIMEOUT_S if scope["method"] in _READING else None
        try:
            async with asyncio.timeout(timeout_s) as limit:
                await self._app(scope, receive, securing)
        except Exception as error:  # the sender gets an answer whatever broke; what is no lateness goes on to the log
            is_late = isinstance(error, TimeoutError) and limit.expired()
            if not is_started:
                await (_LATE if is_late else _BUG).response()(scope, receive, securing)
            if not is_late:
                raise  # the server writes it to the log
