"""The fenced blocks of the documents, so that tests execute what is written there, word for word.

A test names the block that it executes by ``block(page, opening)``, or takes a whole page by ``blocks(page)``, with
constants: ``test_examples.py`` reads these calls, and fails for a block that nobody takes.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it stands, what it calls itself, and its text without the indentation."""

    page: str
    language: str
    text: str


def pages() -> list[str]:
    """Every document with prose for people, as paths from the repository's root."""
    places = ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md", "backend/*.md")
    return sorted(path.relative_to(ROOT).as_posix() for place in places for path in ROOT.glob(place))


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, from top to bottom."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(page, language, textwrap.dedent(inside)) for _, language, inside in _FENCE.findall(text)]


def block(page: str, opening: str) -> str:
    """The text of the one block of a page that begins with ``opening``."""
    (found,) = [one.text for one in blocks(page) if one.text.startswith(opening)]
    return found


STOOD_IN_FOR = {
    "docker": "no engine here: its words are held against compose.yaml and our command line",
    "systemctl": "no systemd runs here: a function starts and stops what the unit names",
    "journalctl": "reads the journal of systemd",
    "make": "would install packages, which this environment has: its targets and recipes are looked at",
}
"""Programs that the documents name and tests can't run, each with the reason. Everything else is executed."""
