"""Rows that can't be read: each is told by itself, and hides none of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from app.db.statements import Row
from app.domain.errors import InvariantBroken, UnreadableRecord

log = structlog.get_logger(__name__)

T = TypeVar("T")

MALFORMED = (UnreadableRecord, InvariantBroken, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What reading a row raises whose values are not those of this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A trade, an order or a decision on record that this program can't read."""

    kind: str
    """``trade``, ``order`` or ``decision``."""
    id: str
    problem: str
    """Which value it is that this program does not know."""
    asset: str | None = None
    decision_id: str | None = None

    def __str__(self) -> str:
        of_asset = f" of {self.asset}" if self.asset else ""
        return f"{self.kind} {self.id}{of_asset}: {self.problem}, which this program does not know"


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a query found, in its order."""

    rows: tuple[T | Unreadable, ...]

    @property
    def items(self) -> tuple[T, ...]:
        """What could be read."""
        return tuple(row for row in self.rows if not isinstance(row, Unreadable))

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """What could not."""
        return tuple(row for row in self.rows if isinstance(row, Unreadable))


def problem_of(error: Exception) -> str:
    """Which value it was, in words."""
    return str(error) if isinstance(error, UnreadableRecord) else f"a value is malformed ({type(error).__name__})"


def read_each(rows: Iterable[Row], read: Callable[[Row], T], describe: Callable[[Row, str], Unreadable]) -> Found[T]:
    """Read row after row; ``describe`` names one that can't be read, by columns of plain text."""
    found: list[T | Unreadable] = []
    for row in rows:
        try:
            found.append(read(row))
        except MALFORMED as error:
            found.append(describe(row, problem_of(error)))
            log.warning("record.unreadable", row=str(found[-1]))
    return Found(tuple(found))


def the_only(found: Found[T]) -> T | None:
    """The one that was asked for; None when there is none.

    Raises:
        UnreadableRecord: it is there, and can't be read.
    """
    for one in found.unreadable:
        raise UnreadableRecord(str(one))
    return found.items[0] if found.items else None
