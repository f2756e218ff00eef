"""The program's own version, as it was installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "trading-execution-service"


def program_version() -> str:
    """The installed version; ``0`` when it runs from a tree that was never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"
