"""For machines that watch machines: liveness, readiness, metrics (contract, section 6)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from app.api.access import BEARER_SCHEME, application_of, bearer_token, require_token_from_afar
from app.api.problems import Problem, may_refuse, problem_answer
from app.domain.errors import ErrorCode

router = APIRouter(tags=["health"])


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ReadinessDocument(BaseModel):
    """Every account takes decisions; on a halted one, those that open nothing."""

    status: Literal["ready"] = "ready"
    accounts: tuple[str, ...]
    halted: tuple[str, ...] = Field(description="accounts that refuse entries until they are resumed")


@router.get("/healthz")
async def healthz() -> Liveness:
    """The process answers. No token is needed."""
    return Liveness()


@router.get(
    "/readyz",
    responses={503: problem_answer(503, "not_ready: `accounts` has the reasons of each account that is not")},
)
async def readyz(request: Request) -> ReadinessDocument:
    """Every account is connected, reconciled and has a healthy database. No token is needed."""
    application = application_of(request)
    readiness = application.readiness()
    if all(state.is_ready for state in readiness.values()):
        halted = tuple(name for name, service in application.services.items() if service.halted)
        return ReadinessDocument(accounts=tuple(readiness), halted=halted)
    reasons = {name: list(state.reasons) for name, state in readiness.items() if not state.is_ready}
    detail = "; ".join(f"{name}: {', '.join(texts) or 'starting'}" for name, texts in reasons.items())
    raise Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.NOT_READY, detail, headers={"Retry-After": "1"}, accounts=reasons
    )


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(BEARER_SCHEME)],
    openapi_extra={"security": [{}, {"token": []}]},
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text"},
        **may_refuse(),
    },
)
async def metrics(request: Request) -> Response:
    """Counters and gauges for Prometheus. From this machine only those of money (balances, positions) need a token.

    With `TES_METRICS_PUBLIC` none needs one, from anywhere.
    """
    is_public = application_of(request).settings.metrics_public
    if not is_public:
        await require_token_from_afar(request)
    text = request.app.state.metrics.render(with_money=is_public or bearer_token(request) is not None)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
