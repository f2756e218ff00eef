"""The control API under ``/sim/``: what an exchange would never offer, for tests and paper trading.

Served to loopback only, whatever host the venue listens on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import msgspec
from aiohttp import web

from aster_sim.clock import entropy_hex
from aster_sim.core.errors import VenueError
from aster_sim.core.numbers import parse_decimal
from aster_sim.credentials import AccountSpecError, complete, parse_spec
from aster_sim.faults import FaultError
from aster_sim.feeds.candles import CandleFeed
from aster_sim.http import people, venue_rules
from aster_sim.http.answers import json_response
from aster_sim.http.ledger_view import ledger_body, state_body
from aster_sim.http.market_streams import SLOW_MARK_S, publish_marks
from aster_sim.http.people import ControlError
from aster_sim.runtime import Runtime

_DECODER = msgspec.json.Decoder(float_hook=str)


class Control:
    """Serves the control API."""

    def __init__(self, runtime: Runtime, candles: CandleFeed | None) -> None:
        self._runtime = runtime
        self._candles = candles
        self._routes: Mapping[tuple[str, str], Callable[[web.BaseRequest], Awaitable[Any]]] = {
            ("GET", "/sim/ledger"): self._ledger,
            ("GET", "/sim/state"): self._state,
            ("GET", "/sim/clock"): self._clock,
            ("POST", "/sim/prices"): self._prices,
            ("POST", "/sim/prices/step"): self._step,
            ("GET", "/sim/faults"): self._faults,
            ("POST", "/sim/faults"): self._add_faults,
            ("DELETE", "/sim/faults"): self._clear_faults,
            ("POST", "/sim/accounts"): self._open_account,
            ("POST", "/sim/orders"): self._place,
            ("DELETE", "/sim/orders"): self._cancel,
            ("POST", "/sim/positions"): self._positions,
            ("POST", "/sim/modes"): self._modes,
            ("POST", "/sim/funding"): self._funding,
            ("GET", "/sim/rules"): self._rules,
            ("POST", "/sim/rules"): self._change_rules,
        }

    async def handle(self, request: web.BaseRequest, path: str) -> web.Response:
        """Answer a control request; errors are ``{"error": …}`` with 400, 403 or 404."""
        if not _is_loopback(request.remote):
            return json_response({"error": "the control API is served on loopback only"}, 403)
        if "Origin" in request.headers:
            return json_response({"error": "the control API is not for web pages"}, 403)
        handler = self._routes.get((request.method, path))
        if handler is None:
            known = sorted(f"{method} {name}" for method, name in self._routes)
            return json_response({"error": f"no {request.method} {path}", "known": known}, 404)
        try:
            return json_response(await handler(request))
        except VenueError as refusal:
            return json_response({"error": refusal.msg, **refusal.body()}, 400)
        except (ControlError, FaultError, AccountSpecError) as error:
            return json_response({"error": str(error)}, 400)

    async def _ledger(self, _request: web.BaseRequest) -> Any:
        return ledger_body(self._runtime)

    async def _state(self, _request: web.BaseRequest) -> Any:
        return state_body(self._runtime)

    async def _clock(self, _request: web.BaseRequest) -> Any:
        now = self._runtime.clock.now_us()
        return {"now_us": now, "now_ms": now // 1000}

    async def _prices(self, request: web.BaseRequest) -> Any:
        body = await _object(request)
        venue = self._runtime.venue
        moves = [(venue.market(symbol), *_price(symbol, value)) for symbol, value in body.items()]
        fills = venue.state.fills
        for market, mark, last in moves:
            venue.jump(market.instrument.symbol, mark, last)
        self._runtime.settle()
        return {"prices": _prices_of(self._runtime, list(body)), "fills": venue.state.fills - fills}

    async def _step(self, request: web.BaseRequest) -> Any:
        if self._candles is None:
            raise ControlError("stepping needs the price feed candles:FILE")
        body = await _object(request)
        count = body.get("candles", 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ControlError("candles must be a whole number from 1")
        played = await self._candles.step(count)
        # a stepped market moves faster than the streams' second: without this a client would trade on an old price
        publish_marks(self._runtime.hub, self._runtime.venue.state, SLOW_MARK_S)
        await self._runtime.clock.sleep(0.0)  # the frames are written before this answer is
        return played

    async def _faults(self, _request: web.BaseRequest) -> Any:
        return self._runtime.faults.listing()

    async def _add_faults(self, request: web.BaseRequest) -> Any:
        return self._runtime.faults.add(await _json(request, msgspec.json.Decoder()))

    async def _clear_faults(self, request: web.BaseRequest) -> Any:
        text = request.query.get("id")
        if text is not None and not text.isdigit():
            raise ControlError("id must be a whole number")
        self._runtime.faults.clear(int(text) if text else None)
        return self._runtime.faults.listing()

    async def _open_account(self, request: web.BaseRequest) -> Any:
        spec = parse_spec(await _object(request))
        if spec.name in self._runtime.venue.state.accounts:
            raise ControlError(f"account {spec.name} exists already")
        credentials = complete(spec, entropy_hex)
        try:
            self._runtime.auth.register(credentials)
        except ValueError as error:
            raise ControlError(str(error)) from error
        self._runtime.venue.open_account(spec.name, spec.balance)
        self._runtime.settle()
        return {
            "name": credentials.name,
            "user": credentials.user,
            "signer": credentials.signer,
            "private_key": credentials.private_key,
            "api_key": credentials.api_key,
            "api_secret": credentials.api_secret,
            "balance": format(credentials.balance, "f"),
        }

    async def _place(self, request: web.BaseRequest) -> Any:
        body = await _object(request)
        account = people.account_of(self._runtime, body)
        body.pop("account", None)
        return people.place(self._runtime, account, people.form(body))

    async def _cancel(self, request: web.BaseRequest) -> Any:
        body = await _object(request)
        account = people.account_of(self._runtime, body)
        body.pop("account", None)
        return people.cancel(self._runtime, account, people.form(body))

    async def _positions(self, request: web.BaseRequest) -> Any:
        return people.change_position(self._runtime, await _object(request))

    async def _modes(self, request: web.BaseRequest) -> Any:
        return people.change_modes(self._runtime, await _object(request))

    async def _funding(self, request: web.BaseRequest) -> Any:
        return people.change_funding(self._runtime, await _object(request))

    async def _rules(self, _request: web.BaseRequest) -> Any:
        return venue_rules.shown_rules(self._runtime)

    async def _change_rules(self, request: web.BaseRequest) -> Any:
        return venue_rules.change_rules(self._runtime, await _object(request))


def _is_loopback(remote: str | None) -> bool:
    try:
        return remote is not None and ip_address(remote).is_loopback
    except ValueError:
        return False


async def _json(request: web.BaseRequest, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(await request.read())
    except msgspec.DecodeError as error:
        raise ControlError(f"the body is not JSON: {error}") from error


async def _object(request: web.BaseRequest) -> dict[str, Any]:
    body = await _json(request, _DECODER)
    if not isinstance(body, dict):
        raise ControlError("the body must be a JSON object")
    return body


def _price(symbol: str, value: Any) -> tuple[Decimal, Decimal | None]:
    """(mark, last or None) from ``"96000"`` or ``{"mark": "96000", "last": "95990"}``."""
    texts = value if isinstance(value, dict) else {"mark": value}
    found = {key: parse_decimal(str(texts[key])) for key in ("mark", "last") if key in texts}
    mark = found.get("mark")
    if mark is None or any(price is None or price <= 0 for price in found.values()):
        raise ControlError(f"{symbol}: a price above zero is expected")
    return mark, found.get("last")


def _prices_of(runtime: Runtime, symbols: list[str]) -> dict[str, dict[str, str]]:
    markets = runtime.venue.state.markets
    return {
        symbol: {"mark": str(markets[symbol].prices.mark), "last": str(markets[symbol].prices.last)}
        for symbol in symbols
    }
