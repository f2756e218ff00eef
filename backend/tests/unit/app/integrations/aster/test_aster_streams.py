"""The user stream comes back by itself, says when it may have missed something, and leaves no socket behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from aster_doubles import MiddlingRandomness, ScriptedConnector, SteppedClock, settle

from app.domain.errors import ExchangeError, OutcomeUnknown, RateLimited, Refusal, RefusedByExchange, Unavailable
from app.domain.reports import (
    AccountConfigUpdate,
    BookTicker,
    MarkPrice,
    StreamDown,
    StreamUp,
    UnrecognisedEvent,
    UserEvent,
)
from app.integrations.aster.market_stream import MOST_FOLLOWED, Followed, MarketStream
from app.integrations.aster.streams import OVERLAP_S, RENEW_EVERY_S, ROTATE_AFTER_S, UserStream

LEVERAGE_FRAME = '{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"ac":{"s":"BTCUSDT","l":%d}}'


class Keys:
    """Hands out listen keys; fails as told."""

    def __init__(self) -> None:
        self.opened = 0
        self.renewed = 0
        self.open_failures: list[ExchangeError] = []
        self.renew_failures: list[ExchangeError] = []

    async def open_listen_key(self) -> str:
        if self.open_failures:
            raise self.open_failures.pop(0)
        self.opened += 1
        return f"key{self.opened}"

    async def renew_listen_key(self) -> None:
        if self.renew_failures:
            raise self.renew_failures.pop(0)
        self.renewed += 1


@dataclass
class Rig:
    clock: SteppedClock = field(default_factory=SteppedClock)
    keys: Keys = field(default_factory=Keys)
    connector: ScriptedConnector = field(default_factory=ScriptedConnector)
    events: list[UserEvent] = field(default_factory=list)
    stream: UserStream = field(init=False)

    def __post_init__(self) -> None:
        self.stream = UserStream(self.keys, self.connector, self.clock, MiddlingRandomness(), self.events.append)

    def leverages(self) -> list[int | None]:
        return [event.leverage for event in self.events if isinstance(event, AccountConfigUpdate)]

    def health(self) -> list[StreamUp | StreamDown]:
        return [event for event in self.events if isinstance(event, StreamUp | StreamDown)]


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    task = asyncio.create_task(rig.stream.run())
    await settle()
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert all(connection.is_closed for connection in rig.connector.opened)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    async with running(rig):
        yield rig


async def test_first_connection_has_no_gap(rig: Rig) -> None:
    assert rig.events == [StreamUp(had_gap=False)]
    assert rig.connector.opened[0].path == "/ws/key1"


async def test_events_are_handed_over_in_order(rig: Rig) -> None:
    for leverage in range(1, 6):
        rig.connector.opened[0].say(LEVERAGE_FRAME % leverage)
    await settle()
    assert rig.leverages() == [1, 2, 3, 4, 5]


async def test_lost_connection_is_replaced_and_the_gap_is_told(rig: Rig) -> None:
    rig.connector.opened[0].end()
    await rig.clock.advance(1)
    assert [type(event) for event in rig.health()] == [StreamUp, StreamDown, StreamUp]
    assert rig.health()[-1] == StreamUp(had_gap=True)
    rig.connector.opened[1].say(LEVERAGE_FRAME % 9)
    await settle()
    assert rig.leverages() == [9]


async def test_outage_is_told_once_and_tried_with_growing_waits(rig: Rig) -> None:
    rig.connector.refusals = 6
    rig.connector.opened[0].end()
    await rig.clock.advance(300)
    assert [type(event) for event in rig.health()] == [StreamUp, StreamDown, StreamUp]
    assert rig.connector.tries == 8
    assert len(rig.connector.opened) == 2


async def test_reconnects_are_not_a_storm(rig: Rig) -> None:
    rig.connector.refusals = 10_000
    rig.connector.opened[0].end()
    await rig.clock.advance(600)
    assert 20 < rig.connector.tries < 45


async def test_sessions_that_deliver_but_do_not_last_are_replaced_within_seconds(rig: Rig) -> None:
    """Without a stream no entry is accepted: only connections that bring nothing earn the long waits."""
    for session in range(12):
        rig.connector.opened[session].say(LEVERAGE_FRAME % 1)
        await settle()
        rig.connector.opened[session].end()
        await rig.clock.advance(2.1)
        assert len(rig.connector.opened) == session + 2


async def test_key_is_renewed_every_half_hour(rig: Rig) -> None:
    """Scenario W1."""
    renewed_at_once = rig.keys.renewed
    await rig.clock.advance(RENEW_EVERY_S * 3 + 1)
    assert rig.keys.renewed - renewed_at_once == 3
    assert rig.health() == [StreamUp(had_gap=False)]


async def test_renewal_that_fails_in_passing_is_tried_again(rig: Rig) -> None:
    rig.keys.renew_failures = [
        OutcomeUnknown("reset"),
        Unavailable("503"),
        RateLimited("slow down", retry_after_s=40.0),
    ]
    renewed_at_once = rig.keys.renewed
    await rig.clock.advance(RENEW_EVERY_S + 30)
    assert rig.keys.renewed == renewed_at_once
    await rig.clock.advance(30)
    assert rig.keys.renewed == renewed_at_once + 1
    assert rig.health() == [StreamUp(had_gap=False)]


async def test_a_key_that_died_before_its_socket_was_there_is_noticed_at_once() -> None:
    """Such a key connects all the same, and never tells; the simulation's seed 2683."""
    rig = Rig()
    rig.keys.renew_failures = [RefusedByExchange("no such key", family=Refusal.OTHER, code=-1125)]
    async with running(rig):
        await rig.clock.advance(1)
        assert [connection.path for connection in rig.connector.opened] == ["/ws/key1", "/ws/key2"]


async def test_key_that_is_gone_gets_a_new_one_and_a_new_socket(rig: Rig) -> None:
    """Scenario W1: -1125."""
    rig.keys.renew_failures = [RefusedByExchange("no such key", family=Refusal.OTHER, code=-1125)]
    await rig.clock.advance(RENEW_EVERY_S + 1)
    assert [connection.path for connection in rig.connector.opened] == ["/ws/key1", "/ws/key2"]
    assert rig.connector.opened[0].is_closed
    assert rig.health()[-1] == StreamUp(had_gap=True)


async def test_expired_key_gets_a_new_one_and_a_new_socket(rig: Rig) -> None:
    """Scenario W1: the socket stays open and falls silent."""
    rig.connector.opened[0].say('{"e":"listenKeyExpired","E":1}')
    await rig.clock.advance(1)
    assert rig.connector.opened[1].path == "/ws/key2"
    assert not any(isinstance(event, UnrecognisedEvent) for event in rig.events)


async def test_doubted_stream_gets_a_new_key_and_a_new_socket(rig: Rig) -> None:
    """Scenario W2: a dead key still connects and answers pings."""
    rig.stream.doubt("reads show what it did not tell")
    await rig.clock.advance(1)
    assert [connection.path for connection in rig.connector.opened] == ["/ws/key1", "/ws/key2"]
    assert rig.connector.opened[0].is_closed
    assert rig.health()[-2:] == [StreamDown(reason="reads show what it did not tell"), StreamUp(had_gap=True)]


async def test_doubt_about_an_earlier_session_is_dropped(rig: Rig) -> None:
    rig.connector.refusals = 1
    rig.stream.doubt("deaf")
    await settle()
    rig.stream.doubt("deaf")
    await rig.clock.advance(10)
    assert [connection.path for connection in rig.connector.opened] == ["/ws/key1", "/ws/key3"]


async def test_socket_is_rotated_with_overlap_before_its_day_is_over(rig: Rig) -> None:
    """Scenario W3: nothing lost, nothing announced."""
    await rig.clock.advance(ROTATE_AFTER_S + 1)
    first, second = rig.connector.opened
    first.say(LEVERAGE_FRAME % 1)
    second.say(LEVERAGE_FRAME % 2)
    await settle()
    assert sorted(leverage or 0 for leverage in rig.leverages()) == [1, 2]
    await rig.clock.advance(OVERLAP_S)
    assert first.is_closed
    assert not second.is_closed
    second.say(LEVERAGE_FRAME % 3)
    await settle()
    assert rig.leverages()[-1] == 3
    assert rig.health() == [StreamUp(had_gap=False)]
    await rig.clock.advance(ROTATE_AFTER_S + OVERLAP_S + 1)
    assert len(rig.connector.opened) == 3
    assert second.is_closed


async def test_old_socket_may_end_during_the_overlap(rig: Rig) -> None:
    await rig.clock.advance(ROTATE_AFTER_S + 1)
    rig.connector.opened[0].end()
    await settle()
    rig.connector.opened[1].say(LEVERAGE_FRAME % 4)
    await rig.clock.advance(OVERLAP_S)
    assert rig.leverages() == [4]
    assert rig.health() == [StreamUp(had_gap=False)]


async def test_rotation_keeps_the_old_socket_until_a_new_one_opens(rig: Rig) -> None:
    rig.connector.refusals = 5
    await rig.clock.advance(ROTATE_AFTER_S + 1)
    rig.connector.opened[0].say(LEVERAGE_FRAME % 6)
    await settle()
    assert rig.leverages() == [6]
    await rig.clock.advance(60)
    assert len(rig.connector.opened) == 2
    assert rig.health() == [StreamUp(had_gap=False)]


async def test_unknown_event_is_handed_over_and_the_stream_lives(rig: Rig) -> None:
    """Scenario W5."""
    rig.connector.opened[0].say('{"e":"GRID_UPDATE","E":1}')
    rig.connector.opened[0].say("not json")
    rig.connector.opened[0].say(LEVERAGE_FRAME % 2)
    await settle()
    assert [type(event) for event in rig.events[1:]] == [UnrecognisedEvent, UnrecognisedEvent, AccountConfigUpdate]


async def test_key_that_cannot_be_had_is_waited_for_as_told() -> None:
    rig = Rig()
    rig.keys.open_failures = [RateLimited("slow down", retry_after_s=90.0)]
    task = asyncio.create_task(rig.stream.run())
    await rig.clock.advance(89)
    assert rig.events == [StreamDown(reason="slow down")]
    await rig.clock.advance(2)
    assert rig.events[-1] == StreamUp(had_gap=False)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_error_of_the_consumer_is_not_swallowed() -> None:
    rig = Rig()

    def refuse(event: UserEvent) -> None:
        if isinstance(event, AccountConfigUpdate):
            raise LookupError("consumer")  # noqa: TRY004 - any error of the consumer will do

    stream = UserStream(rig.keys, rig.connector, rig.clock, MiddlingRandomness(), refuse)
    task = asyncio.create_task(stream.run())
    await settle()
    rig.connector.opened[0].say(LEVERAGE_FRAME % 2)
    with pytest.raises(ExceptionGroup) as failure:
        await task
    assert failure.group_contains(LookupError)
    assert rig.connector.opened[0].is_closed


# --- prices

MARK_FRAME = '{"stream":"s","data":[{"e":"markPriceUpdate","E":1,"s":"%s","p":"%s"}]}'
TICKER_FRAME = (
    '{"stream":"s","data":{"e":"bookTicker","u":1,"E":1,"T":1,"s":"%s","b":"%s","B":"1","a":"96001","A":"2"}}'
)


@dataclass
class MarketRig:
    clock: SteppedClock = field(default_factory=SteppedClock)
    connector: ScriptedConnector = field(default_factory=ScriptedConnector)
    followed: Followed = field(default_factory=Followed)
    marks: list[MarkPrice] = field(default_factory=list)
    quotes: list[BookTicker] = field(default_factory=list)
    gaps: int = 0

    def on_mark(self, mark: MarkPrice) -> None:
        self.marks.append(mark)

    def on_quote(self, quote: BookTicker) -> None:
        self.quotes.append(quote)

    def on_gap(self) -> None:
        self.gaps += 1

    def stream(self, symbols: list[str] | None = None) -> MarketStream:
        return MarketStream(self.connector, self.clock, MiddlingRandomness(), self, self.followed, symbols)


@pytest.fixture
async def market() -> AsyncIterator[MarketRig]:
    rig = MarketRig()
    task = asyncio.create_task(rig.stream(["BTCUSDT"]).run())
    await settle()
    yield rig
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert all(connection.is_closed for connection in rig.connector.opened)


async def test_mark_prices_of_the_symbols_asked_for_are_handed_over(market: MarketRig) -> None:
    connection = market.connector.opened[0]
    connection.say(MARK_FRAME % ("BTCUSDT", "96000.5"))
    connection.say(MARK_FRAME % ("ETHUSDT", "3400"))
    connection.say(MARK_FRAME % ("BTCUSDT", "NaN"))
    connection.say("not json")
    connection.say(MARK_FRAME % ("BTCUSDT", "96001"))
    await settle()
    assert [mark.mark_price for mark in market.marks] == [Decimal("96000.5"), Decimal(96001)]


async def test_best_prices_of_whatever_is_followed_are_asked_for_and_handed_over(market: MarketRig) -> None:
    connection = market.connector.opened[0]
    market.followed.add("BTCUSDT")
    await settle()
    market.followed.add("ETHUSDT")
    market.followed.add("SOLUSDT")
    market.followed.add("BTCUSDT")
    await market.clock.advance(1)
    asked = [json.loads(text) for text in connection.heard]
    assert [wish["method"] for wish in asked] == ["SUBSCRIBE", "SUBSCRIBE"]
    assert [wish["params"] for wish in asked] == [["btcusdt@bookTicker"], ["ethusdt@bookTicker", "solusdt@bookTicker"]]
    connection.say('{"result":null,"id":1}')
    connection.say(TICKER_FRAME % ("BTCUSDT", "96000"))
    connection.say(TICKER_FRAME % ("BTCUSDT", "NaN"))
    await settle()
    assert [(quote.bid_price, quote.ask_price) for quote in market.quotes] == [(Decimal(96_000), Decimal(96_001))]


async def test_a_new_market_socket_asks_for_the_best_prices_again(market: MarketRig) -> None:
    market.followed.add("BTCUSDT")
    await settle()
    market.connector.opened[0].end()
    await market.clock.advance(5)
    assert market.gaps == 1
    assert [json.loads(text)["params"] for text in market.connector.opened[1].heard] == [["btcusdt@bookTicker"]]


def test_no_more_symbols_are_followed_than_a_connection_carries() -> None:
    followed = Followed()
    for number in range(300):
        followed.add(f"S{number}USDT")
    assert len(followed.symbols) == MOST_FOLLOWED


async def test_silent_market_socket_is_replaced(market: MarketRig) -> None:
    """Scenario W2."""
    for _ in range(4):
        await market.clock.advance(10)
        market.connector.opened[0].say(MARK_FRAME % ("BTCUSDT", "1"))
        await settle()
    assert len(market.connector.opened) == 1
    await market.clock.advance(25)
    assert len(market.connector.opened) == 2
    assert market.connector.opened[0].is_closed


async def test_lost_market_socket_is_replaced(market: MarketRig) -> None:
    market.connector.refusals = 2
    market.connector.opened[0].end()
    await market.clock.advance(5)
    assert len(market.connector.opened) == 2


def test_market_stream_names_few_symbols_and_takes_all_for_many() -> None:
    rig = MarketRig()
    assert rig.stream(["ETHUSDT", "BTCUSDT"]).path == "/stream?streams=btcusdt@markPrice@1s/ethusdt@markPrice@1s"
    assert rig.stream().path == "/stream?streams=!markPrice@arr@1s"
    assert rig.stream([f"S{number}USDT" for number in range(80)]).path == "/stream?streams=!markPrice@arr@1s"
