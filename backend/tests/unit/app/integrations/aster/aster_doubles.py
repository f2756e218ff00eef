"""What the tests of this folder put behind the client's seams."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from urllib.parse import parse_qsl

from app.integrations.aster.auth import V1Credentials, V3Credentials
from app.integrations.aster.client import AsterClient
from app.integrations.aster.settings import AsterSettings
from app.integrations.aster.transport import Response, StreamLost

PUBLIC_KEY_OF_THE_DOCS = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"
SIGNER = "0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
USER = "0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e"
V3 = V3Credentials(user=USER, private_key=PUBLIC_KEY_OF_THE_DOCS, chain_id=714)
V1 = V1Credentials(api_key="the-key-of-the-test", api_secret="secret-of-the-test")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


class LeapingClock:
    """Sleeping takes no time here: the clock leaps to the end of the sleep, and notes it."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds - 1000.0)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += max(0.0, seconds)
        await asyncio.sleep(0)


class SteppedClock:
    """Time stands still until a test advances it; sleepers wake in the order of their deadlines."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + max(0.0, seconds), next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        end = self.seconds + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, future = heapq.heappop(self._sleepers)
            self.seconds = max(self.seconds, deadline)
            if not future.done():
                future.set_result(None)
            await settle()
        self.seconds = end


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class MiddlingRandomness:
    """No chance at all."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def token(self, bits: int) -> int:
        return 1


@dataclass
class Sent:
    """A request as the transport got it."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    @property
    def fields(self) -> dict[str, str]:
        return dict(parse_qsl(self.query or self.body, keep_blank_values=True))


Reply = Response | Exception


def json_reply(text: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = text.encode() if isinstance(text, str) else text
    return Response(status, headers or {}, body)


@dataclass
class ScriptedTransport:
    """Answers from a script; ``time`` is always answered, from the clock that the test holds."""

    clock: LeapingClock
    replies: list[Reply | Callable[[Sent], Reply]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    time_asked: int = 0
    skew_ms: int = 0
    is_closed: bool = False

    async def request(
        self, method: str, path: str, query: str, body: str, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        if path.endswith("/time"):
            self.time_asked += 1
            server_ms = NOON_MS + int((self.clock.seconds - 1000.0) * 1000) + self.skew_ms
            return json_reply(f'{{"serverTime":{server_ms}}}')
        request = Sent(method, path, query, body, headers)
        self.sent.append(request)
        reply = self.replies.pop(0)
        answer = reply(request) if callable(reply) else reply
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.is_closed = True


@dataclass
class Bench:
    """A client on a scripted exchange."""

    clock: LeapingClock
    transport: ScriptedTransport
    client: AsterClient

    def will_answer(self, *replies: Reply | Callable[[Sent], Reply]) -> None:
        self.transport.replies.extend(replies)

    @property
    def sent(self) -> list[Sent]:
        return self.transport.sent


async def started_bench(
    credentials: V3Credentials | V1Credentials = V3, settings: AsterSettings | None = None
) -> Bench:
    clock = LeapingClock()
    transport = ScriptedTransport(clock)
    client = AsterClient(transport, credentials, clock, MiddlingRandomness(), settings=settings)
    await client.start()
    return Bench(clock, transport, client)


class ScriptedConnection:
    """A socket whose frames and end the test decides."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_closed = False
        self.heard: list[str] = []
        self._frames: asyncio.Queue[str | None] = asyncio.Queue()

    def say(self, text: str) -> None:
        self._frames.put_nowait(text)

    def end(self) -> None:
        self._frames.put_nowait(None)

    async def receive(self) -> str:
        frame = await self._frames.get()
        if frame is None:
            raise StreamLost("the stream was closed with code 1006")
        return frame

    async def send(self, text: str) -> None:
        self.heard.append(text)

    async def close(self) -> None:
        self.is_closed = True


class ScriptedConnector:
    """Opens scripted sockets, or refuses as often as told."""

    def __init__(self) -> None:
        self.opened: list[ScriptedConnection] = []
        self.refusals = 0
        self.tries = 0

    async def connect(self, path: str) -> ScriptedConnection:
        self.tries += 1
        if self.refusals > 0:
            self.refusals -= 1
            raise StreamLost("the stream could not be opened")
        self.opened.append(ScriptedConnection(path))
        return self.opened[-1]

    async def close(self) -> None:
        """Nothing to give back."""
