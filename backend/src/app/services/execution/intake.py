"""Intake: a decision is taken on exactly once, durably, and answered with one result (scenarios C5, C6)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import structlog

from app.db.port import Landing
from app.domain.errors import DecisionRefused, ErrorCode, StoreUnavailable
from app.domain.events import EventType
from app.domain.ids import IdSource
from app.domain.orders import Order
from app.domain.parts import executed_of, opening, orders_for
from app.domain.trades import Adjustment, Trade, TradeSide
from app.repositories.decisions import DecisionRepository, StoredDecision
from app.schemas.decision import Action, AssetDecision, TradingDecision
from app.schemas.result import AssetResult, AssetStatus, ExecutionResult, ResultStatus, whole_status
from app.services.execution import results
from app.services.execution.lasting import accepted_in_the_end
from app.services.execution.narration import Narrator
from app.services.execution.phases import decision_reduces
from app.services.execution.planning import EntryWish
from app.services.execution.steady_clock import SteadyClock
from app.services.execution.supervision import Supervisor

log = structlog.get_logger(__name__)

_CLOCK_TOLERANCE = timedelta(seconds=5)
_KEPT_RESULTS = 1_000
_OPEN_TO_CORRECTION = (
    AssetStatus.PENDING,
    AssetStatus.FAILED,
    AssetStatus.PARTIALLY_PROTECTED,
    AssetStatus.UNPROTECTED,
)
"""What may still change: a fill that turns up after ``failed``, and protection that succeeds at last."""


@dataclass(slots=True)
class RunningDecision:
    """A decision at work, or recently ended."""

    decision_id: str
    fingerprint: str
    decision: TradingDecision
    decided_at: datetime
    received_at: datetime
    results: dict[str, AssetResult]
    """What is known to be so; an asset at work is pending here."""
    recorded: dict[str, AssetResult]
    """The results of assets that have ended and are on record: only these are told (scenario C9)."""
    landing: Landing
    """Done when the decision itself is on record."""
    at_work: dict[str, Callable[[], AssetResult]] = field(default_factory=dict)
    """How to make the result of an asset at work as it stands, should somebody ask."""
    completed_at: datetime | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    meant: dict[str, frozenset[str]] = field(default_factory=dict)
    """By asset: ids of the trades, and of the decisions of entries on their way, that were there when it came in.

    It closes and changes nothing else.
    """
    flipped: dict[str, str] = field(default_factory=dict)
    """By asset: the trade that a dead process closed to make room for an entry."""
    bound: dict[str, tuple[Trade, ...]] = field(default_factory=dict)
    """By asset: the trades that a dead process had begun to close."""
    endings: dict[str, asyncio.Event] = field(default_factory=dict)
    """By asset: whether its result is no longer pending."""

    def is_at_work(self, asset: str) -> bool:
        """Whether the asset belongs to the decision, and has not ended."""
        return asset in self.results and self.results[asset].status is AssetStatus.PENDING

    async def until_ended(self, asset: str) -> None:
        """Wait until an asset's result has ended."""
        if self.is_at_work(asset):
            await self.endings.setdefault(asset, asyncio.Event()).wait()


@dataclass(frozen=True, slots=True)
class Admission:
    """How a decision was taken on. ``running`` is None when only the stored ``result`` is left."""

    decision_id: str
    is_replay: bool
    running: RunningDecision | None
    stored: ExecutionResult | None = None


class Submission:
    """A decision that was taken on, and how to follow it."""

    def __init__(self, admission: Admission, result_of: Callable[[RunningDecision], ExecutionResult]) -> None:
        self.decision_id = admission.decision_id
        self.is_replay = admission.is_replay
        self._admission = admission
        self._result_of = result_of

    @property
    def result(self) -> ExecutionResult:
        """The result as it stands."""
        if self._admission.running is not None:
            return self._result_of(self._admission.running)
        if self._admission.stored is None:
            text = f"decision {self.decision_id} is on record without a result; it is being recovered, ask again"
            raise DecisionRefused(ErrorCode.NOT_READY, text)
        return self._admission.stored

    async def wait(self, timeout_s: float | None) -> ExecutionResult:
        """The result at its end, or as it stands after ``timeout_s`` seconds; None waits as long as it takes."""
        running = self._admission.running
        if running is not None and not running.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await running.ended.wait()
        return self.result


class Intake:
    """The only door for decisions of one account."""

    def __init__(
        self,
        *,
        account_id: str,
        is_paper: bool,
        decisions: DecisionRepository,
        narrator: Narrator,
        background: Supervisor,
        ids: IdSource,
        clock: SteadyClock,
        require_ready: Callable[[TradingDecision], None],
    ) -> None:
        self._account_id = account_id
        self._is_paper = is_paper
        self._decisions = decisions
        self._narrator = narrator
        self._background = background
        self._ids = ids
        self._clock = clock
        self._require_ready = require_ready
        self._known: OrderedDict[str, RunningDecision] = OrderedDict()
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def admit(self, decision: TradingDecision, *, said: TradingDecision | None = None) -> Admission:
        """Take a decision on, or recognise it. The record is on its way to the disk when this returns.

        ``said`` is what was sent, where ``decision`` has other names for its assets: by it a decision is recognised.

        Raises:
            DecisionRefused: ``validation_error`` (its time lies ahead), ``decision_conflict`` (its id is taken), or
                ``not_ready`` for a new one.
            StoreUnavailable: the record can't be read or written.
        """
        now = self._clock.now()
        decided_at = self._clock.from_host(decision.timestamp) if decision.timestamp else now
        if decided_at > now + _CLOCK_TOLERANCE:
            ahead_s = (decided_at - now).total_seconds()
            text = f"timestamp: {ahead_s:.1f} s ahead of this host's clock; check the clocks, or leave it out"
            raise DecisionRefused(ErrorCode.VALIDATION_ERROR, text)
        decision_id = decision.decision_id or self._ids.new()
        door = self._doors.setdefault(decision_id, asyncio.Lock())
        async with door:
            return await self._admit(decision, (said or decision).fingerprint(), decision_id, decided_at, now)

    async def _admit(
        self, decision: TradingDecision, fingerprint: str, decision_id: str, decided_at: datetime, now: datetime
    ) -> Admission:
        running = self._known.get(decision_id)
        if running is not None:
            _require_same(decision_id, running.fingerprint, fingerprint)
            return Admission(decision_id, is_replay=True, running=running)
        if decision.decision_id is not None:
            stored = await self._decisions.find(decision_id)
            if stored is not None:
                _require_same(decision_id, stored.body_hash, fingerprint)
                return Admission(decision_id, is_replay=True, running=None, stored=stored.result)
        self._require_ready(decision)
        event = self._narrator.event(
            EventType.DECISION_RECEIVED,
            {
                "assets": [item.asset for item in decision.items],
                "trace_id": decision.trace_id(decision_id),
            },
            decision_id=decision_id,
        )
        accept = functools.partial(
            self._decisions.accept, decision_id, self._account_id, fingerprint, decision.body(), now, (event,)
        )
        landing = accepted_in_the_end(accept) if decision_reduces(decision) else accept()
        running = self._remember(decision, decision_id, fingerprint, decided_at, now, landing)
        return Admission(decision_id, is_replay=False, running=running)

    def resume(self, stored: StoredDecision) -> RunningDecision:
        """Take up a decision that a dead process left unfinished; assets that have ended stay ended (scenario C9)."""
        running = self._from_record(stored, stored.asset_results)
        if not any(running.is_at_work(asset) for asset in running.results):
            self._complete(running)
        return running

    def _from_record(self, stored: StoredDecision, ended: Iterable[AssetResult]) -> RunningDecision:
        decision = TradingDecision.from_record(stored.body)
        landed: Landing = asyncio.get_running_loop().create_future()
        landed.set_result(())
        running = self._remember(
            decision,
            stored.decision_id,
            stored.body_hash,
            self._clock.from_host(decision.timestamp or stored.received_at),
            stored.received_at,
            landed,
        )
        running.recorded = {result.asset: result for result in ended}
        running.results.update(running.recorded)
        return running

    def _remember(
        self,
        decision: TradingDecision,
        decision_id: str,
        fingerprint: str,
        decided_at: datetime,
        received_at: datetime,
        landing: Landing,
    ) -> RunningDecision:
        running = RunningDecision(
            decision_id=decision_id,
            fingerprint=fingerprint,
            decision=decision,
            decided_at=decided_at,
            received_at=received_at,
            results={item.asset: results.at_first(item) for item in decision.items},
            recorded={},
            landing=landing,
        )
        self._known[decision_id] = running
        for old_id in [old_id for old_id, old in self._known.items() if old.ended.is_set()]:
            if len(self._known) <= _KEPT_RESULTS:
                break
            del self._known[old_id]
        return running

    def recall(self, stored: StoredDecision) -> None:
        """Bring a decision that has ended back into reach, because its result may turn out to be wrong."""
        if stored.result is None or stored.decision_id in self._known:
            return
        running = self._from_record(stored, stored.result.results)
        running.completed_at = stored.completed_at
        running.ended.set()

    def forget(self, running: RunningDecision) -> None:
        """Drop a decision whose record was refused: it does not use up its id."""
        self._known.pop(running.decision_id, None)
        running.ended.set()
        if not running.landing.done():
            self._withdraw(running)
        for ending in running.endings.values():
            ending.set()

    def _withdraw(self, running: RunningDecision) -> None:
        """Take a decision that was refused off the record again, should the database have it after all.

        From now on nobody who waits for the record acts on it.
        """
        log.warning("intake.withdrawn", decision_id=running.decision_id)
        running.landing.set_exception(StoreUnavailable("the decision was refused before its record was known"))
        try:
            self._decisions.withdraw(self._account_id, running.decision_id)
        except StoreUnavailable as error:
            log.warning("intake.not_withdrawn", decision_id=running.decision_id, error=str(error))

    def running(self, decision_id: str) -> RunningDecision | None:
        """The decision, when it is in memory."""
        return self._known.get(decision_id)

    def is_at_work(self, wish: EntryWish) -> bool:
        """Whether the asset's decision has not ended; else nothing more is done for it."""
        running = self._known.get(wish.decision_id)
        is_this = running is not None and running.received_at == wish.received_at
        return running is not None and is_this and running.is_at_work(wish.item.asset)

    def entering(self) -> list[tuple[RunningDecision, AssetDecision]]:
        """Entries that were taken on and have not ended, with their decisions."""
        return [
            (running, item)
            for running in self._known.values()
            if not running.ended.is_set()
            for item in running.decision.decisions
            if item.action.is_entry and running.is_at_work(item.asset)
        ]

    def _open_to_change(self, decision_id: str, received_at: datetime, asset: str) -> RunningDecision | None:
        """The decision, where news of an asset can still change its result: most of a trade's life comes after it.

        What was begun for a decision whose record was refused says nothing of the same one sent again, which was
        received later.
        """
        running = self._known.get(decision_id)
        if running is None or running.received_at != received_at:
            return None
        return running if running.results[asset].status in _OPEN_TO_CORRECTION else None

    def hear(self, trade: Trade) -> None:
        """Take what a trade, as it stands, says of the decisions that opened it and changed it."""
        entered = Action.BUY if trade.side is TradeSide.LONG else Action.SELL
        self._attempt(trade, trade, functools.partial(self._hear_of_entry, trade, entered))
        for one in trade.adjustments:
            self._attempt(trade, one, functools.partial(self._hear_of_change, trade, one, entered))

    def _attempt(self, trade: Trade, meant: Trade | Adjustment, hear: Callable[[], None]) -> None:
        """Should a step of ours break over it, the decision ends with that instead of never (scenario C9)."""
        if self._background.attempt(hear):
            return
        running = self._open_to_change(meant.decision_id, meant.received_at, trade.asset)
        if running is not None and running.is_at_work(trade.asset):
            action = running.results[trade.asset].action
            self.report(meant.decision_id, meant.received_at, results.broken(trade.asset, action, trade.id))

    def _hear_of_entry(self, trade: Trade, entered: Action) -> None:
        asset = trade.asset
        running = self._open_to_change(trade.decision_id, trade.received_at, asset)
        if running is None:
            tell = functools.partial(results.of_trade, trade, entered)
            self._correct(trade.decision_id, trade.received_at, trade, opening(trade), tell)
        elif results.status_of(trade) is not AssetStatus.PENDING:
            self.report(trade.decision_id, trade.received_at, results.of_trade(trade, entered))
        elif running.results[asset].status is AssetStatus.PENDING:
            running.at_work[asset] = lambda: results.of_trade(trade, entered)

    def _hear_of_change(self, trade: Trade, one: Adjustment, entered: Action) -> None:
        running = self._open_to_change(one.decision_id, one.received_at, trade.asset)
        if running is None:
            tell = functools.partial(results.of_adjustment, trade, one, entered)
            self._correct(one.decision_id, one.received_at, trade, orders_for(trade, one), tell)
        else:
            outcome = results.of_adjustment(trade, one, running.results[trade.asset].action)
            self.report(one.decision_id, one.received_at, outcome)

    def _correct(
        self,
        decision_id: str,
        received_at: datetime,
        trade: Trade,
        orders: tuple[Order, ...],
        tell: Callable[[], AssetResult],
    ) -> None:
        """Tell of more that has come in than a result says that is true otherwise: a part turned up late (O7, U10)."""
        running = self._known.get(decision_id)
        if running is None or running.received_at != received_at:
            return
        known, is_settled = running.results[trade.asset], all(order.is_final for order in orders)
        if is_settled and known.filled_quantity is not None and executed_of(trade, orders) > known.filled_quantity:
            kept = {name: getattr(known, name) for name in ("action", "status", "success", "error")}
            self._take(running, tell().model_copy(update=kept))

    def report(self, decision_id: str, received_at: datetime, result: AssetResult) -> None:
        """Take an asset's result that has ended; the last one completes the decision that was received at that time.

        It changes only when it turns out to have been wrong (contract, section 9).
        """
        running = self._open_to_change(decision_id, received_at, result.asset)
        if running is None:
            return
        known = running.results[result.asset]
        if result.status in (AssetStatus.PENDING, known.status):
            return
        self._take(running, result)

    def _take(self, running: RunningDecision, result: AssetResult) -> None:
        running.results[result.asset] = result
        if result.asset in running.endings:
            running.endings[result.asset].set()
        self._record_once_begun(running, result)

    def _record_once_begun(self, running: RunningDecision, result: AssetResult) -> None:
        """A refusal may be quicker than the disk: an end without a beginning would never be taken by the database."""
        if not running.landing.done():
            again = functools.partial(self._record_once_begun, running, result)
            running.landing.add_done_callback(lambda _: self._background.attempt(again))
        elif _has_landed(running.landing):
            is_last = not any(running.is_at_work(asset) for asset in running.results)
            record = functools.partial(self._complete, running) if is_last else lambda: self._record(running, result)
            if not self._background.attempt(record):  # whoever waits for it does not wait for ever
                (_end if is_last else _tell)(running, dict(running.results) if is_last else {result.asset: result})

    def _record(self, running: RunningDecision, result: AssetResult) -> None:
        """Tell of an asset that has ended before the others, once that is on record."""
        item = next(item for item in running.decision.items if item.asset == result.asset)
        body, now = results.noted(result, item).model_dump(mode="json"), self._clock.now()
        try:
            landing = self._decisions.record_asset_result(
                self._account_id, running.decision_id, result.asset, body, now
            )
        except StoreUnavailable as error:
            log.warning("intake.result_not_recorded", decision_id=running.decision_id, error=str(error))
            _tell(running, {result.asset: result})
            return
        landing.add_done_callback(lambda _: _tell(running, {result.asset: result}))

    def _complete(self, running: RunningDecision) -> None:
        running.completed_at = self._clock.now()
        known = dict(running.results)
        outcome = self._whole(running, known)
        is_refused = outcome.status is ResultStatus.REJECTED
        type_ = EventType.DECISION_REJECTED if is_refused else EventType.DECISION_COMPLETED
        body = outcome.model_dump(mode="json")
        data = {name: body[name] for name in ("status", "success", "results")}
        event = self._narrator.event(type_, data, decision_id=running.decision_id)
        try:
            landing = self._decisions.complete(
                self._account_id, running.decision_id, outcome.status, body, running.completed_at, (event,)
            )
        except StoreUnavailable as error:
            # what happened at the exchange is told all the same; the next start completes the record
            log.warning("intake.result_not_recorded", decision_id=running.decision_id, error=str(error))
            _end(running, known)
            return
        # whoever is told the result may read it, and everything before it, from the record
        landing.add_done_callback(lambda _: _end(running, known))

    def result_of(self, running: RunningDecision) -> ExecutionResult:
        """The whole result as it may be told: what has ended and is not on record yet is pending."""
        known = {item.asset: results.at_first(item) for item in running.decision.items}
        known.update({asset: as_it_stands() for asset, as_it_stands in running.at_work.items()})
        return self._whole(running, known | running.recorded)

    def _whole(self, running: RunningDecision, known: Mapping[str, AssetResult]) -> ExecutionResult:
        ordered = tuple(results.noted(known[item.asset], item) for item in running.decision.items)
        status = whole_status([one.status for one in ordered])
        return ExecutionResult(
            decision_id=running.decision_id,
            account_id=self._account_id,
            is_paper=self._is_paper,
            status=status,
            success=status is ResultStatus.EXECUTED,
            received_at=running.received_at,
            completed_at=running.completed_at,
            results=ordered,
        )


def _tell(running: RunningDecision, known: Mapping[str, AssetResult]) -> None:
    running.recorded.update(known)
    for asset in known:
        running.at_work.pop(asset, None)


def _end(running: RunningDecision, known: Mapping[str, AssetResult]) -> None:
    _tell(running, known)
    running.ended.set()


def _has_landed(landing: Landing) -> bool:
    return not landing.cancelled() and landing.exception() is None


def _require_same(decision_id: str, known: str, fingerprint: str) -> None:
    if known != fingerprint:
        raise id_taken(decision_id)


def id_taken(decision_id: str) -> DecisionRefused:
    """The refusal of an id that another decision has used."""
    text = f"decision_id {decision_id} was used for another decision; give each decision an id of its own"
    return DecisionRefused(ErrorCode.DECISION_CONFLICT, text)
