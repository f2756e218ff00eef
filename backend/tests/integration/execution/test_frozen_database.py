"""A database that takes connections and never answers: every wait of ours has an end, and what is told is true (C2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from arena import BTC, ETH, Arena, arena, buy, decide, none_refused, resting_stops, sell, until
from structlog.testing import capture_logs

from app.bootstrap import Application, running
from app.core.configuration import load_settings
from app.db import executors, grouped
from app.domain.errors import DecisionRefused, StoreUnavailable
from app.schemas.decision import parse_decision
from app.services.execution import recording
from support.patience import PATIENCE_S
from support.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be frozen."""
    with running_postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are a matter of seconds; that there is one is what is tested."""
    monkeypatch.setattr(grouped, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr(recording, "RECORD_S", 0.3)
    monkeypatch.setattr(executors, "STOP_S", 0.5)


async def test_no_read_and_no_decision_waits_for_ever(server: PostgresServer) -> None:
    """A decision that was refused because nobody answered is not carried out later; sent again, it is, once."""
    async with arena(server.new_tables()) as stage:
        async with stage.application() as application:
            await refuse_and_take_again(server, stage, application)
        async with stage.application() as application:
            await until(lambda: application.service("default").readiness().is_ready)
            assert await entries(stage) == 1
            assert [trade.asset for trade in (await application.trades.open_trades("default")).items] == [ETH]


async def refuse_and_take_again(server: PostgresServer, stage: Arena, application: Application) -> None:
    wish = parse_decision(json.dumps({"decision_id": "asked", "decisions": [sell()]}))
    service = application.service("default")
    with server.frozen():
        with pytest.raises(DecisionRefused, match="could not be recorded") as refused:
            await asyncio.wait_for(service.submit(parse_decision(json.dumps({"decisions": [buy()]}))), PATIENCE_S)
        assert refused.value.code == "not_ready"
        with pytest.raises(DecisionRefused):
            await asyncio.wait_for(service.submit(wish), PATIENCE_S)
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await asyncio.wait_for(application.events.last_seq(), PATIENCE_S)
    await until(lambda: service.readiness().is_ready)
    with none_refused():
        assert (await decide(service, sell(), decision_id="asked")).success
    assert await stage.levers.position(BTC) == 0
    assert await entries(stage) == 1


async def entries(stage: Arena) -> int:
    placed = await stage.levers.requests("POST", "/order")
    return sum(row["params"]["type"] == "MARKET" for row in placed)


async def test_a_stop_ends_while_the_server_does_not_answer(server: PostgresServer) -> None:
    """What rests on the book stays there; the process does not wait for what will not come."""
    async with arena(server.new_tables()) as stage:
        thaw = ExitStack()
        async with asyncio.timeout(PATIENCE_S), running(load_settings(stage.environment, config=None)) as application:
            await until(lambda: application.service("default").readiness().is_ready)
            await decide(application.service("default"), buy())
            thaw.enter_context(server.frozen())
            reads = (application.trades.open_trades("default") for _ in range(3))
            read = await asyncio.gather(*reads, return_exceptions=True)
        thaw.close()
        assert all(isinstance(error, StoreUnavailable) for error in read)
        assert len(await resting_stops(stage, BTC)) == 1


@pytest.mark.long
async def test_people_are_told_when_exits_do_not_leave_either(server: PostgresServer) -> None:
    """Another process may reach the server and own the accounts: after the lease nothing is sent, and that is said."""
    async with arena(server.new_tables()) as stage, stage.application() as application:
        await decide(application.service("default"), buy())

        def said() -> list[str]:
            return [str(line["message"]) for line in lines if line["event"] == "trading.alert"]

        with capture_logs() as lines:
            with server.frozen():
                await until(lambda: any("nothing is sent, exits included" in text for text in said()))
                assert not application.ownership.may_send()
            await until(lambda: application.service("default").readiness().is_ready)
