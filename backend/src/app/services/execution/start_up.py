"""Start-up: each step is tried until it works, and says meanwhile what it waits for. Recovery is the same path (C3)."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from app.domain.errors import ExchangeError
from app.domain.ports import Clock
from app.integrations.aster.client import AsterClient
from app.services.execution.market import Market
from app.services.execution.routing import StreamRouter

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_STREAM_PATIENCE_S = 5.0
_LOOK_S = 0.02


@dataclass(slots=True)
class StartUp:
    """The steps of one account; ``trouble`` is what stands in the way of decisions."""

    account_id: str
    client: AsterClient
    market: Market
    router: StreamRouter
    clock: Clock
    trouble: str | None = "starting"
    is_stopping: bool = False

    def waits_for(self, trouble: str) -> None:
        """Say what stands in the way, unless the service is being stopped, which is final."""
        if not self.is_stopping:
            self.trouble = trouble

    def is_done(self) -> None:
        """Let decisions in, unless the service is being stopped."""
        if not self.is_stopping:
            self.trouble = None

    def stops(self) -> None:
        """Let no decision in any more."""
        self.is_stopping = True
        self.trouble = "stopping"

    async def connect(self) -> None:
        """Learn the exchange's time, instruments and modes; a mode that can't be traded is waited out (L4)."""
        pause_s = _PAUSE_S
        while True:
            try:
                await self.client.start()
                obstacle = await self.market.start()
            except ExchangeError as error:
                obstacle = f"the exchange can't be reached: {error}"
            if obstacle is None:
                return
            self.waits_for(obstacle)
            log.warning("start_up.not_connected", account_id=self.account_id, error=obstacle)
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def until_stream_is_up(self) -> None:
        """Give the user stream a moment, so that nothing falls between the first reads and it."""
        waited_s = 0.0
        while not self.router.is_up and waited_s < _STREAM_PATIENCE_S:
            await self.clock.sleep(_LOOK_S)
            waited_s += _LOOK_S
