"""The command line's way to a running service: its HTTP API, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from app.cli.exits import ServiceRefused, ServiceUnreachable

_TIMEOUT_S = 150
_CONNECT_TIMEOUT_S = 5


class ServiceClient:
    """One service. Use it through :func:`connected`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, has_token: bool) -> None:
        self._session = session
        self._url = url
        self._has_token = has_token

    async def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer to a GET; None parameters are left out.

        Raises:
            ServiceRefused: the service said no.
            ServiceUnreachable: nobody answered.
        """
        return await self._request("GET", path, parameters)

    async def post(self, path: str, body: bytes | None = None, **parameters: Any) -> Any:
        """The JSON answer to a POST; raises as :meth:`get`."""
        return await self._request("POST", path, parameters, body)

    async def submit(self, body: bytes) -> tuple[dict[str, Any], bool]:
        """Send a decision without waiting for its end: the result so far, and whether it was known already.

        Raises as :meth:`get`.
        """
        content, headers = await self._exchange("POST", "/v1/decisions", {"wait": 0}, body)
        return content, headers.get("Idempotent-Replay") == "true"

    async def explain(self, body: bytes) -> dict[str, Any]:
        """What a decision would do, if it were sent.

        Raises as :meth:`get`.
        """
        explanation: dict[str, Any]
        explanation, _ = await self._exchange("POST", "/v1/decisions", {"dry_run": "true"}, body)
        return explanation

    async def events(self, after: int) -> AsyncIterator[dict[str, Any]]:
        """The live event log behind ``after``, until the service ends the stream.

        Raises:
            ServiceRefused: the service said no, or ended the stream for a reason of its own.
            ServiceUnreachable: nobody answered, or the connection was lost.
        """
        try:
            async with self._session.ws_connect(f"{self._url}/v1/stream?after={after}") as stream:
                async for message in stream:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        yield json.loads(message.data)
                if stream.close_code not in (None, aiohttp.WSCloseCode.OK, aiohttp.WSCloseCode.GOING_AWAY):
                    raise ServiceUnreachable(f"the stream was closed with code {stream.close_code}: run it again")
        except aiohttp.WSServerHandshakeError as error:
            raise self._refusal(error.status, error.message) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from None

    async def _request(self, method: str, path: str, parameters: Mapping[str, Any], body: bytes | None = None) -> Any:
        return (await self._exchange(method, path, parameters, body))[0]

    async def _exchange(
        self, method: str, path: str, parameters: Mapping[str, Any], body: bytes | None
    ) -> tuple[Any, Mapping[str, str]]:
        query = {name: str(value) for name, value in parameters.items() if value is not None}
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._session.request(
                method, f"{self._url}{path}", params=query, data=body, headers=headers
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from None
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if answer.status >= 400:
            raise self._refusal(answer.status, _detail(document))
        if document is None:
            raise ServiceUnreachable(f"{self._url} is no trading execution service: give the right --url")
        return document, answer.headers

    def _refusal(self, status: int, detail: str | None) -> ServiceRefused:
        if status == 401:
            hint = "the token is wrong" if self._has_token else "a token is needed"
            return ServiceRefused(f"{hint}: give --token or TES_TOKEN, the API token that 'tes serve' printed")
        return ServiceRefused(detail or f"the service answered {status}")

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        kind = "does not answer in time" if isinstance(error, TimeoutError) else "can't be reached"
        return ServiceUnreachable(
            f"the service at {self._url} {kind}: start it with 'tes serve --paper', or give its address with --url"
        )


def _detail(document: Any) -> str | None:
    """The words of a problem document."""
    if not isinstance(document, dict) or "detail" not in document:
        return None
    return f"{document['detail']} ({document.get('code', document.get('status'))})"


@asynccontextmanager
async def connected(url: str, token: str | None) -> AsyncIterator[ServiceClient]:
    """A client of the service at ``url``."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=_CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield ServiceClient(session, url.rstrip("/"), has_token=token is not None)
