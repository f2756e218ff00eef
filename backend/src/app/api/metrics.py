"""Numbers for Prometheus, in a registry of their own: what happened, from the event log; how things are, when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.version import program_version
from app.domain.errors import StoreUnavailable
from app.domain.events import EventType, RecordedEvent
from app.events.dispatcher import SlowSubscriber

if TYPE_CHECKING:
    from app.bootstrap import Application

_LOG = structlog.get_logger(__name__)
_RETRY_S = 1.0


class Metrics:
    """The service's counters and gauges. Counters start at zero with the process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # they double the number of series, and nobody asks for them
        self.registry = CollectorRegistry()
        self._events = Counter("tes_events", "Events written to the log.", ["type", "account"], registry=self.registry)
        self._decisions = Counter(
            "tes_decisions", "Decisions that ended, by status.", ["status", "account"], registry=self.registry
        )
        self._drift = Counter(
            "tes_drift",
            "Differences between record and exchange, by kind.",
            ["kind", "account"],
            registry=self.registry,
        )
        self._requests = Counter(
            "tes_http_requests", "HTTP requests answered.", ["method", "status"], registry=self.registry
        )
        self._ready = Gauge("tes_ready", "Whether the account takes decisions.", ["account"], registry=self.registry)
        self._positions = Gauge("tes_positions", "Open positions.", ["account"], registry=self.registry)
        self._unknown = Gauge(
            "tes_unknown_orders",
            "Orders that were sent and of which nobody knows yet what became.",
            ["account"],
            registry=self.registry,
        )
        self._oldest_unknown = Gauge(
            "tes_oldest_unknown_order_seconds",
            "For how long the oldest of them has been out; 0 when there is none.",
            ["account"],
            registry=self.registry,
        )
        self._seq = Gauge("tes_last_seq", "seq of the newest event published.", registry=self.registry)
        information = Gauge("tes_info", "Version of the service.", ["version"], registry=self.registry)
        information.labels(program_version()).set(1)

    def count_request(self, method: str, status: int) -> None:
        """Count an answered HTTP request."""
        self._requests.labels(method, str(status)).inc()

    def render(self, application: Application) -> bytes:
        """Everything as Prometheus text, the gauges as they are now."""
        for account_id, readiness in application.readiness().items():
            self._ready.labels(account_id).set(readiness.is_ready)
        for account_id, service in application.services.items():
            self._positions.labels(account_id).set(len(service.positions().items))
            unknown_s = service.unknown_orders_s()
            self._unknown.labels(account_id).set(len(unknown_s))
            self._oldest_unknown.labels(account_id).set(max(unknown_s, default=0))
        self._seq.set(application.dispatcher.last_seq)
        return generate_latest(self.registry)

    async def follow(self, application: Application) -> None:
        """Count events from now on, until the dispatcher closes."""
        after = await application.events.last_seq()
        while not application.dispatcher.is_closed:
            try:
                async with application.dispatcher.subscribe(after) as events:
                    async for recorded in events:
                        after = recorded.seq
                        self._count(recorded)
            except (SlowSubscriber, StoreUnavailable) as error:
                _LOG.warning("metrics.interrupted", reason=str(error))
                await application.clock.sleep(_RETRY_S)

    def _count(self, recorded: RecordedEvent) -> None:
        event = recorded.event
        self._events.labels(event.type.value, event.account_id).inc()
        if event.type in (EventType.DECISION_COMPLETED, EventType.DECISION_REJECTED):
            self._decisions.labels(str(event.data.get("status", "rejected")), event.account_id).inc()
        elif event.type is EventType.DRIFT_FOUND:
            self._drift.labels(str(event.data["kind"]), event.account_id).inc()


class RequestCounter:
    """ASGI middleware that counts answers; outermost, so that it sees every one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count_request(scope["method"], message["status"])
            await send(message)

        await self._app(scope, receive, counting)
