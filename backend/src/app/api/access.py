"""Who may ask: one bearer token, compared in constant time (contract, sections 6 and 9)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from app.api.problems import unauthorized
from app.core.settings import is_loopback

if TYPE_CHECKING:
    from app.bootstrap import Application

WRONG_TOKEN_DELAY_S = 0.1
"""Slows guessing down; stays below the 250 ms that the contract allows."""

BEARER_SCHEME = HTTPBearer(auto_error=False, description="The API token: TES_API_TOKEN, or printed at start")


def application_of(connection: HTTPConnection) -> Application:
    """The application that serves this connection."""
    application: Application = connection.app.state.application
    return application


def is_right_token(application: Application, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(token.encode(), application.api_token.encode())


def bearer_token(connection: HTTPConnection) -> str | None:
    """The token of the ``Authorization`` header, or None without one of that kind."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def require_token(request: Request) -> None:
    """Let a request with the right token pass. Wrong ones are slowed, never locked out.

    Raises:
        Problem: 401.
    """
    application = application_of(request)
    token = bearer_token(request)
    if token is not None and is_right_token(application, token):
        return
    if token is not None:
        await application.clock.sleep(WRONG_TOKEN_DELAY_S)
    raise unauthorized()


async def require_token_from_afar(request: Request) -> None:
    """As :func:`require_token`, but a caller on this machine needs none. One behind a proxy does."""
    is_forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    if request.client is None or is_forwarded or not is_loopback(request.client.host):
        await require_token(request)


TOKEN = [Depends(BEARER_SCHEME), Depends(require_token)]
"""Dependencies of every route that shows or changes anything."""
