"""Fixtures of the execution tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from arena import Arena, Request, arena

from app.integrations.aster.aiohttp_transport import AiohttpTransport


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Arena]:
    async with arena(tmp_path / "tes.db") as running:
        yield running


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every request that leaves this process and is answered."""
    left: list[Request] = []
    send = AiohttpTransport.request

    async def noted(self: AiohttpTransport, method: str, path: str, *rest: Any) -> Any:
        at = time.monotonic()
        response = await send(self, method, path, *rest)
        left.append((at, f"{method} {path}", response.status))
        return response

    monkeypatch.setattr(AiohttpTransport, "request", noted)
    return left
