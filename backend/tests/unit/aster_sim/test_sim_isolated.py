"""Isolated margin: what a position sets apart, what it loses, and what the client may move."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core.account import Position
from aster_sim.core.errors import VenueError
from aster_sim.core.isolated import ADD, REDUCE, change_margin, wallet_after_fill
from aster_sim.core.margin import summarise


@pytest.fixture
def isolated(bench):
    """A bench whose BTCUSDT is isolated at 10x."""
    market = bench.venue.market("BTCUSDT")
    bench.venue.settings.set_leverage(bench.account, market, 10)
    bench.venue.settings.set_margin_type(bench.account, market, "ISOLATED")
    return bench


def _wallet(bench) -> Decimal:
    return bench.account.position("BTCUSDT", "BOTH").isolated_wallet


def _move(bench, amount: str, direction: int) -> None:
    market = bench.venue.market("BTCUSDT")
    change_margin(bench.venue.state, bench.account, market, "BOTH", Decimal(amount), direction)


def test_opening_sets_apart_margin_at_mark_less_the_commission(isolated):
    isolated.market("BUY", "0.100")
    [trade] = isolated.account.trades["BTCUSDT"]
    assert _wallet(isolated) == Decimal(960) - trade.commission
    assert isolated.account.cross_wallet == Decimal(100_000) - 960


def test_closing_a_part_gives_its_share_back_with_the_profit(isolated):
    isolated.market("BUY", "0.100")
    before = _wallet(isolated)
    isolated.jump("97000")
    isolated.market("SELL", "0.025")
    assert _wallet(isolated) == before * 3 / 4
    isolated.market("SELL", "0.075")
    assert _wallet(isolated) == 0
    assert isolated.account.cross_wallet == isolated.account.wallet


def test_a_loss_beyond_the_share_eats_into_what_stays():
    position = Position("BTCUSDT", "BOTH", amount=Decimal("0.02"), isolated_wallet=Decimal(960))
    kept = wallet_after_fill(position, Decimal("0.1"), Decimal(80_000), 10, Decimal(-900), Decimal(3))
    assert kept == Decimal(57) < Decimal(960) / 5


def test_a_flip_starts_the_other_side_with_fresh_margin(isolated):
    isolated.market("BUY", "0.100")
    isolated.market("SELL", "0.300")
    commission = isolated.account.trades["BTCUSDT"][-1].commission
    assert _wallet(isolated) == Decimal(1920) - commission


def test_an_isolated_profit_does_not_help_the_cross_balance(isolated):
    isolated.market("BUY", "0.100")
    available = summarise(isolated.account, isolated.venue.state.markets).available
    isolated.jump("99000")
    assert summarise(isolated.account, isolated.venue.state.markets).available == available


def test_margin_moves_in_and_out_and_is_remembered(isolated):
    isolated.market("BUY", "0.100")
    before, cross = _wallet(isolated), isolated.account.cross_wallet
    isolated.events()
    _move(isolated, "500", ADD)
    assert (_wallet(isolated), isolated.account.cross_wallet) == (before + 500, cross - 500)
    [frame] = isolated.events()
    assert frame["a"]["m"] == "MARGIN_TRANSFER"
    assert frame["a"]["P"][0]["iw"] == f"{before + 500:.8f}"
    _move(isolated, "400", REDUCE)
    assert [(row.direction, row.amount) for row in isolated.account.margin_changes] == [(1, 500), (2, 400)]


@pytest.mark.parametrize(
    ("amount", "direction", "code"),
    [("0", ADD, -4055), ("99500", ADD, -4050), ("10", REDUCE, -4051)],
)
def test_margin_is_not_moved_beyond_what_is_free(isolated, amount, direction, code):
    isolated.market("BUY", "0.100")
    with pytest.raises(VenueError, match=f"^{code} "):
        _move(isolated, amount, direction)


def test_margin_is_moved_for_isolated_positions_only(isolated, bench):
    with pytest.raises(VenueError, match=r"^-4054 "):
        _move(isolated, "10", ADD)
    market = bench.venue.market("ETHUSDT")
    with pytest.raises(VenueError, match=r"^-4049 "):
        change_margin(bench.venue.state, bench.account, market, "BOTH", Decimal(10), ADD)
    with pytest.raises(VenueError, match=r"^-4061 "):
        change_margin(bench.venue.state, bench.account, market, "LONG", Decimal(10), ADD)


def test_a_change_of_margin_type_is_told(bench):
    bench.venue.settings.set_margin_type(bench.account, bench.venue.market("BTCUSDT"), "ISOLATED")
    [frame] = bench.events()
    assert frame["a"]["m"] == "MARGIN_TYPE_CHANGE"
    assert frame["a"]["P"][0]["mt"] == "isolated"


def test_margin_is_added_automatically_before_a_liquidation_while_there_is_any(isolated):
    market, account = isolated.venue.market("BTCUSDT"), isolated.account
    isolated.venue.settings.set_auto_add_margin(account, market, adds=True)
    isolated.market("BUY", "0.100")
    isolated.events()
    isolated.venue.glide("BTCUSDT", Decimal(84_000))
    assert isolated.amount() == Decimal("0.100")
    assert {event["a"]["m"] for event in isolated.events() if event["e"] == "ACCOUNT_UPDATE"} == {"MARGIN_TRANSFER"}
    assert {change.direction for change in account.margin_changes} == {ADD}
    added = sum(change.amount for change in account.margin_changes)
    assert _wallet(isolated) == Decimal(960) - account.trades["BTCUSDT"][0].commission + added
    account.wallet = account.deposited = _wallet(isolated)  # nothing is left beside the position
    isolated.venue.glide("BTCUSDT", Decimal(70_000))
    assert isolated.amount() == 0


def test_without_it_the_same_fall_liquidates(isolated):
    isolated.market("BUY", "0.100")
    isolated.venue.glide("BTCUSDT", Decimal(84_000))
    assert isolated.amount() == 0


def test_margin_is_added_automatically_to_isolated_symbols_only(isolated):
    market, settings = isolated.venue.market("BTCUSDT"), isolated.venue.settings
    settings.set_auto_add_margin(isolated.account, market, adds=True)
    settings.set_margin_type(isolated.account, market, "CROSSED")
    assert isolated.account.auto_add_margin == set()
    with pytest.raises(VenueError, match=r"^-4049 "):
        settings.set_auto_add_margin(isolated.account, market, adds=True)
