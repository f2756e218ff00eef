"""A small exchange, a bad network, a restless human and a process that dies: the world that a trade must survive.

Everything happens on a virtual clock and from one seed. The exchange is honest; what goes wrong is what lies between:
requests that never arrive, arrive late or whose reply is lost, stream events that are dropped, doubled or reordered.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random

from story import MARK, START, STOP, Story, brief

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.reports import (
    Accepted,
    ExchangeOrderStatus,
    FillReport,
    NeverSent,
    OrderReport,
    Placement,
    Refused,
    RequestStamp,
    Side,
    Unknown,
)
from app.domain.trades import AdjustmentKind, CloseReason, Leg, TradeStatus
from app.services.execution import commands, facts

X = ExchangeOrderStatus
SENT_ONCE = (OrderRole.ENTRY, OrderRole.REDUCE)
PROTECTIVE = (OrderRole.STOP_LOSS, OrderRole.TAKE_PROFIT)
STEP = Decimal("0.001")
CHAOS_S = 40.0
END_S = 400.0
FENCE_S = 8.0
REPLY_TIMEOUT_S = 3.0
LATEST_ARRIVAL_S = 6.0
RECONCILE_S = 5.0
SETTLED_S = 65.0


@dataclass
class Resting:
    """An order as the exchange has it."""

    order: Order
    number: int
    status: X = X.NEW
    executed: Decimal = ZERO
    is_triggered: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in (X.NEW, X.PARTIALLY_FILLED)

    def report(self, at: datetime) -> OrderReport:
        request = self.order.request
        return OrderReport(
            symbol=request.symbol,
            order_id=self.number,
            client_order_id=request.client_order_id,
            status=self.status,
            status_text=self.status.value,
            type_text="MARKET" if self.is_triggered else request.type.value,
            original_type_text=request.type.value,
            side=request.side,
            position_side=request.position_side,
            price=ZERO,
            stop_price=request.stop_price or ZERO,
            average_price=MARK if self.executed else ZERO,
            original_quantity=self.order.quantity,
            executed_quantity=self.executed,
            reduce_only=request.reduce_only,
            close_position=False,
            updated_at=at,
        )


@dataclass
class World:
    """One trade in it. ``held`` is the position in the trade's direction."""

    seed: int
    is_calm: bool = False
    humans: bool = True
    story: Story = field(default_factory=Story)
    held: Decimal = ZERO
    book: dict[str, Resting] = field(default_factory=dict)
    everything: list[Resting] = field(default_factory=list)
    fills: list[FillReport] = field(default_factory=list)
    by_others: list[FillReport] = field(default_factory=list)
    passed: set[OrderRole] = field(default_factory=set)
    sent_once: list[str] = field(default_factory=list)
    bare_since: float | None = None
    longest_bare_s: float = 0
    orphans: int = 0
    log: list[str] = field(default_factory=list)
    stop_removed_by_us: list[str] = field(default_factory=list)
    _time_s: float = 0
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _life: int = 0
    _jobs: set[tuple[str, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self._time_s)

    @property
    def is_chaos(self) -> bool:
        return not self.is_calm and self._time_s < CHAOS_S

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self._time_s + max(seconds, 0), next(self._numbers), action))

    def run(self) -> None:
        """Live through the chaos and what comes after it."""
        self._execute((commands.Send(self.story.entry),))
        self.later(RECONCILE_S, self._reconcile)
        if not self.is_calm:
            for _ in range(self.chance.randint(0, 4)):
                self.later(self.chance.uniform(0, CHAOS_S), self.chance.choice(self._happenings()))
        while self._queue and self._queue[0][0] <= END_S:
            self._time_s, _, action = heapq.heappop(self._queue)
            action()
            self._watch()

    def _watch(self) -> None:
        """How long a position goes without any stop while it is not being closed."""
        is_bare = (
            self.held > ZERO
            and not any(one.is_open and one.order.role is OrderRole.STOP_LOSS for one in self.book.values())
            and self.story.trade.status is not TradeStatus.CLOSING
        )
        if not is_bare:
            self.bare_since = None
        elif self.bare_since is None:
            self.bare_since = self._time_s
        if self.bare_since is not None:
            self.longest_bare_s = max(self.longest_bare_s, self._time_s - self.bare_since)

    # --- the process ------------------------------------------------------------------------------------------------

    def learn(self, life: int, fact: facts.Fact) -> None:
        """A fact reaches the process, if the one that it was meant for is still alive."""
        if life != self._life:
            return
        self.story.now = self.now
        self.story.chance = self.chance.random()
        self.log.append(f"{self._time_s:8.3f} {brief(fact)}")
        self._execute(self.story.learn(replace(fact, at=self.now)))

    def _execute(self, asked: tuple[commands.Command, ...]) -> None:
        for command in asked:
            self.log.append(f"{self._time_s:8.3f}   -> {brief(command)}")
            match command:
                case commands.Send(order=order):
                    self._send(order)
                case commands.Cancel(client_order_id=order_id):
                    self._once(("cancel", order_id), lambda done, order_id=order_id: self._cancel(order_id, done))
                case commands.Query(client_order_id=order_id, delay_s=delay_s):
                    self._query(order_id, delay_s)
                case commands.Resolve(client_order_id=order_id):
                    self._query(order_id, 0)
                case commands.CheckPosition():
                    self._once(("check",), self._check_position)
                case commands.Account():
                    self._once(("account",), self._account)
                case commands.WakeAt(at=at):
                    self._wake(at)

    def _wake(self, at: datetime) -> None:
        life = self._life
        wait_s = (at - self.now).total_seconds()
        self.later(wait_s, lambda: self.learn(life, facts.Ticked(at=self.now)))

    def _once(self, key: tuple[str, ...], job: Callable[[Callable[[], None]], None]) -> None:
        """Run a job unless the same one is running, as the desk does."""
        if key not in self._jobs:
            self._jobs.add(key)
            life = self._life
            job(lambda: self._jobs.discard(key) if life == self._life else None)

    def _restart(self) -> None:
        """The process dies at this very moment; its record is whole, its errands are forgotten."""
        self._life += 1
        self._jobs.clear()
        life = self._life
        self.later(self.chance.uniform(0.5, 5), lambda: self.learn(life, facts.Restarted(at=self.now)))

    def _reconcile(self) -> None:
        """As the service does it: every open order is news for its trade; what is left behind an ended one goes."""
        for resting in [one for one in self.book.values() if one.is_open]:
            if self.story.trade.is_ended:
                self._remove(resting)
                self.orphans += 1
            else:
                self.learn(self._life, facts.OrderQueried(at=self.now, report=resting.report(self.now)))
        if not self.story.trade.is_ended:
            self._once(("check",), self._check_position)
        self.later(RECONCILE_S, self._reconcile)

    # --- the network ------------------------------------------------------------------------------------------------

    def _delay(self) -> float:
        return self.chance.uniform(0.001, 0.05)

    def _send(self, order: Order) -> None:
        if order.role in SENT_ONCE:
            self.sent_once.append(order.client_order_id)
        life = self._life
        stamp = RequestStamp(value=1, dead_after=self.now + timedelta(seconds=FENCE_S))

        def answer(placement: Placement) -> None:
            fact = facts.Placed(at=self.now, client_order_id=order.client_order_id, placement=placement)
            self.learn(life, fact)

        self._transmit(lambda: self._place(order), answer, stamp)

    def _transmit(self, act: Callable[[], Placement], answer: Callable[[Placement], None], stamp: RequestStamp) -> None:
        luck = self.chance.random() if self.is_chaos else 1.0
        lost = Unknown(reason="timeout", stamp=stamp)
        if luck < 0.06:
            self.later(REPLY_TIMEOUT_S, lambda: answer(lost))
        elif luck < 0.12:
            self.later(self.chance.uniform(0, LATEST_ARRIVAL_S), lambda: act() and None)
            self.later(REPLY_TIMEOUT_S, lambda: answer(lost))
        elif luck < 0.18:
            self.later(self._delay(), lambda: act() and None)
            self.later(REPLY_TIMEOUT_S, lambda: answer(lost))
        elif luck < 0.22:
            self.later(0.001, lambda: answer(NeverSent(reason="no connection")))
        elif luck < 0.30:
            refusal = Refused(family=Refusal.FILTER, code=-4014, message="no")
            self.later(self._delay(), lambda: answer(refusal))
        else:

            def arrive() -> None:
                placement = act()
                wait_s = self.chance.uniform(0, 0.5) if self.is_chaos else self._delay()
                self.later(wait_s, lambda: answer(placement))

            self.later(self._delay(), arrive)

    def _stream(self, resting: Resting, fill: FillReport | None = None) -> None:
        """Tell the process, perhaps late, twice or not at all."""
        report = resting.report(self.now)
        copies = self.chance.choice([0, 1, 1, 1, 2]) if self.is_chaos else 1
        for _ in range(copies):
            life = self._life
            delay_s = self.chance.uniform(0, 1.0) if self.is_chaos else self._delay()
            fact = facts.OrderStreamed(at=self.now, report=report, fill=fill)
            self.later(delay_s, lambda life=life, fact=fact: self.learn(life, fact))

    # --- reads ------------------------------------------------------------------------------------------------------

    def _read(self, act: Callable[[], None]) -> None:
        """A read that may fail; it is then repeated, and says nothing meanwhile."""
        life = self._life

        def attempt() -> None:
            if life != self._life:
                return
            if self.is_chaos and self.chance.random() < 0.2:
                self.later(0.5, attempt)
            else:
                act()

        self.later(self._delay(), attempt)

    def _query(self, order_id: str, delay_s: float) -> None:
        order = self.story.trade.order(order_id)
        assert order is not None
        self._once(("query", order_id), lambda done: self.later(delay_s, lambda: self._resolve(order, done)))

    def _resolve(self, order: Order, done: Callable[[], None]) -> None:
        life = self._life

        def look() -> None:
            found = self.book.get(order.client_order_id)
            fact: facts.Fact
            if found is not None:
                fact = facts.OrderQueried(at=self.now, report=found.report(self.now))
            elif self.now < self._fence(order):
                self.later(0.5, lambda: self._read(look) if life == self._life else None)
                return
            else:
                fact = facts.OrderAbsent(
                    at=self.now, client_order_id=order.client_order_id, transmissions=order.transmissions
                )
            done()
            self.later(self._delay(), lambda: self.learn(life, fact))

        self._read(look)

    def _fence(self, order: Order) -> datetime:
        if order.stamp is not None:
            return order.stamp.dead_after
        return (order.submitted_at or START) + timedelta(seconds=SETTLED_S)

    def _check_position(self, done: Callable[[], None]) -> None:
        life = self._life
        trade = self.story.trade

        def position() -> None:
            held = self.held
            self._read(lambda: orders(held))

        def orders(held: Decimal) -> None:
            learned: list[facts.Fact] = []
            for order in trade.orders:
                found = self.book.get(order.client_order_id)
                if not order.is_final and order.transmissions and found is not None:
                    learned.append(facts.OrderQueried(at=self.now, report=found.report(self.now)))
            shown = facts.PositionShown(
                at=self.now,
                quantity=held * trade.side.sign,
                entered_before=trade.entered_quantity,
                transmissions_before=trade.transmissions,
            )
            learned.append(shown)
            done()
            for fact in learned:
                self.learn(life, fact)

        self._read(position)

    def _account(self, done: Callable[[], None]) -> None:
        life = self._life

        def read() -> None:
            done()
            fact = facts.Accounted(at=self.now, fills=tuple(self.fills), funding=ZERO)
            self.learn(life, fact)

        self._read(read)

    # --- the exchange -----------------------------------------------------------------------------------------------

    def _place(self, order: Order) -> Placement:
        known = self.book.get(order.client_order_id)
        if known is not None and known.is_open:
            return Refused(family=Refusal.DUPLICATE_ID, code=-4116, message="duplicate")
        if order.request.reduce_only and self.held == ZERO:
            return Refused(family=Refusal.REDUCE_ONLY, code=-2022, message="nothing to reduce")
        if order.role in self.passed:
            return Refused(family=Refusal.IMMEDIATE_TRIGGER, code=-2021, message="would trigger at once")
        resting = Resting(order, next(self._numbers))
        self.book[order.client_order_id] = resting
        self.everything.append(resting)
        if order.role not in PROTECTIVE:
            self._match(resting)
        else:
            self._stream(resting)
        return Accepted(report=resting.report(self.now))

    def _match(self, resting: Resting) -> None:
        """A market order: at once, in parts, or in part only."""
        whole = resting.order.quantity
        if resting.order.request.reduce_only:
            whole = min(whole, self.held)
        parts = self.chance.randint(1, 3) if self.is_chaos else 1
        is_cut = self.is_chaos and parts > 1 and self.chance.random() < 0.3
        self._fill_in_parts(resting, whole, parts, is_cut=is_cut)

    def _fill_in_parts(self, resting: Resting, left: Decimal, parts: int, *, is_cut: bool) -> None:
        if resting.order.request.reduce_only:
            left = min(left, self.held)
        if not resting.is_open:
            return
        if left <= ZERO or (is_cut and parts == 1):
            resting.status = X.FILLED if resting.executed == resting.order.quantity else X.EXPIRED
            self._stream(resting)
            return
        part = left if parts == 1 else max(STEP, (left / parts).quantize(STEP, rounding="ROUND_DOWN"))
        self._fill(resting, part)
        rest = left - part
        if resting.executed == resting.order.quantity:
            return
        if rest <= ZERO:
            resting.status = X.EXPIRED
            self._stream(resting)
        else:
            wait_s = self.chance.uniform(0, 0.4)
            self.later(wait_s, lambda: self._fill_in_parts(resting, rest, max(parts - 1, 1), is_cut=is_cut))

    def _fill(self, resting: Resting, quantity: Decimal) -> None:
        is_exit = resting.order.role.is_exit
        self.held += -quantity if is_exit else quantity
        resting.executed += quantity
        is_whole = resting.executed == resting.order.quantity
        resting.status = X.FILLED if is_whole else X.PARTIALLY_FILLED
        fill = self._book_fill(resting.order.request.side, quantity, resting.number, resting.order.client_order_id)
        self.fills.append(fill)
        self._stream(resting, fill)

    def _book_fill(self, side: Side, quantity: Decimal, order_id: int, client_order_id: str | None) -> FillReport:
        return FillReport(
            symbol="BTCUSDT",
            exchange_trade_id=next(self._numbers),
            order_id=order_id,
            client_order_id=client_order_id,
            side=side,
            position_side=self.story.trade.position_side,
            price=MARK,
            quantity=quantity,
            commission=Decimal("0.01"),
            commission_asset="USDT",
            realised_pnl=ZERO,
            is_maker=False,
            time=self.now,
        )

    def _cancel(self, order_id: str, done: Callable[[], None]) -> None:
        life = self._life
        stamp = RequestStamp(value=1, dead_after=self.now)

        def act() -> Placement:
            resting = self.book.get(order_id)
            if resting is None or not resting.is_open or resting.is_triggered:
                return Refused(family=Refusal.ORDER_NOT_FOUND, code=-2011, message="unknown order")
            self._remove(resting)
            is_stop = resting.order.role is OrderRole.STOP_LOSS
            others = [one for one in self.book.values() if one.is_open and one.order.role is OrderRole.STOP_LOSS]
            if is_stop and self.held > ZERO and not others and self.story.trade.status is not TradeStatus.CLOSING:
                self.stop_removed_by_us.append(order_id)
            return Accepted(report=resting.report(self.now))

        def answer(placement: Placement) -> None:
            done()
            self.learn(life, facts.CancelAnswered(at=self.now, client_order_id=order_id, placement=placement))

        self._transmit(act, answer, stamp)

    def _remove(self, resting: Resting) -> None:
        resting.status = X.CANCELED
        self._stream(resting)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _happenings(self) -> list[Callable[[], None]]:
        changes = [self._move_stop, self._move_stop, self._increase, self._decrease]
        calm = [self._restart, self._trigger_stop, self._trigger_target, self._ask_close, *changes]
        return [*calm, self._cancel_by_hand, self._reduce_by_hand, self._close_by_hand] if self.humans else calm

    def _move_stop(self) -> None:
        """A decision moves the stop, if there is still something to protect."""
        if self._is_adjustable():
            price = STOP + self.chance.randint(1, 9)
            self._adjust(AdjustmentKind.EXITS, legs=(self.story.moved(OrderRole.STOP_LOSS, price),))

    def _increase(self) -> None:
        if self._is_adjustable():
            self._adjust(AdjustmentKind.INCREASE, STEP * self.chance.randint(1, 5))

    def _decrease(self) -> None:
        if self._is_adjustable() and self.story.trade.exposure > STEP:
            self._adjust(AdjustmentKind.DECREASE, STEP)

    def _is_adjustable(self) -> bool:
        trade = self.story.trade
        return trade.status in (TradeStatus.PROTECTING, TradeStatus.OPEN) and trade.close_reason is None

    def _adjust(self, kind: AdjustmentKind, quantity: Decimal = ZERO, legs: tuple[Leg, ...] = ()) -> None:
        self.story.now = self.now
        self.log.append(f"{self._time_s:8.3f} {kind.value} {quantity}")
        order = self.story.adjust(kind, quantity, legs=legs, decision_id=f"d-{next(self._numbers)}")
        self._execute(self.story.asked)
        if order is not None:
            self._send(order)

    def _trigger_stop(self) -> None:
        self._trigger(OrderRole.STOP_LOSS)

    def _trigger_target(self) -> None:
        self._trigger(OrderRole.TAKE_PROFIT)

    def _trigger(self, role: OrderRole) -> None:
        """The price passes: EXPIRED, NEW as a market order, fills; and no new order of that role is taken (P1, P8)."""
        if self.passed:
            return
        self.passed.add(role)
        for resting in list(self.book.values()):
            if resting.is_open and resting.order.role is role:
                expired = replace(resting, status=X.EXPIRED)
                self._stream(expired)
                resting.is_triggered = True
                self._stream(resting)
                self._match(resting)

    def _ask_close(self) -> None:
        self.learn(self._life, facts.CloseAsked(at=self.now, reason=CloseReason.MANUAL))

    def _cancel_by_hand(self) -> None:
        live = [one for one in self.book.values() if one.is_open and one.order.role in PROTECTIVE]
        if live:
            victim = self.chance.choice(live)
            if not victim.is_triggered:
                self._remove(victim)

    def _reduce_by_hand(self) -> None:
        if self.held > STEP:
            self._take(STEP * self.chance.randint(1, int(self.held / STEP) - 1))

    def _close_by_hand(self) -> None:
        if self.held > ZERO:
            self._take(self.held)

    def _take(self, quantity: Decimal) -> None:
        self.held -= quantity
        side = self.story.trade.side.exit_side
        self.by_others.append(self._book_fill(side, quantity, next(self._numbers), "web_1"))
