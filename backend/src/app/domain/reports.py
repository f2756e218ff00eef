"""What the exchange says, as values: orders, fills, positions, balances, prices, settings.

Every number comes from the exchange's own text. Times are aware UTC. Enumerations keep unknown spellings as
``UNRECOGNISED`` beside the raw text, because the exchange adds new ones without notice (scenario W5).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import Refusal
from app.domain.money import ZERO


class Side(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        """The direction that undoes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class PositionSide(StrEnum):
    """``BOTH`` on one-way accounts, ``LONG`` or ``SHORT`` in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class OrderType(StrEnum):
    """Order types that we send."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"

    @property
    def is_conditional(self) -> bool:
        """Whether the order waits for a trigger price."""
        return self not in (OrderType.MARKET, OrderType.LIMIT)


class TimeInForce(StrEnum):
    """How long a limit order stays."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class WorkingType(StrEnum):
    """Which price triggers a conditional order."""

    MARK_PRICE = "MARK_PRICE"
    CONTRACT_PRICE = "CONTRACT_PRICE"


class MarginType(StrEnum):
    """Margin mode of a position."""

    CROSSED = "CROSSED"
    ISOLATED = "ISOLATED"


class ExchangeOrderStatus(StrEnum):
    """Order status in the exchange's spelling (fact sheet, section 6)."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNRECOGNISED = "UNRECOGNISED"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order as we wish it. Absent fields are not sent.

    ``quantity`` is in base units, ``price`` and ``stop_price`` in quote units, ``callback_rate`` in percent (0.1–5).
    """

    symbol: str
    side: Side
    type: OrderType
    client_order_id: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    position_side: PositionSide = PositionSide.BOTH
    reduce_only: bool = False
    close_position: bool = False
    working_type: WorkingType | None = None
    price_protect: bool | None = None
    activation_price: Decimal | None = None
    callback_rate: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """One order as the exchange described it, from REST or from the stream.

    ``average_price`` is zero while nothing is executed. ``status_text`` is the raw status.
    """

    symbol: str
    order_id: int
    client_order_id: str
    status: ExchangeOrderStatus
    status_text: str
    type_text: str
    original_type_text: str
    side: Side
    position_side: PositionSide
    price: Decimal
    stop_price: Decimal
    average_price: Decimal
    original_quantity: Decimal
    executed_quantity: Decimal
    reduce_only: bool
    close_position: bool
    updated_at: datetime

    @property
    def is_conditional(self) -> bool:
        """Whether the order was placed with a trigger."""
        return self.original_type_text not in ("MARKET", "LIMIT", "")

    @property
    def is_triggered(self) -> bool:
        """Whether a conditional order has turned into a plain one (fact sheet, section 6)."""
        return self.is_conditional and self.type_text in ("MARKET", "LIMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReport:
    """One execution. ``exchange_trade_id`` together with the symbol is unique; quantities are positive.

    ``realised_pnl`` is before fees, in the margin asset; ``commission`` is what we paid (negative: received).
    """

    symbol: str
    exchange_trade_id: int
    order_id: int
    client_order_id: str | None
    side: Side
    position_side: PositionSide
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    realised_pnl: Decimal
    is_maker: bool
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionReport:
    """One position row. ``quantity`` is signed: negative is short, zero is flat. ``liquidation_price`` zero is none."""

    symbol: str
    position_side: PositionSide
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealised_pnl: Decimal
    liquidation_price: Decimal
    leverage: int
    margin_type: MarginType
    isolated_margin: Decimal
    maximum_notional: Decimal
    updated_at: datetime

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held."""
        return self.quantity == ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """What the exchange lets a signer of the account do, and until when."""

    address: str
    expires_at: datetime
    can_trade: bool
    can_withdraw: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceReport:
    """One asset's balance, in units of the asset."""

    asset: str
    wallet_balance: Decimal
    cross_wallet_balance: Decimal
    available_balance: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """The account's totals, in US dollars; ``can_trade`` is the exchange's own flag."""

    wallet_balance: Decimal
    unrealised_pnl: Decimal
    margin_balance: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    available_balance: Decimal
    can_trade: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPrice:
    """Mark and index price of a symbol; ``funding_rate`` is a fraction per interval."""

    symbol: str
    mark_price: Decimal
    index_price: Decimal
    funding_rate: Decimal
    next_funding_at: datetime | None
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTicker:
    """Best bid and ask with their quantities."""

    symbol: str
    bid_price: Decimal
    bid_quantity: Decimal
    ask_price: Decimal
    ask_quantity: Decimal
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBook:
    """Depth: (price, quantity) from the best level outwards."""

    symbol: str
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """The price over a span of time that begins at ``opened_at``; ``close`` is the newest where it is still open."""

    opened_at: datetime
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageSetting:
    """The leverage now set for a symbol and the largest notional that it allows, in quote units."""

    symbol: str
    leverage: int
    maximum_notional: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageBracket:
    """One tier: up to ``notional_cap`` at most ``maximum_leverage``; ``maintenance_rate`` is a fraction."""

    notional_floor: Decimal
    notional_cap: Decimal
    maximum_leverage: int
    maintenance_rate: Decimal
    cumulative: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CommissionRate:
    """Fees as fractions of the notional."""

    symbol: str
    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomeReport:
    """One row of the income history; ``kind`` is the exchange's text, such as ``FUNDING_FEE``."""

    symbol: str
    kind: str
    amount: Decimal
    asset: str
    time: datetime
    transfer_id: str
    exchange_trade_id: str


# --- what the user stream says -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """ORDER_TRADE_UPDATE: the order as it stands, and the execution that caused the event, if one did."""

    event_time: datetime
    execution_type: str
    order: OrderReport
    fill: FillReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBalance:
    """A balance in ACCOUNT_UPDATE. It carries no available balance (scenario Z4)."""

    asset: str
    wallet_balance: Decimal
    cross_wallet_balance: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPosition:
    """A position in ACCOUNT_UPDATE; ``quantity`` is signed."""

    symbol: str
    position_side: PositionSide
    quantity: Decimal
    entry_price: Decimal
    unrealised_pnl: Decimal
    margin_type: MarginType


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate:
    """ACCOUNT_UPDATE: balances and positions that changed, and why (``ORDER``, ``FUNDING_FEE``, …)."""

    event_time: datetime
    reason: str
    balances: tuple[StreamBalance, ...]
    positions: tuple[StreamPosition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfigUpdate:
    """ACCOUNT_CONFIG_UPDATE: leverage of a symbol, or the account's modes."""

    event_time: datetime
    symbol: str | None
    leverage: int | None
    is_multi_asset: bool | None
    is_hedge_mode: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginCall:
    """MARGIN_CALL: symbols close to liquidation."""

    event_time: datetime
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrecognisedEvent:
    """An event that this version does not know; kept and logged (scenario W5)."""

    kind: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUp:
    """The user stream is connected. ``had_gap`` when events may have been missed since it was last up."""

    had_gap: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDown:
    """The user stream is gone for now; it reconnects by itself."""

    reason: str


UserEvent = OrderUpdate | AccountUpdate | AccountConfigUpdate | MarginCall | UnrecognisedEvent | StreamUp | StreamDown


# --- what became of an order request -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStamp:
    """What makes a signed request unique and mortal.

    ``value`` is the v3 nonce in microseconds, or the v1 timestamp in milliseconds, of the exchange's clock. After
    ``dead_after`` (exchange time, margin included) the exchange refuses the request if it has not admitted it: the
    *fence* of ``design.md``.
    """

    value: int
    dead_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The exchange took the order and described it."""

    report: OrderReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The exchange did not take the order."""

    family: Refusal
    code: int | None
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverSent:
    """Nothing left this machine."""

    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It was sent; nobody knows. Dead after ``stamp.dead_after``."""

    reason: str
    stamp: RequestStamp


Placement = Accepted | Refused | NeverSent | Unknown
