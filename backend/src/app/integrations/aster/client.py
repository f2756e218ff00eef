"""``AsterClient``: the typed door to AsterDEX, v3 and v1 behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.domain.ports import Clock, Randomness
from app.domain.troubles import Trouble
from app.integrations.aster.account import AccountCalls
from app.integrations.aster.auth import Authenticator, Credentials, V1Authenticator, V3Authenticator, V3Credentials
from app.integrations.aster.budget import Level, OrderWindows, RequestBudget
from app.integrations.aster.exchange_clock import ExchangeClock
from app.integrations.aster.gateway import Gateway
from app.integrations.aster.history import HistoryCalls
from app.integrations.aster.market import MarketCalls
from app.integrations.aster.nonce import NonceAllocator
from app.integrations.aster.orders import OrderCalls
from app.integrations.aster.settings import AsterSettings
from app.integrations.aster.transport import Transport


class AsterClient(OrderCalls, HistoryCalls, AccountCalls, MarketCalls):
    """One account at one exchange. The calls live in the rooms that this class adds up.

    Mutations are transmitted once and say what is known of them: ``Accepted``, ``Refused``, ``NeverSent`` or
    ``Unknown``. Reads are retried within bounds and raise ``Unavailable``, ``RateLimited``, ``AuthRefused`` or
    ``RefusedByExchange``.

    Args:
        transport: owned by the client from now on; :meth:`close` closes it.
        credentials: of the account; what they are decides between v3 and v1.
        clock: waits and measures.
        randomness: jitter of retried reads.
        budget: request weight of this IP; share one between the clients of a process.
        settings: windows and timeouts.
        nonces: the signer's allocator, when another client of this process has the same signer (scenario L3).

    Raises:
        ConfigurationError: the credentials can't work.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials,
        clock: Clock,
        randomness: Randomness,
        budget: RequestBudget | None = None,
        settings: AsterSettings | None = None,
        nonces: NonceAllocator | None = None,
    ) -> None:
        self._settings = settings if settings is not None else AsterSettings()
        self._transport = transport
        exchange_clock = ExchangeClock(clock)
        self._gateway = Gateway(
            transport=transport,
            auth=_authenticator(credentials, exchange_clock, self._settings, nonces),
            exchange_clock=exchange_clock,
            clock=clock,
            randomness=randomness,
            budget=budget if budget is not None else RequestBudget(clock),
            order_windows=OrderWindows(clock),
            timeout_s=self._settings.request_timeout_s,
            order_timeout_s=self._settings.order_timeout_s,
            read_policy=self._settings.read_policy,
        )

    async def start(self) -> None:
        """Learn the exchange's time, nothing else. Raises as reads do; it may be called again."""
        await self._gateway.synchronise(self._settings.time_samples)

    async def close(self) -> None:
        """Close the transport. The listen key stays: other programs may share it (scenario W7)."""
        await self._transport.close()

    def tell_troubles(self, to: Callable[[Trouble], None]) -> None:
        """Tell ``to`` from now on of what concerns more than one request; it must not block."""
        self._gateway.on_trouble = to

    @property
    def entry_lifetime_s(self) -> float | None:
        """For how long the exchange shall take an entry, where that was asked for; see :class:`AsterSettings`."""
        return self._settings.entry_lifetime_s

    @property
    def silent_for_s(self) -> float:
        """Seconds for which nothing may be sent, by no account of this process; zero when we may speak."""
        return self._gateway.budget.blocked_for_s

    @property
    def is_access_refused(self) -> bool:
        """Whether the exchange refused our key the last time that it was shown."""
        return self._gateway.access.is_refused

    @property
    def weight_level(self) -> Level:
        """How far the address's request weight is used up; other clients of this process share it."""
        return self._gateway.budget.level

    @property
    def order_levels(self) -> tuple[Level, Level]:
        """How far the account's orders per minute and per ten seconds are used up."""
        return self._gateway.order_windows.levels

    @property
    def clock_offset_s(self) -> float | None:
        """By how many seconds the exchange's clock is ahead of this host's; None before it was first heard."""
        return self._gateway.clock_offset.total_seconds() if self._gateway.exchange_clock.is_synchronised else None

    def keep_silent(self, seconds: float) -> None:
        """Send nothing for so long: an earlier process was told to."""
        self._gateway.budget.keep_silent(seconds)

    def wait_for_room(self, weight: int, share: float) -> float:
        """Seconds until ``weight`` fits into ``share`` of what the exchange allows per minute; zero is now."""
        return self._gateway.budget.wait_for(weight, share)

    def exchange_time(self) -> datetime:
        """The exchange's time as well as we know it, aware, in UTC.

        Raises:
            NotSent: no sample yet; call :meth:`start`.
        """
        return self._gateway.exchange_clock.now()

    async def sync_time(self) -> None:
        """Take one more sample of the exchange's time. Signed reads do it by themselves once a minute."""
        await self._gateway.synchronise(1)


def _authenticator(
    credentials: Credentials, clock: ExchangeClock, settings: AsterSettings, nonces: NonceAllocator | None
) -> Authenticator:
    if isinstance(credentials, V3Credentials):
        return V3Authenticator(
            credentials,
            clock,
            window_s=settings.fence_window_s,
            margin_s=settings.fence_margin_s,
            entry_lifetime_s=settings.entry_lifetime_s,
            nonces=nonces,
        )
    return V1Authenticator(credentials, clock, recv_window_ms=settings.recv_window_ms, margin_s=settings.fence_margin_s)
