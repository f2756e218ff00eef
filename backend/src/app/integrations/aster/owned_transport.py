"""The last question before a request leaves: is the account still this process's to trade (scenario C4)?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.integrations.aster.transport import Response, Transport, TransportNotSent


class OwnedTransport:
    """A transport that sends only while ``may_send`` says so; reads too, for their nonces are the owner's (L3)."""

    def __init__(self, transport: Transport, may_send: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_send = may_send

    async def request(
        self, method: str, path: str, query: str, body: str, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        """Send, as the transport does.

        Raises:
            TransportNotSent: also when the account may be another process's.
            TransportOutcomeUnknown: as the transport.
        """
        if not self._may_send():
            raise TransportNotSent("this process can't be sure that it still owns the account, so it sends nothing")
        return await self._transport.request(method, path, query, body, headers, timeout_s)

    async def close(self) -> None:
        """Close the transport."""
        await self._transport.close()
