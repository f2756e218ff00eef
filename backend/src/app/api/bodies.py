"""The body of a request, within its limit (contract, section 9)."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request

from app.api.problems import Problem
from app.domain.errors import ErrorCode

MAXIMUM_BODY_BYTES = 256 * 1024
_MOST_DISCARDED_BYTES = 8 * 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The body, refused when it is too large.

    What is too large is still read up to a bound, and thrown away: a server that closes on a client that is still
    sending takes its own answer back.

    Raises:
        Problem: 413.
        ClientDisconnect: it did not arrive.
    """
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAXIMUM_BODY_BYTES:
            body += chunk
        elif size > _MOST_DISCARDED_BYTES:
            break
    if size > MAXIMUM_BODY_BYTES:
        raise _too_large()
    return bytes(body)


def _too_large() -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.VALIDATION_ERROR,
        f"the body is larger than {MAXIMUM_BODY_BYTES // 1024} KiB: send fewer assets, or shorter texts",
        headers={"Connection": "close"},
    )
