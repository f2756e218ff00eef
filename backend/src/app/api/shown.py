"""Records and events as bytes. Only this is loaded where they are read, in a process of its own: no web framework."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from websockets.frames import Frame, Opcode

from app.domain.events import RecordedEvent
from app.domain.orders import Order
from app.domain.trades import Trade
from app.repositories.decisions import StoredDecision
from app.schemas.events import event_document
from app.schemas.records import (
    UnreadableDocument,
    decision_document,
    order_document,
    pending_result,
    trade_document,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.repositories.pages import Page, Show
    from app.repositories.readable import Unreadable


def trade_shown(trade: Trade) -> bytes:
    """A trade's document."""
    return trade_document(trade).model_dump_json().encode()


def order_shown(order: Order) -> bytes:
    """An order's document."""
    return order_document(order).model_dump_json().encode()


def decisions_shown(*, is_paper: bool) -> Show[StoredDecision]:
    """What shows decisions; ``is_paper`` is said of those that have no result on record yet."""
    return partial(_decision_shown, is_paper)


def _decision_shown(is_paper: bool, stored: StoredDecision) -> bytes:
    result = stored.result or pending_result(
        stored.body,
        stored.asset_results,
        decision_id=stored.decision_id,
        account_id=stored.account_id,
        is_paper=is_paper,
        received_at=stored.received_at,
    )
    return decision_document(result, stored.body).model_dump_json().encode()


def event_shown(recorded: RecordedEvent) -> bytes:
    """An event's document."""
    return msgspec.json.encode(event_document(recorded))


def event_frame(recorded: RecordedEvent) -> bytes:
    """An event as it goes over the wire, to whomever: a text message as one frame of a server."""
    return Frame(Opcode.TEXT, event_shown(recorded)).serialize(mask=False)


def page_shown(page: Page, **more: str | None) -> bytes:
    """The document of a page."""
    return list_shown(page.items, page.next_cursor, page.unreadable, **more)


def list_shown(
    items: Iterable[bytes], next_cursor: str | None, unreadable: Iterable[Unreadable] = (), **more: str | None
) -> bytes:
    """The document of a list."""
    spoiled = [UnreadableDocument.model_validate(one).model_dump() for one in unreadable]
    rest = json.dumps({"next_cursor": next_cursor, **more} | ({"unreadable": spoiled} if spoiled else {}))
    return b'{"items":[' + b",".join(items) + b"]," + rest[1:].encode()
