"""Leases that a busy machine does not end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.services import ownership

_TRUSTED_S = 30.0


@contextmanager
def trusted_leases() -> Iterator[None]:
    """Inside, a process trusts its lease for long: no other takes it, and a busy machine may stop it for seconds."""
    usual_s, ownership.LEASE_S = ownership.LEASE_S, _TRUSTED_S
    try:
        yield
    finally:
        ownership.LEASE_S = usual_s
