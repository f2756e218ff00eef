"""How a call can end without its answer. Nothing else is raised but what is wrong in the caller's own arguments."""

from __future__ import annotations


class ClientError(Exception):
    """Root of the errors of this package."""


class Refused(ClientError):
    """The service said no: a problem document (RFC 9457). ``code`` is stable, ``detail`` is for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        exchange_code: int | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        """Path of the field or parameter that is wrong, such as ``decisions[0].sl_price``."""
        self.retry_after_s = retry_after_s
        self.exchange_code = exchange_code

    @property
    def is_passing(self) -> bool:
        """Whether the same call can work later: the service starts, is busy, or its exchange does not answer."""
        return self.status in (408, 429, 503)


class Unreachable(ClientError):
    """Nobody answered, or the connection was lost: whether a call was carried out is not known.

    A decision may be sent again with its id: it is never carried out twice.
    """


class NotTheService(Unreachable):
    """Somebody answered, and not as this service does: the address is another program's."""
