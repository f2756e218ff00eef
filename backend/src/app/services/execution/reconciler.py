"""The reconciler: reads the exchange, and lets the desks put right in what the record differs from it.

At start, after a gap in the stream, after an unknown outcome, on request and periodically: always the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from app.domain.errors import ExchangeError, StoreUnavailable
from app.domain.events import EventType
from app.domain.policy import AccountPolicy
from app.domain.ports import Clock
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.desk import Desk
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.projection import Projection
from app.services.execution.reconciliation import (
    Difference,
    DifferenceKind,
    ExchangeView,
    ReconciliationReport,
    confirmed,
    differences,
)

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_SHORTEST_INTERVAL_S = 0.5
"""However often a run is asked for, the exchange is read no more often than this."""


class Reconciler:
    """Keeps one account's record equal to the exchange. ``trouble`` tells why the last run failed, if it did."""

    def __init__(
        self,
        *,
        policy: AccountPolicy,
        client: AsterClient,
        market: Market,
        projection: Projection,
        trades: TradeRepository,
        narrator: Narrator,
        clock: Clock,
        active_trades: Callable[[], Sequence[Trade]],
        desk: Callable[[str], Desk],
        recall: Callable[[str], Awaitable[None]],
        on_auth_refused: Callable[[ExchangeError], None],
    ) -> None:
        self._policy = policy
        self._client = client
        self._market = market
        self._projection = projection
        self._trades = trades
        self._narrator = narrator
        self._clock = clock
        self._active_trades = active_trades
        self._desk = desk
        self._recall = recall
        self._on_auth_refused = on_auth_refused
        self._wanted = asyncio.Event()
        self._running = asyncio.Lock()
        self._has_reported = False
        self.trouble: str | None = None

    def request(self) -> None:
        """Ask for a run soon."""
        self._wanted.set()

    async def run(self) -> ReconciliationReport:
        """Read, compare, put right, and tell.

        Raises:
            ExchangeError: a read failed; nothing was concluded.
        """
        async with self._running:
            started_at = self._clock.now()
            trades_before = list(self._active_trades())
            exchange = await self._read_exchange()
            before = differences(trades_before, exchange)
            found = confirmed(before, differences(self._active_trades(), exchange))
            self._tell_open_orders(exchange, trades_before)
            for difference in found:
                await self._put_right(difference)
            for trade in self._active_trades():
                # decides anew: should a step or a timer have got lost, this is where it is made up for
                self._desk(trade.asset).learn(trade.id, facts.Ticked(at=self._clock.now()))
            report = ReconciliationReport(
                account_id=self._policy.account_id,
                started_at=started_at,
                completed_at=self._clock.now(),
                differences=tuple(found),
                positions=len([row for row in exchange.positions if not row.is_flat]),
                open_orders=len(exchange.open_orders),
            )
            self._announce(report)
            return report

    async def run_first(self) -> None:
        """Run until it succeeds once; before that no decision is accepted (scenario C3)."""
        pause_s = _FIRST_PAUSE_S
        while not await self._try():
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def keep_reconciled(self) -> None:
        """Run whenever it is asked for, and at the latest after the configured interval."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._policy.reconcile.interval_s)
            await self._try()
            await self._clock.sleep(_SHORTEST_INTERVAL_S)

    async def _try(self) -> bool:
        self._wanted.clear()
        try:
            await self._market.refresh()
            await self.run()
        except (ExchangeError, StoreUnavailable) as error:
            what = "record" if isinstance(error, StoreUnavailable) else "exchange"
            self.trouble = f"the {what} can't be read: {error}"
            log.warning("reconcile.failed", account_id=self._policy.account_id, error=str(error))
            if isinstance(error, ExchangeError):
                self._on_auth_refused(error)
            return False
        self.trouble = None
        return True

    async def _read_exchange(self) -> ExchangeView:
        positions, orders, balances = await asyncio.gather(
            self._client.positions(), self._client.open_orders(), self._client.balances()
        )
        self._projection.replace_all(positions, balances, self._clock.now())
        self._market.learn_positions(positions)
        return ExchangeView(positions=tuple(positions), open_orders=tuple(orders), balances=tuple(balances))

    def _tell_open_orders(self, exchange: ExchangeView, trades_before: Sequence[Trade]) -> None:
        """Every open order of ours is news for its trade, unless something newer came during the reads."""
        before = {order.client_order_id: order for trade in trades_before for order in trade.orders}
        owner_by_order = {order.client_order_id: trade for trade in self._active_trades() for order in trade.orders}
        for report in exchange.open_orders:
            owner = owner_by_order.get(report.client_order_id)
            if owner is not None and owner.order(report.client_order_id) == before.get(report.client_order_id):
                fact = facts.OrderQueried(at=self._clock.now(), report=report)
                self._desk(owner.asset).learn(owner.id, fact)

    async def _put_right(self, difference: Difference) -> None:
        match difference.kind:
            case (
                DifferenceKind.POSITION_GONE
                | DifferenceKind.POSITION_SMALLER
                | DifferenceKind.ORDER_NOT_OPEN
                | DifferenceKind.ORDER_UNRECORDED
            ):
                if difference.trade_id is not None:
                    self._desk(difference.asset).verify(difference.trade_id)
            case DifferenceKind.ORDER_ORPHANED:
                await self._cancel_orphan(difference)
            case DifferenceKind.POSITION_LARGER | DifferenceKind.POSITION_EXTERNAL:
                # what others hold is shown, never touched (H2); but what is ours is never taken for theirs (U10)
                await self._recall(difference.asset)
                self._desk(difference.asset).question_given_up()

    async def _cancel_orphan(self, difference: Difference) -> None:
        trade = await self._trades.get(difference.trade_id) if difference.trade_id else None
        if trade is None and self._projection.held(difference.asset):
            # the record has lost the trade (another database?): what protects a position is not taken away
            log.warning("reconcile.orphan_kept", asset=difference.asset, client_order_id=difference.client_order_id)
            return
        if difference.client_order_id is not None:
            placement = await self._client.cancel_order(difference.asset, difference.client_order_id)
            log.info("reconcile.orphan_canceled", asset=difference.asset, outcome=type(placement).__name__)

    def _announce(self, report: ReconciliationReport) -> None:
        events = [
            self._narrator.event(EventType.DRIFT_FOUND, difference.as_dict(), asset=difference.asset)
            for difference in report.differences
            if difference.kind is not DifferenceKind.POSITION_EXTERNAL
        ]
        if report.differences or not self._has_reported:
            summary = {"differences": len(report.differences), "positions": report.positions}
            events.append(self._narrator.event(EventType.RECONCILIATION_COMPLETED, summary))
        self._has_reported = True
        if events:
            try:
                self._trades.record_events(tuple(events))
            except StoreUnavailable as error:  # a full database is no reason to stop looking after positions (C2)
                log.warning("reconcile.not_recorded", account_id=self._policy.account_id, error=str(error))
