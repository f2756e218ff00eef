"""The event log, live: ``WS /v1/stream`` (contract, sections 6 and 7).

Frames are the events as they stand in the log. The server's pings are the heartbeat; a reader that answers none of them
is gone. One that reads too slowly is closed with a code of its own and comes back with ``after``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from app.api.access import application_of, bearer_token, identify
from app.api.log_head import GENERATION_HEADER, require_known
from app.api.problems import Problem, unauthorized
from app.api.protocol import FRAMES, FramesProtocol
from app.domain.errors import StoreUnavailable
from app.domain.events import EventType
from app.events.broadcast import Broadcast
from app.events.dispatcher import SlowSubscriber

if TYPE_CHECKING:
    from app.bootstrap import Application
    from app.repositories.events import LogHead

_LOG = structlog.get_logger(__name__)
FIRST_MESSAGE_TIMEOUT_S = 10
HEARTBEAT_S = 15
"""The server pings each reader this often; one that leaves a ping unanswered as long is gone."""
_LARGEST_SEQ = 2**63 - 1
_MAXIMUM_REASON_BYTES = 120
T = TypeVar("T")
router = APIRouter()


class CloseCode(IntEnum):
    """Why we end a stream, beside the codes of the protocol."""

    GOING_AWAY = 1001
    TRY_AGAIN_LATER = 1013
    UNAUTHORIZED = 4401
    TOO_SLOW = 4408
    AFTER_UNKNOWN = 4409
    BAD_REQUEST = 4422


class _Refused(Exception):
    """Ends a stream before its first event."""

    def __init__(self, code: CloseCode, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.code = code
        self.problem = problem


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Events behind `after` (default: new ones only), of `types` (default: all), for as long as the reader stays."""
    application = application_of(websocket)
    try:
        await _authorize(websocket, application)
        after, types = _parameters(websocket)
        head = await application.events.head()
        if after is None:
            after = head.last_seq
        _require_known(websocket, after, head)
    except _Refused as refused:
        await _refuse(websocket, refused)
        return
    except WebSocketDisconnect:
        return
    if websocket.application_state is WebSocketState.CONNECTING:
        await websocket.accept(headers=[(GENERATION_HEADER.lower().encode(), head.generation.encode())])
    gone = asyncio.create_task(_until_gone(websocket))
    sender = asyncio.create_task(_send_events(websocket, after, types))
    try:
        await asyncio.wait((gone, sender), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (gone, sender):
            task.cancel()
        await asyncio.gather(gone, sender, return_exceptions=True)


async def _send_events(websocket: WebSocket, after: int, types: frozenset[EventType] | None) -> None:
    connection: FramesProtocol = websocket.scope["extensions"][FRAMES]
    broadcast: Broadcast = websocket.app.state.broadcast
    try:
        await broadcast.follow(after, types, connection)
        connection.expel(CloseCode.GOING_AWAY, "the service is stopping")
    except SlowSubscriber as slow:
        _LOG.warning("stream.too_slow", last_seq=slow.last_seq)
        connection.expel(CloseCode.TOO_SLOW, f"too slow: reconnect with after={slow.last_seq}")
    except StoreUnavailable:
        connection.expel(CloseCode.TRY_AGAIN_LATER, "the event log can't be read now: reconnect later")


async def _until_gone(websocket: WebSocket) -> None:
    """Drop whatever the reader says, until it leaves."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _authorize(websocket: WebSocket, application: Application) -> None:
    """Take the token from the header, else from the first message.

    Raises:
        _Refused: no token came in time, or a wrong one did.
        WebSocketDisconnect: the reader left.
    """
    token = bearer_token(websocket)
    if token is None:
        await websocket.accept()
        token = await _first_message_token(websocket, application)
    try:
        await identify(websocket, token)
    except Problem as problem:
        raise _Refused(CloseCode.UNAUTHORIZED, problem) from None


async def _first_message_token(websocket: WebSocket, application: Application) -> str:
    message = await _within(application, FIRST_MESSAGE_TIMEOUT_S, websocket.receive())
    if message is None:
        raise _Refused(CloseCode.UNAUTHORIZED, unauthorized())
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    try:
        token = json.loads(message.get("text") or message.get("bytes") or "")["token"]
    except (ValueError, TypeError, KeyError, RecursionError):
        token = None
    if not isinstance(token, str):
        problem = Problem(401, "unauthorized", 'the first message must be {"token": "TOKEN"}')
        raise _Refused(CloseCode.UNAUTHORIZED, problem)
    return token


async def _within(application: Application, timeout_s: float, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``, or None when it takes longer; time is the application's."""
    task = asyncio.create_task(work)
    timer = asyncio.create_task(application.clock.sleep(timeout_s))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        timer.cancel()
        task.cancel()
        await asyncio.gather(timer, task, return_exceptions=True)


def _parameters(websocket: WebSocket) -> tuple[int | None, frozenset[EventType] | None]:
    """Read ``after`` and ``types``.

    Raises:
        _Refused: one of them is wrong.
    """
    after = websocket.query_params.get("after")
    if after is not None and not (after.isascii() and after.isdigit() and int(after[:20]) <= _LARGEST_SEQ):
        raise _bad("after must be the seq of an event: a whole number from 0")
    names = [name.strip() for name in websocket.query_params.get("types", "").split(",") if name.strip()]
    known = {kind.value: kind for kind in EventType}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise _bad(f"types: there is no event {unknown[0][:40]!r}")
    return (None if after is None else int(after[:20])), frozenset(known[name] for name in names) or None


def _require_known(websocket: WebSocket, after: int, head: LogHead) -> None:
    try:
        require_known(after, websocket.query_params.get("generation"), head)
    except Problem as problem:
        raise _Refused(CloseCode.AFTER_UNKNOWN, problem) from None


def _bad(detail: str) -> _Refused:
    return _Refused(CloseCode.BAD_REQUEST, Problem(422, "validation_error", detail))


async def _refuse(websocket: WebSocket, refused: _Refused) -> None:
    """Say no as a problem document while the connection is still HTTP, else with a close code."""
    if websocket.application_state is WebSocketState.CONNECTING:
        await websocket.send_denial_response(refused.problem.response())
    else:
        await websocket.close(refused.code, refused.problem.detail.encode()[:_MAXIMUM_REASON_BYTES].decode())
