"""What becomes of an order request, whatever the exchange and the network do to it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from urllib.parse import parse_qsl

import pytest
from aster_doubles import (
    NOON_MS,
    SIGNER,
    USER,
    V1,
    V3,
    Bench,
    LeapingClock,
    MiddlingRandomness,
    ScriptedTransport,
    json_reply,
    started_bench,
)

from app.domain.errors import NotSent, Refusal, RefusedByExchange, Unavailable
from app.domain.reports import (
    Accepted,
    ExchangeOrderStatus,
    NeverSent,
    OrderRequest,
    OrderType,
    PositionSide,
    Refused,
    Side,
    Unknown,
)
from app.integrations.aster.client import AsterClient
from app.integrations.aster.orders import priority_of
from app.integrations.aster.priorities import Priority
from app.integrations.aster.signing import V1Signer, V3Signer
from app.integrations.aster.transport import Response, TransportNotSent, TransportOutcomeUnknown

ENTRY = OrderRequest(
    symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, client_order_id="tes.t.e1", quantity=Decimal("0.01")
)
EXIT = replace(ENTRY, side=Side.SELL, reduce_only=True, client_order_id="tes.t.c1")
FILLED = {
    "orderId": 7,
    "symbol": "BTCUSDT",
    "status": "FILLED",
    "clientOrderId": "tes.t.e1",
    "price": "0",
    "avgPrice": "96000.1",
    "origQty": "0.010",
    "executedQty": "0.010",
    "cumQuote": "960.001",
    "type": "MARKET",
    "origType": "MARKET",
    "side": "BUY",
    "positionSide": "BOTH",
    "stopPrice": "0",
    "reduceOnly": False,
    "closePosition": False,
    "updateTime": NOON_MS,
    "newChainData": {"hash": "0x1"},
}
FILLED_REPLY = json_reply(json.dumps(FILLED))


def refusal(code: int, message: str = "no", status: int = 400) -> Response:
    return json_reply(json.dumps({"code": code, "msg": message}), status)


@pytest.fixture
async def bench() -> Bench:
    return await started_bench()


async def test_accepted_order_is_described_by_the_exchange(bench: Bench) -> None:
    bench.will_answer(FILLED_REPLY)
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, Accepted)
    assert placement.report.status is ExchangeOrderStatus.FILLED
    assert placement.report.average_price == Decimal("96000.1")


async def test_v3_request_is_signed_over_exactly_what_is_sent(bench: Bench) -> None:
    bench.will_answer(FILLED_REPLY)
    await bench.client.place_order(ENTRY)
    [request] = bench.sent
    assert (request.method, request.path, request.query) == ("POST", "/fapi/v3/order", "")
    message, _, signature = request.body.rpartition("&signature=")
    assert signature == V3Signer(V3.private_key, V3.chain_id).sign(message)
    assert request.fields["user"] == USER
    assert request.fields["signer"] == SIGNER
    assert abs(int(request.fields["nonce"]) - NOON_MS * 1000) < 1_000_000


async def test_v1_request_is_signed_over_exactly_what_is_sent() -> None:
    bench = await started_bench(V1)
    bench.will_answer(FILLED_REPLY)
    await bench.client.place_order(ENTRY)
    [request] = bench.sent
    assert request.path == "/fapi/v1/order"
    message, _, signature = request.body.rpartition("&signature=")
    assert signature == V1Signer(V1.api_secret).sign(message)
    assert request.headers["X-MBX-APIKEY"] == V1.api_key
    assert request.fields["recvWindow"] == "5000"
    assert abs(int(request.fields["timestamp"]) - NOON_MS) < 1000


@pytest.mark.parametrize(
    "trouble",
    [
        TransportOutcomeUnknown("the connection failed after sending (TimeoutError)"),
        json_reply("", 503),
        json_reply("<html>", 502),
        json_reply("<html>", 200),
        json_reply('{"orderId":"abc"}', 200),
        json_reply(json.dumps(FILLED | {"executedQty": "NaN"})),
        refusal(-1000, "unknown error"),
        refusal(-1001),
        refusal(-1006),
        refusal(-1007, status=200),
    ],
    ids=str,
)
async def test_doubt_after_sending_stays_unknown(bench: Bench, trouble: Response | Exception) -> None:
    """Scenario U1: and the order is transmitted once."""
    bench.will_answer(trouble)
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, Unknown)
    assert len(bench.sent) == 1
    assert placement.stamp.value == int(bench.sent[0].fields["nonce"])
    window = placement.stamp.dead_after - bench.client.exchange_time()
    assert timedelta(seconds=64) < window <= timedelta(seconds=65)


async def test_fence_of_a_v1_order_is_its_receive_window_and_the_margin() -> None:
    bench = await started_bench(V1)
    bench.will_answer(TransportOutcomeUnknown("reset"))
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, Unknown)
    assert placement.stamp.dead_after - bench.client.exchange_time() <= timedelta(seconds=10)
    assert placement.stamp.dead_after - bench.client.exchange_time() > timedelta(seconds=9)


async def test_no_connection_is_never_sent(bench: Bench) -> None:
    bench.will_answer(TransportNotSent("no connection to the exchange (ConnectionRefusedError)"))
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, NeverSent)
    assert "connection" in placement.reason


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (-2019, Refusal.MARGIN),
        (-2021, Refusal.IMMEDIATE_TRIGGER),
        (-2022, Refusal.REDUCE_ONLY),
        (-4116, Refusal.DUPLICATE_ID),
        (-1121, Refusal.SYMBOL),
        (-9999, Refusal.UNRECOGNISED),
    ],
)
async def test_refusal_names_its_family(bench: Bench, code: int, family: Refusal) -> None:
    bench.will_answer(refusal(code, "because"))
    assert await bench.client.place_order(ENTRY) == Refused(family=family, code=code, message="because")


async def test_negative_code_on_http_200_is_a_refusal(bench: Bench) -> None:
    """Fact sheet, section 11."""
    bench.will_answer(refusal(-2019, status=200))
    assert isinstance(await bench.client.place_order(ENTRY), Refused)


# --- the clock


async def test_refused_clock_is_resynchronised_and_signed_again_once(bench: Bench) -> None:
    """Scenario L2."""
    bench.transport.skew_ms = 120_000
    asked = bench.transport.time_asked
    bench.will_answer(refusal(-4225, "Nonce Expired"), FILLED_REPLY)
    assert isinstance(await bench.client.place_order(ENTRY), Accepted)
    assert bench.transport.time_asked == asked + 1
    first, second = (int(request.fields["nonce"]) for request in bench.sent)
    assert second - first == pytest.approx(120_000_000, abs=1_000_000)


async def test_clock_refused_twice_is_a_refusal(bench: Bench) -> None:
    bench.will_answer(refusal(-4225), refusal(-4225))
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, Refused)
    assert placement.family is Refusal.CLOCK
    assert len(bench.sent) == 2


async def test_refused_clock_of_v1_is_met_the_same_way() -> None:
    bench = await started_bench(V1)
    bench.will_answer(refusal(-1021), FILLED_REPLY)
    assert isinstance(await bench.client.place_order(ENTRY), Accepted)


async def test_given_stamp_is_never_replaced(bench: Bench) -> None:
    stamp = bench.client.stamp()
    bench.will_answer(refusal(-4225))
    placement = await bench.client.place_order(ENTRY, stamp)
    assert isinstance(placement, Refused)
    assert placement.family is Refusal.CLOCK
    assert [request.fields["nonce"] for request in bench.sent] == [str(stamp.value)]


@pytest.mark.parametrize(("credentials", "window_s"), [(V3, 60), (V1, 5)], ids=["v3", "v1"])
async def test_given_stamp_past_its_window_is_not_sent(credentials: object, window_s: int) -> None:
    bench = await started_bench(credentials)  # type: ignore[arg-type]
    stamp = bench.client.stamp()
    bench.clock.seconds += window_s - 0.1
    bench.will_answer(FILLED_REPLY)
    assert isinstance(await bench.client.place_order(ENTRY, stamp), Accepted)
    bench.clock.seconds += 0.2
    assert isinstance(await bench.client.place_order(ENTRY, stamp), NeverSent)
    assert len(bench.sent) == 1


async def test_nothing_is_stamped_before_the_exchange_time_is_known() -> None:
    clock = LeapingClock()
    transport = ScriptedTransport(clock)
    client = AsterClient(transport, V3, clock, MiddlingRandomness())
    assert isinstance(await client.place_order(ENTRY), NeverSent)
    with pytest.raises(NotSent):
        client.stamp()
    assert transport.sent == []


# --- rate limits


async def test_after_a_429_nothing_at_all_is_sent_until_the_time_is_up(bench: Bench) -> None:
    """Scenario L1: exits included."""
    bench.will_answer(json_reply("", 429, {"retry-after": "3"}))
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, Refused)
    assert (placement.family, placement.retry_after_s) == (Refusal.RATE_LIMIT, 3.0)
    held = await bench.client.place_order(EXIT, priority=Priority.CLOSE)
    assert isinstance(held, NeverSent)
    assert held.retry_after_s == pytest.approx(3.0)
    assert len(bench.sent) == 1
    bench.clock.seconds += 3.0
    bench.will_answer(FILLED_REPLY)
    assert isinstance(await bench.client.place_order(EXIT), Accepted)


async def test_ban_that_is_told_in_words_lasts_as_long_as_it_says(bench: Bench) -> None:
    until = NOON_MS + 500_000
    bench.will_answer(refusal(-1003, f"Way too many requests; banned until {until}.", 418))
    placement = await bench.client.place_order(ENTRY)
    assert isinstance(placement, Refused)
    assert placement.retry_after_s == pytest.approx(500, abs=1)


async def test_too_many_orders_holds_orders_back_but_not_reads(bench: Bench) -> None:
    bench.will_answer(refusal(-1015), json_reply("[]"))
    assert isinstance(await bench.client.place_order(ENTRY), Refused)
    assert isinstance(await bench.client.place_order(ENTRY), NeverSent)
    assert await bench.client.open_orders("BTCUSDT") == []


@pytest.mark.parametrize(
    ("request_", "priority"),
    [
        (ENTRY, Priority.ENTRY),
        (EXIT, Priority.CLOSE),
        (replace(EXIT, type=OrderType.STOP_MARKET), Priority.PROTECT),
        (replace(EXIT, type=OrderType.STOP_MARKET, reduce_only=False, close_position=True), Priority.PROTECT),
        (replace(ENTRY, position_side=PositionSide.SHORT), Priority.CLOSE),
        (replace(ENTRY, position_side=PositionSide.LONG), Priority.ENTRY),
        (replace(ENTRY, type=OrderType.STOP_MARKET), Priority.ENTRY),
    ],
)
def test_exits_go_before_entries_in_either_position_mode(request_: OrderRequest, priority: Priority) -> None:
    assert priority_of(request_) is priority


# --- batches


async def test_batch_is_answered_by_position(bench: Bench) -> None:
    bench.will_answer(json_reply(json.dumps([FILLED, {"code": -2022, "msg": "ReduceOnly Order is rejected."}])))
    first, second = await bench.client.place_orders([ENTRY, EXIT])
    assert isinstance(first, Accepted)
    assert second == Refused(family=Refusal.REDUCE_ONLY, code=-2022, message="ReduceOnly Order is rejected.")
    [request] = bench.sent
    [batch] = [value for name, value in parse_qsl(request.body) if name == "batchOrders"]
    assert [order["newClientOrderId"] for order in json.loads(batch)] == ["tes.t.e1", "tes.t.c1"]


@pytest.mark.parametrize("body", ["[]", "{}", json.dumps([FILLED]), "[1", json.dumps([FILLED, {"code": -1001}])])
async def test_batch_answer_that_does_not_fit_settles_nothing(bench: Bench, body: str) -> None:
    bench.will_answer(json_reply(body))
    placements = await bench.client.place_orders([EXIT, EXIT])
    assert isinstance(placements[-1], Unknown)
    assert len(placements) == 2


@pytest.mark.parametrize("count", [0, 6])
async def test_batch_of_a_size_that_the_exchange_refuses_is_our_error(bench: Bench, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 5"):
        await bench.client.place_orders([ENTRY] * count)


async def test_batch_refused_as_a_whole_refuses_each(bench: Bench) -> None:
    bench.will_answer(refusal(-1022))
    placements = await bench.client.place_orders([EXIT, EXIT])
    assert [type(placement) for placement in placements] == [Refused, Refused]


# --- cancel, amend, noop, query


async def test_cancel_answers_with_the_canceled_order(bench: Bench) -> None:
    bench.will_answer(json_reply(json.dumps(FILLED | {"status": "CANCELED", "executedQty": "0"})))
    placement = await bench.client.cancel_order("BTCUSDT", "tes.t.s1")
    assert isinstance(placement, Accepted)
    assert placement.report.status is ExchangeOrderStatus.CANCELED
    assert (bench.sent[0].method, bench.sent[0].fields["origClientOrderId"]) == ("DELETE", "tes.t.s1")


async def test_cancel_of_what_is_gone_says_so(bench: Bench) -> None:
    """Scenario O3."""
    bench.will_answer(refusal(-2011, "Unknown order sent."))
    placement = await bench.client.cancel_order("BTCUSDT", "tes.t.s1")
    assert isinstance(placement, Refused)
    assert placement.family is Refusal.ORDER_NOT_FOUND


async def test_amendment_sends_both_quantity_and_price(bench: Bench) -> None:
    bench.will_answer(FILLED_REPLY)
    await bench.client.amend_order("BTCUSDT", "tes.t.t1", Decimal("0.020"), Decimal(99000), Side.SELL)
    fields = bench.sent[0].fields
    assert (bench.sent[0].method, fields["quantity"], fields["price"]) == ("PUT", "0.02", "99000")


async def test_amendment_and_noop_do_not_exist_in_v1() -> None:
    bench = await started_bench(V1)
    outcome = await bench.client.amend_order("BTCUSDT", "tes.t.t1", Decimal(1), Decimal(1), Side.SELL)
    assert isinstance(outcome, NeverSent)
    assert not await bench.client.noop(bench.client.stamp())
    assert bench.sent == []


async def test_noop_uses_the_nonce_that_it_shall_burn(bench: Bench) -> None:
    stamp = bench.client.stamp()
    bench.will_answer(json_reply('{"code":200,"msg":"success"}'), refusal(-4225))
    assert await bench.client.noop(stamp)
    assert not await bench.client.noop(stamp)
    assert [request.fields["nonce"] for request in bench.sent] == [str(stamp.value)] * 2


async def test_query_of_an_order_that_does_not_exist_is_none(bench: Bench) -> None:
    bench.will_answer(refusal(-2013, "Order does not exist."))
    assert await bench.client.query_order("BTCUSDT", "tes.t.e1") is None


async def test_failed_query_is_never_not_found(bench: Bench) -> None:
    """Scenario U4."""
    bench.will_answer(*[TransportOutcomeUnknown("reset")] * 3)
    with pytest.raises(Unavailable):
        await bench.client.query_order("BTCUSDT", "tes.t.e1")
    bench.will_answer(refusal(-1102))
    with pytest.raises(RefusedByExchange):
        await bench.client.query_order("BTCUSDT", "tes.t.e1")
