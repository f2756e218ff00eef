"""What a replay ends with: counts by asset, the two records beside each other, and whatever is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.replay.audit import Audit
from app.cli.replay.session import Outcome
from app.domain.money import ZERO, plain

_SHOWN_FINDINGS = 20
_REASONS = ("take_profit", "stop_loss", "decision", "manual")
_ROWS = (
    "Decisions",
    "Entries",
    "Protected",
    "Exits by target",
    "Exits by stop",
    "Exits by decision",
    "Exits by hand",
    "Exits otherwise",
    "Fees",
    "PnL",
)
_SUMS = (("Realised PnL", "realised_pnl"), ("Commission", "commission"), ("Funding", "funding"), ("Wallet", "wallet"))
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything about a finished replay."""

    seed: int
    seconds: float
    outcome: Outcome
    trades: Sequence[Document]
    audit: Audit

    @property
    def is_good(self) -> bool:
        """Whether nothing at all was found."""
        return not self.audit.findings

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "is_good": self.is_good,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "candles": self.outcome.bars,
            "decisions": self.outcome.decisions,
            "assets": {asset: self._counts(asset) for asset in self._assets()},
            "refused": dict(sorted(self._refused().items())),
            "closed_at_end": self.outcome.closed_at_end,
            "venue": self.audit.venue.as_dict(),
            "record": self.audit.record.as_dict(),
            "findings": list(self.audit.findings),
        }

    def shown(self) -> RenderableType:
        """The report as tables."""
        return Group(self._asset_table(), "", self._money_table(), "", *self._refusal_lines(), *self._verdict())

    def _assets(self) -> list[str]:
        return sorted({item["asset"] for item in self.outcome.results})

    def _refused(self) -> Counter[str]:
        return Counter(item["error"]["code"] for item in self.outcome.results if item["error"] is not None)

    def _counts(self, asset: str) -> dict[str, Any]:
        items = [item for item in self.outcome.results if item["asset"] == asset]
        filled = [trade for trade in self.trades if trade["asset"] == asset and Decimal(trade["filled_quantity"])]
        exits = Counter(trade["close_reason"] or "none" for trade in filled)
        return {
            "decisions": len(items),
            "entries": len(filled),
            "protected": sum(trade["protected_at"] is not None for trade in filled),
            "exits": dict(sorted(exits.items())),
            "commission": plain(sum((Decimal(trade["commission"]) for trade in filled), start=ZERO)),
            "realised_pnl": plain(sum((Decimal(trade["realised_pnl"]) for trade in filled), start=ZERO)),
        }

    def _asset_table(self) -> Table:
        """A column for each asset: two of them fit any terminal, and the rows keep their whole names."""
        table = Table(title="What happened", title_justify="left", header_style="bold", pad_edge=False)
        table.add_column("", no_wrap=True)
        for asset in self._assets():
            table.add_column(asset, justify="right", no_wrap=True)
        for name, *cells in zip(_ROWS, *(self._cells(asset) for asset in self._assets()), strict=True):
            table.add_row(name, *cells)
        return table

    def _cells(self, asset: str) -> list[str]:
        counts = self._counts(asset)
        exits = counts["exits"]
        other = sum(count for reason, count in exits.items() if reason not in _REASONS)
        by_reason = (*(exits.get(reason, 0) for reason in _REASONS), other)
        cells = (counts["decisions"], counts["entries"], counts["protected"], *by_reason)
        return [*map(str, cells), counts["commission"], counts["realised_pnl"]]

    def _money_table(self) -> Table:
        table = Table(title="Venue and record", title_justify="left", header_style="bold", pad_edge=False)
        table.add_column("USDT")
        for name in ("Venue", "Our record", ""):
            table.add_column(name, justify="right", no_wrap=True)
        venue, record = self.audit.venue.as_dict(), self.audit.record.as_dict()
        table.add_row("Fills", str(venue["fills"]), str(record["fills"]), _equal(venue["fills"] == record["fills"]))
        for title, name in _SUMS:
            is_equal = getattr(self.audit.venue, name) == getattr(self.audit.record, name)
            table.add_row(title, venue[name], record[name] or "unknown", _equal(is_equal))
        return table

    def _refusal_lines(self) -> list[str]:
        return [f"refused: {code} {count}" for code, count in sorted(self._refused().items())]

    def _verdict(self) -> list[Text]:
        findings = self.audit.findings
        lines = [Text(f"- {finding}", style="red") for finding in findings[:_SHOWN_FINDINGS]]
        if len(findings) > _SHOWN_FINDINGS:
            lines.append(Text(f"- and {len(findings) - _SHOWN_FINDINGS} more", style="red"))
        told = (
            f"{self.outcome.bars} candles, {self.outcome.decisions} decisions, seed {self.seed}, {self.seconds:.1f} s"
        )
        if self.is_good:
            words = "Both records are equal; every filled trade was protected or closed; nothing is left behind. "
            return [Text(words, style="green"), Text(told)]
        return [*lines, Text("The replay found differences.", style="red"), Text(told)]


def _equal(is_equal: bool) -> Text:
    return Text("equal", style="green") if is_equal else Text("differs", style="red")
