"""What happens to our account, live (scenarios W1 to W5, W7).

A stream runs as one task with ``run()``, which never ends by itself; cancel it to stop. Events are handed over in the
order of arrival by a plain call, which must not block. They may come twice around a rotation: consumers merge them by
trade id and cumulative quantity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from app.domain.errors import ExchangeError, RateLimited, RefusedByExchange
from app.domain.ports import Clock, Randomness
from app.domain.reports import StreamDown, StreamUp, UnrecognisedEvent, UserEvent
from app.integrations.aster.backoff import Backoff
from app.integrations.aster.parse_stream import LISTEN_KEY_EXPIRED, user_event
from app.integrations.aster.transport import StreamConnection, StreamConnector, StreamLost

_log = structlog.get_logger(__name__)

RENEW_EVERY_S = 30 * 60.0
"""The key lives for 60 minutes; renewing "about every 60", as the docs say, is a trap (fact sheet, section 7)."""
ROTATE_AFTER_S = 23 * 3600.0
"""The exchange ends each connection after 24 hours (scenario W3)."""
OVERLAP_S = 5.0
"""How long the old connection is still read after the new one is open."""

_BASE_DELAY_S = 0.25
_LONGEST_DELAY_S = 30.0
_STEADY_AFTER_S = 60.0


class ListenKeys(Protocol):
    """The part of the client that the user stream needs."""

    async def open_listen_key(self) -> str:
        """The account's listen key."""
        ...

    async def renew_listen_key(self) -> None:
        """Keep it alive."""
        ...


class SessionEnded(Exception):
    """The present connection or listen key is of no more use; the message says why."""


class UserStream:
    """The account's events, typed, from connection to connection.

    ``on_event`` gets ``StreamUp`` after each connect (``had_gap`` on all but the first), ``StreamDown`` once per
    outage, and everything that the exchange says in between. An exception of ``on_event`` ends :meth:`run`.
    """

    def __init__(
        self,
        client: ListenKeys,
        connector: StreamConnector,
        clock: Clock,
        randomness: Randomness,
        on_event: Callable[[UserEvent], None],
    ) -> None:
        self._client = client
        self._connector = connector
        self._clock = clock
        self._randomness = randomness
        self._on_event = on_event
        self._has_been_up = False
        self._is_down_announced = False
        self._current: StreamConnection | None = None
        self._has_delivered = False
        self._doubts: asyncio.Queue[str] = asyncio.Queue(1)

    def doubt(self, reason: str) -> None:
        """Begin anew with a fresh key and socket: reads show that this one tells us nothing any more (scenario W2).

        A dead key still connects and answers pings, so the stream can't notice by itself.
        """
        if not self._doubts.full():
            self._doubts.put_nowait(reason)

    async def run(self) -> None:
        """Connect, read, renew, rotate, reconnect, until cancelled. All sockets are closed then."""
        backoff = self._new_backoff()
        while True:
            pause = 0.0
            started_at = self._clock.monotonic()
            self._has_delivered = False
            try:
                key = await self._client.open_listen_key()
                reason = await self._session(key, await self._connector.connect(f"/ws/{key}"))
            except (ExchangeError, StreamLost) as error:
                pause = error.retry_after_s if isinstance(error, RateLimited) else 0.0
                reason = str(error)
            if self._clock.monotonic() - started_at > _STEADY_AFTER_S:
                backoff.reset()
            elif self._has_delivered:
                backoff.ease()  # it works, if not for long: without it no entry is accepted
            self._announce_down(reason)
            await backoff.wait(pause)

    def _new_backoff(self) -> Backoff:
        return Backoff(self._clock, self._randomness, base_s=_BASE_DELAY_S, longest_s=_LONGEST_DELAY_S)

    def _announce_up(self) -> None:
        had_gap = self._has_been_up
        self._has_been_up = True
        self._is_down_announced = False
        _log.info("aster.user_stream_up", had_gap=had_gap)
        self._on_event(StreamUp(had_gap=had_gap))

    def _announce_down(self, reason: str) -> None:
        _log.warning("aster.user_stream_down", reason=reason)
        if not self._is_down_announced:
            self._is_down_announced = True
            self._on_event(StreamDown(reason=reason))

    async def _session(self, key: str, first: StreamConnection) -> str:
        """Live on one listen key; return why that ended."""
        reason = "the stream ended"
        self._current = first
        try:
            self._announce_up()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_key_alive())
                group.create_task(self._heed_doubts())
                group.create_task(self._keep_connected(group, key, first))
        except* SessionEnded as ended:
            reason = str(ended.exceptions[0])
        finally:
            await first.close()
        return reason

    async def _heed_doubts(self) -> None:
        while not self._doubts.empty():
            self._doubts.get_nowait()  # they were about an earlier session
        raise SessionEnded(await self._doubts.get())

    async def _keep_key_alive(self) -> None:
        """Renew at once: a key that died before its socket was there would connect all the same, and never tell."""
        while True:
            await self._renew()
            await self._clock.sleep(RENEW_EVERY_S)

    async def _renew(self) -> None:
        """Renew until it works; a key that the exchange refuses ends the session (scenario W1)."""
        backoff = self._new_backoff()
        while True:
            try:
                await self._client.renew_listen_key()
            except RateLimited as error:
                await backoff.wait(error.retry_after_s)
            except RefusedByExchange as error:
                raise SessionEnded(f"the listen key was refused: {error.message}") from None
            except ExchangeError as error:
                _log.warning("aster.listen_key_not_renewed", reason=error.message)
                await backoff.wait()
            else:
                return

    async def _keep_connected(self, group: asyncio.TaskGroup, key: str, connection: StreamConnection) -> None:
        """Read, and put a fresh connection in place of one that nears its 24 hours, with overlap."""
        reader = group.create_task(self._read(connection))
        while True:
            await self._clock.sleep(ROTATE_AFTER_S)
            self._current = await self._open_successor(key)
            successor = group.create_task(self._read(self._current))
            await self._clock.sleep(OVERLAP_S)
            reader.cancel()
            reader = successor
            _log.info("aster.user_stream_rotated")

    async def _open_successor(self, key: str) -> StreamConnection:
        backoff = self._new_backoff()
        while True:
            try:
                return await self._connector.connect(f"/ws/{key}")
            except StreamLost as error:
                _log.warning("aster.user_stream_not_rotated", reason=str(error))
                await backoff.wait()

    async def _read(self, connection: StreamConnection) -> None:
        try:
            while True:
                self._hand_over(await connection.receive())
        except StreamLost as error:
            if connection is self._current:
                raise SessionEnded(str(error)) from None
        finally:
            await connection.close()

    def _hand_over(self, text: str) -> None:
        event = user_event(text)
        if isinstance(event, UnrecognisedEvent):
            if event.kind == LISTEN_KEY_EXPIRED:
                raise SessionEnded("the listen key expired")
            _log.warning("aster.event_unrecognised", kind=event.kind)
        self._has_delivered = True
        self._on_event(event)
