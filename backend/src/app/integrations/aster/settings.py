"""What may be tuned about the client. The defaults suit AsterDEX."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.integrations.aster.gateway import ReadPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class AsterSettings:
    """Times in the unit of their name.

    ``fence_window_s`` is the exchange's nonce window (fact sheet, section 2), ``fence_margin_s`` what is added to it,
    or to ``recv_window_ms`` in v1, before a request counts as dead. ``entry_lifetime_s`` is for how long the exchange
    shall take an entry after it was stamped; None leaves it the whole window. ``request_timeout_s`` holds for each
    read, ``order_timeout_s`` for each mutation: shorter, because within the protection deadline a lost one is tried
    again.
    """

    fence_window_s: float = 60.0
    fence_margin_s: float = 5.0
    entry_lifetime_s: float | None = None
    recv_window_ms: int = 5000
    request_timeout_s: float = 10.0
    order_timeout_s: float = 3.0
    time_samples: int = 3
    read_policy: ReadPolicy = field(default_factory=ReadPolicy)
