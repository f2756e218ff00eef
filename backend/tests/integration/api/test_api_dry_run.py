"""``dry_run``: what would happen, check by check; nothing is sent, kept or used up (contract, issue: explain)."""

from __future__ import annotations

from typing import Any

from support.faces import Face, decision, paper_face


async def explained(face: Face, body: dict[str, Any]) -> dict[str, Any]:
    answer = await face.post("/v1/decisions", body, dry_run="true")
    assert answer.status == 200, answer.json
    document: dict[str, Any] = answer.json
    assert document["dry_run"] is True
    return document


def verdicts(asset: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["verdict"] for check in asset["checks"]}


async def test_a_dry_run_shows_the_plan_and_every_check_and_does_nothing() -> None:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as face:
        body = decision() | {"decision_id": "dry"}
        before = (await face.get("/v1/status")).json["last_seq"]
        (asset,) = (await explained(face, body))["assets"]
        assert (asset["verdict"], set(verdicts(asset).values())) == ("ok", {"ok"})
        assert list(verdicts(asset)) == [
            "halted",
            "not ready",
            "age",
            "asset",
            "leverage",
            "cooldown",
            "existing position",
            "stop-loss required",
            "sides of TP and SL",
            "quantity and notional",
            "exposure",
            "daily loss",
            "price deviation",
            "margin",
            "stop beyond liquidation",
        ]
        plan = asset["plan"]
        assert (plan["quantity"], plan["leverage"], plan["side"]) == ("0.01", 10, "long")
        for name in ("margin", "fees", "expected_price"):
            assert float(plan[name]) > 0, name
        assert plan["liquidation_price"] is None, "the whole account stands behind it"
        away = float(plan["mark_price"]) - 94_000
        assert abs(float(plan["stop_loss"]["result_usd"]) + 0.01 * away) < 0.001
        assert float(plan["take_profit"]["result_usd"]) > 0
        assert (await face.get("/v1/decisions")).json["items"] == []
        assert (await face.get("/v1/trades")).json["items"] == []
        assert (await face.get("/v1/status")).json["last_seq"] == before
        assert (await face.post("/v1/decisions", body)).json["success"], "the id is free still"


async def test_every_failing_check_is_listed_not_only_the_first() -> None:
    limits = {"TES_RISK_MAX_TOTAL_NOTIONAL": "500", "TES_RISK_LEVERAGE_POLICY": "reject", "TES_RISK_MAX_LEVERAGE": "5"}
    async with paper_face(**limits) as face:
        await face.post("/v1/halt", {"reason": "lunch"})
        document = await explained(face, decision(sl_price=10**6))
        assert document["halt"]["reason"] == "lunch"
        (asset,) = document["assets"]
        refused = {check["check"]: check["code"] for check in asset["checks"] if check["verdict"] == "refused"}
        wanted = {
            "halted": "halted",
            "leverage": "leverage_exceeded",
            "sides of TP and SL": "stop_loss_invalid",
            "exposure": "exposure_limit",
        }
        assert wanted.items() <= refused.items()
        assert asset["would"] == "send nothing"


async def test_changes_and_closes_are_explained_too() -> None:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as face:
        absent = await explained(face, {"decisions": [{"asset": "BTCUSDT", "action": "close_position"}]})
        assert verdicts(absent["assets"][0])["existing position"] == "refused"
        await face.post("/v1/decisions", decision())
        change = {"adjustment_type": "increase", "adjustment_percentage": 50, "new_sl_price": 95000}
        items = [
            {"asset": "BTCUSDT", "action": "adjust_position", "position_adjustment": change},
            {"asset": "ETHUSDT", "action": "hold"},
        ]
        hold, more = (await explained(face, {"decisions": items}))["assets"]
        assert (hold["asset"], hold["would"]) == ("ETHUSDT", "do nothing")
        assert more["verdict"] == "ok", more
        assert more["would"] == "add 0.005 at market, move the stop loss to 95000"
        assert more["plan"]["position_quantity"] == "0.015"
        less = {"adjustment_type": "decrease", "adjustment_percentage": 50}
        items = [{"asset": "BTCUSDT", "action": "adjust_position", "position_adjustment": less}]
        (asset,) = (await explained(face, {"decisions": items}))["assets"]
        assert asset["would"] == "take 0.005 off at market"
        assert (await face.get("/v1/positions")).json["items"][0]["quantity"] == "0.01"


async def test_an_unknown_asset_leaves_the_rest_unchecked() -> None:
    async with paper_face() as face:
        (asset,) = (await explained(face, decision("NOSUCHUSDT")))["assets"]
        assert verdicts(asset)["asset"] == "refused"
        assert verdicts(asset)["price deviation"] == "not_checked"
