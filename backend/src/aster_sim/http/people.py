"""The person at the exchange: what somebody at AsterDEX's website does beside a bot, through the control API."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aster_sim.core import views
from aster_sim.core.account import Account, Position
from aster_sim.core.errors import VenueError
from aster_sim.core.numbers import parse_decimal, plain
from aster_sim.core.orders import BOTH, BUY, LONG, SELL, SHORT, Order
from aster_sim.runtime import Runtime

_CLOSE, _FLIP = "close", "flip"
_SYMBOL_MODES = ("leverage", "margin_type", "auto_add_margin")


class ControlError(ValueError):
    """A control request that cannot be done; the message says why."""


def account_of(runtime: Runtime, body: Mapping[str, Any]) -> Account:
    """The account that a body names, ``default`` unless it does.  Raises ControlError."""
    name = str(body.get("account", "default"))
    account = runtime.venue.state.accounts.get(name)
    if account is None:
        raise ControlError(f"no account {name}")
    return account


def form(body: Mapping[str, Any]) -> dict[str, str]:
    """A body's values as a form spells them."""
    return {
        key: ("true" if value else "false") if isinstance(value, bool) else str(value) for key, value in body.items()
    }


def place(runtime: Runtime, account: Account, params: Mapping[str, str], path: str = "/sim/orders") -> dict[str, Any]:
    """Place an order without a signature; it stands in the ledger as a person's."""
    record = runtime.venue.ledger.open(runtime.clock.now_us(), account.name, "human", "POST", path, params)
    try:
        order = runtime.venue.place(account, params, retail=True)
    except VenueError as refusal:
        record.outcome, record.code, record.msg = "refused", refusal.code, refusal.msg
        raise
    record.outcome = "executed"
    record.order_ids.append(order.order_id)
    runtime.settle()
    return shown(runtime, order)


def cancel(runtime: Runtime, account: Account, params: Mapping[str, str]) -> dict[str, Any]:
    """Cancel an order without a signature."""
    record = runtime.venue.ledger.open(runtime.clock.now_us(), account.name, "human", "DELETE", "/sim/orders", params)
    order_id = params.get("orderId", "")
    try:
        order = runtime.venue.cancel(
            account,
            params.get("symbol", ""),
            int(order_id) if order_id.isascii() and order_id.isdigit() else None,
            params.get("origClientOrderId"),
        )
    except VenueError as refusal:
        record.outcome, record.code, record.msg = "refused", refusal.code, refusal.msg
        raise
    record.outcome = "executed"
    record.order_ids.append(order.order_id)
    runtime.settle()
    return shown(runtime, order)


def shown(runtime: Runtime, order: Order) -> dict[str, Any]:
    """An order as the exchange shows it."""
    return views.order_body(order, runtime.venue.state.markets[order.symbol])


def change_position(runtime: Runtime, body: Mapping[str, Any]) -> dict[str, Any]:
    """Close or flip a symbol's positions at market; the orders that did it.

    Raises ControlError when there is nothing to close, VenueError when the exchange refuses.
    """
    account, action = account_of(runtime, body), body.get("do", _CLOSE)
    if action not in {_CLOSE, _FLIP}:
        raise ControlError("do must be close or flip")
    symbol = runtime.venue.market(str(body.get("symbol", ""))).instrument.symbol
    wanted = body.get("positionSide")
    held = [row for row in account.held(symbol) if wanted in {None, row.side}]
    if not held:
        raise ControlError(f"{account.name} has no position in {symbol}")
    orders: list[dict[str, Any]] = []
    for position in held:
        rows = _flip(position) if action == _FLIP else [_closing(position)]
        orders += [place(runtime, account, {"symbol": symbol, **row}, "/sim/positions") for row in rows]
    return {"orders": orders}


def _closing(position: Position) -> dict[str, str]:
    row = _market(SELL if position.amount > 0 else BUY, position.side, abs(position.amount))
    return {**row, "reduceOnly": "true"} if position.side == BOTH else row


def _flip(position: Position) -> list[dict[str, str]]:
    side, amount = SELL if position.amount > 0 else BUY, abs(position.amount)
    if position.side == BOTH:
        return [_market(side, BOTH, 2 * amount)]
    other = SHORT if position.side == LONG else LONG
    return [_closing(position), _market(side, other, amount)]


def _market(side: str, position_side: str, quantity: Decimal) -> dict[str, str]:
    return {"side": side, "type": "MARKET", "positionSide": position_side, "quantity": plain(quantity)}


def change_modes(runtime: Runtime, body: Mapping[str, Any]) -> dict[str, Any]:
    """Change an account's modes: ``hedge``, ``multi_assets``, ``fees_in``; by symbol what ``_SYMBOL_MODES`` names.

    ``fees_in`` is an object: commission is paid in ``asset`` from now on, for as long as ``balance`` lasts.

    Everything is applied in this order up to the first refusal. Raises ControlError, VenueError.
    """
    account, settings = account_of(runtime, body), runtime.venue.settings
    unknown = sorted(body.keys() - {"account", "hedge", "multi_assets", "fees_in", *_SYMBOL_MODES})
    if unknown:
        raise ControlError(f"unknown mode(s) {', '.join(unknown)}")
    try:
        if "hedge" in body:
            settings.set_dual_side(account, dual_side=_flag(body, "hedge"))
        if "multi_assets" in body:
            settings.set_multi_assets(account, multi_assets=_flag(body, "multi_assets"))
        if "fees_in" in body:
            _pay_fees_in(account, body["fees_in"])
            runtime.venue.state.changes.accounts[account.name] = account
        for symbol, value in _by_symbol(body, "leverage").items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise ControlError("leverage must be a whole number")
            settings.set_leverage(account, runtime.venue.market(symbol), value)
        for symbol, value in _by_symbol(body, "margin_type").items():
            settings.set_margin_type(account, runtime.venue.market(symbol), str(value))
        adds = _by_symbol(body, "auto_add_margin")
        for symbol in adds:
            settings.set_auto_add_margin(account, runtime.venue.market(symbol), adds=_flag(adds, symbol))
    finally:
        runtime.settle()
    return {
        "hedge": account.dual_side,
        "multi_assets": account.multi_assets,
        "fees_in": {"asset": account.fee_asset, "balance": plain(account.fee_balance)},
        "leverage": dict(account.leverage),
        "isolated": sorted(account.isolated),
        "auto_add_margin": sorted(account.auto_add_margin),
    }


def _pay_fees_in(account: Account, wish: Any) -> None:
    balance = parse_decimal(str(wish.get("balance"))) if isinstance(wish, dict) else None
    if balance is None or balance < 0 or not isinstance(wish.get("asset"), str):
        raise ControlError("fees_in must be an object with an asset and a balance, zero or more")
    account.fee_asset, account.fee_balance = wish["asset"], balance


def change_funding(runtime: Runtime, body: Mapping[str, Any]) -> dict[str, Any]:
    """Set a symbol's funding ``rate`` of the running interval and its ``interval_hours``, or one of them."""
    market = runtime.venue.market(str(body.get("symbol", "")))
    rate, hours = body.get("rate"), body.get("interval_hours")
    parsed = parse_decimal(str(rate)) if rate is not None else None
    if rate is not None and parsed is None:
        raise ControlError("rate must be a number, e.g. 0.0001")
    if hours is not None and (not isinstance(hours, int) or isinstance(hours, bool)):
        raise ControlError("interval_hours must be a whole number")
    runtime.venue.funding.change_terms(market, parsed, hours)
    runtime.settle()
    terms = market.funding
    return {"symbol": market.instrument.symbol, "rate": plain(terms.rate), "next_ms": terms.next_ms}


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body[name]
    if not isinstance(value, bool):
        raise ControlError(f"{name} must be true or false")
    return value


def _by_symbol(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    rows = body.get(name, {})
    if not isinstance(rows, dict):
        raise ControlError(f"{name} must be an object by symbol")
    return rows
