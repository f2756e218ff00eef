"""A desk: everything that happens to one asset of one account, one message at a time.

Replies, stream events, timers and decisions all arrive in one mailbox, so the cooldown, "one entry per decision" and
"sibling gone before the next entry" need no lock. The desk folds facts into its trades, lets the pure code decide,
hands the record to the writer and runs the commands. Reading, sending and committing run beside it, and report facts.
"""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

import structlog

from app.domain.errors import IllegalTransition, StoreUnavailable
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.reports import NeverSent, Placement, PositionReport
from app.domain.trades import CloseReason, Trade
from app.services.execution import commands, facts
from app.services.execution.accounting import account_for
from app.services.execution.adjuster import Adjuster
from app.services.execution.covering import is_at_rest
from app.services.execution.desk_tools import Adjust, DeskTools, Enter, Learn, Message
from app.services.execution.entry_flow import EntryFlow
from app.services.execution.exits import unrecorded_exits
from app.services.execution.exposures import exposure_for
from app.services.execution.folding import fold
from app.services.execution.foreign_cover import ForeignCover
from app.services.execution.late_fills import doubtful_entries, look_again, questionable_entries
from app.services.execution.mailbox import Mailbox
from app.services.execution.part_flow import PartFlow
from app.services.execution.patience import until_read
from app.services.execution.plain_close import cancel_covering, read_cover, send_plain
from app.services.execution.planning import EntryWish
from app.services.execution.protection import LOOK_FIRST, Moment
from app.services.execution.risk import Exposure, notional_of
from app.services.execution.send_time import SendTime
from app.services.execution.sending import cancel, transmit
from app.services.execution.sent_once import SentOnce
from app.services.execution.slices import ExitRoom
from app.services.execution.telling import Teller
from app.services.execution.trailing import is_as_tight_or_pause
from app.services.execution.transitions import decide
from app.services.execution.unexplained import is_untouched, surplus

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_KEPT_ENDED_TRADES = 32
_RECORDED_FIRST = (OrderRole.ENTRY, OrderRole.REDUCE, OrderRole.TAKE_BACK)


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
        self._resting: set[str] = set()
        self._is_reachable = False
        self._unrecorded: set[str] = set()
        self._looks_until: dict[str, datetime] = {}
        self._untouched: dict[str, int] = {}
        """How often orders of a trade had been sent when its position was last seen as our executions left it."""
        self._teller = Teller(tools.trades, tools.narrator, tools.background, tools.on_change)
        self._room: ExitRoom | None = None
        self._covers: dict[str, ForeignCover] = {}
        self._relieved: set[str] = set()
        self.once = SentOnce(tools, self.take, self.trade)
        self.send_time = SendTime(tools, self.exposure, self.once)
        self.parts = PartFlow(self, tools)
        self._adjuster = Adjuster(self, tools)
        self._entries = EntryFlow(self, tools, self._adjuster)
        self._has_begun = False

    # --- what others may ask ----------------------------------------------------------------------------------------

    @property
    def active(self) -> tuple[Trade, ...]:
        """Trades that are not ended."""
        return tuple(self._active.values())

    @property
    def notional(self) -> Decimal:
        """Value of what is held or on its way, at the mark price."""
        return notional_of(self._active.values(), self._tools.market.prices.last_mark(self.asset))

    def adopt(self, trade: Trade) -> None:
        """Take over a trade from the record at start-up; it rests until :meth:`take_up`, whatever is asked of it."""
        self._active[trade.id] = trade
        self._resting.add(trade.id)

    def take_up(self) -> None:
        """Go on with every trade after replies were lost: what was in flight is unknown, and the exchange is asked."""
        for trade in tuple(self._active.values()):
            self._take_up(trade)

    def take_up_what_moves(self) -> None:
        """Go on, after a start, with every trade that was under way when the last process ended.

        Not before the exchange can be reached: attempts that can't leave this machine would use up the leg's attempts
        and its deadline, and end in an emergency close. What the record shows at rest waits for :meth:`compared`.
        """
        self._is_reachable = True
        for trade in tuple(self._active.values()):
            if not is_at_rest(trade):
                self._take_up(trade)

    def compared(self, trade_id: str, *, agrees: bool) -> None:
        """The exchange was read: go on with a trade at rest. Where it agrees with the record nothing more is asked."""
        trade = self._active.get(trade_id)
        if trade is None or trade_id not in self._resting:
            return
        if not agrees:
            self._take_up(trade)
            return
        self._resting.discard(trade_id)
        self.learn(trade_id, facts.Restarted(at=self._tools.clock.now()))

    def _take_up(self, trade: Trade) -> None:
        self._resting.discard(trade.id)
        self._looks_until[trade.id] = self._tools.clock.now() + LOOK_FIRST
        self.start(("check", trade.id), self._check_position(trade, unrecorded_exits(trade)))
        self.learn(trade.id, facts.Restarted(at=self._tools.clock.now()))

    def learn(self, trade_id: str, fact: facts.Fact) -> None:
        """Queue a fact."""
        self._mailbox.put_urgent(Learn(trade_id, fact))

    def enter(self, message: Enter) -> None:
        """Queue an entry.

        Raises:
            MailboxFull: too many entries are waiting for this asset.
        """
        self._mailbox.put(message)

    def enter_next(self, message: Enter) -> None:
        """Queue an entry ahead of all others: the asset was made free for it."""
        self._mailbox.put_urgent(message)

    def adjust(self, message: Adjust) -> None:
        """Queue a change to a position."""
        self._mailbox.put_urgent(message)

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

    @property
    def known(self) -> tuple[Trade, ...]:
        """Every trade in memory, ended ones included."""
        return (*self._active.values(), *self._ended.values())

    def question_given_up(self, rows: Sequence[PositionReport] | None = None) -> None:
        """Ask again for entries in doubt or given up, of which ``rows`` may tell, the asset's positions (U10, U11)."""
        for trade in self.known:
            for entry in questionable_entries(trade):
                if rows is None or surplus(trade, entry, self.active, rows):
                    self.start(("late", entry.client_order_id), self._look_again(trade, entry))

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
        wishes: list[Enter | Adjust] = []
        for message in messages:
            match message:
                case Learn(trade_id=trade_id, fact=fact):
                    trade = touched.get(trade_id) or self.trade(trade_id)
                    if trade is None:
                        log.warning("desk.unknown_trade", asset=self.asset, trade_id=trade_id)
                        continue
                    folded = self._fold(trade, fact)
                    if isinstance(fact, facts.EntrySent) and trade_id not in touched:
                        self._keep(folded)
                        self._teller.note(trade, folded)
                    else:
                        touched[trade_id] = folded
                case Enter() | Adjust():
                    wishes.append(message)
        for trade_id, trade in touched.items():
            before = self.trade(trade_id)
            if before is not None:
                self._advance(before, trade)
        for wish in wishes:  # judged by all that is known
            if isinstance(wish, Enter):
                self._entries.enter(wish, self._ended.values())
            else:
                self._adjuster.adjust(wish, self.exposure(wish.wish))

    def take(self, trade_id: str, fact: facts.Fact) -> None:
        """Fold a fact in at once, on the desk's own turn; its record is on its way when the next job begins."""
        trade = self.trade(trade_id)
        if trade is not None:
            self._advance(trade, self._fold(trade, fact))

    def _fold(self, trade: Trade, fact: facts.Fact) -> Trade:
        try:
            return fold(trade, fact)
        except IllegalTransition as error:
            text = f"{self.asset}: {type(fact).__name__} contradicts trade {trade.id} ({error}); it was left as it is"
            self._teller.alert(commands.Alert(commands.Severity.CRITICAL, "contradiction", text), trade)
            return trade

    def _advance(self, before: Trade, folded: Trade) -> None:
        tools = self._tools
        if before.id in self._resting:
            if folded is not before:
                self._keep(folded)
                self._teller.changed(before, folded)
                if self._is_reachable and not is_at_rest(folded):
                    self._take_up(folded)
            return
        if tools.is_flattened() and folded.close_reason is None and folded.exposure > ZERO:
            folded = self._fold(folded, facts.CloseAsked(at=tools.clock.now(), reason=CloseReason.HALT))
        moment = Moment(
            now=tools.clock.now(),
            chance=tools.randomness.uniform(0, 1),
            instrument=tools.market.instrument(self.asset),
            room=self._room,
            cover=self._covers.get(before.id),
            looks_until=self._looks_until.get(before.id),
            is_behind=("look", before.id) in self._jobs,
            is_untouched=self._untouched.get(before.id) == folded.transmissions,
            relieved=frozenset(self._relieved),
        )
        try:
            step = decide(folded, moment, tools.policy.protection)
        except IllegalTransition as error:
            text = f"{self.asset}: trade {before.id} can't go on by itself ({error}); look at the exchange"
            self._teller.alert(commands.Alert(commands.Severity.CRITICAL, "contradiction", text), before)
            return
        after = step.trade
        self._keep(after)
        for command in step.commands:
            self._run(after, command)
        if after is not before and after != before:
            (self._teller.note if after.id in self._unrecorded else self._teller.changed)(before, after)

    def _keep(self, trade: Trade) -> None:
        if trade.is_ended:
            self._active.pop(trade.id, None)
            self._keep_ended(trade)
            self._wakes.pop(trade.id, None)
            self._covers.pop(trade.id, None)
            self._untouched.pop(trade.id, None)
            if trade.entered_quantity > ZERO:
                self._last_activity = max(filter(None, (self._last_activity, trade.closed_at)))
            self._adjuster.on_ended(trade)
        else:
            self._ended.pop(trade.id, None)
            self._active[trade.id] = trade
            self._adjuster.on_kept(trade)

    def _keep_ended(self, trade: Trade) -> None:
        self._ended[trade.id] = trade
        self._ended.move_to_end(trade.id)
        while len(self._ended) > _KEPT_ENDED_TRADES:
            self._ended.popitem(last=False)

    # --- entries and adjustments --------------------------------------------------------------------------------------

    def begin(self, trade: Trade) -> None:
        """Count a new trade from now on."""
        self._active[trade.id] = trade
        self._unrecorded.add(trade.id)

    def forget(self, trade: Trade) -> None:
        """Drop a trade of which nothing was sent."""
        self._active.pop(trade.id, None)
        self._unrecorded.discard(trade.id)

    def is_on_record(self, trade_id: str) -> None:
        """A new trade's intent is durable: what changes in it may be recorded from now on."""
        self._unrecorded.discard(trade_id)

    def exposure(self, wish: EntryWish, order_id: str | None = None) -> Exposure:
        """What a wish for this asset is judged against, at this moment: see :func:`~.exposures.exposure_for`."""
        return exposure_for(wish, self._active.values(), self._adjuster, self._tools, self._last_activity, order_id)

    def is_looked_at(self, trade_id: str) -> bool:
        """Whether the exchange is being asked what it holds of a trade."""
        return ("check", trade_id) in self._jobs

    # --- commands ---------------------------------------------------------------------------------------------------

    def _run(self, trade: Trade, command: commands.Command) -> None:
        match command:
            case commands.Send(order=order):
                self._start_sending(trade, order)
            case commands.Cancel(client_order_id=order_id):
                self.start(("cancel", order_id), self._cancel(trade, order_id))
            case commands.Query(client_order_id=order_id) | commands.Resolve(client_order_id=order_id):
                self.start(("query", order_id), self._query(trade, order_id, getattr(command, "delay_s", 0)))
            case commands.CheckPosition():
                self.start(("check", trade.id), self._check_position(trade))
            case commands.ReadBook(rules=rules):
                self.start(("book", trade.id), self._read_book(trade, rules))
            case commands.ReadCover():
                self.start(("cover", trade.id), self._read_cover(trade))
            case commands.CancelForeign(alert=alert):
                self.start(("foreign", trade.id), self._cancel_foreign(trade, alert))
            case commands.CompareTrails(old=old, new=new):
                self.start(("trails", old), self._compare_trails(trade, old, new))
            case commands.Account():
                self.start(("account", trade.id), self._account(trade))
            case commands.WakeAt(at=at):
                self._wake(trade.id, at)
            case commands.Alert():
                self._teller.alert(command, trade)
            case commands.StopEntries(reason=reason):
                self._tools.stop_entries(reason)

    def _start_sending(self, trade: Trade, order: Order) -> None:
        key = ("send", order.client_order_id, str(order.transmissions))
        if order.role in _RECORDED_FIRST or order.is_plain_close:
            send = self.parts.send if order.role is OrderRole.ENTRY else self._send_recorded
            self._tools.background.soon(lambda: self.start(key, send(trade.id, order)))  # behind its record
        else:
            self.start(key, self._send(trade.id, order))

    def start(self, key: tuple[str, ...], job: Coroutine[None, None, object]) -> None:
        """Run ``job`` unless the same one is running."""
        if key in self._jobs:
            job.close()
            return
        task = self._tools.background.start(job)
        self._jobs[key] = task
        task.add_done_callback(lambda done: self._jobs.pop(key, None) if self._jobs.get(key) is done else None)

    async def _send(self, trade_id: str, order: Order) -> None:
        self._placed(trade_id, order, await transmit(self._tools.client, order))

    async def _send_recorded(self, trade_id: str, order: Order) -> None:
        """Sent once: what asks for it is on record before it leaves, whatever happens then."""
        placement: Placement
        try:
            await self._tools.trades.settled()
            if order.is_plain_close:
                placement = await send_plain(self._tools.evidence, self.trade(trade_id), order)
            else:
                placement, _ = await self.once.send(trade_id, order, lambda: None)
        except StoreUnavailable as error:
            placement = NeverSent(reason=f"it could not be recorded: {error}")
        self._placed(trade_id, order, placement)

    def _placed(self, trade_id: str, order: Order, placement: Placement) -> None:
        at, order_id = self._tools.clock.now(), order.client_order_id
        self.learn(trade_id, facts.Placed(at=at, client_order_id=order_id, placement=placement))

    async def _cancel(self, trade: Trade, client_order_id: str) -> None:
        placement = await cancel(self._tools.client, trade.asset, client_order_id)
        at = self._tools.clock.now()
        self.learn(trade.id, facts.CancelAnswered(at=at, client_order_id=client_order_id, placement=placement))

    async def _query(self, trade: Trade, client_order_id: str, delay_s: float) -> None:
        order = trade.order(client_order_id)
        if order is None:
            return
        if delay_s:
            await self._tools.clock.sleep(delay_s)
        fact = await self._until_read(lambda: self._tools.evidence.resolve(trade, order, lambda: self.active))
        # the job ends before the desk sees the fact, so that it may ask again
        self._jobs.pop(("query", client_order_id), None)
        self.learn(trade.id, fact)

    async def _look_again(self, trade: Trade, entry: Order) -> bool:
        """Whether an entry that was given up has turned up."""
        found = await self._until_read(lambda: look_again(self._tools.evidence, trade, entry, lambda: self.active))
        for fact in found:
            self.learn(trade.id, fact)
        return bool(found)

    async def _check_position(self, trade: Trade, maybe_sent: Sequence[str] = ()) -> None:
        tell = functools.partial(self.learn, trade.id)
        learned = await self._until_read(lambda: self._tools.evidence.position_then_orders(trade, maybe_sent, tell))
        self._looks_until.pop(trade.id, None)
        self._jobs.pop(("check", trade.id), None)
        for fact in learned:
            if isinstance(fact, facts.PositionShown):
                is_as_left = is_untouched(self._active.get(trade.id), self.active, fact)
                self._untouched[trade.id] = fact.transmissions_before if is_as_left else -1
                if maybe_sent and fact.quantity and not is_as_left:
                    self.start(("look", trade.id), self._look_on(trade, maybe_sent))
            self.learn(trade.id, fact)

    async def _look_on(self, trade: Trade, maybe_sent: Sequence[str]) -> None:
        tell = functools.partial(self.learn, trade.id)
        await self._tools.evidence.look_on(trade, maybe_sent, tell)
        self._go_on(trade.id, ("look", trade.id))

    async def _read_book(self, trade: Trade, rules: bool) -> None:
        self._room = await self._until_read(lambda: self._tools.market.exit_room(self.asset, anew=rules))
        self._go_on(trade.id, ("book", trade.id))

    async def _read_cover(self, trade: Trade) -> None:
        cover = await self._until_read(lambda: read_cover(self._tools.evidence, trade))
        self._covers[trade.id] = cover
        self._go_on(trade.id, ("cover", trade.id))

    async def _cancel_foreign(self, trade: Trade, alert: commands.Alert) -> None:
        if (cover := self._covers.get(trade.id)) is None:
            return
        self._teller.alert(alert, trade)
        left = await cancel_covering(self._tools.client, cover, self._tools.clock)
        self._covers[trade.id] = left
        self._go_on(trade.id, ("foreign", trade.id))

    async def _compare_trails(self, trade: Trade, old_id: str, new_id: str) -> None:
        if await is_as_tight_or_pause(self._tools.evidence, trade.order(old_id), trade.order(new_id)):
            self._relieved.add(old_id)
        self._go_on(trade.id, ("trails", old_id))

    def _go_on(self, trade_id: str, job: tuple[str, ...]) -> None:
        self._jobs.pop(job, None)
        self.learn(trade_id, facts.Ticked(at=self._tools.clock.now()))

    async def _account(self, trade: Trade) -> None:
        late = [await self._look_again(trade, entry) for entry in doubtful_entries(trade)]
        if any(late):  # there is more to account for
            self._jobs.pop(("account", trade.id), None)
            return
        fact = await self._until_read(lambda: account_for(self._tools.evidence, trade))
        self._jobs.pop(("account", trade.id), None)
        self.learn(trade.id, fact)
        if trade.externally_reduced > ZERO:
            self.question_given_up()  # nobody else may have taken it, but an entry of ours on the other side (U10)

    async def _until_read(self, read: Callable[[], Awaitable[_T]]) -> _T:
        return await until_read(read, self.asset, self._tools.clock, self._tools.randomness)

    def _wake(self, trade_id: str, at: datetime) -> None:
        """Tick the trade at ``at``, unless an earlier tick is set; it sets the next one itself."""
        if (earlier := self._wakes.get(trade_id)) is not None and earlier <= at:
            return
        self._wakes[trade_id] = at
        self.start(("wake", trade_id, at.isoformat()), self._tick(trade_id, at))

    async def _tick(self, trade_id: str, at: datetime) -> None:
        await self._tools.clock.sleep((at - self._tools.clock.now()).total_seconds())
        # a trade that has ended meanwhile has no wake any more, and may have left memory
        if self._wakes.get(trade_id) == at:
            del self._wakes[trade_id]
            # the job ends before the desk ticks: a clock that is still a moment early asks for the same time again
            self._go_on(trade_id, ("wake", trade_id, at.isoformat()))
