"""The log of the real process: one line for each committed event, and one word that finds a decision's whole story."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.domain.events import EventType
from app.domain.tracing import trace_id_of
from app.events.chronicle import NAMES
from aster_sim.server import RunningVenue
from support.serving import BTC, BUY, PATIENCE_S, TOKEN, free_port, get, is_ready, service, until

pytestmark = pytest.mark.long

THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{THEIRS}-00f067aa0ba902b7-01"}
IDS = ("account_id", "asset", "decision_id", "trade_id")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """What the service has written, of all its lives."""
    return [json.loads(line) for line in (folder / "service.log").read_text().splitlines() if line.startswith("{")]


def recorded(folder: Path) -> list[tuple[Any, ...]]:
    """The event log, from the file."""
    query = "SELECT seq, type, account_id, asset, decision_id, trade_id, data FROM events ORDER BY seq"
    with sqlite3.connect(folder / "tes.db") as database:
        return database.execute(query).fetchall()


async def live(folder: Path, venue: RunningVenue, http: aiohttp.ClientSession, *calls: dict[str, Any]) -> None:
    """Start the service on what it left, make the calls, and stop it in order."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with service(venue, f"sqlite:///{folder / 'tes.db'}", folder, port, TES_RISK_COOLDOWN_SECONDS="0") as process:
        await until(lambda: is_ready(http, url), "readiness")
        for call in calls:
            async with http.post(f"{url}{call['path']}", json=call.get("body"), headers=call.get("headers")) as answer:
                assert answer.status == 200, await answer.text()

        async def is_flat_or_protected() -> bool:
            trades = (await get(http, f"{url}/v1/trades"))["items"]
            return all(trade["status"] in ("open", "closed") for trade in trades)

        await until(is_flat_or_protected, "rest")
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def test_a_trace_id_tells_a_decisions_whole_story_over_a_restart(venue: RunningVenue, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(PATIENCE_S)) as http:
        traced = {"path": "/v1/decisions?wait=30", "body": {"decision_id": "the-one", **BUY}, "headers": HEADERS}
        again = {**traced, "headers": {"traceparent": f"00-{'a' * 32}-00f067aa0ba902b7-01"}}
        refused = {"path": "/v1/decisions", "body": {"decision_id": "too-soon", **BUY}}
        await live(tmp_path, venue, http, traced, again, refused)
        await live(tmp_path, venue, http, {"path": f"/v1/positions/{BTC}/close"})
    events, lines = recorded(tmp_path), lines_of(tmp_path)
    told = [line for line in lines if "seq" in line]
    assert [line["seq"] for line in told] == [row[0] for row in events], "one line for each, in order"
    for line, (_, type_, *ids, data) in zip(told, events, strict=True):
        assert line["event"] == NAMES[EventType(type_)]
        assert [line.get(name) for name in IDS] == ids
        assert line.get("client_order_id") == json.loads(data).get("client_order_id")

    story = [line for line in lines if THEIRS in json.dumps(line)]
    assert {line["decision_id"] for line in story} == {"the-one"}
    assert [line for line in told if line.get("decision_id") == "the-one"] == story
    steps = [(line["event"], line.get("role"), line.get("status")) for line in story]
    expected = [
        ("decision.received", None, None),
        ("order.updated", "entry", "SUBMITTING"),
        ("order.filled", "entry", "FILLED"),
        ("trade.opened", None, "protecting"),
        ("order.placed", "stop_loss", "NEW"),
        ("trade.protected", None, "open"),
        ("decision.completed", None, "executed"),
        ("order.filled", "close", "FILLED"),
        ("trade.closed", None, "closed"),
    ]
    assert [step for step in steps if step in expected] == expected
    timings = next(line for line in story if line["event"] == "decision.completed")["results"][0]["timings_ms"]
    assert all(timings[stage] > 0 for stage in ("received_to_sent", "sent_to_filled", "filled_to_protected"))

    of_the_refused = [line["event"] for line in lines if line.get("trace_id") == trace_id_of("too-soon")]
    assert of_the_refused == ["decision.received", "decision.rejected"]
    keys = venue.accounts[0]
    written = (tmp_path / "service.log").read_text()
    for secret in (TOKEN, keys.private_key, keys.api_key, keys.api_secret):
        assert secret not in written
