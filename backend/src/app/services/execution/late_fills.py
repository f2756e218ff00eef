"""Late fills: an entry that was given up may have been executed after all (scenario U10).

Mostly the stream tells, or a position that nobody explains. Neither does where the process died before it had recorded
the fill, or where the exits have filled too: then only a question to the exchange finds it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from app.domain.errors import IllegalTransition
from app.domain.money import ZERO
from app.domain.orders import Order, OrderState
from app.domain.trades import Trade, TradeStatus
from app.services.execution import facts
from app.services.execution.evidence import Evidence, Trades
from app.services.execution.exits import unrecorded_exits
from app.services.execution.folding import fold

LOOKS_LATER_S = 60.0
"""After so long an entry that was given up is asked for once more: the exchange's lists may have been that late."""


LATEST_FILL = timedelta(hours=1)
"""Of a request that is stuck for longer nobody has ever heard again."""


def may_turn_up(trade: Trade, now: datetime) -> bool:
    """Whether a fill may still turn up of an entry that was sent lately, and given up or refused (U10)."""
    is_given_up = trade.status is TradeStatus.FAILED and not trade.entered_quantity
    return is_given_up and trade.created_at > now - LATEST_FILL


def doubtful_entries(trade: Trade) -> list[Order]:
    """Entries given up as never placed, and those of an ended trade whose end is not on record."""
    return [entry for entry in trade.entries if _is_given_up(entry) or (trade.is_ended and not entry.is_final)]


def questionable_entries(trade: Trade) -> list[Order]:
    """What a position that nobody explains may be: doubtful entries, and those whose fate is still being asked for."""
    unknown = [] if trade.is_ended else [entry for entry in trade.entries if entry.state is OrderState.UNKNOWN]
    return [*doubtful_entries(trade), *unknown]


def _is_given_up(entry: Order) -> bool:
    return entry.state is OrderState.NOT_PLACED and entry.refusal_message is None


async def look_again(evidence: Evidence, trade: Trade, entry: Order, trades: Trades) -> list[facts.Fact]:
    """What the exchange shows of an entry that was given up, or its position (U11); nothing where it knows neither.

    Of a trade that had ended, the position and the exits are read as well, before any is sent: the process that found
    the fill may have protected it and died before that was on record.

    Raises:
        ExchangeError: a read failed; that proves nothing, ask again.
    """
    report = await evidence.order(entry)
    held = ZERO if report is not None else await evidence.in_position(trade, entry, trades)
    if report is None and held == entry.executed_quantity:
        return []
    found: list[facts.Fact] = [
        evidence.entry_in_position(entry, held)
        if report is None
        else facts.OrderQueried(at=evidence.clock.now(), report=report)
    ]
    if trade.is_ended:
        try:
            revived = fold(trade, found[0])
        except IllegalTransition:
            return found  # the desk tells of the contradiction
        found += await evidence.position_then_orders(revived, unrecorded_exits(revived), found.append)
    return found
