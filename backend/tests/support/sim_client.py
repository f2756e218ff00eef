"""A small AsterDEX client for tests: signs with eth-account, independently of both our packages."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from yarl import URL

_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "Message": [{"name": "msg", "type": "string"}],
}


def sign_v3(message: str, private_key: str, chain_id: int) -> str:
    """The 0x signature of an EIP-712 ``Message(string msg)`` by the reference implementation."""
    from eth_account import Account  # takes a second to import: only where something is signed
    from eth_account.messages import encode_typed_data

    typed = {
        "types": _TYPES,
        "primaryType": "Message",
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": "0x" + "0" * 40,
        },
        "message": {"msg": message},
    }
    signed = Account.sign_message(encode_typed_data(full_message=typed), private_key)
    return "0x" + signed.signature.hex().removeprefix("0x")


@dataclass(frozen=True)
class Answer:
    """Status, parsed body (text when it is not JSON) and headers of one call."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> int | None:
        """The error code of a refusal."""
        return self.body.get("code") if isinstance(self.body, dict) else None


class SimClient:
    """Talks to a running venue as one of its accounts; ``venue`` is a ``RunningVenue``."""

    def __init__(self, venue: Any, account: int | str = 0) -> None:
        self._venue = venue
        rows = venue.accounts
        self.account = rows[account] if isinstance(account, int) else next(row for row in rows if row.name == account)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._last_nonce = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    def nonce(self) -> int:
        """A fresh nonce: the venue's microseconds, rising."""
        self._last_nonce = max(self._last_nonce + 1, self._venue.venue.state.now_us())
        return self._last_nonce

    def signed(self, params: Mapping[str, Any], *, nonce: int | None = None, with_user: bool = True) -> str:
        """The form string of a v3 request, signature last."""
        rows = {**params, "nonce": str(nonce if nonce is not None else self.nonce())}
        if with_user:
            rows["user"] = self.account.user
        rows["signer"] = self.account.signer
        message = urlencode(rows)
        signature = sign_v3(message, self.account.private_key, self._venue.chain_id)
        return f"{message}&signature={signature}"

    async def raw(
        self, method: str, path: str, *, query: str = "", body: str = "", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request exactly as given."""
        url = URL(f"{self._venue.rest_url}{path}" + (f"?{query}" if query else ""), encoded=True)
        sent = dict(headers or {})
        if body:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        async with self._http.request(method, url, data=body or None, headers=sent) as response:
            text = await response.text()
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = text
            return Answer(response.status, parsed, dict(response.headers))

    async def call(
        self, method: str, name: str, params: Mapping[str, Any] | None = None, *, nonce: int | None = None
    ) -> Answer:
        """A signed v3 call of ``/fapi/v3/<name>``: GET in the query, the others in the body."""
        text = self.signed(params or {}, nonce=nonce)
        path = f"/fapi/v3/{name}"
        if method == "GET":
            return await self.raw(method, path, query=text)
        return await self.raw(method, path, body=text)

    async def call_v1(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        """A signed v1 call; ``path`` is whole."""
        rows = {**(params or {}), "timestamp": str(self._venue.venue.state.now_ms())}
        text = urlencode(rows)
        signature = hmac.new(self.account.api_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        text = f"{text}&signature={signature}"
        headers = {"X-MBX-APIKEY": self.account.api_key}
        if method == "GET":
            return await self.raw(method, path, query=text, headers=headers)
        return await self.raw(method, path, body=text, headers=headers)

    async def public(self, name: str, **params: Any) -> Answer:
        """An unsigned GET of ``/fapi/v3/<name>``."""
        return await self.raw("GET", f"/fapi/v3/{name}", query=urlencode(params))

    async def order(self, **params: Any) -> Answer:
        """``POST /fapi/v3/order``."""
        return await self.call("POST", "order", params)

    async def control(self, method: str, name: str, payload: Any = None) -> Any:
        """The parsed answer of a control call ``/sim/<name>``; anything but 200 fails the test."""
        async with self._http.request(method, f"{self._venue.control_url}/{name}", json=payload) as response:
            body = await response.json()
            assert response.status == 200, body
            return body

    async def set_prices(self, **prices: str) -> Any:
        """Move prices through the control API."""
        return await self.control("POST", "prices", prices)

    async def user_stream(self) -> UserStream:
        """A connected user stream."""
        answer = await self.call("POST", "listenKey")
        assert answer.status == 200, answer.body
        return await self.stream(answer.body["listenKey"])

    async def stream(self, name: str) -> UserStream:
        """A connected raw stream ``/ws/<name>``."""
        return UserStream(await self._http.ws_connect(f"{self._venue.ws_url}/ws/{name}"))


class UserStream:
    """Frames of one socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """The next frame."""
        frame: dict[str, Any] = await self.socket.receive_json(timeout=timeout_s)
        return frame

    async def take(self, count: int) -> list[dict[str, Any]]:
        """The next frames."""
        return [await self.next() for _ in range(count)]

    async def send(self, payload: Any) -> None:
        """Send a command."""
        await self.socket.send_json(payload)

    async def close(self) -> None:
        """Hang up."""
        await self.socket.close()
