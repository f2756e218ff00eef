"""The user stream while the database takes nothing more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from story import START

from app.domain.errors import StoreUnavailable
from app.domain.reports import StreamUp
from app.services.execution.hearing import Hearing
from app.services.execution.narration import Narrator
from app.services.execution.projection import Projection
from app.services.execution.reconciliation import Reach
from app.services.execution.routing import StreamRouter


def test_a_full_database_does_not_take_the_stream_down() -> None:
    """C2: fills go on protecting positions."""

    def refuse(_: Any) -> None:
        raise StoreUnavailable("20000 records wait for the database already")

    trades: Any = type("Trades", (), {"record_events": staticmethod(refuse)})()
    nothing: Any = None
    voided: list[bool] = []
    market: Any = SimpleNamespace(margin=SimpleNamespace(void=lambda: voided.append(True)))
    asked: list[Reach] = []
    router = StreamRouter(
        projection=Projection(),
        market=market,
        narrator=Narrator(account_id="default", is_paper=True, new_id=lambda: "id", now=lambda: START),
        trades=trades,
        clock=nothing,
        on_order=nothing,
        on_forced=nothing,
        on_position=nothing,
        request_reconciliation=asked.append,
        on_fill=nothing,
        on_booking=nothing,
        has_external_stop=lambda _: False,
        hearing=Hearing(),
        exchange_time=lambda: START,
    )
    router.take(StreamUp(had_gap=True))
    assert router.is_up
    assert asked == [Reach.WHOLE]
    assert voided == [True]  # Z4: what happened to the account meanwhile was not heard
