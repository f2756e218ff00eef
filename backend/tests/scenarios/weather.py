"""The weather of a storm: what goes wrong with a fifth of all requests, and with the user stream's frames."""

from __future__ import annotations

from typing import Any

HTML = "<html><body>502 Bad Gateway</body></html>"

_REQUESTS: list[tuple[float, dict[str, Any]]] = [
    (0.03, {"type": "drop_before"}),
    (0.03, {"type": "drop_after"}),
    (0.02, {"type": "error", "status": 503, "code": -1001, "executed": True}),
    (0.02, {"type": "error", "status": 503, "code": -1001}),
    (0.01, {"type": "error", "status": 400, "code": -1000, "msg": "An unknown error occurred.", "executed": True}),
    (0.01, {"type": "error", "status": 400, "code": -1000, "msg": "An unknown error occurred."}),
    (0.01, {"type": "error", "status": 408, "code": -1007, "msg": "Timeout waiting for response.", "executed": True}),
    (0.01, {"type": "error", "status": 408, "code": -1007, "msg": "Timeout waiting for response."}),
    (0.01, {"type": "error", "status": 502, "body": HTML, "content_type": "text/html", "executed": True}),
    (0.01, {"type": "error", "status": 502, "body": HTML, "content_type": "text/html"}),
    (
        0.005,
        {
            "type": "error",
            "status": 429,
            "code": -1003,
            "msg": "Too many requests.",
            "headers": {"Retry-After": "0.2"},
        },
    ),
    (0.02, {"type": "delay_before", "seconds": 0.2}),
    (0.02, {"type": "delay_after", "seconds": 0.2}),
]
"""Chance and action; together they spoil 20.5 % of all requests."""

_FRAMES: list[tuple[float, dict[str, Any]]] = [
    (0.05, {"type": "drop_events"}),
    (0.05, {"type": "duplicate_events"}),
    (0.03, {"type": "delay_events", "seconds": 0.3}),
    (0.03, {"type": "reorder_events"}),
    (0.01, {"type": "disconnect"}),
    (0.005, {"type": "silence", "seconds": 1.0}),
]


def storm() -> list[dict[str, Any]]:
    """Faults for the venue's control API, in force until they are healed."""
    return [{"action": action, "count": 0, "probability": chance} for chance, action in (*_REQUESTS, *_FRAMES)]
