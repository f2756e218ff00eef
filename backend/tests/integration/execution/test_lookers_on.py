"""Whoever only looks holds up no decision, whatever he asks for (scenario C4: an owner stays one)."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from arena import Arena, buy, decide, none_refused, until

from support import looking


async def test_a_decision_does_not_wait_for_a_list(stage: Arena, tmp_path: Path) -> None:
    """Its id is looked up, it is recorded, sent and protected while a reader's page is still being read."""
    begun, end = tmp_path / "begun", tmp_path / "end"
    async with stage.application() as application:
        reading = asyncio.create_task(application.database.browse(partial(looking.wait, begun, end)))
        await until(begun.exists)
        try:
            with none_refused():
                result = await decide(application.service("default"), buy(), decision_id="while-read")
        finally:
            end.touch()
        assert await reading == "looked"
        assert result.results[0].status == "protected"
