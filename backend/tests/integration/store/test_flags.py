"""Flags survive a restart."""

from __future__ import annotations

from collections.abc import Callable

from app.db.executors import ThreadExecutor
from app.db.opening import make_database
from app.domain.events import Event, EventType
from app.repositories.events import EventRepository
from app.repositories.flags import FlagRepository

MakeEvent = Callable[..., Event]


async def test_a_halt_survives_a_restart_and_is_lifted_once(database_url: str, make_event: MakeEvent) -> None:
    """Raised, replaced, found again by the next process, lowered; each with its event."""
    first = make_database(database_url, ThreadExecutor())
    await first.start()
    flags = FlagRepository(first)
    assert await flags.get("halt") is None
    flags.raise_flag("halt", {"reason": "storm"}, [make_event(EventType.HALTED)])
    flags.raise_flag("halt", {"reason": "worse storm"}, [make_event(EventType.HALTED)])
    await first.close()

    second = make_database(database_url, ThreadExecutor())
    await second.start()
    flags = FlagRepository(second)
    assert await flags.get("halt") == {"reason": "worse storm"}
    assert await flags.get("other") is None
    await flags.lower_flag("halt", [make_event(EventType.RESUMED)])
    await flags.lower_flag("halt")
    assert await flags.get("halt") is None
    log = await EventRepository(second).after(0, 10)
    assert [recorded.event.type for recorded in log] == ["Halted", "Halted", "Resumed"]
    await second.close()
