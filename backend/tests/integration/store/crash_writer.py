"""A process that commits until it is killed: prints each unit's last ``seq`` when, and only when, it is durable."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

from sqlalchemy import bindparam, insert

from app.db.executors import ThreadExecutor
from app.db.opening import make_database
from app.db.port import Database, Unit, Write
from app.db.statements import Statement
from app.domain.events import Event, EventType
from app.models import flags

ADD = Statement(insert(flags).values({"key": bindparam("key"), "value": bindparam("value")}))
TIME = datetime(2026, 11, 22, tzinfo=UTC)


def unit(key: str) -> Unit:
    """A row and two events that name it; the second fails in some units, so that they conflict."""
    events = tuple(
        Event(id=f"{key}-{n}", type=EventType.ORDER_PLACED, time=TIME, account_id="a", is_paper=True, trade_id=key)
        for n in range(2)
    )
    return Unit((Write(ADD, {"key": key, "value": key}),), events)


async def write_forever(database: Database, worker: int) -> None:
    """Acknowledge each unit on the standard output, unbuffered."""
    number = 0
    while True:
        number += 1
        key = f"{worker}.{number}"
        recorded = await database.commit(unit(key))
        os.write(1, f"{key} {recorded[-1].seq}\n".encode())
        conflict = database.enqueue(unit(key))
        if number % 3 == 0:
            await asyncio.wait([conflict])


async def main() -> None:
    """Eight writers at once."""
    database = make_database(sys.argv[1], ThreadExecutor())
    await database.start()
    os.write(1, b"ready\n")
    await asyncio.gather(*(write_forever(database, worker) for worker in range(8)))


if __name__ == "__main__":
    asyncio.run(main())
