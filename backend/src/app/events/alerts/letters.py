"""The words in which people are told of alerts: a title that sorts them, and a text that says what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.events import Event
from app.events.alerts.digest import Item, Message, Notice
from app.events.alerts.guide import WHAT_TO_DO
from app.schemas.event_data import AlertData

GUIDE = "docs/operations.md"
LINES = 20
"""Warnings that a gathered message shows; it counts the rest. Critical alerts are shown, however many they are."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message in words."""

    title: str
    body: str
    is_critical: bool


TEST = Letter("TES test", "This is a test: alerts of the service arrive here.", is_critical=False)
"""Asks for nothing."""


def notice_of(event: Event) -> Notice:
    """An ``AlertRaised`` event as what people are told."""
    data = AlertData.model_validate(event.data)
    return Notice(
        is_critical=data.severity == "critical",
        code=data.code,
        message=data.message,
        time=event.time,
        account_id=event.account_id,
        asset=event.asset,
        trade_id=event.trade_id,
        decision_id=event.decision_id,
    )


def compose(message: Message, place: str) -> Letter:
    """A message in words; ``place`` says where orders go, such as ``LIVE``."""
    head = f"TES {place} {'CRITICAL' if message.is_critical else 'WARNING'}"
    if len(message.items) == 1 and not message.further:
        (item,) = message.items
        return Letter(f"{head} {_where(item.notice)}", _one(item), message.is_critical)
    return Letter(f"{head}: {message.alerts} alerts", _many(message), message.is_critical)


def _one(item: Item) -> str:
    notice = item.notice
    lines = [notice.message]
    if how_often := _how_often(item):
        lines.append(f"({how_often}; this is the newest)")
    lines += ["", f"code: {notice.code}", f"time: {notice.time.isoformat(timespec='seconds')}"]
    if notice.trade_id:
        lines.append(f"trade: {notice.trade_id}")
    if notice.decision_id:
        lines.append(f"decision: {notice.decision_id}")
    if what_to_do := WHAT_TO_DO.get(notice.code):
        lines += ["", f"What to do ({GUIDE}#{notice.code}): {what_to_do}"]
    return "\n".join(lines)


def _many(message: Message) -> str:
    shown = message.items if message.is_critical else message.items[:LINES]
    hidden = message.further + sum(item.times for item in message.items[len(shown) :])
    lines = [_line(item) for item in shown]
    if hidden:
        lines.append(f"- and {hidden} more, which 'tes events' shows")
    codes = dict.fromkeys(item.notice.code for item in shown)
    return "\n".join([*lines, "", f"What to do: {GUIDE}, {', '.join(codes) or 'Incidents'}"])


def _line(item: Item) -> str:
    notice = item.notice
    how_often = _how_often(item)
    often = f" ({how_often})" if how_often else ""
    return f"- {notice.time:%H:%M:%S} {_where(notice)} {notice.code}: {notice.message}{often}"


def _where(notice: Notice) -> str:
    return f"{notice.account_id} {notice.asset}" if notice.asset else notice.account_id


def _how_often(item: Item) -> str:
    if item.since_s is not None:
        return f"{item.times} more {'time' if item.times == 1 else 'times'} in the last {_span(item.since_s)}"
    return f"{item.times} times" if item.times > 1 else ""


def _span(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 100 else f"{round(seconds / 60)} min"
