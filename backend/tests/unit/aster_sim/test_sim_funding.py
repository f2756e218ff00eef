"""Funding: who pays whom, when, from which wallet, and what the owner hears."""

from __future__ import annotations

from decimal import Decimal

import pytest

from aster_sim.core.errors import VenueError

HOUR_US = 3_600_000_000


def _to_the_next_settlement(bench) -> None:
    bench.now_us = bench.venue.market("BTCUSDT").funding.next_ms * 1000
    bench.venue.advance()


def _fees(account) -> list[Decimal]:
    return [row.income for row in account.incomes if row.income_type == "FUNDING_FEE"]


def test_longs_pay_shorts_the_rate_on_their_notional_at_mark(bench):
    bob = bench.venue.open_account("bob", Decimal(50_000))
    bench.market("BUY", "0.100")
    bench.market("SELL", "0.030", bob)
    bench.jump("95000")
    _to_the_next_settlement(bench)
    assert _fees(bench.account) == [Decimal("-0.95")]
    assert _fees(bob) == [Decimal("0.285")]
    assert bench.account.wallet == sum((row.income for row in bench.account.incomes), Decimal(0))


def test_a_negative_rate_turns_the_payment_around(bench):
    bench.venue.funding.change_terms(bench.venue.market("BTCUSDT"), Decimal("-0.0005"), None)
    bench.market("BUY", "0.100")
    bench.jump("90000")
    _to_the_next_settlement(bench)
    assert _fees(bench.account) == [Decimal("4.5")]


def test_nothing_is_paid_before_the_interval_ends_nor_without_a_position(bench):
    bench.market("BUY", "0.100")
    bench.now_us = bench.venue.market("BTCUSDT").funding.next_ms * 1000 - 1
    bench.venue.advance()
    assert _fees(bench.account) == []
    bench.market("SELL", "0.100")
    _to_the_next_settlement(bench)
    assert _fees(bench.account) == []
    assert len(bench.venue.market("BTCUSDT").funding.history) == 1


def test_a_clock_that_jumps_over_intervals_settles_each_of_them(bench):
    bench.market("BUY", "0.100")
    bench.jump("96000")
    first = bench.venue.market("BTCUSDT").funding.next_ms
    bench.now_us = first * 1000 + 17 * HOUR_US
    bench.venue.advance()
    assert _fees(bench.account) == [Decimal("-0.96")] * 3
    times = [row.time_ms for row in bench.venue.market("BTCUSDT").funding.history]
    assert times == [first, first + 8 * 3_600_000, first + 16 * 3_600_000]


def test_the_interval_can_be_shortened(bench):
    market = bench.venue.market("BTCUSDT")
    bench.venue.funding.change_terms(market, None, 1)
    assert market.funding.next_ms - bench.now_us // 1000 <= 3_600_000
    for hours in (0, 25):
        with pytest.raises(VenueError, match="-1130"):
            bench.venue.funding.change_terms(market, None, hours)


def test_funding_of_a_cross_position_tells_balances_only(bench):
    bench.market("BUY", "0.100")
    bench.jump("96000")
    bench.events()
    _to_the_next_settlement(bench)
    [frame] = bench.events()
    assert (frame["e"], frame["a"]["m"]) == ("ACCOUNT_UPDATE", "FUNDING_FEE")
    assert "P" not in frame["a"]
    assert frame["a"]["B"][0]["bc"] == "-0.96000000"


def test_funding_of_an_isolated_position_comes_out_of_its_own_wallet_and_shows_it(bench):
    market = bench.venue.market("BTCUSDT")
    bench.venue.settings.set_margin_type(bench.account, market, "ISOLATED")
    bench.market("BUY", "0.100")
    bench.jump("96000")
    position, cross = bench.account.position("BTCUSDT", "BOTH"), bench.account.cross_wallet
    before = position.isolated_wallet
    bench.events()
    _to_the_next_settlement(bench)
    [frame] = bench.events()
    assert position.isolated_wallet == before - Decimal("0.96")
    assert bench.account.cross_wallet == cross
    assert frame["a"]["P"][0]["iw"] == f"{position.isolated_wallet:.8f}"


def test_funding_may_be_booked_after_the_position_is_gone(bench):
    bench.venue.state.rules.funding_delay_s = 20
    bench.market("BUY", "0.100")
    bench.jump("95000")
    _to_the_next_settlement(bench)
    bench.market("SELL", "0.100")
    bench.now_us += 19_000_000
    bench.venue.advance()
    assert _fees(bench.account) == []
    bench.now_us += 1_000_000
    bench.venue.advance()
    bench.venue.advance()
    assert _fees(bench.account) == [Decimal("-0.95")]
    assert bench.account.incomes[-1].time_ms == bench.now_us // 1000
