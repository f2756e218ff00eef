"""The API's description of itself: ``/openapi.json``, and ``/docs``, which needs nothing from other hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from app.api.access import require_token_from_afar
from app.api.problems import ProblemDocument, not_found
from app.schemas.decision import TradingDecision

TITLE = "Trading Execution Service"
DESCRIPTION = """\
Turns trading decisions into filled and protected positions on AsterDEX perpetual futures.

**Token** — `Authorization: Bearer TOKEN` on everything but `/healthz` and `/readyz`. A token has a scope: `read`,
`trade` (decisions, closes, reconcile, halt) or `admin` (resume as well).

**Numbers** — money and quantities are JSON strings, exact decimals. Requests may use JSON numbers, too.

**Lists** — newest first; pass `next_cursor` of a page as `cursor` to get the page behind it. The event log pages
upwards from `after`.

**Errors** — `application/problem+json` (RFC 9457) with a stable `code`. Risk refusals are no errors: they are results
with the status `rejected`.

**Live** — the event log is also a WebSocket, `/v1/stream?after=SEQ&types=A,B`, described as AsyncAPI at
[`/asyncapi.json`](asyncapi.json).
"""
TAGS = [
    {"name": "decisions", "description": "Decisions in, results out. A decision's id is its idempotency key."},
    {"name": "control", "description": "What an operator asks for: closes, a reconciliation, the kill switch, state."},
    {"name": "records", "description": "What the service knows: trades, orders, positions, accounts."},
    {"name": "events", "description": "The log of everything that happened."},
    {"name": "webhooks", "description": "Decisions from programs that can only post a text."},
    {"name": "health", "description": "For machines that watch machines."},
]
_REFERENCE = "#/components/schemas/{model}"
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_PAGE = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """\
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout", tryItOutEnabled: true,
});
"""
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles on its elements; scripts come from this service alone."""

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_token_from_afar)])
"""From this machine it needs no token, because a browser sends none."""


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The document."""
    return JSONResponse(describe(request.app))


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The document as a page on which every call can be tried."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _DOCS_POLICY})


@router.get("/docs/start.js")
async def start_script() -> HTMLResponse:
    """The page's own script, apart because the page allows no script inside it."""
    return HTMLResponse(_START, media_type="text/javascript")


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """A file of Swagger UI, from the package that ships it."""
    if name not in _ASSETS:
        raise not_found(f"file docs/{name}")
    return FileResponse(_folder() / name, media_type=_ASSETS[name], headers={"Cache-Control": "max-age=86400"})


@cache
def _folder() -> Path:
    """Where the files are; the package is never imported."""
    return Path(str(distribution("fastapi-offline").locate_file("fastapi_offline/static")))


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the decision's schema, which is read by hand to keep its decimals exact."""
    if app.openapi_schema is None:
        accounts = sorted(app.state.application.services)
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in (
            (TradingDecision.__name__, TradingDecision.model_json_schema(ref_template=_REFERENCE, mode="validation")),
            ("Problem", ProblemDocument.model_json_schema(ref_template=_REFERENCE, mode="serialization")),
        ):
            for part, definition in schema.pop("$defs", {}).items():
                schemas.setdefault(part, definition)
            schemas[name] = schema
        schemas[TradingDecision.__name__]["properties"]["account_id"] |= {"enum": accounts}
        for operation in _operations(document):
            operation["operationId"] = re.sub(r"_v1_.*|_(get|post)$", "", operation["operationId"])
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "account_id":
                    parameter["schema"] = {"type": "string", "enum": accounts}
        app.openapi_schema = document
    return app.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()
