"""The lock-step: no candle is played before the record shows what the last one filled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from app.cli.replay.rule import LOOKBACK_BARS, Size, TrendRule
from app.cli.replay.session import Outcome, Plan, Replay
from app.client.errors import Unreachable
from support.patience import PATIENCE_S

BARS = LOOKBACK_BARS + 3


class FakeVenue:
    """A rising market; the bar after the entry fills its target."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.played = 0
        self.amount = "0"

    async def post(self, path: str, body: bytes) -> Any:
        assert (path, json.loads(body)) == ("/prices/step", {"candles": 1})
        self.story.append("step")
        self.played += 1
        candle = {"openTime": self.played, "high": "105", "low": "95", "close": str(100 + self.played)}
        hits = self.amount != "0"
        if hits:
            self.amount = "0"
        return {"candles": {"BTCUSDT": candle}, "fills": int(hits), "done": False}

    async def get(self, path: str) -> Any:
        assert path == "/state"
        rows = [{"symbol": "BTCUSDT", "amount": self.amount}] if self.amount != "0" else []
        return {"accounts": {"default": {"positions": rows}}}


class FakeService:
    """Enters at once; its record follows an exit only when ``shown`` says so."""

    def __init__(self, venue: FakeVenue, story: list[str]) -> None:
        self.venue = venue
        self.story = story
        self.news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.statuses: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    async def get(self, path: str) -> Any:
        if path == "/v1/status":
            return {"last_seq": 0}
        assert path == "/v1/trades/t-1"
        if self.venue.amount != "0":
            return {"status": "open", "open_quantity": "1"}
        self.story.append("look")
        status = self.statuses.pop(0)
        if status != "closed":
            asyncio.get_running_loop().call_soon(self.news.put_nowait, {"type": "OrderUpdated"})
        return {"status": status, "open_quantity": "0"}

    async def post(self, path: str, body: bytes | None = None, **_query: Any) -> Any:
        if path == "/v1/positions/close":
            self.story.append("close")
            self.venue.amount = "0"
            self.statuses = ["closed"]
            return {"items": []}
        assert path == "/v1/decisions"
        decision = json.loads(body or b"")
        self.bodies.append(decision)
        self.story.append("decide")
        self.venue.amount = "1"
        item = {"asset": "BTCUSDT", "status": "protected", "trade_id": "t-1", "side": "long", "error": None}
        return {"results": [item]}

    async def events(self, _after: int) -> AsyncIterator[dict[str, Any]]:
        while (event := await self.news.get()) is not None:
            yield event


async def played(plan: Plan, service: FakeService, venue: FakeVenue) -> Outcome:
    rule = TrendRule(Size(Decimal(1000), 5))
    replay = Replay(plan, rule, service, venue, lambda _outcome: None)  # type: ignore[arg-type]
    return await asyncio.wait_for(replay.run(), PATIENCE_S)


async def test_a_fill_is_waited_for_until_the_record_shows_the_trade_closed() -> None:
    story: list[str] = []
    venue = FakeVenue(story)
    service = FakeService(venue, story)
    service.statuses = ["open", "closing", "closed"]
    outcome = await played(Plan(bars=BARS, decisions=1, seed=7), service, venue)
    after = story[story.index("decide") + 1 :]
    assert after == ["step", "look", "look", "look", "step", "step"]
    assert (outcome.bars, outcome.decisions, outcome.closed_at_end) == (BARS, 1, 0)


async def test_what_is_open_after_the_last_candle_is_closed_through_the_api() -> None:
    story: list[str] = []
    venue = FakeVenue(story)
    service = FakeService(venue, story)
    outcome = await played(Plan(bars=LOOKBACK_BARS, decisions=1, seed=7), service, venue)
    assert story[-3:] == ["decide", "close", "look"]
    assert outcome.closed_at_end == 1


async def test_each_decision_has_an_id_of_its_own_that_names_the_seed() -> None:
    story: list[str] = []
    venue = FakeVenue(story)
    service = FakeService(venue, story)
    service.statuses = ["closed"] * 10
    await played(Plan(bars=BARS, decisions=3, seed=7), service, venue)
    assert [body["decision_id"] for body in service.bodies] == ["replay-7-1", "replay-7-2", "replay-7-3"]


async def test_a_lost_event_stream_ends_the_replay() -> None:
    story: list[str] = []
    venue = FakeVenue(story)
    service = FakeService(venue, story)
    service.statuses = ["closing"]
    service.news.put_nowait(None)
    with pytest.raises(Unreachable):
        await played(Plan(bars=BARS, decisions=1, seed=7), service, venue)
