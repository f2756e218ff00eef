"""The seam between the client and the network: one request, one socket, and what is known when they fail.

The simulation puts its own network here. The real one is :mod:`app.integrations.aster.aiohttp_transport`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from app.domain.errors import ConfigurationError, TesError


class TransportNotSent(TesError):
    """No byte of the request left this machine."""


NOT_OURS = "this process can't be sure that it still owns the account, so it sends nothing"
"""Why a request was not written whose ``may_send`` said no."""


class TransportOutcomeUnknown(TesError):
    """The request left, at least in part, and no whole answer came back."""


class StreamLost(TesError):
    """A stream could not be opened, or has ended."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as received. ``headers`` is looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends each request at most once, whatever happens."""

    async def request(
        self, method: str, path: str, query: str, body: str, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        """Send ``query`` and ``body`` exactly as given, which is how they were signed.

        Raises:
            TransportNotSent: nothing left this machine.
            TransportOutcomeUnknown: it left; reset or timed out before the whole answer was here.
        """
        ...

    async def close(self) -> None:
        """Give back the sockets; closing twice is allowed."""
        ...


class TransportFactory(Protocol):
    """Makes the transport of one account."""

    def __call__(self, rest_url: str, may_send: Callable[[], bool]) -> Transport:
        """A transport to ``rest_url`` that asks ``may_send`` when a request is about to be written, not before.

        To open a connection takes seconds at times, and the account may be another process's by then (scenario C4).
        Where the answer is no, nothing leaves: TransportNotSent. Reads ask too, for their nonces are the owner's (L3).
        """
        ...


class StreamConnection(Protocol):
    """One WebSocket. Pings are answered below this seam."""

    async def receive(self) -> str:
        """The next text frame.

        Raises:
            StreamLost: the connection has ended; the message says how.
        """
        ...

    async def send(self, text: str) -> None:
        """Say something to the exchange.

        Raises:
            StreamLost: the connection has ended.
        """
        ...

    async def close(self) -> None:
        """Close the socket; closing twice is allowed."""
        ...


class StreamConnector(Protocol):
    """Opens WebSockets."""

    async def connect(self, path: str) -> StreamConnection:
        """Open ``path`` at the exchange's stream host.

        Raises:
            StreamLost: it could not be opened.
        """
        ...

    async def close(self) -> None:
        """Give back the sockets; closing twice is allowed."""
        ...


def is_loopback(host: str | None) -> bool:
    """Whether ``host`` names this machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def checked_base_url(url: str, *, secure: str, plain: str, setting: str) -> str:
    """``url`` without trailing slash, when it is safe to send signed requests to it.

    Raises:
        ConfigurationError: no ``secure`` URL, and no ``plain`` one to this machine.
    """
    parts = urlsplit(url)
    if parts.hostname is None or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(f"{setting} must look like {secure}://host, without credentials or query")
    if parts.scheme == secure or (parts.scheme == plain and is_loopback(parts.hostname)):
        return url.rstrip("/")
    raise ConfigurationError(f"{setting} must start with {secure}:// ({plain}:// is only allowed to this machine)")
