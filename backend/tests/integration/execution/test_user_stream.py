"""The user stream over real sockets: it survives dead keys, lost keys, rotation and news that nobody knows."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import aiohttp
import pytest
from arena import BTC, ETH, Arena, buy, decide, none_refused, sell, settled, stored, until, until_true

from app.bootstrap import Application
from app.domain.events import EventType
from app.domain.reports import Accepted
from app.integrations.aster import streams
from app.services.execution import hearing
from aster_sim.http.hub import Subscriber


async def told(application: Application, kind: EventType) -> list[dict[str, object]]:
    """The data of every event of a kind."""
    return [dict(one.event.data) for one in await application.events.after(0, 10_000) if one.event.type is kind]


async def connections(application: Application) -> int:
    return len(await told(application, EventType.STREAM_CONNECTED))


async def test_a_dead_key_is_noticed_although_its_socket_answers_pings(stage: Arena) -> None:
    """W2: reads show what the stream did not tell, so it gets a new key and a new socket, and tells again."""
    async with stage.application() as application:
        result = await decide(application.service("default"), buy())
        await stage.levers.fault({"type": "kill_key"}, account="default")
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010", reduceOnly="true")

        async def is_back() -> bool:
            return await connections(application) == 2

        await until_true(is_back)
        assert (await settled(application, result.results[0].trade_id)).close_reason == "manual"
        lost = await told(application, EventType.STREAM_LOST)
        assert "stream" in str(lost[0]["reason"])
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.100")

        async def is_heard() -> bool:
            return bool(await told(application, EventType.POSITION_UPDATED))

        await until_true(is_heard)
        for _ in range(2):  # two more runs: a stream that hears is not doubted
            await application.service("default").reconcile()
        assert await connections(application) == 2


async def test_a_stream_that_has_nothing_to_tell_is_left_alone(stage: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: silence alone proves nothing; only what reads show and nobody told does."""
    monkeypatch.setattr(hearing, "_GRACE", timedelta(seconds=0.3))
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        await decide(service, buy())
        begun = service._client.exchange_time()
        await until(lambda: service._client.exchange_time() - begun > timedelta(seconds=0.5))
        for _ in range(3):
            await service.reconcile()
        assert service._hearing._doubted_at is None
        assert await connections(application) == 1


async def test_a_difference_that_stays_is_no_reason_to_doubt_the_stream(
    stage: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W2: what somebody added stays for days; a stream that told of it is not torn down at every look."""
    monkeypatch.setattr(hearing, "_GRACE", timedelta(seconds=0.3))
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.015")
        for _ in range(3):
            await application.clock.sleep(0.4)  # past the grace that a frame gets
            report = await service.reconcile()
            assert [difference.kind.value for difference in report.differences] == ["position_larger"]
        assert service._hearing._doubted_at is None
        assert await connections(application) == 1


async def test_keys_that_the_exchange_forgot_are_replaced_and_the_gap_is_reconciled(stage: Arena) -> None:
    """W1: what happened in the gap is found, and the stream tells again."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        result = await decide(service, buy())
        await stage.levers.fault({"type": "restart", "seconds": 1})
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010", reduceOnly="true")
        trade = await settled(application, result.results[0].trade_id)
        assert trade.close_reason == "manual"
        assert await connections(application) == 2
        await until(lambda: service.readiness().is_ready)
        assert (await decide(service, sell())).results[0].status == "protected"


async def test_a_key_that_expired_is_replaced(stage: Arena) -> None:
    """W1: the exchange tells that the key is dead, and leaves the socket open, silent."""
    async with stage.application() as application:
        hub = stage.levers.venue._runtime.hub
        hub.expire_keys(hub._now_us() + 3_600_000_000)

        async def is_back() -> bool:
            return await connections(application) == 2

        await until_true(is_back)
        assert "expired" in str((await told(application, EventType.STREAM_LOST))[0]["reason"])
        assert (await decide(application.service("default"), buy())).results[0].status == "protected"


@pytest.fixture
def short_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are renewed every 0.2 seconds instead of every 30 minutes."""
    monkeypatch.setattr(streams, "RENEW_EVERY_S", 0.2)


@pytest.mark.usefixtures("short_hours")
async def test_a_key_that_is_refused_at_its_renewal_is_replaced(stage: Arena) -> None:
    """W1: -1125 is the only word about a key that died in silence; a new key and socket, and the gap is asked for."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        result = await decide(application.service("default"), buy())
        hub = stage.levers.venue._runtime.hub
        dead = hub._keys["default"].key
        hub.close_key("default")
        await stage.levers.by_hand(symbol=BTC, side="SELL", quantity="0.010", reduceOnly="true")

        async def is_back() -> bool:
            return await connections(application) == 2

        await until_true(is_back)
        assert dead not in [entry.key for entry in hub._keys.values()]
        assert len(hub._keys) == 1
        assert "refused" in str((await told(application, EventType.STREAM_LOST))[0]["reason"])
        assert (await settled(application, result.results[0].trade_id)).close_reason == "manual"


@pytest.mark.usefixtures("short_hours")
async def test_a_key_is_renewed_long_before_its_hour_is_over(stage: Arena) -> None:
    """W1: the same key and socket live on."""
    async with stage.application() as application:
        key = stage.levers.venue._runtime.hub._keys["default"]
        first = key.expires_us
        await until(lambda: key.expires_us > first)
        assert await connections(application) == 1


async def test_a_clock_of_the_exchange_that_leaps_is_followed(stage: Arena) -> None:
    """L2: its time is an hour ahead at once; what is signed follows, an alert tells, and the next decision is done."""
    async with stage.application() as application:
        service = application.service("default")
        await decide(service, buy())
        await stage.levers.fault({"type": "clock_skew", "seconds": 3605})

        async def is_back() -> bool:
            return await connections(application) == 2

        await until_true(is_back)
        await until(lambda: service.readiness().is_ready)
        await stage.fresh_prices()
        assert (await decide(service, sell())).results[0].status == "protected"
        alerts = [alert["code"] for alert in await told(application, EventType.ALERT_RAISED)]
        assert "clock_astray" in alerts


@pytest.fixture
def short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are replaced every 0.15 seconds instead of every 23 hours."""
    monkeypatch.setattr(streams, "ROTATE_AFTER_S", 0.1)
    monkeypatch.setattr(streams, "OVERLAP_S", 0.05)


@pytest.mark.usefixtures("short_days")
async def test_nothing_is_lost_or_doubled_while_sockets_are_rotated(stage: Arena) -> None:
    """W3, W4: two sockets overlap; every event is told once, and the stream was never down."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        first = sockets(stage)
        for _ in range(12):
            with none_refused():
                result = await decide(service, buy())
            assert result.results[0].status == "protected"
            await stage.levers.price(BTC, "99100")
            await settled(application, result.results[0].trade_id)
            await stage.move(BTC, "96000")
        assert await told(application, EventType.STREAM_LOST) == []
        filled = await told(application, EventType.ORDER_FILLED)
        assert len(filled) == len({row["client_order_id"] for row in filled}) == 24
        moved = [row["quantity"] for row in await told(application, EventType.POSITION_UPDATED)]
        assert moved == ["0.01", "0"] * 12
        assert len(await stage.levers.fills()) == 24
        assert first.isdisjoint(sockets(stage))


def sockets(stage: Arena) -> set[Subscriber]:
    """Who listens to our account at the venue."""
    hub = stage.levers.venue._runtime.hub
    return set(hub._streams[hub._keys["default"].key])


async def test_the_stream_lives_on_news_that_it_does_not_know(stage: Arena) -> None:
    """W5: an amendment is told by an execution type that no documentation has."""
    async with stage.application() as application:
        service = application.service("default")
        client = service._client
        await stage.levers.by_hand(
            symbol=BTC, side="BUY", type="LIMIT", quantity="0.010", price="90000", timeInForce="GTC",
            newClientOrderId="mine-1",
        )  # fmt: skip
        order = (await client.open_orders(BTC))[0]
        placement = await client.amend_order(BTC, "mine-1", order.original_quantity * 2, order.price, order.side)
        assert isinstance(placement, Accepted)
        assert (await decide(service, buy())).results[0].status == "protected"
        assert await connections(application) == 1


async def test_words_that_nobody_knows_are_kept_and_change_nothing(stage: Arena) -> None:
    """W5: an event, a side and a state of an order that no documentation has; the stream goes on, and we ask."""
    async with stage.application(TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        result = await decide(service, buy())
        trade = await settled(application, result.results[0].trade_id, "open")
        (stop,) = [order for order in trade.orders if order.role == "stop_loss"]
        update = {"s": BTC, "c": stop.client_order_id, "i": stop.exchange_order_id, "S": "SELL", "o": "STOP_MARKET"}
        update |= {"q": "0.010", "z": "0", "x": "CALCULATED", "X": "NEW_ADL", "T": now_ms(), "ot": "STOP_MARKET"}
        for frame in (
            {"e": "GRID_UPDATE", "E": now_ms(), "gu": {}},
            {"e": "ORDER_TRADE_UPDATE", "E": now_ms(), "o": update | {"S": "SIDEWAYS"}},
            {"e": "ORDER_TRADE_UPDATE", "E": now_ms(), "o": update},
        ):
            stage.levers.venue._runtime.hub.publish_user("default", frame)
        await stage.levers.by_hand(symbol=ETH, side="BUY", quantity="0.100")
        await until(lambda: any(row.asset == ETH for row in service.positions().items))
        report = await service.reconcile()
        assert [difference.kind for difference in report.differences] == ["position_external"]
        assert await connections(application) == 1
        assert len(await stage.levers.requests("POST", "/order", type="STOP_MARKET")) == 1

        async def is_as_it_was() -> bool:
            """Once the exchange has answered what became of it."""
            return (await stored(application, trade.id)).order(stop.client_order_id) == stop

        await until_true(is_as_it_was)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_a_stop_leaves_the_key_to_the_accounts_other_programs(stage: Arena) -> None:
    """W7: another program's socket on the same key goes on hearing."""
    async with stage.application() as application:
        key = await application.service("default")._client.open_listen_key()
        socket = await stage.levers.http.ws_connect(f"{stage.levers.venue.ws_url}/ws/{key}")
    try:
        await stage.levers.by_hand(symbol=BTC, side="BUY", quantity="0.010")
        frames: list[aiohttp.WSMessage] = []
        reading = asyncio.create_task(socket.receive())
        reading.add_done_callback(lambda done: frames.append(done.result()))
        await until(lambda: frames)
        assert frames[0].type is aiohttp.WSMsgType.TEXT
    finally:
        await socket.close()
