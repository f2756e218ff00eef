"""The gate: whether decisions are taken on, entries sent and exits made. The one answerer of these questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.domain.errors import DecisionRefused, ErrorCode
from app.domain.trades import Trade
from app.integrations.aster.client import AsterClient
from app.schemas.decision import TradingDecision
from app.services.execution.halting import KillSwitch
from app.services.execution.phases import only_reduces
from app.services.execution.projection import Readiness
from app.services.execution.reconciler import Reconciler
from app.services.execution.risk import RiskRefused, laid_bare
from app.services.execution.routing import StreamRouter
from app.services.execution.start_up import StartUp


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One account's gate. ``store_health`` is None, or why the database takes no writes."""

    client: AsterClient
    kill_switch: KillSwitch
    start_up: StartUp
    reconciler: Reconciler
    router: StreamRouter
    store_health: Callable[[], str | None]
    active_trades: Callable[[], Sequence[Trade]]

    def readiness(self) -> Readiness:
        """Whether new decisions are accepted (contract, section 6: database, stream, first reconciliation)."""
        store = self.store_health()
        reasons = (
            f"database: {store}" if store is not None else None,
            self._silence,
            self.start_up.mode_obstacle,
            self.start_up.trouble,
            self.reconciler.trouble,
            None if self.router.is_up or self.start_up.trouble else "the user stream is not connected",
        )
        given = tuple(reason for reason in reasons if reason is not None)
        return Readiness(is_ready=not given, reasons=given)

    def require_ready(self, decision: TradingDecision) -> None:
        """Let a new decision in.

        An exit is not refused for what does not hinder it (contract, section 9): with one in it the decision is taken
        on, and its entries are refused one by one.

        Raises:
            DecisionRefused: ``not_ready``.
        """
        readiness = self.readiness()
        opens_only = all(item.action.is_entry for item in decision.decisions)
        is_refused_anyway = self.kill_switch.current is not None and opens_only
        if readiness.is_ready or is_refused_anyway:
            return
        exits = (item.asset for item in decision.decisions if only_reduces(item))
        if all(self.refuses_exit(asset) is not None for asset in exits):
            raise DecisionRefused(ErrorCode.NOT_READY, "not ready: " + "; ".join(readiness.reasons))

    def refuses_exit(self, asset: str) -> RiskRefused | None:
        """Why no exit on an asset is taken on now."""
        why = "stopping" if self.start_up.is_stopping else self._silence
        return RiskRefused(code=ErrorCode.NOT_READY, message=f"not ready: {why}") if why else self.unknown(asset)

    def unknown(self, asset: str) -> RiskRefused | None:
        """Why it is not known yet whether the service holds something on an asset: the exchange has not been read."""
        trouble = self.start_up.trouble
        if trouble is None or any(trade.asset == asset for trade in self.active_trades()):
            return None
        text = f"not ready: {trouble}; whether the service holds a position on {asset} is not known yet"
        return RiskRefused(code=ErrorCode.NOT_READY, message=text)

    def refuses_entries(self) -> RiskRefused | None:
        """Why no entry at all may be sent now: halted, not ready, or a position that could not be protected (P3)."""
        return self.kill_switch.refusal or self.unready()

    def unready(self) -> RiskRefused | None:
        """The same, the halt left aside."""
        readiness = self.readiness()
        if not readiness.is_ready:
            return RiskRefused(code=ErrorCode.NOT_READY, message="not ready: " + "; ".join(readiness.reasons))
        return laid_bare(self.active_trades())

    @property
    def _silence(self) -> str | None:
        silent_s = self.client.silent_for_s
        return f"the exchange wants silence for {silent_s:.0f} s more" if silent_s > 0 else None
