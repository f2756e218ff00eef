"""Telling: what became of a trade goes to record, event log and result, behind the orders that it caused."""

from __future__ import annotations

import functools
from collections.abc import Callable

import structlog

from app.domain.errors import StoreUnavailable
from app.domain.events import Event
from app.domain.trades import Trade
from app.repositories.trades import TradeRepository
from app.services.execution.commands import Alert
from app.services.execution.narration import Narrator
from app.services.execution.next_parts import late_part
from app.services.execution.supervision import Supervisor
from app.services.execution.unexplained import alert_of

log = structlog.get_logger(__name__)


def record_or_warn(trades: TradeRepository, *events: Event) -> None:
    """Record what happened anyhow: a database that takes nothing keeps nobody from looking after positions (C2)."""
    try:
        trades.record_events(events)
    except StoreUnavailable as error:
        log.warning("events.not_recorded", types=" ".join(event.type.value for event in events), error=str(error))


class Teller:
    """Tells of each trade once per turn of the loop, in one piece from what was told last to what is.

    ``on_change`` hears of a trade once its change has been handed to the writer.
    """

    def __init__(
        self, trades: TradeRepository, narrator: Narrator, background: Supervisor, on_change: Callable[[Trade], None]
    ) -> None:
        self._trades = trades
        self._narrator = narrator
        self._background = background
        self._on_change = on_change
        self._last_told: dict[str, Trade] = {}
        self._due: dict[str, Trade] = {}

    def note(self, before: Trade, after: Trade) -> None:
        """A change that leads to nothing yet: it is told with the next one, which is on its way."""
        if after is not before:
            self._last_told.setdefault(after.id, before)

    def changed(self, before: Trade, after: Trade) -> None:
        """A change to tell, soon: the commands' tasks have their first step first, so that exits leave before it."""
        is_scheduled = after.id in self._due
        for alert in filter(None, (alert_of(before, after), late_part(before, after))):
            self.alert(alert, after)
        self.note(before, after)
        self._due[after.id] = after
        if not is_scheduled:
            self._background.soon(lambda: self._tell(after.id))

    def alert(self, alert: Alert, trade: Trade) -> None:
        """Raise an alert about a trade."""
        event = self._narrator.alert(alert, trade=trade)
        self._store(trade, lambda: self._trades.record_events((event,)))

    def _tell(self, trade_id: str) -> None:
        """Hand the change to the writer and go on: what already happened is recorded right behind."""
        before, after = self._last_told.pop(trade_id), self._due.pop(trade_id)
        events: list[Event] = []
        # what can't be put into words is on record all the same, and what could not be recorded is with the next change
        self._background.attempt(lambda: events.extend(self._narrator.changes(before, after)))
        record = functools.partial(self._trades.record_progress, before, after, tuple(events))
        if not self._background.attempt(lambda: self._store(after, record)):
            self._last_told.setdefault(trade_id, before)
        self._on_change(after)

    def _store(self, trade: Trade, write: Callable[[], object]) -> None:
        try:
            write()
        except StoreUnavailable as error:
            log.exception("desk.not_recorded", asset=trade.asset, error=str(error))
