"""The HTTP face, to the letter of the contract's section 6, on a real server, the paper venue and each database."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from support.faces import TOKEN, Face, decision, paper_face
from support.measured import samples, value
from support.patience import PATIENCE_S
from support.postgres import KINDS, MIGRATED

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def _module_face(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Face]:
    environ = {"TES_RISK_COOLDOWN_SECONDS": "0"}
    if request.param == "postgresql":
        environ["TES_DATABASE_URL"] = request.getfixturevalue("postgres").new_database(MIGRATED)
    # where the paper venue of a service with a server keeps its state
    with contextlib.chdir(tmp_path_factory.mktemp("work")):
        async with paper_face(is_ephemeral=request.param == "sqlite", **environ) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def face(_module_face: Face) -> AsyncIterator[Face]:
    """A flat account, whatever the test before left."""
    yield _module_face
    await _module_face.post("/v1/positions/close")


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer that must be one."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json
    assert document["status"] == status
    assert document["code"] == code
    assert document["title"]
    assert document["detail"]
    return document


async def test_a_decision_is_executed_and_answers_as_the_contract_shows(face: Face) -> None:
    answer = await face.post("/v1/decisions", {**decision(), "decision_id": "shown"})
    assert answer.status == 200
    assert "Idempotent-Replay" not in answer.headers
    result = answer.json
    assert (result["decision_id"], result["account_id"], result["is_paper"]) == ("shown", "default", True)
    assert (result["status"], result["success"]) == ("executed", True)
    (asset,) = result["results"]
    assert (asset["asset"], asset["action"], asset["status"], asset["side"]) == ("BTCUSDT", "buy", "protected", "long")
    for name in ("requested_quantity", "filled_quantity", "fill_price", "slippage_bps", "commission"):
        assert isinstance(asset[name], str)
        assert Decimal(asset[name]).is_finite()
    assert asset["orders"]["entry"]["status"] == "FILLED"
    assert asset["orders"]["take_profit"]["status"] == asset["orders"]["stop_loss"]["status"] == "NEW"
    assert asset["timings_ms"]["filled_to_protected"] > 0
    assert asset["error"] is None


async def test_the_same_decision_again_answers_with_the_first_result_and_trades_nothing(face: Face) -> None:
    body = {**decision(), "decision_id": "twice"}
    first = await face.post("/v1/decisions", body)
    orders_before = (await face.get("/v1/orders", limit=500)).json["items"]
    again = await face.post("/v1/decisions", json.dumps(body, indent=3))
    assert again.status == 200
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json == first.json
    assert (await face.get("/v1/orders", limit=500)).json["items"] == orders_before


async def test_the_same_id_with_another_body_is_a_conflict(face: Face) -> None:
    await face.post("/v1/decisions", {**decision(), "decision_id": "clash"})
    answer = await face.post("/v1/decisions", {**decision(leverage=9), "decision_id": "clash"})
    problem_of(answer, 409, "decision_conflict")


async def test_many_at_once_with_one_id_trade_once(face: Face) -> None:
    body = {**decision(), "decision_id": "flood"}
    answers = await asyncio.gather(*(face.post("/v1/decisions", body) for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert sum("Idempotent-Replay" not in answer.headers for answer in answers) == 1
    trades = (await face.get("/v1/trades")).json["items"]
    assert sum(trade["decision_id"] == "flood" for trade in trades) == 1


async def test_without_waiting_it_answers_202_and_says_where_to_look(face: Face) -> None:
    answer = await face.post("/v1/decisions", {**decision(), "decision_id": "later:1"}, wait=0)
    assert answer.status == 202
    assert (answer.json["status"], answer.json["completed_at"]) == ("pending", None)
    location = answer.headers["Location"]
    async with asyncio.timeout(PATIENCE_S):
        while (stored := await face.get(location)).json["status"] == "pending":
            await asyncio.sleep(0.01)
    assert stored.json["status"] == "executed"
    assert stored.json["decision"]["decisions"][0]["asset"] == "BTCUSDT"
    assert stored.json["results"][0]["status"] == "protected"


async def test_a_risk_refusal_is_a_result_not_an_http_error(face: Face) -> None:
    answer = await face.post("/v1/decisions", decision(sl_price=200000))
    assert (answer.status, answer.json["status"], answer.json["success"]) == (200, "rejected", False)
    assert answer.json["results"][0]["error"]["code"] == "stop_loss_invalid"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"decisions": []}', "decisions"),
        (b'{"decisions": [{"asset": "BTCUSDT", "action": "buy", "allocation_usd": NaN}]}', "NaN"),
        (decision(sl_prise=1), "decisions[0].sl_prise"),
        (decision(action="short"), "decisions[0].action"),
        (decision(allocation_usd=0), "allocation_usd"),
        (decision(allocation_usd="1e400"), "decisions[0].allocation_usd"),
        (decision(leverage=0), "decisions[0].leverage"),
        (decision(tp_price=-1), "decisions[0].tp_price"),
        (decision(confidence=101), "decisions[0].confidence"),
        ({"decisions": decision()["decisions"] * 2}, "appears twice"),
        ({**decision(), "decision_id": "white space"}, "decision_id"),
        ({**decision(), "timestamp": "yesterday"}, "timestamp"),
        ({**decision(), "timestamp": "2999-01-01T00:00:00Z"}, "timestamp"),
        (b'{"decisions": [], "deep": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper"),
        (b"[" * 100_000, "nested deeper than 32"),
        ({"decisions": [{"asset": f"A{number}", "action": "hold"} for number in range(201)]}, "decisions"),
    ],
)
async def test_bad_input_is_a_422_that_names_the_field(face: Face, body: Any, names: str) -> None:
    document = problem_of(await face.post("/v1/decisions", body), 422, "validation_error")
    assert names in document["detail"]


async def test_a_refused_body_does_not_use_up_its_id(face: Face) -> None:
    wrong = {**decision(sl_prise=1), "decision_id": "kept"}
    problem_of(await face.post("/v1/decisions", wrong), 422, "validation_error")
    answer = await face.post("/v1/decisions", {**decision(), "decision_id": "kept"})
    assert (answer.status, answer.json["status"]) == (200, "executed")


async def test_an_unknown_account_is_refused(face: Face) -> None:
    document = problem_of(
        await face.post("/v1/decisions", {**decision(), "account_id": "nobody"}), 422, "account_unknown"
    )
    assert "nobody" in document["detail"]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_above_the_limit_is_refused_at_once(face: Face, is_chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 32 * 1024

    data = chunks() if is_chunked else b" " * (256 * 1024 + 1)
    problem_of(await face.post("/v1/decisions", data), 413, "validation_error")


@pytest.mark.parametrize("wait", ["-1", "121", "nan", "soon"])
async def test_wait_has_bounds(face: Face, wait: str) -> None:
    document = problem_of(await face.post("/v1/decisions", decision(), wait=wait), 422, "validation_error")
    assert "wait" in document["detail"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/trades", {"cursor": "junk!"}),
        ("/v1/decisions", {"cursor": "€"}),
        ("/v1/trades", {"limit": 0}),
        ("/v1/orders", {"limit": 501}),
        ("/v1/trades", {"status": "sleeping"}),
        ("/v1/events", {"after": -1}),
        ("/v1/events", {"after": 10**30}),
    ],
)
async def test_a_wrong_parameter_is_a_422(face: Face, path: str, query: dict[str, Any]) -> None:
    problem_of(await face.get(path, **query), 422, "validation_error")


async def test_lists_are_pages_newest_first(face: Face) -> None:
    for number in range(3):
        await face.post("/v1/decisions", {**decision(), "decision_id": f"page-{number}"})
        await face.post("/v1/positions/close")
    for path, name in (("/v1/decisions", "decision_id"), ("/v1/trades", "trade_id"), ("/v1/orders", "client_order_id")):
        everything = (await face.get(path, limit=500)).json["items"]
        walked, cursor = [], None
        while True:
            page = (await face.get(path, limit=2, **({"cursor": cursor} if cursor else {}))).json
            assert len(page["items"]) <= 2
            walked += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert [item[name] for item in walked] == [item[name] for item in everything]
    decisions = (await face.get("/v1/decisions", limit=3)).json["items"]
    assert [item["decision_id"] for item in decisions] == ["page-2", "page-1", "page-0"]


async def test_trades_and_orders_are_filtered_by_status_and_asset(face: Face) -> None:
    await face.post("/v1/decisions", decision())
    await face.post("/v1/decisions", decision("ETHUSDT", "sell"))
    is_open = (await face.get("/v1/trades", status="open")).json["items"]
    assert {trade["asset"] for trade in is_open} == {"BTCUSDT", "ETHUSDT"}
    ethereum = (await face.get("/v1/trades", status="open,protecting", asset="ETHUSDT")).json["items"]
    assert [trade["side"] for trade in ethereum] == ["short"]
    resting = (await face.get("/v1/orders", status="new", asset="BTCUSDT")).json["items"]
    assert {order["role"] for order in resting} == {"take_profit", "stop_loss"}


async def test_a_trade_tells_its_orders_fills_and_money(face: Face) -> None:
    result = (await face.post("/v1/decisions", decision(rationale="because"))).json
    trade_id = result["results"][0]["trade_id"]
    closed = await face.post("/v1/positions/BTCUSDT/close")
    assert (closed.status, closed.json["status"], closed.json["success"]) == (200, "closed", True)
    trade = (await face.get(f"/v1/trades/{trade_id}")).json
    assert (trade["id"], trade["status"], trade["close_reason"]) == (trade_id, "closed", "manual")
    assert {order["role"] for order in trade["orders"]} == {"entry", "take_profit", "stop_loss", "close"}
    fills = trade["fills"]
    assert sum(Decimal(fill["realised_pnl"]) for fill in fills) == Decimal(trade["realised_pnl"])
    assert sum(Decimal(fill["commission"]) for fill in fills) == Decimal(trade["commission"])
    assert Decimal(trade["entry_price"]) > 0 < Decimal(trade["exit_price"])
    assert trade["context"]["rationale"] == "because"


async def test_positions_and_accounts_say_as_of_when(face: Face) -> None:
    await face.post("/v1/decisions", decision())
    positions = (await face.get("/v1/positions")).json
    (position,) = positions["items"]
    assert positions["as_of"]
    assert (position["asset"], position["side"], position["leverage"]) == ("BTCUSDT", "long", 10)
    assert Decimal(position["quantity"]) > 0
    assert position["trade_id"]
    assert (await face.get("/v1/positions", asset="ETHUSDT")).json["items"] == []
    (account,) = (await face.get("/v1/accounts")).json["items"]
    assert (account["account_id"], account["is_paper"], account["is_ready"]) == ("default", True, True)
    assert Decimal(account["wallet_balance"]) > 0


async def test_closing_all_closes_everything_that_is_ours(face: Face) -> None:
    await face.post("/v1/decisions", decision())
    await face.post("/v1/decisions", decision("ETHUSDT", "sell"))
    answer = await face.post("/v1/positions/close")
    assert {(item["asset"], item["status"]) for item in answer.json["items"]} == {
        ("BTCUSDT", "closed"),
        ("ETHUSDT", "closed"),
    }
    assert (await face.get("/v1/positions")).json["items"] == []
    assert (await face.get("/v1/orders", status="NEW")).json["items"] == []


async def test_reconciliation_reports_no_difference_on_a_quiet_account(face: Face) -> None:
    report = (await face.post("/v1/reconcile")).json
    assert (report["account_id"], report["differences"]) == ("default", [])


@pytest.mark.parametrize("path", ["/v1/trades/nope", "/v1/decisions/nope", "/v1/nothing", "/v2/trades"])
async def test_what_is_not_there_is_a_404_problem(face: Face, path: str) -> None:
    problem_of(await face.get(path), 404, "not_found")


async def test_a_wrong_method_is_a_405_problem(face: Face) -> None:
    problem_of(await face.ask("DELETE", "/v1/trades"), 405, "method_not_allowed")


# --- who may ask ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
    ],
    ids=lambda headers: headers.get("Authorization", "none"),
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/trades"), ("POST", "/v1/decisions"), ("GET", "/v1/status")])
async def test_without_the_right_token_it_is_a_401(face: Face, method: str, path: str, headers: dict[str, str]) -> None:
    answer = await face.ask(method, path, headers=headers)
    problem_of(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN.encode() not in answer.body


async def test_every_route_but_the_public_ones_needs_a_token(face: Face) -> None:
    document = (await face.ask("GET", "/openapi.json", headers={})).json
    public = {"/healthz", "/readyz", "/metrics", "/v1/webhooks/tradingview"}  # the last has a secret of its own
    assert public <= set(document["paths"])
    for path, operations in document["paths"].items():
        for method in operations:
            answer = await face.ask(method.upper(), path.replace("{", "").replace("}", ""), headers={})
            assert (answer.status == 401) is (path not in public), (method, path, answer.status)


async def test_wrong_tokens_are_slowed_and_never_lock_the_right_one_out(face: Face) -> None:
    loop = asyncio.get_running_loop()

    async def wrong() -> float:
        started = loop.time()
        answer = await face.ask("GET", "/v1/status", headers={"Authorization": "Bearer wrong"})
        assert answer.status == 401
        return loop.time() - started

    took = await asyncio.gather(*(wrong() for _ in range(20)))
    assert min(took) >= 0.05
    assert (await face.get("/v1/status")).status == 200


async def test_health_needs_no_token_and_metrics_none_from_this_machine(face: Face) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await face.ask("GET", path, headers={})).status == 200, path


async def test_metrics_count_decisions_events_and_requests(face: Face) -> None:
    await face.post("/v1/decisions", decision())
    async with asyncio.timeout(PATIENCE_S):
        while not value(seen := samples((await face.get("/metrics")).body), "tes_decisions_total", status="executed"):
            await asyncio.sleep(0.01)
    assert value(seen, "tes_ready") == 1
    assert (value(seen, "tes_events_total", type="OrderPlaced") or 0) >= 3
    assert (value(seen, "tes_http_requests_total", account="", method="POST", status="200") or 0) >= 1


# --- what a person and a program read about it -----------------------------------------------------------------------


async def test_the_openapi_document_describes_the_decision(face: Face) -> None:
    document = (await face.get("/openapi.json")).json
    reference = document["paths"]["/v1/decisions"]["post"]["requestBody"]["content"]["application/json"]["schema"][
        "$ref"
    ]
    schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    assert {"decision_id", "account_id", "timestamp", "decisions"} <= set(schema["properties"])
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"]
    assert (await face.get("/docs")).status == 200


async def test_the_status_page_brings_everything_with_it_and_no_data(face: Face) -> None:
    answer = await face.ask("GET", "/", headers={})
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    page = answer.body.decode()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert TOKEN not in page


async def test_the_event_log_is_gapless_and_pages_upwards(face: Face) -> None:
    await face.post("/v1/decisions", decision())
    status = (await face.get("/v1/status")).json
    seen: list[int] = []
    after = 0
    while True:
        page = (await face.get("/v1/events", after=after, limit=7)).json
        seen += [event["seq"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        after = int(page["next_cursor"])
    assert seen[: status["last_seq"]] == list(range(1, status["last_seq"] + 1))
