"""Fixtures of the execution tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arena import Arena, arena


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Arena]:
    async with arena(tmp_path / "tes.db") as running:
        yield running
