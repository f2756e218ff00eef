"""Patience: a read is repeated until it succeeds, since a failed one says nothing (scenario U4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from app.domain.errors import ExchangeError
from app.domain.ports import Clock, Randomness

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


async def until_read(read: Callable[[], Awaitable[_T]], asset: str, clock: Clock, randomness: Randomness) -> _T:
    """What ``read`` returns, the first time that it can; the pauses between its attempts grow."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await read()
        except ExchangeError as error:
            log.warning("desk.read_failed", asset=asset, error=str(error))
        await clock.sleep(pause_s * randomness.uniform(0.5, 1))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
