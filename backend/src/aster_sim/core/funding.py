"""Funding: at each interval longs pay shorts (or the other way round) in proportion to their notional at mark.

Recorded: income ``FUNDING_FEE``; ACCOUNT_UPDATE with ``m`` FUNDING_FEE that shows balances only for a cross
position, and the position too for an isolated one (asterdex-facts.md section 7). On AsterDEX it is booked seconds after
its hour, when the position may be gone: ``Rules.funding_delay_s`` does that.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from aster_sim.core import errors
from aster_sim.core.account import Account, Position
from aster_sim.core.booking import Booker
from aster_sim.core.funding_terms import HOUR_MS, Funding
from aster_sim.core.market import Market
from aster_sim.core.numbers import ONE, funding_half_even
from aster_sim.core.state import State


class _Owed(NamedTuple):
    """What a position that was held when funding was due pays or gets, and is not booked yet."""

    since_ms: int
    account: Account
    market: Market
    position: Position
    amount: Decimal


class FundingClerk:
    """Settles funding when it is due, and books it then or later."""

    def __init__(self, state: State, booker: Booker) -> None:
        self._state = state
        self._booker = booker
        self._next_ms = 0
        self._owed: list[_Owed] = []
        now = state.now_ms()
        for market in state.markets.values():
            market.funding.schedule(now)
        self.look_ahead()

    def look_ahead(self) -> None:
        """Find the next settlement after terms were changed or restored."""
        self._next_ms = min((market.funding.next_ms for market in self._state.markets.values()), default=2**62)

    def settle_due(self) -> list[str]:
        """Settle every interval that has ended by now; the symbols settled, one entry for each interval.

        A venue that was down, or whose clock jumped, settles each interval since, at the present mark price.
        """
        now = self._state.now_ms()
        settled: list[str] = []
        while self._next_ms <= now:
            for market in self._state.markets.values():
                if market.funding.next_ms == self._next_ms:
                    self._settle(market)
                    settled.append(market.instrument.symbol)
            self.look_ahead()
        self._book_what_is_due(now)
        return settled

    def _book_what_is_due(self, now: int) -> None:
        delay_ms = int(self._state.rules.funding_delay_s * 1000)
        owed, self._owed = self._owed, []
        for one in owed:
            if one.since_ms + delay_ms > now:
                self._owed.append(one)
            else:
                self._booker.pay(one.account, one.market, one.position, "FUNDING_FEE", one.amount, "FUNDING_FEE")

    def change_terms(self, market: Market, rate: Decimal | None, interval_hours: int | None) -> None:
        """Set the rate of the running interval, the interval (hours), or both.

        Raises -1130 for a rate beyond ±100 % or an interval that is not within 1..24 hours.
        """
        terms = market.funding
        if rate is not None:
            if abs(rate) > ONE:
                raise errors.BAD_PARAMETER.error(name="rate")
            terms.rate = rate
        if interval_hours is not None:
            if not 1 <= interval_hours <= 24:
                raise errors.BAD_PARAMETER.error(name="intervalHours")
            terms.interval_ms = interval_hours * HOUR_MS
            terms.schedule(self._state.now_ms())
            self.look_ahead()
        self._state.changes.terms[market.instrument.symbol] = terms

    def _settle(self, market: Market) -> None:
        terms, state = market.funding, self._state
        due_ms = terms.next_ms
        terms.next_ms += terms.interval_ms
        state.changes.terms[market.instrument.symbol] = terms
        if not market.priced:
            return
        mark = market.prices.mark
        record = Funding(market.instrument.symbol, terms.rate, mark, due_ms)
        terms.history.append(record)
        state.changes.fundings.append(record)
        for name in sorted(market.holders):
            account = state.accounts[name]
            for position in account.held(market.instrument.symbol):
                amount = funding_half_even(-position.amount * mark * terms.rate)
                if amount:
                    self._owed.append(_Owed(state.now_ms(), account, market, position, amount))
