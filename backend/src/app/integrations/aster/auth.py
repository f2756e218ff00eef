"""Who we are, for either version of the API: stamps, signatures and headers behind one interface.

A stamp is taken before a request is signed, so that an intent can be made durable with its nonce before it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from app.domain.errors import ConfigurationError
from app.domain.reports import RequestStamp
from app.integrations.aster.exchange_clock import ExchangeClock, datetime_from_us
from app.integrations.aster.nonce import NonceAllocator
from app.integrations.aster.signing import V1Signer, V3Signer

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class V3Credentials:
    """A master account and the agent key that signs for it. ``signer`` may be left out: the key tells it."""

    user: str
    private_key: str = field(repr=False)
    chain_id: int
    signer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class V1Credentials:
    """An API key and its secret."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


Credentials = V3Credentials | V1Credentials


class Authenticator(Protocol):
    """Stamps and signs."""

    @property
    def is_v3(self) -> bool:
        """Which family of paths belongs to it."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of signed requests, and of those that only name the key."""
        ...

    def stamp(self) -> RequestStamp:
        """A fresh stamp. Raises ``ClockNotSynchronised`` before the exchange's time is known."""
        ...

    def entry_stamp(self) -> RequestStamp:
        """A stamp of an entry, dead sooner where that was asked for. Raises as :meth:`stamp`."""
        ...

    def is_alive(self, stamp: RequestStamp) -> bool:
        """Whether the exchange would still take a request with this stamp, as far as its clock is known."""
        ...

    def is_fresh(self, stamp: RequestStamp) -> bool:
        """Whether the exchange will take it, although others may have left since it was taken."""
        ...

    def leaves(self, stamp: RequestStamp) -> None:
        """Note that a request with this stamp leaves now."""
        ...

    def sign(self, form: str, stamp: RequestStamp) -> str:
        """``form`` with stamp, identity and signature appended: what is transmitted, to the letter."""
        ...


class V3Authenticator:
    """EIP-712: nonce, user and signer follow the parameters and are signed with them; the signature comes last.

    Args:
        credentials: the agent's key must belong to ``signer`` when that is named.
        window_s: for how long after its nonce the exchange takes a request (60 s since 2026-07, fact sheet, section 2).
        margin_s: how much longer we wait before calling a stamp dead: clock error and queueing.
        entry_lifetime_s: for how long the exchange shall take an entry, by a nonce from the past; None: for the whole
            window (docs/adr/0004).

    Raises:
        ConfigurationError: an address or the key is malformed, or they don't belong together.
    """

    is_v3 = True
    headers: Mapping[str, str] = {"Content-Type": _FORM}

    def __init__(
        self,
        credentials: V3Credentials,
        clock: ExchangeClock,
        *,
        window_s: float,
        margin_s: float,
        entry_lifetime_s: float | None = None,
        nonces: NonceAllocator | None = None,
    ) -> None:
        self._signer = V3Signer(credentials.private_key, credentials.chain_id)
        if _ADDRESS.fullmatch(credentials.user) is None:
            raise ConfigurationError("TES_ASTER_USER must be an address: 0x and 40 hexadecimal digits")
        signer = credentials.signer or self._signer.address
        if signer.lower() != self._signer.address.lower():
            raise ConfigurationError(
                f"TES_ASTER_SIGNER is {signer}, but TES_ASTER_PRIVATE_KEY belongs to {self._signer.address}"
            )
        self._clock = clock
        self._nonces = nonces if nonces is not None else NonceAllocator(clock.now_us)
        self._identity = f"&user={credentials.user}&signer={signer}"
        self._window_us = int(window_s * 1_000_000)
        self._dead_after = timedelta(seconds=window_s + margin_s)
        self._entry_age_us = self._window_us - int((entry_lifetime_s or window_s) * 1_000_000)

    def stamp(self) -> RequestStamp:
        """A fresh nonce. Raises ``ClockNotSynchronised`` before the exchange's time is known."""
        return self._stamp_of(self._nonces.allocate())

    def entry_stamp(self) -> RequestStamp:
        """See :meth:`Authenticator.entry_stamp`: the fence follows from the nonce, however far back it could be put."""
        if self._entry_age_us <= 0:
            return self.stamp()
        return self._stamp_of(self._nonces.allocate_earlier(self._entry_age_us))

    def _stamp_of(self, nonce: int) -> RequestStamp:
        return RequestStamp(value=nonce, dead_after=datetime_from_us(nonce) + self._dead_after)

    def is_alive(self, stamp: RequestStamp) -> bool:
        """Whether the nonce is still within the exchange's window."""
        return self._clock.now_us() - stamp.value < self._window_us

    def is_fresh(self, stamp: RequestStamp) -> bool:
        """See :meth:`Authenticator.is_fresh`: it refuses what is older than the signer's newest hundred."""
        return self.is_alive(stamp) and not self._nonces.is_overtaken(stamp.value)

    def leaves(self, stamp: RequestStamp) -> None:
        """See :meth:`Authenticator.leaves`."""
        self._nonces.leaves(stamp.value)

    def sign(self, form: str, stamp: RequestStamp) -> str:
        """See :meth:`Authenticator.sign`."""
        message = f"{form}&nonce={stamp.value}{self._identity}" if form else f"nonce={stamp.value}{self._identity}"
        return f"{message}&signature={self._signer.sign(message)}"


class V1Authenticator:
    """HMAC: ``recvWindow`` and a timestamp in milliseconds are signed; the key travels in a header.

    Args:
        recv_window_ms: for how long after its timestamp the exchange takes a request; at most 60,000.
        margin_s: as for :class:`V3Authenticator`.

    Raises:
        ConfigurationError: key or secret is empty, or the window is out of range.
    """

    is_v3 = False

    def __init__(
        self, credentials: V1Credentials, clock: ExchangeClock, *, recv_window_ms: int, margin_s: float
    ) -> None:
        if not credentials.api_key or not credentials.api_key.isascii() or not credentials.api_key.isprintable():
            raise ConfigurationError("TES_ASTER_API_KEY must be the key that AsterDEX shows, on one line")
        if not 0 < recv_window_ms <= 60_000:
            raise ConfigurationError("the receive window must be between 1 and 60,000 ms")
        self._signer = V1Signer(credentials.api_secret)
        self._clock = clock
        self._recv_window_ms = recv_window_ms
        self._dead_after = timedelta(milliseconds=recv_window_ms, seconds=margin_s)
        self.headers: Mapping[str, str] = {"Content-Type": _FORM, "X-MBX-APIKEY": credentials.api_key}

    def stamp(self) -> RequestStamp:
        """The present timestamp. Raises ``ClockNotSynchronised`` before the exchange's time is known."""
        now_ms = self._clock.now_us() // 1000
        return RequestStamp(value=now_ms, dead_after=datetime_from_us(now_ms * 1000) + self._dead_after)

    def entry_stamp(self) -> RequestStamp:
        """The same as any other: ``recvWindow`` is short already."""
        return self.stamp()

    def is_alive(self, stamp: RequestStamp) -> bool:
        """Whether the timestamp is still within ``recvWindow``."""
        return self._clock.now_us() // 1000 - stamp.value < self._recv_window_ms

    def is_fresh(self, stamp: RequestStamp) -> bool:
        """See :meth:`Authenticator.is_fresh`: half of the window is left for the way."""
        return 2 * (self._clock.now_us() // 1000 - stamp.value) < self._recv_window_ms

    def leaves(self, stamp: RequestStamp) -> None:
        """Timestamps know no order."""

    def sign(self, form: str, stamp: RequestStamp) -> str:
        """See :meth:`Authenticator.sign`."""
        suffix = f"recvWindow={self._recv_window_ms}&timestamp={stamp.value}"
        message = f"{form}&{suffix}" if form else suffix
        return f"{message}&signature={self._signer.sign(message)}"
