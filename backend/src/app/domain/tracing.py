"""Trace ids: one for everything that follows from a decision, so that one word finds all of it.

The decision engine may hand in its own (W3C Trace Context, ``traceparent``); else it follows from the decision's id, so
that every process and every restart arrives at the same one.
"""

from __future__ import annotations

import hashlib
import re

TRACEPARENT = "traceparent"
"""Name of the HTTP header, and of the field on a decision's outside that it is kept in."""

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace_id>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_of(decision_id: str, traceparent: object = None) -> str:
    """32 hexadecimal digits: those of ``traceparent``, or what follows from the id when it is none that can be read."""
    read = _FORM.fullmatch(traceparent) if isinstance(traceparent, str) else None
    return read["trace_id"] if read else hashlib.sha256(decision_id.encode()).hexdigest()[:32]
