"""Decisions from programs that can only post a text: alerts of TradingView (``docs/tradingview.md``)."""

from __future__ import annotations

import hashlib
import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.api.access import WRONG_TOKEN_DELAY_S, application_of
from app.api.bodies import read_body
from app.api.decisions import LOCATION_HEADER, REPLAY_HEADER, answer, require_notional
from app.api.problems import Problem, may_refuse, not_found, problem_of
from app.api.webhook_refusals import WebhookRefusals
from app.domain.errors import TesError
from app.schemas.result import ExecutionResult
from app.schemas.tradingview import TradingViewAlert, parse_alert

if TYPE_CHECKING:
    from app.bootstrap import Application

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
_SIGNATURE = "x-signature"
_PREFIX = "sha256="
_SCHEMA = TradingViewAlert.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}}


@router.post(
    "/tradingview",
    response_model=ExecutionResult,
    openapi_extra=_BODY,
    responses={
        200: {"description": "Ended, or a replay of the same alert", "headers": {"Idempotent-Replay": REPLAY_HEADER}},
        202: {
            "model": ExecutionResult,
            "description": "Still at work",
            "headers": {"Idempotent-Replay": REPLAY_HEADER, "Location": LOCATION_HEADER},
        },
        **may_refuse(
            {
                401: "unauthorized: neither the secret in the body nor the signature is right",
                404: "not_found: no TES_WEBHOOK_SECRET is set, so that there is no such door",
                409: "decision_conflict: the id is taken by another alert",
                413: "validation_error: the body is above 256 KiB",
                422: "validation_error or account_unknown: a field is wrong, and `detail` names it",
                503: "not_ready: before the first reconciliation, or the database refuses writes",
            },
            needs_token=False,
        ),
    },
)
async def tradingview(
    request: Request,
    wait: Annotated[
        float, Query(ge=0, le=120, allow_inf_nan=False, description="seconds; TradingView gives up after three")
    ] = 1,
) -> Response:
    """Execute an alert once. Its secret stands in the body, or `X-Signature: sha256=HEX` is the body's HMAC with it."""
    application = application_of(request)
    secret = application.settings.webhook_secret
    if secret is None:
        raise not_found("webhook: set TES_WEBHOOK_SECRET to open it")
    refusals: WebhookRefusals = request.app.state.webhook_refusals
    alert: TradingViewAlert | None = None
    try:
        body = await read_body(request)
        read = parse_alert(body)
        key = secret.get_secret_value().encode()
        await _require_proof(application, body, request.headers.get(_SIGNATURE), read, key)
        alert = read
        decision = alert.decision()
        if alert.is_sized_in_contracts:
            require_notional(application, alert.account_id)
        return await answer(application, decision, wait)
    except Problem as problem:
        refusals.tell(problem, alert)
        raise
    except TesError as error:
        refusals.tell(problem_of(error), alert)
        raise


async def _require_proof(
    application: Application, body: bytes, signature: str | None, alert: TradingViewAlert, key: bytes
) -> None:
    """The sender knows the secret.

    Raises:
        Problem: 401.
    """
    said = "" if alert.secret is None else alert.secret.get_secret_value()
    if _is_signed(body, signature, key) or hmac.compare_digest(said.encode(), key):
        return
    await application.clock.sleep(WRONG_TOKEN_DELAY_S)
    raise Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "the alert's 'secret' must be TES_WEBHOOK_SECRET, or X-Signature the body's HMAC-SHA256 with it",
        headers={"WWW-Authenticate": "Webhook"},
    )


def _is_signed(body: bytes, signature: str | None, key: bytes) -> bool:
    if signature is None or not signature.startswith(_PREFIX):
        return False
    expected = hmac.new(key, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature.removeprefix(_PREFIX).lower().encode(), expected.encode())
