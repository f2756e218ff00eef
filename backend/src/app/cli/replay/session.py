"""The lock-step of candles and decisions: one candle, then whatever it filled is settled, then perhaps a decision.

Nothing waits for a fixed time: after a step with fills the trades concerned are read again at each event about them,
until record and venue agree.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from app.cli.exits import CommandFailed
from app.cli.replay.rule import LOOKBACK_BARS, Bar, TrendRule
from app.client.connection import Connection
from app.client.errors import Unreachable

_ANSWER_WITHIN_S = 60
_SETTLE_WITHIN_S = 60
_HELD = frozenset({"protected", "filled"})
_OURS = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How far to play and how often to decide."""

    bars: int
    decisions: int
    seed: int

    @property
    def bars_between_decisions(self) -> int:
        """One decision each so many bars, after the rule has seen enough."""
        return max(1, (self.bars - LOOKBACK_BARS) // self.decisions)


@dataclass(slots=True)
class Held:
    """A position that a trade of ours opened."""

    trade_id: str
    side: str


@dataclass(slots=True)
class Outcome:
    """What was played, and what the service answered: one entry of ``results`` for each asset of each decision."""

    bars: int = 0
    decisions: int = 0
    results: list[dict[str, Any]] = field(default_factory=list)
    closed_at_end: int = 0


class EventWatch:
    """Wakes whoever waits for news about a trade."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    async def follow(self, service: Connection, after: int) -> None:
        """Read the event stream until cancelled.

        Raises:
            Unreachable: the stream was lost, or ended.
        """
        async for _ in service.events(after):
            self._news.set()
        raise Unreachable("the service ended its event stream in the middle of the replay")

    def expect(self) -> None:
        """Count only events from now on as news."""
        self._news.clear()

    async def news(self) -> None:
        """Wait for an event behind the last :meth:`expect`."""
        await self._news.wait()


class Replay:
    """One replay, from the first candle to the last position closed."""

    def __init__(
        self,
        plan: Plan,
        rule: TrendRule,
        service: Connection,
        venue: Connection,
        on_progress: Callable[[Outcome], None],
    ) -> None:
        self._plan = plan
        self._rule = rule
        self._service = service
        self._venue = venue
        self._on_progress = on_progress
        self._watch = EventWatch()
        self._held: dict[str, Held] = {}
        self._opened: dict[str, int] = {}
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        """Play everything.

        Raises:
            Unreachable: the service or the venue fell silent.
            CommandFailed: the record did not follow the venue in time.
        """
        after = (await self._service.get("/v1/status"))["last_seq"]
        playing = asyncio.create_task(self._play())
        following = asyncio.create_task(self._watch.follow(self._service, after))
        try:
            await asyncio.wait((playing, following), return_when=asyncio.FIRST_COMPLETED)
            if following.done() and not playing.done():
                following.result()
            return playing.result()
        finally:
            for task in (playing, following):
                task.cancel()
            await asyncio.gather(playing, following, return_exceptions=True)

    async def _play(self) -> Outcome:
        outcome, every = self._outcome, self._plan.bars_between_decisions
        while outcome.bars < self._plan.bars:
            step = await self._venue.post("/prices/step", b'{"candles": 1}')
            outcome.bars += 1
            self._see(step["candles"])
            if step["fills"]:
                await self._settle()
            since_warm = outcome.bars - LOOKBACK_BARS
            if since_warm >= 0 and since_warm % every == 0 and outcome.decisions < self._plan.decisions:
                await self._decide()
            self._on_progress(outcome)
            if step["done"]:
                break
        await self._close_rest()
        return outcome

    def _see(self, candles: dict[str, dict[str, Any]]) -> None:
        """Show the rule what closed now; an asset with a gap in its file still has its last candle here."""
        for asset, candle in candles.items():
            if self._opened.get(asset) != candle["openTime"]:
                self._opened[asset] = candle["openTime"]
                prices = (Decimal(candle[name]) for name in ("high", "low", "close"))
                self._rule.see(asset, Bar(*prices))

    async def _decide(self) -> None:
        """Send what the rule says, and wait for its end."""
        items = self._rule.decide({asset: held.side for asset, held in self._held.items()})
        self._outcome.decisions += 1
        decision = {"decision_id": f"replay-{self._plan.seed}-{self._outcome.decisions}", "decisions": items}
        result = await self._service.post("/v1/decisions", json.dumps(decision).encode(), wait=_ANSWER_WITHIN_S)
        for item in result["results"]:
            self._outcome.results.append(item)
            if item["status"] in _HELD:
                self._held[item["asset"]] = Held(item["trade_id"], item["side"])
        await self._settle()

    async def _settle(self) -> None:
        """Wait until the record of each held trade shows what the venue shows; forget those that are over."""
        if not self._held:
            return
        state = await self._venue.get("/state")
        rows = state["accounts"][_OURS]["positions"]
        amounts = {row["symbol"]: abs(Decimal(row["amount"])) for row in rows}
        for asset, held in list(self._held.items()):
            if await self._settled(held.trade_id, amounts.get(asset, Decimal(0))):
                del self._held[asset]

    async def _settled(self, trade_id: str, quantity: Decimal) -> bool:
        """Wait until the trade holds ``quantity``, protected, or is closed when that is zero; whether it is over.

        Raises:
            CommandFailed: that did not happen in time.
        """
        shown: dict[str, Any] = {}
        try:
            async with asyncio.timeout(_SETTLE_WITHIN_S):
                while True:
                    self._watch.expect()
                    shown = await self._service.get(f"/v1/trades/{trade_id}")
                    if shown["status"] == "closed" and not quantity:
                        return True
                    if shown["status"] == "open" and Decimal(shown["open_quantity"]) == quantity > 0:
                        return False
                    await self._watch.news()
        except TimeoutError:
            raise CommandFailed(
                f"after {_SETTLE_WITHIN_S} s the record of trade {trade_id} still says {shown.get('status')} with "
                f"{shown.get('open_quantity')} open, while the venue holds {quantity} {shown.get('asset', '')}"
            ) from None

    async def _close_rest(self) -> None:
        """Close what is open after the last candle, through the API."""
        self._outcome.closed_at_end = len(self._held)
        if self._held:
            await self._service.post("/v1/positions/close")
            await self._settle()
