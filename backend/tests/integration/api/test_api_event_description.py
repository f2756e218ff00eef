"""The events are what their description says, in ``docs/asyncapi.yaml`` and at ``/asyncapi.json``."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import yaml

from app.api.event_description import describe_events
from app.domain.events import EventType
from support.asyncapi import FILE, rendered
from support.described import every_event_is_described
from support.faces import decision, paper_face


def test_the_file_is_in_step_with_the_models() -> None:
    assert FILE.read_text(encoding="utf-8") == rendered(), "run 'make docs'"
    assert yaml.safe_load(FILE.read_text(encoding="utf-8")) == describe_events()


def test_every_event_is_described_and_every_reference_leads_somewhere() -> None:
    document = describe_events()
    assert {kind.value for kind in EventType} | {"Token"} == set(document["components"]["messages"])
    assert set(document["channels"]["stream"]["messages"]) == set(document["components"]["messages"])
    for reference in references(document):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


async def test_the_events_of_a_day_have_the_form_that_is_described() -> None:
    """Those of every test of the execution path are held against the models as well (``arena.py``)."""
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0") as face:
        await face.post("/v1/decisions", decision())
        await face.post("/v1/decisions", decision(sl_price=10**6))
        await face.post("/v1/halt", {"reason": "a test", "flatten": True})
        await face.post("/v1/resume")
        assert (await face.get("/asyncapi.json")).json == describe_events()
        await every_event_is_described(face.application)
        events = (await face.get("/v1/events", limit=500)).json["items"]
    told = {event["type"] for event in events}
    assert {"DecisionRejected", "TradeProtected", "TradeClosed", "Halted", "Resumed", "StreamConnected"} <= told
    document = describe_events()
    for event in events:
        message = document["components"]["messages"][event["type"]]
        jsonschema_rs.validator_for({**message["payload"], "components": document["components"]}).validate(event)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in references(item)]
    return [found for item in value for found in references(item)] if isinstance(value, list) else []
