"""Which HTTP status each of our errors becomes, and that none tells what it must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.problems import problem_of
from app.domain.errors import (
    AuthRefused,
    DecisionRefused,
    ErrorCode,
    InvariantBroken,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    RefusedByExchange,
    StoreUnavailable,
    TesError,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "status", "code", "extra"),
    [
        (DecisionRefused(ErrorCode.VALIDATION_ERROR, "m"), 422, "validation_error", {}),
        (DecisionRefused(ErrorCode.DECISION_CONFLICT, "m"), 409, "decision_conflict", {}),
        (DecisionRefused(ErrorCode.NOT_READY, "m"), 503, "not_ready", {}),
        (DecisionRefused(ErrorCode.HALTED, "m"), 409, "halted", {}),
        (
            DecisionRefused(ErrorCode.NOT_READY, "m", retry_after_s=2.2),
            503,
            "not_ready",
            {"retry_after_seconds": 2.2},
        ),
        (DecisionRefused(ErrorCode.POSITION_ABSENT, "m"), 404, "position_absent", {}),
        (StoreUnavailable("m"), 503, "not_ready", {}),
        (Unavailable("m"), 503, "exchange_unavailable", {}),
        (NotSent("m"), 503, "exchange_unavailable", {}),
        (RateLimited("m", retry_after_s=30), 503, "exchange_unavailable", {"retry_after_seconds": 30}),
        (
            RefusedByExchange("m", family=Refusal.MARGIN, code=-2019),
            502,
            "exchange_rejected",
            {"exchange_code": -2019},
        ),
        (AuthRefused("m", code=-2015), 502, "exchange_rejected", {"exchange_code": -2015}),
        (OutcomeUnknown("m"), 502, "outcome_unknown", {}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TesError) else None,
)
def test_an_error_becomes_a_problem_with_the_contracts_code(
    error: TesError, status: int, code: str, extra: dict[str, Any]
) -> None:
    response = problem_of(error).response()
    document = json.loads(response.body)
    assert (response.status_code, response.media_type) == (status, "application/problem+json")
    assert document.items() >= {"status": status, "code": code, "detail": "m", **extra}.items()
    assert ("retry-after" in response.headers) is (status == 503)


def test_a_broken_invariant_is_told_to_the_log_only() -> None:
    document = json.loads(problem_of(InvariantBroken("order 5 of account x")).response().body)
    assert document["code"] == "internal_error"
    assert "order 5" not in document["detail"]
