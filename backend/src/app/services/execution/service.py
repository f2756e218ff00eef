"""``ExecutionService``: the path of a decision, from top to bottom.

    submit ── intake ──▶ carry out ──▶ phases: closes and reductions ▶ moved exits ▶ entries and increases
                                        entry: market ▶ desk ▶ risk ▶ plan ▶ durable intent ▶ send
                                        change to a position: the same way, by the desk's adjuster
                                        desk:  fills ▶ protection ▶ open ▶ exits ▶ closed
    reconcile ── read the exchange ▶ differences ▶ desks put them right

One service acts for one account. Everything it needs is given to it; nothing inside is global. Each step has a room
of its own beside this file: intake, planning, risk, desk, folding, transitions, protection, exits, evidence,
reconciliation.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import structlog

from app.domain.errors import DecisionRefused, ErrorCode, ExchangeError, StoreConflict, StoreUnavailable
from app.domain.ids import ClientOrderId, IdSource
from app.domain.policy import AccountPolicy
from app.domain.ports import Clock, Randomness
from app.domain.trades import CloseReason, Trade
from app.events.alerts.repeats import Repeats
from app.integrations.aster.client import AsterClient
from app.repositories.decisions import DecisionRepository
from app.repositories.flags import FlagRepository
from app.repositories.trades import TradeRepository
from app.schemas.decision import TradingDecision
from app.schemas.explanation import Explanation
from app.schemas.result import AssetResult, ExecutionResult
from app.services.execution import facts, results
from app.services.execution.asset_values import AssetValues
from app.services.execution.carrying import DecisionRunner
from app.services.execution.closing import CLOSE_PATIENCE_S, Closer
from app.services.execution.commands import Alert, Severity
from app.services.execution.daily_loss import DailyResult
from app.services.execution.desk import Desk
from app.services.execution.desk_tools import DeskTools
from app.services.execution.evidence import Evidence
from app.services.execution.explaining import Explainer
from app.services.execution.external import ExternalPositions
from app.services.execution.flatness import left_open
from app.services.execution.gate import Gate
from app.services.execution.halting import EMERGENCY_WINDOW, EmergencyWatch, Halt, KillSwitch
from app.services.execution.hearing import Hearing
from app.services.execution.intake import Intake, RunningDecision, Submission, id_taken
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.phases import decision_reduces
from app.services.execution.planning import EntryWish
from app.services.execution.projection import AccountView, PositionsView, Projection, Readiness
from app.services.execution.recall import Recall
from app.services.execution.reconciler import Reconciler
from app.services.execution.reconciliation import ReconciliationReport
from app.services.execution.recording import Recording
from app.services.execution.resuming import Resumption
from app.services.execution.risk import Blocks, RiskRefused
from app.services.execution.routing import StreamBuilder, StreamRouter, Streams
from app.services.execution.start_up import StartUp
from app.services.execution.steady_clock import SteadyClock
from app.services.execution.supervision import Supervisor
from app.services.execution.telling import record_or_warn
from app.services.execution.terms import Terms
from app.services.execution.transitions import is_in_motion
from app.services.execution.troubles import TroubleDesk
from app.services.execution.vital_signs import VitalSigns, look

log = structlog.get_logger(__name__)

_LOOK_S = 0.02


class ExecutionService:
    """Executes decisions on one AsterDEX account and keeps its record equal to the exchange's.

    Args:
        client: the account's door to the exchange.
        decisions, trades, flags: where decisions, trades and the halt are recorded, durably and with their events.
        narrator: makes the events that are published with each change.
        streams: builds the background streams, given where user events and prices go, and whose best prices are wanted.
        store_health: None, or why the database takes no writes.
        place: names this host and the exchange's address, which a ban holds for.
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
        streams: StreamBuilder,
        store_health: Callable[[], str | None],
        place: str = "",
    ) -> None:
        self.policy = policy
        self.account_id = policy.account_id
        self.is_paper = policy.is_paper
        self._client = client
        self._decisions = decisions
        self._trades = trades
        self._narrator = narrator
        host_clock, clock = clock, SteadyClock(clock)
        self._clock = clock
        self._background = Supervisor(clock, self._on_failure)
        self._kill_switch = KillSwitch(self.account_id, flags, narrator, host_clock, self._background)
        self._troubles = TroubleDesk(client, flags, host_clock, self._kill_switch, self._tell_alert, place)
        self._emergencies = EmergencyWatch(clock, self._kill_switch.trip)
        self._repeats = Repeats(clock)
        self._projection = Projection()
        self._hearing = Hearing()
        terms = Terms(client, clock, flags, self.account_id)
        self._market = Market(client, clock, policy.risk, self._projection.all_held, terms)
        self._daily = DailyResult(client, host_clock, AssetValues(self._market))
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
            external=ExternalPositions(
                policy=policy, client=client, market=self._market, new_id=ids.new, tell=self._tell_alert
            ),
            hearing=self._hearing,
            tell=self._tell_alert,
            doubt_stream=lambda reason: self._streams.doubt(reason) if self._streams else None,
        )
        self._router = StreamRouter(
            projection=self._projection,
            market=self._market,
            narrator=narrator,
            trades=trades,
            clock=clock,
            on_order=self._on_order,
            on_forced=self._on_forced,
            on_position=lambda asset: self._desk(asset).question_given_up(self._projection.held(asset)),
            request_reconciliation=self._reconciler.request,
            on_fill=self._daily.learn_fill,
            on_booking=self._daily.request,
            has_external_stop=self._reconciler.has_external_stop,
            hearing=self._hearing,
            exchange_time=client.exchange_time,
        )
        self._start_up = StartUp(self.account_id, client, self._market, self._router, clock)
        self._gate = Gate(
            client=client,
            kill_switch=self._kill_switch,
            start_up=self._start_up,
            reconciler=self._reconciler,
            router=self._router,
            store_health=store_health,
            active_trades=self._active_trades,
        )
        self._intake = Intake(
            account_id=self.account_id,
            is_paper=self.is_paper,
            decisions=decisions,
            narrator=narrator,
            background=self._background,
            ids=ids,
            clock=clock,
            require_ready=self._gate.require_ready,
        )
        self._recall = Recall(
            account_id=self.account_id,
            trades=trades,
            decisions=decisions,
            intake=self._intake,
            clock=clock,
            desk=self._desk,
            tell=self._tell_alert,
        )
        recording = Recording(trades=trades, background=self._background, store_health=store_health)
        self._desks: dict[str, Desk] = {}
        self._closer = Closer(
            desks=self._desks,
            intake=self._intake,
            recording=recording,
            policy=policy.risk,
            clock=clock,
            prices=self._market.prices,
            unknown=self._gate.unknown,
        )
        self._tools = DeskTools(
            policy=policy,
            client=client,
            trades=trades,
            market=self._market,
            evidence=Evidence(client, clock, self._projection.newest),
            narrator=narrator,
            ids=ids,
            clock=clock,
            randomness=randomness,
            other_exposure=self._exposure_of_others,
            has_external_position=self._reconciler.has_external_position,
            realised_today=lambda: self._daily.realised,
            is_at_work=self._intake.is_at_work,
            is_flattened=lambda: self.halted is not None and self.halted.flatten,
            recording=recording,
            on_change=self._on_change,
            on_refused=self._on_refused,
            gate=lambda: Blocks(halted=self._kill_switch.refusal, unready=self._gate.unready()),
            stop_entries=self._kill_switch.trip,
            background=self._background,
        )
        self._runner = DecisionRunner(
            client=client,
            market=self._market,
            intake=self._intake,
            kill_switch=self._kill_switch,
            background=self._background,
            desk=self._desk,
            closer=self._closer,
            recording=recording,
            there=self._closer.there,
            unknown=self._gate.unknown,
            on_refused=self._on_refused,
        )
        self._resumption = Resumption(
            account_id=self.account_id,
            decisions=decisions,
            trades=trades,
            intake=self._intake,
            policy=policy.risk,
            clock=clock,
            desk=self._desk,
            on_change=self._on_change,
            on_trouble=self._start_up.waits_for,
            tell=self._tell_alert,
        )
        self._explainer = Explainer(
            policy=policy,
            market=self._market,
            kill_switch=self._kill_switch,
            clock=clock,
            exposure=lambda wish: self._desk(wish.item.asset).exposure(wish),
            closable=lambda asset: self._desk(asset).active,
            gate=self._gate,
        )
        self._stream_builder = streams
        self._streams: Streams | None = None
        self._last_activity: dict[str, datetime] = {}

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
            admission = await self._intake.admit(decision.renamed(self._market.symbol_named), said=decision)
            running = admission.running
            if running is not None:
                if not admission.is_replay:
                    self._background.start(self._runner.carry_out(running))
                await self._until_recorded(running)
        except StoreUnavailable as error:
            raise DecisionRefused(ErrorCode.NOT_READY, f"the decision could not be recorded: {error}") from error
        return Submission(admission, self._intake.result_of)

    async def _until_recorded(self, running: RunningDecision) -> None:
        try:
            if decision_reduces(running.decision):
                await self._tools.recording.try_to_land(running.landing)
            if not decision_reduces(running.decision) or running.landing.done():
                await self._tools.recording.until_landed(running.landing)
        except StoreUnavailable:
            self._intake.forget(running)
            raise
        except StoreConflict as error:
            self._intake.forget(running)
            raise id_taken(running.decision_id) from error

    # --- 2. it is carried out (see DecisionRunner); and what an operator asks for ----------------------------------

    async def close_position(
        self, asset: str, reason: CloseReason = CloseReason.MANUAL, timeout_s: float | None = CLOSE_PATIENCE_S
    ) -> AssetResult:
        """Close what the service holds on ``asset`` at market and take its exits off the book.

        An entry that is in flight or UNKNOWN is not sent any more, or closed as soon as it is filled (scenario O10).
        The result is ``closed``, ``pending`` after ``timeout_s`` seconds, or ``rejected`` with ``position_absent``.
        """
        return await self._closer.close(self._market.symbol_named(asset), reason, timeout_s)

    async def close_all(self, reason: CloseReason = CloseReason.MANUAL) -> list[AssetResult]:
        """Close everything that the service holds, side by side."""
        return await self._closer.close_all(reason)

    async def halt(self, reason: str, *, flatten: bool = False) -> list[AssetResult]:
        """Send no more entries until :meth:`resume`, over restarts; exits go on. ``flatten`` closes everything too.

        What a flatten finds on its way in is closed as soon as it is filled, however late that turns out. Returns the
        results of the closes.
        """
        await self._kill_switch.turn_on(reason, flatten=flatten)
        return await self._flatten() if flatten else []

    async def _flatten(self) -> list[AssetResult]:
        closed = await self.close_all(CloseReason.HALT)
        with contextlib.suppress(ExchangeError, StoreUnavailable):
            await self._reconciler.run()  # orders that no trade knows of go, too
        return closed

    async def left_open(self) -> list[str]:
        """What is held, in flight, UNKNOWN or on the book of ours, in words; nothing when we are flat."""
        return await left_open(self._client, self._active_trades)

    async def resume(self) -> None:
        """Accept entries again."""
        await self._kill_switch.turn_off()

    @property
    def halted(self) -> Halt | None:
        """Why and since when no entry is sent; None when entries are."""
        return self._kill_switch.current

    # --- 3. what the desks report ----------------------------------------------------------------------------------

    def _on_change(self, trade: Trade) -> None:
        """Tell everybody whom a change concerns; one who breaks over it keeps it from nobody."""
        hears = (self._intake, self._emergencies, self._reconciler, self._closer, self._daily)
        for hear in (self._market.entries_ended, self._market.judge_refusals, *(one.hear for one in hears)):
            self._background.attempt(functools.partial(hear, trade))

    def _on_refused(self, wish: EntryWish, refusal: RiskRefused) -> None:
        refused = results.refused if wish.flipped is None else results.nothing_opened
        if refusal.contradicts and self._repeats.is_first((wish.item.asset, refusal.message)):
            self._tell_alert(Alert(Severity.WARNING, "position_contradicts", refusal.message), wish.item.asset)
        self._intake.report(wish.decision_id, wish.received_at, refused(wish.item, refusal))
        self._closer.on_refused(wish.item.asset)

    def _on_order(self, asset: str, key: ClientOrderId, fact: facts.Fact) -> None:
        """A stream event about an order of ours; its trade may have ended long ago (scenario U10)."""
        desk = self._desk(asset)
        trade = desk.trade(key.trade_id)
        if trade is not None and (not trade.is_ended or self._intake.running(trade.decision_id) is not None):
            desk.learn(key.trade_id, fact)
        else:
            self._background.start(self._recall.learn(desk, key.trade_id, fact), self._reconciler.request)

    def _on_forced(self, asset: str) -> None:
        """The exchange liquidated or deleveraged: the position tells what is left, the siblings go (W6)."""
        for trade in self._desk(asset).active:
            self._desk(asset).verify(trade.id)

    # --- 4. reconciliation -----------------------------------------------------------------------------------------

    async def reconcile(self) -> ReconciliationReport:
        """Compare the record with the exchange, and put right what differs.

        Raises:
            ExchangeError: a read failed; nothing was concluded.
        """
        return await self._reconciler.run_on_request()

    # --- 5. life of the service ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over what the record says is open, and begin to work; readiness follows the first reconciliation.

        Raises:
            StoreUnavailable: the record can't be read.
        """
        await self._kill_switch.load()
        self._emergencies.load(await self._trades.emergencies(self.account_id, self._clock.now() - EMERGENCY_WINDOW))
        await self._troubles.load()
        await self._market.terms.load()
        activity = await self._trades.last_activity(self.account_id)
        self._last_activity = {asset: min(at, self._clock.now()) for asset, at in activity.items()}
        await self._recall.at_start()
        self._background.start(self._run())

    async def _run(self) -> None:
        """Connect, listen, reconcile once, then accept decisions: start-up and recovery are the same path (C3)."""
        await self._start_up.connect()
        self._background.start(self._start_up.watch_modes())
        for desk in tuple(self._desks.values()):
            desk.take_up_what_moves()
        self._streams = self._stream_builder(self._router.take, self._market.prices, self._market.followed)
        for run in self._streams.runs:
            self._background.keep_running(run)
        await self._start_up.until_stream_is_up()
        for desk in tuple(self._desks.values()):
            desk.question_given_up()  # executed since, and gone again, no position would tell of it
        await self._reconciler.run_first()
        self._background.keep_running(self._reconciler.keep_reconciled)
        self._background.keep_running(self._reconciler.late_funding.keep_looking)
        self._market.bring_latest_into_play(self._last_activity)
        self._background.keep_running(self._market.keep_warm)
        self._background.keep_running(self._market.margin.keep_fresh)
        if self.policy.risk.maximum_daily_loss is not None:
            self._start_up.waits_for("what was lost today is not known yet")
            self._background.keep_running(self._daily.keep_fresh)
            await self._daily.until_known()
        left = await self._resumption.take_up()
        self._start_up.is_done()
        if self.halted is not None and self.halted.flatten:
            await self._flatten()  # the process that was asked to may have died on the way
        for running, items in left:
            self._background.start(self._runner.work_through(running, items))

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, and wait until every position has its exits or is gone, for so long at most (C8)."""
        self._start_up.stops()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while any(is_in_motion(trade) for trade in self._active_trades()):
                    await self._clock.sleep(_LOOK_S)

    async def stop(self) -> None:
        """Stop everything that runs; what is in flight is found again at the next start (C8)."""
        self._start_up.stops()
        await self._background.stop()
        await self._client.close()

    def _on_failure(self, error: Exception) -> None:
        """An internal step failed: the service goes on, and a human is told."""
        text = f"an internal step failed unexpectedly ({type(error).__name__}); see the log"
        self._tell_alert(Alert(Severity.CRITICAL, "internal_error", text))

    def _tell_alert(self, alert: Alert, asset: str | None = None) -> None:
        record_or_warn(self._trades, self._narrator.alert(alert, asset=asset))

    def _desk(self, asset: str) -> Desk:
        desk = self._desks.get(asset)
        if desk is None:
            desk = Desk(asset, self._tools, self._last_activity.get(asset))
            self._desks[asset] = desk
            self._background.keep_running(desk.run)
        return desk

    async def explain(self, decision: TradingDecision) -> Explanation:
        """What a decision would do now. Sends nothing and keeps nothing."""
        return await self._explainer.explain(decision.renamed(self._market.symbol_named))

    # --- 6. what others may ask ------------------------------------------------------------------------------------

    def readiness(self) -> Readiness:
        """Whether new decisions are accepted (contract, section 6: database, stream, first reconciliation)."""
        return self._gate.readiness()

    def vital_signs(self) -> VitalSigns:
        """How the account is, for those who watch over it."""
        trades, last_run = self._active_trades(), self._reconciler.latest
        return look(self._client, self._router, self._market.prices, trades, last_run, self._clock.now())

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
        return self._projection.notional_beside(asset, ours, self._market.prices.last_mark)
