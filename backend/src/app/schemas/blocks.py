"""The blocks of an asset's decision: changes of size, changes of exits, a trailing stop (contract, section 4)."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from app.domain.money import is_multiple, plain
from app.schemas.fields import Number, Positive, PositivePercentage

AS_RECORDED = "as_recorded"
"""In a validation's context: the decision was accepted before, perhaps by rules that were looser."""


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


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PositionAdjustment(Strict):
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

    @property
    def moved_stop(self) -> Decimal | None:
        """Where the stop loss is to go."""
        return self.new_sl_price

    @property
    def moved_target(self) -> Decimal | None:
        """Where the take profit is to go."""
        return self.new_tp_price

    @model_validator(mode="after")
    def _says_what(self, info: ValidationInfo) -> Self:
        if self.has_size and self.adjustment_type is None:
            raise ValueError("adjustment_type must say increase or decrease")
        if self.adjustment_type is not None and not self.has_size and not is_recorded(info):
            kind = self.adjustment_type.value
            raise ValueError(f"{kind} by how much? give adjustment_amount_usd or adjustment_percentage")
        if not self.has_size and self.new_tp_price is None and self.new_sl_price is None:
            raise ValueError("give adjustment_amount_usd or adjustment_percentage, new_tp_price or new_sl_price")
        return self


class OrderAdjustment(Strict):
    """How ``adjust_orders`` changes the exits of a position. A new price alone says that its exit is to be moved."""

    adjust_tp: bool | None = None
    adjust_sl: bool | None = None
    new_tp_price: Positive | None = None
    new_sl_price: Positive | None = None
    cancel_tp: _Wish = False
    cancel_sl: _Wish = False

    @property
    def moved_stop(self) -> Decimal | None:
        """Where the stop loss is to go; a price beside ``adjust_sl`` false only restates the present one."""
        return None if self.adjust_sl is False else self.new_sl_price

    @property
    def moved_target(self) -> Decimal | None:
        """Where the take profit is to go."""
        return None if self.adjust_tp is False else self.new_tp_price

    @property
    def ignored(self) -> tuple[str, ...]:
        """What was restated and is not used, in words."""
        return tuple(
            f"order_adjustment.{name} {plain(price)} was ignored: {flag} is false"
            for name, price, moved, flag in (
                ("new_tp_price", self.new_tp_price, self.moved_target, "adjust_tp"),
                ("new_sl_price", self.new_sl_price, self.moved_stop, "adjust_sl"),
            )
            if price is not None and moved is None
        )

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        for leg, moves, price, cancels in (
            ("tp", self.adjust_tp, self.moved_target, self.cancel_tp),
            ("sl", self.adjust_sl, self.moved_stop, self.cancel_sl),
        ):
            if moves and price is None:
                raise ValueError(f"new_{leg}_price is required with adjust_{leg}")
            if cancels and (moves or price is not None):
                raise ValueError(f"cancel_{leg} contradicts a new price; give one of the two")
        if self.moved_target is None and self.moved_stop is None and not self.cancel_tp and not self.cancel_sl:
            raise ValueError("nothing to do: give new_tp_price, new_sl_price, cancel_tp or cancel_sl")
        return self


def is_recorded(info: ValidationInfo) -> bool:
    """Whether what is read was accepted before."""
    return isinstance(info.context, dict) and AS_RECORDED in info.context


_TENTHS = {"enum": [form(number) for number in range(1, 51) for form in (lambda n: n / 10, lambda n: str(n / 10))]}
"""0.1 to 5.0, as numbers and as text: JSON Schema's ``multipleOf`` is no use with binary fractions."""


class TrailingStop(Strict):
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
