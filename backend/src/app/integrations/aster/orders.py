"""Orders: place, cancel, amend, query. The hot path of the service."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal

import msgspec

from app.domain.errors import Refusal, RefusedByExchange, Verdict
from app.domain.ids import parse_client_order_id
from app.domain.reports import (
    Accepted,
    NeverSent,
    OrderReport,
    OrderRequest,
    OrderType,
    Placement,
    PositionSide,
    Refused,
    RequestStamp,
    Side,
    TimeInForce,
    Unknown,
)
from app.integrations.aster import endpoints, wire
from app.integrations.aster.budget import keep_room_for_entry
from app.integrations.aster.errors import classify_element
from app.integrations.aster.forms import amendment_form, batch_form, form, order_form
from app.integrations.aster.gateway import Answer, Gateway, Mutation
from app.integrations.aster.history import PAGE, page_by_id, windows
from app.integrations.aster.parse import order_report
from app.integrations.aster.priorities import ExitsToCome, Priority

BATCH_SIZE = 5
_TARGETS = (OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_MARKET)

_decode_order = msgspec.json.Decoder(wire.Order).decode
_decode_orders = msgspec.json.Decoder(list[wire.Order]).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def priority_of(request: OrderRequest) -> Priority:
    """The place of an order in the budget: closes and stops, then targets, then entries, whatever the position mode."""
    is_exit = (
        request.reduce_only
        or request.close_position
        or (request.position_side is PositionSide.LONG and request.side is Side.SELL)
        or (request.position_side is PositionSide.SHORT and request.side is Side.BUY)
    )
    if not is_exit:
        return Priority.ENTRY
    if request.type in _TARGETS or (request.type is OrderType.LIMIT and request.time_in_force is TimeInForce.GTC):
        return Priority.TARGET
    return Priority.PROTECT if request.type.is_conditional else Priority.CLOSE


def _owner(request: OrderRequest) -> str | None:
    """The trade for which room may be kept."""
    key = parse_client_order_id(request.client_order_id)
    return key.trade_id if key is not None else None


def _placement(outcome: Mutation) -> Placement:
    if not isinstance(outcome, Answer):
        return outcome
    try:
        return Accepted(report=order_report(_decode_order(outcome.body)))
    except (ValueError, OverflowError) as error:
        return Unknown(reason=f"the exchange's answer can't be read ({type(error).__name__})", stamp=outcome.stamp)


def _batch_placements(outcome: Mutation, count: int) -> list[Placement]:
    """One placement per request, in their order; an answer of another length settles nothing."""
    if not isinstance(outcome, Answer):
        return [outcome] * count
    unreadable = Unknown(reason="the exchange's answer to a batch can't be read", stamp=outcome.stamp)
    try:
        elements = [bytes(element) for element in _decode_elements(outcome.body)]
    except ValueError:
        return [unreadable] * count
    if len(elements) != count:
        return [unreadable] * count
    return [_batch_element(element, outcome.stamp) for element in elements]


def _batch_element(element: bytes, stamp: RequestStamp) -> Placement:
    failure = classify_element(element)
    if failure is None:
        return _placement(Answer(element, stamp))
    if failure.verdict in (Verdict.UNKNOWN, Verdict.UNAVAILABLE):
        return Unknown(reason=failure.message, stamp=stamp)
    return Refused(family=failure.family, code=failure.code, message=failure.message)


def _order_reports(body: bytes) -> list[OrderReport]:
    return [order_report(row) for row in _decode_orders(body)]


class OrderCalls:
    """The part of :class:`~app.integrations.aster.client.AsterClient` that deals in orders.

    Mutations never raise for what the exchange or the network does; reads raise as
    :meth:`~app.integrations.aster.gateway.Gateway.read` says.
    """

    _gateway: Gateway

    def stamp(self) -> RequestStamp:
        """Allocate a nonce (v3) or a timestamp (v1), to be made durable with an intent before it is sent.

        Raises:
            NotSent: the exchange's time is not known yet.
        """
        return self._gateway.auth.stamp()

    def entry_stamp(self) -> RequestStamp:
        """The same for an entry: the exchange stops taking it sooner, where ``entry_lifetime_s`` says so.

        Raises:
            NotSent: the exchange's time is not known yet.
        """
        return self._gateway.auth.entry_stamp()

    def turn(self, request: OrderRequest) -> AbstractAsyncContextManager[None]:
        """Its turn among all requests that wait to leave; kept until the answer is there (scenario L2)."""
        return self._gateway.queue.turn(priority_of(request))

    def is_fresh(self, stamp: RequestStamp) -> bool:
        """Whether the exchange will still take it, although others may have left since it was taken."""
        return self._gateway.auth.is_fresh(stamp)

    def keep_room_for_entry(self, trade_id: str, exits: ExitsToCome) -> float | None:
        """Keep room for an entry and its exits in every limit; None when it is kept, else the seconds to wait (L7)."""
        gateway, weight = self._gateway, endpoints.ORDER_PLACE.weight
        return keep_room_for_entry(gateway.budget, gateway.order_windows, trade_id, exits, weight)

    def release_room(self, trade_id: str) -> None:
        """Keep no more room for a trade: its exits are placed, or there will be none."""
        self._gateway.budget.kept.release(trade_id)
        self._gateway.order_windows.kept.release(trade_id)

    async def place_order(
        self, request: OrderRequest, stamp: RequestStamp | None = None, priority: Priority | None = None
    ) -> Placement:
        """Send an order once, asking for its RESULT (scenario U6). Whoever cancels this call must take it as unknown.

        Args:
            request: the order; sent as it is, without further rounding.
            stamp: from :meth:`stamp`, taken or found fresh within a :meth:`turn`. A given stamp is never replaced:
                past its window the order is ``NeverSent``, and a refused clock is ``Refused`` with family ``CLOCK``.
                Without one it is taken as the order leaves, and a refused clock is met by one resync and one more
                attempt.
            priority: place in the budget; by default :func:`priority_of`.
        """
        return _placement(
            await self._gateway.mutate(
                endpoints.ORDER_PLACE,
                order_form(request),
                priority=priority if priority is not None else priority_of(request),
                stamp=stamp,
                orders=1,
                owner=_owner(request),
            )
        )

    async def place_orders(
        self, requests: Sequence[OrderRequest], stamp: RequestStamp | None = None, priority: Priority | None = None
    ) -> list[Placement]:
        """Send up to five orders in one request; the exchange takes or refuses each by itself, at the same time.

        Raises:
            ValueError: none, or more than five.
        """
        if not 1 <= len(requests) <= BATCH_SIZE:
            raise ValueError(f"a batch holds 1 to {BATCH_SIZE} orders, not {len(requests)}")
        outcome = await self._gateway.mutate(
            endpoints.BATCH_PLACE,
            batch_form(requests),
            priority=priority if priority is not None else max(priority_of(request) for request in requests),
            stamp=stamp,
            orders=len(requests),
        )
        return _batch_placements(outcome, len(requests))

    async def cancel_order(self, symbol: str, client_order_id: str, priority: Priority = Priority.CANCEL) -> Placement:
        """Cancel by client order id. ``Refused`` with ``ORDER_NOT_FOUND`` may mean filled: query (scenario O3)."""
        return _placement(
            await self._gateway.mutate(
                endpoints.ORDER_CANCEL,
                form([("symbol", symbol), ("origClientOrderId", client_order_id)]),
                priority=priority,
            )
        )

    async def amend_order(
        self, symbol: str, client_order_id: str, quantity: Decimal, price: Decimal, side: Side
    ) -> Placement:
        """Change quantity (in total, filled part included) and price of a resting LIMIT order; only in v3."""
        if not self._gateway.auth.is_v3:
            return NeverSent(reason="orders can only be amended with v3 credentials")
        return _placement(
            await self._gateway.mutate(
                endpoints.ORDER_AMEND,
                amendment_form(symbol, client_order_id, quantity, price, side.value),
                priority=Priority.PROTECT,
            )
        )

    async def noop(self, stamp: RequestStamp) -> bool:
        """Try to burn ``stamp``'s nonce, so that an unanswered request with it can no longer execute; only in v3.

        True when the exchange took the noop. False proves nothing (``design.md``, UNKNOWN).
        """
        if not self._gateway.auth.is_v3:
            return False
        outcome = await self._gateway.mutate(endpoints.NOOP, "", priority=Priority.CANCEL, stamp=stamp)
        return isinstance(outcome, Answer)

    async def query_order(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """The order, or None when the exchange says that it does not exist.

        None proves nothing while the request may still be executed (scenario U3).
        """
        try:
            return await self._gateway.read(
                endpoints.ORDER_QUERY,
                form([("symbol", symbol), ("origClientOrderId", client_order_id)]),
                lambda body: order_report(_decode_order(body)),
            )
        except RefusedByExchange as error:
            if error.family is Refusal.ORDER_NOT_FOUND:
                return None
            raise

    async def open_orders(
        self, symbol: str | None = None, priority: Priority = Priority.RECONCILIATION
    ) -> list[OrderReport]:
        """All resting orders of the account, or of one symbol, ours or not."""
        return await self._gateway.read(
            endpoints.OPEN_ORDERS,
            form([("symbol", symbol)]) if symbol is not None else "",
            _order_reports,
            priority=priority,
            weight=endpoints.OPEN_ORDERS.weight if symbol is not None else endpoints.ALL_OPEN_ORDERS_WEIGHT,
        )

    async def all_orders(self, symbol: str, since: datetime) -> list[OrderReport]:
        """Orders of a symbol created since ``since``, resting and final, by order id.

        The exchange forgets unfilled cancelled orders after seven days (scenario U8).
        """
        found: dict[int, OrderReport] = {}
        for start_ms, end_ms in windows(since, await self._gateway.exchange_now()):
            page = await self._orders(symbol, [("startTime", str(start_ms)), ("endTime", str(end_ms))])
            found.update((order.order_id, order) for order in page)
            if len(page) >= PAGE:
                await page_by_id(
                    lambda first: self._orders(symbol, [("orderId", str(first))]),
                    max(found) + 1,
                    lambda order: order.order_id,
                    found,
                )
                break
        return [found[order_id] for order_id in sorted(found)]

    async def _orders(self, symbol: str, fields: Sequence[tuple[str, str]]) -> list[OrderReport]:
        return await self._gateway.read(
            endpoints.ALL_ORDERS,
            form([("symbol", symbol), *fields, ("limit", str(PAGE))]),
            _order_reports,
            priority=Priority.RECONCILIATION,
        )
