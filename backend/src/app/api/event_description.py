"""The event stream's description of itself: AsyncAPI 3.0, at ``/asyncapi.json`` and in ``docs/asyncapi.yaml``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api.access import require_token_from_afar
from app.api.stream import FIRST_MESSAGE_TIMEOUT_S, HEARTBEAT_S, CloseCode
from app.core.version import program_version
from app.domain.events import EventType
from app.events.dispatcher import QUEUE_LIMIT
from app.schemas.event_data import EVENT_DATA, EVENT_MEANING
from app.schemas.events import EventDocument

_REFERENCE = "#/components/schemas/{model}"
_DESCRIPTION = f"""\
The event log of the Trading Execution Service, live. Each event is written in the same transaction as the change that
it tells of; `seq` starts at 1, is gapless and rises by one. `GET /v1/events?after=SEQ` reads the same log over HTTP.

**Order** — first what lies behind `after`, then what happens, without a gap or a repetition.

**Restored copies** — numbers come again in a log that was restored from a copy, and its generation is another. A reader
whose `after` lies beyond the log, or who says the `generation` of his and it is another, is closed with
{CloseCode.AFTER_UNKNOWN.value}, and starts over. `GET /v1/status` tells the generation.

**Heartbeat** — the service pings every {HEARTBEAT_S} s; a reader that answers none for as long is dropped. What a
reader sends after its token is ignored.

**Slow readers** — {QUEUE_LIMIT} events may wait for one reader. One that falls further behind is closed with
{CloseCode.TOO_SLOW.value}; it connects again with `after` = the last `seq` it has, and misses nothing. No reader slows
trading or another reader.

**Numbers** — money and quantities are text, exact decimals. Fields and types may be added.
"""
_CLOSES = {
    CloseCode.GOING_AWAY: "the service stops: connect again later",
    CloseCode.TRY_AGAIN_LATER: "the event log can't be read now: connect again later",
    CloseCode.UNAUTHORIZED: "no token came in time, or a wrong one",
    CloseCode.TOO_SLOW: "too many events were waiting: connect again with `after`",
    CloseCode.AFTER_UNKNOWN: "the log ends before `after`, or is of another `generation`: a copy was restored",
    CloseCode.BAD_REQUEST: "`after` or `types` is wrong",
}
_EXAMPLE: dict[str, Any] = {
    "seq": 42,
    "id": "1m89j1vp88r0vax282cb",
    "type": "DecisionReceived",
    "time": "2026-11-22T10:15:00.104000Z",
    "account_id": "default",
    "is_paper": True,
    "decision_id": "2026-11-22T10:15:00Z-btc",
    "trade_id": None,
    "asset": None,
    "data": {"assets": ["BTCUSDT"]},
}

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_token_from_afar)])


@router.get("/asyncapi.json")
async def asyncapi() -> JSONResponse:
    """The document."""
    return JSONResponse(describe_events())


def describe_events() -> dict[str, Any]:
    """The AsyncAPI document, from the events' own models."""
    schemas: dict[str, Any] = {}
    _add(schemas, EventDocument)
    for model in EVENT_DATA.values():
        _add(schemas, model)
    messages = {kind.value: _message(kind) for kind in EventType} | {"Token": _TOKEN}
    listed = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trading Execution Service: events",
            "version": program_version(),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": _SERVER},
        "channels": {"stream": {**_CHANNEL, "messages": listed}},
        "operations": {
            "follow": {
                "action": "send",
                "channel": {"$ref": "#/channels/stream"},
                "summary": "The service sends each event",
                "messages": [{"$ref": f"#/channels/stream/messages/{kind.value}"} for kind in EventType],
            },
            "authenticate": {
                "action": "receive",
                "channel": {"$ref": "#/channels/stream"},
                "summary": "A reader that can set no header sends its token first",
                "messages": [{"$ref": "#/channels/stream/messages/Token"}],
            },
        },
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "of any scope"}},
        },
    }


_SERVER = {
    "host": "127.0.0.1:8000",
    "protocol": "ws",
    "description": "`TES_HOST` and `TES_PORT`; wss through a TLS proxy",
    "security": [{"$ref": "#/components/securitySchemes/token"}],
}
_CHANNEL: dict[str, Any] = {
    "address": "/v1/stream",
    "title": "Event log",
    "description": "Close codes beside those of the protocol:\n\n"
    + "\n".join(f"- `{code.value}` {text}" for code, text in _CLOSES.items())
    + "\n\nWith an `Authorization` header, what is wrong is answered in place of the upgrade: 401, 409 or 422, "
    "with a problem document, and the answer to the upgrade tells the log's generation in `Log-Generation`.",
    "bindings": {
        "ws": {
            "method": "GET",
            "query": {
                "type": "object",
                "properties": {
                    "after": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "only events behind this seq, 0 for all of them; from now on when absent",
                    },
                    "generation": {"type": "string", "description": "of the log that `after` is from, if it is known"},
                    "types": {"type": "string", "description": "only these types, comma separated; all when absent"},
                },
            },
            "headers": {
                "type": "object",
                "properties": {"Authorization": {"type": "string", "description": "`Bearer TOKEN`"}},
            },
            "bindingVersion": "0.1.0",
        }
    },
}
_TOKEN: dict[str, Any] = {
    "name": "Token",
    "summary": f"Within {FIRST_MESSAGE_TIMEOUT_S} s, where there is no Authorization header",
    "payload": {
        "type": "object",
        "properties": {"token": {"type": "string"}},
        "required": ["token"],
    },
    "examples": [{"payload": {"token": "TOKEN"}}],
}


def _add(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(mode="serialization", ref_template=_REFERENCE)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema


def _message(kind: EventType) -> dict[str, Any]:
    data = {"$ref": _REFERENCE.format(model=EVENT_DATA[kind].__name__)}
    message: dict[str, Any] = {
        "name": kind.value,
        "summary": EVENT_MEANING[kind],
        "payload": {
            "allOf": [
                {"$ref": _REFERENCE.format(model=EventDocument.__name__)},
                {"type": "object", "properties": {"type": {"const": kind.value}, "data": data}},
            ]
        },
    }
    if kind.value == _EXAMPLE["type"]:
        message["examples"] = [{"payload": _EXAMPLE}]
    return message
