"""How long entries took from decision to protection, from what the results say: nothing is measured on the way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from app.domain.events import Event
from app.schemas.decision import Action
from app.schemas.result import AssetStatus

_BOUNDS_S = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
_STAGES = {
    "received_to_sent": "From a decision's arrival to its order on the wire, the durable record in between.",
    "sent_to_filled": "From there to the first execution.",
    "filled_to_protected": "From there until every exit that was asked for rests on the book.",
}
_KEPT = 1000
_MAY_BE_CORRECTED = frozenset(
    {AssetStatus.FAILED.value, AssetStatus.PARTIALLY_PROTECTED.value, AssetStatus.UNPROTECTED.value}
)


class Stopwatch:
    """Reads the timings of decisions that have ended, of each asset once.

    A result that turns out to be wrong is told again (scenario U10): an asset counts when its result is final.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stages = {
            stage: Histogram(f"tes_{stage}_seconds", text, ["account"], registry=registry, buckets=_BOUNDS_S)
            for stage, text in _STAGES.items()
        }
        self._read: OrderedDict[str | None, set[str]] = OrderedDict()

    def read(self, event: Event) -> None:
        """Take the end of a decision."""
        results: list[Mapping[str, Any]] = event.data["results"]
        known = self._read.pop(event.decision_id, set())
        open_ones = {one["asset"] for one in results if one["status"] in _MAY_BE_CORRECTED}
        for one in results:
            # a close tells the timings of the way out, and these are those of the way in
            if one["asset"] not in known | open_ones and one["action"] != Action.CLOSE_POSITION.value:
                self._observe(event.account_id, one.get("timings_ms") or {})
        if open_ones:
            self._read[event.decision_id] = {one["asset"] for one in results} - open_ones
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)

    def _observe(self, account_id: str, timings_ms: Mapping[str, float | None]) -> None:
        for stage, histogram in self._stages.items():
            took_ms = timings_ms.get(stage)
            if took_ms is not None:
                histogram.labels(account_id).observe(took_ms / 1000)
