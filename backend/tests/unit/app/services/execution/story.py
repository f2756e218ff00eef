"""One trade, told fact by fact: a driver without network that keeps what the state machine asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TypeVar

from app.domain.errors import Refusal
from app.domain.ids import OrderRole
from app.domain.instruments import Instrument, LotRule
from app.domain.money import ZERO
from app.domain.orders import Order, OrderState, OrderTrigger
from app.domain.policy import AccountPolicy, ProtectionPolicy
from app.domain.reports import (
    Accepted,
    AccountReport,
    BookTicker,
    ExchangeOrderStatus,
    FillReport,
    LeverageBracket,
    MarkPrice,
    NeverSent,
    OrderBook,
    OrderReport,
    Placement,
    PositionSide,
    Refused,
    RequestStamp,
    Unknown,
)
from app.domain.trades import Adjustment, AdjustmentKind, CloseReason, Leg, Trade, TradeError, TradeTrigger
from app.schemas.decision import AssetDecision
from app.services.execution import facts
from app.services.execution.adjusting import next_key, reduction
from app.services.execution.commands import Alert, Cancel, Command, Send, WakeAt
from app.services.execution.folding import fold
from app.services.execution.foreign_cover import ForeignCover
from app.services.execution.means import Means
from app.services.execution.planning import EntryWish, MarketView, new_trade, plan_entry
from app.services.execution.protection import Moment
from app.services.execution.slices import ExitRoom
from app.services.execution.transitions import Step, decide

START = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
TRADE_ID = "06ex5tn9g0000000abcd"
MARK = Decimal(96000)
STOP = Decimal(94000)
TARGET = Decimal(99000)
WHOLE = Decimal("0.010")

CommandT = TypeVar("CommandT", bound=Command)

BITCOIN = Instrument(
    symbol="BTCUSDT",
    status="TRADING",
    base_asset="BTC",
    quote_asset="USDT",
    margin_asset="USDT",
    tick_size=Decimal("0.1"),
    minimum_price=Decimal(1),
    maximum_price=Decimal(1000000),
    lot=LotRule(minimum=Decimal("0.001"), maximum=Decimal(1000), step=Decimal("0.001")),
    market_lot=LotRule(minimum=Decimal("0.001"), maximum=Decimal(120), step=Decimal("0.001")),
    minimum_notional=Decimal(5),
    percent_up=Decimal("1.02"),
    percent_down=Decimal("0.98"),
    market_take_bound=Decimal("0.05"),
    trigger_protect=Decimal("0.02"),
    maximum_orders=200,
    maximum_algo_orders=10,
    order_types=frozenset({"MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"}),
    times_in_force=frozenset({"GTC", "IOC"}),
)

DEEP_BOOK = OrderBook(
    symbol="BTCUSDT",
    bids=((Decimal(95999), Decimal(1)),),
    asks=((Decimal(96001), Decimal(1)),),
    time=START,
)


def market(instrument: Instrument = BITCOIN, mark: Decimal = MARK) -> MarketView:
    """The market at one price."""
    price = MarkPrice(
        symbol=instrument.symbol,
        mark_price=mark,
        index_price=mark,
        funding_rate=ZERO,
        next_funding_at=None,
        time=START,
    )
    return MarketView(instrument=instrument, mark=price)


def quote(price: Decimal = MARK) -> BookTicker:
    """Best prices around one price."""
    tick, one = Decimal("0.1"), Decimal(1)
    return BookTicker(
        symbol="BTCUSDT", bid_price=price - tick, bid_quantity=one, ask_price=price, ask_quantity=one, time=START
    )


PLENTY = Means(
    account=AccountReport(
        wallet_balance=Decimal("1e9"),
        unrealised_pnl=ZERO,
        margin_balance=Decimal("1e9"),
        initial_margin=ZERO,
        maintenance_margin=ZERO,
        available_balance=Decimal("1e9"),
        can_trade=True,
    ),
    is_isolated=False,
    taker_fee=Decimal("0.0005"),
    brackets=(
        LeverageBracket(
            notional_floor=ZERO,
            notional_cap=Decimal("1e12"),
            maximum_leverage=125,
            maintenance_rate=Decimal("0.004"),
            cumulative=ZERO,
        ),
    ),
)
"""The means of an account that can afford everything."""


def wish(**changes: object) -> EntryWish:
    """A long of 0.010 BTC with both exits; a short where ``action="sell"`` (its exits swapped); or another action."""
    values: dict[str, object] = {"asset": "BTCUSDT", "action": "buy"}
    if changes.get("action", "buy") in ("buy", "sell"):
        values |= {"allocation_usd": "960", "leverage": 10, "sl_price": STOP, "tp_price": TARGET}
    if changes.get("action") == "sell":
        values |= {"sl_price": TARGET, "tp_price": STOP}
    item = AssetDecision.model_validate(values | changes)
    return EntryWish(decision_id="d-1", item=item, decided_at=START, received_at=START)


def submitted(
    policy: ProtectionPolicy | None = None, position_side: PositionSide = PositionSide.BOTH, **changes: object
) -> Trade:
    """A trade whose entry was just handed to the network."""
    account = AccountPolicy(account_id="default", is_paper=True, protection=policy or ProtectionPolicy())
    plan = plan_entry(wish(**changes), market(), 10, account)
    trade = new_trade(plan, trade_id=TRADE_ID, account_id="default", position_side=position_side, now=START)
    stamp = RequestStamp(value=1, dead_after=START + timedelta(seconds=65))
    entry = replace(trade.entry.after(OrderTrigger.SUBMIT, START), stamp=stamp)
    return trade.with_order(entry).after(TradeTrigger.SUBMIT)


def brief(told: facts.Fact | Command) -> str:
    """A fact or a command in a few words, for the log of a life that failed."""
    words = [type(told).__name__]
    if isinstance(told, Send):
        words += [str(told.order.key)[-2:], str(told.order.quantity), f"sent {told.order.transmissions}"]
    for name in ("client_order_id", "quantity", "reason", "code"):
        words += [str(getattr(told, name))[-12:]] if hasattr(told, name) else []
    placement = getattr(told, "placement", None)
    report = getattr(placement, "report", None) or getattr(told, "report", None)
    if report is not None:
        words += [report.client_order_id[-2:], report.status_text, f"{report.executed_quantity}"]
    elif placement is not None:
        words += [type(placement).__name__, str(getattr(placement, "family", ""))]
    return " ".join(words)


@dataclass
class Story:
    """Feeds facts at a hand-moved time; ``asked`` holds the commands of the last step, ``told`` of all."""

    trade: Trade = field(default_factory=submitted)
    policy: ProtectionPolicy = field(default_factory=ProtectionPolicy)
    now: datetime = START
    chance: float = 1.0
    asked: tuple[Command, ...] = ()
    told: list[Command] = field(default_factory=list)
    fills: dict[int, FillReport] = field(default_factory=dict)
    book: OrderBook | None = DEEP_BOOK
    """What a look at the book shows; None when it can't be read."""
    cover: ForeignCover | None = None
    """What a look at the orders of others shows; None while it can't be read."""
    relieved: frozenset[str] = frozenset()
    """Trailing stops than which a newer one is as tight."""
    looks_until: datetime | None = None
    is_behind: bool = False
    """For how long at most a desk would look for what a dead process may have sent."""
    is_untouched: bool = True
    """Whether a read shows the position as our executions left it, so that nobody else holds the same side."""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    # --- driving ----------------------------------------------------------------------------------------------------

    def learn(self, fact: facts.Fact) -> tuple[Command, ...]:
        """Take one fact in."""
        return self._take(decide(fold(self.trade, fact), self._moment(), self.policy))

    def decide(self) -> tuple[Command, ...]:
        """Decide again without a new fact."""
        return self._take(decide(self.trade, self._moment(), self.policy))

    def _moment(self) -> Moment:
        room = ExitRoom(instrument=BITCOIN, mark=MARK, book=self.book, at=self.now) if self.book else None
        return Moment(
            now=self.now,
            chance=self.chance,
            instrument=BITCOIN,
            room=room,
            cover=replace(self.cover, at=self.now) if self.cover else None,
            looks_until=self.looks_until,
            is_behind=self.is_behind,
            is_untouched=self.is_untouched,
            relieved=self.relieved,
        )

    def _take(self, step: Step) -> tuple[Command, ...]:
        self.trade, self.asked = step.trade, step.commands
        self.told += step.commands
        return step.commands

    def wait(self, seconds: float) -> tuple[Command, ...]:
        """Let time pass, and tick."""
        self.now += timedelta(seconds=seconds)
        return self.learn(facts.Ticked(at=self.now))

    def wake(self) -> tuple[Command, ...]:
        """Let time pass until the earliest wake-up that the last step asked for, and tick."""
        at = min(command.at for command in self.asked if isinstance(command, WakeAt))
        self.now = max(self.now, at)
        return self.learn(facts.Ticked(at=self.now))

    # --- what came of it --------------------------------------------------------------------------------------------

    def all(self, kind: type[CommandT]) -> list[CommandT]:
        """The last step's commands of one kind."""
        return [command for command in self.asked if isinstance(command, kind)]

    def sent(self, role: OrderRole | None = None) -> list[Order]:
        """Orders that the last step wants sent."""
        return [command.order for command in self.all(Send) if role is None or command.order.role is role]

    @property
    def canceled(self) -> list[str]:
        """Ids that the last step wants canceled."""
        return [command.client_order_id for command in self.all(Cancel)]

    @property
    def alerts(self) -> list[str]:
        """Codes of all alerts so far."""
        return [command.code for command in self.told if isinstance(command, Alert)]

    def latest(self, role: OrderRole) -> Order:
        """The newest order of a role."""
        order = self.trade.latest(role)
        assert order is not None
        return order

    @property
    def entry(self) -> Order:
        return self.trade.entry

    @property
    def stop(self) -> Order:
        return self.latest(OrderRole.STOP_LOSS)

    @property
    def target(self) -> Order:
        return self.latest(OrderRole.TAKE_PROFIT)

    @property
    def close(self) -> Order:
        return self.latest(OrderRole.CLOSE)

    # --- facts ------------------------------------------------------------------------------------------------------

    def report(
        self,
        order: Order,
        status: ExchangeOrderStatus = ExchangeOrderStatus.NEW,
        executed: Decimal | str = ZERO,
        price: Decimal = MARK,
        *,
        is_triggered: bool = False,
    ) -> OrderReport:
        """The order as the exchange would describe it."""
        executed = Decimal(executed)
        kind = order.request.type.value
        return OrderReport(
            symbol=order.request.symbol,
            order_id=self.order_id(order),
            client_order_id=order.client_order_id,
            status=status,
            status_text=status.value,
            type_text="MARKET" if is_triggered else kind,
            original_type_text=kind,
            side=order.request.side,
            position_side=order.request.position_side,
            price=order.request.price or ZERO,
            stop_price=order.request.stop_price or ZERO,
            average_price=price if executed else ZERO,
            original_quantity=order.quantity,
            executed_quantity=executed,
            reduce_only=order.request.reduce_only,
            close_position=False,
            updated_at=self.now,
        )

    @staticmethod
    def order_id(order: Order) -> int:
        """The exchange's number of an order, always the same for one id."""
        roles = list(OrderRole)
        return 1000 * (roles.index(order.role) + 1) + order.key.attempt

    def fill(self, order: Order, quantity: Decimal | str, price: Decimal = MARK) -> FillReport:
        """A new execution of an order."""
        number = next(self._numbers)
        self.fills[number] = FillReport(
            symbol=order.request.symbol,
            exchange_trade_id=number,
            order_id=self.order_id(order),
            client_order_id=order.client_order_id,
            side=order.request.side,
            position_side=order.request.position_side,
            price=price,
            quantity=Decimal(quantity),
            commission=Decimal("0.01"),
            commission_asset="USDT",
            realised_pnl=ZERO,
            is_maker=False,
            time=self.now,
        )
        return self.fills[number]

    def taken_by_hand(self, quantity: Decimal | str) -> FillReport:
        """An execution of somebody else's order against our position."""
        fill = replace(self.fill(self.trade.entry, quantity), order_id=77, client_order_id=None)
        self.fills[fill.exchange_trade_id] = replace(fill, side=self.trade.side.exit_side)
        return self.fills[fill.exchange_trade_id]

    def answer(self, order: Order, placement: Placement, error: TradeError | None = None) -> tuple[Command, ...]:
        """The reply to a placement."""
        return self.learn(
            facts.Placed(
                at=self.now,
                client_order_id=order.client_order_id,
                placement=placement,
                error=error,
            )
        )

    def accept(
        self,
        order: Order,
        status: ExchangeOrderStatus = ExchangeOrderStatus.NEW,
        executed: Decimal | str = ZERO,
    ) -> tuple[Command, ...]:
        """The exchange took the order."""
        return self.answer(order, Accepted(report=self.report(order, status, executed)))

    def refuse(self, order: Order, family: Refusal, code: int | None = None) -> tuple[Command, ...]:
        """The exchange refused the order."""
        return self.answer(order, Refused(family=family, code=code, message=f"no: {family.value}"))

    def lose(self, order: Order) -> tuple[Command, ...]:
        """Nobody said what became of the placement."""
        stamp = RequestStamp(value=1, dead_after=self.now + timedelta(seconds=65))
        return self.answer(order, Unknown(reason="timeout", stamp=stamp))

    def never_sent(self, order: Order, error: TradeError | None = None) -> tuple[Command, ...]:
        """Nothing left this machine."""
        return self.answer(order, NeverSent(reason="no connection"), error)

    def stream(
        self,
        order: Order,
        status: ExchangeOrderStatus = ExchangeOrderStatus.NEW,
        executed: Decimal | str = ZERO,
        part: Decimal | str | None = None,
        *,
        is_triggered: bool = False,
    ) -> tuple[Command, ...]:
        """The stream describes the order; ``part`` is the execution that caused the event."""
        fill = self.fill(order, part) if part is not None else None
        report = self.report(order, status, executed, is_triggered=is_triggered)
        return self.learn(facts.OrderStreamed(at=self.now, report=report, fill=fill))

    def query(
        self,
        order: Order,
        status: ExchangeOrderStatus = ExchangeOrderStatus.NEW,
        executed: Decimal | str = ZERO,
    ) -> tuple[Command, ...]:
        """A query describes the order."""
        return self.learn(facts.OrderQueried(at=self.now, report=self.report(order, status, executed)))

    def absent(self, order: Order) -> tuple[Command, ...]:
        """Proven never to have been placed."""
        return self.learn(
            facts.OrderAbsent(at=self.now, client_order_id=order.client_order_id, transmissions=order.transmissions)
        )

    def cancel_answer(self, order: Order, placement: Placement) -> tuple[Command, ...]:
        """The reply to a cancellation."""
        fact = facts.CancelAnswered(at=self.now, client_order_id=order.client_order_id, placement=placement)
        return self.learn(fact)

    def confirm_cancel(self, order: Order, executed: Decimal | str = ZERO) -> tuple[Command, ...]:
        """The exchange confirms a cancellation."""
        report = self.report(order, ExchangeOrderStatus.CANCELED, executed)
        return self.cancel_answer(order, Accepted(report=report))

    def show_position(self, quantity: Decimal | str) -> tuple[Command, ...]:
        """The exchange's position, read with everything known so far."""
        fact = facts.PositionShown(
            at=self.now,
            quantity=Decimal(quantity),
            entered_before=self.trade.entered_quantity,
            transmissions_before=self.trade.transmissions,
        )
        return self.learn(fact)

    def ask_close(self, reason: CloseReason = CloseReason.MANUAL) -> tuple[Command, ...]:
        """Somebody wants out."""
        return self.learn(facts.CloseAsked(at=self.now, reason=reason))

    def adjust(
        self,
        kind: AdjustmentKind,
        quantity: Decimal | str = ZERO,
        *,
        legs: tuple[Leg, ...] = (),
        drops: tuple[OrderRole, ...] = (),
        decision_id: str = "d-2",
    ) -> Order | None:
        """A decision changes the trade; returns the order that is on its way because of it."""
        quantity, order = Decimal(quantity), None
        stamp = RequestStamp(value=2, dead_after=self.now + timedelta(seconds=65))
        if kind is AdjustmentKind.DECREASE:
            order = reduction(self.trade, next_key(self.trade, OrderRole.REDUCE), quantity)
        elif kind is not AdjustmentKind.EXITS:
            key = next_key(self.trade, OrderRole.ENTRY)
            request = replace(self.trade.entry.request, quantity=quantity, client_order_id=str(key))
            order = Order(key=key, request=request)
        if order is not None:
            order = replace(order.after(OrderTrigger.SUBMIT, self.now), stamp=stamp)
        adjustment = Adjustment(
            decision_id=decision_id,
            kind=kind,
            received_at=self.now,
            asked_at=self.now,
            reference_price=MARK,
            quantity=quantity,
            client_order_id=order.client_order_id if order else None,
            legs=legs,
            drops=drops,
        )
        self.learn(facts.AdjustmentAsked(at=self.now, adjustment=adjustment, order=order))
        return order

    def moved(self, role: OrderRole, price: Decimal | str) -> Leg:
        """The trade's exit of that role at another price."""
        leg = self.trade.leg(role)
        assert leg is not None
        return replace(leg, trigger_price=Decimal(price), attempts=0, retry_at=None)

    def account(self, overshoot: Decimal | str = ZERO) -> tuple[Command, ...]:
        """The exchange's books: every execution of the trade's orders, filled up where the stream told less."""
        for order in self.trade.orders:
            known = sum((fill.quantity for fill in self.fills.values() if fill.order_id == self.order_id(order)), ZERO)
            if order.executed_quantity > known:
                self.fill(order, order.executed_quantity - known)
        fills, funding = tuple(self.fills.values()), Decimal("-0.5")
        return self.learn(facts.Accounted(at=self.now, fills=fills, funding=funding, overshoot=Decimal(overshoot)))

    # --- chapters ---------------------------------------------------------------------------------------------------

    def fill_entry(self, executed: Decimal | str = WHOLE) -> Story:
        """The reply says that the entry is filled."""
        executed = Decimal(executed)
        is_whole = executed == self.entry.quantity
        status = ExchangeOrderStatus.FILLED if is_whole else ExchangeOrderStatus.PARTIALLY_FILLED
        self.accept(self.entry, status, executed)
        return self

    def protect(self) -> Story:
        """Filled, and both exits acknowledged."""
        self.fill_entry()
        for order in self.sent():
            self.accept(order)
        return self

    def book_entry(self) -> Story:
        """The execution of the entry, as the exchange booked it."""
        fill = self.fill(self.entry, self.entry.executed_quantity)
        self.learn(facts.FillsBooked(at=self.now, fills=(fill,)))
        return self

    def clean(self) -> Story:
        """Confirm every cancellation asked for, until there is none."""
        while live := [order for order in self.trade.orders if order.state is OrderState.CANCELING]:
            for order in live:
                self.confirm_cancel(order)
        return self
