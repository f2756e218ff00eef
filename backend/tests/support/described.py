"""Holds what an application wrote into its event log against the description of the events."""

from __future__ import annotations

import contextlib

from app.bootstrap import Application
from app.domain.errors import StoreUnavailable
from app.domain.events import RecordedEvent
from app.schemas.event_data import EVENT_DATA
from app.schemas.events import EventDocument, event_document


def require_described(recorded: RecordedEvent) -> None:
    """The event has the form that ``docs/asyncapi.yaml`` shows, and nothing more."""
    document = EventDocument.model_validate(event_document(recorded))
    model = EVENT_DATA[document.type]
    model.model_validate(document.data)
    assert document.summary
    assert "None" not in document.summary, document.summary
    unknown = document.data.keys() - model.model_fields.keys()
    assert not unknown, f"{document.type.value}: {sorted(unknown)} is not in app/schemas/event_data.py"


async def every_event_is_described(application: Application) -> None:
    """The whole log, where it can be read."""
    with contextlib.suppress(StoreUnavailable):
        after = 0
        while events := await application.events.after(after, 500):
            for recorded in events:
                require_described(recorded)
            after = events[-1].seq
