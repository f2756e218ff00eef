"""What may become of a request: the families of bad luck that a world draws from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request. ``done``: the exchange acts on it, whatever it then says."""

    name: str
    done: bool = True
    status: int = 0
    code: int = 0
    message: str = ""
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    wait: str = ""
    """``reset``: the connection breaks; ``silence``: nothing ever comes; ``slow``: the answer takes seconds; ``late``:
    the request does; ``stuck``: it is admitted in time, and acted on when nobody expects it any more."""


def _error(name: str, status: int, code: int, message: str, *, done: bool, retry_after: str = "") -> Fate:
    headers = (("retry-after", retry_after),) if retry_after else ()
    return Fate(name, done, status, code, message, headers=headers)


NOTHING = Fate("")
FATES: Mapping[str, tuple[Fate, ...]] = {
    "lost": (
        Fate("reset before", done=False, wait="reset"),
        Fate("silence before", done=False, wait="silence"),
        Fate("reset after", wait="reset"),
        Fate("silence after", wait="silence"),
    ),
    "slow": (Fate("slow", wait="slow"),),
    "late": (Fate("late", wait="late"),),
    "stuck": (Fate("stuck", wait="stuck"),),
    "unknown": (
        _error("503 executed", 503, -1001, "Internal error; unable to process your request.", done=True),
        _error("503", 503, -1001, "Internal error; unable to process your request.", done=False),
        _error("-1007 executed", 408, -1007, "Timeout waiting for response from backend server.", done=True),
        _error("-1007", 408, -1007, "Timeout waiting for response from backend server.", done=False),
        _error("-1006 executed", 400, -1006, "An unexpected response was received.", done=True),
        _error("-1000 executed", 400, -1000, "An unknown error occurred while processing the request.", done=True),
        _error("-1000", 400, -1000, "An unknown error occurred while processing the request.", done=False),
        Fate("html executed", True, 502, body=HTML),
        Fate("html", False, 502, body=HTML),
        Fate("cut off", True, 200, body=b'{"orderId": 10'),
    ),
    "unreadable": (Fate("html in a 200 executed", True, 200, body=HTML),),
    "limited": (
        _error("429", 429, -1003, "Too many requests.", done=False, retry_after="2"),
        _error("429 without a time", 429, -1003, "Too many requests.", done=False),
        _error("-1015", 429, -1015, "Too many new orders.", done=False, retry_after="1"),
    ),
    "refused": (
        _error("-2022", 400, -2022, "ReduceOnly Order is rejected.", done=False),
        _error("-2021", 400, -2021, "Order would immediately trigger.", done=False),
        _error("-4045", 400, -4045, "Reach max stop order limit.", done=False),
        _error("-4131", 400, -4131, "The counterparty's best price does not meet PERCENT_PRICE.", done=False),
        _error("-2019", 400, -2019, "Margin is insufficient.", done=False),
        _error("-4999", 400, -4999, "Something new that no document mentions.", done=False),
    ),
    "clock": (_error("-1021", 400, -1021, "Timestamp for this request is outside of the recvWindow.", done=False),),
    "auth": (_error("-2015", 401, -2015, "Invalid API-key, IP, or permissions for action.", done=False),),
}  # fmt: skip
"""What may happen, by family. Families of mutations that make no sense for a read are skipped there."""
ORDERS_ONLY = ("refused", "stuck", "unreadable")
BY_NAME: Mapping[str, Fate] = {fate.name: fate for family in FATES.values() for fate in family}
DONE_AND_UNTOLD = ("reset after", "silence after", "503 executed", "-1007 executed", "-1006 executed",
                   "-1000 executed", "html executed", "cut off", "html in a 200 executed")  # fmt: skip
"""Fates after which an order is there and its sender does not know."""


@dataclass(slots=True)
class Weather:
    """Chances per request, by family of :data:`FATES` or by the name of one fate.

    ``is_cut`` is a network without a way to the exchange.
    """

    chances: dict[str, float] = field(default_factory=dict)
    befalling: dict[str, Fate] = field(default_factory=dict)
    """What meets every request of one kind: placements by the letter of the order's role, or by that and the attempt;
    reads by the end of their path. Chances for all requests seldom let a decision come so far that the one in question
    is sent."""
    history_lag_s: float = 0.0
    """For how long an execution is not shown among the user's trades (scenario U3)."""
    leverage_lag_s: float = 0.0
    """How long the exchange takes to set a leverage (scenario Z8)."""
    is_cut: bool = False
    latency_s: float = 0.05
    """The usual way there, and the usual way back."""
    jitter: float = 0.5
    """Spread of the latency, as the sigma of a logarithmic normal distribution."""
