"""One request at a time: budget, turn, stamp, signature, transport, verdict. Everything typed is built on this.

A mutation is transmitted once and comes back as what is known of it. Only a refused clock (-4225, -1021) is answered by
one more attempt with a fresh stamp, because it proves that the first was not executed (scenario L2). Reads are retried,
with growing waits, and raise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn, TypeVar

import msgspec
import structlog

from app.domain.errors import (
    AuthRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    RefusedByExchange,
    TesError,
    Unavailable,
    Verdict,
)
from app.domain.ports import Clock, Randomness
from app.domain.reports import NeverSent, Refused, RequestStamp, Unknown
from app.domain.troubles import AccessRefused, ClockAstray, SilenceAsked, Trouble
from app.integrations.aster import endpoints, wire
from app.integrations.aster.access import Access
from app.integrations.aster.auth import Authenticator
from app.integrations.aster.budget import OrderWindows, RequestBudget
from app.integrations.aster.endpoints import Endpoint, Security
from app.integrations.aster.errors import ASKS_FOR_SILENCE, Failure, classify
from app.integrations.aster.exchange_clock import EPOCH, ExchangeClock, ms_from_datetime
from app.integrations.aster.priorities import Priority
from app.integrations.aster.send_queue import SendQueue
from app.integrations.aster.transport import Response, Transport, TransportNotSent, TransportOutcomeUnknown

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_NO_HEADERS: Mapping[str, str] = {}
_REFRESH_PAUSE_S = 5.0
_SAYS_NOTHING_OF_A_KEY = frozenset({Verdict.UNKNOWN, Verdict.UNAVAILABLE}) | ASKS_FOR_SILENCE
_COMES_BACK_S = 1.0
"""So much later than it was told may an exit that has to wait ask again."""
_UNSIGNED = RequestStamp(value=0, dead_after=EPOCH)
_ALARMING_MOVE_S = 0.5
_ALARMING_OFFSET_S = 1.0
_decode_time = msgspec.json.Decoder(wire.ServerTime).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """The exchange acted and said ``body``; ``stamp`` is that of the request it answered."""

    body: bytes
    stamp: RequestStamp


Mutation = Answer | Refused | NeverSent | Unknown


class _Unanswered(TesError):
    """A request left, and no whole answer came back."""

    def __init__(self, message: str, stamp: RequestStamp) -> None:
        super().__init__(message)
        self.stamp = stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """How often a failed read is tried, and the wait before attempt n: base · 2ⁿ · U(0.5, 1) seconds."""

    attempts: int = 3
    base_delay_s: float = 0.2


class Gateway:
    """See the module. ``timeout_s`` holds for each read, ``order_timeout_s`` for each mutation.

    ``on_trouble`` hears of what concerns more than one request; it must not block.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        auth: Authenticator,
        exchange_clock: ExchangeClock,
        clock: Clock,
        randomness: Randomness,
        budget: RequestBudget,
        order_windows: OrderWindows,
        timeout_s: float,
        order_timeout_s: float,
        read_policy: ReadPolicy,
    ) -> None:
        self._transport = transport
        self.auth = auth
        self.exchange_clock = exchange_clock
        self._clock = clock
        self._randomness = randomness
        self.budget = budget
        self.order_windows = order_windows
        self._timeout_s = timeout_s
        self._order_timeout_s = order_timeout_s
        self._read_policy = read_policy
        self._next_refresh_at = 0.0
        self.access = Access(clock)
        self.queue = SendQueue()
        self.on_trouble: Callable[[Trouble], None] = lambda _: None
        self._is_offset_told = False
        self._paths = {
            endpoint: endpoint.path(is_v3=auth.is_v3)
            for endpoint in vars(endpoints).values()
            if isinstance(endpoint, Endpoint)
        }

    # --- mutations

    async def mutate(
        self,
        endpoint: Endpoint,
        form: str,
        *,
        priority: Priority,
        stamp: RequestStamp | None = None,
        orders: int = 0,
        owner: str | None = None,
    ) -> Mutation:
        """Transmit once. Never raises for what the exchange or the network does.

        Args:
            endpoint: which.
            form: its parameters, escaped, without stamp and signature.
            priority: its place in the budget.
            stamp: taken earlier; then it is not replaced, and a stamp past its window is ``NeverSent``. Whoever took it
                has waited for a turn in :attr:`queue` before. Without one, it is taken when the request leaves.
            orders: how many orders the exchange will count.
            owner: the trade for which room may be kept.
        """
        if not self.exchange_clock.is_synchronised:
            return NeverSent(reason="the exchange's time is not known yet")
        if stamp is not None and not self.auth.is_alive(stamp):
            return NeverSent(reason="the stamp was past its window before it was sent")
        outcome = await self._transmit(endpoint, form, stamp, priority, orders, owner)
        if isinstance(outcome, Refused) and outcome.family is Refusal.CLOCK:
            try:
                await self.resynchronise()
            except (Unavailable, RefusedByExchange):
                return outcome
            if stamp is None:
                outcome = await self._transmit(endpoint, form, None, priority, orders, owner)
        return outcome

    async def _transmit(
        self,
        endpoint: Endpoint,
        form: str,
        stamp: RequestStamp | None,
        priority: Priority,
        orders: int,
        owner: str | None,
    ) -> Mutation:
        if self._is_signed(endpoint) and self.access.wait_s(priority):
            return NeverSent(reason="the exchange has just refused our key")
        wait = self._admit(endpoint.weight, priority, orders, owner)
        if wait is not None:
            return NeverSent(reason="the exchange's rate limit leaves no room", retry_after_s=wait)
        try:
            used, response, failure = await self._send(endpoint, form, stamp, priority, endpoint.weight, orders)
        except (TransportNotSent, NotSent) as error:
            return NeverSent(reason=str(error))
        except _Unanswered as error:
            return Unknown(reason=str(error), stamp=error.stamp)
        self._note_access(endpoint, failure)
        if failure is None:
            self.budget.welcomed()
            return Answer(response.body, used)
        wait = self._note_rate_limit(failure)
        if failure.verdict in (Verdict.UNKNOWN, Verdict.UNAVAILABLE, Verdict.FIREWALL):
            return Unknown(reason=f"HTTP {failure.http_status}: {failure.message}", stamp=used)
        return Refused(family=failure.family, code=failure.code, message=failure.message, retry_after_s=wait)

    # --- reads

    async def read(
        self,
        endpoint: Endpoint,
        form: str,
        decode: Callable[[bytes], _T],
        *,
        priority: Priority = Priority.QUERY,
        weight: int | None = None,
    ) -> _T:
        """Ask, and ask again after a bounded wait when the connection or the exchange failed.

        Raises:
            Unavailable: no readable answer. It proves nothing (scenario U4).
            RateLimited: the exchange wants silence, or our budget is used up.
            AuthRefused: key, signature or agent.
            RefusedByExchange: any other refusal, with its family and code.
        """
        if self._is_signed(endpoint):
            await self._keep_time_fresh()
        cost = endpoint.weight if weight is None else weight
        return await self._patiently(lambda: self._read_once(endpoint, form, decode, priority, cost))

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        may_resign = True
        attempt = 0
        while True:
            try:
                return await ask()
            except RefusedByExchange as error:
                if error.family is not Refusal.CLOCK or not may_resign:
                    raise
                may_resign = False
                await self.resynchronise()
            except Unavailable as error:
                attempt += 1
                if attempt >= self._read_policy.attempts or not _is_passing(error):
                    raise
                delay = self._read_policy.base_delay_s * 2.0**attempt * self._randomness.uniform(0.5, 1.0)
                _log.info("aster.read_retried", attempt=attempt, delay_s=round(delay, 3), reason=error.message)
                await self._clock.sleep(delay)

    async def _read_once(
        self, endpoint: Endpoint, form: str, decode: Callable[[bytes], _T], priority: Priority, weight: int
    ) -> _T:
        if self._is_signed(endpoint) and self.access.wait_s(priority):
            raise AuthRefused("the exchange has just refused our key")
        wait = self._admit(weight, priority, 0, None)
        if wait is not None:
            raise RateLimited("the exchange's rate limit leaves no room", retry_after_s=wait)
        try:
            _, response, failure = await self._send(endpoint, form, None, priority, weight, 0)
        except (TransportNotSent, NotSent, _Unanswered) as error:
            raise Unavailable(str(error)) from error
        self._note_access(endpoint, failure)
        if failure is not None:
            self._raise_for_read(failure)
        self.budget.welcomed()
        try:
            return decode(response.body)
        except (ValueError, OverflowError) as error:
            raise Unavailable(
                f"the exchange's answer can't be read ({type(error).__name__})", http_status=200
            ) from error

    def _raise_for_read(self, failure: Failure) -> NoReturn:
        code, status, text = failure.code, failure.http_status, failure.message
        match failure.verdict:
            case Verdict.RATE_LIMITED | Verdict.FIREWALL:
                raise RateLimited(
                    text, retry_after_s=self._note_rate_limit(failure) or 0.0, code=code, http_status=status
                )
            case Verdict.UNAVAILABLE | Verdict.UNKNOWN:
                raise Unavailable(text, code=code, http_status=status)
            case Verdict.AUTH:
                raise AuthRefused(text, code=code, http_status=status)
            case _:
                raise RefusedByExchange(text, family=failure.family, code=code, http_status=status)

    # --- one request

    def _is_signed(self, endpoint: Endpoint) -> bool:
        return endpoint.security is Security.SIGNED or (
            endpoint.security is Security.KEY_ONLY_IN_V1 and self.auth.is_v3
        )

    def _admit(self, weight: int, priority: Priority, orders: int, owner: str | None) -> float | None:
        granted = priority
        if owner is not None and self.order_windows.kept.holds(owner, priority):
            granted = min(priority, Priority.TARGET)  # it was let in when its room was kept
        wait = self.budget.admit(weight, granted)
        if wait is None and orders:
            wait = self.order_windows.admit(orders, granted)
            if wait is not None:
                self.budget.settle(weight, None)
        if owner is not None:
            self._use_or_keep_room(owner, priority, weight, orders, wait)
        return wait

    def _use_or_keep_room(self, owner: str, priority: Priority, weight: int, orders: int, wait: float | None) -> None:
        """What leaves uses up its room; an exit that must wait keeps some, so that nothing lesser goes first (L7)."""
        for kept, amount in ((self.budget.kept, weight), (self.order_windows.kept, orders)):
            if wait is None:
                kept.use(owner, priority, amount)
            elif priority <= Priority.TARGET and not kept.holds(owner, priority):
                kept.keep(owner, priority, amount, wait + _COMES_BACK_S)

    async def _send(
        self,
        endpoint: Endpoint,
        form: str,
        stamp: RequestStamp | None,
        priority: Priority,
        weight: int,
        orders: int,
    ) -> tuple[RequestStamp, Response, Failure | None]:
        """Sign and send what was admitted; without a ``stamp``, when its turn has come.

        Raises:
            TransportNotSent, NotSent: nothing left this machine.
            _Unanswered: it left, and no whole answer came back.
        """
        seen: Mapping[str, str] | None = None
        counted: Mapping[str, str] | None = None
        is_refusal = False
        try:
            async with self.queue.turn(priority) if stamp is None else nullcontext():
                used = stamp if stamp is not None else self._stamp_now(endpoint)
                seen = counted = _NO_HEADERS
                response = await self._exchange(endpoint, form, used)
            failure = classify(response.status, response.body, response.headers, is_mutation=endpoint.method != "GET")
            seen, is_refusal = response.headers, response.status in (429, 418)
            counted = None if failure is not None and failure.verdict is Verdict.CLOCK else seen
        except TransportNotSent:
            seen = counted = None
            raise
        finally:
            self.budget.settle(weight, seen, is_refusal=is_refusal)
            if orders:
                self.order_windows.settle(orders, counted)
        return used, response, failure

    def _stamp_now(self, endpoint: Endpoint) -> RequestStamp:
        return self.auth.stamp() if self._is_signed(endpoint) else _UNSIGNED

    async def _exchange(self, endpoint: Endpoint, form: str, stamp: RequestStamp) -> Response:
        is_signed = self._is_signed(endpoint)
        text = self.auth.sign(form, stamp) if is_signed else form
        if is_signed:
            self.auth.leaves(stamp)
        query, body = (text, "") if endpoint.method == "GET" else ("", text)
        headers = _NO_HEADERS if endpoint.security is Security.PUBLIC else self.auth.headers
        timeout_s = self._timeout_s if endpoint.method == "GET" else self._order_timeout_s
        path = self._paths[endpoint]
        try:
            return await self._transport.request(endpoint.method, path, query, body, headers, timeout_s)
        except TransportOutcomeUnknown as error:
            raise _Unanswered(str(error), stamp) from error

    def _note_access(self, endpoint: Endpoint, failure: Failure | None) -> None:
        """Keep track of whether our key is taken, and tell when it is not (scenario L6)."""
        if not self._is_signed(endpoint):
            return
        if failure is not None and failure.verdict is Verdict.AUTH:
            self.access.refused()
            self.on_trouble(AccessRefused(code=failure.code, message=failure.message))
        elif failure is None or failure.verdict not in _SAYS_NOTHING_OF_A_KEY:
            self.access.granted()

    def _note_rate_limit(self, failure: Failure) -> float | None:
        if failure.verdict not in ASKS_FOR_SILENCE:
            return None
        wait = failure.retry_after_s
        if wait is None and failure.banned_until_ms is not None and self.exchange_clock.is_synchronised:
            wait = max(1.0, (failure.banned_until_ms - ms_from_datetime(self.exchange_clock.now())) / 1000)
        if failure.code == -1015 and failure.http_status not in (429, 418):
            wait = self.order_windows.refused(wait)
        else:
            known_s = self.budget.blocked_for_s
            wait = self.budget.refused(failure.http_status, wait)
            if known_s == 0 or wait > known_s + 1:
                is_firewall = failure.verdict is Verdict.FIREWALL
                self.on_trouble(SilenceAsked(is_ban=failure.http_status == 418, wait_s=wait, is_firewall=is_firewall))
        _log.warning(
            "aster.rate_limited", http_status=failure.http_status, code=failure.code, retry_after_s=round(wait, 3)
        )
        return wait

    # --- time

    async def synchronise(self, samples: int) -> None:
        """Ask for the exchange's time ``samples`` times, one after the other. Raises as :meth:`read` does."""
        for _ in range(samples):
            await self._patiently(self._sample_time)

    async def exchange_now(self) -> datetime:
        """The exchange's time, asked for first when it was never heard. Raises as :meth:`read` does."""
        if not self.exchange_clock.is_synchronised:
            await self.synchronise(1)
        return self.exchange_clock.now()

    async def resynchronise(self) -> None:
        """Ask again for a time that the exchange has refused. Raises as :meth:`read` does, without retries."""
        _log.warning("aster.clock_refused")
        await self._sample_time()

    async def _sample_time(self) -> None:
        sent_at = self._clock.monotonic()
        server_ms = await self._read_once(endpoints.TIME, "", _server_time, Priority.CLOSE, endpoints.TIME.weight)
        if not self.exchange_clock.observe(server_ms, sent_at, self._clock.monotonic()):
            raise Unavailable("the exchange took too long to tell its time")
        self._look_at_clocks()

    @property
    def clock_offset(self) -> timedelta:
        """By how much the exchange's clock is ahead of the host's wall clock.

        Raises:
            ClockNotSynchronised: it was never heard.
        """
        return self.exchange_clock.now() - self._clock.now()

    def _look_at_clocks(self) -> None:
        """Tell when the exchange's clock was set, and once when the host's wall clock is off it (scenario L2)."""
        moved_s = self.exchange_clock.moved_s
        offset = self.clock_offset
        is_off = abs(offset.total_seconds()) > _ALARMING_OFFSET_S
        if abs(moved_s) > _ALARMING_MOVE_S or (is_off and not self._is_offset_told):
            self.on_trouble(ClockAstray(moved=timedelta(seconds=moved_s), offset=offset))
        self._is_offset_told = is_off

    async def _keep_time_fresh(self) -> None:
        """Sample when the last sample is old. A failure is only noted: the old estimate still serves."""
        now = self._clock.monotonic()
        if not self.exchange_clock.wants_sample or now < self._next_refresh_at:
            return
        self._next_refresh_at = now + _REFRESH_PAUSE_S
        try:
            await self._sample_time()
        except (Unavailable, RefusedByExchange) as error:
            _log.warning("aster.clock_not_refreshed", reason=error.message)


def answer_of(mutation: Mutation) -> Answer:
    """The answer of a mutation whose outcome is no placement.

    Raises:
        NotSent: nothing left this machine.
        OutcomeUnknown: it left, and nobody knows.
        RateLimited, AuthRefused, RefusedByExchange: the exchange did not act.
    """
    match mutation:
        case Answer():
            return mutation
        case NeverSent(reason=reason):
            raise NotSent(reason)
        case Unknown(reason=reason):
            raise OutcomeUnknown(reason)
        case Refused(family=Refusal.RATE_LIMIT, code=code, message=message, retry_after_s=wait):
            raise RateLimited(message, retry_after_s=wait or 0.0, code=code)
        case Refused(family=Refusal.AUTH, code=code, message=message):
            raise AuthRefused(message, code=code)
        case Refused(family=family, code=code, message=message):
            raise RefusedByExchange(message, family=family, code=code)


def _server_time(body: bytes) -> int:
    return _decode_time(body).server_time


def _is_passing(error: Unavailable) -> bool:
    """Whether asking again may help: no answer at all, or the exchange's own trouble."""
    return error.http_status is None or error.http_status >= 500
