"""What an operator asks for: closes, a reconciliation, the state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.access import TOKEN, application_of
from app.api.decisions import read_body
from app.core.settings import DEFAULT_ACCOUNT
from app.core.version import program_version
from app.domain.errors import DecisionRefused, ErrorCode
from app.domain.trades import CloseReason
from app.schemas.records import ListDocument
from app.schemas.result import AssetResult

if TYPE_CHECKING:
    from app.bootstrap import Application
    from app.services.execution.projection import Readiness
    from app.services.execution.service import ExecutionService

router = APIRouter(prefix="/v1", tags=["control"], dependencies=TOKEN)
Account = Annotated[str | None, Query(max_length=64, description="the account; the only one, or default, when absent")]


def service_for(application: Application, account_id: str | None) -> ExecutionService:
    """The named account's service; without a name the only one, or that of ``default``.

    Raises:
        DecisionRefused: ``account_unknown``.
    """
    if account_id is None:
        names = list(application.accounts)
        account_id = names[0] if len(names) == 1 else DEFAULT_ACCOUNT
    return application.service(account_id)


@router.post("/positions/close")
async def close_all_positions(request: Request, account_id: Account = None) -> ListDocument[AssetResult]:
    """Close every position that the service opened, at market, and cancel its protective orders."""
    results = await service_for(application_of(request), account_id).close_all()
    return ListDocument(items=tuple(results))


@router.post("/positions/{asset}/close")
async def close_position(request: Request, asset: str, account_id: Account = None) -> AssetResult:
    """Close one position at market and cancel its protective orders."""
    return await service_for(application_of(request), account_id).close_position(asset, CloseReason.MANUAL)


@router.post("/reconcile")
async def reconcile(request: Request, account_id: Account = None) -> dict[str, Any]:
    """Compare the record with the exchange now, repair it, and report each difference."""
    report = await service_for(application_of(request), account_id).reconcile()
    return report.as_dict()


class HaltOrder(BaseModel):
    """Why to stop, and whether to close everything as well."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    flatten: bool = False


@router.post(
    "/halt",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": HaltOrder.model_json_schema()}}}
    },
    responses={422: {"description": "validation_error or account_unknown"}},
)
async def halt(request: Request, account_id: Account = None) -> dict[str, Any]:
    """The kill switch: no more entries until resumed, over restarts. Without `account_id` it stops every account.

    With `flatten`, everything of ours is closed; `is_flat` is what the exchange then shows, `left_open` what is left.
    """
    order = _read_order(await read_body(request))
    chosen = _chosen(application_of(request), account_id)
    for service in chosen:
        await service.halt(order.reason)
    if not order.flatten:
        return {"accounts": _states(chosen), "closed": []}
    closed: list[AssetResult] = []
    for results in await asyncio.gather(*(service.halt(order.reason, flatten=True) for service in chosen)):
        closed += results
    left = [line for lines in await asyncio.gather(*(service.left_open() for service in chosen)) for line in lines]
    return {
        "accounts": _states(chosen),
        "closed": [result.model_dump(mode="json") for result in closed],
        "is_flat": not left,
        "left_open": left,
    }


@router.post("/resume")
async def resume(request: Request, account_id: Account = None) -> dict[str, Any]:
    """Accept entries again. Without `account_id` it is for every account."""
    chosen = _chosen(application_of(request), account_id)
    for service in chosen:
        await service.resume()
    return {"accounts": _states(chosen)}


def _read_order(body: bytes) -> HaltOrder:
    """Read a halt, whatever content type it was sent with.

    Raises:
        DecisionRefused: ``validation_error``; names the field.
    """
    try:
        return HaltOrder.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise DecisionRefused(ErrorCode.VALIDATION_ERROR, f"{field}: {first['msg']}") from error


def _chosen(application: Application, account_id: str | None) -> list[ExecutionService]:
    return list(application.trading().values()) if account_id is None else [application.service(account_id)]


def _states(services: Iterable[ExecutionService]) -> list[dict[str, Any]]:
    return [
        {
            "account_id": service.account_id,
            **_readiness(service.readiness()),
            "halt": _halt(service),
        }
        for service in services
    ]


def _readiness(readiness: Readiness) -> dict[str, Any]:
    return {"is_ready": readiness.is_ready, "reasons": list(readiness.reasons)}


def _halt(service: ExecutionService | None) -> dict[str, Any] | None:
    halted = service.halted if service is not None else None
    return halted.as_dict() if halted is not None else None


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """Mode, readiness, halts and the event log's head."""
    application = application_of(request)
    accounts = [
        {"account_id": name, **_readiness(readiness), "halt": _halt(application.services.get(name))}
        for name, readiness in application.readiness().items()
    ]
    return {
        "version": program_version(),
        "venue": application.settings.venue.value,
        "is_paper": application.is_paper,
        "is_ready": all(account["is_ready"] for account in accounts),
        "is_halted": any(account["halt"] for account in accounts),
        "last_seq": await application.events.last_seq(),
        "accounts": accounts,
    }
