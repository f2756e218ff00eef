"""The whole client against a venue that speaks AsterDEX, over real sockets, in both versions of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest
from aster_venue import Market

from app.core.clock import SystemClock
from app.core.randomness import SystemRandomness
from app.domain.errors import AuthRefused, Refusal
from app.domain.reports import (
    Accepted,
    ExchangeOrderStatus,
    MarginType,
    NeverSent,
    OrderRequest,
    OrderType,
    Placement,
    Refused,
    Side,
    TimeInForce,
    Unknown,
    WorkingType,
)
from app.integrations.aster.aiohttp_transport import AiohttpTransport
from app.integrations.aster.auth import V3Credentials
from app.integrations.aster.client import AsterClient
from app.integrations.aster.settings import AsterSettings
from aster_sim.server import VenueConfig, start_venue

OpenClient = Callable[[str], Awaitable[AsterClient]]
_numbers = count(1)


def entry(**changes: object) -> OrderRequest:
    base = OrderRequest(
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        client_order_id=f"tes.t.e{next(_numbers)}",
        quantity=Decimal("0.010"),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def stop(price: str, **changes: object) -> OrderRequest:
    return entry(
        side=Side.SELL,
        type=OrderType.STOP_MARKET,
        stop_price=Decimal(price),
        reduce_only=True,
        working_type=WorkingType.MARK_PRICE,
        **changes,
    )


def accepted(placement: Placement) -> Accepted:
    assert isinstance(placement, Accepted), placement
    return placement


async def test_market_order_fills_and_every_read_agrees(client: AsterClient) -> None:
    request = entry()
    report = accepted(await client.place_order(request)).report
    assert report.status is ExchangeOrderStatus.FILLED
    assert report.executed_quantity == Decimal("0.010")
    assert Decimal(95_000) < report.average_price < Decimal(97_000)

    queried = await client.query_order("BTCUSDT", request.client_order_id)
    assert queried is not None
    assert (queried.order_id, queried.average_price) == (report.order_id, report.average_price)
    [position] = [row for row in await client.positions("BTCUSDT") if not row.is_flat]
    assert (position.quantity, position.entry_price) == (Decimal("0.010"), report.average_price)

    fills = await client.user_trades("BTCUSDT", since=client.exchange_time() - timedelta(minutes=5))
    assert sum(fill.quantity for fill in fills) == Decimal("0.010")
    assert {fill.order_id for fill in fills} == {report.order_id}
    assert fills == await client.user_trades("BTCUSDT", from_id=fills[0].exchange_trade_id)
    assert fills == await client.user_trades("BTCUSDT")

    commission = sum(fill.commission for fill in fills)
    assert commission > 0
    income = await client.income("BTCUSDT", kind="COMMISSION", since=client.exchange_time() - timedelta(minutes=5))
    assert sum(row.amount for row in income) == -commission
    [dollars] = [row for row in await client.balances() if row.asset == "USDT"]
    assert dollars.wallet_balance == Decimal(10_000) - commission
    account = await client.account()
    assert account.wallet_balance == dollars.wallet_balance
    assert account.initial_margin > 0


async def test_stop_rests_is_found_and_is_canceled(client: AsterClient) -> None:
    accepted(await client.place_order(entry()))
    request = stop("94000")
    report = accepted(await client.place_order(request)).report
    assert (report.status, report.is_conditional, report.reduce_only) == (ExchangeOrderStatus.NEW, True, True)
    assert report.stop_price == 94_000
    assert [row.client_order_id for row in await client.open_orders("BTCUSDT")] == [request.client_order_id]
    assert [row.client_order_id for row in await client.open_orders()] == [request.client_order_id]

    canceled = accepted(await client.cancel_order("BTCUSDT", request.client_order_id)).report
    assert canceled.status is ExchangeOrderStatus.CANCELED
    again = await client.cancel_order("BTCUSDT", request.client_order_id)
    assert isinstance(again, Refused)
    assert again.family is Refusal.ORDER_NOT_FOUND
    history = await client.all_orders("BTCUSDT", since=client.exchange_time() - timedelta(minutes=5))
    assert [row.status_text for row in history] == ["FILLED", "CANCELED"]


async def test_both_exits_go_in_one_batch(client: AsterClient) -> None:
    accepted(await client.place_order(entry()))
    target = replace(stop("99000"), type=OrderType.TAKE_PROFIT_MARKET)
    placements = await client.place_orders([stop("94000"), target, stop("97000")])
    assert [type(placement) for placement in placements] == [Accepted, Accepted, Refused]
    refused = placements[2]
    assert isinstance(refused, Refused)
    assert (refused.family, refused.code) == (Refusal.IMMEDIATE_TRIGGER, -2021)


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({"symbol": "NOPEUSDT"}, Refusal.SYMBOL),
        ({"quantity": Decimal("0.0001")}, Refusal.FILTER),
        ({"quantity": Decimal(50)}, Refusal.MARGIN),
        ({"side": Side.SELL, "reduce_only": True}, Refusal.REDUCE_ONLY),
    ],
)
async def test_refusals_name_their_family(client: AsterClient, changes: dict[str, object], family: Refusal) -> None:
    placement = await client.place_order(entry(**changes))
    assert isinstance(placement, Refused), placement
    assert placement.family is family
    assert placement.code is not None


async def test_id_of_an_open_order_is_a_duplicate(client: AsterClient) -> None:
    """Scenario U2."""
    accepted(await client.place_order(entry()))
    request = stop("94000")
    accepted(await client.place_order(request))
    placement = await client.place_order(request)
    assert isinstance(placement, Refused)
    assert placement.family is Refusal.DUPLICATE_ID


async def test_order_that_never_was_does_not_exist(client: AsterClient) -> None:
    assert await client.query_order("BTCUSDT", "tes.t.e999999") is None


async def test_settings_are_set_and_read_back(client: AsterClient) -> None:
    setting = await client.set_leverage("BTCUSDT", 7)
    assert setting.leverage == 7
    assert setting.maximum_notional > 0
    [position] = await client.positions("BTCUSDT")
    assert position.leverage == 7
    for _ in range(2):
        await client.set_margin_type("BTCUSDT", MarginType.ISOLATED)
    [position] = await client.positions("BTCUSDT")
    assert position.margin_type is MarginType.ISOLATED
    assert not await client.is_hedge_mode()
    assert not await client.is_multi_asset_mode()


async def test_market_reads_are_consistent(client: AsterClient) -> None:
    instruments = await client.instruments()
    assert instruments["BTCUSDT"].is_trading
    assert instruments["BTCUSDT"].tick_size == Decimal("0.1")
    mark = await client.mark_price("BTCUSDT")
    assert mark.mark_price == 96_000
    assert (await client.mark_prices())["BTCUSDT"].mark_price == 96_000
    ticker = await client.book_ticker("BTCUSDT")
    book = await client.depth("BTCUSDT", 5)
    assert ticker.bid_price < ticker.ask_price
    assert (book.bids[0][0], book.asks[0][0]) == (ticker.bid_price, ticker.ask_price)
    assert [price for price, _ in book.bids] == sorted((price for price, _ in book.bids), reverse=True)
    tiers = (await client.leverage_brackets("BTCUSDT"))["BTCUSDT"]
    assert tiers[0].notional_floor == 0
    assert tiers == (await client.leverage_brackets())["BTCUSDT"]
    assert (await client.commission_rate("BTCUSDT")).taker > 0
    assert abs(client.exchange_time() - datetime.now(UTC)) < timedelta(seconds=30)


async def test_limit_order_is_amended_in_place(open_client: OpenClient) -> None:
    client = await open_client("v3")
    request = entry(type=OrderType.LIMIT, price=Decimal(95000), time_in_force=TimeInForce.GTC)
    first = accepted(await client.place_order(request)).report
    changed = accepted(
        await client.amend_order(
            "BTCUSDT", request.client_order_id, quantity=Decimal("0.02"), price=Decimal(95100), side=Side.BUY
        )
    ).report
    assert (changed.order_id, changed.price, changed.original_quantity) == (
        first.order_id,
        Decimal(95_100),
        Decimal("0.02"),
    )


# --- trouble


@pytest.mark.parametrize("action", ["drop_after", "error"])
async def test_executed_order_without_its_answer_is_unknown_and_then_found(
    market: Market, client: AsterClient, action: str
) -> None:
    """Scenario U1."""
    await market.fault({"type": action, "executed": True}, {"method": "POST", "path": "/order"})
    request = entry()
    placement = await client.place_order(request)
    assert isinstance(placement, Unknown), placement
    assert placement.stamp.dead_after > client.exchange_time()
    found = await client.query_order("BTCUSDT", request.client_order_id)
    assert found is not None
    assert found.status is ExchangeOrderStatus.FILLED
    assert len(await client.user_trades("BTCUSDT")) >= 1


async def test_dropped_request_is_unknown_and_left_alone(market: Market, client: AsterClient) -> None:
    await market.fault({"type": "drop_before"}, {"method": "POST", "path": "/order"})
    request = entry()
    assert isinstance(await client.place_order(request), Unknown)
    assert await client.query_order("BTCUSDT", request.client_order_id) is None


async def test_dropped_cancel_leaves_once(market: Market, client: AsterClient) -> None:
    """DELETE is what aiohttp would send again by itself."""
    accepted(await client.place_order(entry()))
    request = stop("94000")
    accepted(await client.place_order(request))
    await market.fault({"type": "drop_before"}, {"method": "DELETE", "path": "/order"})
    assert isinstance(await client.cancel_order("BTCUSDT", request.client_order_id), Unknown)
    assert [row.client_order_id for row in await client.open_orders("BTCUSDT")] == [request.client_order_id]


async def test_slow_answer_is_unknown_at_the_timeout(market: Market) -> None:
    await market.fault({"type": "delay_after", "seconds": 1.0}, {"method": "POST", "path": "/order"})
    transport = AiohttpTransport(market.venue.rest_url)
    client = AsterClient(
        transport,
        market.credentials("v3"),
        SystemClock(),
        SystemRandomness(),
        settings=AsterSettings(order_timeout_s=0.2),
    )
    await client.start()
    assert isinstance(await client.place_order(entry()), Unknown)
    await client.close()


async def test_noop_burns_a_nonce_that_was_not_used_yet(open_client: OpenClient) -> None:
    """Design, UNKNOWN."""
    client = await open_client("v3")
    stamp = client.stamp()
    assert await client.noop(stamp)
    placement = await client.place_order(entry(), stamp)
    assert isinstance(placement, Refused)
    assert placement.family is Refusal.CLOCK


async def test_failed_read_is_tried_again(market: Market, client: AsterClient) -> None:
    await market.fault({"type": "error", "status": 502, "body": "<html>"}, {"path": "/positionRisk"}, count=2)
    assert [row.symbol for row in await client.positions("BTCUSDT")] == ["BTCUSDT"]


async def test_rate_limit_silences_everything(market: Market, client: AsterClient) -> None:
    """Scenario L1."""
    await market.fault(
        {"type": "error", "status": 429, "code": -1003, "msg": "slow down", "headers": {"Retry-After": "30"}},
        {"method": "POST", "path": "/order"},
    )
    placement = await client.place_order(entry())
    assert isinstance(placement, Refused)
    assert (placement.family, placement.retry_after_s) == (Refusal.RATE_LIMIT, pytest.approx(30, abs=1))
    assert isinstance(await client.place_order(stop("94000")), NeverSent)


async def test_wrong_key_is_an_auth_refusal(market: Market) -> None:
    """Scenario L6."""
    good = market.credentials("v3")
    assert isinstance(good, V3Credentials)
    stranger = V3Credentials(user=good.user, private_key="0x" + "17" * 32, chain_id=good.chain_id)
    wrong_chain = replace(good, chain_id=1666)
    for credentials in (stranger, wrong_chain):
        transport = AiohttpTransport(market.venue.rest_url)
        client = AsterClient(transport, credentials, SystemClock(), SystemRandomness())
        await client.start()
        with pytest.raises(AuthRefused):
            await client.balances()
        placement = await client.cancel_order("BTCUSDT", "tes.never.s1")  # an exit: it is tried although reads wait
        assert isinstance(placement, Refused)
        assert placement.family is Refusal.AUTH
        assert isinstance(await client.place_order(entry()), NeverSent)
        await client.close()


async def test_exchange_clock_far_from_ours_is_followed() -> None:
    """Contract, section 9: whatever the local clock says."""

    class OneHourAhead:
        def now_us(self) -> int:
            return int(datetime.now(UTC).timestamp() * 1_000_000) + 3_600_000_000

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    venue = await start_venue(VenueConfig(seed=7, prices="manual"), OneHourAhead())
    account = venue.accounts[0]
    credentials = V3Credentials(user=account.user, private_key=account.private_key, chain_id=venue.chain_id)
    client = AsterClient(AiohttpTransport(venue.rest_url), credentials, SystemClock(), SystemRandomness())
    await client.start()
    assert isinstance(await client.place_order(entry()), Accepted)
    assert timedelta(minutes=59) < client.exchange_time() - datetime.now(UTC) < timedelta(minutes=61)
    await client.close()
    await venue.stop()


async def test_many_orders_at_once_all_get_their_own_nonce(client: AsterClient) -> None:
    """Scenario L3."""
    placements = await asyncio.gather(*(client.place_order(entry(quantity=Decimal("0.001"))) for _ in range(40)))
    assert [type(placement) for placement in placements] == [Accepted] * 40
    assert len({accepted(placement).report.order_id for placement in placements}) == 40
