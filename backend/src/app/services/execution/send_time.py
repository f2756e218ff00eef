"""At send time: what was right when it was planned is judged again when its order is about to leave (C7, Z7).

Recording an intent and setting the leverage take their time, and the market does not wait. So everything that depends
on price is judged by the mark price of the moment. The size may only shrink; a smaller one is on record before it is
sent, as the larger one was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from app.domain.errors import ErrorCode, ExchangeError
from app.domain.orders import Order
from app.domain.parts import executed_before, quantity_to_come
from app.domain.trades import TradeError
from app.services.execution import facts
from app.services.execution.checks import Case, first_refusal
from app.services.execution.desk_tools import DeskTools
from app.services.execution.planning import EntryPlan, EntryWish, MarketView
from app.services.execution.risk import CheckFailed, Exposure, RiskRefused, check_age, check_gate
from app.services.execution.sent_once import SentOnce

_MOST_SHRINKS = 3


def called_off(asset: str) -> str:
    """Why an entry is not sent any more (scenario O10)."""
    return f"a close of {asset} was asked for before the entry had left, so it was not sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """An order that may leave; ``case`` is what it was judged by, where it adds exposure."""

    order: Order
    case: Case | None = None


@dataclass(frozen=True, slots=True)
class SendTime:
    """Judges what is about to leave one desk.

    ``exposure`` is what a wish is judged against but for its own order; ``once`` sends it.
    """

    tools: DeskTools
    exposure: Callable[[EntryWish, str | None], Exposure]
    once: SentOnce

    async def approve(self, plan: EntryPlan, key: str, trade_id: str, order: Order) -> Cleared | TradeError:
        """The order as it may leave now, with its size on record; or why it may not. Its margin is reserved as ``key``.

        Of an entry in parts all that is left is judged with each of them; where that must shrink, a later part does.

        Raises:
            StoreUnavailable: a smaller size could not be recorded.
        """
        crowded = await self.once.until_there_is_room(trade_id, functools.partial(self._too_late, plan.wish))
        if crowded is not None:
            return crowded
        for _ in range(_MOST_SHRINKS):
            case = await self._case(self._left(plan, trade_id, order), key, order.client_order_id)
            if isinstance(case, TradeError):
                return case
            verdict = _judged(case)
            if isinstance(verdict, TradeError):
                return verdict
            if verdict.quantity >= order.quantity:
                return Cleared(order=order, case=replace(case, planned=verdict, is_sized=True))
            shrunk = self._shrunk(trade_id, order, verdict.quantity)
            if shrunk is None:
                text = f"the order on {plan.wish.item.asset} was no longer on its way when its size had to shrink"
                return TradeError(code=ErrorCode.INTERNAL_ERROR, message=text)
            order = shrunk
            await self.tools.background.caught_up()
            await self.tools.trades.settled()
        text = f"the price of {plan.wish.item.asset} moves faster than the size can be adapted to it; nothing was sent"
        return TradeError(code=ErrorCode.PRICE_DEVIATION, message=text)

    def _left(self, plan: EntryPlan, trade_id: str, order: Order) -> EntryPlan:
        """What is left of the plan to be sent: ``order``, and the parts behind it (scenario O7)."""
        trade = self.once.trade(trade_id)
        if trade is None:
            return plan.at_most(order.quantity)
        return plan.after(executed_before(trade, order)).at_most(quantity_to_come(trade, order))

    def _shrunk(self, trade_id: str, order: Order, quantity: Decimal) -> Order | None:
        at, order_id = self.tools.clock.now(), order.client_order_id
        self.once.take(trade_id, facts.EntryShrunk(at=at, client_order_id=order_id, quantity=quantity))
        trade = self.once.trade(trade_id)
        shrunk = trade.order(order_id) if trade is not None else None
        return shrunk if shrunk is not None and shrunk.quantity == quantity else None

    def _too_late(self, wish: EntryWish) -> TradeError | None:
        """Why there is nothing to wait for any more."""
        gate = self.tools.gate()
        try:
            check_gate(gate.halted)
            check_gate(gate.unready)
            check_age(wish, self.tools.policy.risk, self.tools.clock.now())
        except CheckFailed as failed:
            return error_of_refusal(failed.refused)
        return None

    def objection(self, cleared: Cleared) -> TradeError | None:
        """Why an order that was cleared must not leave, as it is, now that its turn has come; or None.

        Nothing is read here: others wait for their turn. A price that the stream has not told lately is none.
        """
        case, tools = cleared.case, self.tools
        if case is None:
            return None
        asset = case.wish.item.asset
        known = tools.market.recent(asset)
        if known is None:
            text = f"the price of {asset} was not known any more when the turn of its order had come"
            return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text)
        market, quote = known
        exposure = self.exposure(case.wish, cleared.order.client_order_id)
        now, gate = tools.clock.now(), tools.gate()
        verdict = _judged(replace(case, market=market, quote=quote, exposure=exposure, now=now, gate=gate))
        return verdict if isinstance(verdict, TradeError) else None

    async def flip_refusal(self, wish: EntryWish, market: MarketView | None) -> TradeError | None:
        """Why the entry of a flip would not be sent; asked before its close (scenario Z8)."""
        tools = self.tools
        case = Case(
            wish=wish, market=market, exposure=self.exposure(wish, None), policy=tools.policy, now=tools.clock.now()
        )
        refusal = first_refusal(case)
        if refusal is not None:
            return error_of_refusal(refusal)
        found = await self._case(case.known_entry, None, None)
        verdict = found if isinstance(found, TradeError) else _judged(found)
        return verdict if isinstance(verdict, TradeError) else None

    async def _case(self, plan: EntryPlan, key: str | None, order_id: str | None) -> Case | TradeError:
        tools, asset = self.tools, plan.wish.item.asset
        try:
            means = await tools.market.means(plan, () if key is None else (key,))
            market, quote = await tools.market.present(asset)
        except ExchangeError as error:
            text = f"{asset} could not be read from the exchange when the order was to leave: {error}"
            return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text, exchange_code=error.code)
        return Case(
            wish=plan.wish,
            market=market,
            exposure=self.exposure(plan.wish, order_id),
            policy=tools.policy,
            now=tools.clock.now(),
            gate=tools.gate(),
            quote=quote,
            means=means,
            planned=plan,
        )


def _judged(case: Case) -> EntryPlan | TradeError:
    refusal = first_refusal(case, is_leaving=True)
    return case.known_entry if refusal is None else error_of_refusal(refusal)


def error_of_refusal(refusal: RiskRefused) -> TradeError:
    """A refusal as the error of a trade that was planned already."""
    return TradeError(code=refusal.code, message=refusal.message, retry_after_s=refusal.retry_after_s)
