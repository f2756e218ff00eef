"""The network between the service and the venue: seeded latency and loss, and an exchange front that has bad days.

A request is the text that the real transport would send; it goes to the venue's own dispatch. What can't happen to TLS
over TCP does not happen here either: no request arrives twice, and frames of one connection keep their order. (Doubled,
late and reordered frames come from the venue's fault plan, which is where a real exchange makes them.)
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

import msgspec

from app.domain.ids import parse_client_order_id
from app.integrations.aster.transport import (
    NOT_OURS,
    Response,
    StreamLost,
    TransportNotSent,
    TransportOutcomeUnknown,
)
from aster_sim.http.commands import run_command
from aster_sim.http.dispatch import Arrival
from aster_sim.http.hub import Subscriber
from proof.exchange import ADDRESS, Exchange, Reply
from proof.fates import BY_NAME, FATES, NOTHING, ORDERS_ONLY, Fate, Weather
from proof.loop import Livelock, Owner, VirtualLoop
from proof.trace import Trace

_ENCODE = msgspec.json.Encoder().encode
RUNAWAY = 2_500
"""More requests than any world has a reason for."""
_RESET_S = 0.02
_STUCK_S = (3.0, 20.0)
"""How long after its window a stuck request is acted on; the service gives it up in between."""
_DEAD_PEER_S = 22.0
"""How long the real connector's heartbeat needs to notice a peer that is gone."""


@dataclass(slots=True)
class Sent:
    """One request: what the service meant, and what became of it."""

    process: int
    at: float
    method: str
    path: str
    params: dict[str, str]
    fate: str
    client_order_id: str = ""
    arrived: float | None = None
    status: int | None = None
    code: int | None = None
    is_done: bool = False
    """Whether the exchange did what was asked, whatever it then said."""
    answered: float | None = None
    """When the answer reached the service, if it did."""
    retry_after_s: float = 0.0


class Wire:
    """Both directions of one host's network."""

    def __init__(
        self, loop: VirtualLoop, exchange: Exchange, dice: random.Random, trace: Trace, window_s: float
    ) -> None:
        self.loop = loop
        self.exchange = exchange
        self.window_s = window_s
        """For how long the exchange takes a request after it was signed."""
        self.weather = Weather()
        self.sent: list[Sent] = []
        self.trace = trace
        self.dice = dice
        self.sockets: dict[Socket, None] = {}
        self.silent: list[Socket] = []
        self._serial = 0

    def latency(self) -> float:
        """One way."""
        weather = self.weather
        return weather.latency_s * self.dice.lognormvariate(0.0, weather.jitter)

    def fate(self, method: str, path: str, client_order_id: str) -> Fate:
        """Draw what becomes of a request."""
        places = method == "POST" and path.endswith("/order")
        role = client_order_id.rpartition(".")[2]
        for kind in (role, role[:1]) if places else (path.rpartition("/")[2],):
            if (places or method == "GET") and kind in self.weather.befalling:
                return self.weather.befalling[kind]
        draw = self.dice.random()
        for family, chance in self.weather.chances.items():
            draw -= chance
            if draw >= 0:
                continue
            if family in ORDERS_ONLY and not places:
                return NOTHING
            return self.dice.choice(FATES[family]) if family in FATES else BY_NAME[family]
        return NOTHING

    def next_serial(self) -> int:
        """A number that nobody else has."""
        self._serial += 1
        return self._serial

    def heal(self) -> None:
        """Nothing is lost any more, and what is dead is noticed."""
        self.weather.chances, self.weather.befalling, self.weather.is_cut = {}, {}, False
        self.weather.history_lag_s = self.weather.leverage_lag_s = 0.0
        for socket in self.silent:
            socket.end("the stream broke (heartbeat)")
        self.silent.clear()

    def drop(self, owner: Owner) -> None:
        """The host's kernel closes the sockets of a process that died."""
        for socket in [socket for socket in self.sockets if socket.owner is owner]:
            self.loop.call_later(self.latency(), socket.hang_up, context=self.loop.outside)


class WireTransport:
    """:class:`app.integrations.aster.transport.Transport` of one process."""

    def __init__(
        self,
        wire: Wire,
        owner: Owner,
        process: int,
        may_send: Callable[[], bool],
        on_mutation: Callable[[str], None],
    ) -> None:
        self._wire = wire
        self._may_send = may_send
        self._owner = owner
        self._process = process
        self._on_mutation = on_mutation

    async def request(
        self, method: str, path: str, query: str, body: str, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        """Send; wait for the answer at most ``timeout_s``."""
        wire = self._wire
        loop, trace = wire.loop, wire.trace
        if self._owner.is_dead:
            raise TransportNotSent("the process is dead")
        if not self._may_send():
            raise TransportNotSent(NOT_OURS)
        params = _params(query or body)
        name = params.get("newClientOrderId") or params.get("origClientOrderId") or ""
        if wire.weather.is_cut:
            trace.note("no route", f"{method} {path} {name}")
            await asyncio.sleep(_RESET_S)
            raise TransportNotSent("no route to the exchange")
        fate = wire.fate(method, path, name)
        sent = Sent(self._process, loop.time(), method, path, params, fate.name, name)
        wire.sent.append(sent)
        if len(wire.sent) > RUNAWAY:
            loop.stopped_by = Livelock(f"{RUNAWAY} requests were sent: somebody asks without end")
        trace.note(
            "send", f"{method} {path.rpartition('/')[2]} {_shown(params)}" + (f" [{fate.name}]" if fate.name else "")
        )
        if fate.name:
            trace.reach(f"fate:{'mutation' if method != 'GET' else 'read'}:{fate.name}")
        answer: asyncio.Future[Reply | None] = loop.create_future()
        call = _Call(wire, sent, fate, query, body, headers, answer)
        held_up_s = wire.dice.uniform(0.2, 1.1) * wire.window_s if fate.wait == "late" else 0.0
        loop.call_later(wire.latency() + held_up_s, call.arrive, context=loop.outside)
        if method != "GET":
            self._on_mutation(_role(sent))
        try:
            async with asyncio.timeout(timeout_s):
                reply = await answer
        except TimeoutError:
            raise TransportOutcomeUnknown("the connection failed after sending (TimeoutError)") from None
        if reply is None:
            raise TransportOutcomeUnknown("the connection failed after sending (ServerDisconnectedError)")
        return Response(reply.status or 0, reply.headers, reply.body)

    async def close(self) -> None:
        """Nothing to give back."""


class _Call:
    """A request on its way there, and its answer on its way back. Belongs to the world: it outlives its sender."""

    __slots__ = ("_answer", "_body", "_fate", "_headers", "_query", "_sent", "_wire")

    def __init__(
        self, wire: Wire, sent: Sent, fate: Fate, query: str, body: str, headers: Mapping[str, str],
        answer: asyncio.Future[Reply | None],
    ) -> None:  # fmt: skip
        self._wire, self._sent, self._fate = wire, sent, fate
        self._query, self._body, self._headers = query, body, headers
        self._answer = answer

    def arrive(self) -> None:
        """The request is at the exchange's door."""
        wire, sent, fate = self._wire, self._sent, self._fate
        if wire.weather.is_cut:
            return  # it was under way when the network broke: nothing comes back either
        reply: Reply | None = None
        arrival = Arrival(sent.method, sent.path, self._query, self._body, ADDRESS, self._headers.get("X-MBX-APIKEY"))
        if fate.wait == "stuck":
            stuck_s = wire.window_s + wire.dice.uniform(*_STUCK_S)
            wire.loop.call_later(stuck_s, self._act_at_last, wire.exchange.admit(arrival), context=wire.loop.outside)
            return
        if fate.done:
            sent.arrived = wire.loop.time()
            reply = wire.exchange.answer(arrival)
            if wire.weather.history_lag_s and sent.path.endswith("/userTrades"):
                reply = wire.exchange.without_newest(reply, wire.weather.history_lag_s)
            sent.is_done = reply.status == 200
            sent.status, sent.code = reply.status, _code(reply)
            wire.trace.note("venue", f"{sent.method} {sent.path.rpartition('/')[2]} {sent.client_order_id} -> "
                            f"{reply.status} {sent.code or ''}")  # fmt: skip
        if fate.wait == "silence":
            return
        back_s = wire.latency()
        if sent.method == "POST" and sent.path.endswith("/leverage"):
            back_s += wire.weather.leverage_lag_s
        if fate.wait == "slow":
            back_s += wire.dice.uniform(1.0, 12.0)
        if fate.status:
            reply = _spoken(fate)
            sent.status, sent.code = fate.status, fate.code or None
        if fate.wait == "reset" or (reply is not None and reply.status is None):
            reply = None
        wire.loop.call_later(back_s, self._deliver, reply, context=wire.loop.outside)

    def _act_at_last(self, act: Callable[[], bool]) -> None:
        self._sent.arrived = self._wire.loop.time()
        self._sent.is_done = act()
        what = "acts at last on" if self._sent.is_done else "refuses at last"
        self._wire.trace.note("venue", f"{what} {self._sent.method} {self._sent.client_order_id}")

    def _deliver(self, reply: Reply | None) -> None:
        wire, sent = self._wire, self._sent
        if self._answer.done():
            return
        if reply is not None:
            sent.answered = wire.loop.time()
            sent.retry_after_s = float(reply.headers.get("retry-after", 0) or 0)
            if sent.code is not None:
                wire.trace.reach(f"code:{sent.method} {sent.path.rpartition('/')[2]} {sent.status} {sent.code}")
                wire.trace.note("answer", f"{sent.method} {sent.path.rpartition('/')[2]} {sent.client_order_id}"
                                f" {sent.status} {sent.code}")  # fmt: skip
        self._answer.set_result(reply)


def _spoken(fate: Fate) -> Reply:
    body = fate.body
    if body is None:
        body = json.dumps({"code": fate.code, "msg": fate.message}).encode()
    kind = "text/html" if fate.body and fate.body.startswith(b"<") else "application/json"
    return Reply(fate.status, {"content-type": kind, **dict(fate.headers)}, body)


def _params(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items() if name != "signature"}


_TELLING = ("symbol", "side", "type", "quantity", "stopPrice", "newClientOrderId", "origClientOrderId", "leverage")


def _shown(params: Mapping[str, str]) -> str:
    return " ".join(params[name] for name in _TELLING if name in params)


def _code(reply: Reply) -> int | None:
    if reply.body.startswith(b'{"code":'):
        code = json.loads(reply.body).get("code")
        return code if isinstance(code, int) and code < 0 else None
    return None


# --- streams --------------------------------------------------------------------------------------------------------


class _Subscriber(Subscriber):
    """A subscriber whose place in the hub's sets depends on nothing but the order of connecting."""

    __slots__ = ("serial",)

    def __init__(self, *, combined: bool, serial: int) -> None:
        self.serial = serial
        super().__init__(combined=combined)

    def __hash__(self) -> int:
        return self.serial


class Socket:
    """One WebSocket: frames arrive late, in order, until either side hangs up."""

    def __init__(self, wire: Wire, owner: Owner, subscriber: _Subscriber) -> None:
        self.owner = owner
        self._wire = wire
        self._subscriber = subscriber
        self._arrived: deque[str] = deque()
        self._news = asyncio.Event()
        self._ended: str | None = None
        self._last_due = 0.0
        self._pump = wire.loop.create_task(self._carry(), context=wire.loop.outside)

    def __hash__(self) -> int:
        return self._subscriber.serial

    async def receive(self) -> str:
        """The next frame."""
        while not self._arrived:
            if self._ended is not None:
                raise StreamLost(self._ended)
            self._news.clear()
            await self._news.wait()
        return self._arrived.popleft()

    async def send(self, text: str) -> None:
        """Say something to the venue."""
        if self._ended is not None:
            raise StreamLost(self._ended)
        wire = self._wire
        wire.loop.call_later(wire.latency(), self._told, text, context=wire.loop.outside)

    def _told(self, text: str) -> None:
        if self in self._wire.sockets and not self._wire.weather.is_cut:
            reply = run_command(self._wire.exchange.runtime, self._subscriber, text)
            self._subscriber.send(_ENCODE(reply))

    async def close(self) -> None:
        """Hang up."""
        if not self.owner.is_dead:
            self._ended = self._ended or "the stream was closed with code 1000"
            self.hang_up()

    def hang_up(self) -> None:
        """The venue notices that nobody listens any more."""
        if self in self._wire.sockets:
            del self._wire.sockets[self]
            self._wire.exchange.hub.remove(self._subscriber)
            self._pump.cancel()

    def silenced(self) -> None:
        """The way is cut: nothing comes any more, and after a while the heartbeat notices."""
        self._wire.silent.append(self)
        self._wire.exchange.hub.remove(self._subscriber)
        self._pump.cancel()
        self._wire.loop.call_later(
            _DEAD_PEER_S, self.end, "the stream broke (heartbeat)", context=self._wire.loop.outside
        )

    async def _carry(self) -> None:
        loop = self._wire.loop
        while True:
            frame = await self._subscriber.frames.get()
            self._last_due = max(loop.time() + self._wire.latency(), self._last_due)
            if frame is None:
                loop.call_at(self._last_due, self.end, "the stream was closed with code 1001", context=loop.outside)
                return
            loop.call_at(self._last_due, self._arrive, frame.decode(), context=loop.outside)

    def _arrive(self, frame: str) -> None:
        if self._ended is None:
            self._arrived.append(frame)
            self._news.set()

    def end(self, reason: str) -> None:
        """The connection is over; the service learns why."""
        if self._ended is None:
            self._wire.trace.note("stream lost", reason)
            self._ended = reason
            self._news.set()
        self.hang_up()


class WireConnector:
    """:class:`app.integrations.aster.transport.StreamConnector` of one process."""

    def __init__(self, wire: Wire, owner: Owner) -> None:
        self._wire = wire
        self._owner = owner

    async def connect(self, path: str) -> Socket:
        """Open a stream of the venue's hub."""
        wire = self._wire
        if self._owner.is_dead:
            raise StreamLost("the process is dead")
        await asyncio.sleep(wire.latency() * 2)
        if wire.weather.is_cut or wire.exchange.faults.outage() is not None:
            raise StreamLost("the stream could not be opened (ClientConnectorError)")
        route, _, query = path.partition("?")
        combined = route == "/stream"
        if combined:
            names = [name for text in parse_qs(query).get("streams", []) for name in text.split("/") if name]
        else:
            names = [unquote(name) for name in route.removeprefix("/ws").split("/") if name]
        subscriber = _Subscriber(combined=combined, serial=wire.next_serial())
        wire.exchange.hub.add(subscriber)
        wire.exchange.hub.subscribe(subscriber, names)
        socket = Socket(wire, self._owner, subscriber)
        wire.sockets[socket] = None
        wire.trace.note("stream", "market" if combined else "user")
        return socket

    async def close(self) -> None:
        """Nothing to give back."""


def _role(sent: Sent) -> str:
    """What a mutation is for: ``entry``, ``exit``, or anything else."""
    key = parse_client_order_id(sent.client_order_id) if sent.method == "POST" else None
    if key is None:
        return "other"
    return "exit" if key.role.is_exit else "entry"
