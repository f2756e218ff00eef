"""Start-up: each step is tried until it works, and says meanwhile what it waits for. Recovery is the same path (C3)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import structlog

from app.domain.errors import ExchangeError, RateLimited
from app.domain.ports import Clock
from app.integrations.aster.client import AsterClient
from app.services.execution.market import Market
from app.services.execution.routing import StreamRouter

log = structlog.get_logger(__name__)

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_STREAM_PATIENCE_S = 5.0
_LOOK_S = 0.02
_MODE_PAUSE_S = 5.0


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
    mode_obstacle: str | None = None
    """Which mode of the account stands in the way of entries."""

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
        """Learn the exchange's time, instruments and modes."""
        pause_s = _PAUSE_S
        while True:
            try:
                await self.client.start()
                self.mode_obstacle = await self.market.start()
            except RateLimited as error:
                # it ends at a time that is known: positions are not left alone for longer than that
                self._not_connected(error)
                await self.clock.sleep(min(max(error.retry_after_s, _LOOK_S), _LONGEST_PAUSE_S))
                continue
            except ExchangeError as error:
                self._not_connected(error)
            else:
                return
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _not_connected(self, error: ExchangeError) -> None:
        self.waits_for(f"the exchange can't be reached: {error}")
        log.warning("start_up.not_connected", account_id=self.account_id, error=str(error))

    async def watch_modes(self) -> None:
        """Wait out a mode that can't be traded (L4): it keeps entries away, and nobody from what is open."""
        while self.mode_obstacle is not None:
            log.warning("start_up.mode_not_traded", account_id=self.account_id, obstacle=self.mode_obstacle)
            await self.clock.sleep(_MODE_PAUSE_S)
            with contextlib.suppress(ExchangeError):
                self.mode_obstacle = await self.market.mode_obstacle()

    async def until_stream_is_up(self) -> None:
        """Give the user stream a moment, so that nothing falls between the first reads and it."""
        waited_s = 0.0
        while not self.router.is_up and waited_s < _STREAM_PATIENCE_S:
            await self.clock.sleep(_LOOK_S)
            waited_s += _LOOK_S
