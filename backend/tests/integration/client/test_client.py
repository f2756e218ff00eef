"""The typed client against a real service: exact values, errors that say why, and nothing twice over a bad wire."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio
from sqlalchemy import update

from app.client.errors import NotTheService, Refused, Unreachable
from app.client.service import ServiceClient, connected
from app.db.event_log import counters
from app.db.port import Unit, Write
from app.db.statements import Statement
from app.domain.errors import ErrorCode
from app.domain.events import EventType
from app.domain.trades import TradeStatus
from app.schemas.decision import TradingDecision
from app.schemas.explanation import Verdict
from app.schemas.result import AssetStatus, ResultStatus
from support.faces import TOKEN, Face, decision, paper_face
from support.lossy import lossy_wire
from support.patience import PATIENCE_S

_RESTORE = Statement(update(counters).where(counters.c.name == "generation").values(value=counters.c.value + 1))
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _module_face() -> AsyncIterator[Face]:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def face(_module_face: Face) -> AsyncIterator[Face]:
    """A flat account, whatever the test before left."""
    yield _module_face
    await _module_face.post("/v1/positions/close")


@pytest_asyncio.fixture(loop_scope="module")
async def service(face: Face) -> AsyncIterator[ServiceClient]:
    async with connected(face.url, TOKEN) as client:
        yield client


async def test_a_decision_is_executed_and_its_numbers_are_exact(service: ServiceClient) -> None:
    result = await service.execute(decision())
    (one,) = result.results
    assert (result.status, one.status) == (ResultStatus.EXECUTED, AssetStatus.PROTECTED)
    assert one.trade_id is not None
    assert isinstance(one.fill_price, Decimal)
    trade = await service.trade(one.trade_id)
    assert (trade.status, trade.filled_quantity, trade.received_at.tzinfo) == (
        TradeStatus.OPEN,
        one.filled_quantity,
        UTC,
    )
    (position,) = (await service.positions()).items
    assert (position.quantity, position.trade_id) == (one.filled_quantity, one.trade_id)
    assert (await service.decision(result.decision_id)).results == result.results
    assert [item.status.value for item in (await service.orders(asset="BTCUSDT", limit=3)).items].count("NEW") == 2


async def test_every_call_answers_with_its_type(service: ServiceClient) -> None:
    assert (await service.status()).is_ready
    assert [account.account_id for account in await service.accounts()] == ["default"]
    assert (await service.reconcile()).differences == ()
    assert (await service.explain(decision())).assets[0].verdict is Verdict.OK
    halted = await service.halt("a test")
    assert halted.accounts[0].halt is not None
    assert (await service.execute(decision())).results[0].error.code is ErrorCode.HALTED  # type: ignore[union-attr]
    assert (await service.resume()).accounts[0].halt is None
    await service.execute(decision())
    assert (await service.close("BTCUSDT")).status is AssetStatus.CLOSED
    assert await service.close_all() == ()
    assert (await service.trades(status=["closed"], limit=1)).items[0].asset == "BTCUSDT"
    page = await service.decisions(limit=1)
    assert len((await service.decisions(limit=1, cursor=page.next_cursor)).items) == 1


async def test_a_decision_can_be_a_value_or_text(service: ServiceClient) -> None:
    asked = TradingDecision.model_validate(decision(action="hold") | {"decision_id": "value-or-text"})
    first = await service.submit(asked)
    again = await service.submit(json.dumps(asked.body()).encode())
    assert (first.is_replay, again.is_replay) == (False, True)
    assert first.result == again.result


async def test_the_same_id_and_body_is_a_replay_and_another_body_a_conflict(service: ServiceClient) -> None:
    asked = decision() | {"decision_id": "client-twice"}
    first, again = await service.submit(asked), await service.submit(asked)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert first.result == again.result
    with pytest.raises(Refused) as caught:
        await service.submit(decision("ETHUSDT") | {"decision_id": "client-twice"})
    assert (caught.value.status, caught.value.code) == (409, "decision_conflict")


async def test_a_refusal_names_code_and_field(service: ServiceClient) -> None:
    with pytest.raises(Refused) as caught:
        await service.execute(decision(sl_prise=1))
    refused = caught.value
    assert (refused.status, refused.code, refused.field) == (422, "validation_error", "decisions[0].sl_prise")
    assert "unknown field" in refused.detail
    with pytest.raises(Refused) as caught:
        await service.trades(limit=501)
    assert (caught.value.code, caught.value.field) == ("validation_error", "limit")
    with pytest.raises(Refused) as caught:
        await service.trade("a/b?c")
    assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_what_arrives_too_late_is_stale_and_not_traded(service: ServiceClient) -> None:
    asked = decision() | {"timestamp": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()}
    error = (await service.execute(asked)).results[0].error
    assert error is not None
    assert error.code is ErrorCode.STALE_DECISION


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_traded_twice(face: Face) -> None:
    async with lossy_wire(face.url) as wire, connected(wire.url, TOKEN) as service:
        before = len((await service.trades(limit=500)).items)
        wire.losses = 2
        result = await service.execute(decision(), timeout_s=20)
        assert (wire.lost, result.status) == (2, ResultStatus.EXECUTED)
        assert len((await service.trades(limit=500)).items) == before + 1


async def test_text_without_an_id_is_never_sent_again(face: Face) -> None:
    async with lossy_wire(face.url) as wire, connected(wire.url, TOKEN) as service:
        before = len((await service.decisions(limit=500)).items)
        wire.losses = 1
        with pytest.raises(Unreachable):
            await service.execute(json.dumps(decision(action="hold")).encode())
        assert len((await service.decisions(limit=500)).items) == before + 1


async def test_a_wrong_token_a_silent_address_and_a_stranger_are_told_apart(face: Face) -> None:
    async with connected(face.url, "wrong") as service:
        with pytest.raises(Refused) as caught:
            await service.status()
        assert caught.value.code == "unauthorized"
        with pytest.raises(Refused) as caught:
            await anext(service.events(0))
        assert caught.value.code == "unauthorized"
    async with connected("http://127.0.0.1:9", TOKEN) as service:
        with pytest.raises(Unreachable, match="can't be reached"):
            await service.status()
    async with connected(f"{face.url}/docs", TOKEN) as service:  # answers, and is no such service
        with pytest.raises((NotTheService, Refused)):
            await service.status()


async def test_events_go_on_after_a_lost_connection_without_gap_or_repetition(face: Face) -> None:
    async with lossy_wire(face.url) as wire, connected(wire.url, TOKEN) as service:
        after = (await service.status()).last_seq
        stream = service.events(after, patience_s=PATIENCE_S)
        await face.post("/v1/decisions", decision())
        seen = [(await anext(stream)).seq]
        wire.losses = 3
        await face.post("/v1/decisions", decision("ETHUSDT"))
        head = (await face.get("/v1/status")).json["last_seq"]
        async with asyncio.timeout(PATIENCE_S):
            while seen[-1] < head:
                seen.append((await anext(stream)).seq)
        await stream.aclose()
    assert wire.lost == 3
    assert seen == list(range(after + 1, head + 1))


async def test_a_stream_that_was_closed_as_too_slow_is_taken_up_where_it_was(
    face: Face, service: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face.broadcast, "_ring", deque(maxlen=5))
    after = (await service.status()).last_seq
    stream = service.events(after, patience_s=PATIENCE_S)
    narrator = face.application.services["default"]._narrator
    await face.application.trades.record_events([narrator.event(EventType.DRIFT_FOUND, {})])
    assert (await anext(stream)).seq == after + 1
    await face.application.trades.record_events([narrator.event(EventType.DRIFT_FOUND, {}) for _ in range(50)])
    async with asyncio.timeout(PATIENCE_S):
        assert [(await anext(stream)).seq for _ in range(50)] == list(range(after + 2, after + 52))
    await stream.aclose()


async def test_a_stream_of_a_restored_record_ends_instead_of_going_on(
    face: Face, service: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers come again in a copy, so what follows would be another log's."""
    after = (await service.status()).last_seq
    with pytest.raises(Refused) as caught:
        await anext(service.events(after + 1000, patience_s=PATIENCE_S))
    assert caught.value.code == "after_unknown"
    monkeypatch.setattr(face.broadcast, "_ring", deque(maxlen=5))
    narrator = face.application.services["default"]._narrator
    stream = service.events(after, patience_s=PATIENCE_S)
    await face.application.trades.record_events([narrator.event(EventType.DRIFT_FOUND, {})])
    assert (await anext(stream)).seq == after + 1
    await face.application.database.commit(Unit((Write(_RESTORE, {}),)))
    await face.application.trades.record_events([narrator.event(EventType.DRIFT_FOUND, {}) for _ in range(50)])

    async def to_its_end() -> None:
        async for _ in stream:
            pass

    with pytest.raises(Refused) as caught:
        await asyncio.wait_for(to_its_end(), PATIENCE_S)
    assert caught.value.code == "after_unknown"


async def test_events_are_filtered_and_begin_now_without_after(face: Face, service: ServiceClient) -> None:
    stream = service.events(types=[EventType.TRADE_PROTECTED, EventType.DECISION_COMPLETED])
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.2)  # the stream's place is looked up when it is first read
    await face.post("/v1/decisions", decision())
    assert (await asyncio.wait_for(first, PATIENCE_S)).type is EventType.TRADE_PROTECTED
    assert (await anext(stream)).type is EventType.DECISION_COMPLETED
    await stream.aclose()


async def test_without_patience_a_lost_stream_is_an_error(face: Face) -> None:
    async with lossy_wire(face.url) as wire, connected(wire.url, TOKEN) as service:
        wire.losses = 2  # aiohttp itself asks a second time
        with pytest.raises(Unreachable):
            await anext(service.events(0, patience_s=0))
