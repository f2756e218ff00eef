"""What the simulation has found in the service: each world, reduced, beside the planted bug that puts it back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from proof.world import World

FOUND_WORLDS = Path(__file__).parents[1] / "found"


@dataclass(frozen=True, slots=True)
class Found:
    """``what`` went wrong, in words; ``put_back_by`` names the bug in ``mutants.toml``, or nothing where no hunt of a
    few hundred seeds would meet it."""

    what: str
    put_back_by: str
    world: World

    @classmethod
    def read(cls, path: Path) -> Found:
        """From its file, which is named after its seed."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(raw["what"], raw["put_back_by"], World.from_json(raw["world"]))

    def write(self, folder: Path = FOUND_WORLDS) -> Path:
        """Into its file."""
        path = folder / f"{self.world.seed}.json"
        body = {"what": self.what, "put_back_by": self.put_back_by, "world": json.loads(self.world.as_json())}
        # in the order in which it was drawn: chances are tried one after the other
        path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
        return path
