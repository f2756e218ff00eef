"""Account settings a client can change: leverage, margin type, hedge mode, multi-assets mode.

Refusals are those of asterdex-facts.md section 9 ("config no-op", "config conflict").
"""

from __future__ import annotations

from aster_sim.core import errors, events
from aster_sim.core.account import CROSSED, ISOLATED, Account
from aster_sim.core.booking import Booker
from aster_sim.core.brackets import max_notional
from aster_sim.core.margin import summarise
from aster_sim.core.market import Market
from aster_sim.core.open_interest import openable
from aster_sim.core.orders import STP_MODES
from aster_sim.core.state import State


class Settings:
    """Changes settings of accounts and tells their owners."""

    def __init__(self, state: State, booker: Booker) -> None:
        self._state = state
        self._booker = booker

    def set_leverage(self, account: Account, market: Market, leverage: int) -> None:
        """Set a symbol's leverage.

        Raises -4028 out of range, -2027 when the position is above the new cap, -2028 when margin does not
        suffice for a lower leverage, -4161 for a cut of an isolated position's leverage, -5018 for a higher leverage
        where the symbol's open interest leaves nothing to open.
        """
        symbol = market.instrument.symbol
        if not 1 <= leverage <= market.max_leverage:
            raise errors.BAD_LEVERAGE.error(leverage=leverage)
        current = account.leverage_of(symbol, market.max_leverage)
        held = account.held(symbol)
        if leverage < current and held and symbol in account.isolated:
            raise errors.ISOLATED_LEVERAGE_CUT.error()
        notional = max((abs(row.amount) * market.prices.mark for row in held), default=None)
        if notional is not None and notional > max_notional(market.brackets, leverage):
            raise errors.MAX_POSITION_AT_LEVERAGE.error()
        if leverage > current and not openable(self._state, market, leverage):
            raise errors.OPEN_INTEREST_CAP.error()
        previous = account.leverage.get(symbol)
        account.leverage[symbol] = leverage
        self._booker.refresh_order_margin(account, market)
        if leverage < current and (held or account.open_orders.get(symbol)):
            summary = summarise(account, self._state.markets)
            bound = summary.position_initial + summary.order_initial
            if bound > summary.cross_wallet + summary.cross_unrealised:
                if previous is None:
                    del account.leverage[symbol]
                else:
                    account.leverage[symbol] = previous
                self._booker.refresh_order_margin(account, market)
                raise errors.LEVERAGE_TOO_SMALL.error()
        self._changed(account)
        self._state.emit(account.name, events.leverage_update(symbol, leverage, self._state.now_ms()))

    def set_margin_type(self, account: Account, market: Market, margin_type: str) -> None:
        """Set CROSSED or ISOLATED.  Raises -1130, -4046 unchanged, -4168, -4047, -4048."""
        symbol = market.instrument.symbol
        if margin_type not in {CROSSED, ISOLATED}:
            raise errors.BAD_PARAMETER.error(name="marginType")
        isolated = margin_type == ISOLATED
        if isolated == (symbol in account.isolated):
            raise errors.MARGIN_TYPE_UNCHANGED.error()
        if isolated and account.multi_assets:
            raise errors.ISOLATED_IN_MULTI_ASSETS.error()
        if account.open_orders.get(symbol):
            raise errors.MARGIN_TYPE_OPEN_ORDERS.error()
        if account.held(symbol):
            raise errors.MARGIN_TYPE_POSITION.error()
        if isolated:
            account.isolated.add(symbol)
        else:
            account.isolated.discard(symbol)
            account.auto_add_margin.discard(symbol)
        self._changed(account)
        rows = [(account.position(symbol, side), market) for side in account.sides()]
        self._state.emit(account.name, events.account_update(account, rows, "MARGIN_TYPE_CHANGE", self._state.now_ms()))

    def set_auto_add_margin(self, account: Account, market: Market, *, adds: bool) -> None:
        """Let an isolated symbol's positions take margin from the cross wallet before liquidation.  Raises -4049.

        Only AsterDEX's website offers it; the API shows it in ``positionRisk``.
        """
        symbol = market.instrument.symbol
        if symbol not in account.isolated:
            raise errors.MARGIN_OF_CROSS.error()
        if adds:
            account.auto_add_margin.add(symbol)
        else:
            account.auto_add_margin.discard(symbol)
        self._changed(account)

    def set_dual_side(self, account: Account, *, dual_side: bool) -> None:
        """Switch hedge mode.  Raises -4059 unchanged, -4067 open orders, -4068 positions."""
        if account.dual_side == dual_side:
            raise errors.POSITION_SIDE_UNCHANGED.error()
        if account.open_orders:
            raise errors.POSITION_SIDE_OPEN_ORDERS.error()
        if any(row.amount for row in account.positions.values()):
            raise errors.POSITION_SIDE_POSITION.error()
        account.dual_side = dual_side
        self._mode_changed(account)

    def set_multi_assets(self, account: Account, *, multi_assets: bool) -> None:
        """Switch the multi-assets flag.  Raises -4171 unchanged, -4168 with an isolated symbol."""
        if account.multi_assets == multi_assets:
            raise errors.MULTI_ASSETS_UNCHANGED.error()
        if multi_assets and account.isolated:
            raise errors.ISOLATED_IN_MULTI_ASSETS.error()
        account.multi_assets = multi_assets
        self._mode_changed(account)

    def set_stp_mode(self, account: Account, stp_mode: str) -> None:
        """Say what becomes of orders that meet an order of their own account.  Raises -1130."""
        if stp_mode not in STP_MODES:
            raise errors.BAD_PARAMETER.error(name="stpMode")
        account.stp_mode = stp_mode
        self._changed(account)

    def _mode_changed(self, account: Account) -> None:
        self._changed(account)
        self._state.emit(account.name, events.mode_update(account, self._state.now_ms()))

    def _changed(self, account: Account) -> None:
        account.updated_ms = self._state.now_ms()
        self._state.changes.accounts[account.name] = account
