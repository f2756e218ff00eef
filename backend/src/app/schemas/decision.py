"""``TradingDecision``: what the Decision Engine sends (contract, section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from app.domain.formats import DecisionFormat
from app.domain.money import plain
from app.domain.tracing import TRACEPARENT, trace_id_of
from app.schemas import usage
from app.schemas.blocks import (
    AS_RECORDED,
    AdjustmentType,
    OrderAdjustment,
    PositionAdjustment,
    Strict,
    TrailingStop,
    is_recorded,
)
from app.schemas.fields import (
    DecimalText,
    Leverage,
    NonNegative,
    Percentage,
    Positive,
    PositivePercentage,
    UtcTime,
)
from app.schemas.json_text import invalid, read_json, sentence_of, wrong_fields
from app.schemas.shapes import in_our_shape

MAXIMUM_ASSETS = 200
_LONGEST_ASSET = 40
_TEXT_LIMIT = 20_000
_UNREADABLE = "unreadable"
"""The only key of an asset's decision on record that could not be read when it came."""


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


class ExpectedPosition(StrEnum):
    """What the sender takes the account to hold on an asset. Where it holds something else, nothing is sent."""

    FLAT = "flat"
    LONG = "long"
    SHORT = "short"


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


class AssetDecision(Strict):
    """The decision on one asset.

    Unknown fields are refused, and so are fields that the action does not use: a misspelt ``sl_price``, or one in the
    wrong place, must not leave a position bare (scenario P16).
    """

    model_config = ConfigDict(json_schema_extra=_rules_between_fields)

    asset: Annotated[str, Field(min_length=1, max_length=_LONGEST_ASSET)]
    action: Action
    allocation_usd: NonNegative | None = None
    leverage: Leverage | None = None
    tp_price: Positive | None = None
    sl_price: Positive | None = None
    tp_percent: PositivePercentage | None = None
    sl_percent: PositivePercentage | None = None
    trailing_stop: TrailingStop | None = None
    position_adjustment: PositionAdjustment | None = None
    order_adjustment: OrderAdjustment | None = None
    expected_position: ExpectedPosition | None = None
    exit_plan: Annotated[str, Field(max_length=_TEXT_LIMIT)] | None = None
    rationale: Annotated[str, Field(max_length=_TEXT_LIMIT)] | None = None
    confidence: Percentage | None = None
    risk_level: Annotated[str, Field(max_length=100)] | None = None

    @property
    def adds_risk(self) -> bool:
        """Whether it opens a position or adds to one."""
        change = self.position_adjustment
        return self.action.is_entry or (change is not None and change.adjustment_type is AdjustmentType.INCREASE)

    @property
    def has_exit(self) -> bool:
        """Whether an entry asks for an exit."""
        exits = (self.tp_price, self.sl_price, self.tp_percent, self.sl_percent, self.trailing_stop)
        return any(one is not None for one in exits)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the sender should know of how it was read."""
        return () if self.order_adjustment is None else self.order_adjustment.ignored

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.action.is_entry and not self.allocation_usd:
            raise ValueError(f"allocation_usd must be above 0 for {self.action.value}")
        for leg, price, percent in (
            ("tp", self.tp_price, self.tp_percent),
            ("sl", self.sl_price, self.sl_percent),
        ):
            if price is not None and percent is not None:
                raise ValueError(f"{leg}_percent stands for {leg}_price; give one of the two")
        if self.leverage is not None and self.leverage != int(self.leverage):
            raise ValueError(f"leverage must be a whole number, not {plain(self.leverage)}")
        if self.action is Action.ADJUST_POSITION and self.position_adjustment is None:
            raise ValueError("position_adjustment is required for adjust_position")
        if self.action is Action.ADJUST_ORDERS and self.order_adjustment is None:
            raise ValueError("order_adjustment is required for adjust_orders")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _only_what_the_action_uses(  # behind _complete, so that it wraps that as well
        cls, said: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if not isinstance(said, dict):
            return handler(said)
        unused = usage.superfluous(said)
        # an allocation of 0 stays, as it always has: what is on record must keep its fingerprint
        used = {name: value for name, value in said.items() if name not in unused or name == "allocation_usd"}
        wrong = [found for name, value in unused.items() for found in usage.complaints(said["action"], name, value)]
        if not wrong or is_recorded(info):
            return handler(used)
        problems = [
            InitErrorDetails(type=PydanticCustomError("unused_field", sentence), loc=path, input=None)
            for path, sentence in wrong
        ]
        try:
            handler(used)
        except ValidationError as error:
            problems += [_raised_again(problem) for problem in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(cls.__name__, problems)


def _raised_again(problem: ErrorDetails) -> InitErrorDetails:
    again = InitErrorDetails(type=problem["type"], loc=problem["loc"], input=problem["input"])
    return again | {"ctx": problem["ctx"]} if "ctx" in problem else again


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableDecision:
    """An asset's decision that could not be read: it is refused by itself, and nothing beside it adds risk.

    ``place`` is its index in the document. ``asset`` is what was sent where that is a name, else its place; ``action``
    is None where it is none of ours.
    """

    place: int
    asset: str
    action: Action | None
    said: Any
    problem: str


class TradingDecision(BaseModel):
    """A whole decision. Unknown fields on this level are kept with the record and ignored.

    Fields of an asset's decision are refused here: an exit around the decisions must not leave a position bare (P16).

    ``decisions`` are those that could be read. :attr:`unreadable` are the others, which only :func:`parse_decision`
    lets pass.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    decision_id: Annotated[DecimalText, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] | None = None
    account_id: Annotated[DecimalText, Field(min_length=1, max_length=64)] = "default"
    source: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    timestamp: UtcTime | None = None
    portfolio_rationale: Annotated[str, Field(max_length=_TEXT_LIMIT)] | None = None
    portfolio_risk_level: Annotated[str, Field(max_length=100)] | None = None
    total_allocation_usd: NonNegative | None = None
    decisions: Annotated[
        list[AssetDecision],
        Field(min_length=1, max_length=MAXIMUM_ASSETS, json_schema_extra={"uniqueItems": True}),
    ]
    _unreadable: tuple[UnreadableDecision, ...] = PrivateAttr(default=())

    @property
    def unreadable(self) -> tuple[UnreadableDecision, ...]:
        """Decisions on assets that could not be read."""
        return self._unreadable

    @property
    def items(self) -> tuple[AssetDecision | UnreadableDecision, ...]:
        """Every asset's decision, in the order of the document."""
        found: list[AssetDecision | UnreadableDecision] = list(self.decisions)
        for one in self._unreadable:
            found.insert(one.place, one)
        return tuple(found)

    @field_validator("account_id", mode="before")
    @classmethod
    def _absent_account(cls, value: Any) -> Any:
        return "default" if value is None else value

    @model_validator(mode="after")
    def _nothing_that_trades_around(self, info: ValidationInfo) -> Self:
        wrong = {} if is_recorded(info) else usage.misplaced(self.model_extra or {})
        if wrong:
            problems = [
                InitErrorDetails(type=PydanticCustomError("misplaced_field", sentence), loc=(name,), input=None)
                for name, sentence in wrong.items()
            ]
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self

    @model_validator(mode="after")
    def _each_asset_once(self) -> Self:
        repeated = repeated_asset([item.asset for item in self.decisions])
        if repeated is not None:
            raise ValueError(repeated)
        return self

    def fingerprint(self) -> str:
        """Hash of what the sender said, in canonical form: equal bodies are equal whatever their spelling."""
        # null, absent and the default say the same; and who asks again does so in a trace, or a span, of its own
        said = self.model_dump(mode="json", exclude_defaults=True, exclude={TRACEPARENT})
        if self._unreadable:
            said[_UNREADABLE] = [[one.place, one.said] for one in self._unreadable]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()

    def traced(self, traceparent: str | None) -> Self:
        """The same decision in the trace that the sender's HTTP header names, where it has one."""
        return self if traceparent is None else self.model_copy(update={TRACEPARENT: traceparent})

    def trace_id(self, decision_id: str) -> str:
        """The trace of everything that follows from this decision, which has got ``decision_id``."""
        return trace_id_of(decision_id, (self.model_extra or {}).get(TRACEPARENT))

    def body(self) -> dict[str, Any]:
        """What the sender said, as JSON values, for the record."""
        said = self.model_dump(mode="json", exclude_unset=True)
        for one in self._unreadable:
            kept = {"asset": one.asset, "action": one.action, "said": _as_json(one.said), "problem": one.problem}
            said["decisions"].insert(one.place, {_UNREADABLE: kept})
        return said

    @classmethod
    def from_record(cls, body: Mapping[str, Any]) -> Self:
        """The decision that :meth:`body` told, also by an earlier version, which dropped what it did not use."""
        items = list(enumerate(body["decisions"]))
        known = [item for _, item in items if set(item) != {_UNREADABLE}]
        decision = cls.model_validate({**body, "decisions": known}, context={AS_RECORDED: True})
        return decision.beside(
            UnreadableDecision(
                place=place,
                asset=item[_UNREADABLE]["asset"],
                action=item[_UNREADABLE]["action"] and Action(item[_UNREADABLE]["action"]),
                said=item[_UNREADABLE]["said"],
                problem=item[_UNREADABLE]["problem"],
            )
            for place, item in items
            if set(item) == {_UNREADABLE}
        )

    def renamed(self, symbol_of: Callable[[str], str]) -> Self:
        """The same decision with the assets as ``symbol_of`` calls them.

        Raises:
            DecisionRefused: ``validation_error``: two of them are one then.
        """
        items = [item.model_copy(update={"asset": symbol_of(item.asset)}) for item in self.decisions]
        if [item.asset for item in items] == [item.asset for item in self.decisions]:
            return self
        whole = self.model_copy(update={"decisions": items})
        repeated = repeated_asset(item.asset for item in whole.items)
        if repeated is not None:
            raise invalid(repeated)
        return whole

    def beside(self, unreadable: Iterable[UnreadableDecision]) -> Self:
        """The same decision with those that could not be read, in the order of their places."""
        whole = self.model_copy()
        whole._unreadable = tuple(unreadable)  # noqa: SLF001 — its own
        return whole


def repeated_asset(assets: Iterable[str]) -> str | None:
    """Why a decision can't be carried out whose assets are these, or None: each may come once."""
    seen: set[str] = set()
    for asset in assets:
        if asset in seen:
            return f"asset {asset} appears twice; merge the two into one"
        seen.add(asset)
    return None


def _as_json(said: Any) -> Any:
    """JSON values as they are kept on record, which has no decimals."""
    return json.loads(json.dumps(said, default=str))


def parse_decision(body: bytes | str, shape: DecisionFormat | None = None) -> TradingDecision:
    """Read a decision from JSON text, exactly; ``shape`` names the engine whose document it is, where it is not ours.

    An asset's decision that can't be read does not hinder those beside it: see :attr:`TradingDecision.unreadable`.

    Raises:
        DecisionRefused: ``validation_error``; the message names each wrong field and what it should be.
    """
    document = in_our_shape(read_json(body), shape)
    try:
        return TradingDecision.model_validate(document)
    except ValidationError as error:
        return _read_apart(document, error)


def _read_apart(document: dict[str, Any], error: ValidationError) -> TradingDecision:
    """The decision without the assets that ``error`` complains of, when something is left of it.

    Raises:
        DecisionRefused: nothing of it can be read, or what is wrong is not inside an asset's decision.
    """
    broken: dict[int, list[str]] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        match problem["loc"]:
            case ("decisions", int(place), *_):
                broken.setdefault(place, []).append(sentence_of(problem))
            case _:
                raise wrong_fields(error) from None
    said = document["decisions"]
    if len(broken) == len(said):
        raise wrong_fields(error) from None
    unreadable = [_unreadable_at(place, said[place], "; ".join(broken[place])) for place in sorted(broken)]
    readable = [item for place, item in enumerate(said) if place not in broken]
    try:
        decision = TradingDecision.model_validate({**document, "decisions": readable}).beside(unreadable)
    except ValidationError as further:
        raise wrong_fields(further) from None
    repeated = repeated_asset(item.asset for item in decision.items)
    if repeated is not None:
        raise invalid(repeated)
    return decision


def _unreadable_at(place: int, said: Any, problem: str) -> UnreadableDecision:
    asset = said.get("asset") if isinstance(said, dict) else None
    action = said.get("action") if isinstance(said, dict) else None
    is_name = isinstance(asset, str) and 0 < len(asset) <= _LONGEST_ASSET
    return UnreadableDecision(
        place=place,
        asset=str(asset) if is_name else f"decisions[{place}]",
        action=Action(action) if isinstance(action, str) and action in set(Action) else None,
        said=said,
        problem=problem,
    )
