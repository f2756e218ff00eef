"""Strategy orders: orders that place and cancel each other (OTO, OCO, OTOCO; asterdex-facts.md section 4).

A sub-order without a PLACE_ORDER condition is placed at once, the others wait (PENDING) for an event of the
sub-order that drives them. Sub-orders that name no condition get the usual one of their type [I]: the exits of an
OTO and OTOCO are placed when the entry begins to fill, the two sides of an OCO cancel each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aster_sim.core import errors
from aster_sim.core.account import Account
from aster_sim.core.errors import VenueError
from aster_sim.core.intake import parse_order
from aster_sim.core.orders import Order, StrategyTag
from aster_sim.core.state import State

PENDING, REJECTED, REPLACED = "PENDING", "REJECTED", "REPLACED"
WORKING, CANCELED, EXPIRED = "WORKING", "CANCELED", "EXPIRED"
FILLED, ANY_FILL = "FILLED", "PARTIALLY_FILLED_OR_FILLED"
PLACE, CANCEL = "PLACE_ORDER", "CANCEL_ORDER"
SIZES: Mapping[str, int] = {"OTO": 2, "OCO": 2, "OTOCO": 3}
EVENTS = frozenset({"NEW", ANY_FILL, FILLED, CANCELED, REPLACED, "STOPPED", REJECTED, EXPIRED})
MAX_CLIENT_ID = 28
_SECURITY_TYPE = "USDT_FUTURES"
_NOT_PLACED_TIMES = frozenset({"IOC", "FOK"})
_OWN_FIELDS = frozenset(
    {
        "strategySubId",
        "securityType",
        "clientOrderId",
        "firstDrivenId",
        "firstDrivenOn",
        "firstTrigger",
        "secondDrivenId",
        "secondDrivenOn",
        "secondTrigger",
    }
)


@dataclass(frozen=True, slots=True)
class Condition:
    """When sub-order ``driver`` has event ``on``, do ``trigger``."""

    driver: int
    on: str
    trigger: str

    def met_by(self, number: int, event: str) -> bool:
        """Whether an event of a sub-order meets the condition."""
        if number != self.driver:
            return False
        return event == self.on or (self.on == ANY_FILL and event in {FILLED, "PARTIALLY_FILLED"})


@dataclass(slots=True)
class SubOrder:
    """One order of a strategy; ``params`` are those of a placement, ``order_id`` is zero until it is placed."""

    number: int
    params: dict[str, str]
    conditions: list[Condition]
    order_id: int = 0
    status: str = PENDING
    trigger_ms: int = 0

    @property
    def waits(self) -> bool:
        """Whether it has not been placed, and still may be."""
        return not self.order_id and self.status == PENDING


@dataclass(slots=True)
class Strategy:
    """A group of orders; times are milliseconds."""

    strategy_id: int
    account: str
    client_id: str
    kind: str
    created_ms: int
    updated_ms: int
    subs: list[SubOrder] = field(default_factory=list)
    status: str = WORKING
    failure_code: int = 0
    failure_reason: str = ""


PlaceOrder = Callable[[Account, Mapping[str, str], StrategyTag], Order]
CancelOrder = Callable[[Order], None]


class Strategist:
    """Places strategies and lets their orders drive each other."""

    def __init__(self, state: State, place: PlaceOrder, cancel: CancelOrder) -> None:
        self._state = state
        self._place = place
        self._cancel = cancel

    def place(self, account: Account, kind: str, client_id: str, rows: Sequence[Mapping[str, str]]) -> Strategy:
        """Take a strategy and place what is to be placed at once.

        Raises VenueError of the first order that is refused (-4142 where a plain order gets -2021); then none of the
        strategy's orders is left.
        """
        if kind not in SIZES:
            raise errors.BAD_PARAMETER.error(name="strategyType")
        if len(client_id) > MAX_CLIENT_ID:
            raise errors.CLIENT_ID_LENGTH.error()
        if client_id and any(
            row.client_id == client_id and row.status == WORKING for row in account.strategies.values()
        ):
            raise errors.DUPLICATE_CLIENT_ID.error()
        if len(rows) != SIZES[kind]:
            raise errors.BAD_PARAMETER.error(name="subOrderList")
        subs = [_parse(kind, number, row) for number, row in enumerate(rows, start=1)]
        now, strategy_id = self._state.now_ms(), self._state.counters.strategy_id
        self._state.counters.strategy_id += 1
        strategy = Strategy(
            strategy_id,
            account.name,
            client_id or f"sim_{strategy_id}",
            kind,
            created_ms=now,
            updated_ms=now,
            subs=subs,
        )
        account.strategies[strategy_id] = strategy
        try:
            for sub in subs:
                if not any(condition.trigger == PLACE for condition in sub.conditions):
                    self._place_sub(account, strategy, sub)
        except VenueError as refusal:
            self._undo(account, strategy)
            raise _in_strategy(refusal) from refusal
        self._state.changes.strategies[strategy_id] = strategy
        self.react()
        return strategy

    def react(self) -> None:
        """Let the news of the strategies' orders do what they drive, until nothing happens any more."""
        news = self._state.strategy_news
        touched: dict[int, tuple[Account, Strategy]] = {}
        while news:
            tag, account_name, event = news.popleft()
            account = self._state.accounts[account_name]
            strategy = account.strategies.get(tag.strategy_id)
            if strategy is None or strategy.status != WORKING:
                continue
            touched[tag.strategy_id] = account, strategy
            for sub in strategy.subs:
                for condition in sub.conditions:
                    if condition.met_by(tag.number, event):
                        self._act(account, strategy, sub, condition.trigger)
        for account, strategy in touched.values():
            self._conclude(account, strategy)

    def find(self, account: Account, kind: str, strategy_id: int | None, client_id: str | None) -> Strategy:
        """The latest strategy with an id.  Raises -1128 unless exactly one id is named, -2013 when there is none."""
        if (strategy_id is None) == (not client_id):
            raise errors.BAD_COMBINATION.error()
        if kind not in SIZES:
            raise errors.BAD_PARAMETER.error(name="strategyType")
        for strategy in reversed(account.strategies.values()):
            if strategy.kind == kind and (strategy.strategy_id == strategy_id or strategy.client_id == client_id):
                return strategy
        raise errors.NO_SUCH_ORDER.error()

    def _conclude(self, account: Account, strategy: Strategy) -> None:
        """End sub-orders that nothing can place any more, and the strategy when none is left."""
        strategy.updated_ms = self._state.now_ms()
        self._state.changes.strategies[strategy.strategy_id] = strategy
        for sub in strategy.subs:
            drivers = [strategy.subs[row.driver - 1] for row in sub.conditions if row.trigger == PLACE]
            if sub.waits and not any(driver.waits or self._is_open(account, driver) for driver in drivers):
                sub.status = EXPIRED
        if not any(sub.waits or self._is_open(account, sub) for sub in strategy.subs):
            first = strategy.subs[0]
            strategy.status = CANCELED if self.status_of(account, first) == CANCELED else EXPIRED

    def _act(self, account: Account, strategy: Strategy, sub: SubOrder, trigger: str) -> None:
        if trigger == PLACE and sub.waits:
            try:
                self._place_sub(account, strategy, sub)
            except VenueError as refusal:
                known = _in_strategy(refusal)
                sub.status, strategy.failure_code, strategy.failure_reason = REJECTED, known.code, known.msg
                tag = StrategyTag(strategy.strategy_id, sub.number, strategy.kind)
                self._state.strategy_news.append((tag, account.name, REJECTED))
        elif trigger == CANCEL and sub.waits:
            sub.status = CANCELED
        elif trigger == CANCEL and self._is_open(account, sub):
            self._cancel(account.orders[sub.order_id])

    def _place_sub(self, account: Account, strategy: Strategy, sub: SubOrder) -> None:
        tag = StrategyTag(strategy.strategy_id, sub.number, strategy.kind)
        sub.trigger_ms = self._state.now_ms() if any(row.trigger == PLACE for row in sub.conditions) else 0
        sub.order_id = self._place(account, sub.params, tag).order_id

    def _undo(self, account: Account, strategy: Strategy) -> None:
        for sub in strategy.subs:
            if self._is_open(account, sub):
                self._cancel(account.orders[sub.order_id])
        del account.strategies[strategy.strategy_id]

    @staticmethod
    def _is_open(account: Account, sub: SubOrder) -> bool:
        return bool(sub.order_id) and account.orders[sub.order_id].open

    @staticmethod
    def status_of(account: Account, sub: SubOrder) -> str:
        """The status of a sub-order: its order's, once it has one."""
        return account.orders[sub.order_id].status if sub.order_id else sub.status


def _parse(kind: str, number: int, row: Mapping[str, str]) -> SubOrder:
    """A sub-order as it was sent.  Raises -1102, -1130, -1115 (IOC and FOK), and what a plain order is refused with."""
    if row.get("strategySubId") != str(number):
        raise errors.BAD_PARAMETER.error(name="strategySubId")
    if row.get("securityType") != _SECURITY_TYPE:
        raise errors.BAD_PARAMETER.error(name="securityType")
    params = {name: value for name, value in row.items() if name not in _OWN_FIELDS}
    if row.get("clientOrderId"):
        params["newClientOrderId"] = row["clientOrderId"]
    if parse_order(params).time_in_force in _NOT_PLACED_TIMES:
        raise errors.BAD_TIME_IN_FORCE.error()
    conditions = [_condition(kind, row, prefix) for prefix in ("first", "second") if row.get(f"{prefix}DrivenId")]
    return SubOrder(number, params, conditions or _usual(kind, number))


def _condition(kind: str, row: Mapping[str, str], prefix: str) -> Condition:
    driver, on, trigger = row[f"{prefix}DrivenId"], row.get(f"{prefix}DrivenOn", ""), row.get(f"{prefix}Trigger", "")
    known = [str(number) for number in range(1, SIZES[kind] + 1) if str(number) != row["strategySubId"]]
    if driver not in known:
        raise errors.BAD_PARAMETER.error(name=f"{prefix}DrivenId")
    if on not in EVENTS:
        raise errors.BAD_PARAMETER.error(name=f"{prefix}DrivenOn")
    if trigger not in {PLACE, CANCEL}:
        raise errors.BAD_PARAMETER.error(name=f"{prefix}Trigger")
    return Condition(int(driver), on, trigger)


def _usual(kind: str, number: int) -> list[Condition]:
    if kind == "OCO":
        return [Condition(3 - number, ANY_FILL, CANCEL)]
    if number == 1:
        return []
    place = Condition(1, ANY_FILL, PLACE)
    return [place] if kind == "OTO" else [place, Condition(5 - number, ANY_FILL, CANCEL)]


def _in_strategy(refusal: VenueError) -> VenueError:
    """A refusal with the code that it has on the strategy path."""
    return errors.STRATEGY_TRIGGERS.error() if refusal.code == errors.IMMEDIATE_TRIGGER.code else refusal
