"""Reads are tried again within bounds, and fail with a name."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from aster_doubles import (
    NOON,
    NOON_MS,
    V1,
    V3,
    Bench,
    LeapingClock,
    MiddlingRandomness,
    ScriptedTransport,
    Sent,
    json_reply,
    started_bench,
)

from app.domain.errors import (
    AuthRefused,
    ConfigurationError,
    OutcomeUnknown,
    RateLimited,
    RefusedByExchange,
    Unavailable,
)
from app.domain.reports import LeverageSetting, MarginType
from app.domain.troubles import AccessRefused, ClockAstray, SilenceAsked, Trouble
from app.integrations.aster.auth import V1Credentials, V3Credentials
from app.integrations.aster.client import AsterClient
from app.integrations.aster.transport import Response, TransportNotSent, TransportOutcomeUnknown


@pytest.fixture
async def bench() -> Bench:
    return await started_bench()


def refusal(code: int, message: str = "no", status: int = 400) -> Response:
    return json_reply(json.dumps({"code": code, "msg": message}), status)


@pytest.mark.parametrize(
    "trouble",
    [json_reply("", 503), refusal(-1001, status=500), TransportNotSent("refused"), TransportOutcomeUnknown("reset")],
    ids=str,
)
async def test_read_is_tried_again_with_growing_waits(bench: Bench, trouble: Response | Exception) -> None:
    """Specification, 2.3."""
    bench.will_answer(trouble, trouble, json_reply("[]"))
    assert await bench.client.open_orders() == []
    assert bench.clock.slept == [pytest.approx(0.3), pytest.approx(0.6)]


async def test_read_gives_up_within_its_bound(bench: Bench) -> None:
    bench.will_answer(*[json_reply("", 503)] * 4)
    with pytest.raises(Unavailable):
        await bench.client.positions()
    assert len(bench.sent) == 3


@pytest.mark.parametrize("reply", [json_reply('{"a":1}'), json_reply("<html>"), json_reply('[{"symbol":1}]')], ids=str)
async def test_unreadable_answer_is_unavailable_not_empty(bench: Bench, reply: Response) -> None:
    """Scenario U4: never "flat"."""
    bench.will_answer(reply)
    with pytest.raises(Unavailable):
        await bench.client.positions()
    assert len(bench.sent) == 1


async def test_auth_refusal_is_not_retried(bench: Bench) -> None:
    """Scenario L6."""
    bench.will_answer(refusal(-2015, status=401))
    with pytest.raises(AuthRefused):
        await bench.client.balances()
    assert len(bench.sent) == 1


async def test_refused_key_makes_no_storm_and_exits_are_tried_all_the_same() -> None:
    """Scenario L6: reads wait, longer each time; what reduces a risk goes out at any time."""
    bench = await started_bench()
    told: list[Trouble] = []
    bench.client.tell_troubles(told.append)
    bench.will_answer(*[refusal(-2015, status=401)] * 12)
    start = bench.clock.seconds
    while bench.clock.seconds < start + 120:
        with pytest.raises(AuthRefused):
            await bench.client.positions()
        bench.clock.seconds += 0.1
    assert len(bench.sent) == 8  # after 1, 2, 4, 8, 16, 30 and 30 seconds
    assert bench.client.is_access_refused
    assert set(told) == {AccessRefused(code=-2015, message="no")}
    await bench.client.cancel_order("BTCUSDT", "tes.a.s1")
    assert len(bench.sent) == 9


async def test_granted_key_ends_the_waiting_at_once() -> None:
    bench = await started_bench()
    bench.will_answer(refusal(-2015, status=401), json_reply("[]"), json_reply("[]"))
    with pytest.raises(AuthRefused):
        await bench.client.positions()
    bench.clock.seconds += 1
    assert await bench.client.positions() == []
    assert await bench.client.positions() == []
    assert not bench.client.is_access_refused


async def test_silence_is_told_once_and_a_ban_each_time() -> None:
    """Scenario L1."""
    bench = await started_bench()
    told: list[Trouble] = []
    bench.client.tell_troubles(told.append)
    bench.will_answer(json_reply("", 429, {"retry-after": "12"}), json_reply("", 418, {"retry-after": "120"}))
    for _ in range(3):
        with pytest.raises(RateLimited):
            await bench.client.balances()
    bench.clock.seconds += 12
    with pytest.raises(RateLimited):
        await bench.client.balances()
    assert told == [SilenceAsked(is_ban=False, wait_s=12.0), SilenceAsked(is_ban=True, wait_s=120.0)]


async def test_clock_of_the_exchange_that_was_set_is_followed_and_told() -> None:
    """Scenario L2: even by a sample that is worse than the one before."""
    bench = await started_bench()
    told: list[Trouble] = []
    bench.client.tell_troubles(told.append)
    bench.transport.skew_ms = 30_000
    await bench.client.sync_time()
    await bench.client.sync_time()
    (trouble,) = told
    assert isinstance(trouble, ClockAstray)
    assert trouble.offset == timedelta(seconds=30)
    assert trouble.moved == pytest.approx(timedelta(seconds=30), abs=timedelta(milliseconds=5))


async def test_rate_limited_read_says_for_how_long_and_the_next_is_not_sent(bench: Bench) -> None:
    bench.will_answer(json_reply("", 429, {"retry-after": "12"}))
    with pytest.raises(RateLimited) as first:
        await bench.client.balances()
    with pytest.raises(RateLimited) as second:
        await bench.client.mark_price("BTCUSDT")
    assert (first.value.retry_after_s, second.value.retry_after_s) == (12.0, pytest.approx(12.0))
    assert len(bench.sent) == 1


async def test_refused_clock_of_a_read_is_resynchronised_once(bench: Bench) -> None:
    bench.will_answer(refusal(-4225), json_reply("[]"), refusal(-4225), refusal(-4225))
    assert await bench.client.open_orders() == []
    with pytest.raises(RefusedByExchange):
        await bench.client.open_orders()
    assert len(bench.sent) == 4


async def test_time_is_refreshed_by_reads_once_a_minute(bench: Bench) -> None:
    asked = bench.transport.time_asked
    bench.will_answer(*[json_reply("[]")] * 3)
    await bench.client.open_orders()
    assert bench.transport.time_asked == asked
    bench.clock.seconds += 61
    await bench.client.open_orders()
    await bench.client.open_orders()
    assert bench.transport.time_asked == asked + 1


async def test_exchange_time_ignores_the_local_wall_clock(bench: Bench) -> None:
    """Contract, section 9: requests carry the exchange's time."""
    bench.transport.skew_ms = 3_600_000
    bench.clock.seconds += 100_000
    await bench.client.sync_time()
    assert bench.client.exchange_time() - bench.clock.now() == timedelta(hours=1)


async def test_public_reads_are_not_signed(bench: Bench) -> None:
    bench.will_answer(
        json_reply('{"symbol":"BTCUSDT","markPrice":"1.5","indexPrice":"1.4","lastFundingRate":"","time":5}')
    )
    mark = await bench.client.mark_price("BTCUSDT")
    assert (mark.mark_price, mark.funding_rate, mark.next_funding_at) == (Decimal("1.5"), 0, None)
    assert bench.sent[0].query == "symbol=BTCUSDT"


async def test_odd_mark_price_does_not_hide_the_others(bench: Bench) -> None:
    good = '{"symbol":"BTCUSDT","markPrice":"1.5","indexPrice":"1.4","time":5}'
    odd = '{"symbol":"NEWUSDT","markPrice":"","indexPrice":"","time":5}'
    bench.will_answer(json_reply(f"[{odd},{good}]"), json_reply("{}"))
    assert list(await bench.client.mark_prices()) == ["BTCUSDT"]
    with pytest.raises(Unavailable):
        await bench.client.mark_prices()


async def test_symbol_that_is_not_ascii_is_escaped(bench: Bench) -> None:
    bench.will_answer(json_reply("[]"))
    await bench.client.open_orders("币安USDT")
    assert bench.sent[0].query.startswith("symbol=%E5%B8%81%E5%AE%89USDT&nonce=")


async def test_listen_key_is_signed_in_v3_and_only_named_in_v1() -> None:
    """Fact sheet, sections 3 and 4."""
    for credentials, is_signed in ((V3, True), (V1, False)):
        bench = await started_bench(credentials)
        bench.will_answer(json_reply('{"listenKey":"k"}'), json_reply("{}"), json_reply("{}"))
        assert await bench.client.open_listen_key() == "k"
        await bench.client.renew_listen_key()
        await bench.client.delete_listen_key()
        assert [request.method for request in bench.sent] == ["POST", "PUT", "DELETE"]
        assert all(("signature" in request.fields) is is_signed for request in bench.sent)
        assert all(("X-MBX-APIKEY" in request.headers) is not is_signed for request in bench.sent)


async def test_v1_paths_are_the_old_ones() -> None:
    """Fact sheet, section 4."""
    bench = await started_bench(V1)
    bench.will_answer(json_reply("[]"), json_reply("[]"), json_reply("", 404), json_reply("[]"))
    await bench.client.balances()
    await bench.client.positions("BTCUSDT")
    with pytest.raises((Unavailable, RefusedByExchange)):
        await bench.client.account()
    assert [request.path for request in bench.sent] == [
        "/fapi/v2/balance",
        "/fapi/v2/positionRisk",
        "/fapi/v4/account",
        "/fapi/v2/account",
    ]


async def test_account_is_found_under_its_older_path(bench: Bench) -> None:
    """Fact sheet, section 10.4."""
    totals = dict.fromkeys(
        (
            "totalWalletBalance",
            "totalUnrealizedProfit",
            "totalMarginBalance",
            "totalInitialMargin",
            "totalMaintMargin",
            "availableBalance",
        ),
        "1.5",
    )
    bench.will_answer(json_reply("<html>", 404), json_reply(json.dumps(totals)))
    assert (await bench.client.account()).available_balance == Decimal("1.5")
    assert [request.path for request in bench.sent] == ["/fapi/v3/accountWithJoinMargin", "/fapi/v3/account"]


# --- settings


async def test_leverage_is_read_back(bench: Bench) -> None:
    """Scenario Z6."""
    bench.will_answer(json_reply('{"leverage":21,"maxNotionalValue":"5000000","symbol":"BTCUSDT"}'))
    setting = await bench.client.set_leverage("BTCUSDT", 21)
    assert setting == LeverageSetting(symbol="BTCUSDT", leverage=21, maximum_notional=Decimal(5_000_000))


async def test_refused_leverage_is_named(bench: Bench) -> None:
    bench.will_answer(refusal(-4161))
    with pytest.raises(RefusedByExchange) as error:
        await bench.client.set_leverage("BTCUSDT", 5)
    assert error.value.code == -4161


async def test_setting_without_an_answer_is_an_unknown_outcome(bench: Bench) -> None:
    bench.will_answer(json_reply("", 503), json_reply("{}"))
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await bench.client.set_leverage("BTCUSDT", 5)


async def test_margin_type_that_is_already_so_is_success(bench: Bench) -> None:
    """Scenario L5."""
    bench.will_answer(refusal(-4046, "No need to change margin type."), refusal(-4048))
    await bench.client.set_margin_type("BTCUSDT", MarginType.ISOLATED)
    with pytest.raises(RefusedByExchange):
        await bench.client.set_margin_type("BTCUSDT", MarginType.ISOLATED)


async def test_brackets_come_as_a_list_or_as_one_object(bench: Bench) -> None:
    one = {
        "symbol": "A",
        "brackets": [
            {"initialLeverage": 20, "notionalCap": 10000, "notionalFloor": 5000, "maintMarginRatio": 0.025, "cum": 75},
            {"initialLeverage": 50, "notionalCap": 5000, "notionalFloor": 0, "maintMarginRatio": 0.01, "cum": 0},
        ],
    }
    bench.will_answer(json_reply(json.dumps(one)), json_reply(json.dumps([one])))
    bare = await bench.client.leverage_brackets("A")
    assert bare == await bench.client.leverage_brackets()
    assert [tier.maximum_leverage for tier in bare["A"]] == [50, 20]


async def test_limits_named_by_exchange_info_are_adopted(bench: Bench) -> None:
    info = {
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 8}],
        "symbols": [],
    }
    bench.will_answer(json_reply(json.dumps(info)))
    await bench.client.instruments()
    with pytest.raises(RateLimited):
        await bench.client.balances()


async def test_depth_refuses_a_limit_that_the_exchange_does_not_have(bench: Bench) -> None:
    with pytest.raises(ValueError, match="limits"):
        await bench.client.depth("BTCUSDT", 7)


# --- history


def _trade(number: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "id": number,
        "orderId": 1,
        "side": "BUY",
        "price": "1",
        "qty": "1",
        "time": NOON_MS - 20 * 86_400_000 + number * 60_000,
        "positionSide": "BOTH",
    }


class TradeHistory:
    """An exchange that pages as AsterDEX does: at most seven days by time, and by id without times."""

    def __init__(self, trades: list[dict[str, Any]]) -> None:
        self.trades = trades
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Sent) -> Response:
        fields = request.fields
        self.asked.append(fields)
        limit = int(fields["limit"])
        if "fromId" in fields:
            assert "startTime" not in fields, "fromId is exclusive with times"
            rows = [trade for trade in self.trades if trade["id"] >= int(fields["fromId"])]
        else:
            start, end = int(fields["startTime"]), int(fields["endTime"])
            assert end - start < 7 * 86_400_000
            rows = [trade for trade in self.trades if start <= trade["time"] <= end]
        return json_reply(json.dumps(rows[:limit]))


@pytest.mark.parametrize("count", [0, 5, 999, 1000, 1001, 2500, 25_000])
async def test_user_trades_are_complete_however_many_there_are(bench: Bench, count: int) -> None:
    """Scenario H5."""
    history = TradeHistory([_trade(number) for number in range(1, count + 1)])
    bench.will_answer(*[history] * 60)
    fills = await bench.client.user_trades("BTCUSDT", since=NOON - timedelta(days=20))
    assert [fill.exchange_trade_id for fill in fills] == list(range(1, count + 1))


async def test_user_trades_continue_from_an_id(bench: Bench) -> None:
    history = TradeHistory([_trade(number) for number in range(1, 2100)])
    bench.will_answer(*[history] * 5)
    fills = await bench.client.user_trades("BTCUSDT", from_id=50)
    assert [fill.exchange_trade_id for fill in fills] == list(range(50, 2100))
    with pytest.raises(ValueError, match="not both"):
        await bench.client.user_trades("BTCUSDT", since=NOON, from_id=5)


async def test_history_that_repeats_itself_is_unavailable_not_endless(bench: Bench) -> None:
    page = json_reply(json.dumps([_trade(number) for number in range(1, 1001)]))
    bench.will_answer(*[page] * 5)
    with pytest.raises(Unavailable, match="repeats"):
        await bench.client.user_trades("BTCUSDT", from_id=5000)


def _income(number: int, time: int) -> dict[str, Any]:
    return {"symbol": "", "incomeType": "FUNDING_FEE", "income": "1", "asset": "USDT", "time": time, "tranId": number}


async def test_income_is_complete_where_rows_share_a_millisecond(bench: Bench) -> None:
    rows = [_income(number, NOON_MS - 10_000 + number // 7) for number in range(3000)]

    def answer(request: Sent) -> Response:
        start = int(request.fields["startTime"])
        return json_reply(json.dumps([row for row in rows if row["time"] >= start][:1000]))

    bench.will_answer(*[answer] * 6)
    income = await bench.client.income(kind="FUNDING_FEE", since=NOON - timedelta(hours=1))
    assert [row.transfer_id for row in income] == [str(number) for number in range(3000)]
    assert bench.sent[0].fields["incomeType"] == "FUNDING_FEE"


async def test_all_orders_are_complete_and_by_id(bench: Bench) -> None:
    def order(number: int) -> dict[str, Any]:
        return {
            "symbol": "BTCUSDT",
            "orderId": number,
            "clientOrderId": f"c{number}",
            "status": "CANCELED",
            "type": "LIMIT",
            "side": "BUY",
            "origQty": "1",
            "executedQty": "0",
            "updateTime": NOON_MS,
        }

    def answer(request: Sent) -> Response:
        first = int(request.fields.get("orderId", "1"))
        return json_reply(json.dumps([order(number) for number in range(first, 1201)][:1000]))

    bench.will_answer(answer, answer)
    orders = await bench.client.all_orders("BTCUSDT", since=NOON - timedelta(hours=1))
    assert [report.order_id for report in orders] == list(range(1, 1201))


# --- credentials and secrets


@pytest.mark.parametrize(
    ("credentials", "names"),
    [
        (V3Credentials(user="me", private_key=V3.private_key, chain_id=714), "TES_ASTER_USER"),
        (
            V3Credentials(user=V3.user, private_key=V3.private_key, chain_id=714, signer=V3.user),
            "TES_ASTER_SIGNER",
        ),
        (V3Credentials(user=V3.user, private_key="0x12", chain_id=714), "private key"),
        (V1Credentials(api_key="", api_secret="s"), "TES_ASTER_API_KEY"),
        (V1Credentials(api_key="two\nlines", api_secret="s"), "TES_ASTER_API_KEY"),
        (V1Credentials(api_key="k", api_secret=""), "secret"),
    ],
)
def test_credentials_that_cannot_work_are_named_at_once(credentials: V3Credentials | V1Credentials, names: str) -> None:
    clock = LeapingClock()
    with pytest.raises(ConfigurationError, match=names):
        AsterClient(ScriptedTransport(clock), credentials, clock, MiddlingRandomness())


def test_credentials_show_no_secret() -> None:
    shown = repr(V3) + repr(V1)
    for secret in (V3.private_key, V1.api_key, V1.api_secret):
        assert secret not in shown


async def test_close_closes_the_transport_and_deletes_no_listen_key(bench: Bench) -> None:
    """Scenario W7."""
    await bench.client.close()
    assert bench.transport.is_closed
    assert bench.sent == []
