"""Isolated margin: a position with a wallet of its own, moved by its fills and by the client (``positionMargin``).

The wallet is part of the account's wallet balance and set apart from its cross part, as recorded: opening
puts in |quantity|·mark/leverage and pays its commission from that (recorded: ``iw`` = margin − commission);
closing a part gives that part's share back, together with the profit; a loss beyond the share eats into what stays.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from aster_sim.core import errors, events
from aster_sim.core.account import Account, Position
from aster_sim.core.margin import summarise
from aster_sim.core.market import Market
from aster_sim.core.numbers import MONEY_STEP, ZERO, margin_half_even, plain
from aster_sim.core.orders import MarginChange
from aster_sim.core.state import State

ADD, REDUCE = 1, 2


def wallet_after_fill(
    position: Position, before: Decimal, mark: Decimal, leverage: int, realised: Decimal, commission: Decimal
) -> Decimal:
    """The position's own wallet after a fill that took it from ``before`` to its present amount.

    ``realised`` and ``commission`` are the fill's, in the margin asset; what a flip realises goes to the cross part.
    """
    after = position.amount
    if not after:
        return ZERO
    if not before or (before > ZERO) != (after > ZERO):
        return margin_half_even(abs(after) * mark / leverage) - commission
    if abs(after) > abs(before):
        return position.isolated_wallet + margin_half_even(abs(after - before) * mark / leverage) - commission
    share = margin_half_even(position.isolated_wallet * after / before)
    return min(share, position.isolated_wallet + realised - commission)


def change_margin(
    state: State, account: Account, market: Market, position_side: str, amount: Decimal, direction: int
) -> None:
    """Add (1) or take away (2) margin of an isolated position.

    Raises -4055 (amount), -4049 (cross), -4054 (no position), -4050 and -4051 (more than is free).
    """
    symbol = market.instrument.symbol
    if amount <= ZERO:
        raise errors.AMOUNT_NOT_POSITIVE.error()
    amount = margin_half_even(amount)
    if position_side not in account.sides():
        raise errors.POSITION_SIDE_MISMATCH.error()
    if symbol not in account.isolated:
        raise errors.MARGIN_OF_CROSS.error()
    position = account.position(symbol, position_side)
    if not position.amount:
        raise errors.MARGIN_WITHOUT_POSITION.error()
    if direction == ADD:
        if amount > summarise(account, state.markets).available:
            raise errors.CROSS_BALANCE_INSUFFICIENT.error()
        position.isolated_wallet += amount
    else:
        if amount > _removable(account, market, position):
            raise errors.ISOLATED_BALANCE_INSUFFICIENT.error()
        position.isolated_wallet -= amount
    now = state.now_ms()
    position.updated_ms = account.updated_ms = now
    change = MarginChange(account.name, symbol, position_side, amount, direction, market.instrument.margin_asset, now)
    account.margin_changes.append(change)
    state.changes.margin_changes.append(change)
    state.changes.accounts[account.name] = account
    state.emit(account.name, events.account_update(account, [(position, market)], "MARGIN_TRANSFER", now))


def add_automatically(state: State, account: Account, market: Market, position: Position) -> None:
    """Bring a position that would be liquidated back to its initial margin, as far as available balance goes."""
    mark = market.prices.mark
    leverage = account.leverage_of(position.symbol, market.max_leverage)
    missing = abs(position.amount) * mark / leverage - position.isolated_wallet - position.unrealised(mark)
    amount = min(missing, summarise(account, state.markets).available).quantize(MONEY_STEP, ROUND_FLOOR)
    if amount > ZERO:
        change_margin(state, account, market, position.side, amount, ADD)


def _removable(account: Account, market: Market, position: Position) -> Decimal:
    """What is left above the initial margin at mark, unrealised losses counted."""
    mark = market.prices.mark
    leverage = account.leverage_of(position.symbol, market.max_leverage)
    needed = abs(position.amount) * mark / leverage
    return position.isolated_wallet + min(ZERO, position.unrealised(mark)) - needed


def margin_change_rows(account: Account, symbol: str, direction: int | None, limit: int) -> list[dict[str, object]]:
    """``positionMargin/history``, newest last."""
    rows = [
        {
            "amount": plain(row.amount),
            "asset": row.asset,
            "symbol": row.symbol,
            "time": row.time_ms,
            "type": row.direction,
            "positionSide": row.position_side,
        }
        for row in account.margin_changes
        if row.symbol == symbol and direction in {None, row.direction}
    ]
    return rows[-limit:]
