"""A refused alert of TradingView: its sender throws the answer away, so it is told by event, log line and alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from app.api.problems import Problem
from app.domain.events import EventType
from app.events.alerts.repeats import Repeats
from app.services.execution.commands import Alert, Severity
from app.services.execution.narration import Narrator
from app.services.execution.telling import record_or_warn

if TYPE_CHECKING:
    from app.bootstrap import Application
    from app.schemas.tradingview import TradingViewAlert

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 30
_SECONDS_EACH = 2.0
"""Anybody who reaches the address can be refused, so that events of it are bounded; the log has the rest."""


class WebhookRefusals:
    """Tells of refused alerts."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._repeats = Repeats(application.clock)
        self._room = float(_MOST_AT_ONCE)
        self._last_at = application.clock.monotonic()

    def tell(self, problem: Problem, alert: TradingViewAlert | None) -> None:
        """Tell of one; ``alert`` is there when it could be read and its sender has proved the secret."""
        ticker = None if alert is None else alert.ticker
        account_id = "" if alert is None else alert.account_id
        field = problem.extra.get("field")
        application = self._application
        data = {
            "status": int(problem.status),
            "code": str(problem.code),
            "reason": problem.detail,
            "field": field,
            "ticker": ticker,
        }
        log.warning("webhook.refused", **data)
        if not application.services or not self._has_room():
            return
        narrator = Narrator(
            account_id=account_id if account_id in application.accounts else application.accounts[0],
            is_paper=application.is_paper,
            new_id=application.ids.new,
            now=application.clock.now,
        )
        events = [narrator.event(EventType.WEBHOOK_REFUSED, data)]
        if self._repeats.is_first((int(problem.status), str(problem.code), field)):
            text = f"an alert of TradingView was refused with {int(problem.status)}: {problem.detail}"
            events.append(narrator.alert(Alert(Severity.WARNING, "webhook_refused", text)))
        record_or_warn(application.trades, *events)

    def _has_room(self) -> bool:
        now = self._application.clock.monotonic()
        self._room = min(float(_MOST_AT_ONCE), self._room + (now - self._last_at) / _SECONDS_EACH)
        self._last_at = now
        if self._room < 1:
            return False
        self._room -= 1
        return True
