"""The reconciler: reads the exchange, and lets the desks put right in what the record differs from it.

At start, after a gap in the stream, after an unknown outcome, on request and periodically: always the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from app.domain.errors import ExchangeError, RateLimited, StoreUnavailable, Unavailable, UnreadableRecord
from app.domain.events import EventType
from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.policy import AccountPolicy
from app.domain.ports import Clock
from app.domain.reports import OrderReport, PositionReport
from app.domain.trades import Trade, TradeStatus
from app.integrations.aster.client import AsterClient
from app.integrations.aster.priorities import Priority
from app.repositories.trades import TradeRepository
from app.services.execution import facts
from app.services.execution.commands import Alert, Severity
from app.services.execution.desk import Desk
from app.services.execution.external import LEFT_ALONE, ExternalPositions
from app.services.execution.hearing import Hearing
from app.services.execution.late_funding import LateFunding
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.projection import Projection
from app.services.execution.reconciliation import (
    ACTIONS,
    Difference,
    DifferenceKind,
    ExchangeView,
    Reach,
    ReconciliationReport,
    confirmed,
    differences,
    external_positions,
)
from app.services.execution.telling import record_or_warn
from app.services.execution.unexplained import has_moved

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_SHORTEST_INTERVAL_S = 0.5
"""However often a run is asked for, the exchange is read no more often than this."""
_WHOLE_EVERY_S = 600.0
"""Orders of ours where nothing is in play, if there are any, are found this often."""
_WHOLE_FROM_SYMBOLS = 40
"""From so many symbols on, one list of all open orders weighs less than a list for each (fact sheet, section 4)."""
_WHOLE_WEIGHT = 50
_POSITIONS_AND_BALANCES_WEIGHT = 10
ROUTINE_SHARE = 0.4
"""How much of an address's weight may be used up when a periodic run begins; the rest is for trading."""
REQUESTED_SHARE = 0.6
"""The same for a run that somebody asks for."""
_LONGEST_REQUEST_WAIT_S = 60.0
_LONGEST_WAIT_S = 120.0
"""A record that could not be compared for so long is no ground for entries."""


class Reconciler:
    """Keeps one account's record equal to the exchange."""

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
        external: ExternalPositions,
        hearing: Hearing,
        doubt_stream: Callable[[str], None],
        tell: Callable[[Alert, str], None],
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
        self._external = external
        self._hearing = hearing
        self._doubt_stream = doubt_stream
        self._tell = tell
        self._wanted = asyncio.Event()
        self._running = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._begun = 0
        self.latest: ReconciliationReport | None = None
        """What the last run that succeeded has found, whatever its reach."""
        self.late_funding = LateFunding(policy.account_id, client, trades, clock, desk, lambda: self.latest)
        self._latest_whole: tuple[int, ReconciliationReport] | None = None
        self._wants_whole = True
        self._whole_at = 0.0
        self._told: frozenset[tuple[str, ...]] | None = None
        self._external_stops: frozenset[str] = frozenset()
        self._with_orders_of_ours: frozenset[str] = frozenset()
        self._closed_markets: frozenset[str] = frozenset()
        self._trouble: str | None = None
        self._succeeded_at = clock.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why the record can't be trusted to be equal to the exchange, if so."""
        if self._trouble is not None:
            return self._trouble
        waited_s = self._clock.monotonic() - self._succeeded_at
        if waited_s > _LONGEST_WAIT_S + 2 * self._policy.reconcile.interval_s:
            has_room = self._client.wait_for_room(self._weight(self._next_reach()), ROUTINE_SHARE) == 0
            why = "this process stood still, and reconciles now" if has_room else "the rate limit leaves no room for it"
            return f"not reconciled for {waited_s:.0f} s: {why}"
        return None

    def has_external_stop(self, asset: str) -> bool:
        """Whether a stop of ours for somebody else's position may rest on ``asset`` (scenario O1)."""
        return asset in self._external_stops

    def has_external_position(self, asset: str) -> bool:
        """Whether anything is held on ``asset``, or may be: a stop of ours for it may rest."""
        return bool(self._projection.held(asset)) or self.has_external_stop(asset)

    def request(self, reach: Reach = Reach.IN_PLAY) -> None:
        """Ask for a run soon."""
        self._wants_whole = self._wants_whole or reach is Reach.WHOLE
        self._wanted.set()

    def hear(self, trade: Trade) -> None:
        """A trade has changed: see to it that what the exchange knows of that is read."""
        self.late_funding.hear(trade)
        if trade.fills:
            self._hearing.executed(trade.fills[-1].time)
        if trade.has_unknown_order or (trade.is_ended and self._projection.held(trade.asset)):
            self.request()  # or the frame that shows us flat got lost, and would keep the asset blocked

    async def run(self, reach: Reach = Reach.WHOLE) -> ReconciliationReport:
        """Read, compare, put right, and tell.

        Raises:
            ExchangeError: a read failed; nothing was concluded.
        """
        async with self._running:
            self._begun += 1
            number, started_at = self._begun, self._clock.now()
            trades_before = list(self._active_trades())
            exchange = await self._read_exchange(reach)
            before = differences(trades_before, exchange)
            found = confirmed(before, differences(self._active_trades(), exchange))
            self._listen(found, exchange)
            self._tell_open_orders(exchange, trades_before)
            self._compare_what_rests(exchange)
            done = [await self._try_to_put_right(difference, exchange) for difference in found]
            for trade in self._active_trades():
                # decides anew: should a step or a timer have got lost, this is where it is made up for
                self._desk(trade.asset).learn(trade.id, facts.Ticked(at=self._clock.now()))
            report = ReconciliationReport(
                account_id=self._policy.account_id,
                started_at=started_at,
                completed_at=self._clock.now(),
                differences=tuple(done),
                positions=len([row for row in exchange.positions if not row.is_flat]),
                open_orders=len(exchange.open_orders),
            )
            self._announce(report)
            self.latest = report
            self._succeeded_at = self._clock.monotonic()
            if reach is Reach.WHOLE:
                self._latest_whole = (number, report)
            return report

    async def run_on_request(self) -> ReconciliationReport:
        """A run of the whole account that begins after this call, shared by all who ask for one meanwhile.

        It waits while the address's weight is needed for trading, so that no number of requests can use it up.

        Raises:
            ExchangeError: a read failed, the exchange wants silence, or the first run has not been done; nothing was
                concluded.
        """
        if self._latest_whole is None:
            raise Unavailable("the first reconciliation after the start has not been done yet; readiness says why")
        begun_before = self._begun
        async with self._asking:
            if self._latest_whole[0] > begun_before:
                return self._latest_whole[1]
            wait_s = self._client.wait_for_room(_WHOLE_WEIGHT, REQUESTED_SHARE)
            if self._client.silent_for_s > 0 or wait_s > _LONGEST_REQUEST_WAIT_S:
                raise RateLimited("the exchange's rate limit leaves no room for it", retry_after_s=wait_s)
            await self._clock.sleep(wait_s)
            return await self.run()

    async def run_first(self) -> None:
        """Run until it succeeds once; before that no decision is accepted (scenario C3)."""
        pause_s = _FIRST_PAUSE_S
        while not await self._try():
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def keep_reconciled(self) -> None:
        """Run whenever it is asked for, and at the latest after the configured interval, or when there is room."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._policy.reconcile.interval_s):
                    await self._wanted.wait()
            if not self._wanted.is_set():
                await self._until_there_is_room()
            await self._try()
            await self._clock.sleep(_SHORTEST_INTERVAL_S)

    async def _until_there_is_room(self) -> None:
        """Let a periodic run wait while the address's weight is needed for trading, or for other accounts."""
        while not self._wanted.is_set():
            wait_s = self._client.wait_for_room(self._weight(self._next_reach()), ROUTINE_SHARE)
            if wait_s == 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()

    async def _try(self) -> bool:
        self._wanted.clear()
        reach = self._next_reach()
        try:
            await self._market.refresh()
            self._tell_of_closed_markets()
            await self.run(reach)
        except RateLimited as error:
            # our own reserve for exits, or a silence that readiness tells of by itself
            log.info("reconcile.waits", account_id=self._policy.account_id, wait_s=round(error.retry_after_s, 3))
            await self._clock.sleep(error.retry_after_s)
            self._wanted.set()
            return False
        except (ExchangeError, StoreUnavailable) as error:
            what = "record" if isinstance(error, StoreUnavailable) else "exchange"
            self._trouble = f"the {what} can't be read: {error}"
            log.warning("reconcile.failed", account_id=self._policy.account_id, error=str(error))
            return False
        self._trouble = None
        return True

    def _tell_of_closed_markets(self) -> None:
        """Alert once for each asset that we hold and in which nobody can open anything any more (scenario H3)."""
        closed = self._market.not_trading({trade.asset for trade in self._active_trades()})
        for asset in closed.keys() - self._closed_markets:
            text = f"{asset} is {closed[asset]} on the exchange: no entries; look whether its position should be closed"
            self._tell(Alert(Severity.WARNING, "asset_not_trading", text), asset)
        self._closed_markets = frozenset(closed)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _in_play(self) -> frozenset[str]:
        held = {row.symbol for row in self._projection.all_held()}
        traded = {trade.asset for trade in self._active_trades()}
        return frozenset(traded | held | self._external_stops | self._with_orders_of_ours)

    def _next_reach(self) -> Reach:
        is_due = self._clock.monotonic() - self._whole_at > _WHOLE_EVERY_S
        is_cheaper = len(self._in_play()) >= _WHOLE_FROM_SYMBOLS
        return Reach.WHOLE if self._wants_whole or is_due or is_cheaper else Reach.IN_PLAY

    def _weight(self, reach: Reach) -> int:
        return _WHOLE_WEIGHT if reach is Reach.WHOLE else _POSITIONS_AND_BALANCES_WEIGHT + len(self._in_play())

    async def _read_exchange(self, reach: Reach) -> ExchangeView:
        config_changes, in_play = self._market.config_changes, self._in_play()
        # the first one goes ahead of everything but exits: until then nobody knows whether they are needed
        priority = Priority.RECOVERY if self.latest is None else Priority.RECONCILIATION
        positions, balances, orders = await asyncio.gather(
            self._client.positions(priority=priority),
            self._client.balances(priority),
            self._read_orders(reach, in_play, priority),
        )
        if not positions and self.latest is None:
            await self._market.read_position_mode()
        self._projection.replace_all(positions, balances, self._clock.now())
        self._market.learn_positions(positions, config_changes)
        self._market.foreign_conditionals.replace(orders, None if reach is Reach.WHOLE else in_play)
        if reach is Reach.WHOLE:
            self._wants_whole = False
            self._whole_at = self._clock.monotonic()
        keys = [(order.symbol, parse_client_order_id(order.client_order_id)) for order in orders]
        self._with_orders_of_ours = frozenset(symbol for symbol, key in keys if key)
        self._external_stops = frozenset(symbol for symbol, key in keys if key and key.role is OrderRole.EXTERNAL_STOP)
        return ExchangeView(positions=tuple(positions), open_orders=tuple(orders), balances=tuple(balances))

    async def _read_orders(self, reach: Reach, in_play: Iterable[str], priority: Priority) -> list[OrderReport]:
        if reach is Reach.WHOLE:
            return await self._client.open_orders(priority=priority)
        by_symbol = await asyncio.gather(*(self._client.open_orders(symbol) for symbol in sorted(in_play)))
        return [order for orders in by_symbol for order in orders]

    def _listen(self, found: Sequence[Difference], exchange: ExchangeView) -> None:
        """Doubt a stream that should have told what the reads show (scenario W2)."""
        changes = [row.updated_at for row in exchange.positions] + [row.updated_at for row in exchange.open_orders]
        told = self._told
        has_differences = told is not None and any(
            difference.kind in _STREAMED and _told_as(difference) not in told for difference in found
        )
        reason = self._hearing.judge(changes, has_differences=has_differences, now=self._client.exchange_time())
        if reason is not None:
            self._doubt_stream(reason)

    # --- putting right ----------------------------------------------------------------------------------------------

    def _tell_open_orders(self, exchange: ExchangeView, trades_before: Sequence[Trade]) -> None:
        """Every open order of ours is news for its trade, unless something newer came during the reads."""
        before = {order.client_order_id: order for trade in trades_before for order in trade.orders}
        active = {trade.id: trade for trade in self._active_trades()}
        for report in exchange.open_orders:
            key = parse_client_order_id(report.client_order_id)
            owner = active.get(key.trade_id) if key is not None else None
            if owner is not None and owner.order(report.client_order_id) == before.get(report.client_order_id):
                fact = facts.OrderQueried(at=self._clock.now(), report=report)
                self._desk(owner.asset).learn(owner.id, fact)

    def _compare_what_rests(self, exchange: ExchangeView) -> None:
        """After a start, let the desks go on with trades at rest: bulk reads are enough where they agree (L7, C3)."""
        if self.latest is not None:
            return
        trades = self._active_trades()
        differing = {difference.trade_id for difference in differences(trades, exchange)}
        for trade in trades:
            # the same quantity may be another one: a dead process closed ours, and a person bought as much (C1, O9)
            is_same = trade.id not in differing and not has_moved(trade, trades, exchange.positions)
            self._desk(trade.asset).compared(trade.id, agrees=is_same)

    async def _try_to_put_right(self, difference: Difference, exchange: ExchangeView) -> Difference:
        """As :meth:`_put_right`; what can't be done now keeps nobody from looking after the rest (C2)."""
        try:
            return await self._put_right(difference, exchange)
        except (ExchangeError, StoreUnavailable) as error:
            log.warning("reconcile.not_put_right", kind=difference.kind.value, asset=difference.asset, error=str(error))
            return replace(difference, action=f"not done yet: {error}")

    async def _put_right(self, difference: Difference, exchange: ExchangeView) -> Difference:
        """Do what the table in ``docs/reconciliation.md`` says; the difference with what was done."""
        action = ACTIONS[difference.kind]
        match difference.kind:
            case (
                DifferenceKind.POSITION_GONE
                | DifferenceKind.POSITION_SMALLER
                | DifferenceKind.ORDER_NOT_OPEN
                | DifferenceKind.ORDER_UNRECORDED
                | DifferenceKind.FILLS_MISSING
            ):
                if difference.trade_id is not None:
                    self._desk(difference.asset).verify(difference.trade_id)
                if difference.kind in (DifferenceKind.POSITION_GONE, DifferenceKind.POSITION_SMALLER):
                    # perhaps nobody else took it, but an entry of ours on the other side that was given up (U10)
                    self._desk(difference.asset).question_given_up()
            case DifferenceKind.ORDER_ORPHANED:
                action = await self._cancel_orphan(difference)
            case DifferenceKind.POSITION_LARGER | DifferenceKind.POSITION_EXTERNAL:
                # what is ours is never taken for theirs: an entry that was given up may be what holds it (U10)
                self._desk(difference.asset).question_given_up()
                if difference.kind is DifferenceKind.POSITION_EXTERNAL:
                    action = await self._look_after_external(difference, exchange)
        return replace(difference, action=action)

    async def _look_after_external(self, difference: Difference, exchange: ExchangeView) -> str:
        rows: Sequence[PositionReport] = external_positions(self._active_trades(), exchange)
        done = [await self._external.look_after(row, exchange) for row in rows if row.symbol == difference.asset]
        if any(action != LEFT_ALONE for action in done):
            self._external_stops |= {difference.asset}
        return "; ".join(done) or LEFT_ALONE

    async def _cancel_orphan(self, difference: Difference) -> str:
        key = parse_client_order_id(difference.client_order_id or "")
        if key is None:
            return "left alone"
        try:
            trade = await self._trades.get(key.trade_id)
        except UnreadableRecord as error:
            log.warning("reconcile.orphan_kept", asset=difference.asset, client_order_id=str(key), error=str(error))
            return "kept: its trade can't be read"
        is_of_a_trade = key.role is not OrderRole.EXTERNAL_STOP
        is_given_up = trade is not None and trade.status is TradeStatus.FAILED
        if is_given_up:
            # its entry was executed after all, and the process that protected it died before it was recorded (U10)
            self._desk(difference.asset).question_given_up()
        if (trade is None or is_given_up) and is_of_a_trade and self._projection.held(difference.asset):
            # the record has lost the trade (another database?): what protects a position is not taken away
            log.warning("reconcile.orphan_kept", asset=difference.asset, client_order_id=str(key))
            return "kept: it may be all that protects the position"
        placement = await self._client.cancel_order(difference.asset, str(key))
        log.info("reconcile.orphan_canceled", asset=difference.asset, outcome=type(placement).__name__)
        return ACTIONS[DifferenceKind.ORDER_ORPHANED]

    def _announce(self, report: ReconciliationReport) -> None:
        """One event for each difference that the run before did not find too, and one for the run where it matters."""
        told, self._told = self._told, frozenset(_told_as(difference) for difference in report.differences)
        events = [
            self._narrator.event(EventType.DRIFT_FOUND, difference.as_dict(), asset=difference.asset)
            for difference in report.differences
            if told is None or _told_as(difference) not in told
        ]
        if events or told is None:
            summary = {"differences": len(report.differences), "positions": report.positions}
            events.append(self._narrator.event(EventType.RECONCILIATION_COMPLETED, summary))
        if events:
            record_or_warn(self._trades, *events)


_STREAMED = frozenset(DifferenceKind) - {
    DifferenceKind.ORDER_ORPHANED,
    DifferenceKind.POSITION_EXTERNAL,
    DifferenceKind.POSITION_LARGER,
}
"""What a working stream would have told of while it happened, and what we would have put right then."""


def _told_as(difference: Difference) -> tuple[str, ...]:
    return (*(part or "" for part in difference.key), difference.client_order_id or "", difference.detail)
