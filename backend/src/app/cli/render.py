"""Tables and lines for people. Every function takes the API's own documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from app.core.clock import SystemClock
from app.core.plain_text import harmless
from app.domain.money import plain

_GOOD = frozenset({"protected", "filled", "closed", "adjusted", "executed", "open", "FILLED", "NEW", "long", "ok"})
_BAD = frozenset(
    {
        "failed",
        "rejected",
        "partially_protected",
        "unprotected",
        "emergency_closed",
        "REJECTED",
        "UNKNOWN",
        "short",
        "refused",
    }
)
_ALARMING = frozenset({"AlertRaised", "ProtectionFailed", "EmergencyClose", "StreamLost", "DriftFound", "Halted"})
_PIPE_WIDTH = 160
_UNBOUNDED = 10_000
_ROOMY = 110
_LONGEST_EVENT = 23
_TEN_DIGITS = Context(prec=10)
Document = Mapping[str, Any]


class _SafeConsole(Console):
    """Shows texts of others as they are: none of them colours, moves or answers anything."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render, with a mark for each character that the terminal would obey."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(harmless(part.text), part.style)

    def render_str(self, text: str, **how: Any) -> Text:
        """Make a text of a cell or a line, marked before it is measured: those characters have no width."""
        return super().render_str(harmless(text), **how)


def console(*, is_error: bool = False) -> Console:
    """Where to print; wide when nobody sets the width, so that nothing is cut in a pipe."""
    shown = _SafeConsole(stderr=is_error, highlight=False, soft_wrap=False, markup=False, emoji=False)
    if not shown.is_terminal and "COLUMNS" not in shown._environ:  # noqa: SLF001 — what rich itself reads
        shown.width = _PIPE_WIDTH
    return shown


def listing(make: Callable[[Sequence[Document]], FittingTable], document: Document, nothing: str) -> RenderableType:
    """A list's table, and how to see more of it."""
    items = document["items"]
    notes = [
        Text(f"{one['kind']} {one['id']} can't be read: {one['problem']}", "red")
        for one in document.get("unreadable", ())
    ]
    if document.get("next_cursor"):
        notes.append(Text("there are more: raise --limit", "dim"))
    return Group(make(items) if items else Text(nothing, "dim"), *notes)


def live(shown: RenderableType, trouble: str | None) -> Group:
    """A table that is kept up to date, and why it is not at the moment."""
    foot = Text("Ctrl-C ends", "dim") if trouble is None else Text(f"{trouble}; trying again", "red")
    return Group(shown, foot)


def _status(text: str | None) -> Text:
    style = "green" if text in _GOOD else "red" if text in _BAD else "yellow"
    return Text(text or "–", style=style)


def _plain(value: Any) -> str:
    return "–" if value is None else str(value)


def _short(text: str | None, digits: int = 8) -> str:
    """A number with at most so many decimals: enough to read, the JSON output has all."""
    return "–" if text is None else re.sub(rf"(\.\d{{{digits}}})\d+$", r"\1", text)


def _price(text: str | None) -> str:
    """A price to ten digits, however small it is: enough to read, the JSON output has all."""
    return "–" if text is None else plain(_TEN_DIGITS.create_decimal(text))


def _time(text: str | None) -> str:
    if text is None:
        return "–"
    moment = datetime.fromisoformat(text).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == SystemClock().now().astimezone().date() else "%m-%d %H:%M")


@dataclass(frozen=True, slots=True)
class FittingTable:
    """A table that leaves out its optional columns, the last first, until it fits the terminal.

    A column named with a leading ``#`` holds numbers, with ``~`` gives way first, with ``?`` is optional.
    """

    title: str | None
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __rich_console__(self, shown: Console, options: ConsoleOptions) -> RenderResult:
        """Build the table for this width."""
        kept = list(range(len(self.columns)))
        table = self._build(kept)
        while Measurement.get(shown, options.update(max_width=_UNBOUNDED), table).maximum > options.max_width:
            optional = [index for index in kept if "?" in self.columns[index][:3]]
            if not optional:
                break
            kept.remove(optional[-1])
            table = self._build(kept)
        yield table

    def _build(self, kept: Sequence[int]) -> Table:
        table = Table(
            title=self.title,
            title_justify="left",
            title_style="bold",
            header_style="dim",
            box=SIMPLE_HEAD,
            pad_edge=False,
        )
        for name in (self.columns[index] for index in kept):
            is_soft = "~" in name[:3]
            table.add_column(
                name.lstrip("#~?"),
                justify="right" if "#" in name[:3] else "left",
                overflow="ellipsis" if is_soft else "fold",
                no_wrap=not is_soft,
            )
        for row in self.rows:
            cells = (row[index] for index in kept)
            table.add_row(*(cell if isinstance(cell, Text) else _plain(cell) for cell in cells))
        return table


def result_table(result: Document) -> FittingTable:
    """An ``ExecutionResult``, a line for each asset."""
    rows = [
        (
            item["asset"],
            item["action"],
            _status(item["status"]),
            item.get("side"),
            item.get("filled_quantity"),
            _price(item.get("fill_price")),
            None if item.get("leverage") is None else f"{item['leverage']}x",
            _exit(item, "take_profit"),
            _exit(item, "stop_loss") or _exit(item, "trailing_stop"),
            _milliseconds(item),
        )
        for item in result["results"]
    ]
    columns = ("Asset", "Action", "Status", "?Side", "#Filled", "#Price", "#Lev", "TP", "SL", "#?ms to protected")
    title = f"decision {result['decision_id']}: {result['status']}{' (paper money)' if result['is_paper'] else ''}"
    return FittingTable(title, columns, rows)


def result_errors(result: Document) -> list[str]:
    """Why assets were not done, one line each."""
    return [
        f"{item['asset']}: {item['error']['message']} ({item['error']['code']})"
        for item in result["results"]
        if item.get("error")
    ]


def result_notes(result: Document) -> list[str]:
    """What the sender should know of how the decision was read, one line each."""
    return [f"{item['asset']}: {note}" for item in result["results"] for note in item.get("notes", ())]


def explanation(document: Document) -> Group:
    """What a decision would do: for each asset its plan in a few lines, and its checks."""
    return Group(*(Text(part) if isinstance(part, str) else part for part in _explained(document)))


def _explained(document: Document) -> Iterator[str | FittingTable]:
    yield f"dry run for account {document['account_id']}: nothing is sent"
    if document["halt"]:
        yield f"halted: {document['halt']['reason']}"
    if not document["is_ready"]:
        yield f"not ready: {'; '.join(document['reasons'])}"
    for one in document["assets"]:
        yield f"\n{one['asset']} {one['action'] or 'unreadable'}: would {one['would']}"
        yield from (f"  {note}" for note in one["notes"])
        if one["plan"]:
            yield from _plan_lines(one["plan"])
        rows = [(check["check"], _status(check["verdict"]), check["message"]) for check in one["checks"]]
        if rows:
            yield FittingTable(None, ("Check", "Verdict", "~Numbers"), rows)


def _plan_lines(plan: Document) -> Iterable[str]:
    leverage = f"{plan['leverage']}x"
    if plan["requested_leverage"] not in (None, plan["leverage"]):
        leverage += f" ({plan['requested_leverage']}x asked)"
    worth, mark = _short(plan["notional"], 2), plan["mark_price"]
    yield f"  {plan['side']} {plan['quantity']} worth {worth}, {leverage}, mark price {mark}"
    if plan["margin"] is not None:
        at = plan["liquidation_price"]
        liquidation = "no liquidation price" if at is None else f"liquidation at about {_price(at)}"
        yield f"  margin {plan['margin']}, fees {_short(plan['fees'], 4)} in and out, {liquidation}"
    for name in ("stop_loss", "take_profit"):
        leg = plan[name]
        if leg is not None:
            verb = "loses" if leg["result_usd"].startswith("-") else "brings"
            amount = _short(leg["result_usd"].lstrip("-"), 2)
            yield f"  {name.replace('_', ' ')} {leg['price']}, {leg['distance_bps']} bps away, {verb} {amount} USD"


def _exit(item: Document, role: str) -> str | None:
    order = (item.get("orders") or {}).get(role)
    return None if order is None else str(order["status"])


def _milliseconds(item: Document) -> str | None:
    timings = item.get("timings_ms") or {}
    if timings.get("filled_to_protected") is None:
        return None  # it never was
    return f"{sum(value for value in timings.values() if value is not None):.1f}"


def trades_table(items: Iterable[Document]) -> FittingTable:
    """Trades, newest first."""
    rows = [
        (
            _time(trade["received_at"]),
            trade["asset"],
            trade["side"],
            _status(trade["status"]),
            trade["filled_quantity"],
            _price(trade["entry_price"]),
            trade["take_profit_price"],
            trade["stop_loss_price"],
            _price(trade["exit_price"]),
            _short(trade["realised_pnl"], 4),
            trade["close_reason"],
            trade["trade_id"],
        )
        for trade in items
    ]
    columns = ("?Received", "Asset", "Side", "Status", "#Filled", "#Entry", "#TP", "#SL", "#?Exit", "#PnL")
    return FittingTable(None, (*columns, "?Closed by", "?Trade"), rows)


def orders_table(items: Iterable[Document]) -> FittingTable:
    """Orders, the latest recorded first."""
    rows = [
        (
            _time(order["submitted_at"]),
            order["asset"],
            order["role"],
            order["side"],
            order["type"],
            _status(order["status"]),
            order["quantity"] if order["quantity"] is not None else "all",
            order["executed_quantity"],
            order["stop_price"] or order["price"],
            order["order_id"],
            order["client_order_id"],
        )
        for order in items
    ]
    columns = ("?Sent", "Asset", "Role", "Side", "?Type", "Status", "#Quantity", "#Executed", "#Price", "#?Order")
    return FittingTable(None, (*columns, "?Client order id"), rows)


def positions_table(items: Iterable[Document]) -> FittingTable:
    """Open positions; ``status`` is that of the trade that holds one."""
    rows = [
        (
            position["account_id"],
            position["asset"],
            _status(position["side"]),
            position["quantity"],
            _price(position["entry_price"]),
            position["mark_price"],
            None if position["leverage"] is None else f"{position['leverage']}x",
            _short(position["unrealised_pnl"], 4),
            _status(_held_as(position)),
            position["trade_id"],
        )
        for position in items
    ]
    columns = ("?Account", "Asset", "Side", "#Quantity", "#Entry", "#Mark", "#Lev", "#PnL", "Status")
    return FittingTable(None, (*columns, "?Trade"), rows)


def _held_as(position: Document) -> str | None:
    """What a position's exits are like, in one word."""
    if position["trade_id"] is None:
        return "external"
    status: str | None = position["status"]
    return "unprotected" if status == "protecting" else status


def decisions_table(items: Iterable[Document]) -> FittingTable:
    """Stored decisions."""
    rows = [
        (
            _time(decision["received_at"]),
            decision["account_id"],
            _status(decision["status"]),
            ", ".join(
                f"{item['asset']} {item['action'] or 'unreadable'} {item['status']}" for item in decision["results"]
            ),
            decision["decision_id"],
        )
        for decision in items
    ]
    return FittingTable(None, ("Received", "?Account", "Status", "~Assets", "~Decision"), rows)


def closes(items: Sequence[Document]) -> RenderableType:
    """What became of closes."""
    if not items:
        return Text("no position of the service to close", "dim")
    rows = [
        (
            item.get("account_id"),
            item["asset"],
            _status(item["status"]),
            item.get("filled_quantity"),
            (item.get("error") or {}).get("message") or "; ".join(item.get("notes") or ()),
        )
        for item in items
    ]
    columns = ("Account", "Asset", "Status", "#Quantity", "~Reason")
    first = 0 if len({item.get("account_id") for item in items}) > 1 else 1
    return FittingTable(None, columns[first:], [row[first:] for row in rows])


def halted(document: Document, *, is_flattened: bool) -> Group:
    """What a halt did."""
    lines = [Text(f"{one['account_id']}: halted, {one['halt']['reason']}") for one in document["accounts"]]
    if not is_flattened:
        return Group(*lines)
    external = document["external"]
    held = "no position of the service" if external else "flat: the exchange shows no position"
    left = [Text(f"{held}, and no order of ours")] if document["is_flat"] else []
    left += [Text(f"{line} was not opened by the service and STAYS OPEN: close it there", "red") for line in external]
    return Group(*lines, closes(document["closed"]), *left)


def resumed(document: Document) -> Group:
    """Who trades again."""
    return Group(*(Text(f"{one['account_id']}: entries are accepted") for one in document["accounts"]))


def reconciliation(report: Document) -> Group:
    """A reconciliation's report: a summary, and each difference."""
    differences = report["differences"]
    summary = (
        f"account {report['account_id']}: {report['positions']} positions and {report['open_orders']} open orders "
        f"at the exchange, {len(differences) or 'no'} difference{'' if len(differences) == 1 else 's'}"
    )
    rows = [(item["kind"], item["asset"], item["detail"]) for item in differences]
    return Group(summary, *([FittingTable(None, ("Difference", "Asset", "~What"), rows)] if rows else []))


@dataclass(frozen=True, slots=True)
class EventLine:
    """An event as one line; where that is too long, its words go on below themselves."""

    event: Document

    def __rich_console__(self, _shown: Console, options: ConsoleOptions) -> RenderResult:
        """Build the line for this width."""
        is_wide = options.max_width >= _ROOMY
        kind, words = self.event["type"], self.event["summary"]
        line = Table.grid(padding=(0, 2 if is_wide else 1))
        cells = (
            (str(self.event["seq"]), 6 if is_wide else 5, "dim"),
            (_clock(self.event["time"])[: None if is_wide else 8], 12 if is_wide else 8, "dim"),
            (kind, _LONGEST_EVENT, "red" if kind in _ALARMING else "cyan"),
            (self.event["asset"] or "", 12 if is_wide else 9, ""),
        )
        for _, width, style in cells:
            line.add_column(min_width=width, no_wrap=True, style=style)
        line.columns[0].justify = "right"
        line.add_column()
        line.add_row(*(text for text, _, _ in cells), words)
        yield line


def _clock(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:-3]


def findings(items: Sequence[Document]) -> FittingTable:
    """What the doctor found, and what to do about it."""
    style = {"OK": "green", "WARN": "yellow", "FAIL": "red"}
    rows = [
        (
            Text(item["verdict"], style[item["verdict"]]),
            item["check"],
            item["message"] if item["fix"] is None else f"{item['message']}. Fix: {item['fix']}",
        )
        for item in items
    ]
    return FittingTable(None, ("", "Check", "~What"), rows)


def settings_table(document: Document) -> FittingTable:
    """The effective configuration."""
    rows = [(f"TES_{name.upper()}", _spelt(value)) for name, value in document.items() if name != "accounts"]
    for account_id, keys in document["accounts"].items():
        rows += [(f"accounts.{account_id}.{name}", _spelt(value)) for name, value in keys.items()]
    return FittingTable(None, ("Setting", "~Value"), rows)


def _spelt(value: Any) -> Any:
    """A setting as one writes it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return str(value).lower() if isinstance(value, bool) else value
