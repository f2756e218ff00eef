"""A desk: everything that happens to one asset of one account, one message at a time.

Replies, stream events, timers and decisions all arrive in one mailbox, so the cooldown, "one entry per decision" and
"sibling gone before the next entry" need no lock. The desk folds facts into its trades, lets the pure code decide,
hands the record to the writer and runs the commands. It waits for nothing but its mailbox: reading, sending and
committing run beside it and report back as facts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import structlog

from app.domain.errors import ErrorCode, ExchangeError, IllegalTransition, NotSent, StoreConflict, StoreUnavailable
from app.domain.ids import IdSource, OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.policy import AccountPolicy
from app.domain.ports import Clock, Randomness
from app.domain.reports import NeverSent, Placement, RequestStamp, Unknown
from app.domain.trades import Trade, TradeError, TradeStatus, TradeTrigger
from app.integrations.aster.client import AsterClient
from app.repositories.trades import TradeRepository
from app.services.execution import commands, facts
from app.services.execution.accounting import account_for
from app.services.execution.evidence import Evidence
from app.services.execution.folding import fold
from app.services.execution.mailbox import Mailbox
from app.services.execution.market import Market
from app.services.execution.narration import Narrator
from app.services.execution.planning import EntryPlan, EntryWish, MarketView, new_trade, position_side_for
from app.services.execution.protection import Moment
from app.services.execution.risk import Exposure, RiskApproved, RiskRefused, assess, too_old
from app.services.execution.slices import ExitRoom
from app.services.execution.supervision import Supervisor
from app.services.execution.transitions import decide

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_KEPT_ENDED_TRADES = 32
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_BROKEN_TRANSMISSION_FENCE = timedelta(seconds=65)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskTools:
    """What every desk of an account shares."""

    policy: AccountPolicy
    client: AsterClient
    trades: TradeRepository
    market: Market
    evidence: Evidence
    narrator: Narrator
    ids: IdSource
    clock: Clock
    randomness: Randomness
    other_exposure: Callable[[str], dict[str, Decimal]]
    """Notional by asset of everything but the desk's own asset."""
    has_external_position: Callable[[str], bool]
    on_change: Callable[[Trade], None]
    on_refused: Callable[[EntryWish, RiskRefused], None]
    refuses_entries: Callable[[], RiskRefused | None]
    stop_entries: Callable[[str], None]
    background: Supervisor


@dataclass(frozen=True, slots=True)
class Learn:
    """A fact about one trade."""

    trade_id: str
    fact: facts.Fact


@dataclass(frozen=True, slots=True)
class Enter:
    """A wish to open a position; ``is_durable`` is done when the decision itself is on record."""

    wish: EntryWish
    market: MarketView | None
    is_durable: Awaitable[object]


Message = Learn | Enter


class Desk:
    """The single writer of one asset's trades."""

    def __init__(self, asset: str, tools: DeskTools, last_activity: datetime | None) -> None:
        self.asset = asset
        self._tools = tools
        self._mailbox: Mailbox[Message] = Mailbox()
        self._active: dict[str, Trade] = {}
        self._ended: OrderedDict[str, Trade] = OrderedDict()
        self._last_activity = last_activity
        self._jobs: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._wakes: dict[str, datetime] = {}
        self._room: ExitRoom | None = None
        self._has_begun = False

    # --- what others may ask ----------------------------------------------------------------------------------------

    @property
    def active(self) -> tuple[Trade, ...]:
        """Trades that are not ended."""
        return tuple(self._active.values())

    @property
    def notional(self) -> Decimal:
        """Value of what is held or on its way, at the planned price."""
        return sum(
            (max(trade.exposure, _on_its_way(trade)) * trade.reference_price for trade in self._active.values()),
            start=ZERO,
        )

    def adopt(self, trade: Trade) -> None:
        """Take over a trade from the record at start-up; it rests until :meth:`take_up`."""
        self._active[trade.id] = trade

    def take_up(self) -> None:
        """Go on with every trade after replies were lost: what was in flight is unknown, and the exchange is asked.

        Not before the exchange can be reached: attempts that can't leave this machine would use up the leg's attempts
        and its deadline, and end in an emergency close.
        """
        for trade in self._active.values():
            self._run(trade, commands.CheckPosition())
            self.learn(trade.id, facts.Restarted(at=self._tools.clock.now()))

    def learn(self, trade_id: str, fact: facts.Fact) -> None:
        """Queue a fact."""
        self._mailbox.put_urgent(Learn(trade_id, fact))

    def enter(self, wish: EntryWish, market: MarketView | None, is_durable: Awaitable[object]) -> None:
        """Queue an entry.

        Raises:
            MailboxFull: too many entries are waiting for this asset.
        """
        self._mailbox.put(Enter(wish, market, is_durable))

    def knows(self, trade_id: str) -> bool:
        """Whether the trade is in memory."""
        return trade_id in self._active or trade_id in self._ended

    def trade(self, trade_id: str) -> Trade | None:
        """The trade as it stands, when it is in memory."""
        return self._active.get(trade_id) or self._ended.get(trade_id)

    def revive(self, trade: Trade) -> None:
        """Put an ended trade from the record back in reach: something about it turned up."""
        if not self.knows(trade.id):
            self._keep_ended(trade)

    def verify(self, trade_id: str) -> None:
        """Compare a trade with the exchange: position first, then its unfinished orders."""
        trade = self._active.get(trade_id)
        if trade is not None:
            self._run(trade, commands.CheckPosition())

    def question_given_up(self) -> None:
        """Ask again for entries given up as never placed: a position that nobody explains may be theirs (U10)."""
        for trade in self._ended.values():
            entry = trade.entry
            if entry.state is OrderState.NOT_PLACED and entry.refusal_message is None:
                self._start(("late", trade.id), self._look_again(trade))

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Handle messages until cancelled. Begun again after a failure, it doubts what the failure may have lost."""
        if self._has_begun:
            log.warning("desk.begun_again", asset=self.asset)
            self.take_up()
        self._has_begun = True
        while True:
            messages = await self._mailbox.take()
            if self._mailbox.has_overflowed:
                log.warning("desk.mailbox_overflow", asset=self.asset)
                self._mailbox.has_overflowed = False
                self.take_up()  # scenario W8
            self._handle(messages)

    def _handle(self, messages: list[Message]) -> None:
        """Fold every waiting fact first, then decide once for each trade: a burst of fills is one resize, not five."""
        touched: dict[str, Trade] = {}
        for message in messages:
            match message:
                case Learn(trade_id=trade_id, fact=fact):
                    trade = touched.get(trade_id) or self.trade(trade_id)
                    if trade is None:
                        log.warning("desk.unknown_trade", asset=self.asset, trade_id=trade_id)
                        continue
                    touched[trade_id] = self._fold(trade, fact)
                case Enter():
                    self._enter(message)
        for trade_id, trade in touched.items():
            before = self.trade(trade_id)
            if before is not None:
                self._advance(before, trade)

    def _fold(self, trade: Trade, fact: facts.Fact) -> Trade:
        try:
            return fold(trade, fact)
        except IllegalTransition as error:
            text = f"{self.asset}: {type(fact).__name__} contradicts trade {trade.id} ({error}); it was left as it is"
            self._alert(commands.Alert(commands.Severity.CRITICAL, "contradiction", text), trade)
            return trade

    def _advance(self, before: Trade, folded: Trade) -> None:
        tools = self._tools
        moment = Moment(now=tools.clock.now(), chance=tools.randomness.uniform(0, 1), room=self._room)
        try:
            step = decide(folded, moment, tools.policy.protection)
        except IllegalTransition as error:
            text = f"{self.asset}: trade {before.id} can't go on by itself ({error}); look at the exchange"
            self._alert(commands.Alert(commands.Severity.CRITICAL, "contradiction", text), before)
            return
        after = step.trade
        self._keep(after)
        for command in step.commands:
            self._run(after, command)
        if after != before:
            # the commands' tasks have their first step before this: exits leave, then it is told that they left
            self._tools.background.soon(lambda: self._tell(before, after))

    def _tell(self, before: Trade, after: Trade) -> None:
        self._record(before, after)
        self._tools.on_change(after)

    def _keep(self, trade: Trade) -> None:
        if trade.is_ended:
            self._active.pop(trade.id, None)
            self._keep_ended(trade)
            self._wakes.pop(trade.id, None)
            if trade.entered_quantity > ZERO:
                self._last_activity = max(filter(None, (self._last_activity, trade.closed_at)))
        else:
            self._ended.pop(trade.id, None)
            self._active[trade.id] = trade

    def _keep_ended(self, trade: Trade) -> None:
        self._ended[trade.id] = trade
        self._ended.move_to_end(trade.id)
        while len(self._ended) > _KEPT_ENDED_TRADES:
            self._ended.popitem(last=False)

    def _record(self, before: Trade, after: Trade) -> None:
        """Hand the change to the writer and go on: what already happened is recorded right behind."""
        events = tuple(self._tools.narrator.changes(before, after))
        log.info(
            "trade.changed",
            trade_id=after.id,
            asset=self.asset,
            status=after.status.value,
            orders=" ".join(f"{order.role.value}:{order.state.value}" for order in after.orders),
        )
        self._store(lambda: self._tools.trades.record_progress(before, after, events))

    def _store(self, write: Callable[[], object]) -> None:
        try:
            write()
        except StoreUnavailable as error:
            log.exception("desk.not_recorded", asset=self.asset, error=str(error))

    def _alert(self, alert: commands.Alert, trade: Trade) -> None:
        event = self._tools.narrator.alert(alert, trade=trade)
        self._store(lambda: self._tools.trades.record_events((event,)))

    # --- entries ----------------------------------------------------------------------------------------------------

    def _enter(self, message: Enter) -> None:
        tools = self._tools
        now = tools.clock.now()
        refusal = tools.refuses_entries()
        verdict = refusal or assess(message.wish, message.market, self._exposure(), tools.policy, now)
        if isinstance(verdict, RiskRefused):
            tools.on_refused(message.wish, verdict)
            return
        side = position_side_for(message.wish.side, is_hedge_mode=tools.market.is_hedge_mode)
        trade = new_trade(
            verdict.plan,
            trade_id=tools.ids.new(),
            account_id=tools.policy.account_id,
            position_side=side,
            now=now,
        )
        try:
            stamp = tools.client.stamp()
        except NotSent as error:
            refusal = RiskRefused(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=str(error))
            tools.on_refused(message.wish, refusal)
            return
        entry = replace(trade.entry.after(OrderTrigger.SUBMIT, now), stamp=stamp)
        trade = trade.with_order(entry).after(TradeTrigger.SUBMIT)
        self._active[trade.id] = trade
        self._start(("enter", trade.id), self._submit(message, verdict, trade))

    def _exposure(self) -> Exposure:
        reserved = [trade.created_at for trade in self._active.values()]
        activity = [at for at in (self._last_activity, *reserved) if at is not None]
        return Exposure(
            has_position=bool(self._active) or self._tools.has_external_position(self.asset),
            has_unknown_order=any(trade.has_unknown_order for trade in self._active.values()),
            last_activity=max(activity, default=None),
            notional_by_asset={**self._tools.other_exposure(self.asset), self.asset: self.notional},
        )

    async def _submit(self, message: Enter, approved: RiskApproved, trade: Trade) -> None:
        """Make the intent durable, then send the entry: in this order, always."""
        tools = self._tools
        events = tuple(tools.narrator.changes(None, trade))
        try:
            landing = tools.trades.record_intent(trade, events)
            obstacle = await tools.market.prepare(trade.id, approved.plan)  # while the writer is at work
            await landing
            await message.is_durable
        except (StoreUnavailable, StoreConflict) as error:
            text = f"the decision could not be recorded, so nothing was sent: {error}"
            self._give_up_entry(message, trade, RiskRefused(code=ErrorCode.NOT_READY, message=text))
            return
        except Exception:  # nothing has left yet: the asset is set free again, and the supervisor tells of the bug
            text = "an internal step failed before anything was sent; see the log"
            self._give_up_entry(message, trade, RiskRefused(code=ErrorCode.INTERNAL_ERROR, message=text))
            raise
        if obstacle is None:
            obstacle = self._late_objection(approved.plan)
        placement: Placement
        if obstacle is not None:
            placement = NeverSent(reason=obstacle.message)
        else:
            self.learn(trade.id, facts.EntrySent(at=tools.clock.now()))
            placement = await self._transmit(trade.entry)
        fact = facts.Placed(
            at=tools.clock.now(),
            client_order_id=trade.entry.client_order_id,
            placement=placement,
            error=obstacle,
        )
        self.learn(trade.id, fact)

    def _give_up_entry(self, message: Enter, trade: Trade, refusal: RiskRefused) -> None:
        self._active.pop(trade.id, None)
        self._tools.market.entry_ended(trade)
        self._tools.on_refused(message.wish, refusal)

    def _late_objection(self, plan: EntryPlan) -> TradeError | None:
        """What speaks against sending by now, when recording or preparing took its time (scenario C7)."""
        tools = self._tools
        refusal = tools.refuses_entries() or too_old(plan.wish, tools.policy.risk, tools.clock.now())
        if refusal is not None:
            return TradeError(code=refusal.code, message=refusal.message)
        return tools.market.moved_away(plan)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _run(self, trade: Trade, command: commands.Command) -> None:
        match command:
            case commands.Send(order=order):
                self._start(("send", order.client_order_id, str(order.transmissions)), self._send(trade.id, order))
            case commands.Cancel(client_order_id=order_id):
                self._start(("cancel", order_id), self._cancel(trade, order_id))
            case commands.Query(client_order_id=order_id, delay_s=delay_s):
                self._start(("query", order_id), self._query(trade, order_id, delay_s))
            case commands.Resolve(client_order_id=order_id):
                self._start(("query", order_id), self._query(trade, order_id, 0))
            case commands.CheckPosition():
                self._start(("check", trade.id), self._check_position(trade))
            case commands.ReadBook():
                self._start(("book", trade.id), self._read_book(trade))
            case commands.Account():
                self._start(("account", trade.id), self._account(trade))
            case commands.WakeAt(at=at):
                self._wake(trade.id, at)
            case commands.Alert():
                self._alert(command, trade)
            case commands.StopEntries(reason=reason):
                self._tools.stop_entries(reason)

    def _start(self, key: tuple[str, ...], job: Coroutine[None, None, None]) -> None:
        """Run ``job`` unless the same one is running."""
        if key in self._jobs:
            job.close()
            return
        task = self._tools.background.start(job)
        self._jobs[key] = task
        task.add_done_callback(lambda done: self._jobs.pop(key, None) if self._jobs.get(key) is done else None)

    async def _send(self, trade_id: str, order: Order) -> None:
        placement = await self._transmit(order)
        at = self._tools.clock.now()
        fact = facts.Placed(at=at, client_order_id=order.client_order_id, placement=placement)
        self.learn(trade_id, fact)

    async def _transmit(self, order: Order) -> Placement:
        """Send once. Should our own code break on the way, the request may have left: that is unknown, not failed."""
        client = self._tools.client
        try:
            return await client.place_order(order.request, order.stamp if order.role is OrderRole.ENTRY else None)
        except Exception as error:  # whatever broke, an order in flight must not be taken for one that was not sent
            log.exception("desk.transmission_broke", asset=self.asset, client_order_id=order.client_order_id)
            dead_after = client.exchange_time() + _BROKEN_TRANSMISSION_FENCE
            stamp = order.stamp or RequestStamp(value=0, dead_after=dead_after)
            return Unknown(reason=f"{type(error).__name__} while sending", stamp=stamp)

    async def _cancel(self, trade: Trade, client_order_id: str) -> None:
        placement: Placement
        try:
            placement = await self._tools.client.cancel_order(trade.asset, client_order_id)
        except Exception as error:  # whatever broke, the order must not wait for this answer for ever
            log.exception("desk.cancel_broke", asset=self.asset, client_order_id=client_order_id)
            placement = NeverSent(reason=f"{type(error).__name__} while canceling")
        at = self._tools.clock.now()
        self.learn(trade.id, facts.CancelAnswered(at=at, client_order_id=client_order_id, placement=placement))

    async def _query(self, trade: Trade, client_order_id: str, delay_s: float) -> None:
        order = trade.order(client_order_id)
        if order is None:
            return
        if delay_s:
            await self._tools.clock.sleep(delay_s)
        fact = await self._until_read(lambda: self._tools.evidence.resolve(trade, order))
        # the job ends before the desk sees the fact, so that it may ask again
        self._jobs.pop(("query", client_order_id), None)
        self.learn(trade.id, fact)

    async def _look_again(self, trade: Trade) -> None:
        report = await self._until_read(lambda: self._tools.evidence.order(trade.entry))
        if report is not None:
            self.learn(trade.id, facts.OrderQueried(at=self._tools.clock.now(), report=report))

    async def _check_position(self, trade: Trade) -> None:
        learned = await self._until_read(lambda: self._tools.evidence.position_then_orders(trade))
        self._jobs.pop(("check", trade.id), None)
        for fact in learned:
            self.learn(trade.id, fact)

    async def _read_book(self, trade: Trade) -> None:
        self._room = await self._until_read(lambda: self._tools.market.exit_room(self.asset))
        self._jobs.pop(("book", trade.id), None)
        self.learn(trade.id, facts.Ticked(at=self._tools.clock.now()))

    async def _account(self, trade: Trade) -> None:
        fact = await self._until_read(lambda: account_for(self._tools.evidence, trade))
        self._jobs.pop(("account", trade.id), None)
        self.learn(trade.id, fact)

    async def _until_read(self, read: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat a read until it succeeds: a failed one says nothing (scenario U4)."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await read()
            except ExchangeError as error:
                log.warning("desk.read_failed", asset=self.asset, error=str(error))
            await self._tools.clock.sleep(pause_s * self._tools.randomness.uniform(0.5, 1))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _wake(self, trade_id: str, at: datetime) -> None:
        """Tick the trade at ``at``, unless an earlier tick is set; it sets the next one itself."""
        earlier = self._wakes.get(trade_id)
        if earlier is not None and earlier <= at:
            return
        self._wakes[trade_id] = at
        self._start(("wake", trade_id, at.isoformat()), self._tick(trade_id, at))

    async def _tick(self, trade_id: str, at: datetime) -> None:
        await self._tools.clock.sleep((at - self._tools.clock.now()).total_seconds())
        # a trade that has ended meanwhile has no wake any more, and may have left memory
        if self._wakes.get(trade_id) == at:
            del self._wakes[trade_id]
            # the job ends before the desk ticks: a clock that is still a moment early asks for the same time again
            self._jobs.pop(("wake", trade_id, at.isoformat()), None)
            self.learn(trade_id, facts.Ticked(at=self._tools.clock.now()))


def _on_its_way(trade: Trade) -> Decimal:
    return trade.quantity if trade.status in (TradeStatus.PENDING, TradeStatus.ENTERING) else ZERO
