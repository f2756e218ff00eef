"""What the venue refuses, and with which code, message and HTTP status.

Codes are those of asterdex-facts.md section 9; messages follow the Binance USD-M lineage, and are not
promised to equal AsterDEX's word for word (clients compare codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class VenueError(Exception):
    """A request that the venue refuses; nothing of it was executed."""

    def __init__(self, code: int, msg: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code} {msg}")
        self.code = code
        self.msg = msg
        self.status = status
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> dict[str, object]:
        """The JSON body as AsterDEX sends it."""
        return {"code": self.code, "msg": self.msg}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the error table; ``error()`` makes the exception, filling the message's fields."""

    code: int
    msg: str
    status: int = 400
    headers: Mapping[str, str] = field(default_factory=dict)

    def error(self, **fields: object) -> VenueError:
        """The exception to raise, with ``{field}`` in the message replaced."""
        return VenueError(self.code, self.msg.format(**fields) if fields else self.msg, self.status, self.headers)


NO_AGENT = Refusal(-1000, "No agent found")
SIGNATURE_CHECK_FAILED = Refusal(-1000, "Signature check failed")
TOO_MANY_REQUESTS = Refusal(
    -1003, "Too many requests; current limit is {limit} request weight per minute. Please use WebSocket.", 429
)
IP_BANNED = Refusal(-1003, "Way too many requests; IP banned until {until}.", 418)
TOO_MANY_ORDERS = Refusal(-1015, "Too many new orders; current limit is {limit} orders per {interval}.", 429)
UNSUPPORTED = Refusal(-1020, "This operation is not supported: {what}.")
NOT_SIMULATED = Refusal(-1020, "{what} is not simulated yet.", 404)
TIMESTAMP = Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
BAD_SIGNATURE = Refusal(-1022, "Signature for this request is not valid.")
ILLEGAL_CHARS = Refusal(-1100, "Illegal characters found in parameter '{name}'.")
MISSING = Refusal(-1102, "Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
PARAM_EMPTY = Refusal(-1105, "Parameter '{name}' was empty.")
NOT_REQUIRED = Refusal(-1106, "Parameter '{name}' sent when not required.")
BAD_PRECISION = Refusal(-1111, "Precision is over the maximum defined for this asset.")
BAD_TIME_IN_FORCE = Refusal(-1115, "Invalid timeInForce.")
BAD_ORDER_TYPE = Refusal(-1116, "Invalid orderType.")
BAD_SIDE = Refusal(-1117, "Invalid side.")
EMPTY_NEW_CLIENT_ID = Refusal(-1118, "New client order ID was empty.")
BAD_INTERVAL = Refusal(-1127, "Lookup interval is too big.")
BAD_COMBINATION = Refusal(-1128, "Combination of optional parameters invalid.")
BAD_PARAMETER = Refusal(-1130, "Data sent for parameter '{name}' is not valid.")
BAD_SYMBOL = Refusal(-1121, "Invalid symbol.")
BAD_LISTEN_KEY = Refusal(-1125, "This listenKey does not exist.")
NEW_ORDER_RESP_TYPE = Refusal(-1136, "Invalid newOrderRespType")
UNKNOWN_ORDER = Refusal(-2011, "Unknown order sent.")
NO_SUCH_ORDER = Refusal(-2013, "Order does not exist.")
BAD_API_KEY_FORMAT = Refusal(-2014, "API-key format invalid.", 401)
BAD_API_KEY = Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
MARGIN_INSUFFICIENT = Refusal(-2019, "Margin is insufficient.")
IMMEDIATE_TRIGGER = Refusal(-2021, "Order would immediately trigger.")
REDUCE_ONLY_REJECTED = Refusal(-2022, "ReduceOnly Order is rejected.")
MAX_OPEN_ORDERS = Refusal(-2025, "Reach max open order limit.")
MAX_POSITION_AT_LEVERAGE = Refusal(-2027, "Exceeded the maximum allowable position at current leverage.")
LEVERAGE_TOO_SMALL = Refusal(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
PRICE_BELOW_ZERO = Refusal(-4001, "Price less than 0.")
PRICE_ABOVE_MAX = Refusal(-4002, "Price greater than max price.")
QTY_BELOW_ZERO = Refusal(-4003, "Quantity less than zero.")
QTY_BELOW_MIN = Refusal(-4004, "Quantity less than min quantity.")
QTY_ABOVE_MAX = Refusal(-4005, "Quantity greater than max quantity.")
STOP_BELOW_ZERO = Refusal(-4006, "Stop price less than zero.")
STOP_ABOVE_MAX = Refusal(-4007, "Stop price greater than max price.")
PRICE_BELOW_MIN = Refusal(-4013, "Price less than min price.")
PRICE_OFF_TICK = Refusal(-4014, "Price not increased by tick size.")
CLIENT_ID_LENGTH = Refusal(-4015, "Client order id is not valid.")
PRICE_TOO_HIGH = Refusal(-4016, "Limit price can't be higher than {limit}.")
DEPTH_LIMIT = Refusal(-4021, "Depth limit {limit} is not valid.")
QTY_OFF_STEP = Refusal(-4023, "Quantity not increased by step size.")
PRICE_TOO_LOW = Refusal(-4024, "Limit price can't be lower than {limit}.")
BAD_LEVERAGE = Refusal(-4028, "Leverage {leverage} is not valid.")
MAX_STOP_ORDERS = Refusal(-4045, "Reach max stop order limit.")
MARGIN_TYPE_UNCHANGED = Refusal(-4046, "No need to change margin type.")
MARGIN_TYPE_OPEN_ORDERS = Refusal(-4047, "Margin type cannot be changed if there exists open orders.")
MARGIN_TYPE_POSITION = Refusal(-4048, "Margin type cannot be changed if there exists position.")
MARGIN_OF_CROSS = Refusal(-4049, "Add margin only support for isolated position.")
CROSS_BALANCE_INSUFFICIENT = Refusal(-4050, "Cross balance insufficient.")
ISOLATED_BALANCE_INSUFFICIENT = Refusal(-4051, "Isolated balance insufficient.")
MARGIN_WITHOUT_POSITION = Refusal(-4054, "Cannot add position margin: position is 0.")
AMOUNT_NOT_POSITIVE = Refusal(-4055, "Amount must be positive.")
POSITION_SIDE_UNCHANGED = Refusal(-4059, "No need to change position side.")
BAD_POSITION_SIDE = Refusal(-4060, "Invalid position side.")
POSITION_SIDE_MISMATCH = Refusal(-4061, "Order's position side does not match user's setting.")
POSITION_SIDE_OPEN_ORDERS = Refusal(-4067, "Position side cannot be changed if there exists open orders.")
POSITION_SIDE_POSITION = Refusal(-4068, "Position side cannot be changed if there exists position.")
BATCH_SIZE = Refusal(-4082, "Invalid number of batch place orders.")
DUPLICATE_CLIENT_ID = Refusal(-4116, "clientOrderId is duplicated.")
CLOSE_WITH_QUANTITY = Refusal(-4137, "Quantity must be zero with closePosition equals true.")
CLOSE_WITH_REDUCE_ONLY = Refusal(-4138, "Reduce only must be true with closePosition equals true.")
CLOSE_ORDER_TYPE = Refusal(-4136, "Target strategy invalid for orderType {type}, closePosition true.")
BAD_CALLBACK_RATE = Refusal(-2007, "Invalid callBack rate.")
STRATEGY_TRIGGERS = Refusal(-4142, "REJECT: take profit or stop order will be triggered immediately.")
ISOLATED_LEVERAGE_CUT = Refusal(-4161, "Leverage reduction is not supported in Isolated Margin Mode.")
MIN_NOTIONAL = Refusal(-4164, "Order's notional must be no smaller than {limit} (unless you choose reduce only).")
ISOLATED_IN_MULTI_ASSETS = Refusal(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")
MULTI_ASSETS_UNCHANGED = Refusal(-4171, "No need to change multi-assets mode.")
STOP_LIMIT_TOO_HIGH = Refusal(
    -4183, "Price is higher than stop price multiplier cap. Limit price can't be higher than {limit}."
)
STOP_LIMIT_TOO_LOW = Refusal(
    -4184, "Price is lower than stop price multiplier floor. Limit price can't be lower than {limit}."
)
NONCE_EXPIRED = Refusal(-4225, "Nonce Expired")
NONCE_DUPLICATED = Refusal(-4225, "Nonce Duplicated")
OPEN_INTEREST_CAP = Refusal(-5018, "Exceeded the maximum open interest of this symbol.")
FOK_NOT_FILLABLE = Refusal(-5021, "Due to the order could not be filled immediately, the FOK order has been rejected.")
NONCE_OF_ANOTHER = Refusal(-4225, "Nonce does not match the order's.")
GTX_WOULD_TAKE = Refusal(
    -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected."
)
NOT_TRADING = Refusal(-5024, "Symbol is not trading: {why}.")
AMEND_UNSUPPORTED = Refusal(-5025, "Only a resting LIMIT order can be modified.")
AMEND_LIMIT = Refusal(-5026, "Exceed maximum modify order limit.")
