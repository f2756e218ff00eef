"""Puts the HTTP face together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse

from app.api import control, decisions, health, records, stream
from app.api.access import require_token_from_afar
from app.api.metrics import Metrics, RequestCounter
from app.api.problems import install_problem_handlers
from app.core.version import program_version
from app.dashboard.page import router as status_page
from app.schemas.decision import TradingDecision

if TYPE_CHECKING:
    from app.bootstrap import Application

_TITLE = "Trading Execution Service"
_DESCRIPTION = (
    "Turns trading decisions into filled and protected positions on AsterDEX perpetual futures. "
    "Send the API token as `Authorization: Bearer TOKEN`. Money and quantities are JSON strings, exact decimals. "
    "The live event log is at the WebSocket `/v1/stream?after=SEQ&types=A,B`."
)
_REFERENCE = "#/components/schemas/{model}"


def create_app(application: Application) -> FastAPI:
    """The HTTP and WebSocket face of a running application. Starting and stopping that is the caller's."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        follower = asyncio.create_task(metrics.follow(application), name="metrics")
        try:
            yield
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)

    app = FastAPI(
        title=_TITLE,
        description=_DESCRIPTION,
        version=program_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.application = application
    app.state.metrics = metrics
    for router in (decisions.router, control.router, records.router, health.router, stream.router, status_page):
        app.include_router(router)
    app.include_router(_description_routes(app))
    app.add_middleware(RequestCounter, metrics=metrics)
    install_problem_handlers(app)
    return app


def _description_routes(app: FastAPI) -> APIRouter:
    """The API's own description; from this machine it needs no token, because a browser sends none."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(require_token_from_afar)])

    @router.get("/openapi.json")
    async def openapi(_request: Request) -> JSONResponse:
        return JSONResponse(describe(app))

    @router.get("/docs")
    async def docs(_request: Request) -> HTMLResponse:
        return get_swagger_ui_html(openapi_url="/openapi.json", title=_TITLE)

    return router


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the decision's schema, which is read by hand to keep its decimals exact."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schema = TradingDecision.model_json_schema(ref_template=_REFERENCE, mode="validation")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, definition in schema.pop("$defs", {}).items():
            schemas.setdefault(name, definition)
        schemas[TradingDecision.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
