"""``docs/asyncapi.yaml`` from the events' models; run as a program it writes the file (``make docs``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from app.api.event_description import describe_events

FILE = Path(__file__).parents[3] / "docs" / "asyncapi.yaml"
_HEAD = "# Made by `make docs` from backend/src/app/schemas/event_data.py: change it there.\n"


class _Dumper(yaml.SafeDumper):
    """Shows texts of several lines as such, and repeats what is the same instead of naming it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def rendered() -> str:
    """The document as YAML."""
    return _HEAD + yaml.dump(describe_events(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
