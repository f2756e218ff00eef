"""What an operator asks for: closes, a reconciliation, the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request

from app.api.access import TOKEN, application_of
from app.core.settings import DEFAULT_ACCOUNT
from app.core.version import program_version
from app.domain.trades import CloseReason
from app.schemas.records import ListDocument
from app.schemas.result import AssetResult

if TYPE_CHECKING:
    from app.bootstrap import Application
    from app.services.execution.service import ExecutionService

router = APIRouter(prefix="/v1", tags=["control"], dependencies=TOKEN)
Account = Annotated[str | None, Query(max_length=64, description="the account; the only one, or default, when absent")]


def service_for(application: Application, account_id: str | None) -> ExecutionService:
    """The named account's service; without a name the only one, or that of ``default``.

    Raises:
        DecisionRefused: ``account_unknown``.
    """
    if account_id is None:
        names = list(application.services)
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


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """Mode, readiness and the event log's head."""
    application = application_of(request)
    accounts = []
    for account_id, service in application.services.items():
        readiness = service.readiness()
        accounts.append({"account_id": account_id, "is_ready": readiness.is_ready, "reasons": list(readiness.reasons)})
    return {
        "version": program_version(),
        "venue": application.settings.venue.value,
        "is_paper": application.is_paper,
        "is_ready": all(account["is_ready"] for account in accounts),
        "last_seq": await application.events.last_seq(),
        "accounts": accounts,
    }
