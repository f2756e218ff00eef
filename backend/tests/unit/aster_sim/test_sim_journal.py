"""What was committed comes back, whatever happened to the process."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

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
