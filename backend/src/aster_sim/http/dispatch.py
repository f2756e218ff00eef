"""From an HTTP request to its answer: limits, faults, authentication, handler, durability, reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from aster_sim.core import errors
from aster_sim.core.errors import VenueError
from aster_sim.core.ledger import RequestRecord
from aster_sim.faults import RequestFaults
from aster_sim.http.account_routes import ACCOUNT_ROUTES, V1_ROUTES, V3_ROUTES
from aster_sim.http.answers import fault_response, json_response
from aster_sim.http.calls import Call, Route, Security, parse_params
from aster_sim.http.limits import WEIGHT_HEADER
from aster_sim.http.order_routes import AMEND_ROUTE, ORDER_ROUTES, batch_size
from aster_sim.http.public_routes import PUBLIC_ROUTES, SPOT_ROUTES
from aster_sim.http.risk_routes import RISK_ROUTES, RISK_V3_ROUTES
from aster_sim.http.strategy_routes import STRATEGY_ROUTES, STRATEGY_V3_ROUTES
from aster_sim.http.tape_routes import TAPE_ROUTES
from aster_sim.runtime import Runtime

ORDERS_MINUTE_HEADER = "X-MBX-ORDER-COUNT-1M"
ORDERS_BURST_HEADER = "X-MBX-ORDER-COUNT-10S"


class DropConnection(Exception):
    """Close the connection without an answer."""


def all_routes() -> dict[tuple[str, str], tuple[Route, bool]]:
    """(method, path) → (route, whether it is of the v3 family)."""
    table: dict[tuple[str, str], tuple[Route, bool]] = {}
    for routes in (PUBLIC_ROUTES, TAPE_ROUTES, ORDER_ROUTES, ACCOUNT_ROUTES, RISK_ROUTES, STRATEGY_ROUTES):
        for (method, name), route in routes.items():
            table[method, f"/fapi/v3/{name}"] = (route, True)
            table[method, f"/fapi/v1/{name}"] = (route, False)
    table["PUT", "/fapi/v3/order"] = (AMEND_ROUTE, True)
    table.update({key: (route, True) for key, route in (*V3_ROUTES.items(), *SPOT_ROUTES.items())})
    table.update({key: (route, True) for key, route in (*RISK_V3_ROUTES.items(), *STRATEGY_V3_ROUTES.items())})
    table.update({key: (route, False) for key, route in V1_ROUTES.items()})
    return table


class Arrival(msgspec.Struct, frozen=True):
    """A REST call as it came in; ``body`` and ``query`` are the raw text that signatures cover."""

    method: str
    path: str
    query: str
    body: str
    ip: str
    api_key: str | None


class Reply(NamedTuple):
    """What a REST call is answered: status, JSON payload, headers beside the usual ones."""

    status: int
    payload: Any
    headers: Mapping[str, str]


class Dispatcher:
    """Serves REST calls."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._routes = all_routes()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one REST call, with the faults that are planned for it.  Raises DropConnection when one says so."""
        path, _, query = request.raw_path.partition("?")
        body = (await request.read()).decode("latin-1") if request.can_read_body else ""
        key = request.headers.get("X-MBX-APIKEY")
        arrival = Arrival(request.method, path, query, body, request.remote or "local", key)
        headers: dict[str, str] = {}
        try:
            route, call, claimed = self._admit(arrival, headers)
            faults = self._runtime.faults.for_request(arrival.method, path, call.params, claimed)
            if faults is None:
                return json_response(self._act(route, call, arrival, headers), headers=headers)
            return await self._serve_faulty(faults, route, call, arrival, headers)
        except VenueError as refusal:
            headers.update(refusal.headers)
            return json_response(refusal.body(), refusal.status, headers)

    def answer(self, arrival: Arrival) -> Reply:
        """Answer one REST call at once; only while no fault is planned."""
        headers: dict[str, str] = {}
        try:
            route, call, _ = self._admit(arrival, headers)
            return Reply(200, self._act(route, call, arrival, headers), headers)
        except VenueError as refusal:
            headers.update(refusal.headers)
            return Reply(refusal.status, refusal.body(), headers)

    def _admit(self, arrival: Arrival, headers: dict[str, str]) -> tuple[Route, Call, str]:
        """Find the route, count the weight, open the ledger's record; and whose request this claims to be."""
        runtime = self._runtime
        found = self._routes.get((arrival.method, arrival.path))
        if found is None:
            raise errors.NOT_SIMULATED.error(what=f"{arrival.method} {arrival.path}")
        route, v3 = found
        params = parse_params(arrival.query, arrival.body)
        now_us = runtime.clock.now_us()
        used = runtime.limits.spend_weight(arrival.ip, route.weight(params), now_us)
        headers[WEIGHT_HEADER] = str(used)
        api_key = None if v3 else arrival.api_key
        v3 = v3 or (api_key is None and "signer" in params)  # ccxt signs the v1 family the v3 way too
        claimed = "" if route.security is Security.NONE else runtime.auth.claimed_account(params, api_key)
        record: RequestRecord | None = None
        if route.ledgered:
            origin = "v3" if v3 else "v1"
            record = runtime.venue.ledger.open(now_us, claimed, origin, arrival.method, arrival.path, params)
        return route, Call(runtime, arrival.method, arrival.path, params, v3, record=record), claimed

    def _act(self, route: Route, call: Call, arrival: Arrival, headers: dict[str, str]) -> Any:
        """Authenticate, do it, make it durable; the payload.  Raises VenueError."""
        record, now_us = call.record, self._runtime.clock.now_us()
        try:
            self._authenticate(route, call, arrival, now_us)
            if route.places:
                self._count_orders(call, headers, now_us)
            payload = route.handler(call)
        except VenueError as refusal:
            if record is not None:
                record.outcome, record.code, record.msg = "refused", refusal.code, refusal.msg
            self._runtime.settle()
            raise
        self._runtime.settle()
        if record is not None:
            record.outcome = "executed"
        return payload

    async def _serve_faulty(
        self, faults: RequestFaults, route: Route, call: Call, arrival: Arrival, headers: dict[str, str]
    ) -> web.Response:
        answer = await self._before(faults, call.record, arrival.ip)
        if answer is not None:
            return answer
        try:
            answer = json_response(self._act(route, call, arrival, headers), headers=headers)
        except VenueError as refusal:
            headers.update(refusal.headers)
            answer = json_response(refusal.body(), refusal.status, headers)
        return await self._after(faults, call.record, answer)

    def _authenticate(self, route: Route, call: Call, arrival: Arrival, now_us: int) -> None:
        runtime, query, body = self._runtime, arrival.query, arrival.body
        if route.security is Security.NONE or (route.security is Security.MARKET and call.v3):
            return
        if call.v3:
            joined = f"{query}&{body}" if query and body else query or body
            call.account_name = runtime.auth.verify_v3(
                joined.encode("latin-1"),
                call.params,
                now_us,
                guarded=route.guarded,
                lasting=call.method != "GET",
            )
        elif route.security in {Security.KEY, Security.MARKET}:
            call.account_name = runtime.auth.verify_key(arrival.api_key).account
        else:
            call.account_name = runtime.auth.verify_v1(
                (query + body).encode("latin-1"), call.params, arrival.api_key, now_us // 1000
            )

    def _count_orders(self, call: Call, headers: dict[str, str], now_us: int) -> None:
        orders = batch_size(call.params) if call.path.endswith("/batchOrders") else 1
        minute, burst = self._runtime.limits.spend_orders(call.account_name, orders, now_us)
        headers[ORDERS_MINUTE_HEADER], headers[ORDERS_BURST_HEADER] = str(minute), str(burst)

    async def _before(self, faults: RequestFaults, record: RequestRecord | None, ip: str) -> web.Response | None:
        """Faults that act before the venue sees the request; an answer when it never will."""
        if record is not None:
            record.fault = ",".join(faults.names)
        if faults.delay_before_s:
            await self._runtime.clock.sleep(faults.delay_before_s)
        ending = faults.ending
        if ending is None or ending.type == "drop_after" or (ending.type == "error" and ending.executed):
            return None
        if record is not None:
            record.outcome, record.delivered = "fault", False
        if ending.type == "drop_before":
            raise DropConnection
        if ending.type == "ban":
            raise self._runtime.limits.ban(ip, ending.seconds, self._runtime.clock.now_us())
        return fault_response(ending)

    async def _after(self, faults: RequestFaults, record: RequestRecord | None, answer: web.Response) -> web.Response:
        """Faults that act when the venue has done its work."""
        if faults.delay_after_s:
            await self._runtime.clock.sleep(faults.delay_after_s)
        ending = faults.ending
        if ending is None:
            return answer
        if record is not None:
            record.delivered = False
        if ending.type == "drop_after":
            raise DropConnection
        return fault_response(ending)
