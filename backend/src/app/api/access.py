"""Who may ask: bearer tokens with scopes, compared in constant time (contract, sections 6 and 9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from app.api.problems import Problem, unauthorized
from app.api.protocol import ADMIT
from app.core.settings import is_loopback
from app.core.tokens import Scope, TokenBook, TokenRecord, record_of

if TYPE_CHECKING:
    from app.bootstrap import Application

WRONG_TOKEN_DELAY_S = 0.1
"""Slows guessing down; stays below the 250 ms that the contract allows."""

_OF_PROXIES = frozenset({"forwarded", "via", "x-real-ip"})

BEARER_SCHEME = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="The API token: `TES_API_TOKEN`, the one printed at start, or one of `TES_API_TOKENS_FILE`.",
)


def application_of(connection: HTTPConnection) -> Application:
    """The application that serves this connection."""
    application: Application = connection.app.state.application
    return application


def token_book(application: Application) -> TokenBook:
    """The tokens that open this application: ``TES_API_TOKEN`` may do everything, the others what their scope says."""
    own = record_of("TES_API_TOKEN", Scope.ADMIN, application.api_token)
    return TokenBook((own, *application.settings.api_tokens))


def bearer_token(connection: HTTPConnection) -> str | None:
    """The token of the ``Authorization`` header, or None without one of that kind."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def identify(connection: HTTPConnection, token: str) -> TokenRecord:
    """The owner of a token. A right one spares its connection when there are too many; a wrong one is answered late.

    Raises:
        Problem: 401.
    """
    book: TokenBook = connection.app.state.tokens
    record = book.find(token)
    if record is None:
        await application_of(connection).clock.sleep(WRONG_TOKEN_DELAY_S)
        raise unauthorized()
    admit = connection.scope.get("extensions", {}).get(ADMIT)
    if admit is not None:  # a caller in this process has no connection
        admit()
    return record


async def _require(request: Request, scope: Scope) -> None:
    token = bearer_token(request)
    if token is None:
        raise unauthorized()
    record = await identify(request, token)
    if not record.scope.includes(scope):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            f"the token {record.name} may {record.scope.value}, which this needs more than: use one with the scope "
            f"{scope.value}",
        )


def _dependency(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    async def require_scope(request: Request) -> None:
        await _require(request, scope)

    return require_scope


def needs(scope: Scope) -> list[Any]:
    """Dependencies of a route that only a token of this scope, or a wider one, opens."""
    return [Depends(BEARER_SCHEME), Depends(_dependency(scope))]


async def require_token_from_afar(request: Request) -> None:
    """Let programs on this machine read without a token; a request from elsewhere, or through a proxy, needs one.

    A token that is shown has to be right, wherever it comes from.

    Raises:
        Problem: 401, or 403 for a token without a scope.
    """
    if bearer_token(request) is not None or not _is_direct(request):
        await _require(request, Scope.READ)


def _is_direct(request: Request) -> bool:
    """Whether this machine asks for itself, as far as the request shows it.

    The ``Host`` must be this machine's, so that a web page whose name was bound to 127.0.0.1 reads nothing. HTTP/1.0 is
    what nginx speaks unless told otherwise, with a ``Host`` of this machine and no header that gives it away. A proxy
    that hides better can't be told from a program on this machine, so what needs no token shows no money.
    """
    headers = request.headers
    is_forwarded = request.scope["http_version"] == "1.0" or any(
        name in _OF_PROXIES or name.startswith("x-forwarded-") for name in headers
    )
    is_near = request.client is not None and is_loopback(request.client.host)
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return False
    return is_near and not is_forwarded and is_loopback(host)
