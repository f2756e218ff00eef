"""``tes replay`` says in one sentence what it can't work with, before it starts anything."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.exits import ServiceRefused, UsageFailed
from app.cli.main import app
from app.cli.replay import command
from app.cli.replay.audit import Audit, Money
from app.cli.replay.report import Report
from app.cli.replay.session import Outcome

HEADER = "openTime,open,high,low,close,volume\n"


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    path = tmp_path / "BTCUSDT.csv"
    path.write_text(HEADER + "1746576000000,100,110,90,105,1\n", encoding="utf-8")
    return path


def refusal(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    assert isinstance(result.exception, UsageFailed), result.output
    return str(result.exception)


def test_a_missing_candle_file_is_named(tmp_path: Path) -> None:
    assert "BTCUSDT.csv: cannot be read" in refusal("--candles", tmp_path / "BTCUSDT.csv")


def test_a_row_that_is_no_candle_is_named_by_its_line(candles: Path) -> None:
    with candles.open("a", encoding="utf-8") as file:
        file.write("1746576060000,100,90,110,105,1\n")
    assert "line 3" in refusal("--candles", candles)


def test_two_files_for_one_asset_are_refused(candles: Path) -> None:
    assert "two files have the same symbol" in refusal("--candles", candles, "--candles", f"BTCUSDT={candles}")


@pytest.mark.parametrize("allocation", ["much", "NaN", "0", "-5"])
def test_an_allocation_must_be_an_amount(candles: Path, allocation: str) -> None:
    assert "--allocation" in refusal("--candles", candles, "--allocation", allocation)


def test_an_earlier_replay_is_never_overwritten(candles: Path, tmp_path: Path) -> None:
    assert "is not empty" in refusal("--candles", candles, "--keep", tmp_path)


def finished(*findings: str) -> Report:
    """A report about one refused and one executed entry, where the wallets differ when there are findings."""
    outcome = Outcome(bars=60, decisions=2)
    outcome.results = [
        {"asset": "BTCUSDT", "error": None},
        {"asset": "BTCUSDT", "error": {"code": "position_exists"}},
    ]
    trade = {
        "asset": "BTCUSDT",
        "filled_quantity": "0.01",
        "protected_at": "2026-11-22T10:15:00Z",
        "close_reason": "stop_loss",
        "commission": "0.30",
        "realised_pnl": "-12.50",
    }
    venue, record = (
        Money(
            fills=2,
            realised_pnl=Decimal("-12.5"),
            commission=Decimal("0.3"),
            funding=Decimal(0),
            wallet=Decimal(wallet),
        )
        for wallet in ("987.2", "987.3" if findings else "987.2")
    )
    audit = Audit(venue=venue, record=record, findings=findings)
    return Report(seed=7, seconds=1.25, outcome=outcome, trades=[trade], audit=audit)


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """Put in what the replay ends with."""
    reports: list[Report] = []

    async def replayed(*_arguments: object) -> Report:
        return reports[0]

    monkeypatch.setattr(command, "_replay", replayed)
    return reports


def test_equal_records_end_with_a_table_and_exit_code_0(candles: Path, ending: list[Report]) -> None:
    ending.append(finished())
    result = CliRunner().invoke(app, ["replay", "--candles", str(candles)])
    assert result.exit_code == 0
    for words in ("BTCUSDT", "-12.5", "987.2", "refused: position_exists 1", "Both records are equal", "seed 7, 1.2 s"):
        assert words in result.output
    assert "differs" not in result.output


def test_any_finding_is_printed_and_makes_the_exit_code_1(candles: Path, ending: list[Report]) -> None:
    ending.append(finished("wallet: the venue says 987.2, our record 987.3"))
    result = CliRunner().invoke(app, ["replay", "--candles", str(candles)])
    assert isinstance(result.exception, ServiceRefused)
    assert "- wallet: the venue says 987.2, our record 987.3" in result.output
    assert "differs" in result.output


def test_json_says_the_same_and_money_stays_exact(candles: Path, ending: list[Report]) -> None:
    ending.append(finished("something"))
    result = CliRunner().invoke(app, ["replay", "--candles", str(candles), "--json"])
    report = json.loads(result.output)
    assert report["is_good"] is False
    assert report["findings"] == ["something"]
    assert report["refused"] == {"position_exists": 1}
    assert report["record"]["wallet"] == "987.3"
    assert report["assets"]["BTCUSDT"] == {
        "decisions": 2,
        "entries": 1,
        "protected": 1,
        "exits": {"stop_loss": 1},
        "commission": "0.3",
        "realised_pnl": "-12.5",
    }
