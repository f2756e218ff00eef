"""Fitting: an exit that the exchange's filters refused is rounded again, by rules that were read since. Pure.

Ticks and steps change while positions are open (scenario H8), and are read once an hour otherwise. A refused exit is
sent again at once where that makes it another one; where it does not, rounding was not what it was refused for, and it
is tried as any refused exit. Each refusal leads to one read, and the attempts are bounded as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.domain.errors import Refusal
from app.domain.instruments import Instrument
from app.domain.money import ZERO, is_multiple, round_down_to_step, round_up_to_step
from app.domain.orders import Order
from app.domain.trades import Leg
from app.services.execution.slices import ExitRoom, cut

READ_PATIENCE = timedelta(seconds=3)
"""What can't be read must not hold an exit up for longer; then it is tried as before."""


def rules_since(refused: Order, room: ExitRoom | None) -> Instrument | None:
    """The exchange's rules as read after it refused the order by its filters; None where they are still to be read."""
    if room is None or room.rules_at is None or refused.finished_at is None:
        return None
    return room.instrument if room.rules_at >= refused.finished_at else None


def wants_rules(refused: Order, room: ExitRoom | None, now: datetime) -> bool:
    """Whether an order was refused by the filters, and rules that tell why may still come."""
    is_due = refused.finished_at is not None and now < refused.finished_at + READ_PATIENCE
    return refused.refusal is Refusal.FILTER and is_due and rules_since(refused, room) is None


def fitted(leg: Leg, exposure: Decimal, rules: Instrument) -> Leg:
    """The leg on the tick, and with the step that its orders' quantity must obey where the exposure does not."""

    def on_tick(price: Decimal | None) -> Decimal | None:
        return None if price is None else rules.price_at_nearest_tick(price)

    step = rules.lot.step
    return replace(
        leg,
        trigger_price=rules.price_at_nearest_tick(leg.trigger_price),
        limit_price=on_tick(leg.limit_price),
        activation_price=on_tick(leg.activation_price),
        quantity_step=step if step and not is_multiple(exposure, step) else leg.quantity_step,
    )


def on_step(quantity: Decimal, rules: Instrument | None, *, may_exceed: bool) -> Decimal:
    """A market quantity on the step: up where more than is held can't be executed, else down where that leaves some."""
    step = rules.market_step if rules is not None else ZERO
    if not step or is_multiple(quantity, step):
        return quantity
    return round_up_to_step(quantity, step) if may_exceed else round_down_to_step(quantity, step) or step


def cut_again(
    refused: Order, quantities: Sequence[Decimal], price: Decimal, room: ExitRoom | None
) -> tuple[Decimal, ...]:
    """What the parts of a reduction, the first of which was refused, may be by rules that were read since.

    They are on the new step and within the new maximum; none where these are the same parts, or nothing is left.
    """
    rules = rules_since(refused, room) if refused.refusal is Refusal.FILTER else None
    whole = round_down_to_step(sum(quantities, start=ZERO), rules.market_step) if rules is not None else ZERO
    parts = cut(whole, rules, price) if whole > ZERO else ()
    return parts if parts != tuple(quantities) else ()
