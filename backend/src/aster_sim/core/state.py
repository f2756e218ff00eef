"""The exchange's memory: markets, accounts, counters, and what changed since somebody last asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from aster_sim.core.account import Account
from aster_sim.core.catalogue import Catalogue
from aster_sim.core.funding_terms import Funding, FundingTerms
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import Income, MarginChange, Order, StrategyTag, Trade

if TYPE_CHECKING:
    from aster_sim.core.strategies import Strategy

TAKER_RATE = Decimal("0.0004")
MAKER_RATE = Decimal(0)
ASSET = "USDT"


class UserEvent(NamedTuple):
    """One user-stream frame and the account that it is for."""

    account: str
    payload: dict[str, Any]


@dataclass(slots=True)
class Counters:
    """The next free id of each kind; ids rise by one and are never used twice, restarts included."""

    order_id: int = 10_000_000_001
    trade_id: int = 100_000_001
    tran_id: int = 1_000_000_000_001
    update_id: int = 1
    strategy_id: int = 20_000_001


@dataclass(slots=True)
class InsuranceFund:
    """What pays for bankrupt positions, in USDT.

    ``balance`` is always ``start`` + ``cleared_in`` − ``cleared_out`` + ``taken_over``: clearance fees of liquidated
    accounts, deficits of theirs, and the result of positions taken over at bankruptcy price and closed at mark.
    """

    start: Decimal = Decimal(1_000_000)
    cleared_in: Decimal = ZERO
    cleared_out: Decimal = ZERO
    taken_over: Decimal = ZERO

    @property
    def balance(self) -> Decimal:
        """What is in the fund."""
        return self.start + self.cleared_in - self.cleared_out + self.taken_over

    def clear(self, amount: Decimal) -> None:
        """Settle with an account: positive is paid to it, negative by it."""
        if amount > ZERO:
            self.cleared_out += amount
        else:
            self.cleared_in -= amount

    def take_over(self, result: Decimal) -> None:
        """Book the result of a position that the fund has taken over."""
        self.taken_over += result


@dataclass(slots=True)
class Rules:
    """Where sources disagree about AsterDEX, which of them the venue follows; changed by the control API.

    ``refuse_unfillable``: FOK orders that cannot be filled and GTX orders that would take are refused with -5021
    and -5022 (as client libraries expect) instead of taken and EXPIRED (as documented).
    ``only_closing_orders_cover``: a close is refused with -2022 for resting orders that can only close themselves,
    instead of any resting order on its side (as seen live on 2026-10-02).
    ``triggers_obey_market_maximum``: a conditional order that becomes a market order above MARKET_LOT_SIZE ends EXPIRED
    with nothing executed; nothing public tells whether it does.
    ``exempt_hedge_closes``: an order that closes a position of hedge mode, where reduce-only can't be sent, is exempt
    from MIN_NOTIONAL as reduce-only orders are; nothing public tells whether it is.
    ``funding_delay_s``: how long after its hour funding is booked; seconds on AsterDEX, none here unless asked for.
    """

    refuse_unfillable: bool = False
    only_closing_orders_cover: bool = False
    triggers_obey_market_maximum: bool = False
    exempt_hedge_closes: bool = False
    funding_delay_s: float = 0.0


@dataclass(slots=True)
class Changes:
    """Entities that changed and have not been journaled yet."""

    orders: dict[int, Order] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    incomes: list[Income] = field(default_factory=list)
    margin_changes: list[MarginChange] = field(default_factory=list)
    fundings: list[Funding] = field(default_factory=list)
    strategies: dict[int, Strategy] = field(default_factory=dict)
    terms: dict[str, FundingTerms] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)


def _everybody(_account: str) -> bool:
    return True


@dataclass(slots=True)
class State:
    """Everything mutable in the venue's core; ``now_us`` is the injected clock, microseconds since 1970.

    ``followed`` tells whether anybody listens to an account's user stream: frames of orders and fills that nobody
    would get are not built. ``touched`` are the symbols whose orders changed since somebody last asked.
    """

    now_us: Callable[[], int]
    catalogue: Catalogue
    markets: Mapping[str, Market]
    taker_rate: Decimal = TAKER_RATE
    maker_rate: Decimal = MAKER_RATE
    accounts: dict[str, Account] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    events: list[UserEvent] = field(default_factory=list)
    followed: Callable[[str], bool] = _everybody
    touched: dict[str, None] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    fills: int = 0
    strategy_news: deque[tuple[StrategyTag, str, str]] = field(default_factory=deque)
    rules: Rules = field(default_factory=Rules)
    fund: InsuranceFund = field(default_factory=InsuranceFund)

    def now_ms(self) -> int:
        """Milliseconds since 1970 by the venue's clock."""
        return self.now_us() // 1000

    def add_income(
        self,
        account: Account,
        symbol: str,
        kind: str,
        amount: Decimal,
        at_ms: int,
        *,
        info: str,
        asset: str = ASSET,
        trade_id: str = "",
    ) -> None:
        """Write a row into an account's money history; the wallet is the caller's to change."""
        income = Income(
            tran_id=self.counters.tran_id,
            account=account.name,
            symbol=symbol,
            income_type=kind,
            income=amount,
            asset=asset,
            info=info,
            time_ms=at_ms,
            trade_id=trade_id,
        )
        self.counters.tran_id += 1
        account.incomes.append(income)
        self.changes.incomes.append(income)

    def emit(self, account: str, payload: dict[str, Any]) -> None:
        """Queue a user-stream event for after the change is durable."""
        self.events.append(UserEvent(account, payload))
