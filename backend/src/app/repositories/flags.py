"""Facts about the service itself that survive a restart (contract, section 9: halt survives)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from app.db.port import Database, Landing, Unit, Write
from app.db.statements import Query, Statement
from app.domain.events import Event
from app.models.flags import flags

_REMOVE = Statement(delete(flags).where(flags.c.key == bindparam("name")))
_ADD = Statement(insert(flags).values({"key": bindparam("key"), "value": bindparam("value")}))
_GET = Query(select(flags.c.value).where(flags.c.key == bindparam("name")))


class FlagRepository:
    """Named JSON values. Writes must land: the service already behaves as they say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_flag(self, name: str, value: Any, events: Sequence[Event] = ()) -> Landing:
        """Keep ``value`` under ``name``, in place of what was there."""
        writes = (Write(_REMOVE, {"name": name}), Write(_ADD, {"key": name, "value": value}, expect_rows=1))
        return self._database.enqueue(Unit(writes, tuple(events), must_land=True))

    def lower_flag(self, name: str, events: Sequence[Event] = ()) -> Landing:
        """Forget what is kept under ``name``, if anything."""
        return self._database.enqueue(Unit((Write(_REMOVE, {"name": name}),), tuple(events), must_land=True))

    async def get(self, name: str) -> Any:
        """What is kept under ``name``; None when nothing is.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        rows = await self._database.fetch(_GET, {"name": name})
        return rows[0]["value"] if rows else None
