"""The queue before the connections: whoever is more important leaves first, and signs as it leaves (L2, L7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count

from app.integrations.aster.priorities import Priority

AT_ONCE = 60
"""Fewer than the transport's connections: a request that was signed waits for none of them."""
FOR_EXITS = 20
"""So many turns are for exits alone: an entry may keep its turn while the disk takes its time, and a read for long."""


class SendQueue:
    """Lets so many requests be under way at a time; those that wait leave by priority, then in their order."""

    def __init__(self, at_once: int = AT_ONCE, for_exits: int = FOR_EXITS) -> None:
        self._free = at_once
        self._for_exits = for_exits
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._numbers = count()

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for a turn, and keep it until the answer is there."""
        if self._has_turn_for(priority):
            self._free -= 1
        else:
            await self._wait(priority)
        try:
            yield
        finally:
            self._pass_on()

    def _has_turn_for(self, priority: Priority) -> bool:
        return self._free > (0 if priority <= Priority.TARGET else self._for_exits)

    async def _wait(self, priority: Priority) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (priority, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had been given the turn
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        self._free += 1
        while self._waiting and self._has_turn_for(self._waiting[0][0]):
            _, _, turn = heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
                return
