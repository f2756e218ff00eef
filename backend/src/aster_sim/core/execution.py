"""The engine: executes orders against the book and fires triggers, in the recorded order of events.

A trigger emits EXPIRED (nothing executed), NEW under the same order id with the type it became, then its
fills (asterdex-facts.md section 6).
"""

from __future__ import annotations

from decimal import Decimal

from aster_sim.core.account import Account
from aster_sim.core.booking import Booker
from aster_sim.core.margin_checks import margin_suffices
from aster_sim.core.market import Market
from aster_sim.core.matching import Offers, acceptable, can_fill_whole, crosses, price_bound
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import (
    CANCELED,
    CONTRACT_PRICE,
    EXPIRE_BOTH,
    EXPIRE_MAKER,
    EXPIRE_TAKER,
    EXPIRED,
    EXPIRED_IN_MATCH,
    GTE_GTC,
    LIMIT,
    MARK_PRICE,
    MARKET,
    NEW,
    POST_ONLY,
    TRAILING,
    TRIGGERS_INTO_LIMIT,
    Order,
)
from aster_sim.core.state import State


class Engine:
    """Changes orders and accounts; whoever calls it has already checked that the order may be there."""

    def __init__(self, state: State, booker: Booker) -> None:
        self._state = state
        self._booker = booker

    def admit(self, order: Order) -> None:
        """Take a new order: emit NEW, then execute it or let it wait for its trigger."""
        market = self._state.markets[order.symbol]
        account = self._state.accounts[order.account]
        if self._closes_everything(account, order):
            # recorded: what is bound to a position ends before the order that closes it begins
            self._booker.expire_position_bound(account, order.symbol, order.position_side)
        if order.type == TRAILING and not order.activation_price:
            prices = market.prices
            order.activation_price = prices.mark if order.working_type == MARK_PRICE else prices.last
            order.trail_extreme = order.activation_price
        account.opened(order)
        self._booker.tell(order, market, "NEW")
        if order.waiting:
            market.triggers.add(order)
        else:
            self._execute(market, account, order)
        self.settle()

    def cancel(self, order: Order) -> None:
        """Cancel an open order."""
        self._booker.finish(order, CANCELED)

    def amend(self, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Change a resting limit order; it takes what it now crosses.

        It keeps its place in the queue only when it shrinks at the same price.
        """
        market = self._state.markets[order.symbol]
        account = self._state.accounts[order.account]
        market.book.remove(order)
        keeps_place = price == order.price and quantity <= order.quantity
        order.quantity, order.price = quantity, price
        account.changed(order)
        order.amendments += 1
        self._booker.tell(order, market, "AMENDMENT")
        if keeps_place:
            market.book.add(order, keep_place=True)
            self._booker.refresh_order_margin(account, market)
        else:
            self._execute(market, account, order)
        self.settle()

    def retarget(self, order: Order, quantity: Decimal, price: Decimal, stop_price: Decimal) -> None:
        """Change a conditional order that waits."""
        market = self._state.markets[order.symbol]
        market.triggers.remove(order)
        order.quantity, order.price, order.stop_price = quantity, price, stop_price
        order.amendments += 1
        market.triggers.add(order)
        self._booker.tell(order, market, "AMENDMENT")

    def price_moved(self, symbol: str) -> None:
        """React to new prices of a symbol: fill what they reach, fire what they trigger."""
        market = self._state.markets[symbol]
        self._fill_reached(market, asks=True)
        self._fill_reached(market, asks=False)
        self._fire_due(market)
        self.settle()

    def settle(self) -> None:
        """Fire what the last prices of our own trades trigger, until nothing moves any more."""
        while (symbol := self._booker.moved()) is not None:
            self._fire_due(self._state.markets[symbol])

    # -- execution ------------------------------------------------------------------------------

    def _execute(self, market: Market, account: Account, order: Order) -> None:
        if order.closes_only and not self._cut_to_position(account, order):
            self._booker.finish(order, EXPIRED)
            return
        if order.time_in_force in POST_ONLY and crosses(market, order):
            self._booker.finish(order, EXPIRED)
            return
        if order.time_in_force == "FOK" and not can_fill_whole(market, order):
            self._booker.finish(order, EXPIRED)
            return
        self.take(market, account, order)
        if not order.open:
            return
        if order.type == MARKET or order.time_in_force in {"IOC", "FOK"}:
            self._booker.finish(order, EXPIRED)
            return
        market.book.add(order)
        self._booker.refresh_order_margin(account, market)

    @staticmethod
    def _closes_everything(account: Account, order: Order) -> bool:
        if order.type != MARKET or not order.closes_only:
            return False
        closable = account.closable(order)
        return bool(closable) and order.quantity >= closable

    @staticmethod
    def _cut_to_position(account: Account, order: Order) -> bool:
        """Shrink a closing order to what it can close; False when there is nothing to close."""
        closable = account.closable(order)
        if not closable:
            return False
        if order.close_position or order.remaining > closable:
            order.quantity = order.executed + closable
        return True

    def take(self, market: Market, account: Account, order: Order) -> None:
        """Execute an order against the offers within its bound; what they do not cover stays open."""
        bound = price_bound(market, order)
        offers = Offers(market, taker_buys=order.buys, retail=order.retail)
        while order.open:
            offer = offers.best()
            if offer is None or not acceptable(order, offer.price, bound):
                return
            if offer.maker is not None and offer.maker.account == order.account:
                self._prevent_self_trade(account, order, offer.maker)
                continue
            quantity = min(order.remaining, offer.quantity)
            if order.closes_only:
                quantity = min(quantity, account.closable(order))
            if offer.maker is not None:
                quantity = min(quantity, self._maker_capacity(offer.maker))
                if not quantity:
                    self._booker.finish(offer.maker, EXPIRED)
                    continue
                self._booker.fill(market, offer.maker, offer.price, quantity, maker=True)
            if not quantity:
                return
            self._booker.fill(market, order, offer.price, quantity, maker=False)
            offers.take(offer, quantity)

    def _prevent_self_trade(self, account: Account, taker: Order, maker: Order) -> None:
        """End one or both of two orders of one account that would trade with each other."""
        mode = taker.stp_mode or account.stp_mode
        if mode in {EXPIRE_MAKER, EXPIRE_BOTH}:
            self._booker.finish(maker, EXPIRED_IN_MATCH, EXPIRED)
        if mode in {EXPIRE_TAKER, EXPIRE_BOTH}:
            self._booker.finish(taker, EXPIRED_IN_MATCH, EXPIRED)

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
                order = market.book.best(asks=asks, retail=True)
                if order is None or (order.price > price if asks else order.price < price):
                    return
                part = min(left, self._maker_capacity(order))
                if not part:
                    self._booker.finish(order, EXPIRED)
                    continue
                self._booker.fill(market, order, order.price, part, maker=True)
                left -= part

    # -- triggers -------------------------------------------------------------------------------

    def _fire_due(self, market: Market) -> None:
        if market.triggers.empty:
            return
        prices = market.prices
        for working_type, price in ((MARK_PRICE, prices.mark), (CONTRACT_PRICE, prices.last)):
            due = market.triggers.due(working_type, price)
            turned, trailed = market.triggers.trailing_due(working_type, price)
            self._state.changes.orders.update((order.order_id, order) for order in trailed)
            due += turned
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

    def _too_large(self, market: Market, order: Order) -> bool:
        """Whether a triggered order is more than one market order may be, where the venue holds it to that."""
        obeys = self._state.rules.triggers_obey_market_maximum
        return obeys and order.type == MARKET and order.remaining > market.instrument.market_max_qty

    def _fire(self, market: Market, order: Order) -> None:
        state = self._state
        account = state.accounts[order.account]
        if order.closes_only and not account.closable(order):
            self._booker.finish(order, EXPIRED)
            return
        market.triggers.remove(order)
        self._booker.tell(order, market, "EXPIRED", shown=EXPIRED)
        self._booker.drive(order, "STOPPED")
        order.type = LIMIT if order.type in TRIGGERS_INTO_LIMIT else MARKET
        order.price_protect = False
        if order.time_in_force == GTE_GTC:
            order.time_in_force = "GTC"
        if order.closes_only:
            self._cut_to_position(account, order)
        account.changed(order)
        order.status = NEW
        self._booker.tell(order, market, "NEW")
        if self._too_large(market, order) or not margin_suffices(state, account, market, order):
            self._booker.finish(order, EXPIRED)
            return
        self._execute(market, account, order)
