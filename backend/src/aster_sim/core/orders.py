"""Orders: what was asked for, and what has become of it.

These are made for every order and fill, and msgspec makes its structs several times faster than dataclasses.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from aster_sim.core.numbers import ZERO, display_half_even

BUY, SELL = "BUY", "SELL"
BOTH, LONG, SHORT = "BOTH", "LONG", "SHORT"
NEW, PARTIALLY_FILLED, FILLED = "NEW", "PARTIALLY_FILLED", "FILLED"
CANCELED, EXPIRED, EXPIRED_IN_MATCH = "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"
LIMIT, MARKET = "LIMIT", "MARKET"
STOP, STOP_MARKET = "STOP", "STOP_MARKET"
TAKE_PROFIT, TAKE_PROFIT_MARKET = "TAKE_PROFIT", "TAKE_PROFIT_MARKET"
TRAILING = "TRAILING_STOP_MARKET"
MARK_PRICE, CONTRACT_PRICE = "MARK_PRICE", "CONTRACT_PRICE"
GTE_GTC = "GTE_GTC"
HIDDEN = "HIDDEN"
GTX, RPI = "GTX", "RPI"
EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH = "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"
COUNTERPARTY, QUEUE = "COUNTERPARTY_1", "QUEUE_1"
LIQUIDATION, ADL = "LIQUIDATION", "ADL"

OPEN_STATUSES = frozenset({NEW, PARTIALLY_FILLED})
STOP_TYPES = frozenset({STOP, STOP_MARKET, TAKE_PROFIT, TAKE_PROFIT_MARKET})
CONDITIONAL_TYPES = STOP_TYPES | {TRAILING}
STP_MODES = frozenset({EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH})
POST_ONLY = frozenset({GTX, RPI})
LIMIT_PRICED_TYPES = frozenset({LIMIT, STOP, TAKE_PROFIT})
TRIGGERS_INTO_LIMIT = frozenset({STOP, TAKE_PROFIT})


_RANKS = {HIDDEN: 1, RPI: 2}
_UNSEEN = frozenset(_RANKS)


class OrderRequest(msgspec.Struct, frozen=True):
    """A well-formed order as a client asked for it; quantity and prices are zero where not sent."""

    symbol: str
    side: str
    type: str
    position_side: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    stop_price: Decimal
    reduce_only: bool
    close_position: bool
    working_type: str
    price_protect: bool
    activation_price: Decimal
    callback_rate: Decimal
    client_order_id: str
    wants_result: bool
    stp_mode: str = ""
    peg_price_type: str = ""
    peg_offset: Decimal = ZERO


class StrategyTag(msgspec.Struct, frozen=True):
    """Which strategy an order belongs to, as which of its sub-orders."""

    strategy_id: int
    number: int
    kind: str


class Order(msgspec.Struct):
    """One order of one account; ``type`` changes when a conditional order triggers, ``orig_type`` never.

    ``quantity`` is the whole quantity, executed part included (zero for closePosition until it triggers);
    times are milliseconds. ``forced`` is LIQUIDATION or ADL for the exchange's own orders on an account;
    ``stp_mode`` is what happens when it meets an order of its own account, empty for the account's mode.
    ``nonce`` is that of the v3 request that placed it; ``retail`` tells that a person placed it at the website.
    """

    order_id: int
    account: str
    symbol: str
    client_order_id: str
    side: str
    position_side: str
    type: str
    orig_type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    stop_price: Decimal
    reduce_only: bool
    close_position: bool
    working_type: str
    price_protect: bool
    activation_price: Decimal
    callback_rate: Decimal
    created_ms: int
    updated_ms: int
    status: str = NEW
    executed: Decimal = ZERO
    cum_quote: Decimal = ZERO
    amendments: int = 0
    book_seq: int = 0
    trail_extreme: Decimal = ZERO
    forced: str = ""
    stp_mode: str = ""
    strategy: StrategyTag | None = None
    nonce: int = 0
    retail: bool = False

    @property
    def open(self) -> bool:
        """Whether the order can still be executed."""
        return self.status in OPEN_STATUSES

    @property
    def waiting(self) -> bool:
        """Whether it is a conditional order that has not triggered."""
        return self.type in CONDITIONAL_TYPES

    @property
    def remaining(self) -> Decimal:
        """What is left to execute."""
        return self.quantity - self.executed

    @property
    def buys(self) -> bool:
        """Whether it adds to the signed position."""
        return self.side == BUY

    @property
    def closes_only(self) -> bool:
        """Whether it can never open or add exposure, by flag or by hedge-mode side."""
        if self.reduce_only or self.close_position or self.forced:
            return True
        return (self.position_side == LONG and self.side == SELL) or (self.position_side == SHORT and self.side == BUY)

    @property
    def hidden(self) -> bool:
        """Whether the public never sees it in the book."""
        return self.time_in_force in _UNSEEN

    @property
    def rank(self) -> int:
        """Its place among orders at one price: visible ones first, then hidden ones, then those for retail only."""
        return _RANKS.get(self.time_in_force, 0)

    def average_price(self, price_decimals: int) -> Decimal:
        """Quote over quantity for display, half to even at two decimals more than the tick, at least 5."""
        if not self.executed:
            return ZERO
        return display_half_even(self.cum_quote / self.executed, max(5, price_decimals + 2))


class Trade(msgspec.Struct, frozen=True):
    """One fill of one account's order; money in the margin asset, but for commission; time in milliseconds."""

    trade_id: int
    order_id: int
    account: str
    symbol: str
    side: str
    position_side: str
    price: Decimal
    quantity: Decimal
    quote: Decimal
    realised_pnl: Decimal
    commission: Decimal
    commission_asset: str
    maker: bool
    time_ms: int
    position_after: Decimal
    wallet_after: Decimal
    margin_asset: str = "USDT"


class Income(msgspec.Struct, frozen=True):
    """One row of the account's money history: what moved the wallet, by how much."""

    tran_id: int
    account: str
    symbol: str
    income_type: str
    income: Decimal
    asset: str
    info: str
    time_ms: int
    trade_id: str


class MarginChange(msgspec.Struct, frozen=True):
    """Margin that a client moved into (1) or out of (2) an isolated position."""

    account: str
    symbol: str
    position_side: str
    amount: Decimal
    direction: int
    asset: str
    time_ms: int
