"""How long commits take, and how many fail: measured by the writer, read by whoever watches over the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from app.core.clock import SystemClock

_BOUNDS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class CommitMeter:
    """Measures commits on the host's own clock, for a disk takes the host's time. Both metrics are in no registry."""

    def __init__(self) -> None:
        self._monotonic = SystemClock().monotonic
        self.seconds = Histogram(
            "tes_database_commit_seconds",
            "Time of one commit, which up to 256 units share.",
            registry=None,
            buckets=_BOUNDS_S,
        )
        self.failures = Counter("tes_database_failures", "Commits that the database did not take.", registry=None)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure one commit; it counts as a failure when it raises."""
        started_at = self._monotonic()
        try:
            yield
        except BaseException:
            self.failures.inc()
            raise
        self.seconds.observe(self._monotonic() - started_at)
