"""Margin: what the account has for an entry, and what entries on their way have spoken for (scenario Z4, ADR 9).

The user stream tells of no available balance. But it tells of everything that changes it: orders and positions of ours
and of others, transfers, funding, settings. What is left is the price of what is held, and that comes every second. So
an account that was read a while ago still serves, as a lower bound, where the entry needs so little of it that its last
digits don't matter:

- *void* after whatever we did not do ourselves, until it has been read again;
- *ageing* after what we did: entries are reserved until a read that began after their end, and exits free margin;
- *worth less* by what the cross positions have lost since by the mark price.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from app.domain.errors import ExchangeError
from app.domain.money import ZERO
from app.domain.ports import Clock
from app.domain.reports import AccountReport, MarginType, MarkPrice, PositionReport
from app.integrations.aster.client import AsterClient
from app.integrations.aster.priorities import Priority
from app.services.execution.projection import side_of

log = structlog.get_logger(__name__)

OLDEST_S = 30.0
"""An account that was read longer ago is read again before an entry."""
OLDEST_CHANGE_S = 2.0
"""So is one that we changed longer ago and did not read since."""
LARGEST_SHARE = Decimal("0.5")
"""An entry that needs more of what is available waits for a fresh balance."""
FRESH_S = 1.0
"""A balance that was read so lately, and that nothing has changed since, is fresh; to refuse, one is read all the same:
it may show what is still counted as reserved."""

_IDLE_S = 20.0
_SETTLING_S = 0.5
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    account: AccountReport
    marks: Mapping[str, Decimal]
    """Of what was held."""
    started_at: float
    version: int


@dataclass(slots=True)
class _Reservation:
    amount: Decimal
    ended_at: float | None = None


class Margin:
    """The account's means. ``held`` gives the positions that are not flat, ``last_mark`` the newest mark prices."""

    def __init__(
        self,
        client: AsterClient,
        clock: Clock,
        held: Callable[[], list[PositionReport]],
        last_mark: Callable[[str], MarkPrice | None],
    ) -> None:
        self._client = client
        self._clock = clock
        self._held = held
        self._last_mark = last_mark
        self._reading: _Reading | None = None
        self._version = 0
        self._changed_at: float | None = None
        self._reservations: dict[str, _Reservation] = {}
        self._wanted = asyncio.Event()

    # --- what becomes of the account --------------------------------------------------------------------------------

    def void(self) -> None:
        """Somebody else changed the account, or may have: nothing is known until it is read again."""
        self._version += 1
        self._wanted.set()

    def note_change(self) -> None:
        """We changed the account ourselves: what is known serves a little longer."""
        if self._changed_at is None:
            self._changed_at = self._clock.monotonic()
        self._wanted.set()

    async def keep_fresh(self) -> None:
        """Read the account soon after each change, and now and then; never returns."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    await self._wanted.wait()
            await self._clock.sleep(_SETTLING_S)
            self._wanted.clear()
            try:
                await self.read(Priority.RECONCILIATION)
            except ExchangeError as error:
                log.info("margin.not_read", error=str(error))
                await self._clock.sleep(_PAUSE_S)
                self._wanted.set()

    # --- entries on their way ---------------------------------------------------------------------------------------

    def reserve(self, key: str, amount: Decimal) -> None:
        """Speak for ``amount`` on behalf of an entry."""
        self._reservations.setdefault(key, _Reservation(amount))

    def reserved_before(self, key: str | None) -> Decimal:
        """What entries on their way have spoken for; those before that of ``key``, where it is among them."""
        earlier = ZERO
        for other, reservation in self._reservations.items():
            if other == key:
                break
            earlier += reservation.amount
        return earlier

    def entry_ended(self, trade_id: str, *, took_margin: bool) -> None:
        """The fate of an entry is known. What it took is counted until a read shows it."""
        reservation = self._reservations.get(trade_id)
        if reservation is None or reservation.ended_at is not None:
            return
        if took_margin:
            reservation.ended_at = self._clock.monotonic()
            self.note_change()
        else:
            del self._reservations[trade_id]

    # --- what there is ----------------------------------------------------------------------------------------------

    def at_hand(self, needed: Decimal) -> AccountReport | None:
        """The account, when what is known of it is good enough for an entry that needs ``needed``, reservations in."""
        reading, now = self._reading, self._clock.monotonic()
        if reading is None or reading.version != self._version or now - reading.started_at > OLDEST_S:
            return None
        if self._changed_at is not None and now - self._changed_at > OLDEST_CHANGE_S:
            return None
        loss = self._loss_since(reading)
        account = reading.account
        is_fresh = self._changed_at is None and now - reading.started_at <= FRESH_S
        if needed > (account.available_balance - loss) * (1 if is_fresh else LARGEST_SHARE):
            return None
        if not loss:
            return account
        return replace(
            account,
            available_balance=account.available_balance - loss,
            margin_balance=account.margin_balance - loss,
        )

    async def read(self, priority: Priority = Priority.QUERY) -> AccountReport:
        """The account as the exchange shows it now.

        Raises:
            ExchangeError: it could not be read.
        """
        started_at, version = self._clock.monotonic(), self._version
        marks = {row.symbol: mark.mark_price for row in self._held() if (mark := self._last_mark(row.symbol))}
        account = await self._client.account(priority)
        known = self._reading
        if known is None or known.started_at <= started_at:
            known = self._reading = _Reading(account=account, marks=marks, started_at=started_at, version=version)
            self._settle(started_at)
        return known.account

    def _settle(self, started_at: float) -> None:
        """What ended before a read began is in what it shows."""
        if self._changed_at is not None and self._changed_at < started_at:
            self._changed_at = None
        for trade_id, reservation in tuple(self._reservations.items()):
            if reservation.ended_at is not None and reservation.ended_at < started_at:
                del self._reservations[trade_id]

    def _loss_since(self, reading: _Reading) -> Decimal:
        """What the cross positions have lost since the reading; a gain counts as nothing until it is read."""
        gain = ZERO
        for row in self._held():
            mark = self._last_mark(row.symbol)
            if mark is not None and row.margin_type is MarginType.CROSSED:
                before = reading.marks.get(row.symbol, row.entry_price)
                gain += (mark.mark_price - before) * abs(row.quantity) * side_of(row).sign
        return max(-gain, ZERO)
