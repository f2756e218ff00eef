"""The catalogue of deliberate breakages: each breaks one rule in the source, and names the tests that must notice.

The entries are in the ``*.toml`` files beside this module, a file per family of scenarios. To prove another family, add
it to :data:`FAMILIES` and write its entries; ``test_catalogue.py`` says what is missing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BACKEND = HERE.parents[1]
SOURCE = BACKEND / "src"

FAMILIES = {"U": 10, "Z": 6, "P": 10, "O": 6, "W": 8, "L": 6, "H": 5, "C": 8}
"""Scenario families that are proven here, and how many scenarios of the first version each has."""

ADDED: tuple[str, ...] = (
    "P11",
    "L8",
    "P16",
    "O7",
    "O8",
    "P13",
    "L7",
    "P12",
    "P14",
    "C9",
    "O10",
    "U11",
    "O9",
    "P15",
    "Z7",
    "Z8",
    "H8",
)
"""Scenarios found since then that are proven here, too."""

REAL_TESTS = ("tests/integration/execution/", "tests/e2e/", "tests/scenarios/")
"""Where the real client, HTTP, WebSocket and database run against the venue: only these tests prove a rule."""


class CatalogueError(ValueError):
    """An entry that can't be used; the message names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """One edit of one file that breaks one rule.

    ``name`` begins with the scenario's id; ``file`` is below ``src``; ``old`` must be in it exactly once; each of
    ``tests`` (pytest's node ids; without brackets any of a parametrised test's cases will do) must fail.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def scenario(self) -> str:
        """The scenario whose rule is broken."""
        return self.name.partition("-")[0]

    def applied_to(self, text: str) -> str:
        """``text`` with the rule broken.

        Raises:
            CatalogueError: the old text is not there exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise CatalogueError(f"{self.name}: the old text is {count} times in {self.file}, it must be there once")
        return text.replace(self.old, self.new)


def scenarios() -> list[str]:
    """Every scenario id that needs an entry."""
    first = [f"{family}{number}" for family, count in FAMILIES.items() for number in range(1, count + 1)]
    return [*first, *ADDED]


def load() -> list[Breakage]:
    """Every entry, in the order of the files and their lines.

    Raises:
        CatalogueError: an entry has other fields, or two have one name.
    """
    found = [entry for path in sorted(HERE.glob("*.toml")) for entry in _entries(path)]
    names = [entry.name for entry in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogueError(f"two entries are named {', '.join(twice)}")
    return found


def chosen(entries: Sequence[Breakage], wanted: Sequence[str]) -> list[Breakage]:
    """The entries whose scenario, family or name is among ``wanted``; all of them when nothing is.

    Raises:
        CatalogueError: a wish that no entry answers.
    """
    unknown = [wish for wish in wanted if not any(_answers(entry, wish) for entry in entries)]
    if unknown:
        raise CatalogueError(f"no entry for {', '.join(unknown)}; --list shows them all")
    return [entry for entry in entries if not wanted or any(_answers(entry, wish) for wish in wanted)]


def _answers(entry: Breakage, wish: str) -> bool:
    return wish in (entry.name, entry.scenario, entry.scenario.rstrip("0123456789"))


def _entries(path: Path) -> Iterator[Breakage]:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for name, fields in document.items():
        try:
            yield Breakage(name=name, **{**fields, "tests": tuple(fields["tests"])})
        except (TypeError, KeyError) as error:
            raise CatalogueError(f"{path.name}: {name}: {error}") from None
