"""What was committed comes back, whatever happened to the process."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from aster_sim.core.isolated import change_margin
from aster_sim.core.orders import FILLED
from aster_sim.journal import Journal, JournalError
from support.sim_bench import Bench, make_bench


def _trade(bench: Bench) -> None:
    """Some of everything: a position, a resting order, a stop, a canceled order, modes."""
    bench.venue.settings.set_leverage(bench.account, bench.venue.market("BTCUSDT"), 10)
    bench.venue.settings.set_margin_type(bench.account, bench.venue.market("ETHUSDT"), "ISOLATED")
    bench.market("BUY", "0.100")
    bench.market("SELL", "0.040")
    bench.limit("BUY", "0.010", "95000", newClientOrderId="rest")
    bench.stop("SELL", "94000", closePosition="true", newClientOrderId="sl")
    gone = bench.limit("BUY", "0.010", "94900", newClientOrderId="gone")
    bench.venue.cancel(bench.account, "BTCUSDT", gone.order_id, None)


def _commit(bench: Bench, journal: Journal) -> None:
    journal.commit(bench.venue, bench.venue.take_changes(), with_prices=True)


def _image(bench: Bench) -> bytes:
    account = bench.account
    orders = [msgspec.to_builtins(order) for order in account.orders.values()]
    for order in orders:
        order.pop("book_seq")
    return msgspec.json.encode(
        [
            account.wallet,
            account.deposited,
            account.leverage,
            sorted(account.isolated),
            list(account.positions.values()),
            orders,
            account.trades,
            account.incomes,
            sorted(account.open_client_ids),
            account.order_margin,
            bench.venue.state.counters,
            bench.venue.market("BTCUSDT").prices.mark,
        ]
    )


def _restored(path: Path) -> tuple[Bench, Journal]:
    bench = make_bench()
    bench.venue.state.accounts.clear()
    journal = Journal.open(path, bench.venue)
    bench.account = bench.venue.state.accounts["alice"]
    return bench, journal


def _first_life(path: Path) -> bytes:
    bench = make_bench()
    journal = Journal.open(path, bench.venue)
    _commit(bench, journal)
    _trade(bench)
    bench.jump("95500")
    _commit(bench, journal)
    journal.close()
    return _image(bench)


def test_everything_is_restored_and_goes_on_working(tmp_path):
    before = _first_life(tmp_path / "state")
    bench, journal = _restored(tmp_path / "state")
    assert _image(bench) == before
    next_id = bench.venue.state.counters.order_id
    bench.jump("93900")
    orders = {order.client_order_id: order for order in bench.account.orders.values()}
    assert orders["rest"].status == FILLED
    assert (orders["sl"].status, bench.amount()) == (FILLED, Decimal(0))
    assert bench.market("BUY", "0.010").order_id == next_id
    journal.close()


def test_what_is_not_an_order_is_restored_too(tmp_path):
    path = tmp_path / "state"
    bench = make_bench()
    journal = Journal.open(path, bench.venue)
    btc, venue = bench.venue.market("BTCUSDT"), bench.venue
    venue.settings.set_margin_type(bench.account, btc, "ISOLATED")
    venue.settings.set_stp_mode(bench.account, "EXPIRE_BOTH")
    bench.market("BUY", "0.100")
    change_margin(venue.state, bench.account, btc, "BOTH", Decimal(5), 1)
    venue.countdowns.wind(bench.account, "ETHUSDT", 60_000)
    sub = {"securityType": "USDT_FUTURES", "symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC"}
    rows = [{**sub, "strategySubId": str(number), "quantity": "0.010", "price": f"9{number}500"} for number in (7, 8)]
    rows = [{**row, "strategySubId": str(number)} for number, row in enumerate(rows, start=1)]
    venue.strategies.place(bench.account, "OCO", "pair", rows)
    bench.now_us = btc.funding.next_ms * 1000
    venue.funding.settle_due()
    venue.state.fund.clear(Decimal(-7))
    journal.commit(venue, venue.take_changes(), with_prices=True, nonces={"0xsigner": [1, 2]})
    journal.close()
    for _ in range(2):
        restored, reopened = _restored(path)
        account, state = restored.account, restored.venue.state
        assert account.stp_mode == "EXPIRE_BOTH"
        assert account.margin_changes == bench.account.margin_changes
        assert account.countdowns == bench.account.countdowns != {}
        assert account.strategies == bench.account.strategies != {}
        assert list(state.markets["BTCUSDT"].funding.history) == list(btc.funding.history)
        assert list(state.markets["BTCUSDT"].holders) == ["alice"]
        assert state.fund == venue.state.fund
        assert reopened.nonces == {"0xsigner": [1, 2]}
        reopened.close()
    restored.venue.strategies.find(account, "OCO", None, "pair")
    restored.jump("97510")
    assert account.strategies[next(iter(account.strategies))].status == "EXPIRED"


def test_how_far_a_trailing_stop_has_come_survives(tmp_path):
    path = tmp_path / "state"
    bench = make_bench()
    journal = Journal.open(path, bench.venue)
    bench.market("BUY", "0.010")
    params = {"side": "SELL", "type": "TRAILING_STOP_MARKET", "quantity": "0.010", "callbackRate": "1"}
    bench.place(**params, workingType="MARK_PRICE")
    _commit(bench, journal)
    bench.jump("98000")
    _commit(bench, journal)
    journal.close()
    restored, reopened = _restored(path)
    restored.jump("97010")
    assert restored.amount() == Decimal(0)
    reopened.close()


def test_compaction_changes_nothing(tmp_path):
    before = _first_life(tmp_path / "state")
    for _ in range(3):
        bench, journal = _restored(tmp_path / "state")
        assert _image(bench) == before
        journal.close()


def test_each_commit_stands_alone_and_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "state"
    bench = make_bench()
    journal = Journal.open(path, bench.venue)
    _commit(bench, journal)
    bench.market("BUY", "0.100")
    _commit(bench, journal)
    image = _image(bench)
    bench.market("BUY", "0.200")
    _commit(bench, journal)
    journal.close()
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for cut in (last, last + 1, (last + len(whole)) // 2, len(whole) - 2):
        path.write_bytes(whole[:cut])
        restored, reopened = _restored(path)
        assert _image(restored) == image, cut
        reopened.close()


def test_a_damaged_line_in_the_middle_is_reported(tmp_path):
    path = tmp_path / "state"
    _first_life(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"{broken", *lines[1:]]))
    with pytest.raises(JournalError, match="line 2 is damaged"):
        _restored(path)


def test_a_state_file_has_one_user_at_a_time(tmp_path):
    journal = Journal.open(tmp_path / "state", make_bench().venue)
    with pytest.raises(JournalError, match="another venue is using it"):
        Journal.open(tmp_path / "state", make_bench().venue)
    journal.close()
    Journal.open(tmp_path / "state", make_bench().venue).close()


def test_a_state_of_other_symbols_is_refused_with_the_fix(tmp_path):
    path = tmp_path / "state"
    _first_life(path)
    bench = make_bench()
    del bench.venue.state.markets["BTCUSDT"]
    with pytest.raises(JournalError, match=r"BTCUSDT.*--exchange-info"):
        Journal.open(path, bench.venue)
