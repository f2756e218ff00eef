"""``tes ready``: whether a service takes decisions, for health checks and for scripts that start one."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from app.cli import common
from app.cli.asking import Asking, asks
from app.cli.exits import ServiceRefused, ServiceUnreachable

app = typer.Typer()
_PAUSE_S = 0.1


@app.command(rich_help_panel="Service")
@asks
def ready(
    asking: Asking,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait until it is.", min=0)] = 0,
) -> None:
    """Say whether the service takes decisions. Exit code 0 when it does, 1 with the reasons, 3 when nobody answers.

    No token is needed.
    """
    document = asyncio.run(_look(asking, wait))
    asking.show(document, lambda _, found: _words(found))


def _words(found: dict[str, Any]) -> str:
    halted = found["halted"]
    ready = [account_id for account_id in found["accounts"] if account_id not in halted]
    told = [f"ready: {', '.join(ready)}"] if ready else []
    if halted:
        told.append(f"HALTED: {', '.join(halted)}: no entry is sent until 'tes resume', exits go on")
    return "; ".join(told)


async def _look(asking: Asking, wait_s: float) -> Any:
    from app.core.clock import SystemClock

    clock = SystemClock()
    end = clock.monotonic() + wait_s
    while True:
        try:
            async with common.service(asking.place()) as client:  # again each time: its address may have changed
                return await client.get("/readyz")
        except (ServiceRefused, ServiceUnreachable):
            if clock.monotonic() >= end:
                raise
        await clock.sleep(_PAUSE_S)
