"""What an answer of the exchange means: one literal table of codes, and the rules for everything else.

Source: fact sheet, section 9. The table says what the number means; :func:`classify` also weighs the HTTP status, the
body's shape and whether the request could have changed anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from app.domain.errors import Refusal, Verdict
from app.domain.money import decimal_from_text

Meaning = tuple[Verdict, Refusal]


def _rows(codes: Iterable[int], verdict: Verdict, family: Refusal) -> dict[int, Meaning]:
    return dict.fromkeys((-code for code in codes), (verdict, family))


CODES: Mapping[int, Meaning] = {
    # --- it may have acted
    **_rows((1000, 1001, 1006, 1007, 1016), Verdict.UNKNOWN, Refusal.OTHER),
    # --- too many requests, or too many orders
    **_rows((1003, 1015), Verdict.RATE_LIMITED, Refusal.RATE_LIMIT),
    # --- who we are
    **_rows((1002, 1011, 1022, 2014, 2015, 4109), Verdict.AUTH, Refusal.AUTH),
    **_rows((4087, 4088, 4402, 4403, 5019), Verdict.AUTH, Refusal.AUTH),
    # --- when we say it is
    **_rows((1021, 4225), Verdict.CLOCK, Refusal.CLOCK),
    # --- not there
    **_rows((2011, 2013), Verdict.GONE, Refusal.ORDER_NOT_FOUND),
    **_rows((1125,), Verdict.GONE, Refusal.OTHER),
    # --- already so
    **_rows((4046, 4052, 4059), Verdict.NO_OP, Refusal.CONFIG),
    # --- malformed
    **_rows((1013, 1014, 1020, 1023), Verdict.REFUSED, Refusal.FORMAT),
    **_rows(range(1100, 1107), Verdict.REFUSED, Refusal.FORMAT),
    **_rows(range(1108, 1121), Verdict.REFUSED, Refusal.FORMAT),
    **_rows((1127, 1128, 1130, 1136), Verdict.REFUSED, Refusal.FORMAT),
    **_rows((4015, 4021, 4031, 4060, 4082, 4083, 4144, 4165), Verdict.REFUSED, Refusal.FORMAT),
    **_rows((2026, 4135, 4137, 4138, 4139, 5025), Verdict.REFUSED, Refusal.FORMAT),
    **_rows((1121,), Verdict.REFUSED, Refusal.SYMBOL),
    # --- price, quantity, notional
    **_rows((1111, 4013, 4014, 4016, 4023, 4024, 4164, 4183, 4184), Verdict.REFUSED, Refusal.FILTER),
    **_rows(range(4001, 4008), Verdict.REFUSED, Refusal.FILTER),
    **_rows((5029, 5060, 5076), Verdict.REFUSED, Refusal.FILTER),
    # --- the market
    **_rows((2020, 4131, 5021), Verdict.REFUSED, Refusal.LIQUIDITY),
    **_rows((2021, 4142), Verdict.REFUSED, Refusal.IMMEDIATE_TRIGGER),
    **_rows((2016, 4140, 4141, 5024), Verdict.REFUSED, Refusal.SYMBOL),
    # --- the account
    **_rows((2018, 2019), Verdict.REFUSED, Refusal.MARGIN),
    **_rows((2022, 2024, 4118), Verdict.REFUSED, Refusal.REDUCE_ONLY),
    **_rows((2025, 4045), Verdict.REFUSED, Refusal.TOO_MANY_ORDERS),
    **_rows((2027, 2028, 4028, 4161, 5018), Verdict.REFUSED, Refusal.LEVERAGE),
    **_rows(range(4202, 4210), Verdict.REFUSED, Refusal.LEVERAGE),
    **_rows((4047, 4048, 4061, 4062, 4067, 4068, 4168, 5020), Verdict.REFUSED, Refusal.CONFIG),
    **_rows((4116,), Verdict.REFUSED, Refusal.DUPLICATE_ID),
    **_rows((2010, 2023, 4192, 5022, 5026), Verdict.REFUSED, Refusal.OTHER),
}

_GENERAL_SERVER_CODES = range(-1019, -999)
"""Server and network troubles; a code in here that the fact sheet doesn't list may hide an execution."""

ASKS_FOR_SILENCE = frozenset({Verdict.RATE_LIMITED, Verdict.FIREWALL})
"""After these nothing is sent for a while."""

_AUTH_WORDS = ("signature", "agent", "nonce")
_BANNED_UNTIL = re.compile(r"until (\d{13})")
_MESSAGE_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that is no success. ``retry_after_s`` is only set when the exchange named a time."""

    verdict: Verdict
    family: Refusal
    code: int | None
    message: str
    http_status: int
    retry_after_s: float | None = None
    banned_until_ms: int | None = None


class ErrorBody(msgspec.Struct):
    """``{"code": -1121, "msg": "Invalid symbol."}``; some acknowledgements carry the code as text."""

    code: int | str | None = None
    msg: str | None = None

    def number(self) -> int | None:
        """The code as a number, or None when there is none."""
        try:
            return int(self.code) if self.code is not None else None
        except ValueError:
            return None


_decode_error = msgspec.json.Decoder(ErrorBody).decode


def _read_error(body: bytes) -> ErrorBody | None:
    """The error inside ``body``; None when it is no JSON object."""
    try:
        return _decode_error(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = decimal_from_text(text.strip())
    except ValueError:
        return None
    return max(0.0, float(seconds))


def meaning_of(code: int, message: str) -> Meaning:
    """What a code says, before the kind of request is considered."""
    if code == -1000 and any(word in message.lower() for word in _AUTH_WORDS):
        return Verdict.AUTH, Refusal.AUTH
    known = CODES.get(code)
    if known is not None:
        return known
    if code in _GENERAL_SERVER_CODES:
        return Verdict.UNKNOWN, Refusal.UNRECOGNISED
    return Verdict.REFUSED, Refusal.UNRECOGNISED


def is_no_op(code: int | None) -> bool:
    """Whether a refusal says that the wish was already true (scenario L5)."""
    return code is not None and CODES.get(code, (None,))[0] is Verdict.NO_OP


def _failure(http_status: int, error: ErrorBody | None, headers: Mapping[str, str], meaning: Meaning) -> Failure:
    verdict, family = meaning
    message = (error.msg if error is not None and error.msg else f"HTTP {http_status}")[:_MESSAGE_LENGTH]
    until = _BANNED_UNTIL.search(message) if verdict is Verdict.RATE_LIMITED else None
    return Failure(
        verdict=verdict,
        family=family,
        code=error.number() if error is not None else None,
        message=message,
        http_status=http_status,
        retry_after_s=_retry_after(headers) if verdict in ASKS_FOR_SILENCE else None,
        banned_until_ms=int(until[1]) if until is not None else None,
    )


def classify(http_status: int, body: bytes, headers: Mapping[str, str], *, is_mutation: bool) -> Failure | None:
    """Say what became of a request, or None when it succeeded.

    Args:
        http_status: as received.
        body: as received, whatever it is.
        headers: looked up in lower case.
        is_mutation: whether the request could have changed something. Then each doubt is ``UNKNOWN`` (scenario U1);
            for a read the same doubt is ``UNAVAILABLE`` (scenario U4).
    """
    if http_status == 200 and b'"code"' not in body and body[:1] in (b"{", b"["):
        return None
    error = _read_error(body)
    meaning = _weigh(http_status, body, error, Verdict.UNKNOWN if is_mutation else Verdict.UNAVAILABLE)
    return _failure(http_status, error, headers, meaning) if meaning is not None else None


def _weigh(http_status: int, body: bytes, error: ErrorBody | None, doubt: Verdict) -> Meaning | None:
    """The rules by status come first, then the code, then the shape; None is success."""
    if http_status in (429, 418):
        return Verdict.RATE_LIMITED, Refusal.RATE_LIMIT
    if http_status < 200 or http_status >= 500:
        return doubt, Refusal.OTHER
    number = error.number() if error is not None else None
    if error is not None and number is not None and number < 0:
        verdict, family = meaning_of(number, error.msg or "")
        if http_status in (401, 403) and verdict not in (Verdict.CLOCK, Verdict.RATE_LIMITED):
            return Verdict.AUTH, Refusal.AUTH
        return doubt if verdict is Verdict.UNKNOWN else verdict, family
    if http_status == 403:
        return Verdict.FIREWALL, Refusal.RATE_LIMIT
    if http_status == 401:
        return Verdict.AUTH, Refusal.AUTH
    if http_status == 200 and (error is not None or body.lstrip()[:1] == b"["):
        return None
    return doubt, Refusal.OTHER


def classify_element(element: bytes) -> Failure | None:
    """The same for one element of a batch answer, which is an order or an error (fact sheet, section 4)."""
    return classify(200, element, {}, is_mutation=True)
