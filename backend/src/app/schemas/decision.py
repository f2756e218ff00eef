"""``TradingDecision``: what the Decision Engine sends (contract, section 4)."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from app.domain.money import is_multiple, plain
from app.domain.tracing import TRACEPARENT, trace_id_of
from app.schemas.fields import Leverage, NonNegative, Number, Percentage, Positive, PositivePercentage, UtcTime
from app.schemas.json_text import read_object, wrong_fields

MAXIMUM_ASSETS = 200
_TEXT_LIMIT = 20_000


class Action(StrEnum):
    """What to do with an asset."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"
    CLOSE_POSITION = "close_position"
    ADJUST_POSITION = "adjust_position"
    ADJUST_ORDERS = "adjust_orders"

    @property
    def is_entry(self) -> bool:
        """Whether the action opens a position."""
        return self in (Action.BUY, Action.SELL)


class AdjustmentType(StrEnum):
    """Direction of ``adjust_position``."""

    INCREASE = "increase"
    DECREASE = "decrease"


_Wish = Annotated[
    bool,
    BeforeValidator(lambda value: False if value is None else value),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, mode="validation"),
]
"""A flag; ``null`` means absent."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PositionAdjustment(_Strict):
    """How ``adjust_position`` changes a position; the percentage wins over the amount.

    New prices may come alone; they are the exits of the whole position.
    """

    adjustment_type: AdjustmentType | None = None
    adjustment_amount_usd: Positive | None = None
    adjustment_percentage: PositivePercentage | None = None
    new_tp_price: Positive | None = None
    new_sl_price: Positive | None = None

    @property
    def has_size(self) -> bool:
        """Whether the position's size changes, not only its exits."""
        return self.adjustment_amount_usd is not None or self.adjustment_percentage is not None

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.has_size and self.adjustment_type is None:
            raise ValueError("adjustment_type must say increase or decrease")
        if not self.has_size and self.new_tp_price is None and self.new_sl_price is None:
            raise ValueError("give adjustment_amount_usd or adjustment_percentage, new_tp_price or new_sl_price")
        return self


class OrderAdjustment(_Strict):
    """How ``adjust_orders`` changes the exits of a position. A new price alone says that its exit is to be moved."""

    adjust_tp: bool | None = None
    adjust_sl: bool | None = None
    new_tp_price: Positive | None = None
    new_sl_price: Positive | None = None
    cancel_tp: _Wish = False
    cancel_sl: _Wish = False

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        for leg, moves, price, cancels in (
            ("tp", self.adjust_tp, self.new_tp_price, self.cancel_tp),
            ("sl", self.adjust_sl, self.new_sl_price, self.cancel_sl),
        ):
            if moves and price is None:
                raise ValueError(f"new_{leg}_price is required with adjust_{leg}")
            if cancels and (moves or price is not None):
                raise ValueError(f"cancel_{leg} contradicts a new price; give one of the two")
            if price is not None and moves is False:
                raise ValueError(f"new_{leg}_price contradicts adjust_{leg} false; leave one of them out")
        if self.new_tp_price is None and self.new_sl_price is None and not self.cancel_tp and not self.cancel_sl:
            raise ValueError("nothing to do: give new_tp_price, new_sl_price, cancel_tp or cancel_sl")
        return self


def _rules_between_fields(schema: dict[str, Any]) -> None:
    """What each action needs, in the API's description; :meth:`AssetDecision._complete` checks it."""
    positive = TypeAdapter(Positive).json_schema()
    needs: list[tuple[list[str], dict[str, Any]]] = [
        (["buy", "sell"], {"allocation_usd": positive}),
        (["adjust_position"], {"position_adjustment": {"type": "object"}}),
        (["adjust_orders"], {"order_adjustment": {"type": "object"}}),
    ]
    schema["allOf"] = [
        {
            "if": {"properties": {"action": {"enum": actions}}, "required": ["action"]},
            "then": {"properties": properties, "required": list(properties)},
        }
        for actions, properties in needs
    ]


_TENTHS = {"enum": [form(number) for number in range(1, 51) for form in (lambda n: n / 10, lambda n: str(n / 10))]}
"""0.1 to 5.0, as numbers and as text: JSON Schema's ``multipleOf`` is no use with binary fractions."""


class TrailingStop(_Strict):
    """A stop that follows the best price at a distance of ``callback_rate`` percent.

    Without ``activation_price`` it follows from the start, and counts as a stop loss. With it, it rests idle until the
    market has reached that price, so it can only stand beside ``sl_price``.
    """

    callback_rate: Annotated[Number, Field(ge=Decimal("0.1"), le=5), WithJsonSchema(_TENTHS, mode="validation")]
    activation_price: Positive | None = None

    @field_validator("callback_rate")
    @classmethod
    def _whole_tenths(cls, value: Decimal) -> Decimal:
        if not is_multiple(value, Decimal("0.1")):
            raise ValueError(f"callback_rate is a percentage in steps of 0.1, not {plain(value)}")
        return value


class AssetDecision(_Strict):
    """The decision on one asset. Unknown fields are refused: a misspelt ``sl_price`` must not leave a position bare."""

    model_config = ConfigDict(json_schema_extra=_rules_between_fields)

    asset: Annotated[str, Field(min_length=1, max_length=40)]
    action: Action
    allocation_usd: NonNegative | None = None
    leverage: Leverage | None = None
    tp_price: Positive | None = None
    sl_price: Positive | None = None
    trailing_stop: TrailingStop | None = None
    position_adjustment: PositionAdjustment | None = None
    order_adjustment: OrderAdjustment | None = None
    exit_plan: Annotated[str, Field(max_length=_TEXT_LIMIT)] | None = None
    rationale: Annotated[str, Field(max_length=_TEXT_LIMIT)] | None = None
    confidence: Percentage | None = None
    risk_level: Annotated[str, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.action.is_entry and not self.allocation_usd:
            raise ValueError(f"allocation_usd must be above 0 for {self.action.value}")
        if self.leverage is not None and self.leverage != int(self.leverage):
            raise ValueError(f"leverage must be a whole number, not {plain(self.leverage)}")
        if self.action is Action.ADJUST_POSITION and self.position_adjustment is None:
            raise ValueError("position_adjustment is required for adjust_position")
        if self.action is Action.ADJUST_ORDERS and self.order_adjustment is None:
            raise ValueError("order_adjustment is required for adjust_orders")
        return self


class TradingDecision(BaseModel):
    """A whole decision. Unknown fields on this level are kept with the record and ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)

    decision_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] | None = None
    account_id: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    timestamp: UtcTime | None = None
    portfolio_rationale: Annotated[str, Field(max_length=_TEXT_LIMIT)] | None = None
    portfolio_risk_level: Annotated[str, Field(max_length=100)] | None = None
    total_allocation_usd: NonNegative | None = None
    decisions: Annotated[
        list[AssetDecision],
        Field(min_length=1, max_length=MAXIMUM_ASSETS, json_schema_extra={"uniqueItems": True}),
    ]

    @field_validator("account_id", mode="before")
    @classmethod
    def _absent_account(cls, value: Any) -> Any:
        return "default" if value is None else value

    @model_validator(mode="after")
    def _each_asset_once(self) -> Self:
        seen: set[str] = set()
        for item in self.decisions:
            if item.asset in seen:
                raise ValueError(f"asset {item.asset} appears twice; merge the two into one")
            seen.add(item.asset)
        return self

    def fingerprint(self) -> str:
        """Hash of what the sender said, in canonical form: equal bodies are equal whatever their spelling."""
        # null, absent and the default say the same; and who asks again does so in a trace, or a span, of its own
        said = self.model_dump(mode="json", exclude_defaults=True, exclude={TRACEPARENT})
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()

    def traced(self, traceparent: str | None) -> Self:
        """The same decision in the trace that the sender's HTTP header names, where it has one."""
        return self if traceparent is None else self.model_copy(update={TRACEPARENT: traceparent})

    def trace_id(self, decision_id: str) -> str:
        """The trace of everything that follows from this decision, which has got ``decision_id``."""
        return trace_id_of(decision_id, (self.model_extra or {}).get(TRACEPARENT))

    def body(self) -> dict[str, Any]:
        """What the sender said, as JSON values, for the record."""
        return self.model_dump(mode="json", exclude_unset=True)


def parse_decision(body: bytes | str) -> TradingDecision:
    """Read a decision from JSON text, exactly.

    Raises:
        DecisionRefused: ``validation_error``; the message names each wrong field and what it should be.
    """
    try:
        return TradingDecision.model_validate(read_object(body, "a field 'decisions'"))
    except ValidationError as error:
        raise wrong_fields(error) from None
