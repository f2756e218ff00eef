"""The running service's note to the command line: where it listens and, when generated, its token.

It lies beside the database file, or in the data folder when a server has the database, readable by its owner only, so
that ``tes trades`` works in a second terminal without copying a token. A chosen token is never written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.settings import Settings


_BESIDE_NO_FILE = Path("data") / "tes.service.json"


@dataclass(frozen=True, slots=True)
class Session:
    """Where a service is. ``token`` is None when the operator chose it."""

    url: str
    token: str | None = field(repr=False)


def session_path(settings: Settings) -> Path | None:
    """Where the note of a service with these settings lies; None for a temporary database."""
    kind, _, rest = settings.database_url.partition("://")
    if not kind.startswith("sqlite"):
        return _BESIDE_NO_FILE
    path = rest.removeprefix("/")
    return None if path in ("", ":memory:") else Path(f"{path}.service.json")


@contextmanager
def announced(path: Path | None, session: Session) -> Iterator[None]:
    """Leave the note while the service runs."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": session.url, "token": session.token}, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_session(path: Path | None) -> Session | None:
    """The note at ``path``, or None when there is none that can be read."""
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Session(str(content["url"]), content["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
