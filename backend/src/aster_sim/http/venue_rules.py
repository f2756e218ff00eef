"""What the control API may change about the exchange itself: disputed rules, the insurance fund, bans."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aster_sim.core.market import Market
from aster_sim.core.numbers import money, parse_decimal, plain
from aster_sim.http.people import ControlError
from aster_sim.runtime import Runtime

_SWITCHES = ("refuse_unfillable", "only_closing_orders_cover", "triggers_obey_market_maximum", "exempt_hedge_closes")
_KNOWN = frozenset({*_SWITCHES, "funding_delay_s", "insurance_fund", "pardon", "interest_caps"})


def shown_rules(runtime: Runtime) -> dict[str, Any]:
    """The rules now, and the insurance fund with where its money came from and went."""
    state = runtime.venue.state
    return {
        **{name: getattr(state.rules, name) for name in _SWITCHES},
        "funding_delay_s": state.rules.funding_delay_s,
        "interest_caps": {
            symbol: plain(market.interest_cap)
            for symbol, market in state.markets.items()
            if market.interest_cap is not None
        },
        "insurance_fund": {
            "balance": money(state.fund.balance),
            "start": money(state.fund.start),
            "cleared_in": money(state.fund.cleared_in),
            "cleared_out": money(state.fund.cleared_out),
            "taken_over": money(state.fund.taken_over),
        },
    }


def change_rules(runtime: Runtime, body: Mapping[str, Any]) -> dict[str, Any]:
    """Change what the body names; the rules then.

    The switches are those of :class:`~aster_sim.core.state.Rules`, true or false; ``funding_delay_s`` is its number
    of seconds. ``insurance_fund``:
    what the fund holds from now on, in USDT; none means that profitable clients are deleveraged. ``pardon``: lift the
    bans of rate limits. ``interest_caps``: by symbol, the most that all clients may hold together, in quote units; null
    lifts a cap. Raises ControlError; then nothing was changed.
    """
    unknown = sorted(body.keys() - _KNOWN)
    if unknown:
        raise ControlError(f"unknown rule(s) {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}")
    for name in (*_SWITCHES, "pardon"):
        if not isinstance(body.get(name, False), bool):
            raise ControlError(f"{name} must be true or false")
    state = runtime.venue.state
    balance = state.fund.balance
    if "insurance_fund" in body:
        parsed = parse_decimal(str(body["insurance_fund"]))
        if parsed is None or parsed < 0:
            raise ControlError("insurance_fund must be a number of USDT, zero or more")
        balance = parsed
    delay_s = parse_decimal(str(body.get("funding_delay_s", state.rules.funding_delay_s)))
    if delay_s is None or delay_s < 0:
        raise ControlError("funding_delay_s must be a number of seconds, zero or more")
    caps = _caps(runtime, body.get("interest_caps", {}))
    state.rules.funding_delay_s = float(delay_s)
    for market, cap in caps:
        market.interest_cap = cap
    state.fund.start += balance - state.fund.balance
    for name in _SWITCHES:
        setattr(state.rules, name, body.get(name, getattr(state.rules, name)))
    if body.get("pardon"):
        runtime.limits.pardon()
    return shown_rules(runtime)


def _caps(runtime: Runtime, rows: Any) -> list[tuple[Market, Decimal | None]]:
    if not isinstance(rows, dict):
        raise ControlError("interest_caps must be an object by symbol")
    caps: list[tuple[Market, Decimal | None]] = []
    for symbol, value in rows.items():
        cap = parse_decimal(str(value)) if value is not None else None
        if value is not None and (cap is None or cap < 0):
            raise ControlError(f"interest_caps: {symbol}: a number of quote units, zero or more, or null")
        caps.append((runtime.venue.market(symbol), cap))
    return caps
