"""Booking: what a fill, an ending or a payment does to an order, a position and a wallet, and who hears of it.

A fill emits ACCOUNT_UPDATE, then ORDER_TRADE_UPDATE, with one time (asterdex-facts.md section 6).
"""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core import events
from aster_sim.core.account import Account, Position, commission_on
from aster_sim.core.isolated import wallet_after_fill
from aster_sim.core.market import Market
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import EXPIRED, FILLED, GTE_GTC, PARTIALLY_FILLED, Order, Trade
from aster_sim.core.state import State

_DRIVING = {"NEW": "NEW", "AMENDMENT": "REPLACED"}


class Booker:
    """The only one who changes orders, positions and wallets."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last_moved: dict[str, None] = {}

    def moved(self) -> str | None:
        """A symbol whose last price our own trades have moved since it was asked for; None when there is none."""
        symbol = next(iter(self._last_moved), None)
        if symbol is not None:
            del self._last_moved[symbol]
        return symbol

    def refresh_order_margin(self, account: Account, market: Market) -> None:
        """Recompute what the symbol's resting orders bind."""
        symbol = market.instrument.symbol
        margin = account.margin_of_orders(symbol, account.leverage_of(symbol, market.max_leverage))
        if margin:
            account.order_margin[symbol] = margin
        else:
            account.order_margin.pop(symbol, None)

    def fill(
        self,
        market: Market,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        *,
        maker: bool,
        free: bool = False,
    ) -> Trade:
        """Execute a part of an order at a price; ``free`` of commission when the exchange itself takes it over."""
        state = self._state
        account = state.accounts[order.account]
        position = account.position(order.symbol, order.position_side)
        now = state.now_ms()
        before = position.amount
        realised = position.apply(quantity if order.buys else -quantity, price)
        quote = quantity * price
        fee = ZERO if free else commission_on(quote, state.maker_rate if maker else state.taker_rate)
        commission, commission_asset = self._charge(account, market, fee)
        from_wallet = commission if commission_asset == market.instrument.margin_asset else ZERO
        account.wallet += realised - from_wallet
        position.updated_ms = account.updated_ms = order.updated_ms = now
        if position.symbol in account.isolated:
            leverage = account.leverage_of(position.symbol, market.max_leverage)
            position.isolated_wallet = wallet_after_fill(
                position, before, market.prices.mark, leverage, realised, from_wallet
            )
        order.executed += quantity
        order.cum_quote += quote
        order.status = PARTIALLY_FILLED if order.remaining else FILLED
        trade = Trade(
            trade_id=state.counters.trade_id,
            order_id=order.order_id,
            account=account.name,
            symbol=order.symbol,
            side=order.side,
            position_side=order.position_side,
            price=price,
            quantity=quantity,
            quote=quote,
            realised_pnl=realised,
            commission=commission,
            commission_asset=commission_asset,
            margin_asset=market.instrument.margin_asset,
            maker=maker,
            time_ms=now,
            position_after=position.amount,
            wallet_after=account.wallet,
        )
        state.counters.trade_id += 1
        state.fills += 1
        self._record(account, trade)
        if order.status == FILLED:
            account.closed(order)
            market.book.remove(order)
        else:
            account.changed(order)
        if position.amount:
            market.holders.add(account.name)
        elif not account.held(order.symbol):
            market.holders.discard(account.name)
        self.refresh_order_margin(account, market)
        market.prices.trade(price, now)
        self._last_moved[order.symbol] = None
        state.touched[order.symbol] = None
        if self._heard(order):
            execution = "CALCULATED" if order.forced else "TRADE"
            state.emit(account.name, events.account_update(account, [(position, market)], "ORDER", now))
            state.emit(account.name, events.order_update(order, market, execution, now, trade=trade))
        state.changes.orders[order.order_id] = order
        state.changes.accounts[account.name] = account
        self.drive(order, order.status)
        if not position.amount:
            self.expire_position_bound(account, order.symbol, order.position_side)
        return trade

    def _charge(self, account: Account, market: Market, fee: Decimal) -> tuple[Decimal, str]:
        """The commission and its asset: the account's fee asset at its price, where one is set and covers all of it."""
        margin_asset = market.instrument.margin_asset
        priced = self._state.markets.get(f"{account.fee_asset}{margin_asset}") if account.fee_asset else None
        if priced is None or not priced.priced or not fee:
            return fee, margin_asset
        amount = commission_on(fee, 1 / priced.prices.mark)
        if amount > account.fee_balance:
            return fee, margin_asset
        account.fee_balance -= amount
        return amount, account.fee_asset

    def _record(self, account: Account, trade: Trade) -> None:
        """Write the fill into trade and income history."""
        account.trades.setdefault(trade.symbol, []).append(trade)
        self._state.changes.trades.append(trade)
        text = str(trade.trade_id)
        rows = (
            ("REALIZED_PNL", trade.realised_pnl, trade.margin_asset),
            ("COMMISSION", -trade.commission, trade.commission_asset),
        )
        for kind, amount, asset in rows:
            if amount:
                self._state.add_income(
                    account, trade.symbol, kind, amount, trade.time_ms, asset=asset, info=text, trade_id=text
                )

    def pay(
        self, account: Account, market: Market, position: Position | None, kind: str, amount: Decimal, reason: str
    ) -> None:
        """Move money between an account and the exchange, outside of trading.

        An isolated ``position`` pays from its own wallet and is shown in the event; without one, or with a cross
        one, the event shows balances only. ``kind`` is the income type, ``reason`` the event's ``m``.
        """
        state = self._state
        now = state.now_ms()
        account.wallet += amount
        account.updated_ms = now
        rows: list[tuple[Position, Market]] = []
        if position is not None and position.symbol in account.isolated:
            if position.amount:
                position.isolated_wallet += amount
            position.updated_ms = now
            rows.append((position, market))
        asset = market.instrument.margin_asset
        state.add_income(account, market.instrument.symbol, kind, amount, now, asset=asset, info=kind)
        state.changes.accounts[account.name] = account
        state.emit(account.name, events.account_update(account, rows, reason, now, change=amount))

    def expire_position_bound(self, account: Account, symbol: str, position_side: str) -> None:
        """GTE_GTC orders live only as long as the position that they close; the newest end first, as recorded."""
        for order in reversed(list(account.open_orders.get(symbol, {}).values())):
            if order.time_in_force == GTE_GTC and order.position_side == position_side:
                self.finish(order, EXPIRED)

    def finish(self, order: Order, status: str, execution: str = "") -> None:
        """Bring an open order to a final status that is not a fill, and tell; ``x`` is the status or ``execution``."""
        market = self._state.markets[order.symbol]
        account = self._state.accounts[order.account]
        if order.waiting:
            market.triggers.remove(order)
        else:
            market.book.remove(order)
        order.status = status
        account.closed(order)
        self.refresh_order_margin(account, market)
        self.tell(order, market, execution or status)
        self.drive(order, status)

    def _heard(self, order: Order) -> bool:
        """Whether anybody would get a frame about an order; the public hears of the exchange's own ones."""
        return bool(order.forced) or self._state.followed(order.account)

    def drive(self, order: Order, event: str) -> None:
        """Leave the news of a strategy's order for the strategist."""
        if order.strategy is not None:
            self._state.strategy_news.append((order.strategy, order.account, event))

    def tell(self, order: Order, market: Market, execution: str, *, shown: str = "") -> None:
        """Journal the order and emit ORDER_TRADE_UPDATE; ``shown`` stands in ``X`` instead of its own status."""
        state = self._state
        now = state.now_ms()
        order.updated_ms = now
        state.changes.orders[order.order_id] = order
        state.touched[order.symbol] = None
        if self._heard(order):
            state.emit(order.account, events.order_update(order, market, execution, now, shown=shown))
        if execution in _DRIVING:
            self.drive(order, _DRIVING[execution])
