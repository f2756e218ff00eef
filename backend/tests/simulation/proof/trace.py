"""What happened in a run, line by line: the story of a failure, and the fingerprint that two runs must share."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from proof.loop import VirtualLoop


@dataclass(slots=True)
class Trace:
    """Lines with their virtual time; ``counts`` says how often each kind of thing happened.

    ``reached`` holds the names of what the run got to see: state × event pairs, error codes, crash points, scenarios.
    """

    loop: VirtualLoop
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, text: str = "") -> None:
        """Add a line."""
        self.lines.append((self.loop.time(), kind, text))
        self.counts[kind] += 1

    def reach(self, name: str) -> None:
        """Something worth covering was reached."""
        self.reached[name] += 1

    def fingerprint(self) -> str:
        """Equal for runs in which the same happened at the same moments in the same order."""
        digest = hashlib.sha256()
        for at, kind, text in self.lines:
            digest.update(f"{at!r} {kind} {text}\n".encode())
        return digest.hexdigest()[:16]
