"""What the exchange says, as files: small ones of our own making, and recordings where they lie beside the checkout.

A test on ``samples(name)`` runs on ours everywhere, and on the recording of the same kind only where there is one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

OURS = Path(__file__).parents[1] / "samples"
SHARED = Path(__file__).parents[4] / "shared"
EXAMPLES = Path(__file__).parents[3] / "examples"
RECORDED = {
    "exchange_info.json": "aster_exchangeInfo_v3_official_demo.json",
    "account_one_way.json": "accountV4_demo.json",
    "account_hedge.json": "accountV4_demo_node.json",
    "answers.json": "ccxt_futures_responses.json",
    "user_stream.json": "binance_um_user_stream_lifecycle.json",
    "market_frames.json": "aster_ws_frames_measured.json",
}


def sample(name: str) -> Path:
    """Our own file."""
    return OURS / name


def samples(*names: str) -> list[Any]:
    """Parameters of a test: our files of these names (one alone, several as a tuple), and their recordings."""
    return _both([sample(name) for name in names], [SHARED / "data" / RECORDED[name] for name in names])


def answers(path: Path) -> list[tuple[str, Any]]:
    """What each operation answered, by method and path; a recording's remark behind them is left out."""
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return [(case["op"].partition(" (")[0], case["body"]) for case in cases]


def candles() -> list[Any]:
    """Parameters of a test: one-minute candles of BTCUSDT and ETHUSDT with the exchange info that they play on."""
    assets = ("BTCUSDT", "ETHUSDT")
    ours = [EXAMPLES / f"{asset}-1m.csv" for asset in assets]
    recorded = [SHARED / "data" / f"binance_um_{asset}_1m_20250507_20250514.csv" for asset in assets]
    info = "exchange_info.json"
    return _both([*ours, sample(info)], [*recorded, SHARED / "data" / RECORDED[info]])


def payloads() -> list[Any]:
    """Parameters of a test: our documents and alerts as senders write them, and those of the collection beside us."""
    folders = {"ours": OURS / "payloads", "recorded": SHARED / "payloads"}
    return [
        pytest.param(path, id=f"{name}-{path.name}")
        for name, folder in folders.items()
        for path in sorted(folder.glob("[dw]-*"))
    ]


def _both(ours: list[Path], recorded: list[Path]) -> list[Any]:
    found = {"ours": ours}
    if all(path.exists() for path in recorded):
        found["recorded"] = recorded
    return [pytest.param(paths[0] if len(paths) == 1 else tuple(paths), id=name) for name, paths in found.items()]
