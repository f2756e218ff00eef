"""One account: wallet, positions, modes, its orders and its history. The arithmetic of a fill is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from aster_sim.core.numbers import ZERO, commission_half_even, display_half_even, pnl_half_even
from aster_sim.core.orders import BOTH, EXPIRE_TAKER, LONG, SHORT, Income, MarginChange, Order, Trade
from aster_sim.core.resting import RestingSums, Side, binds, side_of

if TYPE_CHECKING:
    from aster_sim.core.strategies import Strategy

DEFAULT_LEVERAGE = 20
ENTRY_PRICE_DECIMALS = 8
CROSSED, ISOLATED = "CROSSED", "ISOLATED"


@dataclass(slots=True)
class Position:
    """A signed position in base units and what it cost.

    ``cost`` is the signed quote amount still invested (positive for a long): keeping it instead of an
    average price makes the realised PnL of a round trip equal its cash flow, whatever the entry divides to.
    """

    symbol: str
    side: str
    amount: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    isolated_wallet: Decimal = ZERO
    updated_ms: int = 0

    @property
    def entry_price(self) -> Decimal:
        """Average entry, half to even at 8 decimals; zero when flat."""
        return display_half_even(self.cost / self.amount, ENTRY_PRICE_DECIMALS) if self.amount else ZERO

    def unrealised(self, mark: Decimal) -> Decimal:
        """Unrealised PnL at a mark price, in the margin asset."""
        return self.amount * mark - self.cost

    def apply(self, signed_qty: Decimal, price: Decimal) -> Decimal:
        """Add a fill; answers the realised PnL before commission, half to even at 8 decimals.

        A fill beyond flat closes the whole position and opens the rest on the other side.
        """
        amount = self.amount
        if not amount or (amount > ZERO) == (signed_qty > ZERO):
            self.amount += signed_qty
            self.cost += signed_qty * price
            return ZERO
        closing = -signed_qty if abs(signed_qty) <= abs(amount) else amount
        proceeds = closing * price
        if closing == amount:
            realised = pnl_half_even(proceeds - self.cost)
            self.cost = ZERO
        else:
            realised = pnl_half_even(proceeds - self.cost * closing / amount)
            self.cost -= proceeds - realised
        self.amount = amount - closing
        self.realised += realised
        opening = signed_qty + closing
        if opening:
            self.amount += opening
            self.cost += opening * price
        return realised


@dataclass(slots=True)
class Account:
    """Everything the venue knows about one client; money in USDT, the only margin asset so far.

    Commission is paid in ``fee_asset`` instead, where one is set, for as long as ``fee_balance`` lasts.
    """

    name: str
    wallet: Decimal
    deposited: Decimal
    dual_side: bool = False
    multi_assets: bool = False
    stp_mode: str = EXPIRE_TAKER
    updated_ms: int = 0
    leverage: dict[str, int] = field(default_factory=dict)
    isolated: set[str] = field(default_factory=set)
    auto_add_margin: set[str] = field(default_factory=set)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    open_orders: dict[str, dict[int, Order]] = field(default_factory=dict)
    open_client_ids: dict[str, Order] = field(default_factory=dict)
    client_ids: dict[tuple[str, str], int] = field(default_factory=dict)
    trades: dict[str, list[Trade]] = field(default_factory=dict)
    incomes: list[Income] = field(default_factory=list)
    margin_changes: list[MarginChange] = field(default_factory=list)
    resting: dict[str, RestingSums] = field(default_factory=dict)
    order_margin: dict[str, Decimal] = field(default_factory=dict)
    strategies: dict[int, Strategy] = field(default_factory=dict)
    countdowns: dict[str, int] = field(default_factory=dict)
    margin_called: set[tuple[str, str]] = field(default_factory=set)
    fee_asset: str = ""
    fee_balance: Decimal = ZERO

    @property
    def cross_wallet(self) -> Decimal:
        """The wallet without what isolated positions have set apart."""
        return self.wallet - sum((row.isolated_wallet for row in self.positions.values()), ZERO)

    def position(self, symbol: str, side: str) -> Position:
        """The position of a symbol and position side, made flat on first sight."""
        found = self.positions.get((symbol, side))
        if found is None:
            found = self.positions[symbol, side] = Position(symbol, side)
        return found

    def held(self, symbol: str) -> list[Position]:
        """The symbol's positions that are not flat."""
        rows = (self.positions.get((symbol, side)) for side in (BOTH, LONG, SHORT))
        return [row for row in rows if row is not None and row.amount]

    def sides(self) -> tuple[str, ...]:
        """The position sides of the account's mode."""
        return (LONG, SHORT) if self.dual_side else (BOTH,)

    def leverage_of(self, symbol: str, ceiling: int) -> int:
        """The leverage set for a symbol, else the default under the symbol's ceiling."""
        return self.leverage.get(symbol, min(DEFAULT_LEVERAGE, ceiling))

    def closable(self, order: Order) -> Decimal:
        """How much of the order's quantity can close something: the opposing position's size."""
        position = self.positions.get((order.symbol, order.position_side))
        if position is None or not position.amount:
            return ZERO
        return abs(position.amount) if (position.amount < ZERO) == order.buys else ZERO

    def opened(self, order: Order) -> None:
        """Take an order into the indexes."""
        self.changed(order)
        self.orders[order.order_id] = order
        self.client_ids[order.symbol, order.client_order_id] = order.order_id
        self.open_orders.setdefault(order.symbol, {})[order.order_id] = order
        self.open_client_ids[order.client_order_id] = order

    def changed(self, order: Order) -> None:
        """Count what an open order has left; to follow each change of its type, quantity, price or execution."""
        if not binds(order):
            return
        sums = self.resting.get(order.symbol)
        if sums is None:
            sums = self.resting[order.symbol] = RestingSums()
        sums.count(order)

    def closed(self, order: Order) -> None:
        """Take a final order out of the indexes of open ones; it stays in the history."""
        sums = self.resting.get(order.symbol)
        if sums is not None:
            sums.drop(order)
        orders = self.open_orders.get(order.symbol)
        if orders is not None:
            orders.pop(order.order_id, None)
            if not orders:
                del self.open_orders[order.symbol]
        if self.open_client_ids.get(order.client_order_id) is order:
            del self.open_client_ids[order.client_order_id]

    def find(self, symbol: str, order_id: int | None, client_order_id: str | None) -> Order | None:
        """An order by id, or by client order id: the open one first, else the latest with that id."""
        if order_id is not None:
            order = self.orders.get(order_id)
        elif client_order_id:
            order = self.open_client_ids.get(client_order_id)
            if order is None or order.symbol != symbol:
                order = self.orders.get(self.client_ids.get((symbol, client_order_id), -1))
        else:
            return None
        return order if order is not None and order.symbol == symbol else None

    def resting_quantity(self, symbol: str, *, buys: bool) -> Decimal:
        """What a symbol's limit orders of one direction would open or add if they all filled."""
        sums = self.resting.get(symbol)
        return sums.quantity(buys=buys) if sums is not None else ZERO

    def margin_of_orders(self, symbol: str, leverage: int) -> Decimal:
        """Initial margin of the symbol's resting limit orders, beyond what closes a position."""
        sums = self.resting.get(symbol)
        if sums is None:
            return ZERO
        total = ZERO
        for side, (_, notional) in sums.sides.items():
            if notional:
                total += notional - self._closing_notional(symbol, side)
        return total / leverage

    def _closing_notional(self, symbol: str, side: Side) -> Decimal:
        """The part of a side's limit orders that closes the opposing position; the older orders come first."""
        position_side, buys = side
        position = self.positions.get((symbol, position_side))
        if position is None or not position.amount or (position.amount < ZERO) != buys:
            return ZERO
        free, total = abs(position.amount), ZERO
        for order in self.open_orders.get(symbol, {}).values():
            if binds(order) and side_of(order) == side:
                part = min(free, order.remaining)
                total += part * order.price
                free -= part
                if not free:
                    break
        return total


def commission_on(quote: Decimal, rate: Decimal) -> Decimal:
    """Commission of a fill, half to even at 8 decimals."""
    return commission_half_even(quote * rate)
