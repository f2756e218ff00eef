"""The engine: executes orders, books fills, fires triggers, and tells the owners in the recorded order.

A fill emits ACCOUNT_UPDATE, then ORDER_TRADE_UPDATE, with one time. A trigger emits EXPIRED (nothing
executed), NEW under the same order id with the type it became, then its fills (asterdex-facts.md section 6).
"""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core import events
from aster_sim.core.account import Account, Position, commission_on
from aster_sim.core.margin_checks import margin_suffices
from aster_sim.core.market import Market
from aster_sim.core.matching import Offers, acceptable, can_fill_whole, crosses, price_bound
from aster_sim.core.numbers import ZERO, display_half_even
from aster_sim.core.orders import (
    CANCELED,
    CONTRACT_PRICE,
    EXPIRED,
    FILLED,
    GTE_GTC,
    LIMIT,
    MARK_PRICE,
    MARKET,
    NEW,
    PARTIALLY_FILLED,
    TRIGGERS_INTO_LIMIT,
    Income,
    Order,
    Trade,
)
from aster_sim.core.state import State


class Engine:
    """Changes orders and accounts; whoever calls it has already checked that the order may be there."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last_moved: dict[str, None] = {}

    def admit(self, order: Order) -> None:
        """Take a new order: emit NEW, then execute it or let it wait for its trigger."""
        market = self._state.markets[order.symbol]
        account = self._state.accounts[order.account]
        account.opened(order)
        self._tell(order, market, "NEW")
        if order.waiting:
            market.triggers.add(order)
        else:
            self._execute(market, account, order)
        self.settle()

    def cancel(self, order: Order) -> None:
        """Cancel an open order."""
        self._finish(order, CANCELED)

    def amend(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Move a resting limit order: it loses its time priority, and takes what it now crosses."""
        market = self._state.markets[order.symbol]
        account = self._state.accounts[order.account]
        market.book.remove(order)
        order.quantity, order.price = quantity, price
        order.amendments += 1
        self._tell(order, market, "AMENDMENT")
        self._execute(market, account, order)
        self.settle()

    def price_moved(self, symbol: str) -> None:
        """React to new prices of a symbol: fill what they reach, fire what they trigger."""
        market = self._state.markets[symbol]
        self._fill_reached(market, asks=True)
        self._fill_reached(market, asks=False)
        self._fire_due(market)
        self.settle()

    def settle(self) -> None:
        """Fire what the last prices of our own trades trigger, until nothing moves any more."""
        while self._last_moved:
            symbol = next(iter(self._last_moved))
            del self._last_moved[symbol]
            self._fire_due(self._state.markets[symbol])

    def refresh_order_margin(self, account: Account, market: Market) -> None:
        """Recompute what the symbol's resting orders bind."""
        symbol = market.instrument.symbol
        margin = account.margin_of_orders(symbol, account.leverage_of(symbol, market.max_leverage))
        if margin:
            account.order_margin[symbol] = margin
        else:
            account.order_margin.pop(symbol, None)

    # -- execution ------------------------------------------------------------------------------

    def _execute(self, market: Market, account: Account, order: Order) -> None:
        if order.closes_only and not self._cut_to_position(account, order):
            self._finish(order, EXPIRED)
            return
        if order.time_in_force == "GTX" and crosses(market, order):
            self._finish(order, EXPIRED)
            return
        if order.time_in_force == "FOK" and not can_fill_whole(market, order):
            self._finish(order, EXPIRED)
            return
        self._take(market, account, order)
        if not order.open:
            return
        if order.type == MARKET or order.time_in_force in {"IOC", "FOK"}:
            self._finish(order, EXPIRED)
            return
        market.book.add(order)
        self.refresh_order_margin(account, market)

    @staticmethod
    def _cut_to_position(account: Account, order: Order) -> bool:
        """Shrink a closing order to what it can close; False when there is nothing to close."""
        closable = account.closable(order)
        if not closable:
            return False
        if order.close_position or order.remaining > closable:
            order.quantity = order.executed + closable
        return True

    def _take(self, market: Market, account: Account, order: Order) -> None:
        bound = price_bound(market, order)
        offers = Offers(market, taker_buys=order.buys)
        while order.open:
            offer = offers.best()
            if offer is None or not acceptable(order, offer.price, bound):
                return
            quantity = min(order.remaining, offer.quantity)
            if order.closes_only:
                quantity = min(quantity, account.closable(order))
            if offer.maker is not None:
                quantity = min(quantity, self._maker_capacity(offer.maker))
                if not quantity:
                    self._finish(offer.maker, EXPIRED)
                    continue
                self._fill(market, offer.maker, offer.price, quantity, maker=True)
            if not quantity:
                return
            self._fill(market, order, offer.price, quantity, maker=False)
            offers.take(offer, quantity)

    def _maker_capacity(self, maker: Order) -> Decimal:
        if not maker.closes_only:
            return maker.remaining
        return min(maker.remaining, self._state.accounts[maker.account].closable(maker))

    def _fill_reached(self, market: Market, *, asks: bool) -> None:
        """Fill resting client orders whose price the synthetic liquidity of the other side has crossed."""
        if market.book.empty(asks=asks):
            return
        for price, quantity in market.liquidity.levels(market.prices.mark, asks=not asks):
            left = quantity
            while left > ZERO:
                order = market.book.best(asks=asks)
                if order is None or (order.price > price if asks else order.price < price):
                    return
                part = min(left, self._maker_capacity(order))
                if not part:
                    self._finish(order, EXPIRED)
                    continue
                self._fill(market, order, order.price, part, maker=True)
                left -= part

    # -- booking --------------------------------------------------------------------------------

    def _fill(self, market: Market, order: Order, price: Decimal, quantity: Decimal, *, maker: bool) -> None:
        state = self._state
        account = state.accounts[order.account]
        position = account.position(order.symbol, order.position_side)
        now = state.now_ms()
        before = position.amount
        realised = position.apply(quantity if order.buys else -quantity, price)
        quote = quantity * price
        commission = commission_on(quote, state.maker_rate if maker else state.taker_rate)
        account.wallet += realised - commission
        position.updated_ms = account.updated_ms = order.updated_ms = now
        self._earmark(account, market, position, before, price)
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
            commission_asset=market.instrument.margin_asset,
            maker=maker,
            time_ms=now,
            position_after=position.amount,
            wallet_after=account.wallet,
        )
        state.counters.trade_id += 1
        state.fills += 1
        self._record(account, market, trade)
        if order.status == FILLED:
            account.closed(order)
            market.book.remove(order)
        self.refresh_order_margin(account, market)
        market.prices.trade(price, now)
        self._last_moved[order.symbol] = None
        state.emit(account.name, events.account_update(account, position, market, "ORDER", now))
        state.emit(account.name, events.order_update(order, market, "TRADE", now, trade=trade))
        state.changes.orders[order.order_id] = order
        state.changes.accounts[account.name] = account
        if not position.amount:
            self._expire_position_bound(account, order.symbol, order.position_side)

    def _record(self, account: Account, market: Market, trade: Trade) -> None:
        """Write the fill into trade and income history."""
        state = self._state
        account.trades.setdefault(trade.symbol, []).append(trade)
        state.changes.trades.append(trade)
        for kind, amount in (("REALIZED_PNL", trade.realised_pnl), ("COMMISSION", -trade.commission)):
            if not amount:
                continue
            income = Income(
                tran_id=state.counters.tran_id,
                account=account.name,
                symbol=trade.symbol,
                income_type=kind,
                income=amount,
                asset=market.instrument.margin_asset,
                info=str(trade.trade_id),
                time_ms=trade.time_ms,
                trade_id=str(trade.trade_id),
            )
            state.counters.tran_id += 1
            account.incomes.append(income)
            state.changes.incomes.append(income)

    @staticmethod
    def _earmark(account: Account, market: Market, position: Position, before: Decimal, price: Decimal) -> None:
        """Keep an isolated position's margin in proportion to its size."""
        if position.symbol not in account.isolated:
            return
        after = position.amount
        leverage = account.leverage_of(position.symbol, market.max_leverage)
        if not after:
            wallet = ZERO
        elif not before or (before > ZERO) != (after > ZERO):
            wallet = abs(after) * price / leverage
        elif abs(after) > abs(before):
            wallet = position.isolated_wallet + abs(after - before) * price / leverage
        else:
            wallet = position.isolated_wallet * after / before
        position.isolated_wallet = display_half_even(wallet, 8)

    def _expire_position_bound(self, account: Account, symbol: str, position_side: str) -> None:
        """GTE_GTC orders live only as long as the position that they close."""
        for order in list(account.open_orders.get(symbol, {}).values()):
            if order.time_in_force == GTE_GTC and order.position_side == position_side:
                self._finish(order, EXPIRED)

    # -- triggers -------------------------------------------------------------------------------

    def _fire_due(self, market: Market) -> None:
        prices = market.prices
        for working_type, price in ((MARK_PRICE, prices.mark), (CONTRACT_PRICE, prices.last)):
            due = market.triggers.due(working_type, price)
            due += market.triggers.trailing_due(working_type, price)
            for order in due:
                if order.waiting and order.open and not self._protected(market, order):
                    self._fire(market, order)

    @staticmethod
    def _protected(market: Market, order: Order) -> bool:
        """Whether priceProtect holds the trigger back: mark and last too far apart."""
        if not order.price_protect:
            return False
        prices = market.prices
        return abs(prices.mark - prices.last) > market.instrument.trigger_protect * prices.mark

    def _fire(self, market: Market, order: Order) -> None:
        state = self._state
        account = state.accounts[order.account]
        if order.closes_only and not account.closable(order):
            self._finish(order, EXPIRED)
            return
        market.triggers.remove(order)
        self._tell(order, market, "EXPIRED", shown=EXPIRED)
        order.type = LIMIT if order.type in TRIGGERS_INTO_LIMIT else MARKET
        order.price_protect = False
        if order.time_in_force == GTE_GTC:
            order.time_in_force = "GTC"
        if order.closes_only:
            self._cut_to_position(account, order)
        order.status = NEW
        self._tell(order, market, "NEW")
        if not margin_suffices(state, account, market, order):
            self._finish(order, EXPIRED)
            return
        self._execute(market, account, order)

    # -- endings --------------------------------------------------------------------------------

    def _finish(self, order: Order, status: str) -> None:
        """Bring an open order to a final status that is not a fill, and tell."""
        market = self._state.markets[order.symbol]
        account = self._state.accounts[order.account]
        if order.waiting:
            market.triggers.remove(order)
        else:
            market.book.remove(order)
        order.status = status
        account.closed(order)
        self.refresh_order_margin(account, market)
        self._tell(order, market, status)

    def _tell(self, order: Order, market: Market, execution: str, *, shown: str = "") -> None:
        state = self._state
        now = state.now_ms()
        order.updated_ms = now
        state.changes.orders[order.order_id] = order
        state.emit(order.account, events.order_update(order, market, execution, now, shown=shown))
