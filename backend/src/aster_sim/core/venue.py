"""The exchange as one object: accounts, orders, prices. Deterministic: seed and inputs decide everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from aster_sim.core import errors
from aster_sim.core.account import Account
from aster_sim.core.booking import Booker
from aster_sim.core.brackets import brackets_for
from aster_sim.core.catalogue import Catalogue, Instrument
from aster_sim.core.countdown import Countdowns
from aster_sim.core.execution import Engine
from aster_sim.core.filters import check_order, check_percent_price, check_price, check_quantity
from aster_sim.core.funding import FundingClerk
from aster_sim.core.intake import parse_order
from aster_sim.core.ledger import Ledger
from aster_sim.core.liquidation import Liquidator
from aster_sim.core.liquidity import Liquidity
from aster_sim.core.margin_checks import margin_suffices, within_leverage_cap
from aster_sim.core.market import Market
from aster_sim.core.matching import can_fill_whole, crosses, pegged
from aster_sim.core.numbers import ONE, ZERO, step_down, step_up
from aster_sim.core.open_interest import within_interest_cap
from aster_sim.core.orders import (
    BOTH,
    CONDITIONAL_TYPES,
    CONTRACT_PRICE,
    LIMIT,
    POST_ONLY,
    STOP_TYPES,
    TRAILING,
    Order,
    OrderRequest,
    StrategyTag,
)
from aster_sim.core.prices import Prices, on_tick
from aster_sim.core.settings import Settings
from aster_sim.core.state import MAKER_RATE, TAKER_RATE, Changes, State, UserEvent
from aster_sim.core.strategies import Strategist
from aster_sim.core.triggers import reached

if TYPE_CHECKING:
    from random import Random

MAX_AMENDMENTS = 10_000
KEPT_UNFILLED_MS = 7 * 24 * 3600 * 1000


class Venue:
    """The facade of the core. Mutations queue user events and changes; the caller drains both."""

    def __init__(
        self,
        catalogue: Catalogue,
        rng: Random,
        now_us: Callable[[], int],
        *,
        depth: Decimal = ONE,
        taker_rate: Decimal = TAKER_RATE,
        maker_rate: Decimal = MAKER_RATE,
    ) -> None:
        """Build the markets; ``depth`` scales the synthetic liquidity (1 is normal)."""
        now_ms = now_us() // 1000
        markets = {
            symbol: _market(instrument, rng, depth, catalogue.start_prices.get(symbol, ZERO), now_ms)
            for symbol, instrument in catalogue.instruments.items()
        }
        self.state = State(now_us, catalogue, markets, taker_rate, maker_rate)
        self.booker = Booker(self.state)
        self.engine = Engine(self.state, self.booker)
        self.settings = Settings(self.state, self.booker)
        self.funding = FundingClerk(self.state, self.booker)
        self.liquidator = Liquidator(self.state, self.engine, self.booker)
        self.strategies = Strategist(self.state, self._place, self.engine.cancel)
        self.countdowns = Countdowns(self.state)
        self.ledger = Ledger()
        self.price_listener: Callable[[str], None] | None = None

    # -- accounts -------------------------------------------------------------------------------

    def open_account(self, name: str, balance: Decimal) -> Account:
        """Create an account with a deposit in USDT; an existing one is returned as it is."""
        existing = self.state.accounts.get(name)
        if existing is not None:
            return existing
        now = self.state.now_ms()
        account = Account(name=name, wallet=balance, deposited=balance, updated_ms=now)
        self.state.accounts[name] = account
        self.state.add_income(account, "", "TRANSFER", balance, now, info="TRANSFER")
        self.state.changes.accounts[name] = account
        return account

    def market(self, symbol: str | None) -> Market:
        """A symbol's market.  Raises -1102 without a symbol, -1121 for an unknown one."""
        if not symbol:
            raise errors.MISSING.error(name="symbol")
        market = self.state.markets.get(symbol)
        if market is None:
            raise errors.BAD_SYMBOL.error()
        return market

    # -- orders ---------------------------------------------------------------------------------

    def place(self, account: Account, params: Mapping[str, str], *, retail: bool = False) -> Order:
        """Check and take a new order; the order comes back in its state after it ran.

        ``retail`` orders are those of a person at the website, who can also hit RPI orders.
        Checks run in the order of asterdex-facts.md section 12. Raises VenueError, and then did nothing.
        """
        order = self._place(account, params, retail=retail)
        self.strategies.react()
        return order

    def check(self, account: Account, params: Mapping[str, str]) -> None:
        """Check a new order as ``place`` does, and take nothing.  Raises VenueError."""
        self._checked(account, params)

    def _place(
        self, account: Account, params: Mapping[str, str], tag: StrategyTag | None = None, *, retail: bool = False
    ) -> Order:
        order = self._checked(account, params, retail=retail)
        order.strategy = tag
        self.state.counters.order_id += 1
        self.engine.admit(order)
        return order

    def _checked(self, account: Account, params: Mapping[str, str], *, retail: bool = False) -> Order:
        request = parse_order(params)
        market = self._tradable(request.symbol, request)
        if request.peg_price_type:
            request = pegged(market, request)
        self.check_filters(market, request)
        self._check_unique_and_counted(account, market, request)
        self._check_mode(account, request)
        order = self._draft(account, market, request, retail=retail)
        self._check_reduce_only(account, order)
        self._check_trigger(market, order)
        if self.state.rules.refuse_unfillable:
            self._check_fillable(market, order)
        if not margin_suffices(self.state, account, market, order):
            raise errors.MARGIN_INSUFFICIENT.error()
        if not within_leverage_cap(account, market, order):
            raise errors.MAX_POSITION_AT_LEVERAGE.error()
        if market.interest_cap is not None and not within_interest_cap(self.state, account, market, order):
            raise errors.OPEN_INTEREST_CAP.error()
        return order

    def cancel(self, account: Account, symbol: str, order_id: int | None, client_order_id: str | None) -> Order:
        """Cancel one open order.  Raises -2011 when there is none."""
        order = account.find(symbol, order_id, client_order_id)
        if order is None or not order.open:
            raise errors.UNKNOWN_ORDER.error()
        self.engine.cancel(order)
        self.strategies.react()
        return order

    def cancel_all(self, account: Account, symbol: str) -> list[Order]:
        """Cancel all open orders of a symbol; those that were canceled."""
        orders = list(account.open_orders.get(symbol, {}).values())
        for order in orders:
            self.engine.cancel(order)
        self.strategies.react()
        return orders

    def amend(
        self,
        account: Account,
        symbol: str,
        order_id: int | None,
        client_order_id: str | None,
        quantity: Decimal,
        price: Decimal,
    ) -> Order:
        """Change quantity (executed part included) and price of a resting LIMIT order.

        Raises -2013, -5025, -5026, the filters' codes, -5022 (post-only would take), -2019; the order then
        stays as it was. A quantity not above the executed part cancels the order, as in the lineage.
        """
        market = self.market(symbol)
        order = account.find(symbol, order_id, client_order_id)
        if order is None or not order.open:
            raise errors.NO_SUCH_ORDER.error()
        if order.type != LIMIT or order.orig_type != LIMIT:
            raise errors.AMEND_UNSUPPORTED.error()
        if order.amendments >= MAX_AMENDMENTS:
            raise errors.AMEND_LIMIT.error()
        check_price(market.instrument, price)
        check_quantity(market.instrument, quantity, market=False)
        check_percent_price(market.instrument, order.side, price, market.prices.mark)
        if not order.reduce_only and price * quantity < market.instrument.min_notional:
            raise errors.MIN_NOTIONAL.error(limit=market.instrument.min_notional)
        if quantity <= order.executed:
            self.engine.cancel(order)
            self.strategies.react()
            return order
        self._check_amended(account, market, order, quantity, price)
        instrument = market.instrument
        self.engine.amend(
            order,
            _padded(quantity, instrument.quantity_decimals),
            _padded(price, instrument.price_decimals),
        )
        self.strategies.react()
        return order

    def retarget(self, order: Order, request: OrderRequest) -> None:
        """Give a waiting conditional order the quantity and prices of a request.  Raises -2021."""
        market = self.market(order.symbol)
        instrument = market.instrument
        stop_price = _padded(request.stop_price, instrument.price_decimals)
        price = market.prices.last if order.working_type == CONTRACT_PRICE else market.prices.mark
        if order.type in STOP_TYPES and reached(order.type, order.side, stop_price, price):
            raise errors.IMMEDIATE_TRIGGER.error()
        quantity = _padded(request.quantity, instrument.quantity_decimals)
        self.engine.retarget(order, quantity, _padded(request.price, instrument.price_decimals), stop_price)
        self.strategies.react()

    def query(self, account: Account, symbol: str, order_id: int | None, client_order_id: str | None) -> Order:
        """One order, open or final.

        Raises -2013; also for orders that ended without a fill and are older than seven days.
        """
        order = account.find(symbol, order_id, client_order_id)
        if order is None or self.forgotten(order):
            raise errors.NO_SUCH_ORDER.error()
        return order

    def forgotten(self, order: Order) -> bool:
        """Whether the exchange no longer tells about an order (facts section 4, "Not found later")."""
        if order.open or order.executed:
            return False
        return self.state.now_ms() - order.created_ms > KEPT_UNFILLED_MS

    # -- prices ---------------------------------------------------------------------------------

    def jump(self, symbol: str, mark: Decimal, last: Decimal | None = None) -> None:
        """Put a symbol's price at a value at once (a gap), then fill and trigger what it reaches."""
        market = self.market(symbol)
        tick = market.instrument.tick
        price = on_tick(mark, tick)
        market.prices.move(price, on_tick(last, tick) if last is not None else price, self.state.now_ms())
        self.engine.price_moved(symbol)
        self.liquidator.check(symbol)
        self.strategies.react()
        self.state.counters.update_id += 1
        if self.price_listener is not None:
            self.price_listener(symbol)

    def glide(self, symbol: str, price: Decimal) -> None:
        """Move a symbol's price along a continuous path: stops fire and liquidations happen at their own prices."""
        market = self.market(symbol)
        target = on_tick(price, market.instrument.tick)
        while market.priced:
            mark = market.prices.mark
            stops = [market.triggers.next_stop(mark, target), self.liquidator.next_stop(symbol, mark, target)]
            found = [stop for stop in stops if stop is not None]
            if not found:
                break
            tick = market.instrument.tick
            stop = step_up(min(found), tick) if target > mark else step_down(max(found), tick)
            if (stop >= target) if target > mark else (stop <= target):
                break
            self.jump(symbol, stop)
        self.jump(symbol, target)

    # -- time -----------------------------------------------------------------------------------

    def advance(self) -> None:
        """Do what has become due by now: countdowns, funding, and the liquidations that it brings about."""
        for account, symbol in self.countdowns.take_due():
            self.cancel_all(account, symbol)
        for symbol in dict.fromkeys(self.funding.settle_due()):
            self.liquidator.check(symbol)
        self.strategies.react()

    # -- outputs --------------------------------------------------------------------------------

    def take_events(self) -> list[UserEvent]:
        """The user events since the last call."""
        taken, self.state.events = self.state.events, []
        return taken

    def take_touched(self) -> list[str]:
        """The symbols whose orders changed since the last call, in that order."""
        if not self.state.touched:
            return []
        taken, self.state.touched = list(self.state.touched), {}
        return taken

    def take_changes(self) -> Changes:
        """The changed entities since the last call."""
        taken, self.state.changes = self.state.changes, Changes()
        return taken

    # -- checks ---------------------------------------------------------------------------------

    def check_filters(self, market: Market, request: OrderRequest) -> None:
        """Raise the code of the first filter of the symbol that refuses a new order, if one does."""
        exempts = self.state.rules.exempt_hedge_closes
        check_order(market.instrument, request, market.prices.mark, exempts_hedge_closes=exempts)

    def _tradable(self, symbol: str, request: OrderRequest) -> Market:
        market = self.market(symbol)
        if not market.instrument.trading:
            raise errors.NOT_TRADING.error(why=f"its status is {market.instrument.status}")
        if not market.priced:
            raise errors.NOT_TRADING.error(why="it has no price yet")
        if request.type not in market.instrument.order_types:
            raise errors.BAD_ORDER_TYPE.error()
        return market

    @staticmethod
    def _check_unique_and_counted(account: Account, market: Market, request: OrderRequest) -> None:
        if request.client_order_id in account.open_client_ids:
            raise errors.DUPLICATE_CLIENT_ID.error()
        open_orders = account.open_orders.get(request.symbol, {})
        if len(open_orders) >= market.instrument.max_orders:
            raise errors.MAX_OPEN_ORDERS.error()
        if request.type in CONDITIONAL_TYPES:
            waiting = sum(1 for order in open_orders.values() if order.waiting)
            if waiting >= market.instrument.max_algo_orders:
                raise errors.MAX_STOP_ORDERS.error()

    @staticmethod
    def _check_mode(account: Account, request: OrderRequest) -> None:
        if account.dual_side == (request.position_side == BOTH):
            raise errors.POSITION_SIDE_MISMATCH.error()
        if account.dual_side and request.reduce_only:
            raise errors.NOT_REQUIRED.error(name="reduceOnly")
        if account.dual_side and request.close_position:
            opens = (request.position_side == "LONG") == (request.side == "BUY")
            if opens:
                raise errors.REDUCE_ONLY_REJECTED.error()

    def _draft(self, account: Account, market: Market, request: OrderRequest, *, retail: bool) -> Order:
        instrument = market.instrument
        now = self.state.now_ms()
        order_id = self.state.counters.order_id
        return Order(
            order_id=order_id,
            account=account.name,
            symbol=request.symbol,
            client_order_id=request.client_order_id or f"sim_{order_id}",
            side=request.side,
            position_side=request.position_side,
            type=request.type,
            orig_type=request.type,
            time_in_force=request.time_in_force,
            quantity=_padded(request.quantity, instrument.quantity_decimals),
            price=_padded(request.price, instrument.price_decimals),
            stop_price=_padded(request.stop_price, instrument.price_decimals),
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            working_type=request.working_type,
            price_protect=request.price_protect,
            activation_price=_padded(request.activation_price, instrument.price_decimals),
            callback_rate=request.callback_rate,
            stp_mode=request.stp_mode,
            created_ms=now,
            updated_ms=now,
            retail=retail,
        )

    def _check_reduce_only(self, account: Account, order: Order) -> None:
        """-2022: nothing to close, or resting orders on its side already cover the position (facts section 13).

        closePosition orders are taken without a position too: they look for one when they trigger.
        """
        if order.close_position or not order.closes_only:
            return
        free = account.closable(order)
        if not order.waiting:
            for other in account.open_orders.get(order.symbol, {}).values():
                if self._covers(other, order):
                    free -= other.remaining
        if free <= ZERO:
            raise errors.REDUCE_ONLY_REJECTED.error()

    def _covers(self, resting: Order, order: Order) -> bool:
        """Whether a resting order counts as a close of the position that ``order`` is to close."""
        if resting.type != LIMIT or (resting.side, resting.position_side) != (order.side, order.position_side):
            return False
        return resting.closes_only or not self.state.rules.only_closing_orders_cover

    @staticmethod
    def _check_fillable(market: Market, order: Order) -> None:
        if order.time_in_force == "FOK" and not order.waiting and not can_fill_whole(market, order):
            raise errors.FOK_NOT_FILLABLE.error()
        if order.time_in_force in POST_ONLY and not order.waiting and crosses(market, order):
            raise errors.GTX_WOULD_TAKE.error()

    @staticmethod
    def _check_trigger(market: Market, order: Order) -> None:
        prices = market.prices
        price = prices.last if order.working_type == CONTRACT_PRICE else prices.mark
        if order.type in STOP_TYPES:
            if reached(order.type, order.side, order.stop_price, price):
                raise errors.IMMEDIATE_TRIGGER.error()
        elif order.type == TRAILING and order.activation_price:
            wrong = order.activation_price >= price if order.buys else order.activation_price <= price
            if wrong:
                raise errors.IMMEDIATE_TRIGGER.error()

    def _check_amended(self, account: Account, market: Market, order: Order, quantity: Decimal, price: Decimal) -> None:
        """Margin and post-only with the new values; the order's own margin is free meanwhile."""
        old = (order.quantity, order.price)
        market.book.remove(order)
        order.price, order.quantity = price, order.executed
        account.changed(order)
        self.booker.refresh_order_margin(account, market)
        order.quantity = quantity
        affordable = margin_suffices(self.state, account, market, order)
        takes = order.time_in_force in POST_ONLY and crosses(market, order)
        order.quantity, order.price = old
        account.changed(order)
        market.book.add(order, keep_place=True)
        self.booker.refresh_order_margin(account, market)
        if takes:
            raise errors.GTX_WOULD_TAKE.error()
        if not affordable:
            raise errors.MARGIN_INSUFFICIENT.error()


def _market(instrument: Instrument, rng: Random, depth: Decimal, price: Decimal, now_ms: int) -> Market:
    start = on_tick(price, instrument.tick) if price else ZERO
    return Market(
        instrument=instrument,
        brackets=brackets_for(instrument.base_asset),
        liquidity=Liquidity(instrument, rng, depth),
        prices=Prices(start, start, start, now_ms),
    )


def _padded(value: Decimal, decimals: int) -> Decimal:
    """The same value written with the instrument's decimals; zero stays a bare zero."""
    return value.quantize(ONE.scaleb(-decimals)) if value else ZERO
