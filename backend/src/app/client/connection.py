"""HTTP and WebSocket to a running service, documents as they come. The command line's way, and the typed client's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from app.client.errors import NotTheService, Refused, Unreachable
from app.core.clock import SystemClock
from app.domain.ports import Clock

_TIMEOUT_S = 150
"""For a whole answer; the longest ``wait`` is 120 s."""
_CONNECT_TIMEOUT_S = 5
_HEARTBEAT_S = 15
"""A stream whose service answers no ping for as long is lost."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_STEADY_S = 10
"""A stream that stayed open as long was well, though it brought nothing."""
_GRACEFUL = (aiohttp.WSCloseCode.OK, aiohttp.WSCloseCode.GOING_AWAY)
_WRONG_TOKEN = 4401
_BAD_REQUEST = 4422
_RESTORED = {
    "code": "after_unknown",
    "detail": "the service's record was restored from a copy, so that numbers come again: read from the beginning",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer; ``is_replay`` when it is the result of a decision that was sent before."""

    document: Any
    is_replay: bool


@dataclass(slots=True)
class _Reading:
    """How far a stream has come, and since when it brings nothing; on the clock's monotonic time."""

    after: int
    generation: str = ""
    opened_at: float | None = None
    lost_at: float | None = None
    losses: int = 0


class Connection:
    """One service. Use it through :func:`connection`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, clock: Clock) -> None:
        self._session = session
        self._url = url
        self._clock = clock

    @property
    def url(self) -> str:
        """The service's address."""
        return self._url

    async def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer to a GET; None parameters are left out.

        Raises:
            Refused: the service said no.
            Unreachable: nobody answered.
        """
        return (await self.send("GET", path, parameters)).document

    async def post(self, path: str, body: bytes | None = None, **parameters: Any) -> Any:
        """The JSON answer to a POST; raises as :meth:`get`."""
        return (await self.send("POST", path, parameters, body)).document

    async def submit(self, body: bytes, *, wait_s: float = 0, shape: str | None = None) -> Answer:
        """Send a decision, and wait so long for its end at most; ``shape`` names another engine's document.

        Raises as :meth:`get`.
        """
        return await self.send("POST", "/v1/decisions", {"wait": f"{wait_s:g}", "format": shape}, body)

    async def explain(self, body: bytes, *, shape: str | None = None) -> dict[str, Any]:
        """What a decision would do, if it were sent.

        Raises as :meth:`get`.
        """
        explanation: dict[str, Any] = await self.post("/v1/decisions", body, dry_run="true", format=shape)
        return explanation

    async def send(self, method: str, path: str, parameters: Mapping[str, Any], body: bytes | None = None) -> Answer:
        """Any call.

        Raises as :meth:`get`.
        """
        query = {name: str(value) for name, value in parameters.items() if value is not None}
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._session.request(
                method, f"{self._url}{path}", params=query, data=body, headers=headers
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from None
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(answer.status, document)
        if document is None:
            raise NotTheService(f"{self._url} is no trading execution service")
        return Answer(document, answer.headers.get("Idempotent-Replay") == "true")

    async def events(
        self, after: int | None = None, types: Iterable[str] = (), *, patience_s: float = 0
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The event log behind ``after`` (None: from now on), then live, without a gap or a repetition.

        Args:
            after: ``seq`` of the last event that is known.
            types: only these; all when empty.
            patience_s: for how long a lost connection is sought again, from the last event on; 0 gives up at once. A
                stream that was closed because it was read too slowly is taken up again as well.

        Raises:
            Refused: the token or a parameter is wrong; ``after_unknown``, also in the middle, when the service's record
                was restored from a copy, so that numbers come again: read from the beginning.
            Unreachable: nobody answered, or the stream was lost for longer than ``patience_s``.
        """
        if after is None:
            after = int((await self.get("/v1/status"))["last_seq"])
        reading = _Reading(after)
        wanted = ",".join(types)
        while True:
            try:
                async with contextlib.aclosing(self._stream(reading, wanted)) as stream:
                    async for event in stream:
                        yield event
                if not await self._may_try_again(reading, patience_s):
                    return
            except Unreachable:
                if not await self._may_try_again(reading, patience_s):
                    raise
            except Refused as refused:
                if not refused.is_passing or not await self._may_try_again(reading, patience_s):
                    raise

    async def _may_try_again(self, reading: _Reading, patience_s: float) -> bool:
        """Pause, longer each time; False once patience is at its end."""
        now = self._clock.monotonic()
        if reading.opened_at is not None and now - reading.opened_at > _STEADY_S:
            reading.lost_at = None
        reading.opened_at = None
        if reading.lost_at is None:
            reading.lost_at, reading.losses = now, 0
        if now - reading.lost_at >= patience_s:
            return False
        await self._clock.sleep(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**reading.losses))
        reading.losses += 1
        return True

    async def _stream(self, reading: _Reading, types: str) -> AsyncGenerator[dict[str, Any], None]:
        """One connection's events. Ends without an error when the service ended it in order.

        Raises as :meth:`events`.
        """
        if not reading.generation:
            reading.generation = str((await self.get("/v1/status")).get("generation", ""))
        query = {"after": str(reading.after)} | ({"types": types} if types else {})
        query |= {"generation": reading.generation} if reading.generation else {}
        try:
            async with self._session.ws_connect(
                f"{self._url}/v1/stream", params=query, heartbeat=_HEARTBEAT_S, max_msg_size=0
            ) as stream:
                reading.opened_at = self._clock.monotonic()
                async for message in stream:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        event = json.loads(message.data)
                        reading.after, reading.lost_at = event["seq"], None
                        yield event
                code = stream.close_code
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(error.status, _RESTORED if error.status == HTTPStatus.CONFLICT else None) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from None
        if code == _WRONG_TOKEN:
            raise _refusal(HTTPStatus.UNAUTHORIZED, None)
        if code == _BAD_REQUEST:
            raise _refusal(HTTPStatus.UNPROCESSABLE_ENTITY, None)
        if code not in _GRACEFUL:
            raise Unreachable(f"the stream was closed with code {code}; the last event had seq {reading.after}")

    def _unreachable(self, error: Exception) -> Unreachable:
        kind = "does not answer in time" if isinstance(error, TimeoutError) else "can't be reached"
        return Unreachable(f"the service at {self._url} {kind}")


def _refusal(status: int, document: Any) -> Refused:
    """The error of an answer that says no, whether or not its problem document is known."""
    said = document if isinstance(document, dict) else {}
    return Refused(
        status,
        str(said.get("code", "unauthorized" if status == HTTPStatus.UNAUTHORIZED else "http_error")),
        str(said.get("detail", f"the service answered {status}")),
        field=said.get("field"),
        retry_after_s=said.get("retry_after_seconds"),
        exchange_code=said.get("exchange_code"),
    )


@asynccontextmanager
async def connection(url: str, token: str | None = None, *, clock: Clock | None = None) -> AsyncIterator[Connection]:
    """A connection to the service at ``url``; nothing is sent before the first call."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Connection(session, url.rstrip("/"), clock or SystemClock())
