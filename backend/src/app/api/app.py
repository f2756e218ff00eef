"""Puts the HTTP face together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from app.api import control, decisions, description, event_description, health, records, stream, webhooks
from app.api.access import token_book
from app.api.description import DESCRIPTION, TAGS, TITLE
from app.api.edge import Edge
from app.api.metrics import Metrics, RequestCounter
from app.api.problems import install_problem_handlers
from app.api.shown import event_frame
from app.api.webhook_refusals import WebhookRefusals
from app.core.version import program_version
from app.dashboard.page import router as status_page
from app.events.broadcast import Broadcast

if TYPE_CHECKING:
    from app.bootstrap import Application


def create_app(application: Application) -> FastAPI:
    """The HTTP and WebSocket face of a running application. Starting and stopping that is the caller's."""
    broadcast = Broadcast(application.dispatcher, application.events, application.clock, event_frame)
    metrics = Metrics(application, lambda: broadcast.readers)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        after = await application.events.last_seq()
        followers = (
            asyncio.create_task(metrics.follow(), name="metrics"),
            asyncio.create_task(broadcast.run(after), name="broadcast"),
        )
        try:
            yield
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        version=program_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.application = application
    app.state.metrics = metrics
    app.state.broadcast = broadcast
    app.state.webhook_refusals = WebhookRefusals(application)
    app.state.tokens = token_book(application)
    for room in (decisions, webhooks, control, records, health, stream, description, event_description):
        app.include_router(room.router)
    app.include_router(status_page)
    app.add_middleware(Edge)
    app.add_middleware(RequestCounter, metrics=metrics)
    install_problem_handlers(app)
    return app
