"""One REST call: what arrived, whose it is, and the table row that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from aster_sim.core import errors
from aster_sim.core.account import Account
from aster_sim.core.intake import int_param, required
from aster_sim.core.ledger import RequestRecord
from aster_sim.runtime import Runtime

MAX_BATCH_PLACE = 5


class Security(Enum):
    """What a caller must show."""

    NONE = "none"
    MARKET = "market"  # the key in v1, nothing in v3
    KEY = "key"
    SIGNED = "signed"


class Call(msgspec.Struct):
    """A parsed and, where needed, authenticated call. ``v3`` tells its family."""

    runtime: Runtime
    method: str
    path: str
    params: Mapping[str, str]
    v3: bool
    account_name: str = ""
    record: RequestRecord | None = None

    @property
    def account(self) -> Account:
        """The account that authentication found."""
        return self.runtime.account(self.account_name)

    def symbol(self) -> str:
        """The mandatory symbol, known to the venue.  Raises -1102, -1121."""
        return self.runtime.venue.market(self.params.get("symbol")).instrument.symbol

    def optional_symbols(self) -> list[str]:
        """The symbol asked for, or all.  Raises -1121."""
        if self.params.get("symbol"):
            return [self.symbol()]
        return list(self.runtime.venue.state.markets)

    def selector(self) -> tuple[str, int | None, str | None]:
        """(symbol, orderId, origClientOrderId).  Raises -1102 when neither id was sent."""
        symbol = self.symbol()
        order_id, client_id = int_param(self.params, "orderId"), self.params.get("origClientOrderId")
        if order_id is None and not client_id:
            raise errors.MISSING.error(name="orderId")
        return symbol, order_id, client_id

    def lags_behind(self, time_ms: int) -> bool:
        """Whether what happened then is not in queries and lists yet (the fault ``lag_lists``)."""
        lag_ms = self.runtime.faults.lag_ms()
        return lag_ms > 0 and time_ms > self.runtime.venue.state.now_ms() - lag_ms

    def limit(self, default: int, maximum: int) -> int:
        """``limit``, capped."""
        value = int_param(self.params, "limit")
        if value == 0:
            raise errors.BAD_PARAMETER.error(name="limit")
        return min(value or default, maximum)

    def required(self, name: str) -> str:
        """A parameter that must be there.  Raises -1102."""
        return required(self.params, name)


@dataclass(frozen=True, slots=True)
class Route:
    """How one endpoint is served; ``weight`` is by its parameters, ``places`` counts as placements.

    ``guarded`` endpoints are signed with the nonce of the request that they undo.
    """

    handler: Callable[[Call], Any]
    weight: Callable[[Mapping[str, str]], int]
    security: Security
    ledgered: bool = False
    places: bool = False
    guarded: bool = False


def fixed(weight: int) -> Callable[[Mapping[str, str]], int]:
    """A weight that no parameter changes."""
    return lambda _params: weight


def by_symbol(with_symbol: int, without: int) -> Callable[[Mapping[str, str]], int]:
    """A weight that is higher when no symbol is named."""
    return lambda params: with_symbol if params.get("symbol") else without


def parse_params(query: str, body: str) -> dict[str, str]:
    """Parameters of query and body; the query wins (asterdex-facts.md section 3)."""
    params = _parsed(body) if body else {}
    if query:
        params.update(_parsed(query))
    return params


def _parsed(text: str) -> dict[str, str]:
    if "%" in text or "+" in text:
        return dict(parse_qsl(text, keep_blank_values=True))
    try:
        params: dict[str, str] = dict([pair.split("=", 1) for pair in text.split("&")])
    except ValueError:  # a name without a value
        params = {"": ""}
    if "" not in params:  # several times faster than parse_qsl, and enough for most orders
        return params
    pairs = (pair.partition("=") for pair in text.split("&"))
    return {name: value for name, _, value in pairs if name or value}
