"""Work for the process that reads for lists: what it does there, a test finds out here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic, sleep

from app.db.port import Reader
from support.patience import PATIENCE_S


def where(_reader: Reader) -> int:
    """The id of the process that reads."""
    return os.getpid()


def surroundings(_reader: Reader) -> tuple[list[str], list[str]]:
    """The names of its environment, and its arguments."""
    return sorted(os.environ), sys.orig_argv


def die(_reader: Reader) -> None:
    """End at once, as when memory runs out."""
    os._exit(1)


def fail(_reader: Reader) -> None:
    """Meet a bug."""
    raise LookupError("of a test")


def wait(begun: Path, end: Path, _reader: Reader) -> str:
    """Say that it has begun, and read for as long as the test wants."""
    begun.touch()
    started = monotonic()
    while not end.exists():
        if monotonic() - started > PATIENCE_S:
            return "in vain"
        sleep(0.005)
    return "looked"
