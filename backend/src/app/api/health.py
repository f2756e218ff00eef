"""For machines that watch machines: liveness, readiness, metrics (contract, section 6)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.access import BEARER_SCHEME, application_of, require_token_from_afar
from app.api.problems import Problem
from app.domain.errors import ErrorCode

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "not_ready, with the reasons of each account"}})
async def readyz(request: Request) -> dict[str, Any]:
    """Every account is connected, reconciled and has a healthy database."""
    readiness = application_of(request).readiness()
    if all(state.is_ready for state in readiness.values()):
        return {"status": "ready", "accounts": list(readiness)}
    reasons = {name: list(state.reasons) for name, state in readiness.items() if not state.is_ready}
    detail = "; ".join(f"{name}: {', '.join(texts) or 'starting'}" for name, texts in reasons.items())
    raise Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.NOT_READY, detail, headers={"Retry-After": "1"}, accounts=reasons
    )


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(BEARER_SCHEME), Depends(require_token_from_afar)],
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text"}},
)
async def metrics(request: Request) -> Response:
    """Counters and gauges for Prometheus. No token is needed from this machine."""
    return Response(request.app.state.metrics.render(application_of(request)), media_type=CONTENT_TYPE_LATEST)
