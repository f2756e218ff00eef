"""Liquidation: what happens to an account that no longer covers its maintenance margin.

Isolated positions are judged by their own wallet, all cross positions together by the cross wallet. The open
orders go first (EXPIRED), then each position is closed by an IOC limit order at its bankruptcy price with a client
order id ``autoclose-…``, whose executions are ``x`` CALCULATED. What the book does not take there, the insurance
fund takes over at that price (``X`` NEW_INSURANCE); when it cannot bear the loss, the opposite positions of other
clients are closed against it (``adl_autoclose``, ``X`` NEW_ADL), the most profitable and most leveraged first.
What is left of the margin pays the clearance fee to the fund; what is missing the fund pays (INSURANCE_CLEAR).
Sources: asterdex-facts.md sections 6, 7, 12; the order of the steps is the Binance lineage's, inferred for AsterDEX.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from aster_sim.core import events
from aster_sim.core.account import Account, Position
from aster_sim.core.booking import Booker
from aster_sim.core.execution import Engine
from aster_sim.core.isolated import add_automatically
from aster_sim.core.margin import liquidation_price, position_maintenance, summarise
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO, clearance_half_even, step_down, step_up
from aster_sim.core.orders import ADL, BUY, EXPIRED, LIMIT, LIQUIDATION, SELL, Order
from aster_sim.core.state import State

MARGIN_CALL_RATIO = Decimal("0.8")
_CROSS = ("", "")


class Liquidator:
    """Watches margins whenever a mark price moves or funding is paid."""

    def __init__(self, state: State, engine: Engine, booker: Booker) -> None:
        self._state = state
        self._engine = engine
        self._booker = booker

    def check(self, symbol: str) -> None:
        """Call or liquidate whoever holds a position in a symbol and has too little margin for it."""
        for name in sorted(self._state.markets[symbol].holders):
            account = self._state.accounts[name]
            if symbol in account.isolated:
                for position in account.held(symbol):
                    self._check_isolated(account, position)
            else:
                self._check_cross(account)

    def next_stop(self, symbol: str, start: Decimal, end: Decimal) -> Decimal | None:
        """The first price on the way from one to the other, end excluded, at which somebody is liquidated."""
        market = self._state.markets[symbol]
        found: list[Decimal] = []
        for name in market.holders:
            account = self._state.accounts[name]
            summary = summarise(account, self._state.markets)
            for position in account.held(symbol):
                price = liquidation_price(account, position, self._state.markets, summary)
                rounded = step_down(price, market.instrument.tick)
                price = rounded if position.amount > ZERO or rounded == price else rounded + market.instrument.tick
                if price > ZERO and (start < price < end or end < price < start):
                    found.append(price)
        if not found:
            return None
        return min(found) if end > start else max(found)

    # -- judging --------------------------------------------------------------------------------

    def _check_isolated(self, account: Account, position: Position) -> None:
        market = self._state.markets[position.symbol]
        equity = position.isolated_wallet + position.unrealised(market.prices.mark)
        needed = position_maintenance(position, market)
        if equity <= needed and position.symbol in account.auto_add_margin:
            add_automatically(self._state, account, market, position)
            equity = position.isolated_wallet + position.unrealised(market.prices.mark)
        if equity <= needed:
            self._expire_orders(account, [position.symbol])
            cross = account.cross_wallet
            quote = self._close(account, position)
            self._clear(account, market, account.cross_wallet - cross, quote)
        else:
            self._call(account, (position.symbol, position.side), equity, needed, [position])

    def _check_cross(self, account: Account) -> None:
        summary = summarise(account, self._state.markets)
        equity, needed = summary.cross_wallet + summary.cross_unrealised, summary.cross_maintenance
        held = self._cross_positions(account)
        if not held:
            return
        if equity > needed:
            self._call(account, _CROSS, equity, needed, held)
            return
        self._expire_orders(account, [symbol for symbol in account.open_orders if symbol not in account.isolated])
        for position in held:
            market = self._state.markets[position.symbol]
            quote = self._close(account, position)
            summary = summarise(account, self._state.markets)
            self._clear(account, market, summary.cross_wallet + summary.cross_unrealised, quote)
            if summary.cross_wallet + summary.cross_unrealised > summary.cross_maintenance:
                break

    def _cross_positions(self, account: Account) -> list[Position]:
        """The cross positions that are not flat, those that need most margin first."""
        markets = self._state.markets
        rows = [row for row in account.positions.values() if row.amount and row.symbol not in account.isolated]
        return sorted(rows, key=lambda row: position_maintenance(row, markets[row.symbol]), reverse=True)

    def _call(
        self, account: Account, scope: tuple[str, str], equity: Decimal, needed: Decimal, held: list[Position]
    ) -> None:
        """MARGIN_CALL once when maintenance margin reaches four fifths of the margin, again after a recovery."""
        calls = needed >= equity * MARGIN_CALL_RATIO
        if calls == (scope in account.margin_called):
            return
        self._state.changes.accounts[account.name] = account
        if not calls:
            account.margin_called.discard(scope)
            return
        account.margin_called.add(scope)
        rows = [(position, self._state.markets[position.symbol]) for position in held]
        self._state.emit(account.name, events.margin_call(account, rows, self._state.now_ms(), cross=scope == _CROSS))

    # -- closing --------------------------------------------------------------------------------

    def _expire_orders(self, account: Account, symbols: Iterable[str]) -> None:
        for symbol in list(symbols):
            for order in list(account.open_orders.get(symbol, {}).values()):
                self._booker.finish(order, EXPIRED)

    def _close(self, account: Account, position: Position) -> Decimal:
        """Close a position by force; the quote amount that was closed."""
        market = self._state.markets[position.symbol]
        price = self._bankruptcy_price(account, market, position)
        order = self._forced(account, market, position, price, LIQUIDATION, abs(position.amount))
        self._engine.take(market, account, order)
        if order.open:
            self._take_over(account, market, position, order)
        self._engine.settle()
        return order.cum_quote

    def _bankruptcy_price(self, account: Account, market: Market, position: Position) -> Decimal:
        """The price at which the margin behind a position is used up, on the tick that the margin still covers."""
        summary = summarise(account, self._state.markets)
        if position.symbol in account.isolated:
            backing = position.isolated_wallet
        else:
            others = summary.cross_unrealised - position.unrealised(market.prices.mark)
            backing = summary.cross_wallet + others
        price = (position.cost - backing) / position.amount
        tick = market.instrument.tick
        price = step_up(price, tick) if position.amount > ZERO else step_down(price, tick)
        return max(price, tick)

    def _forced(
        self, account: Account, market: Market, position: Position, price: Decimal, kind: str, quantity: Decimal
    ) -> Order:
        """An order of the exchange itself that closes a position, taken and announced."""
        state = self._state
        now, order_id = state.now_ms(), state.counters.order_id
        state.counters.order_id += 1
        order = Order(
            order_id=order_id,
            account=account.name,
            symbol=position.symbol,
            client_order_id="adl_autoclose" if kind == ADL else f"autoclose-{now}{order_id % 1_000_000:06d}",
            side=SELL if position.amount > ZERO else BUY,
            position_side=position.side,
            type=LIMIT,
            orig_type=LIMIT,
            time_in_force="GTC" if kind == ADL else "IOC",
            quantity=quantity,
            price=price,
            stop_price=ZERO,
            reduce_only=False,
            close_position=False,
            working_type="CONTRACT_PRICE",
            price_protect=False,
            activation_price=ZERO,
            callback_rate=ZERO,
            created_ms=now,
            updated_ms=now,
            forced=kind,
        )
        account.opened(order)
        self._booker.tell(order, market, "NEW", shown="NEW_ADL" if kind == ADL else "")
        return order

    def _take_over(self, account: Account, market: Market, position: Position, order: Order) -> None:
        """Close what the book did not take: at the bankruptcy price, on the fund or on profitable clients."""
        fund = self._state.fund
        gap = market.prices.mark - order.price
        profit = clearance_half_even(order.remaining * (-gap if order.buys else gap))
        if fund.balance + profit >= ZERO:
            self._booker.tell(order, market, "NEW", shown="NEW_INSURANCE")
            fund.take_over(profit)
            self._booker.fill(market, order, order.price, order.remaining, maker=False, free=True)
            return
        for other, opposite in self._queue(market, position, account):
            quantity = min(order.remaining, abs(opposite.amount))
            counter = self._forced(other, market, opposite, order.price, ADL, quantity)
            for side in (order, counter):
                self._booker.fill(market, side, order.price, quantity, maker=False, free=True)
            if not order.open:
                return
        # nobody here is left to close against: the crowd behind the synthetic book is deleveraged
        self._booker.fill(market, order, order.price, order.remaining, maker=False, free=True)

    def _queue(self, market: Market, position: Position, account: Account) -> list[tuple[Account, Position]]:
        """Opposite positions of other clients, the first to be deleveraged first."""
        rows = [
            (other, row)
            for other in (self._state.accounts[name] for name in sorted(market.holders))
            if other is not account
            for row in other.held(market.instrument.symbol)
            if (row.amount > ZERO) != (position.amount > ZERO)
        ]
        return sorted(rows, key=lambda entry: adl_score(entry[0], entry[1], market), reverse=True)

    def _clear(self, account: Account, market: Market, left: Decimal, quote: Decimal) -> None:
        """Settle with the insurance fund: ``left`` is what the closing left of the margin, negative if it lacks."""
        rate = Decimal(market.instrument.raw.get("liquidationFee", "0"))
        amount = clearance_half_even(-min(left, quote * rate) if left > ZERO else -left)
        if not amount:
            return
        self._state.fund.clear(amount)
        self._booker.pay(account, market, None, "INSURANCE_CLEAR", amount, "INSURANCE_CLEAR")


def adl_score(account: Account, position: Position, market: Market) -> Decimal:
    """How soon a position is deleveraged: profit ratio times leverage (over leverage when it loses)."""
    leverage = account.leverage_of(position.symbol, market.max_leverage)
    ratio = position.unrealised(market.prices.mark) / abs(position.cost) if position.cost else ZERO
    return ratio * leverage if ratio > ZERO else ratio / leverage
