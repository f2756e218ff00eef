"""What a client may say on a WebSocket: subscriptions and properties (asterdex-facts.md section 7)."""

from __future__ import annotations

from typing import Any

import msgspec

from aster_sim.http.hub import Subscriber
from aster_sim.http.stream_names import is_market_stream, parse_stream
from aster_sim.runtime import Runtime

MAX_STREAMS = 200
UNKNOWN_PROPERTY, BAD_VALUE_TYPE, BAD_REQUEST, BAD_JSON = 0, 1, 2, 3
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_COMBINED = "combined"
_DECODER = msgspec.json.Decoder()


class TooManyStreams(Exception):
    """More than 200 streams on one connection: it is closed with code 3003."""


class _Refused(Exception):
    """A command that is answered with an error."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg


def run_command(runtime: Runtime, subscriber: Subscriber, text: str) -> dict[str, Any]:
    """Do what a client says; ``{"result", "id"}`` or ``{"code", "msg"}``.  Raises TooManyStreams."""
    number: Any = None
    try:
        command = _parsed(text)
        number = command.get("id")
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
            number = None
            raise _Refused(BAD_REQUEST, "Invalid request: request ID must be an unsigned integer")
        return {"result": _run(runtime, subscriber, command), "id": number}
    except _Refused as refusal:
        answer: dict[str, Any] = {"code": refusal.code, "msg": refusal.msg}
        return answer if number is None else {**answer, "id": number}


def _parsed(text: str) -> dict[str, Any]:
    try:
        command = _DECODER.decode(text)
    except msgspec.DecodeError as error:
        raise _Refused(BAD_JSON, f"Invalid JSON: {error}") from error
    if not isinstance(command, dict):
        raise _Refused(BAD_REQUEST, "Invalid request: an object is expected")
    return command


def _run(runtime: Runtime, subscriber: Subscriber, command: dict[str, Any]) -> Any:
    if "method" not in command:
        raise _Refused(BAD_REQUEST, "Invalid request: missing field `method`")
    method = command["method"]
    if method not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Refused(BAD_REQUEST, f"Invalid request: unknown variant {method}, expected one of {known}")
    if method == "LIST_SUBSCRIPTIONS":
        return sorted(subscriber.streams)
    params = command.get("params")
    if not isinstance(params, list):
        raise _Refused(BAD_REQUEST, "Invalid request: params must be a list")
    if method in {"GET_PROPERTY", "SET_PROPERTY"}:
        return _property(subscriber, params, setting=method == "SET_PROPERTY")
    if not params or not all(isinstance(name, str) and name for name in params):
        raise _Refused(BAD_REQUEST, "Invalid request: params must be a list of stream names")
    if method == "UNSUBSCRIBE":
        runtime.hub.unsubscribe(subscriber, params)
        return None
    if len(subscriber.streams | set(params)) > MAX_STREAMS:
        raise TooManyStreams
    for name in params:
        if is_market_stream(name) and parse_stream(name) is None:
            raise _Refused(BAD_REQUEST, f"Invalid request: no stream {name}")
    runtime.hub.subscribe(subscriber, params)
    return None


def _property(subscriber: Subscriber, params: list[Any], *, setting: bool) -> bool | None:
    """``combined``: whether frames come wrapped in ``{"stream", "data"}``."""
    if len(params) != (2 if setting else 1):
        raise _Refused(BAD_REQUEST, "Invalid request: wrong number of parameters")
    if not isinstance(params[0], str):
        raise _Refused(BAD_REQUEST, "Invalid request: property name must be a string")
    if params[0] != _COMBINED:
        raise _Refused(UNKNOWN_PROPERTY, "Unknown property")
    if not setting:
        return subscriber.combined
    if not isinstance(params[1], bool):
        raise _Refused(BAD_VALUE_TYPE, "Invalid value type: expected Boolean")
    subscriber.combined = params[1]
    return None
