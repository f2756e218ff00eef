"""Answers over HTTP: JSON, and what a fault says instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from aster_sim.faults import Action

_ENCODER = msgspec.json.Encoder()
_JSON = "application/json"


def json_response(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_ENCODER.encode(payload), status=status, content_type=_JSON, headers=headers)


def fault_response(action: Action) -> web.Response:
    """The answer that a fault gives instead of the venue's own: its body, or an error in JSON."""
    if action.body is not None:
        return web.Response(
            text=action.body,
            status=action.status,
            content_type=action.content_type or "text/html",
            headers=action.headers,
        )
    return json_response({"code": action.code, "msg": action.msg}, action.status, action.headers)
