"""The error tree. Each branch says what is known about the world, because that decides what may be done next.

- :class:`RefusedByExchange`: the exchange answered and did not act. Safe to do something else.
- :class:`OutcomeUnknown`: a request left this machine and nobody said what became of it. Only evidence helps.
- :class:`NotSent`: nothing left this machine. Safe to try again.
- :class:`Unavailable`: a *read* failed. It says nothing about the world: not "flat", not "absent".
- :class:`DecisionRefused`: we said no before anything was sent.
- :class:`StoreUnavailable`: the database did not take a write or answer a read.
- :class:`InvariantBroken`: the program contradicts itself. Stop and tell a human.
- :class:`ConfigurationError`: the settings can't work. Names the key and the fix.
"""

from __future__ import annotations

from enum import StrEnum


class TesError(Exception):
    """Root of every error that this program raises on purpose."""


class Verdict(StrEnum):
    """What an exchange error code says, whatever its number (fact sheet, section 9)."""

    REFUSED = "refused"
    """The exchange did not act and would not act on the same request again."""
    UNKNOWN = "unknown"
    """It may have acted. Settle by evidence."""
    UNAVAILABLE = "unavailable"
    """A read failed, or the exchange is down; on a mutation this counts as unknown."""
    RATE_LIMITED = "rate_limited"
    """Refused unread; say nothing until the time is up."""
    FIREWALL = "firewall"
    """What stands before the exchange answered: say nothing for a while. Of a mutation it proves nothing."""
    AUTH = "auth"
    """Refused because of the key, the signature or the agent."""
    CLOCK = "clock"
    """Refused because of the timestamp or nonce: resync and sign again."""
    NO_OP = "no_op"
    """The wish was already true. Success."""
    GONE = "gone"
    """The order named does not exist (any more)."""


class Refusal(StrEnum):
    """Families of refusals that call for different next steps (fact sheet, section 9)."""

    IMMEDIATE_TRIGGER = "immediate_trigger"
    """The trigger price is already passed: -2021, -4142."""
    REDUCE_ONLY = "reduce_only"
    """Nothing left to reduce, or resting exits already cover the position: -2022, -4118."""
    DUPLICATE_ID = "duplicate_id"
    """An open order has this client order id: it exists. -4116."""
    ORDER_NOT_FOUND = "order_not_found"
    """-2011 on cancel, -2013 on query."""
    MARGIN = "margin"
    """Not enough margin or balance: -2018, -2019."""
    LEVERAGE = "leverage"
    """Position above the bracket at this leverage, or leverage refused: -2027, -2028, -4028, -4161, ..."""
    TOO_MANY_ORDERS = "too_many_orders"
    """-2025, -4045."""
    FILTER = "filter"
    """Price, quantity or notional outside the instrument's rules."""
    SYMBOL = "symbol"
    """The symbol is unknown or not trading: -1121, -4140, -4141, -5024."""
    LIQUIDITY = "liquidity"
    """No counter price within bounds: -4131."""
    RATE_LIMIT = "rate_limit"
    """429, 418, -1003, -1015."""
    AUTH = "auth"
    """Key, signature, permission or region."""
    CLOCK = "clock"
    """-1021, -4225."""
    CONFIG = "config"
    """Account mode or margin type stands in the way: -4046 … -4068, -4168."""
    FORMAT = "format"
    """We sent something malformed: our bug or a changed rule."""
    OTHER = "other"
    """Known to be a refusal, of no family above."""
    UNRECOGNISED = "unrecognised"
    """A code that the fact sheet does not list."""


class ExchangeError(TesError):
    """Something that the exchange, or the way to it, answered."""

    def __init__(self, message: str, *, code: int | None = None, http_status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.http_status = http_status


class RefusedByExchange(ExchangeError):
    """The exchange answered and did not act."""

    def __init__(
        self, message: str, *, family: Refusal, code: int | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message, code=code, http_status=http_status)
        self.family = family


class RateLimited(RefusedByExchange):
    """429, 418, -1003 or -1015: nothing may be sent for ``retry_after_s`` seconds."""

    def __init__(
        self, message: str, *, retry_after_s: float, code: int | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message, family=Refusal.RATE_LIMIT, code=code, http_status=http_status)
        self.retry_after_s = retry_after_s


class AuthRefused(RefusedByExchange):
    """The key, the signature or the agent was refused. Retrying does not help."""

    def __init__(self, message: str, *, code: int | None = None, http_status: int | None = None) -> None:
        super().__init__(message, family=Refusal.AUTH, code=code, http_status=http_status)


class OutcomeUnknown(ExchangeError):
    """A mutation left this machine and its fate is not known (scenario U1)."""


class Unavailable(ExchangeError):
    """A read failed. It proves nothing (scenario U4)."""


class NotSent(ExchangeError):
    """Nothing left this machine: no connection, no budget, or the stamp had expired."""


class StoreUnavailable(TesError):
    """The database refused a write or a read (scenario C2). Nothing that must be durable may be sent."""


class OwnershipLost(StoreUnavailable):
    """Another process has the account now (scenario C4). Nothing more may be written or sent."""


class StoreConflict(TesError):
    """A write found other rows than it expected, and was rolled back whole."""


class UnreadableRecord(TesError):
    """A row on record holds what this program does not know; the message names the row and the column.

    A newer program wrote it, or somebody changed the file. It is one row's fault: the others are read as ever.
    """


class InvariantBroken(TesError):
    """The program contradicts itself."""


class IllegalTransition(InvariantBroken):
    """A state machine met a pair of state and trigger that its table does not have."""


class ConfigurationError(TesError):
    """A setting is unknown, malformed or missing. The message names the key and the fix."""


class ErrorCode(StrEnum):
    """Codes of ``ExecutionResult.error.code`` and of problem documents (contract, section 5)."""

    VALIDATION_ERROR = "validation_error"
    STALE_DECISION = "stale_decision"
    DECISION_CONFLICT = "decision_conflict"
    ACCOUNT_UNKNOWN = "account_unknown"
    ASSET_UNKNOWN = "asset_unknown"
    ASSET_NOT_TRADING = "asset_not_trading"
    LEVERAGE_EXCEEDED = "leverage_exceeded"
    COOLDOWN_ACTIVE = "cooldown_active"
    STOP_LOSS_REQUIRED = "stop_loss_required"
    TAKE_PROFIT_INVALID = "take_profit_invalid"
    STOP_LOSS_INVALID = "stop_loss_invalid"
    QUANTITY_BELOW_MINIMUM = "quantity_below_minimum"
    QUANTITY_ABOVE_MAXIMUM = "quantity_above_maximum"
    NOTIONAL_BELOW_MINIMUM = "notional_below_minimum"
    PRICE_DEVIATION = "price_deviation"
    POSITION_EXISTS = "position_exists"
    POSITION_ABSENT = "position_absent"
    EXPOSURE_LIMIT = "exposure_limit"
    DAILY_LOSS_LIMIT = "daily_loss_limit"
    HALTED = "halted"
    SUPERSEDED = "superseded"
    NOT_READY = "not_ready"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    EXCHANGE_REJECTED = "exchange_rejected"
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    PROTECTION_FAILED = "protection_failed"
    TAKE_PROFIT_MISSING = "take_profit_missing"
    INTERNAL_ERROR = "internal_error"


class DecisionRefused(TesError):
    """We refuse an asset's decision, or the whole of it, before anything was sent.

    ``field`` is the path of the field that is wrong, such as ``decisions[0].sl_price``, where it is one field's fault.
    """

    def __init__(
        self, code: ErrorCode, message: str, *, retry_after_s: float | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.field = field
