"""Projection: the account as the exchange last showed it, foreign positions included (contract, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from app.domain.money import ZERO
from app.domain.reports import AccountUpdate, BalanceReport, MarkPrice, PositionReport, PositionSide, StreamPosition
from app.domain.trades import Trade, TradeSide


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """One position. ``quantity`` is positive; ``trade_id`` is None when somebody else opened it."""

    asset: str
    side: TradeSide
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    leverage: int
    unrealised_pnl: Decimal
    trade_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsView:
    """All positions at one moment; ``as_of`` is None before the exchange was first read."""

    as_of: datetime | None
    items: tuple[PositionView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """One account's money and state, in the margin asset."""

    account_id: str
    is_paper: bool
    wallet_balance: Decimal | None
    available_balance: Decimal | None
    as_of: datetime | None
    is_ready: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether entries are accepted; if not, why, in words for the operator."""

    is_ready: bool
    reasons: tuple[str, ...]


class Projection:
    """What the exchange last said of positions and balances, from bulk reads and from the stream."""

    def __init__(self) -> None:
        self._positions: dict[tuple[str, PositionSide], PositionReport] = {}
        self._balances: dict[str, BalanceReport] = {}
        self.as_of: datetime | None = None

    def replace_all(self, positions: list[PositionReport], balances: list[BalanceReport], as_of: datetime) -> None:
        """Take a bulk read."""
        rows = {(row.symbol, row.position_side): row for row in positions}
        for key, known in self._positions.items():
            if key in rows and known.updated_at > rows[key].updated_at:
                rows[key] = known  # the stream was faster than the reply
        self._positions = rows
        self._balances = {row.asset: row for row in balances}
        self.as_of = as_of

    def newest(self, asset: str, rows: list[PositionReport]) -> list[PositionReport]:
        """Rows that were read of one asset, each as it was told last: by the read, or by the stream."""
        known = {key: row for key, row in self._positions.items() if key[0] == asset}
        read = {(row.symbol, row.position_side): row for row in rows}
        return [max(filter(None, (read.get(key), known.get(key))), key=_age) for key in {**known, **read}]

    def apply(self, update: AccountUpdate, as_of: datetime) -> list[StreamPosition]:
        """Take a stream update; returns the positions that it changed. It carries no available balance (Z4).

        One that comes late changes no position that something newer has told of (scenario W4).
        """
        changed = []
        for row in update.positions:
            known = self._positions.get((row.symbol, row.position_side)) or _first_seen(row, update.event_time)
            if known.updated_at > update.event_time:
                continue
            if known.quantity != row.quantity or known.entry_price != row.entry_price:
                changed.append(row)
            self._positions[row.symbol, row.position_side] = replace(
                known,
                quantity=row.quantity,
                entry_price=row.entry_price,
                unrealised_pnl=row.unrealised_pnl,
                updated_at=update.event_time,
            )
        for balance in update.balances:
            known_balance = self._balances.get(balance.asset)
            if known_balance is not None:
                self._balances[balance.asset] = replace(
                    known_balance,
                    wallet_balance=balance.wallet_balance,
                    cross_wallet_balance=balance.cross_wallet_balance,
                )
        self.as_of = as_of
        return changed

    def held(self, asset: str) -> list[PositionReport]:
        """The asset's positions that are not flat."""
        return [row for (symbol, _), row in self._positions.items() if symbol == asset and not row.is_flat]

    def all_held(self) -> list[PositionReport]:
        """Every position that is not flat."""
        return [row for row in self._positions.values() if not row.is_flat]

    def balance(self, asset: str) -> BalanceReport | None:
        """One asset's balance."""
        return self._balances.get(asset)

    def account_view(self, account_id: str, is_paper: bool, readiness: Readiness) -> AccountView:
        """Money and state of the account, whose id, kind and readiness are given."""
        balance = self.balance("USDT")
        return AccountView(
            account_id=account_id,
            is_paper=is_paper,
            wallet_balance=balance.wallet_balance if balance else None,
            available_balance=balance.available_balance if balance else None,
            as_of=self.as_of,
            is_ready=readiness.is_ready,
            reasons=readiness.reasons,
        )

    def notional_beside(
        self, asset: str, ours: dict[str, Decimal], last_mark: Callable[[str], MarkPrice | None]
    ) -> dict[str, Decimal]:
        """Value held or on its way by asset, but for ``asset``; ``ours`` is what our trades say and wins."""
        held: dict[str, Decimal] = {}
        for row in self.all_held():
            held[row.symbol] = held.get(row.symbol, ZERO) + abs(row.quantity) * _mark_of(row, last_mark)
        return {name: value for name, value in {**held, **ours}.items() if name != asset}

    def view(self, trades: dict[str, Trade], last_mark: Callable[[str], MarkPrice | None]) -> PositionsView:
        """Positions with the trade that each belongs to; ``trades`` is by asset, ``last_mark`` overrides old prices."""
        items = tuple(
            _position_view(row, trades.get(row.symbol), _mark_of(row, last_mark))
            for row in sorted(self.all_held(), key=lambda row: (row.symbol, row.position_side))
        )
        return PositionsView(as_of=self.as_of, items=items)


def _mark_of(row: PositionReport, last_mark: Callable[[str], MarkPrice | None]) -> Decimal:
    """The newest mark price; the exchange shows none of a position that was flat when it was read."""
    mark = last_mark(row.symbol)
    return mark.mark_price if mark else row.mark_price or row.entry_price


def _age(row: PositionReport) -> datetime:
    return row.updated_at


def _first_seen(row: StreamPosition, at: datetime) -> PositionReport:
    """A row that no bulk read has shown yet; what the stream does not say is zero until the next one."""
    return PositionReport(
        symbol=row.symbol,
        position_side=row.position_side,
        quantity=ZERO,
        entry_price=ZERO,
        mark_price=row.entry_price,
        unrealised_pnl=ZERO,
        liquidation_price=ZERO,
        leverage=0,
        margin_type=row.margin_type,
        isolated_margin=ZERO,
        maximum_notional=ZERO,
        updated_at=at,
    )


def side_of(row: PositionReport) -> TradeSide:
    """Direction of a position that is not flat."""
    if row.position_side is PositionSide.BOTH:
        return TradeSide.LONG if row.quantity > ZERO else TradeSide.SHORT
    return TradeSide.LONG if row.position_side is PositionSide.LONG else TradeSide.SHORT


def _position_view(row: PositionReport, trade: Trade | None, mark: Decimal) -> PositionView:
    side = side_of(row)
    quantity = abs(row.quantity)
    is_ours = trade is not None and trade.side is side
    return PositionView(
        asset=row.symbol,
        side=side,
        quantity=quantity,
        entry_price=row.entry_price,
        mark_price=mark,
        leverage=trade.leverage if trade is not None and is_ours else row.leverage,
        unrealised_pnl=(mark - row.entry_price) * quantity * side.sign,
        trade_id=trade.id if trade is not None and is_ours else None,
    )
