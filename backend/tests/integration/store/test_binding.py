"""A database with something open in it is not opened for another venue."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.core.configuration import load_settings
from app.core.settings import VENUES, Settings, VenueKind
from app.db.port import Database
from app.domain.errors import ConfigurationError
from app.domain.events import Event, EventType
from app.domain.ids import ClientOrderId
from app.domain.orders import Order, OrderRole
from app.domain.reports import OrderRequest, OrderType, Side
from app.domain.trades import CloseReason, Trade, TradeSide, TradeStatus
from app.repositories.decisions import DecisionRepository
from app.repositories.flags import FlagRepository
from app.repositories.trades import TradeRepository
from app.schemas.result import ResultStatus
from app.services.binding import VenueBinding

NOW = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
USERS = ("0x" + "a1" * 20, "0x" + "b2" * 20)
PAPER, TESTNET, LIVE = "paper", "testnet", "live"


def settings(venue: str, user: str = USERS[0], config: Path | None = None, **extra: str) -> Settings:
    keys = {"TES_ASTER_USER": user, "TES_ASTER_SIGNER": user, "TES_ASTER_PRIVATE_KEY": "7" * 64}
    return load_settings(
        {
            "TES_VENUE": venue,
            "TES_API_TOKEN": "binding-test-token-0123456789-0123456789",
            "TES_DATABASE_URL": "postgresql://tes:pw-of-the-record@db/tes",
            **({} if venue == PAPER else keys),
            **extra,
        },
        config=config,
    )


def at(url: str, user: str = USERS[0], **extra: str) -> Settings:
    """A venue of one's own."""
    return settings(TESTNET, user, TES_ASTER_REST_URL=url, **extra)


def v1(url: str) -> Settings:
    keys = {"TES_ASTER_AUTH": "v1", "TES_ASTER_API_KEY": "key-of-the-test", "TES_ASTER_API_SECRET": "not-much-of-one"}
    return load_settings({"TES_VENUE": TESTNET, "TES_ASTER_REST_URL": url, **keys}, config=None)


def trade(number: int = 1, account_id: str = "default") -> Trade:
    trade_id = f"{number:020d}"
    key = ClientOrderId(trade_id, OrderRole.ENTRY, 1)
    request = OrderRequest(
        symbol="BTCUSDT", side=Side.BUY, client_order_id=str(key), type=OrderType.MARKET, quantity=Decimal("0.010")
    )
    return Trade(
        id=trade_id,
        asset="BTCUSDT",
        account_id=account_id,
        decision_id=f"d-{number}",
        side=TradeSide.LONG,
        quantity=Decimal("0.010"),
        leverage=10,
        requested_leverage=10,
        reference_price=Decimal(96000),
        received_at=NOW,
        created_at=NOW,
        legs=(),
        orders=(Order(key=key, request=request),),
    )


def received(decision_id: str, *, is_paper: bool, number: int = 1) -> Event:
    return Event(
        id=f"event-{decision_id}-{number}",
        type=EventType.DECISION_RECEIVED,
        time=NOW,
        account_id="default",
        is_paper=is_paper,
        decision_id=decision_id,
        data={},
    )


async def open_one(database: Database, number: int = 1, account_id: str = "default", *events: Event) -> Trade:
    made = trade(number, account_id)
    decisions = DecisionRepository(database)
    await decisions.accept(made.decision_id, account_id, "hash", {}, NOW, events)
    await TradeRepository(database).record_intent(made, ())
    await decisions.complete(account_id, made.decision_id, ResultStatus.EXECUTED, {}, NOW, ())
    return made


async def close(database: Database, one: Trade) -> None:
    closed = replace(one, status=TradeStatus.CLOSED, closed_at=NOW, close_reason=CloseReason.MANUAL)
    await TradeRepository(database).record_progress(one, closed, ())


async def bind(database: Database, chosen: Settings) -> None:
    await VenueBinding(chosen).bind(database)
    await TradeRepository(database).settled()


async def kept(database: Database, account_id: str = "default") -> Any:
    found = await FlagRepository(database).get(f"venue:{account_id}")
    return found and found["name"]


async def refusal(database: Database, chosen: Settings) -> str:
    """What a start is told, which leaves the mark as it was, at the start and when the accounts are taken over."""
    before = await kept(database)
    with pytest.raises(ConfigurationError) as at_start:
        await VenueBinding(chosen).check(database)
    with pytest.raises(ConfigurationError) as at_takeover:
        await bind(database, chosen)
    assert str(at_start.value) == str(at_takeover.value)
    assert await kept(database) == before
    return str(at_start.value)


async def test_a_record_with_nothing_open_goes_to_any_venue(database: Database) -> None:
    for number, venue in enumerate((PAPER, TESTNET, LIVE, PAPER)):
        await bind(database, settings(venue))
        assert await kept(database) == venue
        await close(database, await open_one(database, number))


@pytest.mark.parametrize(
    ("venue", "other"), [(PAPER, TESTNET), (PAPER, LIVE), (TESTNET, LIVE), (LIVE, TESTNET), (LIVE, PAPER)]
)
async def test_open_trades_keep_their_venue_until_they_are_closed(database: Database, venue: str, other: str) -> None:
    """Refused, with what and where and the ways out; never at the venue itself."""
    await bind(database, settings(venue))
    opened = await open_one(database)
    told = await refusal(database, settings(other))
    assert "database db/tes: account default has 1 open trade(s) (BTCUSDT) of" in told
    assert {f"'tes serve --{venue}'", "'tes close --all'"} <= set(re.findall("'[^']+'", told))
    assert "TES_DATABASE_URL" in told
    assert "pw-of-the-record" not in told
    await bind(database, settings(venue))
    await close(database, opened)
    await bind(database, settings(other))
    assert await kept(database) == other


async def test_a_venue_is_known_by_its_address(database: Database) -> None:
    """However it is written, and whatever TES_VENUE says; the testnet's own address is the testnet."""
    own = "https://exchange.example/aster"
    await bind(database, v1(own))
    opened = await open_one(database)
    await bind(database, v1("HTTPS://Exchange.Example:443/aster/"))
    assert own in await refusal(database, v1("https://exchange.example:8443/aster"))
    assert f"TES_ASTER_REST_URL={own}" in await refusal(database, settings(LIVE))
    await close(database, opened)
    testnet = VENUES[VenueKind.TESTNET].rest_url
    await bind(database, settings(LIVE, TES_ASTER_REST_URL=testnet))
    assert await kept(database) == TESTNET


async def test_an_account_is_the_same_behind_another_address_of_ones_own(database: Database) -> None:
    """A proxy for each instance, or one that moved. Another user or another chain is another exchange's."""
    one, two = "http://127.0.0.1:9100", "http://127.0.0.1:9200"
    await bind(database, at(one))
    await open_one(database)
    await bind(database, at(two, USERS[0].upper().replace("0X", "0x")))
    assert await kept(database) == two
    await refusal(database, at(one, USERS[1]))
    await refusal(database, at(one, TES_ASTER_CHAIN_ID="1666"))
    await refusal(database, v1(one))
    await refusal(database, settings(TESTNET))


async def test_a_record_without_a_mark_tells_paper_from_an_exchange(database: Database) -> None:
    """From before there were marks: by when the decision came, not by what a start elsewhere has added since."""
    events = [received("d-1", is_paper=True), received("d-1", is_paper=False, number=2)]
    opened = await open_one(database, 1, "default", *events)
    assert "'tes serve --paper'" in await refusal(database, settings(TESTNET))
    await bind(database, settings(PAPER))
    await close(database, opened)
    await FlagRepository(database).lower_flag("venue:default")

    await open_one(database, 2, "default", received("d-2", is_paper=False))
    assert "--testnet' or 'tes serve --live'" in await refusal(database, settings(PAPER))
    await bind(database, settings(LIVE))
    assert await kept(database) == LIVE
    await refusal(database, settings(TESTNET))


async def test_a_decision_that_a_dead_process_left_is_not_taken_to_another_venue(database: Database) -> None:
    """It would be acted upon there, with other money."""
    decisions = DecisionRepository(database)
    await bind(database, settings(PAPER))
    await decisions.accept("d-9", "default", "hash", {}, NOW, [received("d-9", is_paper=True)])
    told = await refusal(database, settings(LIVE))
    assert "1 unfinished decision(s)" in told
    assert "open trade" not in told
    await FlagRepository(database).lower_flag("venue:default")
    await refusal(database, settings(LIVE))
    await decisions.complete("default", "d-9", ResultStatus.REJECTED, {}, NOW, ())
    await bind(database, settings(LIVE))


async def test_each_account_has_a_venue_of_its_own(database: Database, tmp_path: Path) -> None:
    """Only the account that has something open elsewhere is named, with the option that closes it."""
    keys = f'aster_user = "{USERS[1]}"\naster_signer = "{USERS[1]}"\naster_private_key = "{"8" * 64}"\n'
    config = tmp_path / "two.toml"
    config.write_text(f"[accounts.swing]\n{keys}")
    both = settings(TESTNET, config=config)
    config.write_text(f'[accounts.swing]\n{keys}aster_rest_url = "{VENUES[VenueKind.LIVE].rest_url}"\n')
    swing_is_live = settings(TESTNET, config=config)

    await bind(database, swing_is_live)
    assert (await kept(database), await kept(database, "swing")) == (TESTNET, LIVE)
    await open_one(database, 1)
    swing = await open_one(database, 2, "swing")
    await bind(database, swing_is_live)
    told = await refusal(database, both)
    assert "account swing has 1 open trade(s)" in told
    assert "'tes close --all --account swing'" in told
    assert "account default" not in told
    await close(database, swing)
    await bind(database, both)
    assert (await kept(database), await kept(database, "swing")) == (TESTNET, TESTNET)
