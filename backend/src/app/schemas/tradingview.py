"""An alert of TradingView, which can post a text and nothing else, as a decision (``docs/tradingview.md``)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from app.domain.money import plain
from app.schemas.decision import Action, AssetDecision, TradingDecision
from app.schemas.fields import DecimalText, Leverage, Number, Positive, PositivePercentage, UtcTime
from app.schemas.json_text import invalid, read_object, wrong_fields

_EXCHANGE = re.compile(r"^[A-Z0-9_]+:")
_PERPETUAL = re.compile(r"(\.P|_?PERP)$")
_PLOT = re.compile(r"plot_[0-9]{1,2}")
_ID_HEX = 40
_KEPT = frozenset(
    {
        *("exchange", "interval", "timenow", "bar", "open", "high", "low", "close", "volume", "currency"),
        *("basecurrency", "syminfo", "strategy_name", "name", "note", "description", "order_id", "order_comment"),
        *("comment", "message", "alert_message"),
    }
)
"""What alerts carry beside what we use; it is kept with the record."""
_SYNONYMS = {
    "passphrase": "secret",
    "order_action": "action",
    "order_contracts": "contracts",
    "order_price": "price",
}
_OTHER_SIDE = {"long": "short", "short": "long"}

_PERCENT_DIGITS = Decimal("0.000001")
_NUMBER: TypeAdapter[Decimal] = TypeAdapter(Number)
Position = Literal["long", "short", "flat"]


class TradingViewAlert(BaseModel):
    """The message of an alert, flat or with a block ``strategy``.

    What TradingView offers beside these fields is kept; any other unknown field is refused: a misspelt `sl_price` must
    not leave a position bare.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    secret: SecretStr | None = Field(
        None, description="`TES_WEBHOOK_SECRET`, also as `passphrase`, unless the X-Signature header proves it"
    )
    id: Annotated[DecimalText, Field(pattern=r"^[A-Za-z0-9._:-]{1,60}$")] | None = Field(
        None, description="the idempotency key; made of the whole alert when absent"
    )
    time: UtcTime = Field(description="`{{timenow}}`: old alerts are refused, and two alerts differ by it")
    ticker: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        description="`{{ticker}}`; an exchange in front and `.P` or `PERP` behind are dropped"
    )
    action: Literal["buy", "sell", "close"] = Field(description="`{{strategy.order.action}}`, or `close`")
    market_position: Position | None = Field(
        None,
        description="`{{strategy.market_position}}`: `flat` closes the position; `long` after a sell, or `short` after "
        "a buy, reduces it",
    )
    prev_market_position: Position | None = Field(
        None, description="`{{strategy.prev_market_position}}`: where something else is held, nothing is sent"
    )
    position_size: Any = Field(
        None,
        description="`{{strategy.position_size}}`: the position after the order, below 0 short and 0 flat; says what "
        "`market_position` does, where that is absent",
    )
    market_position_size: Any = Field(
        None, description="`{{strategy.market_position_size}}`; with the one before, how much of it a reduction leaves"
    )
    prev_market_position_size: Any = Field(None, description="`{{strategy.prev_market_position_size}}`")
    contracts: Any = Field(
        None, description="`{{strategy.order.contracts}}`: times `price` the size, where `allocation_usd` is absent"
    )
    price: Any = Field(None, description="`{{strategy.order.price}}`")
    account_id: Annotated[DecimalText, Field(min_length=1, max_length=64)] = "default"
    allocation_usd: Positive | None = None
    leverage: Leverage | None = None
    tp_price: Positive | None = None
    sl_price: Positive | None = None
    tp_percent: PositivePercentage | None = None
    sl_percent: PositivePercentage | None = None
    rationale: Annotated[str, Field(max_length=2000)] | None = None

    @property
    def asset(self) -> str:
        """The exchange's name of the ticker."""
        return _PERPETUAL.sub("", _EXCHANGE.sub("", self.ticker.upper()))

    @property
    def is_sized_in_contracts(self) -> bool:
        """Whether an entry's size is contracts at a price: a notional, whatever the account's allocations are."""
        is_entry = self._action_and_expectation()[0].is_entry
        return is_entry and self.allocation_usd is None and self._value_of_order() is not None

    def decision(self) -> TradingDecision:
        """What the alert asks for; the same alert is the same decision.

        Raises:
            DecisionRefused: ``validation_error``, such as a buy without a size, or a story that contradicts itself.
        """
        said = self.model_dump(mode="json", exclude={"secret"}, exclude_none=True)
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
        action, expected = self._action_and_expectation()
        fields: dict[str, Any] = {"expected_position": expected, "rationale": self.rationale}
        if action.is_entry:
            wanted = ("leverage", "tp_price", "sl_price", "tp_percent", "sl_percent")
            fields |= {name: getattr(self, name) for name in wanted}
            fields["allocation_usd"] = self.allocation_usd or self._value_of_order()
        elif action is Action.ADJUST_POSITION:
            fields["position_adjustment"] = {"adjustment_type": "decrease", **self._reduction()}
        try:
            one = AssetDecision(
                asset=self.asset,
                action=action,
                **{name: value for name, value in fields.items() if value is not None},
            )
            outside: dict[str, Any] = {"timestamp": self.time, "alert": said}
            return TradingDecision(
                decision_id=f"tv-{self.id or digest[:_ID_HEX]}", account_id=self.account_id, decisions=[one], **outside
            )
        except ValidationError as error:
            raise wrong_fields(error) from None

    def _action_and_expectation(self) -> tuple[Action, str | None]:
        """What is to be done, and what must be held for it.

        Raises:
            DecisionRefused: the action and the positions before and after it contradict each other, or sizes stand
                without a side.
        """
        before, after = self._before(), self._after()
        if self.action == "close":
            if after in _OTHER_SIDE:
                raise self._contradiction(f"a close after which the position is {after}")
            return Action.CLOSE_POSITION, before
        own = "long" if self.action == "buy" else "short"
        other = _OTHER_SIDE[own]
        if after == "flat":
            if before == own:
                raise self._contradiction(f"a {self.action} that ends a {own} position")
            return Action.CLOSE_POSITION, before
        if after == other:
            if before not in (None, other):
                raise self._contradiction(f"a {self.action} after which a {before} position is {other}")
            return Action.ADJUST_POSITION, other
        if after is None and _positive(self.market_position_size):
            if before not in ("flat", own):
                text = (
                    f"market_position: does this {self.action} reduce a {other} position, or open a {own} one? "
                    "market_position_size has no side; give market_position or position_size"
                )
                raise invalid(text, field="market_position")
            return Action(self.action), before
        if after is None and before is None and _positive(self.prev_market_position_size):
            text = (
                "market_position: prev_market_position_size has no side; give market_position and prev_market_position"
            )
            raise invalid(text, field="market_position")
        if after is None and before == other:
            text = f"market_position: a {self.action} of a {other} position may reduce, close or turn it; say which"
            raise invalid(text, field="market_position")
        if before == own == after and self._shrinks():
            raise self._contradiction(f"a {self.action} that makes a {own} position smaller")
        return Action(self.action), before

    def _shrinks(self) -> bool | None:
        """Whether the position is smaller after the order than before it; None where the two sizes do not say."""
        after, before = self._size_after(), _positive(self.prev_market_position_size)
        return after < before if after and before else None

    def _size_after(self) -> Decimal | None:
        signed = _number(self.position_size)
        return _positive(self.market_position_size) or (abs(signed) if signed else None)

    def _before(self) -> Position | None:
        """Where the alert says, or a size of 0 does, which position was held before the order."""
        is_flat = _number(self.prev_market_position_size) == 0
        return self._agreed("prev_market_position", self.prev_market_position, "flat" if is_flat else None)

    def _after(self) -> Position | None:
        """Where the alert says, or the sign of a size does, which position is held after the order.

        Raises:
            DecisionRefused: two fields say it differently, or the only one that could says nothing that can be read.
        """
        signed = _number(self.position_size)
        if signed is None and self.position_size not in (None, "") and self.market_position is None:
            text = "position_size: {{strategy.position_size}} is a number, below 0 for a short position; this is none"
            raise invalid(text, field="position_size")
        shown: Position | None = None
        if signed is not None:
            shown = "flat" if signed == 0 else "long" if signed > 0 else "short"
        is_flat = _number(self.market_position_size) == 0
        said = self._agreed("position_size", self.market_position, shown)
        return self._agreed("market_position_size", said, "flat" if is_flat else None)

    def _agreed(self, name: str, said: Position | None, shown: Position | None) -> Position | None:
        if said is not None and shown is not None and said != shown:
            raise self._contradiction(f"{said} beside {name}, which says {shown},")
        return said or shown

    def _contradiction(self, what: str) -> Exception:
        return invalid(f"market_position: {what} contradicts itself, so nothing was sent", field="market_position")

    def _value_of_order(self) -> Decimal | None:
        """Contracts at their price, where both are numbers."""
        contracts, price = _positive(self.contracts), _positive(self.price)
        return contracts * price if contracts and price else None

    def _reduction(self) -> dict[str, Any]:
        """How much is to be taken off, as TradingView tells it, else as the alert does.

        Raises:
            DecisionRefused: nothing says it.
        """
        after, before = self._size_after(), _positive(self.prev_market_position_size)
        if self._shrinks() is False:
            raise self._contradiction(f"a {self.action} that leaves as much {self._after()} as before, or more,")
        if after and before:
            return {"adjustment_percentage": plain((100 * (before - after) / before).quantize(_PERCENT_DIGITS))}
        amount = self.allocation_usd or self._value_of_order()
        if amount is None:
            text = (
                f"allocation_usd: by how much is the {self._after()} position to be reduced? Give "
                "allocation_usd, contracts and price, or market_position_size and prev_market_position_size"
            )
            raise invalid(text, field="allocation_usd")
        return {"adjustment_amount_usd": amount}


def _number(value: Any) -> Decimal | None:
    """A number, or None: placeholders come empty, and as words."""
    try:
        return _NUMBER.validate_python(value)
    except ValidationError:
        return None


def _positive(value: Any) -> Decimal | None:
    """A number above zero, or None."""
    number = _number(value)
    return number if number is not None and number > 0 else None


def parse_alert(body: bytes) -> TradingViewAlert:
    """Read an alert, whatever content type it was sent with.

    Raises:
        DecisionRefused: ``validation_error``; the message names the field and never shows what was sent.
    """
    said = _flat(read_object(body, "the fields of docs/tradingview.md"))
    known = TradingViewAlert.model_fields.keys() | _KEPT
    for name in said:
        if name not in known and not _PLOT.fullmatch(name):
            text = f"{name}: unknown field; check the spelling, or put what is to be kept into comment"
            raise invalid(text, field=name)
    try:
        return TradingViewAlert.model_validate(said)
    except ValidationError as error:
        raise wrong_fields(error) from None


def _flat(said: Mapping[str, Any]) -> dict[str, Any]:
    """The alert with our names, and with what its block ``strategy`` says.

    Raises:
        DecisionRefused: one field is said twice, and differently.
    """
    block = said.get("strategy")
    if not isinstance(block, Mapping):
        return _once({("strategy_name" if name == "strategy" else name): value for name, value in said.items()}.items())
    order = block.get("order")
    nested = [(f"order_{name}", value) for name, value in order.items()] if isinstance(order, Mapping) else []
    around = [(name, value) for name, value in said.items() if name != "strategy"]
    within = [(name, value) for name, value in block.items() if not (name == "order" and nested)]
    return _once([*around, *within, *nested])


def _once(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields:
        ours = _SYNONYMS.get(name, name)
        if ours in found and found[ours] != value and ours not in _KEPT:
            raise invalid(f"{ours}: said twice, and differently; leave one of the two out", field=ours)
        found.setdefault(ours, value)
    return found
