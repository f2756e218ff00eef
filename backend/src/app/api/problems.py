"""Errors on the wire: ``application/problem+json`` (RFC 9457) with the contract's ``code``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from app.domain.errors import (
    DecisionRefused,
    ErrorCode,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RefusedByExchange,
    StoreUnavailable,
    TesError,
    Unavailable,
    UnreadableRecord,
)
from app.repositories.pages import InvalidCursor

_LOG = structlog.get_logger(__name__)

_STATUS_OF_CODE: Mapping[ErrorCode, HTTPStatus] = {
    ErrorCode.VALIDATION_ERROR: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.DECISION_CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.ACCOUNT_UNKNOWN: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.ASSET_UNKNOWN: HTTPStatus.NOT_FOUND,
    ErrorCode.POSITION_ABSENT: HTTPStatus.NOT_FOUND,
    ErrorCode.NOT_READY: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.EXCHANGE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.EXCHANGE_REJECTED: HTTPStatus.BAD_GATEWAY,
    ErrorCode.OUTCOME_UNKNOWN: HTTPStatus.BAD_GATEWAY,
    ErrorCode.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_CODE_OF_STATUS: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
}

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class ProblemDocument(BaseModel):
    """Why a request was not done (RFC 9457). `code` is stable; `detail` is for people and may change."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(description="always about:blank: `code` says more", examples=["about:blank"])
    title: str = Field(description="the status in words")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what is wrong and what to do, in a sentence")
    code: str = Field(description="one of the codes of an execution result's error, or one of HTTP's own")
    field: str | None = Field(None, description="path of the (first) field or parameter that is wrong")
    retry_after_seconds: float | None = Field(None, description="when asking again makes sense")
    exchange_code: int | None = Field(None, description="the exchange's own code, when it refused")


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = "application/problem+json"


class Problem(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def response(self) -> ProblemResponse:
        """The document, with ``type`` about:blank: the code says more than a page could."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        return ProblemResponse(body, status_code=self.status, headers=self.headers)


def not_found(what: str) -> Problem:
    """A 404 for something that was asked for by name."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", f"there is no {what}")


def unauthorized() -> Problem:
    """A 401 that tells how to do better, and nothing else."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "a valid token is needed: send the header 'Authorization: Bearer TOKEN'",
        headers={"WWW-Authenticate": "Bearer"},
    )


def may_refuse(reasons: Mapping[int, str] | None = None, *, needs_token: bool = True) -> dict[int | str, Any]:
    """The problems that a route's description announces: its own, and those that every route has.

    Args:
        reasons: by status, the codes and when they come.
        needs_token: whether a token can be wrong or too narrow.
    """
    common = {422: "validation_error: a parameter has a wrong value; `detail` names it"}
    if needs_token:
        common |= {
            401: "unauthorized: no token came, or a wrong one",
            403: "forbidden: the token's scope is too narrow",
        }
    return {status: problem_answer(status, reason) for status, reason in sorted({**common, **(reasons or {})}.items())}


def problem_answer(status: int, reason: str) -> dict[str, Any]:
    """One of them: what it means, its form, and how it looks."""
    code, _, text = reason.partition(": ")
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text or reason,
        "code": code.split(" or ")[0],
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": reason, "content": {"application/problem+json": {"schema": schema, "example": example}}}


def problem_of(error: TesError) -> Problem:
    """The problem document of one of our own errors."""
    if isinstance(error, DecisionRefused):
        return _problem(error.code, error.message, error.retry_after_s, field=error.field)
    if isinstance(error, InvalidCursor):
        return _problem(ErrorCode.VALIDATION_ERROR, str(error), field="cursor")
    if isinstance(error, UnreadableRecord):
        return _problem(ErrorCode.INTERNAL_ERROR, str(error))
    if isinstance(error, StoreUnavailable):
        return _problem(ErrorCode.NOT_READY, str(error))
    if isinstance(error, RateLimited):
        return _problem(ErrorCode.EXCHANGE_UNAVAILABLE, error.message, error.retry_after_s)
    if isinstance(error, RefusedByExchange):
        return _problem(ErrorCode.EXCHANGE_REJECTED, error.message, exchange_code=error.code)
    if isinstance(error, Unavailable | NotSent):
        return _problem(ErrorCode.EXCHANGE_UNAVAILABLE, error.message)
    if isinstance(error, OutcomeUnknown):
        return _problem(ErrorCode.OUTCOME_UNKNOWN, error.message)
    return _problem(ErrorCode.INTERNAL_ERROR, "the service contradicted itself; its log says where")


def _problem(
    code: ErrorCode,
    detail: str,
    retry_after_s: float | None = None,
    *,
    exchange_code: int | None = None,
    field: str | None = None,
) -> Problem:
    status = _STATUS_OF_CODE.get(code, HTTPStatus.CONFLICT)
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    if retry_after_s is not None:
        extra["retry_after_seconds"] = retry_after_s
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    if exchange_code is not None:
        extra["exchange_code"] = exchange_code
    if field is not None:
        extra["field"] = field
    return Problem(status, code.value, detail, headers=headers, **extra)


def install_problem_handlers(app: FastAPI) -> None:
    """Let every error leave as a problem document."""

    @app.exception_handler(Problem)
    async def _on_problem(_request: Request, error: Problem) -> ProblemResponse:
        return error.response()

    @app.exception_handler(TesError)
    async def _on_own_error(request: Request, error: TesError) -> ProblemResponse:
        problem = problem_of(error)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, UnreadableRecord):
            _LOG.error("api.failed", path=request.scope["path"], error=repr(error), exc_info=error)
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def _on_bad_parameter(_request: Request, error: RequestValidationError) -> ProblemResponse:
        first = ".".join(map(str, error.errors()[0]["loc"][1:]))
        return _problem(ErrorCode.VALIDATION_ERROR, _sentences(error), field=first).response()

    @app.exception_handler(HTTPException)
    async def _on_http_error(request: Request, error: HTTPException) -> ProblemResponse:
        code = _CODE_OF_STATUS.get(error.status_code, "http_error")
        detail = f"{request.method} {request.scope['path']}: {error.detail}"
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed(app, request))
        return Problem(error.status_code, code, detail, headers=headers).response()

    @app.exception_handler(ClientDisconnect)
    async def _on_lost_client(_request: Request, _error: ClientDisconnect) -> ProblemResponse:
        detail = "the connection ended before the body did"  # for the count of answers: no client hears it any more
        return Problem(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", detail).response()


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """Every method that some route has for this path; the framework tells only those of the first route."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]


def _sentences(error: RequestValidationError) -> str:
    """One sentence for each wrong parameter, without repeating what was sent."""
    return "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
