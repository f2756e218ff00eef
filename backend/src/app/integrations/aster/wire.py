"""What crosses the wire, as msgspec structs in the exchange's spelling (fact sheet, sections 4 and 7).

New fields are ignored and enumerations stay text, so that a change at the exchange never kills a parser (scenario W5).
Numbers of money are read straight from their text into decimals.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

_ZERO = Decimal(0)


class Order(msgspec.Struct, rename="camel"):
    """An order in answers of ``order``, ``openOrders``, ``allOrders`` and ``batchOrders``."""

    symbol: str
    order_id: int
    client_order_id: str
    status: str
    type: str
    side: str
    orig_qty: Decimal
    executed_qty: Decimal
    update_time: int
    orig_type: str = ""
    position_side: str = "BOTH"
    price: Decimal = _ZERO
    stop_price: Decimal = _ZERO
    avg_price: Decimal = _ZERO
    cum_quote: Decimal = _ZERO
    reduce_only: bool = False
    close_position: bool = False


class UserTrade(msgspec.Struct, rename="camel"):
    """A row of ``userTrades``."""

    symbol: str
    id: int
    order_id: int
    side: str
    price: Decimal
    qty: Decimal
    time: int
    commission: Decimal = _ZERO
    commission_asset: str = ""
    realized_pnl: Decimal = _ZERO
    maker: bool = False
    position_side: str = "BOTH"


class Income(msgspec.Struct, rename="camel"):
    """A row of ``income``; ``tranId`` is text in the docs and a number in the recording."""

    income_type: str
    income: Decimal
    asset: str
    time: int
    tran_id: int | str
    symbol: str = ""
    trade_id: int | str = ""


class Balance(msgspec.Struct, rename="camel"):
    """A row of ``balance``."""

    asset: str
    balance: Decimal
    cross_wallet_balance: Decimal
    available_balance: Decimal


class PositionRisk(msgspec.Struct, rename="camel"):
    """A row of ``positionRisk``."""

    symbol: str
    position_amt: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_profit: Decimal = msgspec.field(name="unRealizedProfit")
    liquidation_price: Decimal
    leverage: int | str
    max_notional_value: Decimal
    margin_type: str
    isolated_margin: Decimal = _ZERO
    position_side: str = "BOTH"
    update_time: int = 0


class Account(msgspec.Struct, rename="camel"):
    """The totals of ``account``."""

    total_wallet_balance: Decimal
    total_unrealized_profit: Decimal
    total_margin_balance: Decimal
    total_initial_margin: Decimal
    total_maint_margin: Decimal
    available_balance: Decimal
    can_trade: bool = True


class Agent(msgspec.Struct, rename="camel"):
    """One row of ``agent``; ``expired`` is when, in milliseconds."""

    agent_address: str
    expired: int
    can_perp_trade: bool
    can_withdraw: bool


class PremiumIndex(msgspec.Struct, rename="camel"):
    """``premiumIndex``; the funding fields are empty for symbols that are not trading yet."""

    symbol: str
    mark_price: Decimal
    index_price: Decimal
    time: int
    last_funding_rate: str | None = None
    next_funding_time: int | None = None


class BookTicker(msgspec.Struct, rename="camel"):
    """``ticker/bookTicker``."""

    symbol: str
    bid_price: Decimal
    bid_qty: Decimal
    ask_price: Decimal
    ask_qty: Decimal
    time: int


class Depth(msgspec.Struct):
    """``depth``: levels from the best one outwards."""

    bids: list[tuple[Decimal, Decimal]]
    asks: list[tuple[Decimal, Decimal]]
    event_time: int = msgspec.field(name="E", default=0)


class Leverage(msgspec.Struct, rename="camel"):
    """``POST leverage``."""

    symbol: str
    leverage: int
    max_notional_value: Decimal


class Bracket(msgspec.Struct, rename="camel"):
    """One tier of ``leverageBracket``; all JSON numbers, read from their text."""

    initial_leverage: int
    notional_cap: Decimal
    notional_floor: Decimal
    maint_margin_ratio: Decimal
    cum: Decimal = _ZERO


class SymbolBrackets(msgspec.Struct):
    """The tiers of one symbol."""

    symbol: str
    brackets: list[Bracket]


class CommissionRate(msgspec.Struct, rename="camel"):
    """``commissionRate``."""

    symbol: str
    maker_commission_rate: Decimal
    taker_commission_rate: Decimal


class ServerTime(msgspec.Struct, rename="camel"):
    """``time``."""

    server_time: int


class ListenKey(msgspec.Struct, rename="camel"):
    """``POST listenKey``."""

    listen_key: str


class PositionMode(msgspec.Struct, rename="camel"):
    """``GET positionSide/dual``."""

    dual_side_position: bool


class AssetMode(msgspec.Struct, rename="camel"):
    """``GET multiAssetsMargin``."""

    multi_assets_margin: bool


class RateLimit(msgspec.Struct, rename="camel"):
    """A row of ``exchangeInfo.rateLimits``."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class Filter(msgspec.Struct, rename="camel"):
    """Any filter of a symbol: each kind fills its own fields."""

    filter_type: str
    min_price: Decimal = _ZERO
    max_price: Decimal = _ZERO
    tick_size: Decimal = _ZERO
    min_qty: Decimal = _ZERO
    max_qty: Decimal = _ZERO
    step_size: Decimal = _ZERO
    limit: int = 0
    notional: Decimal = _ZERO
    multiplier_up: Decimal = _ZERO
    multiplier_down: Decimal = _ZERO


class Symbol(msgspec.Struct, rename="camel"):
    """A row of ``exchangeInfo.symbols``. The docs say ``OrderType``, the exchange says ``orderTypes``."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    filters: list[Filter]
    trigger_protect: Decimal = _ZERO
    market_take_bound: Decimal = _ZERO
    order_types: list[str] = msgspec.field(default_factory=list)
    time_in_force: list[str] = msgspec.field(default_factory=list)


class ExchangeInfo(msgspec.Struct, rename="camel"):
    """``exchangeInfo``; symbols are decoded one by one, so that an odd one harms no other."""

    rate_limits: list[RateLimit]
    symbols: list[msgspec.Raw]


# --- the streams -------------------------------------------------------------------------------------------------


class StreamOrder(msgspec.Struct):
    """The ``o`` of ORDER_TRADE_UPDATE."""

    symbol: str = msgspec.field(name="s")
    client_order_id: str = msgspec.field(name="c")
    side: str = msgspec.field(name="S")
    type: str = msgspec.field(name="o")
    quantity: Decimal = msgspec.field(name="q")
    execution_type: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    order_id: int = msgspec.field(name="i")
    filled: Decimal = msgspec.field(name="z")
    time: int = msgspec.field(name="T")
    price: Decimal = msgspec.field(name="p", default=_ZERO)
    average_price: Decimal = msgspec.field(name="ap", default=_ZERO)
    stop_price: Decimal = msgspec.field(name="sp", default=_ZERO)
    last_quantity: Decimal = msgspec.field(name="l", default=_ZERO)
    last_price: Decimal = msgspec.field(name="L", default=_ZERO)
    commission: Decimal = msgspec.field(name="n", default=_ZERO)
    commission_asset: str | None = msgspec.field(name="N", default=None)
    trade_id: int = msgspec.field(name="t", default=0)
    is_maker: bool = msgspec.field(name="m", default=False)
    reduce_only: bool = msgspec.field(name="R", default=False)
    original_type: str = msgspec.field(name="ot", default="")
    position_side: str = msgspec.field(name="ps", default="BOTH")
    close_position: bool = msgspec.field(name="cp", default=False)
    realised_pnl: Decimal = msgspec.field(name="rp", default=_ZERO)


class StreamBalance(msgspec.Struct):
    """A balance in ACCOUNT_UPDATE."""

    asset: str = msgspec.field(name="a")
    wallet_balance: Decimal = msgspec.field(name="wb")
    cross_wallet_balance: Decimal = msgspec.field(name="cw", default=_ZERO)


class StreamPosition(msgspec.Struct):
    """A position in ACCOUNT_UPDATE."""

    symbol: str = msgspec.field(name="s")
    quantity: Decimal = msgspec.field(name="pa")
    entry_price: Decimal = msgspec.field(name="ep", default=_ZERO)
    unrealised_pnl: Decimal = msgspec.field(name="up", default=_ZERO)
    margin_type: str = msgspec.field(name="mt", default="cross")
    position_side: str = msgspec.field(name="ps", default="BOTH")


class StreamAccount(msgspec.Struct):
    """The ``a`` of ACCOUNT_UPDATE."""

    reason: str = msgspec.field(name="m", default="")
    balances: list[StreamBalance] = msgspec.field(name="B", default_factory=list)
    positions: list[StreamPosition] = msgspec.field(name="P", default_factory=list)


class LeverageConfig(msgspec.Struct):
    """The ``ac`` of ACCOUNT_CONFIG_UPDATE."""

    symbol: str = msgspec.field(name="s")
    leverage: int = msgspec.field(name="l")


class ModeConfig(msgspec.Struct):
    """The ``ai`` of ACCOUNT_CONFIG_UPDATE."""

    is_multi_asset: bool | None = msgspec.field(name="j", default=None)
    is_hedge_mode: bool | None = msgspec.field(name="d", default=None)


class MarginCallPosition(msgspec.Struct):
    """A position in MARGIN_CALL."""

    symbol: str = msgspec.field(name="s")


class UserFrame(msgspec.Struct):
    """Any frame of the user stream: ``kind`` says which of the others is filled."""

    kind: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E", default=0)
    order: StreamOrder | None = msgspec.field(name="o", default=None)
    account: StreamAccount | None = msgspec.field(name="a", default=None)
    leverage: LeverageConfig | None = msgspec.field(name="ac", default=None)
    mode: ModeConfig | None = msgspec.field(name="ai", default=None)
    margin_positions: list[MarginCallPosition] = msgspec.field(name="p", default_factory=list)


class MarkPrice(msgspec.Struct, tag_field="e", tag="markPriceUpdate"):
    """A ``markPriceUpdate``; the funding fields are empty for delivery contracts."""

    symbol: str = msgspec.field(name="s")
    mark_price: Decimal = msgspec.field(name="p")
    event_time: int = msgspec.field(name="E")
    index_price: Decimal = msgspec.field(name="i", default=_ZERO)
    funding_rate: str | None = msgspec.field(name="r", default=None)
    next_funding_time: int | None = msgspec.field(name="T", default=None)


class StreamTicker(msgspec.Struct, tag_field="e", tag="bookTicker"):
    """A ``bookTicker`` frame."""

    symbol: str = msgspec.field(name="s")
    bid_price: Decimal = msgspec.field(name="b")
    bid_quantity: Decimal = msgspec.field(name="B")
    ask_price: Decimal = msgspec.field(name="a")
    ask_quantity: Decimal = msgspec.field(name="A")
    event_time: int = msgspec.field(name="E")


class CombinedFrame(msgspec.Struct):
    """A frame of a combined stream; answers to subscriptions have no ``data``."""

    data: msgspec.Raw = msgspec.Raw()
