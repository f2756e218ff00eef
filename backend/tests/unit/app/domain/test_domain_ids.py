"""Client order ids: derived, within the exchange's alphabet, and recognised as ours only when they are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import ClientOrderId, IdSource, OrderRole, encode_id, parse_client_order_id

EXCHANGE_PATTERN = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

TIMES = st.timedeltas(min_value=timedelta(days=-2000), max_value=timedelta(days=60_000)).map(lambda delta: NOON + delta)
TRADE_IDS = st.builds(encode_id, TIMES, st.integers(0, 2**64))


class FixedClock:
    """Time stands still."""

    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


class CountingRandomness:
    """Gives 0, 1, 2, …, and notes how many bits were asked for."""

    def __init__(self) -> None:
        self.next = 0
        self.bits: set[int] = set()

    def uniform(self, low: float, high: float) -> float:
        return low

    def token(self, bits: int) -> int:
        self.bits.add(bits)
        self.next += 1
        return self.next - 1


@given(TRADE_IDS, st.sampled_from(OrderRole), st.integers(1, 999_999))
def test_an_id_is_legal_on_the_exchange_and_reads_back(trade_id: str, role: OrderRole, attempt: int) -> None:
    key = ClientOrderId(trade_id, role, attempt)
    assert EXCHANGE_PATTERN.fullmatch(str(key))
    assert parse_client_order_id(str(key)) == key


def test_ids_of_different_orders_differ() -> None:
    trade_ids = ("0" * 20, "z" * 20)
    keys = [ClientOrderId(trade, role, n) for trade in trade_ids for role in OrderRole for n in range(1, 30)]
    assert len({str(key) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web_abc123",
        "autoclose-1234567890",
        "adl_autoclose",
        "tes",
        "tes.06ex5tn9g0000000abcd.e",
        "tes.06ex5tn9g0000000abcd.e0",
        "tes.06ex5tn9g0000000abcd.e01",
        "tes.06ex5tn9g0000000abcd.z1",
        "tes.06ex5tn9g0000000abcd.e1 ",
        "tes.06ex5tn9g0000000abcd.e1\n",
        "tes.06ex5tn9g0000000abcd.e1.2",
        "tes.06EX5TN9G0000000ABCD.e1",
        "tes.06ex5tn9g0000000abc.e1",
        "tes.06ex5tn9g0000000abcde.e1",
        "tes.06ex5tn9g0000000abci.e1",
        "TES.06ex5tn9g0000000abcd.e1",
        "xtes.06ex5tn9g0000000abcd.e1",
        "tes.06ex5tn9g0000000abcd.e1234567",
        "tes.06ex5tn9g0000000abcd.e١",
    ],
)
def test_what_is_not_ours_is_foreign(text: str) -> None:
    """Scenarios H2 and O2: such orders are never touched."""
    assert parse_client_order_id(text) is None


@pytest.mark.long
@given(st.text(max_size=40))
def test_no_text_is_taken_for_ours_unless_it_spells_the_same_again(text: str) -> None:
    key = parse_client_order_id(text)
    assert key is None or str(key) == text


@given(TIMES, TIMES, st.integers(0, 2**55 - 1), st.integers(0, 2**55 - 1))
def test_ids_sort_by_time(first: datetime, second: datetime, a: int, b: int) -> None:
    if second - first >= timedelta(milliseconds=1):
        assert encode_id(first, a) < encode_id(second, b)


def test_one_millisecond_gives_ids_of_their_own() -> None:
    randomness = CountingRandomness()
    source = IdSource(FixedClock(), randomness)
    made = [source.new() for _ in range(500)]
    assert len(set(made)) == 500
    assert {len(one) for one in made} == {20}
    assert randomness.bits == {55}
    assert all(parse_client_order_id(f"tes.{one}.e1") for one in made)


@pytest.mark.parametrize("role", OrderRole)
def test_all_but_the_entry_and_what_is_taken_back_are_exits(role: OrderRole) -> None:
    assert role.is_exit is (role not in (OrderRole.ENTRY, OrderRole.TAKE_BACK))
