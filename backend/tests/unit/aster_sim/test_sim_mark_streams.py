"""Mark prices by the second."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aster_sim.http.market_streams import publish_marks
from support.sim_bench import make_bench


class _Hub:
    """Listens to every stream, and counts the frames of each."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()

    def listened(self, stream: str) -> bool:
        return True

    def publish_market(self, stream: str, data: Any) -> None:
        self.frames[stream] += 1


@pytest.mark.parametrize("stream", ["!markPrice@arr", "btcusdt@markPrice"])
def test_mark_prices_come_each_second_or_each_third(stream):
    hub, bench = _Hub(), make_bench()
    for second in range(6):
        publish_marks(hub, bench.venue.state, second)
    assert (hub.frames[f"{stream}@1s"], hub.frames[stream]) == (6, 2)
