"""Decisions in, results out."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api.access import TOKEN, application_of
from app.api.problems import Problem, not_found
from app.domain.errors import ErrorCode
from app.schemas.decision import TradingDecision, parse_decision
from app.schemas.explanation import Explanation
from app.schemas.records import DecisionDocument, ListDocument, decision_document, pending_result
from app.schemas.result import ExecutionResult, ResultStatus

if TYPE_CHECKING:
    from app.bootstrap import Application
    from app.repositories.decisions import StoredDecision

MAXIMUM_BODY_BYTES = 256 * 1024
_MOST_DISCARDED_BYTES = 8 * 1024 * 1024
router = APIRouter(prefix="/v1/decisions", tags=["decisions"], dependencies=TOKEN)

Limit = Annotated[int, Query(ge=1, le=500, description="how many items at most")]
Cursor = Annotated[str | None, Query(max_length=200, description="next_cursor of the page before")]

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{TradingDecision.__name__}"}}},
    }
}


@router.post(
    "",
    response_model=ExecutionResult | Explanation,
    openapi_extra=_BODY,
    responses={
        200: {
            "description": "Ended, as executed, partial, rejected or failed; or a replay of an earlier decision; or, "
            "with dry_run, an Explanation"
        },
        202: {"model": ExecutionResult, "description": "Still at work: ask again at Location"},
        409: {"description": "decision_conflict: the id is taken by a decision with another body"},
        413: {"description": "validation_error: the body is above 256 KiB"},
        422: {"description": "validation_error or account_unknown"},
        503: {"description": "not_ready: before the first reconciliation, or the database refuses writes"},
    },
)
async def submit_decision(
    request: Request,
    wait: Annotated[
        float, Query(ge=0, le=120, allow_inf_nan=False, description="seconds to wait for the end before answering 202")
    ] = 30,
    dry_run: Annotated[
        bool, Query(description="explain what would happen, check by check; sends and keeps nothing, uses up no id")
    ] = False,
) -> Response:
    """Execute a decision once. The same `decision_id` with the same body answers with the first result."""
    application = application_of(request)
    decision = parse_decision(await read_body(request))
    if dry_run:
        explanation = await application.service(decision.account_id).explain(decision)
        return Response(explanation.model_dump_json(), media_type="application/json")
    submission = await application.service(decision.account_id).submit(decision)
    result = submission.result
    if result.status is ResultStatus.PENDING and wait > 0:
        result = await submission.wait(wait)
    headers = {"Idempotent-Replay": "true"} if submission.is_replay else {}
    status = HTTPStatus.OK
    if result.status is ResultStatus.PENDING:
        status = HTTPStatus.ACCEPTED
        headers["Location"] = f"{router.prefix}/{quote(result.decision_id, safe='')}"
    return Response(result.model_dump_json(), status, headers, "application/json")


@router.get("")
async def list_decisions(request: Request, limit: Limit = 50, cursor: Cursor = None) -> ListDocument[DecisionDocument]:
    """Stored decisions with their results, newest first."""
    application = application_of(request)
    page = await application.decisions.page(limit, cursor)
    items = tuple(_document(application, stored) for stored in page.items)
    return ListDocument(items=items, next_cursor=page.next_cursor)


@router.get("/{decision_id}", responses={404: {"description": "no such decision"}})
async def get_decision(request: Request, decision_id: str) -> DecisionDocument:
    """One stored decision with its result so far."""
    application = application_of(request)
    stored = await application.decisions.find(decision_id)
    if stored is None:
        raise not_found(f"decision {decision_id}")
    return _document(application, stored)


def _document(application: Application, stored: StoredDecision) -> DecisionDocument:
    result = stored.result or pending_result(
        stored.body,
        decision_id=stored.decision_id,
        account_id=stored.account_id,
        is_paper=application.is_paper,
        received_at=stored.received_at,
    )
    return decision_document(result, stored.body)


async def read_body(request: Request) -> bytes:
    """The body, refused when it is too large.

    What is too large is still read up to a bound, and thrown away: a server that closes on a client that is still
    sending takes its own answer back.

    Raises:
        Problem: 413.
    """
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAXIMUM_BODY_BYTES:
            body += chunk
        elif size > _MOST_DISCARDED_BYTES:
            break
    if size > MAXIMUM_BODY_BYTES:
        raise _too_large()
    return bytes(body)


def _too_large() -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.VALIDATION_ERROR,
        f"the body is larger than {MAXIMUM_BODY_BYTES // 1024} KiB: send fewer assets, or shorter texts",
        headers={"Connection": "close"},
    )
