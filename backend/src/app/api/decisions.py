"""Decisions in, results out."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response

from app.api.access import application_of, needs
from app.api.bodies import read_body
from app.api.examples import DECISION, RESULT
from app.api.problems import may_refuse, not_found
from app.api.shown import decisions_shown, page_shown
from app.core.tokens import Scope
from app.domain.formats import DecisionFormat
from app.domain.policy import AllocationBasis
from app.repositories.pages import CURSOR_PATTERN
from app.schemas.decision import TradingDecision, parse_decision
from app.schemas.explanation import Explanation
from app.schemas.json_text import invalid
from app.schemas.records import DecisionDocument, ListDocument
from app.schemas.result import ExecutionResult, ResultStatus

if TYPE_CHECKING:
    from app.bootstrap import Application

router = APIRouter(prefix="/v1/decisions", tags=["decisions"])

DecisionId = Annotated[str, Path(max_length=64, description="its id, as sent or as answered", examples=["btc-42"])]
Limit = Annotated[int, Query(ge=1, le=500, description="how many items at most")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=200,
        description="next_cursor of the page before, as it is",
        json_schema_extra={"pattern": CURSOR_PATTERN},
    ),
]

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{TradingDecision.__name__}"},
                "examples": {
                    "protected entry": {"value": DECISION},
                    "close": {"value": {"decisions": [{"asset": "BTCUSDT", "action": "close_position"}]}},
                },
            }
        },
    }
}
REPLAY_HEADER = {
    "description": "`true` when this decision was sent before: this is what became of it then; nothing was traded now",
    "schema": {"type": "string", "enum": ["true"]},
}
LOCATION_HEADER = {
    "description": "where its result will be",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference"},
}


@router.post(
    "",
    response_model=ExecutionResult | Explanation,
    openapi_extra=_BODY,
    dependencies=needs(Scope.TRADE),
    responses={
        200: {
            "description": "Ended, as executed, partial, rejected or failed; or a replay of an earlier decision; or, "
            "with dry_run, an Explanation",
            "headers": {"Idempotent-Replay": REPLAY_HEADER},
            "content": {"application/json": {"example": RESULT}},
        },
        202: {
            "model": ExecutionResult,
            "description": "Still at work: ask again at Location",
            "headers": {"Idempotent-Replay": REPLAY_HEADER, "Location": LOCATION_HEADER},
        },
        **may_refuse(
            {
                409: "decision_conflict: the id is taken by a decision with another body",
                413: "validation_error: the body is above 256 KiB",
                422: "validation_error or account_unknown: a field is wrong, and `detail` names it",
                503: "not_ready: before the first reconciliation, or the database refuses writes",
            }
        ),
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
    shape: Annotated[
        DecisionFormat | None,
        Query(alias="format", description="whose shape the body has, where it is not ours; sizes are notionals there"),
    ] = None,
    traceparent: Annotated[
        str | None,
        Header(
            description="W3C Trace Context: its trace id is in every log line about what follows; others are ignored"
        ),
    ] = None,
) -> Response:
    """Execute a decision once. The same `decision_id` with the same body answers with the first result."""
    application = application_of(request)
    decision = parse_decision(await read_body(request), shape).traced(traceparent)
    if shape is not None and any(item.action.is_entry for item in decision.decisions):
        require_notional(application, decision.account_id)
    if dry_run:
        explanation = await application.service(decision.account_id).explain(decision)
        return Response(explanation.model_dump_json(), media_type="application/json")
    return await answer(application, decision, wait)


def require_notional(application: Application, account_id: str) -> None:
    """The size of an entry is a notional; where allocations are margin it would be multiplied by the leverage.

    Raises:
        DecisionRefused: ``validation_error``, or as :meth:`Application.service`.
    """
    if application.service(account_id).policy.risk.allocation_basis is AllocationBasis.MARGIN:
        text = (
            "the size is a notional, and this account's allocations are margin (TES_RISK_ALLOCATION_BASIS): send a "
            "decision of our own shape, with allocation_usd"
        )
        raise invalid(text, field="allocation_usd")


async def answer(application: Application, decision: TradingDecision, wait: float) -> Response:
    """Submit a decision and wait for its end, at most ``wait`` seconds.

    Raises:
        DecisionRefused: the whole of it was refused.
    """
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


@router.get(
    "",
    response_model=ListDocument[DecisionDocument],
    dependencies=needs(Scope.READ),
    responses=may_refuse({503: "not_ready: the database can't be read now"}),
)
async def list_decisions(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Stored decisions with their results, newest first."""
    application = application_of(request)
    page = await application.decisions.page(decisions_shown(is_paper=application.is_paper), limit, cursor)
    return json_answer(page_shown(page))


@router.get(
    "/{decision_id}",
    response_model=DecisionDocument,
    dependencies=needs(Scope.READ),
    responses=may_refuse({404: "not_found: no decision has this id"}),
)
async def get_decision(request: Request, decision_id: DecisionId) -> Response:
    """One stored decision with its result so far."""
    application = application_of(request)
    shown = await application.decisions.shown(decision_id, decisions_shown(is_paper=application.is_paper))
    if shown is None:
        raise not_found(f"decision {decision_id}")
    return json_answer(shown)


def json_answer(body: bytes) -> Response:
    """An answer that is put into bytes already."""
    return Response(body, media_type="application/json")
