"""Whatever flows: money in equals money out, positions net out, a seed replays byte by byte, a restart changes nothing.

The flow has orders of all kinds, brackets, amendments, crashes with liquidations, funding and changes of mode.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aster_sim.core.account import Account
from aster_sim.core.margin import position_maintenance, summarise
from aster_sim.core.orders import OPEN_STATUSES
from aster_sim.journal import Journal
from support.examples import at_most
from support.sim_bench import Bench, make_bench
from support.sim_flow import SYMBOL, Flow, flows, opened, play

ZERO = Decimal(0)
_QUICKLY = settings(max_examples=at_most(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
_BRIEFLY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _check_account(bench: Bench, account: Account) -> Decimal:
    """Money and positions of an account by its history; what it got from the insurance fund."""
    trades = account.trades.get(SYMBOL, [])
    commission = sum((trade.commission for trade in trades), ZERO)
    realised = sum((trade.realised_pnl for trade in trades), ZERO)
    paid = {
        kind: sum((row.income for row in account.incomes if row.income_type == kind), ZERO)
        for kind in ("FUNDING_FEE", "INSURANCE_CLEAR")
    }
    assert account.wallet == account.deposited + realised - commission + sum(paid.values())
    assert account.wallet == sum((income.income for income in account.incomes), ZERO)
    for side in account.sides():
        position = account.position(SYMBOL, side)
        own = [trade for trade in trades if trade.position_side == side]
        assert position.amount == sum((row.quantity if row.side == "BUY" else -row.quantity for row in own), ZERO)
        assert position.realised == sum((row.realised_pnl for row in own), ZERO)
        cash = sum((row.quote if row.side == "BUY" else -row.quote for row in own), ZERO)
        assert position.cost == cash + position.realised
        assert side != "LONG" or position.amount >= 0
        assert side != "SHORT" or position.amount <= 0
        assert bool(position.isolated_wallet) <= bool(position.amount and SYMBOL in account.isolated)
    assert bool(account.held(SYMBOL)) == (account.name in bench.venue.market(SYMBOL).holders)
    return paid["INSURANCE_CLEAR"]


def _check_orders(account: Account) -> None:
    for order in account.orders.values():
        trades = account.trades.get(SYMBOL, [])
        filled = sum((trade.quantity for trade in trades if trade.order_id == order.order_id), ZERO)
        assert filled == order.executed <= max(order.quantity, order.executed)
        assert (order.status in OPEN_STATUSES) == (order.order_id in account.open_orders.get(SYMBOL, {}))
        assert (order.status == "FILLED") == (bool(order.executed) and order.executed == order.quantity)


def _check_resting_sums(account: Account) -> None:
    """What is kept as sums is what walking through the open orders tells."""
    limits = [
        row for row in account.open_orders.get(SYMBOL, {}).values() if row.type == "LIMIT" and not row.closes_only
    ]
    for buys in (True, False):
        assert account.resting_quantity(SYMBOL, buys=buys) == sum((o.remaining for o in limits if o.buys == buys), ZERO)
    free = {(side, buys): ZERO for side in ("BOTH", "LONG", "SHORT") for buys in (True, False)}
    free.update({(row.side, row.amount < 0): abs(row.amount) for row in account.held(SYMBOL)})
    opening = ZERO
    for order in limits:
        closing = min(order.remaining, free[order.position_side, order.buys])
        free[order.position_side, order.buys] -= closing
        opening += (order.remaining - closing) * order.price
    assert account.order_margin.get(SYMBOL, ZERO) == opening / account.leverage[SYMBOL]


def _check(bench: Bench, step: dict[str, Any]) -> None:
    cleared = ZERO
    for account in bench.venue.state.accounts.values():
        cleared += _check_account(bench, account)
        _check_orders(account)
        _check_resting_sums(account)
    fund = bench.venue.state.fund
    assert fund.balance == fund.start - cleared + fund.taken_over
    if step["do"] in {"jump", "glide"}:
        _check_nobody_is_under_water(bench)


def _check_nobody_is_under_water(bench: Bench) -> None:
    """After a move of the mark price nobody holds a position without its maintenance margin."""
    market = bench.venue.market(SYMBOL)
    for account in bench.venue.state.accounts.values():
        held = account.held(SYMBOL)
        assert account.wallet >= 0 or held
        if SYMBOL in account.isolated:
            for position in held:
                equity = position.isolated_wallet + position.unrealised(market.prices.mark)
                assert equity > position_maintenance(position, market)
        elif held:
            summary = summarise(account, bench.venue.state.markets)
            assert summary.cross_wallet + summary.cross_unrealised > summary.cross_maintenance


def _history(bench: Bench) -> bytes:
    """All that accounts own, did and heard; the numbers in a book's queue are its own business."""
    rows: list[Any] = [[(event.account, event.payload) for event in bench.venue.take_events()]]
    for account in bench.venue.state.accounts.values():
        orders = [{**msgspec.to_builtins(order), "book_seq": 0} for order in account.orders.values()]
        traded = [row for row in account.positions.values() if row.updated_ms]
        positions = sorted(traded, key=lambda row: (row.symbol, row.side))
        rows.append([account.wallet, positions, orders, account.trades, account.incomes, sorted(account.margin_called)])
    return msgspec.json.encode(rows)


@_QUICKLY
@given(flow=flows())
def test_money_is_conserved_at_every_step_of_any_flow(flow: Flow):
    bench = opened(hedge=flow.hedge)
    play(bench, flow, lambda step: _check(bench, step))


@_BRIEFLY
@given(flow=flows(min_size=5))
def test_the_same_seed_and_inputs_give_the_same_history_byte_by_byte(flow: Flow):
    first, second = opened(hedge=flow.hedge), opened(hedge=flow.hedge)
    assert play(first, flow) == play(second, flow)
    assert _history(first) == _history(second)


@_BRIEFLY
@given(before=flows(min_size=3, max_size=15), after=flows(min_size=3, max_size=15))
def test_a_restart_in_the_middle_of_any_flow_changes_nothing(before: Flow, after: Flow):
    whole, halves = opened(hedge=before.hedge), opened(hedge=before.hedge)
    play(whole, before)
    whole.venue.take_events()
    with TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "state", halves.venue)
        play(halves, before, lambda _: journal.commit(halves.venue, halves.venue.take_changes(), with_prices=True))
        journal.close()
        restored = make_bench(seed=11)
        restored.venue.state.accounts.clear()
        restored.now_us = halves.now_us
        journal = Journal.open(Path(folder) / "state", restored.venue)
        journal.close()
    assert play(whole, after) == play(restored, after)
    assert _history(whole) == _history(restored)


def test_another_seed_gives_another_book():
    books = {str(make_bench(seed=seed).venue.market(SYMBOL).depth(3, asks=True)) for seed in (1, 1, 2)}
    assert len(books) == 2


@_BRIEFLY
@given(
    resting=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 9), st.booleans(), st.sampled_from(["bob", "poor"])), max_size=12
    ),
    taken=st.integers(1, 60),
)
def test_resting_orders_are_filled_by_price_then_visibility_then_time(resting, taken):
    bench = opened(hedge=False)
    poor = bench.venue.state.accounts["poor"]
    poor.wallet += 1_000_000
    poor.deposited += 1_000_000
    best = bench.venue.market(SYMBOL).best(asks=True)[0]
    queue = []
    for number, (ticks, milli, hidden, who) in enumerate(resting):
        price = best - Decimal(ticks) / 10
        order = bench.limit(
            "SELL",
            str(Decimal(milli) / 1000),
            str(price),
            bench.venue.state.accounts[who],
            timeInForce="HIDDEN" if hidden else "GTC",
        )
        queue.append((price, hidden, number, order.order_id, order.quantity))
    bench.market("BUY", str(Decimal(taken) / 1000))
    left, expected = Decimal(taken) / 1000, []
    for _, _, _, order_id, quantity in sorted(queue):
        part = min(left, quantity)
        if part:
            expected.append((order_id, part))
        left -= part
    fills = sorted(
        (trade.trade_id, trade.order_id, trade.quantity)
        for account in bench.venue.state.accounts.values()
        for trade in account.trades[SYMBOL]
        if trade.maker
    )
    assert [(order_id, quantity) for _, order_id, quantity in fills] == expected
