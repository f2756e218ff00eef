"""The command runner: what one asset's engine asks for runs beside it, each a job that ends with a fact.

Reading, sending and waiting never hold the desk up. A job that breaks is told of by the supervisor, and its trade is
taken up again after a pause, as after a start: whatever it would have told is asked of the exchange.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from app.domain.errors import StoreUnavailable
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.reports import NeverSent, Placement, Side
from app.domain.trades import Trade
from app.services.execution import commands, facts
from app.services.execution.accounting import account_for
from app.services.execution.desk_tools import DeskTools
from app.services.execution.foreign_cover import ForeignCover
from app.services.execution.late_fills import LOOKS_LATER_S, doubtful_entries, look_again
from app.services.execution.patience import until_read
from app.services.execution.plain_close import cancel_covering, read_cover, send_plain
from app.services.execution.protection import LOOK_FIRST, Moment
from app.services.execution.sending import cancel, transmit
from app.services.execution.slices import ExitRoom
from app.services.execution.telling import Teller
from app.services.execution.trailing import is_as_tight_or_pause
from app.services.execution.unexplained import is_untouched

if TYPE_CHECKING:
    from app.services.execution.desk import Desk

_T = TypeVar("_T")

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_RECORDED_FIRST = (OrderRole.ENTRY, OrderRole.REDUCE, OrderRole.TAKE_BACK)


class CommandRunner:
    """Runs the commands of one desk, and remembers what its reads have shown."""

    def __init__(self, desk: Desk, tools: DeskTools, teller: Teller) -> None:
        self._desk = desk
        self._tools = tools
        self._teller = teller
        self._jobs: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._wakes: dict[str, datetime] = {}
        self._looks_until: dict[str, datetime] = {}
        self._untouched: dict[str, int] = {}
        """How often orders of a trade had been sent when its position was last seen as our executions left it."""
        self._room: ExitRoom | None = None
        self._covers: dict[str, ForeignCover] = {}
        self._relieved: set[str] = set()
        self._failures: dict[str, int] = {}
        self._asked_later: set[str] = set()

    # --- what the desk asks -----------------------------------------------------------------------------------------

    def moment(self, trade: Trade) -> Moment:
        """What a decision about the trade needs to know beside the trade itself."""
        tools = self._tools
        return Moment(
            now=tools.clock.now(),
            chance=tools.randomness.uniform(0, 1),
            instrument=tools.market.instrument(trade.asset),
            room=self._room,
            cover=self._covers.get(trade.id),
            looks_until=self._looks_until.get(trade.id),
            is_behind=("look", trade.id) in self._jobs,
            is_untouched=self._untouched.get(trade.id) == trade.transmissions,
            relieved=frozenset(self._relieved),
        )

    def is_looked_at(self, trade_id: str) -> bool:
        """Whether the exchange is being asked what it holds of a trade."""
        return ("check", trade_id) in self._jobs

    @property
    def looks_later(self) -> bool:
        """Whether an entry that was given up is to be asked for once more."""
        return any(key[0] == "later" for key in self._jobs)

    def look(self, trade: Trade, maybe_sent: Sequence[str]) -> None:
        """Read the position, and the orders of which nobody knows whether they left, before anything is sent anew."""
        self._looks_until[trade.id] = self._tools.clock.now() + LOOK_FIRST
        self.start(("check", trade.id), self._check_position(trade, maybe_sent), trade.id)

    def question(self, trade: Trade, entry: Order) -> None:
        """Ask again for an entry in doubt or given up: now, and once more when even late lists show it."""
        self.start(("late", entry.client_order_id), self._look_again(trade, entry))
        self._ask_later(trade.id, entry)

    def ended(self, trade_id: str) -> None:
        """Forget what was known of a trade."""
        self._wakes.pop(trade_id, None)
        self._covers.pop(trade_id, None)
        self._untouched.pop(trade_id, None)
        self._failures.pop(trade_id, None)

    def doubt(self, trade_id: str) -> None:
        """Take a trade up again in a while, since a step of ours broke: what got lost with it is asked of the exchange.

        The pause grows with each time, up to a minute.
        """
        failures = self._failures.get(trade_id, 0)
        self._failures[trade_id] = failures + 1
        pause_s = min(_FIRST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S)
        self.start(("doubt", trade_id), self._take_up_in(trade_id, pause_s))

    # --- commands ---------------------------------------------------------------------------------------------------

    def run(self, trade: Trade, command: commands.Command) -> None:
        """Begin with a command, unless the same one is being carried out."""
        match command:
            case commands.Send(order=order):
                self._start_sending(trade, order)
            case commands.Cancel(client_order_id=order_id):
                self.start(("cancel", order_id), self._cancel(trade, order_id), trade.id)
            case commands.Query(client_order_id=order_id) | commands.Resolve(client_order_id=order_id):
                self.start(("query", order_id), self._query(trade, order_id, getattr(command, "delay_s", 0)), trade.id)
            case commands.CheckPosition():
                self.start(("check", trade.id), self._check_position(trade), trade.id)
            case commands.ReadBook(rules=rules):
                self.start(("book", trade.id), self._read_book(trade, rules), trade.id)
            case commands.ReadCover(side=side):
                self.start(("cover", trade.id), self._read_cover(trade, side), trade.id)
            case commands.CancelForeign(alert=alert):
                self.start(("foreign", trade.id), self._cancel_foreign(trade, alert), trade.id)
            case commands.CompareTrails(old=old, new=new):
                self.start(("trails", old), self._compare_trails(trade, old, new), trade.id)
            case commands.Account():
                self.start(("account", trade.id), self._account(trade), trade.id)
            case commands.WakeAt(at=at):
                self._wake(trade.id, at)
            case commands.Alert():
                self._teller.alert(command, trade)
            case commands.StopEntries(reason=reason):
                self._tools.stop_entries(reason)

    def _start_sending(self, trade: Trade, order: Order) -> None:
        key = ("send", order.client_order_id, str(order.transmissions))
        if order.role in _RECORDED_FIRST or order.is_plain:
            send = self._desk.parts.send if order.role is OrderRole.ENTRY else self._send_recorded
            self._tools.background.soon(lambda: self.start(key, send(trade.id, order), trade.id))  # behind its record
        else:
            self.start(key, self._send(trade.id, order), trade.id)

    def start(self, key: tuple[str, ...], job: Coroutine[None, None, object], trade_id: str | None = None) -> None:
        """Run ``job`` unless the same one is running; should it break, the trade that it is for is taken up again."""
        if key in self._jobs:
            job.close()
            return
        then = functools.partial(self.doubt, trade_id) if trade_id is not None else None
        task = self._tools.background.start(job, then)
        self._jobs[key] = task
        task.add_done_callback(lambda done: self._jobs.pop(key, None) if self._jobs.get(key) is done else None)

    async def _take_up_in(self, trade_id: str, pause_s: float) -> None:
        await self._tools.clock.sleep(pause_s)
        self._jobs.pop(("doubt", trade_id), None)
        self._desk.take_up_again(trade_id)

    async def _send(self, trade_id: str, order: Order) -> None:
        self._placed(trade_id, order, await transmit(self._tools.client, order))

    async def _send_recorded(self, trade_id: str, order: Order) -> None:
        """Sent once: what asks for it is on record before it leaves, whatever happens then."""
        placement: Placement
        try:
            await self._tools.trades.settled()
            if order.is_plain:
                placement = await send_plain(self._tools.evidence, self._desk.trade(trade_id), order)
            else:
                placement, _ = await self._desk.once.send(trade_id, order, lambda: None)
        except StoreUnavailable as error:
            placement = NeverSent(reason=f"it could not be recorded: {error}")
        self._placed(trade_id, order, placement)

    def _placed(self, trade_id: str, order: Order, placement: Placement) -> None:
        at, order_id = self._tools.clock.now(), order.client_order_id
        self._desk.learn(trade_id, facts.Placed(at=at, client_order_id=order_id, placement=placement))

    async def _cancel(self, trade: Trade, client_order_id: str) -> None:
        placement = await cancel(self._tools.client, trade.asset, client_order_id)
        at = self._tools.clock.now()
        self._desk.learn(trade.id, facts.CancelAnswered(at=at, client_order_id=client_order_id, placement=placement))

    async def _query(self, trade: Trade, client_order_id: str, delay_s: float) -> None:
        order = trade.order(client_order_id)
        if order is None:
            return
        if delay_s:
            await self._tools.clock.sleep(delay_s)
        fact = await self._until_read(lambda: self._tools.evidence.resolve(trade, order, lambda: self._desk.active))
        # the job ends before the desk sees the fact, so that it may ask again
        self._jobs.pop(("query", client_order_id), None)
        self._desk.learn(trade.id, fact)
        if order.role is OrderRole.ENTRY and isinstance(fact, facts.OrderAbsent):
            self._ask_later(trade.id, order)

    async def _look_again(self, trade: Trade, entry: Order) -> bool:
        """Whether an entry that was given up has turned up."""
        found = await self._until_read(
            lambda: look_again(self._tools.evidence, trade, entry, lambda: self._desk.active)
        )
        for fact in found:
            self._desk.learn(trade.id, fact)
        return bool(found)

    def _ask_later(self, trade_id: str, entry: Order) -> None:
        """Once in a process; a position that nobody explains brings the question up again by itself."""
        if entry.client_order_id not in self._asked_later:
            self._asked_later.add(entry.client_order_id)
            self.start(("later", entry.client_order_id), self._look_later(trade_id, entry))

    async def _look_later(self, trade_id: str, entry: Order) -> None:
        """Lists may be later than an entry is waited for; nothing else tells of one that is executed and gone again."""
        await self._tools.clock.sleep(LOOKS_LATER_S)
        trade = self._desk.trade(trade_id)
        if trade is not None:
            await self._look_again(trade, entry)

    async def _check_position(self, trade: Trade, maybe_sent: Sequence[str] = ()) -> None:
        tell = functools.partial(self._desk.learn, trade.id)
        learned = await self._until_read(lambda: self._tools.evidence.position_then_orders(trade, maybe_sent, tell))
        self._looks_until.pop(trade.id, None)
        self._jobs.pop(("check", trade.id), None)
        for fact in learned:
            if isinstance(fact, facts.PositionShown):
                known = next((one for one in self._desk.active if one.id == trade.id), None)
                is_as_left = is_untouched(known, self._desk.active, fact)
                self._untouched[trade.id] = fact.transmissions_before if is_as_left else -1
                if maybe_sent and fact.quantity and not is_as_left:
                    self.start(("look", trade.id), self._look_on(trade, maybe_sent), trade.id)
            self._desk.learn(trade.id, fact)

    async def _look_on(self, trade: Trade, maybe_sent: Sequence[str]) -> None:
        tell = functools.partial(self._desk.learn, trade.id)
        await self._tools.evidence.look_on(trade, maybe_sent, tell)
        self._go_on(trade.id, ("look", trade.id))

    async def _read_book(self, trade: Trade, rules: bool) -> None:
        self._room = await self._until_read(lambda: self._tools.market.exit_room(self._desk.asset, anew=rules))
        self._go_on(trade.id, ("book", trade.id))

    async def _read_cover(self, trade: Trade, side: Side) -> None:
        cover = await self._until_read(lambda: read_cover(self._tools.evidence, trade, side))
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
        self._desk.learn(trade_id, facts.Ticked(at=self._tools.clock.now()))

    async def _account(self, trade: Trade) -> None:
        late = [await self._look_again(trade, entry) for entry in doubtful_entries(trade)]
        if any(late):  # there is more to account for
            self._jobs.pop(("account", trade.id), None)
            return
        fact = await self._until_read(lambda: account_for(self._tools.evidence, trade))
        self._jobs.pop(("account", trade.id), None)
        self._desk.learn(trade.id, fact)
        if trade.externally_reduced > ZERO:
            # nobody else may have taken it, but an entry of ours on the other side (U10)
            self._desk.question_given_up()

    async def _until_read(self, read: Callable[[], Awaitable[_T]]) -> _T:
        return await until_read(read, self._desk.asset, self._tools.clock, self._tools.randomness)

    def _wake(self, trade_id: str, at: datetime) -> None:
        """Tick the trade at ``at``, unless an earlier tick is set; it sets the next one itself."""
        if (earlier := self._wakes.get(trade_id)) is not None and earlier <= at:
            return
        self._wakes[trade_id] = at
        self.start(("wake", trade_id, at.isoformat()), self._tick(trade_id, at), trade_id)

    async def _tick(self, trade_id: str, at: datetime) -> None:
        await self._tools.clock.sleep((at - self._tools.clock.now()).total_seconds())
        # a trade that has ended meanwhile has no wake any more, and may have left memory
        if self._wakes.get(trade_id) == at:
            del self._wakes[trade_id]
            # the job ends before the desk ticks: a clock that is still a moment early asks for the same time again
            self._go_on(trade_id, ("wake", trade_id, at.isoformat()))
