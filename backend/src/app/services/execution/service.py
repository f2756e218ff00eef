"""``ExecutionService``: the path of a decision, from top to bottom.

    submit ── intake ──▶ carry out ──▶ phases: closes ▶ entries
                                        entry: market ▶ desk ▶ risk ▶ plan ▶ durable intent ▶ send
                                        desk:  fills ▶ protection ▶ open ▶ exits ▶ closed
    reconcile ── read the exchange ▶ differences ▶ desks put them right

One service acts for one account. Everything it needs is given to it; nothing inside is global. Each step has a room
of its own beside this file: intake, planning, risk, desk, folding, transitions, protection, exits, evidence,
reconciliation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal

import structlog

from app.domain.errors import DecisionRefused, ErrorCode, ExchangeError, StoreConflict, StoreUnavailable
from app.domain.ids import ClientOrderId, IdSource
from app.domain.money import ZERO
from app.domain.policy import AccountPolicy
from app.domain.ports import Clock, Randomness
from app.domain.reports import UserEvent
from app.domain.trades import CloseReason, Trade, TradeSide
from app.integrations.aster.client import AsterClient
from app.integrations.aster.market_stream import Followed, PriceListener
from app.repositories.decisions import DecisionRepository, StoredDecision
from app.repositories.flags import FlagRepository
from app.repositories.trades import TradeRepository
from app.schemas.decision import Action, AssetDecision, TradingDecision
from app.schemas.result import AssetResult, AssetStatus, ExecutionResult
from app.services.execution import facts, results
from app.services.execution.commands import Alert, Severity
from app.services.execution.desk import Desk, DeskTools
from app.services.execution.evidence import Evidence, seconds_unknown
from app.services.execution.halting import Halt, KillSwitch
from app.services.execution.intake import Intake, RunningDecision, Submission, id_taken
from app.services.execution.mailbox import MailboxFull
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.planning import EntryWish
from app.services.execution.projection import AccountView, PositionsView, Projection, Readiness
from app.services.execution.reconciler import Reconciler
from app.services.execution.reconciliation import ReconciliationReport
from app.services.execution.risk import RiskRefused, laid_bare
from app.services.execution.routing import StreamRouter
from app.services.execution.supervision import Supervisor

log = structlog.get_logger(__name__)

_PHASE_PATIENCE_S = 2.0
_CONNECT_PAUSE_S = 0.5
_LONGEST_CONNECT_PAUSE_S = 15.0
_STREAM_PATIENCE_S = 5.0
_STREAM_LOOK_S = 0.02
_CLOSE_PATIENCE_S = 30.0
_RECORD_PATIENCE_S = 2.0


class ExecutionService:
    """Executes decisions on one AsterDEX account and keeps its record equal to the exchange's.

    Args:
        client: the account's door to the exchange.
        decisions, trades, flags: where decisions, trades and the halt are recorded, durably and with their events.
        narrator: makes the events that are published with each change.
        streams: builds the background streams, given where user events and prices go, and whose best prices are wanted.
        store_health: None, or why the database takes no writes.
    """

    def __init__(
        self,
        *,
        policy: AccountPolicy,
        client: AsterClient,
        decisions: DecisionRepository,
        trades: TradeRepository,
        flags: FlagRepository,
        narrator: Narrator,
        ids: IdSource,
        clock: Clock,
        randomness: Randomness,
        streams: Callable[[Callable[[UserEvent], None], PriceListener, Followed], list[Callable[[], Awaitable[None]]]],
        store_health: Callable[[], str | None],
    ) -> None:
        self.policy = policy
        self.account_id = policy.account_id
        self.is_paper = policy.is_paper
        self._client = client
        self._decisions = decisions
        self._trades = trades
        self._narrator = narrator
        self._clock = clock
        self._store_health = store_health
        self._background = Supervisor(clock, self._on_failure)
        self._kill_switch = KillSwitch(self.account_id, flags, narrator, clock)
        self._projection = Projection()
        self._market = Market(client, clock, policy.risk, self._projection.all_held)
        self._reconciler = Reconciler(
            policy=policy,
            client=client,
            market=self._market,
            projection=self._projection,
            trades=trades,
            narrator=narrator,
            clock=clock,
            active_trades=self._active_trades,
            desk=self._desk,
        )
        self._router = StreamRouter(
            projection=self._projection,
            market=self._market,
            narrator=narrator,
            trades=trades,
            clock=clock,
            on_order=self._on_order,
            on_forced=self._on_forced,
            request_reconciliation=self._reconciler.request,
        )
        self._intake = Intake(
            account_id=self.account_id,
            is_paper=self.is_paper,
            decisions=decisions,
            narrator=narrator,
            ids=ids,
            clock=clock,
            require_ready=self._require_ready,
        )
        self._tools = DeskTools(
            policy=policy,
            client=client,
            trades=trades,
            market=self._market,
            evidence=Evidence(client, clock),
            narrator=narrator,
            ids=ids,
            clock=clock,
            randomness=randomness,
            other_exposure=self._exposure_of_others,
            has_external_position=lambda asset: bool(self._projection.held(asset)),
            on_change=self._on_change,
            on_refused=self._on_refused,
            refuses_entries=self._refuses_entries,
            stop_entries=self._kill_switch.trip,
            background=self._background,
        )
        self._stream_builder = streams
        self._desks: dict[str, Desk] = {}
        self._last_activity: dict[str, datetime] = {}
        self._watchers: dict[str, list[asyncio.Event]] = {}
        self._trouble: str | None = "starting"

    # --- 1. a decision comes in -------------------------------------------------------------------------------------

    async def execute(self, decision: TradingDecision) -> ExecutionResult:
        """Carry a decision out, to its end.

        Raises:
            DecisionRefused: as :meth:`submit`.
        """
        submission = await self.submit(decision)
        return await submission.wait(None)

    async def submit(self, decision: TradingDecision) -> Submission:
        """Take a decision on; it is durable when this returns, and being carried out.

        The same decision again, at once or later, returns the first one's result and trades nothing (scenario C5).

        Raises:
            DecisionRefused: ``validation_error``, ``decision_conflict`` or ``not_ready``; the id is not used up.
        """
        try:
            admission = await self._intake.admit(decision)
            running = admission.running
            if running is not None:
                if not admission.is_replay:
                    self._background.start(self._carry_out(running))
                await self._until_recorded(running)
        except StoreUnavailable as error:
            raise DecisionRefused(ErrorCode.NOT_READY, f"the decision could not be recorded: {error}") from error
        return Submission(admission, self._intake.result_of)

    async def _until_recorded(self, running: RunningDecision) -> None:
        try:
            await asyncio.shield(running.landing)
        except StoreUnavailable:
            self._intake.forget(running)
            raise
        except StoreConflict as error:
            self._intake.forget(running)
            raise id_taken(running.decision_id) from error

    # --- 2. it is carried out: closes first, then entries ----------------------------------------------------------

    async def _carry_out(self, running: RunningDecision) -> None:
        """Work through the phases; a phase begins when the one before has ended, or after 2 s (contract, section 4)."""
        pending = [
            item for item in running.decision.decisions if running.results[item.asset].status is AssetStatus.PENDING
        ]
        closes = [item for item in pending if item.action is Action.CLOSE_POSITION]
        rest = [item for item in pending if item.action is not Action.CLOSE_POSITION]
        for phase in (closes, rest):
            tasks = [self._background.start(self._carry_out_asset(running, item)) for item in phase]
            if tasks and phase is not rest:
                await asyncio.wait(tasks, timeout=_PHASE_PATIENCE_S)

    async def _carry_out_asset(self, running: RunningDecision, item: AssetDecision) -> None:
        match item.action:
            case Action.HOLD:
                self._intake.report(running.decision_id, results.skipped(item))
            case Action.BUY | Action.SELL:
                await self._enter(running, item)
            case Action.CLOSE_POSITION:
                result = await self.close_position(item.asset, CloseReason.DECISION, timeout_s=None)
                self._intake.report(running.decision_id, result)
            case Action.ADJUST_POSITION | Action.ADJUST_ORDERS:
                text = f"{item.action.value} is not available in this version; nothing was done"
                refusal = RiskRefused(code=ErrorCode.VALIDATION_ERROR, message=text)
                self._intake.report(running.decision_id, results.refused(item, refusal))

    async def _enter(self, running: RunningDecision, item: AssetDecision) -> None:
        """Look at the market, then queue at the asset's desk, where risk, plan and intent happen in one go."""
        wish = EntryWish(
            decision_id=running.decision_id,
            item=item,
            decided_at=running.decided_at,
            received_at=running.received_at,
        )
        if self._kill_switch.refusal is not None:
            self._on_refused(wish, self._kill_switch.refusal)
            return
        try:
            view = await self._market.view(item.asset)
            self._desk(item.asset).enter(wish, view, running.landing)
        except ExchangeError as error:
            text = f"the mark price of {item.asset} could not be read, so nothing was sent: {error}"
            self._on_refused(wish, RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text))
        except MailboxFull:
            text = f"too many entries are waiting for {item.asset}; send fewer at once"
            self._on_refused(wish, RiskRefused(code=ErrorCode.NOT_READY, message=text))

    async def close_position(
        self, asset: str, reason: CloseReason = CloseReason.MANUAL, timeout_s: float | None = _CLOSE_PATIENCE_S
    ) -> AssetResult:
        """Close what the service holds on ``asset`` at market and take its exits off the book.

        The result is ``closed``, ``pending`` after ``timeout_s`` seconds, or ``rejected`` with ``position_absent``.
        """
        desk = self._desks.get(asset)
        trade = next((trade for trade in desk.active if trade.entered_quantity > ZERO), None) if desk else None
        if desk is None or trade is None:
            item = AssetDecision(asset=asset, action=Action.CLOSE_POSITION)
            text = f"the service holds no position on {asset}; positions of others are never touched"
            return results.refused(item, RiskRefused(code=ErrorCode.POSITION_ABSENT, message=text))
        ended = asyncio.Event()
        self._watchers.setdefault(trade.id, []).append(ended)
        desk.learn(trade.id, facts.CloseAsked(at=self._clock.now(), reason=reason))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), timeout_s)
        with contextlib.suppress(TimeoutError, StoreUnavailable):
            await asyncio.wait_for(self._trades.settled(), _RECORD_PATIENCE_S)
        return results.of_close(desk.trade(trade.id) or trade)

    async def close_all(self, reason: CloseReason = CloseReason.MANUAL) -> list[AssetResult]:
        """Close everything that the service holds, side by side."""
        assets = sorted(asset for asset, desk in self._desks.items() if any(trade.exposure for trade in desk.active))
        return list(await asyncio.gather(*(self.close_position(asset, reason) for asset in assets)))

    async def halt(self, reason: str, *, flatten: bool = False) -> list[AssetResult]:
        """Send no more entries until :meth:`resume`, over restarts; exits go on. ``flatten`` closes everything too.

        What a flatten finds on its way in is closed as soon as it is filled. Returns the results of the closes.
        """
        await self._kill_switch.turn_on(reason, flatten=flatten)
        return await self._flatten() if flatten else []

    async def _flatten(self) -> list[AssetResult]:
        for trade in self._active_trades():
            if not trade.exposure:
                asked = facts.CloseAsked(at=self._clock.now(), reason=CloseReason.HALT)
                self._desk(trade.asset).learn(trade.id, asked)
        return await self.close_all(CloseReason.HALT)

    async def resume(self) -> None:
        """Accept entries again."""
        await self._kill_switch.turn_off()

    @property
    def halted(self) -> Halt | None:
        """Why and since when no entry is sent; None when entries are."""
        return self._kill_switch.current

    # --- 3. what the desks report ----------------------------------------------------------------------------------

    def _on_change(self, trade: Trade) -> None:
        if trade.entry.is_final:
            self._market.entry_ended(trade)
        if self._intake.may_change(trade.decision_id, trade.asset):
            action = Action.BUY if trade.side is TradeSide.LONG else Action.SELL
            self._intake.report(trade.decision_id, results.of_trade(trade, action))
        if trade.is_ended:
            for watcher in self._watchers.pop(trade.id, []):
                watcher.set()
        if trade.has_unknown_order or (trade.is_ended and self._projection.held(trade.asset)):
            self._reconciler.request()  # or the frame that shows us flat got lost, and would keep the asset blocked

    def _on_refused(self, wish: EntryWish, refusal: RiskRefused) -> None:
        self._intake.report(wish.decision_id, results.refused(wish.item, refusal))

    def _on_order(self, asset: str, key: ClientOrderId, fact: facts.Fact) -> None:
        """A stream event about an order of ours; its trade may have ended long ago (scenario U10)."""
        desk = self._desk(asset)
        if desk.knows(key.trade_id):
            desk.learn(key.trade_id, fact)
        else:
            self._background.start(self._revive(desk, key.trade_id, fact))

    def _on_forced(self, asset: str) -> None:
        """The exchange liquidated or deleveraged: the position tells what is left, the siblings go (W6)."""
        desk = self._desk(asset)
        for trade in desk.active:
            desk.verify(trade.id)

    async def _revive(self, desk: Desk, trade_id: str, fact: facts.Fact) -> None:
        trade = await self._trades.get(trade_id)
        if trade is None or trade.account_id != self.account_id:
            log.warning("service.order_without_record", trade_id=trade_id)
            return
        desk.revive(trade)
        desk.learn(trade_id, fact)

    # --- 4. reconciliation -----------------------------------------------------------------------------------------

    async def reconcile(self) -> ReconciliationReport:
        """Compare the record with the exchange, and put right what differs.

        Raises:
            ExchangeError: a read failed; nothing was concluded.
        """
        return await self._reconciler.run()

    # --- 5. life of the service ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over what the record says is open, and begin to work; readiness follows the first reconciliation.

        Raises:
            StoreUnavailable: the record can't be read.
        """
        await self._kill_switch.load()
        self._last_activity = await self._trades.last_activity(self.account_id)
        for trade in await self._trades.open_trades(self.account_id):
            self._desk(trade.asset).adopt(trade)
        self._background.start(self._run())

    async def _run(self) -> None:
        """Connect, listen, reconcile once, then accept decisions: start-up and recovery are the same path (C3)."""
        await self._connect()
        for desk in tuple(self._desks.values()):
            desk.take_up()
        for stream in self._stream_builder(self._router.take, self._market.prices, self._market.followed):
            self._background.keep_running(stream)
        await self._until_stream_is_up()
        await self._reconciler.run_first()
        self._background.keep_running(self._reconciler.keep_reconciled)
        self._market.bring_latest_into_play(self._last_activity)
        self._background.keep_running(self._market.keep_warm)
        self._background.keep_running(self._market.margin.keep_fresh)
        untouched = await self._resume_decisions()
        self._trouble = None
        if self.halted is not None and self.halted.flatten:
            await self._flatten()  # the process that was asked to may have died on the way
        for running, item in untouched:
            self._background.start(self._carry_out_asset(running, item))

    async def _connect(self) -> None:
        pause_s = _CONNECT_PAUSE_S
        while True:
            try:
                await self._client.start()
                await self._market.start()
            except ExchangeError as error:
                self._trouble = f"the exchange can't be reached: {error}"
                log.warning("service.not_connected", account_id=self.account_id, error=str(error))
            else:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_CONNECT_PAUSE_S)

    async def _until_stream_is_up(self) -> None:
        waited_s = 0.0
        while not self._router.is_up and waited_s < _STREAM_PATIENCE_S:
            await self._clock.sleep(_STREAM_LOOK_S)
            waited_s += _STREAM_LOOK_S

    async def _resume_decisions(self) -> list[tuple[RunningDecision, AssetDecision]]:
        """Take up decisions without an end: trades report by themselves; returns what never got one, to decide anew."""
        untouched: list[tuple[RunningDecision, AssetDecision]] = []
        for stored, of_decision in await self._read_unfinished():
            running = self._intake.resume(stored)
            recorded = {trade.asset: trade for trade in of_decision}
            for asset, trade in recorded.items():
                self._on_change(self._desk(asset).trade(trade.id) or trade)
            untouched += [(running, item) for item in running.decision.decisions if item.asset not in recorded]
        return untouched

    async def _read_unfinished(self) -> list[tuple[StoredDecision, list[Trade]]]:
        """Decisions without an end with the trades that they led to; a record that can't be read is read again."""
        while True:
            try:
                unfinished = await self._decisions.unfinished(self.account_id)
                return [(one, await self._trades.of_decision(self.account_id, one.decision_id)) for one in unfinished]
            except StoreUnavailable as error:
                self._trouble = f"the record can't be read: {error}"
                log.warning("service.record_not_read", account_id=self.account_id, error=str(error))
            await self._clock.sleep(_CONNECT_PAUSE_S)

    async def stop(self) -> None:
        """Stop everything that runs; what is in flight is found again at the next start (C8)."""
        self._trouble = "stopping"
        await self._background.stop()
        await self._client.close()

    def _on_failure(self, error: Exception) -> None:
        """An internal step failed: the service goes on, and a human is told."""
        text = f"an internal step failed unexpectedly ({type(error).__name__}); see the log"
        alert = Alert(Severity.CRITICAL, "internal_error", text)
        try:
            self._trades.record_events((self._narrator.alert(alert),))
        except StoreUnavailable as unavailable:
            log.warning("service.alert_not_recorded", code=alert.code, error=str(unavailable))

    def _desk(self, asset: str) -> Desk:
        desk = self._desks.get(asset)
        if desk is None:
            desk = Desk(asset, self._tools, self._last_activity.get(asset))
            self._desks[asset] = desk
            self._background.keep_running(desk.run)
        return desk

    # --- 6. what others may ask ------------------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """Whether new decisions are accepted (contract, section 6: database, stream, first reconciliation)."""
        reasons = []
        store = self._store_health()
        if store is not None:
            reasons.append(f"database: {store}")
        trouble = self._trouble or self._reconciler.trouble
        if trouble is not None:
            reasons.append(trouble)
        elif not self._router.is_up:
            reasons.append("the user stream is not connected")
        return Readiness(is_ready=not reasons, reasons=tuple(reasons))

    def unknown_orders_s(self) -> list[float]:
        """For how many seconds each order has been out of which nobody knows what became of it (scenario U1)."""
        return seconds_unknown(self._active_trades(), self._clock.now())

    def positions(self) -> PositionsView:
        """Positions as the exchange last showed them."""
        trades = {trade.asset: trade for trade in self._active_trades() if trade.exposure}
        return self._projection.view(trades, self._market.prices.last_mark)

    def account_view(self) -> AccountView:
        """Money and state of the account."""
        return self._projection.account_view(self.account_id, self.is_paper, self.readiness())

    # --- 7. what the desks must know of each other ------------------------------------------------------------------

    def _active_trades(self) -> list[Trade]:
        return [trade for desk in self._desks.values() for trade in desk.active]

    def _exposure_of_others(self, asset: str) -> dict[str, Decimal]:
        ours = {name: desk.notional for name, desk in self._desks.items() if desk.notional}
        return self._projection.notional_beside(asset, ours)

    def _require_ready(self, decision: TradingDecision) -> None:
        readiness = self.readiness()
        opens_only = all(item.action.is_entry for item in decision.decisions)
        is_refused_anyway = self.halted is not None and opens_only
        if not readiness.is_ready and not is_refused_anyway:
            raise DecisionRefused(ErrorCode.NOT_READY, "not ready: " + "; ".join(readiness.reasons))

    def _refuses_entries(self) -> RiskRefused | None:
        """Why no entry at all may be sent now: halted, not ready, or a position that could not be protected (P3)."""
        if self._kill_switch.refusal is not None:
            return self._kill_switch.refusal
        readiness = self.readiness()
        if not readiness.is_ready:
            return RiskRefused(code=ErrorCode.NOT_READY, message="not ready: " + "; ".join(readiness.reasons))
        return laid_bare(self._active_trades())
