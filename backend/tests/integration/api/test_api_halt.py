"""The kill switch over HTTP (contract, section 6)."""

from __future__ import annotations

from typing import Any

from support.faces import decision, paper_face


async def test_halt_refuses_entries_and_flattens_until_resume() -> None:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as face:
        assert (await face.post("/v1/decisions", decision())).json["success"]
        answer = await face.post("/v1/halt", {"reason": "news", "flatten": True})
        assert answer.status == 200
        assert [closed["status"] for closed in answer.json["closed"]] == ["closed"]
        assert (answer.json["is_flat"], answer.json["left_open"]) == (True, [])
        status: dict[str, Any] = (await face.get("/v1/status")).json
        assert status["is_halted"] is True
        assert status["accounts"][0]["halt"]["reason"] == "news"
        assert (await face.ask("GET", "/readyz", headers={})).json["halted"] == ["default"]
        refused = await face.post("/v1/decisions", decision())
        assert refused.status == 200
        assert refused.json["status"] == "rejected"
        assert refused.json["results"][0]["error"]["code"] == "halted"
        assert (await face.post("/v1/resume")).status == 200
        assert (await face.get("/v1/status")).json["is_halted"] is False
        assert (await face.ask("GET", "/readyz", headers={})).json["halted"] == []
        assert (await face.post("/v1/decisions", decision())).json["success"]


async def test_a_halt_needs_a_reason_and_known_fields() -> None:
    async with paper_face() as face:
        for body in ({}, {"reason": ""}, {"reason": "x", "flaten": True}):
            assert (await face.post("/v1/halt", body)).status == 422
        assert (await face.post("/v1/halt?account_id=nobody", {"reason": "x"})).status == 422
        assert (await face.get("/v1/status")).json["is_halted"] is False
