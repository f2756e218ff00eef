"""An alert of TradingView, which can post a text and nothing else, as a decision (``docs/tradingview.md``)."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from app.schemas.decision import Action, AssetDecision, TradingDecision
from app.schemas.fields import Leverage, Positive, UtcTime
from app.schemas.json_text import read_object, wrong_fields

_EXCHANGE = re.compile(r"^[A-Z0-9_]+:")
_PERPETUAL = re.compile(r"(\.P|PERP)$")
_ID_HEX = 40


class TradingViewAlert(BaseModel):
    """The message of an alert. Unknown fields are refused: a misspelt `sl_price` must not leave a position bare."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    secret: SecretStr | None = Field(None, description="`TES_WEBHOOK_SECRET`, unless the X-Signature header proves it")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,60}$")] | None = Field(
        None, description="the idempotency key; made of the whole alert when absent"
    )
    time: UtcTime = Field(description="`{{timenow}}`: old alerts are refused, and two alerts differ by it")
    ticker: Annotated[str, Field(min_length=1, max_length=60)] = Field(
        description="`{{ticker}}`; an exchange in front and `.P` behind are dropped"
    )
    action: Literal["buy", "sell", "close"] = Field(description="`{{strategy.order.action}}`, or `close`")
    market_position: Literal["long", "short", "flat"] | None = Field(
        None, description="`{{strategy.market_position}}`: `flat` closes the position, whatever the action"
    )
    account_id: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    allocation_usd: Positive | None = None
    leverage: Leverage | None = None
    tp_price: Positive | None = None
    sl_price: Positive | None = None
    rationale: Annotated[str, Field(max_length=2000)] | None = None

    @property
    def asset(self) -> str:
        """The exchange's name of the ticker."""
        return _PERPETUAL.sub("", _EXCHANGE.sub("", self.ticker.upper()))

    def decision(self) -> TradingDecision:
        """What the alert asks for; the same alert is the same decision.

        Raises:
            DecisionRefused: ``validation_error``, such as a buy without ``allocation_usd``.
        """
        said = self.model_dump(mode="json", exclude={"secret"}, exclude_none=True)
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        is_close = self.action == "close" or self.market_position == "flat"
        wanted = {"allocation_usd", "leverage", "tp_price", "sl_price"} if not is_close else set()
        try:
            one = AssetDecision(
                asset=self.asset,
                action=Action.CLOSE_POSITION if is_close else Action(self.action),
                rationale=self.rationale,
                **{name: getattr(self, name) for name in wanted if getattr(self, name) is not None},
            )
            return TradingDecision(
                decision_id=f"tv-{self.id or digest[:_ID_HEX]}",
                account_id=self.account_id,
                timestamp=self.time,
                decisions=[one],
            )
        except ValidationError as error:
            raise wrong_fields(error) from None


def parse_alert(body: bytes) -> TradingViewAlert:
    """Read an alert, whatever content type it was sent with.

    Raises:
        DecisionRefused: ``validation_error``; the message names the field and never shows what was sent.
    """
    try:
        return TradingViewAlert.model_validate(read_object(body, "the fields of docs/tradingview.md"))
    except ValidationError as error:
        raise wrong_fields(error) from None
