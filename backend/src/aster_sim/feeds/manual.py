"""Prices that only the control API moves."""

from __future__ import annotations


class ManualFeed:
    """Does nothing: every symbol stays where it was put."""

    name = "manual"

    async def run(self) -> None:
        """End at once."""

    async def close(self) -> None:
        """Nothing is held open."""
