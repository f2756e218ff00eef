"""The Decision Engine of a world: sends decisions, sends them again when it was not answered, and remembers it all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.domain.errors import DecisionRefused, ErrorCode
from app.schemas.decision import TradingDecision, parse_decision
from app.schemas.result import ExecutionResult
from aster_sim.core.market import Market
from proof.exchange import Exchange
from proof.process import Process
from proof.trace import Trace

if TYPE_CHECKING:
    from app.services.execution.service import ExecutionService

_WAIT_S = 20.0
_PAUSE_S = 0.4
_PATIENCE_S = 240.0
_BPS = Decimal(10_000)


class Died(Exception):
    """The process died before it answered."""


@dataclass(slots=True)
class Ordered:
    """A decision, and everything that was said about it."""

    decision_id: str
    account: str
    decision: TradingDecision
    at: float
    told: list[tuple[float, ExecutionResult]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    conflicts: bool = False
    """Whether it was sent with another body under an id that is taken."""

    @property
    def final(self) -> ExecutionResult | None:
        """The last result that it was told."""
        return self.told[-1][1] if self.told else None


class Engine:
    """Orders, and how they were answered."""

    def __init__(self, exchange: Exchange, trace: Trace, present: Callable[[], Process | None]) -> None:
        self.ordered: list[Ordered] = []
        self._exchange = exchange
        self._trace = trace
        self._present = present
        self._running: list[asyncio.Task[None]] = []

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is still open."""
        return any(not task.done() for task in self._running)

    def order(
        self, now: float, account: str, decision_id: str, items: list[dict[str, Any]], repeats: int, again_as: str = ""
    ) -> None:
        """Send a decision, ``repeats`` times at once; ``again_as`` sends another one under its id beside it."""
        body: dict[str, Any] = {"decision_id": decision_id, "account_id": account,
                                "decisions": [self._item(item) for item in items]}  # fmt: skip
        ordered = Ordered(decision_id, account, parse_decision(json.dumps(body)), now)
        self.ordered.append(ordered)
        self._trace.note("decide", f"{decision_id} {json.dumps(body['decisions'])}")
        self._running += [asyncio.create_task(self._deliver(ordered)) for _ in range(repeats)]
        if again_as:
            body["portfolio_rationale"] = again_as
            other = Ordered(decision_id, account, parse_decision(json.dumps(body)), now, conflicts=True)
            self.ordered.append(other)
            self._running.append(asyncio.create_task(self._deliver(other)))

    def ask_again(self) -> None:
        """Send every decision that was answered once more: it must be answered with the same (C5)."""
        answered = [ordered for ordered in self.ordered if ordered.final is not None and not ordered.conflicts]
        self._running += [asyncio.create_task(self._deliver(ordered)) for ordered in answered]

    def _item(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        item = {name: value for name, value in wish.items() if not name.endswith(("_bps", "_percent"))}
        market = self._exchange.market(wish["asset"])
        sign = 1 if wish["action"] == "buy" else -1
        for name, direction in (("sl", -sign), ("tp", sign)):
            if f"{name}_bps" in wish:
                price = market.prices.mark * (1 + direction * Decimal(wish[f"{name}_bps"]) / _BPS)
                tick = market.instrument.tick
                item[f"{name}_price"] = str((price / tick).to_integral_value() * tick)
        for name in ("position_adjustment", "order_adjustment"):
            if name in wish:
                item[name] = self._adjustment(wish[name], market)
        if "trailing_percent" in wish:
            item["trailing_stop"] = {"callback_rate": wish["trailing_percent"]}
        return item

    def _adjustment(self, wish: Mapping[str, Any], market: Market) -> dict[str, Any]:
        """New prices lie on the sides that suit a long; for a short they are refused, which is a case too."""
        said = {name: value for name, value in wish.items() if not name.endswith("_bps")}
        for name, direction in (("new_sl", -1), ("new_tp", 1)):
            if f"{name}_bps" in wish:
                price = market.prices.mark * (1 + direction * Decimal(wish[f"{name}_bps"]) / _BPS)
                tick = market.instrument.tick
                said[f"{name}_price"] = str((price / tick).to_integral_value() * tick)
        return said

    async def _deliver(self, ordered: Ordered) -> None:
        """Ask until there is a final answer, as a client does that must know."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_S
        while loop.time() < deadline:
            process = self._present()
            service = process.service(ordered.account) if process is not None else None
            if process is None or service is None:
                await asyncio.sleep(_PAUSE_S)
                continue
            try:
                result = await inside(process, _ask(service, ordered.decision))
            except Died:
                await asyncio.sleep(_PAUSE_S)
                continue
            except DecisionRefused as refusal:
                if refusal.code is ErrorCode.NOT_READY:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                ordered.refused.append(refusal.code.value)
                self._trace.note("refused", f"{ordered.decision_id} {refusal.code.value}")
                return
            if not ordered.told or ordered.told[-1][1] != result:
                ordered.told.append((loop.time(), result))
                self._trace.note("result", f"{ordered.decision_id} " + " ".join(
                    f"{row.asset}={row.status.value}" + (f"({row.error.code.value})" if row.error else "")
                    for row in result.results))  # fmt: skip
                for row in result.results:
                    self._trace.reach(f"result:{row.status.value}:{row.error.code.value if row.error else ''}")
            if result.completed_at is not None:
                return
            await asyncio.sleep(_PAUSE_S)
        self._trace.note("no answer", ordered.decision_id)


async def _ask(service: ExecutionService, decision: TradingDecision) -> ExecutionResult:
    return await (await service.submit(decision)).wait(_WAIT_S)


async def inside(process: Process, work: Any) -> Any:
    """Do ``work`` inside the process.

    Raises:
        Died: it died first.
    """
    task = process.run(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may fail when nobody waits any more
    await asyncio.wait([task, process.ended], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        await asyncio.sleep(0)
    if not task.done() or task.cancelled():
        raise Died
    return task.result()
