"""Where a reader of the event log goes on, and whether it is still the log that he has read (contract, section 6)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Query

from app.api.problems import Problem
from app.repositories.events import LogHead

GENERATION_HEADER = "Log-Generation"
LONGEST_GENERATION = 20
Generation = Annotated[
    str | None,
    Query(max_length=LONGEST_GENERATION, description="of the log that `after` is from; 409 when it is another one"),
]


def require_known(after: int, generation: str | None, head: LogHead) -> None:
    """A log that was restored from a copy ends before what was read of it, or has other events under those numbers.

    Raises:
        Problem: 409 ``after_unknown``.
    """
    if after <= head.last_seq and generation in (None, head.generation):
        return
    raise Problem(
        HTTPStatus.CONFLICT,
        "after_unknown",
        f"this log (generation {head.generation}, up to seq {head.last_seq}) is not the one that was read up to "
        f"{after}: a copy was restored; read it from its beginning",
        generation=head.generation,
        last_seq=head.last_seq,
    )
