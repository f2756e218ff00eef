"""What became of alerts, for Prometheus: read from each channel's delivery when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from app.events.alerts.delivery import Delivery


class AlertCollector(Collector):
    """``tes_alerts_total`` of every channel, which is named by its place in ``TES_ALERT_URLS``."""

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counts as they are now."""
        family = CounterMetricFamily(
            "tes_alerts",
            "Messages that an alert channel took or that were given up, and alerts without a message of their own.",
            labels=["channel", "outcome"],
        )
        for delivery in self._deliveries:
            channel = str(delivery.number)
            family.add_metric([channel, "sent"], delivery.sent)
            family.add_metric([channel, "failed"], delivery.failed)
            family.add_metric([channel, "suppressed"], delivery.suppressed)
        yield family
