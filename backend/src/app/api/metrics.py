"""Numbers for Prometheus, in a registry of their own: what happened, from the event log; how things are, when asked.

``docs/metrics.md`` describes each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.alert_metrics import AlertCollector
from app.api.gauges import OF_MONEY, Gauges
from app.api.stopwatch import Stopwatch
from app.domain.events import Event, EventType
from app.domain.trades import CloseReason
from app.schemas.result import ResultStatus
from app.services.execution.reconciliation import DifferenceKind

if TYPE_CHECKING:
    from app.bootstrap import Application


class Metrics:
    """The service's counters and histograms, which begin at zero with the process, and its gauges."""

    def __init__(self, application: Application, readers: Callable[[], int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # they double the number of series, and nobody asks for them
        self._application = application
        self.registry = CollectorRegistry()
        self._events = self._counter("tes_events", "Events written to the log.", "type", "account")
        self._decisions = self._counter("tes_decisions", "Decisions that ended, by status.", "status", "account")
        self._drift = self._counter("tes_drift", "Differences between record and exchange, by kind.", "kind", "account")
        self._alerts = self._counter("tes_alerts_raised", "Alerts raised.", "code", "severity", "account")
        self._closed = self._counter("tes_trades_closed", "Trades closed, by reason.", "reason", "account")
        self._requests = self._counter("tes_http_requests", "HTTP requests answered.", "method", "status")
        self._stopwatch = Stopwatch(self.registry)
        self.registry.register(application.database.meter.seconds)
        self.registry.register(application.database.meter.failures)
        self.registry.register(AlertCollector(application.deliveries))
        self.registry.register(Gauges(application, readers))
        ProcessCollector(registry=self.registry)
        self._begin_at_zero(application.accounts)

    def _begin_at_zero(self, accounts: Iterable[str]) -> None:
        """A series that begins at one has not risen, so that an alert rule would miss the first of its kind."""
        for account_id in accounts:
            for type_ in EventType:
                self._events.labels(type_.value, account_id)
            for status in frozenset(ResultStatus) - {ResultStatus.PENDING}:
                self._decisions.labels(status.value, account_id)
            for kind in DifferenceKind:
                self._drift.labels(kind.value, account_id)
            for reason in CloseReason:
                self._closed.labels(reason.value, account_id)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def count_request(self, method: str, status: int) -> None:
        """Count an answered HTTP request."""
        self._requests.labels(method, str(status)).inc()

    def render(self, *, with_money: bool = True) -> bytes:
        """Everything as Prometheus text, the gauges as they are now, or all but those of money."""
        return generate_latest(self.registry if with_money else _Moneyless(self.registry))

    async def follow(self) -> None:
        """Count events from now on, until the dispatcher closes."""
        application = self._application
        after = await application.events.last_seq()
        await application.dispatcher.follow(
            after, application.clock, lambda one: self._count(one.event), name="metrics"
        )

    def _count(self, event: Event) -> None:
        data, account_id = event.data, event.account_id
        self._events.labels(event.type.value, account_id).inc()
        match event.type:
            case EventType.DECISION_COMPLETED | EventType.DECISION_REJECTED:
                self._decisions.labels(str(data["status"]), account_id).inc()
                self._stopwatch.read(event)
            case EventType.DRIFT_FOUND:
                self._drift.labels(str(data["kind"]), account_id).inc()
            case EventType.ALERT_RAISED:
                self._alerts.labels(str(data["code"]), str(data["severity"]), account_id).inc()
            case EventType.TRADE_CLOSED if not data.get("is_correction"):
                self._closed.labels(str(data["close_reason"]), account_id).inc()


class _Moneyless(Collector):
    """A registry without the gauges that tell of money."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """Every other one."""
        return (family for family in self._registry.collect() if family.name not in OF_MONEY)


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
