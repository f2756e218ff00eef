"""Random order flow for the venue's core: steps that hypothesis draws, and a bench that they are played on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from aster_sim.core.account import Account
from aster_sim.core.errors import VenueError
from aster_sim.core.isolated import change_margin
from support.sim_bench import START_US, Bench, make_bench

SYMBOL = "BTCUSDT"
_QUANTITY = st.integers(1, 400).map(lambda count: str(Decimal(count) * Decimal("0.001")))
_OFFSET = st.integers(-150, 150)
_SIDE = st.sampled_from(["BUY", "SELL"])
_NAME = st.sampled_from(["alice", "bob", "poor"])
_EXIT = st.sampled_from(["plain", "reduce", "close", "bound"])
_STEP = st.one_of(
    st.fixed_dictionaries(
        {"do": st.just("market"), "who": _NAME, "side": _SIDE, "qty": _QUANTITY, "flag": st.booleans()}
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("limit"),
            "who": _NAME,
            "side": _SIDE,
            "qty": _QUANTITY,
            "at": _OFFSET,
            "tif": st.sampled_from(["GTC", "IOC", "FOK", "GTX", "HIDDEN", "RPI"]),
            "flag": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("stop"),
            "who": _NAME,
            "side": _SIDE,
            "qty": _QUANTITY,
            "at": _OFFSET,
            "type": st.sampled_from(["STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]),
            "exit": _EXIT,
            "flag": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {"do": st.just("bracket"), "who": _NAME, "side": _SIDE, "qty": _QUANTITY, "flag": st.booleans()}
    ),
    st.fixed_dictionaries({"do": st.just("cancel"), "who": _NAME, "pick": st.integers(0, 20)}),
    st.fixed_dictionaries(
        {"do": st.just("amend"), "who": _NAME, "pick": st.integers(0, 20), "qty": _QUANTITY, "at": _OFFSET}
    ),
    st.fixed_dictionaries({"do": st.sampled_from(["jump", "glide"]), "at": _OFFSET}),
    st.fixed_dictionaries({"do": st.sampled_from(["jump", "glide"]), "at": st.integers(-900, 900)}),
    st.fixed_dictionaries({"do": st.just("funding"), "permille": st.integers(-50, 50)}),
    st.fixed_dictionaries({"do": st.just("leverage"), "who": _NAME, "value": st.integers(1, 125)}),
    st.fixed_dictionaries(
        {"do": st.just("margin type"), "who": _NAME, "value": st.sampled_from(["ISOLATED", "CROSSED"])}
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("margin"),
            "who": _NAME,
            "value": st.integers(1, 400),
            "way": st.sampled_from([1, 2]),
            "flag": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {"do": st.just("stp"), "who": _NAME, "value": st.sampled_from(["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"])}
    ),
    st.fixed_dictionaries({"do": st.just("auto add"), "who": _NAME, "value": st.booleans()}),
    st.fixed_dictionaries({"do": st.just("countdown"), "who": _NAME, "value": st.integers(0, 3_000)}),
)


@dataclass(frozen=True)
class Flow:
    """Steps, and whether the accounts are in hedge mode."""

    hedge: bool
    steps: list[dict[str, Any]]


def flows(*, min_size: int = 0, max_size: int = 30) -> st.SearchStrategy[Flow]:
    """Random flows."""
    return st.builds(Flow, st.booleans(), st.lists(_STEP, min_size=min_size, max_size=max_size))


def opened(*, hedge: bool) -> Bench:
    """Three accounts: a position that a crash liquidates, one to deleverage against it, a fund that is soon empty."""
    bench = make_bench(seed=11)
    bench.venue.open_account("bob", Decimal(100_000))
    bench.venue.open_account("poor", Decimal(700))
    accounts = bench.venue.state.accounts
    for account in accounts.values():
        bench.venue.settings.set_leverage(account, bench.venue.market(SYMBOL), 50)
        if hedge:
            bench.venue.settings.set_dual_side(account, dual_side=True)
    sides = ({"positionSide": "LONG"}, {"positionSide": "SHORT"}) if hedge else ({}, {})
    bench.market("BUY", "0.200", accounts["poor"], **sides[0])
    bench.market("SELL", "0.300", accounts["bob"], **sides[1])
    bench.venue.state.fund.start = Decimal(300)
    return bench


def play(bench: Bench, flow: Flow, after: Callable[[dict[str, Any]], None] | None = None) -> list[tuple[int, int]]:
    """Play a flow, one step a second; (step, code) of each refusal. ``after`` is called after each step."""
    refusals: list[tuple[int, int]] = []
    for number, step in enumerate(flow.steps):
        bench.now_us = max(bench.now_us + 1_000_000, START_US)
        try:
            bench.venue.advance()
            _do(bench, step)
        except VenueError as refusal:
            refusals.append((number, refusal.code))
        if after is not None:
            after(step)
    return refusals


def _near(bench: Bench, offset: int) -> str:
    mark = bench.venue.market(SYMBOL).prices.mark
    return str((mark + Decimal(offset) * 10).quantize(Decimal("0.1")))


def _do(bench: Bench, step: dict[str, Any]) -> None:
    venue, market, kind = bench.venue, bench.venue.market(SYMBOL), step["do"]
    if kind in {"jump", "glide"}:
        (venue.jump if kind == "jump" else venue.glide)(SYMBOL, Decimal(_near(bench, step["at"])))
    elif kind == "funding":
        venue.funding.change_terms(market, Decimal(step["permille"]) / 1000, None)
        bench.now_us = market.funding.next_ms * 1000
        venue.advance()
    else:
        account = venue.state.accounts[step["who"]]
        if kind in _SETTINGS:
            _SETTINGS[kind](bench, account, step)
        else:
            _ORDERS[kind](bench, account, step, _position_side(account, step))


def _position_side(account: Account, step: dict[str, Any]) -> dict[str, str]:
    return {"positionSide": "LONG" if step.get("flag") else "SHORT"} if account.dual_side else {}


def _market(bench: Bench, account: Account, step: dict[str, Any], side: dict[str, str]) -> None:
    extra = {"reduceOnly": "true"} if step["flag"] and not side else {}
    bench.market(step["side"], step["qty"], account, **side, **extra)


def _limit(bench: Bench, account: Account, step: dict[str, Any], side: dict[str, str]) -> None:
    bench.limit(step["side"], step["qty"], _near(bench, step["at"]), account, timeInForce=step["tif"], **side)


def _stop(bench: Bench, account: Account, step: dict[str, Any], side: dict[str, str]) -> None:
    reduces = {} if side else {"reduceOnly": "true"}
    rows = {
        "plain": {"quantity": step["qty"]},
        "reduce": {"quantity": step["qty"], **reduces},
        "bound": {"quantity": step["qty"], "timeInForce": "GTE_GTC", **reduces},
        "close": {"closePosition": "true"},
    }[step["exit"]]
    trails = (
        {"callbackRate": "1"} if step["type"] == "TRAILING_STOP_MARKET" else {"stopPrice": _near(bench, step["at"])}
    )
    bench.place(account, side=step["side"], type=step["type"], workingType="MARK_PRICE", **side, **rows, **trails)


def _bracket(bench: Bench, account: Account, step: dict[str, Any], side: dict[str, str]) -> None:
    common = {"securityType": "USDT_FUTURES", "symbol": SYMBOL, "quantity": step["qty"], **side}
    close, sign = ("SELL", 1) if step["side"] == "BUY" else ("BUY", -1)
    exits = {**common, "side": close, "workingType": "MARK_PRICE", **({} if side else {"reduceOnly": "true"})}
    rows = [
        {**common, "strategySubId": "1", "side": step["side"], "type": "MARKET"},
        {**exits, "strategySubId": "2", "type": "TAKE_PROFIT_MARKET", "stopPrice": _near(bench, 60 * sign)},
        {**exits, "strategySubId": "3", "type": "STOP_MARKET", "stopPrice": _near(bench, -60 * sign)},
    ]
    bench.venue.strategies.place(account, "OTOCO", "", rows)


def _picked(account: Account, step: dict[str, Any]) -> int | None:
    orders = [order for rows in account.open_orders.values() for order in rows.values()]
    return orders[step["pick"] % len(orders)].order_id if orders else None


def _cancel(bench: Bench, account: Account, step: dict[str, Any], _side: dict[str, str]) -> None:
    order_id = _picked(account, step)
    if order_id is not None:
        bench.venue.cancel(account, SYMBOL, order_id, None)


def _amend(bench: Bench, account: Account, step: dict[str, Any], _side: dict[str, str]) -> None:
    order_id = _picked(account, step)
    if order_id is not None:
        bench.venue.amend(account, SYMBOL, order_id, None, Decimal(step["qty"]), Decimal(_near(bench, step["at"])))


def _leverage(bench: Bench, account: Account, step: dict[str, Any]) -> None:
    bench.venue.settings.set_leverage(account, bench.venue.market(SYMBOL), step["value"])


def _margin_type(bench: Bench, account: Account, step: dict[str, Any]) -> None:
    bench.venue.settings.set_margin_type(account, bench.venue.market(SYMBOL), step["value"])


def _margin(bench: Bench, account: Account, step: dict[str, Any]) -> None:
    side = _position_side(account, step).get("positionSide", "BOTH")
    change_margin(bench.venue.state, account, bench.venue.market(SYMBOL), side, Decimal(step["value"]), step["way"])


def _stp(bench: Bench, account: Account, step: dict[str, Any]) -> None:
    bench.venue.settings.set_stp_mode(account, step["value"])


def _countdown(bench: Bench, account: Account, step: dict[str, Any]) -> None:
    bench.venue.countdowns.wind(account, SYMBOL, step["value"])


def _auto_add(bench: Bench, account: Account, step: dict[str, Any]) -> None:
    bench.venue.settings.set_auto_add_margin(account, bench.venue.market(SYMBOL), adds=step["value"])


_SETTINGS = {
    "auto add": _auto_add,
    "leverage": _leverage,
    "margin type": _margin_type,
    "margin": _margin,
    "stp": _stp,
    "countdown": _countdown,
}
_ORDERS = {
    "market": _market,
    "limit": _limit,
    "stop": _stop,
    "bracket": _bracket,
    "cancel": _cancel,
    "amend": _amend,
}
