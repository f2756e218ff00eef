"""At send time: what was right when it was planned is judged again when its order is about to leave."""

from __future__ import annotations

from app.domain.trades import TradeError
from app.services.execution.desk_tools import DeskTools
from app.services.execution.planning import EntryPlan
from app.services.execution.risk import too_old


def called_off(asset: str) -> str:
    """Why an entry is not sent any more (scenario O10)."""
    return f"a close of {asset} was asked for before the entry had left, so it was not sent"


def late_objection(tools: DeskTools, plan: EntryPlan) -> TradeError | None:
    """What speaks against sending by now, when recording or preparing took its time (scenario C7)."""
    refusal = tools.refuses_entries() or too_old(plan.wish, tools.policy.risk, tools.clock.now())
    if refusal is not None:
        return TradeError(code=refusal.code, message=refusal.message)
    return tools.market.moved_away(plan)
