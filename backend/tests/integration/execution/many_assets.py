"""An exchange info of as many symbols as a test wants, made from the built-in ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aster_sim.core.catalogue import built_in_catalogue

BASE = "SOLUSDT"


def symbols(count: int) -> list[str]:
    """Names of the symbols."""
    return [f"A{number:03}USDT" for number in range(count)]


def write_exchange_info(path: Path, count: int, **changes: Any) -> Path:
    """The built-in symbols, the first of them with ``changes``, and ``count`` copies of one of them."""
    raws = [dict(one.raw) for one in built_in_catalogue().instruments.values()]
    original = next(raw for raw in raws if raw["symbol"] == BASE)
    raws += [{**original, "symbol": name, "pair": name, "baseAsset": name[:4]} for name in symbols(count)]
    raws[-1] |= changes
    path.write_text(json.dumps({"symbols": raws}))
    return path
