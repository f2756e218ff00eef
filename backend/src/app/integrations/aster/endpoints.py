"""Paths and weights of the endpoints that we use (fact sheet, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Security(Enum):
    """What an endpoint wants to know about us."""

    PUBLIC = "public"
    KEY_ONLY_IN_V1 = "key_only_in_v1"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path. ``weight`` is what it costs; some calls cost more by their parameters and say so."""

    method: str
    name: str
    weight: int = 1
    security: Security = Security.SIGNED
    v1_path: str | None = None

    def path(self, *, is_v3: bool) -> str:
        """The path in either version of the API."""
        if is_v3:
            return f"/fapi/v3/{self.name}"
        return self.v1_path if self.v1_path is not None else f"/fapi/v1/{self.name}"


TIME = Endpoint("GET", "time", security=Security.PUBLIC)
EXCHANGE_INFO = Endpoint("GET", "exchangeInfo", security=Security.PUBLIC)
PREMIUM_INDEX = Endpoint("GET", "premiumIndex", security=Security.PUBLIC)
BOOK_TICKER = Endpoint("GET", "ticker/bookTicker", security=Security.PUBLIC)
DEPTH = Endpoint("GET", "depth", security=Security.PUBLIC)
CANDLES = Endpoint("GET", "klines", weight=2, security=Security.PUBLIC)
MARK_CANDLES = Endpoint("GET", "markPriceKlines", weight=2, security=Security.PUBLIC)

ORDER_PLACE = Endpoint("POST", "order")
ORDER_QUERY = Endpoint("GET", "order")
ORDER_CANCEL = Endpoint("DELETE", "order")
ORDER_AMEND = Endpoint("PUT", "order")
BATCH_PLACE = Endpoint("POST", "batchOrders", weight=5)
OPEN_ORDERS = Endpoint("GET", "openOrders")
ALL_ORDERS = Endpoint("GET", "allOrders", weight=5)
USER_TRADES = Endpoint("GET", "userTrades", weight=5)
INCOME = Endpoint("GET", "income", weight=30)
NOOP = Endpoint("POST", "noop")

LEVERAGE = Endpoint("POST", "leverage")
MARGIN_TYPE = Endpoint("POST", "marginType")
POSITION_MODE = Endpoint("GET", "positionSide/dual", weight=30)
ASSET_MODE = Endpoint("GET", "multiAssetsMargin", weight=30)
BALANCE = Endpoint("GET", "balance", weight=5, v1_path="/fapi/v2/balance")
POSITIONS = Endpoint("GET", "positionRisk", weight=5, v1_path="/fapi/v2/positionRisk")
ACCOUNT = Endpoint("GET", "accountWithJoinMargin", weight=5, v1_path="/fapi/v4/account")
ACCOUNT_BEFORE_RENAME = Endpoint("GET", "account", weight=5, v1_path="/fapi/v2/account")
BRACKETS = Endpoint("GET", "leverageBracket")
AGENTS = Endpoint("GET", "agent")
"""Only in v3."""
COMMISSION = Endpoint("GET", "commissionRate", weight=20)

LISTEN_KEY_OPEN = Endpoint("POST", "listenKey", security=Security.KEY_ONLY_IN_V1)
LISTEN_KEY_RENEW = Endpoint("PUT", "listenKey", security=Security.KEY_ONLY_IN_V1)
LISTEN_KEY_DELETE = Endpoint("DELETE", "listenKey", security=Security.KEY_ONLY_IN_V1)

DEPTH_WEIGHT = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
ALL_OPEN_ORDERS_WEIGHT = 40
EVERY_SYMBOL_WEIGHT = 2
