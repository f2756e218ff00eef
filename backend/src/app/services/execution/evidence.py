"""Evidence: reading from the exchange what became of an order, a position, a trade's money.

Nothing here concludes from a failed read, and nothing concludes "never placed" before the fence (scenarios U1-U8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from app.domain.errors import ExchangeError
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.ports import Clock
from app.domain.reports import FillReport, OrderReport, PositionReport, PositionSide
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.services.execution import facts
from app.services.execution.funding import booked_funding
from app.services.execution.unexplained import are_others, changed_at, reach, surplus

log = structlog.get_logger(__name__)

_LOOK_BACK = timedelta(minutes=2)
_CLOCK_ERROR = timedelta(seconds=10)
_LONG_LOOK_BACK = timedelta(days=6)
_SETTLED_AFTER_S = 65.0
_NOOP_AFTER_S = 1.0
_NOOP_SETTLES_S = 1.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_CHANGE_AT_ONCE = frozenset({OrderRole.ENTRY, OrderRole.REDUCE, OrderRole.CLOSE, OrderRole.TAKE_BACK})
"""Market orders: what they execute, they execute when they arrive."""
_LATEST_LIST = timedelta(hours=1)
"""A list that does not show by then what the position shows never will."""

Trades = Callable[[], Sequence[Trade]]
"""The active trades on an asset, as they are when it is called."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Reads the truth about one account's orders, patiently.

    ``newest`` puts what the user stream has told of an asset's positions in the place of older rows.
    """

    client: AsterClient
    clock: Clock
    newest: Callable[[str, list[PositionReport]], list[PositionReport]] = lambda _asset, rows: rows
    _burned: set[str] = field(default_factory=set, init=False)
    """Orders whose only request the exchange can't take any more, because a noop used up its nonce."""

    async def order(self, order: Order) -> OrderReport | None:
        """The order as the exchange shows it now, or None when a query does not find it."""
        return await self.client.query_order(order.request.symbol, order.client_order_id)

    async def resolve(
        self, trade: Trade, order: Order, trades: Trades
    ) -> facts.OrderQueried | facts.OrderAbsent | facts.EntryInPosition:
        """Ask until the order is found, or its position, or until it is proven never to have been placed.

        Before the fence, "does not exist" proves nothing. After it, the position, the order, the history of all orders
        and the user's trades must agree. Once the order had its time to show up, a noop tries to bring the fence
        forward.

        Raises:
            ExchangeError: a read failed; that proves nothing, ask again.
        """
        pause_s, has_tried, asked_at = _FIRST_PAUSE_S, False, self.clock.monotonic()
        while True:
            report = await self.order(order)
            if report is not None and not order.is_contradicted_by(report):
                return self._found(order, report)
            held = await self.in_position(trade, order, trades)
            if held != order.executed_quantity:
                return self.entry_in_position(order, held)
            left_s = self._until_fence_s(order)
            if left_s <= 0 or order.client_order_id in self._burned:
                verdict = await self._after_fence(trade, order, held)
                if verdict is not None:
                    return verdict
                left_s = _LONGEST_PAUSE_S
            elif self.clock.monotonic() - asked_at >= _NOOP_AFTER_S and not has_tried:
                has_tried = True
                if await self._burn(order):
                    pause_s = _NOOP_SETTLES_S
            await self.clock.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def in_position(self, trade: Trade, order: Order, trades: Trades) -> Decimal:
        """What of the position only this entry explains, for as long as the exchange's lists do not explain it (U11).

        Raises:
            ExchangeError: a read failed; that proves nothing, ask again.
        """
        sent_at = self._sent_by(trade, order)
        if order.role is not OrderRole.ENTRY or self.client.exchange_time() - sent_at > _LATEST_LIST:
            return ZERO
        rows = await self._rows(trade)
        at, held = changed_at(trade, rows) or sent_at, surplus(trade, order, trades(), rows)
        if not held or at < sent_at - _CLOCK_ERROR:
            return ZERO
        fills = await self.client.user_trades(trade.asset, sent_at - _LOOK_BACK)
        names = await self._names_of(trade.asset, fills, sent_at - _LOOK_BACK)
        return ZERO if reach(fills, at) and are_others(order, fills, names) else held

    async def _rows(self, trade: Trade) -> list[PositionReport]:
        return self.newest(trade.asset, await self.client.positions(trade.asset))

    async def _names_of(self, asset: str, fills: list[FillReport], since: datetime) -> dict[int, str]:
        """The client order ids behind executions, by the exchange's ids; orders may have rested for days."""
        names: dict[int, str] = {}
        for look_back in (timedelta(), _LONG_LOOK_BACK):
            if any(fill.order_id not in names for fill in fills):
                listed = await self.client.all_orders(asset, since - look_back)
                names |= {report.order_id: report.client_order_id for report in listed}
        return names

    def entry_in_position(self, entry: Order, quantity: Decimal) -> facts.EntryInPosition:
        """What the position tells of an entry, as a fact."""
        return facts.EntryInPosition(at=self.clock.now(), client_order_id=entry.client_order_id, quantity=quantity)

    async def _burn(self, order: Order) -> bool:
        """Use up the nonce of an order that was sent once, so that its request, wherever it is, can't be taken.

        Failure proves nothing: the nonce may be used, past its window, or older than the signer's newest hundred.
        """
        if order.stamp is None or order.transmissions != 1 or not await self.client.noop(order.stamp):
            return False
        self._burned.add(order.client_order_id)
        log.info("evidence.nonce_burned", client_order_id=order.client_order_id)
        return True

    def _found(self, order: Order, report: OrderReport) -> facts.OrderQueried:
        self._burned.discard(order.client_order_id)
        return facts.OrderQueried(at=self.clock.now(), report=report)

    def _until_fence_s(self, order: Order) -> float:
        if order.stamp is not None:
            return (order.stamp.dead_after - self.client.exchange_time()).total_seconds()
        if order.submitted_at is None:
            return 0
        # acknowledged, yet not found: a busy exchange may need tens of seconds to show what it has (U3)
        return _SETTLED_AFTER_S - (self.clock.now() - order.submitted_at).total_seconds()

    async def _after_fence(
        self, trade: Trade, order: Order, held: Decimal
    ) -> facts.OrderQueried | facts.OrderAbsent | None:
        """Look where a plain query may not: among all orders, closed ones included, and all executions.

        None when the position holds what only this entry explains (``held``), when an execution is there that no known
        order explains, or when the lists do not reach what the position has gone through since: nothing is proven yet.
        """
        since = self._sent_by(trade, order) - _LOOK_BACK
        for report in await self.client.all_orders(order.request.symbol, since):
            if report.client_order_id == order.client_order_id and not order.is_contradicted_by(report):
                return self._found(order, report)
        if held:
            return None
        fills = await self.client.user_trades(order.request.symbol, since)
        same_side = [fill for fill in fills if fill.side is order.request.side]
        names = await self._names_of(order.request.symbol, same_side, since)
        if not are_others(order, same_side, names) or await self._are_behind(trade, order, fills):
            return None
        self._burned.discard(order.client_order_id)
        return facts.OrderAbsent(
            at=self.clock.now(), client_order_id=order.client_order_id, transmissions=order.transmissions
        )

    def _sent_by(self, trade: Trade, order: Order) -> datetime:
        """When the order left at the latest, by the exchange's clock; this host's may have been set since (P12)."""
        sent_at = self.exchange_time(order.submitted_at or trade.created_at)
        return min(sent_at, order.stamp.dead_after) if order.stamp is not None else sent_at

    async def _are_behind(self, trade: Trade, order: Order, fills: list[FillReport]) -> bool:
        """Whether the position has changed since a market order was sent, and the executions do not tell why yet.

        An entry may have come in, and gone again by its exits; a close may have taken its part beside what others hold
        on the same side (O9). That is waited for no longer than a busy exchange takes. A stop or target that may have
        been triggered is not waited for: a second one does less harm than none.
        """
        sent_at = self._sent_by(trade, order)
        patience = timedelta(seconds=_SETTLED_AFTER_S) + self._life_of(order)
        if order.role not in _CHANGE_AT_ONCE or self.client.exchange_time() - sent_at > patience:
            return False
        at = changed_at(trade, await self._rows(trade))
        return at is not None and at >= sent_at and not reach(fills, at)

    def _life_of(self, order: Order) -> timedelta:
        """For how long its request could be executed."""
        if order.stamp is None or order.submitted_at is None:
            return timedelta()
        return max(order.stamp.dead_after - self.exchange_time(order.submitted_at), timedelta())

    async def position(self, trade: Trade) -> Decimal:
        """The exchange's signed quantity on the trade's asset and position side."""
        quantity, _ = await self._position(trade)
        return quantity

    async def _position(self, trade: Trade) -> tuple[Decimal, datetime | None]:
        """Signed quantity, and when it last changed."""
        sides = (trade.position_side, PositionSide.BOTH)
        rows = [row for row in await self.client.positions(trade.asset) if row.position_side in sides]
        quantity = sum((abs(row.quantity) * _sign(trade, row.quantity) for row in rows), start=ZERO)
        return quantity, max((row.updated_at for row in rows), default=None)

    async def position_then_orders(
        self, trade: Trade, maybe_sent: Sequence[str] = (), tell: Callable[[facts.Fact], None] | None = None
    ) -> list[facts.Fact]:
        """Read the position, then every order of the trade that is not finished, in this order (see PositionShown).

        Executions that are known to have happened and were never described are read too: their frames got lost.

        Args:
            trade: as it was before the first read.
            maybe_sent: ids of orders that a dead process may have sent without a record of it; absence proves nothing.
            tell: hears of each of these that is found at once: should a later read fail, everything is read anew, and
                meanwhile a close of which nobody knew would be sent a second time.
        """
        quantity, changed = await self._position(trade)
        learned: list[facts.Fact] = []
        if tell is not None:
            await self._look_for(trade, maybe_sent, tell)  # exits wait for the answers
        for order in trade.orders:
            if order.is_final or order.transmissions == 0:
                continue
            report = await self.order(order)
            if report is not None:
                learned.append(facts.OrderQueried(at=self.clock.now(), report=report))
            elif self._until_fence_s(order) <= 0:
                # shown once, and no longer: a stop that vanished must be missed; before the fence it may be late (U3)
                learned.append(
                    facts.OrderMissed(
                        at=self.clock.now(),
                        client_order_id=order.client_order_id,
                        transmissions=order.transmissions,
                    )
                )
        learned.append(
            facts.PositionShown(
                at=self.clock.now(),
                quantity=quantity,
                entered_before=trade.entered_quantity,
                transmissions_before=trade.transmissions,
                changed_at=changed,
            )
        )
        if not trade.is_every_fill_known:
            learned += await self._booked_so_far(trade)
        return learned

    async def _look_for(self, trade: Trade, maybe_sent: Sequence[str], tell: Callable[[facts.Fact], None]) -> None:
        async def look_for(order_id: str) -> None:
            report = await self.client.query_order(trade.asset, order_id)
            if report is not None:
                tell(facts.OrderQueried(at=self.clock.now(), report=report))

        await asyncio.gather(*map(look_for, maybe_sent))

    async def look_on(self, trade: Trade, maybe_sent: Sequence[str], tell: Callable[[facts.Fact], None]) -> None:
        """Look again for what a dead process may have sent, once the executions listed reach the position (C1, O9).

        The position may show an execution long before the exchange's lists show its order. That is waited for no
        longer than a busy exchange takes, whether it can be read or not.
        """
        pause_s, began = _FIRST_PAUSE_S, self.clock.monotonic()
        while True:
            is_last = self.clock.monotonic() - began >= _SETTLED_AFTER_S
            try:
                if is_last or await self._are_listed(trade):
                    await self._look_for(trade, maybe_sent, tell)
                    return
            except ExchangeError as error:
                log.info("evidence.not_looked", asset=trade.asset, error=str(error))
                if is_last:
                    return
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _are_listed(self, trade: Trade) -> bool:
        """Whether the executions listed reach the position's last change, or had their time to."""
        at = changed_at(trade, await self._rows(trade))
        if at is None or (self.client.exchange_time() - at).total_seconds() >= _SETTLED_AFTER_S:
            return True
        return reach(await self.client.user_trades(trade.asset, at - _LOOK_BACK), at)

    async def _booked_so_far(self, trade: Trade) -> list[facts.Fact]:
        """The executions that the history has; a failed read keeps nobody from what was read before it."""
        try:
            return [facts.FillsBooked(at=self.clock.now(), fills=await self._executions(trade))]
        except ExchangeError as error:  # the next reconciliation finds them missing
            log.info("evidence.history_not_read", asset=trade.asset, error=str(error))
            return []

    async def _executions(self, trade: Trade) -> tuple[FillReport, ...]:
        """Every execution of the trade's orders that the exchange shows."""
        ours: tuple[FillReport, ...] = ()
        for look_back in (_CLOCK_ERROR, _LONG_LOOK_BACK):  # older than they seem: this host's clock was set meanwhile
            ours = _ours(trade, await self.client.user_trades(trade.asset, self._beginning_of(trade, look_back)))
            if _is_complete(trade, ours):
                break
        return ours

    async def account_for(self, trade: Trade) -> facts.Accounted:
        """Every execution of the trade as booked, others' that reduced its position included, and its funding.

        Asks again while executions that are known to have happened are still missing from the exchange's history; for
        those of others it is patient for a minute.
        """
        look_back = _CLOCK_ERROR
        pause_s, waited_s = _FIRST_PAUSE_S, 0.0
        while True:
            booked = await self.client.user_trades(trade.asset, self._beginning_of(trade, look_back))
            ours = _ours(trade, booked)
            taken = _taken_by_others(trade, ours, booked)
            # what others took may have left the history, and then it is waited for in vain
            is_told = sum((fill.quantity for fill in taken), start=ZERO) >= _missing(trade)
            if _is_complete(trade, ours) and (is_told or waited_s >= _SETTLED_AFTER_S):
                break
            # what is missing may be late, or older than it seems: this host's clock was set since the trade began
            look_back = min(look_back * 4, _LONG_LOOK_BACK)
            await self.clock.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        fills = (*ours, *taken)
        funding = await booked_funding(self.client, trade.asset, fills)
        return facts.Accounted(at=self.clock.now(), fills=fills, funding=funding)

    def _beginning_of(self, trade: Trade, look_back: timedelta) -> datetime:
        """Before all of its executions, by the exchange's clock: that may have been set since, and fills tell when.

        Not the first known fill alone: that is when we learned of it, which may be long after it happened.
        """
        created_at = self.exchange_time(trade.created_at)
        return min((created_at, *(fill.time for fill in trade.fills))) - look_back

    def exchange_time(self, host_time: datetime) -> datetime:
        """The exchange's time at a moment of this host's."""
        return host_time + (self.client.exchange_time() - self.clock.now())


def _sign(trade: Trade, quantity: Decimal) -> int:
    """In hedge mode the exchange may show a short's quantity without a sign; the side tells."""
    if trade.position_side is PositionSide.BOTH:
        return 1 if quantity > ZERO else -1
    return trade.side.sign


def _ours(trade: Trade, booked: list[FillReport]) -> tuple[FillReport, ...]:
    order_ids = {order.exchange_order_id for order in trade.orders if order.exchange_order_id is not None}
    return tuple(fill for fill in booked if fill.order_id in order_ids)


def _is_complete(trade: Trade, fills: tuple[FillReport, ...]) -> bool:
    by_order: dict[int, Decimal] = {}
    for fill in fills:
        by_order[fill.order_id] = by_order.get(fill.order_id, ZERO) + fill.quantity
    return all(by_order.get(order.exchange_order_id or 0, ZERO) >= trade.executed(order) for order in trade.orders)


def _missing(trade: Trade) -> Decimal:
    """What others must have taken: a close of ours whose fate was learned late may explain a part of it."""
    by_us = sum((trade.executed(order) for order in trade.orders if order.role.is_exit), start=ZERO)
    return min(trade.externally_reduced, max(trade.entered_quantity - by_us, ZERO))


def _taken_by_others(trade: Trade, ours: tuple[FillReport, ...], booked: list[FillReport]) -> tuple[FillReport, ...]:
    """Executions of others that reduced the position, oldest first, up to what is missing."""
    missing = _missing(trade)
    if missing <= ZERO or not ours:
        return ()
    own_ids = {fill.order_id for fill in ours}
    first = min(fill.exchange_trade_id for fill in ours)  # ids only rise; the exchange's clock may be set back
    taken: list[FillReport] = []
    for fill in sorted(booked, key=lambda fill: fill.exchange_trade_id):
        is_exit = fill.side is trade.side.exit_side and fill.position_side is trade.position_side
        if missing > ZERO and is_exit and fill.order_id not in own_ids and fill.exchange_trade_id > first:
            taken.append(fill)
            missing -= fill.quantity
    return tuple(taken)
