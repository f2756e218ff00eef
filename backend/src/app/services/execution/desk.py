"""A desk: everything that happens to one asset of one account, one message at a time.

Replies, stream events, timers and decisions all arrive in one mailbox, so the cooldown, "one entry per decision" and
"sibling gone before the next entry" need no lock. The desk folds facts into its trades, lets the pure code decide,
hands the record to the writer and runs the commands. Reading, sending and committing run beside it, and report facts.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

import structlog

from app.domain.errors import IllegalTransition
from app.domain.money import ZERO
from app.domain.reports import PositionReport
from app.domain.trades import CloseReason, Trade
from app.services.execution import commands, facts
from app.services.execution.adjuster import Adjuster
from app.services.execution.command_runner import CommandRunner
from app.services.execution.covering import is_at_rest
from app.services.execution.desk_tools import Adjust, DeskTools, Enter, Learn, Message
from app.services.execution.entry_flow import EntryFlow
from app.services.execution.exits import unrecorded_exits
from app.services.execution.exposures import exposure_for
from app.services.execution.folding import fold
from app.services.execution.late_fills import questionable_entries
from app.services.execution.mailbox import Mailbox
from app.services.execution.outcomes import internal_error, refusal_of
from app.services.execution.part_flow import PartFlow
from app.services.execution.planning import EntryWish
from app.services.execution.risk import Exposure, notional_of
from app.services.execution.send_time import SendTime
from app.services.execution.sent_once import SentOnce
from app.services.execution.telling import Teller
from app.services.execution.transitions import decide
from app.services.execution.unexplained import surplus

log = structlog.get_logger(__name__)

_KEPT_ENDED_TRADES = 32


class Desk:
    """The single writer of one asset's trades."""

    def __init__(self, asset: str, tools: DeskTools, last_activity: datetime | None) -> None:
        self.asset = asset
        self._tools = tools
        self._mailbox: Mailbox[Message] = Mailbox()
        self._active: dict[str, Trade] = {}
        self._ended: OrderedDict[str, Trade] = OrderedDict()
        self._last_activity = last_activity
        self._resting: set[str] = set()
        self._is_reachable = False
        self._unrecorded: set[str] = set()
        self._teller = Teller(tools.trades, tools.narrator, tools.background, tools.on_change)
        self.jobs = CommandRunner(self, tools, self._teller)
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
        self.jobs.look(trade, unrecorded_exits(trade))
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

    def take_up_again(self, trade_id: str) -> None:
        """Go on with a trade after a step of ours has broken."""
        trade = self._active.get(trade_id)
        if trade is not None:
            self._take_up(trade)
        elif trade_id in self._ended:
            self.learn(trade_id, facts.Ticked(at=self._tools.clock.now()))

    def verify(self, trade_id: str) -> None:
        """Compare a trade with the exchange: position first, then its unfinished orders."""
        trade = self._active.get(trade_id)
        if trade is not None:
            self.jobs.run(trade, commands.CheckPosition())

    @property
    def known(self) -> tuple[Trade, ...]:
        """Every trade in memory, ended ones included."""
        return (*self._active.values(), *self._ended.values())

    def question_given_up(self, rows: Sequence[PositionReport] | None = None) -> None:
        """Ask again for entries in doubt or given up, of which ``rows`` may tell, the asset's positions (U10, U11)."""
        for trade in self.known:
            for entry in questionable_entries(trade):
                if rows is None or surplus(trade, entry, self.active, rows):
                    self.jobs.question(trade, entry)

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
            if isinstance(message, Learn):
                self._attempt(functools.partial(self._learn, message, touched), message.trade_id)
            else:
                wishes.append(message)
        for trade_id, trade in touched.items():
            before = self.trade(trade_id)
            if before is not None:
                self._attempt(functools.partial(self._advance, before, trade), trade_id)
        for wish in wishes:  # judged by all that is known
            self._begin_with(wish)

    def _attempt(self, step: Callable[[], None], trade_id: str) -> None:
        """Make a step; should it break, nothing but its trade has to do with that."""
        if not self._tools.background.attempt(step):
            self.jobs.doubt(trade_id)

    def _learn(self, message: Learn, touched: dict[str, Trade]) -> None:
        trade_id, fact = message.trade_id, message.fact
        trade = touched.get(trade_id) or self.trade(trade_id)
        if trade is None:
            log.warning("desk.unknown_trade", asset=self.asset, trade_id=trade_id)
            return
        folded = self._fold(trade, fact)
        if isinstance(fact, facts.EntrySent) and trade_id not in touched:
            self._keep(folded)
            self._teller.note(trade, folded)
        else:
            touched[trade_id] = folded

    def _begin_with(self, message: Enter | Adjust) -> None:
        """Assess a wish and begin with it; should a step of ours break, its asset ends with that (scenario C9)."""

        def begin() -> None:
            if isinstance(message, Enter):
                self._entries.enter(message, self._ended.values())
            else:
                self._adjuster.adjust(message, self.exposure(message.wish))

        if not self._tools.background.attempt(begin):
            self._tools.on_refused(message.wish, refusal_of(internal_error()))
            for trade in self.active:
                self.jobs.doubt(trade.id)

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
        try:
            step = decide(folded, self.jobs.moment(folded), tools.policy.protection)
        except IllegalTransition as error:
            text = f"{self.asset}: trade {before.id} can't go on by itself ({error}); look at the exchange"
            self._teller.alert(commands.Alert(commands.Severity.CRITICAL, "contradiction", text), before)
            return
        after = step.trade
        self._keep(after)
        for command in step.commands:
            self.jobs.run(after, command)
        if after is not before and after != before:
            (self._teller.note if after.id in self._unrecorded else self._teller.changed)(before, after)

    def _keep(self, trade: Trade) -> None:
        if trade.is_ended:
            self._active.pop(trade.id, None)
            self._keep_ended(trade)
            self.jobs.ended(trade.id)
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
