"""What an operator asks for: closes, a reconciliation, the state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from app.api.access import application_of, needs
from app.api.bodies import read_body
from app.api.problems import may_refuse
from app.core.settings import DEFAULT_ACCOUNT
from app.core.tokens import Scope
from app.core.version import program_version
from app.domain.money import plain
from app.domain.trades import CloseReason
from app.schemas.control import (
    AccountState,
    ClosedPosition,
    HaltDocument,
    HaltedDocument,
    ReconciliationDocument,
    ResumedDocument,
    StatusDocument,
)
from app.schemas.json_text import read_object, wrong_fields
from app.schemas.records import ListDocument
from app.schemas.result import AssetResult

if TYPE_CHECKING:
    from app.bootstrap import Application
    from app.services.execution.halting import Halt
    from app.services.execution.projection import Readiness
    from app.services.execution.service import ExecutionService

router = APIRouter(prefix="/v1", tags=["control"])
Account = Annotated[str | None, Query(max_length=64, description="the account; the only one, or default, when absent")]

AssetName = Annotated[str, Path(max_length=40, description="the asset", examples=["BTCUSDT"])]
_UNKNOWN_ACCOUNT = "validation_error or account_unknown: a parameter has a wrong value, or nobody has this account"
_FROM_EXCHANGE = {
    422: _UNKNOWN_ACCOUNT,
    502: "exchange_rejected or outcome_unknown: the exchange said no, or nothing",
    503: "exchange_unavailable or not_ready: the exchange or the database can't be reached; try again",
}


def service_for(application: Application, account_id: str | None) -> ExecutionService:
    """The named account's service; without a name the only one, or that of ``default``.

    Raises:
        DecisionRefused: ``account_unknown``.
    """
    if account_id is None:
        names = list(application.accounts)
        account_id = names[0] if len(names) == 1 else DEFAULT_ACCOUNT
    return application.service(account_id)


@router.post("/positions/close", dependencies=needs(Scope.TRADE), responses=may_refuse(_FROM_EXCHANGE))
async def close_all_positions(request: Request, account_id: Account = None) -> ListDocument[ClosedPosition]:
    """Close every position that the service opened, at market, and cancel its protective orders.

    Without `account_id` it closes those of every account, side by side.
    """
    chosen = _chosen(application_of(request), account_id)
    return ListDocument(items=await _on_each(chosen, lambda service: service.close_all()))


@router.post(
    "/positions/{asset}/close",
    dependencies=needs(Scope.TRADE),
    responses=may_refuse({**_FROM_EXCHANGE, 404: "asset_unknown: the exchange lists no such asset"}),
)
async def close_position(request: Request, asset: AssetName, account_id: Account = None) -> AssetResult:
    """Close one position at market and cancel its protective orders."""
    return await service_for(application_of(request), account_id).close_position(asset, CloseReason.MANUAL)


@router.post("/reconcile", dependencies=needs(Scope.TRADE), responses=may_refuse(_FROM_EXCHANGE))
async def reconcile(request: Request, account_id: Account = None) -> ReconciliationDocument:
    """Compare the record with the exchange now, repair it, and report each difference.

    It comes after what trading needs of the exchange's rate limit: the answer may take a minute.
    """
    report = await service_for(application_of(request), account_id).reconcile()
    return ReconciliationDocument.model_validate(report.as_dict())


class HaltOrder(BaseModel):
    """Why to stop, and whether to close everything as well."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    flatten: StrictBool = False


_HALT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": HaltOrder.model_json_schema(),
                "examples": {"stop": {"value": {"reason": "news at eight"}}},
            }
        },
    }
}


@router.post(
    "/halt",
    openapi_extra=_HALT_BODY,
    dependencies=needs(Scope.TRADE),
    responses=may_refuse({413: "validation_error: the body is above 256 KiB", 422: _UNKNOWN_ACCOUNT}),
)
async def halt(request: Request, account_id: Account = None) -> HaltedDocument:
    """The kill switch: no more entries until resumed, over restarts. Without `account_id` it stops every account.

    With `is_recorded` false it holds for this process only, until the database takes the record.
    With `flatten`, everything of ours is closed; `is_flat` is what the exchange then shows, `left_open` what is left.
    `external` names the positions that others opened: they are not touched.
    """
    order = _read_order(await read_body(request))
    chosen = _chosen(application_of(request), account_id)
    await asyncio.gather(*(service.halt(order.reason) for service in chosen))
    if not order.flatten:
        return _halted(chosen)
    closed = await _on_each(chosen, lambda service: service.halt(order.reason, flatten=True))
    left = [line for lines in await asyncio.gather(*(service.left_open() for service in chosen)) for line in lines]
    external = tuple(line for service in chosen for line in _external(service))
    return _halted(chosen, closed=closed, is_flat=not left, left_open=tuple(left), external=external)


def _external(service: ExecutionService) -> Iterator[str]:
    """A line for each position of the account that no trade of ours holds."""
    for row in service.positions().items:
        if row.trade_id is None:
            yield f"{row.asset}: {plain(row.quantity)} {row.side.value} on {service.account_id}"


@router.post("/resume", dependencies=needs(Scope.ADMIN), responses=may_refuse({422: _UNKNOWN_ACCOUNT}))
async def resume(request: Request, account_id: Account = None) -> ResumedDocument:
    """Accept entries again. Without `account_id` it is for every account. Needs the scope `admin`."""
    chosen = _chosen(application_of(request), account_id)
    await asyncio.gather(*(service.resume() for service in chosen))
    return ResumedDocument(accounts=_states(chosen))


_NOT_RECORDED = (
    "the halt is in force and NOT on record: it holds for this process only. After a restart entries would be sent "
    "again. The service goes on trying to record it: mend the database, and do not restart before 'tes halt' says so "
    "without this warning"
)


def _halted(services: Sequence[ExecutionService], **closed: Any) -> HaltedDocument:
    states = _states(services)
    is_recorded = all(state.is_halt_recorded for state in states)
    warning = None if is_recorded else _NOT_RECORDED
    return HaltedDocument(accounts=states, is_recorded=is_recorded, warning=warning, **closed)


def _read_order(body: bytes) -> HaltOrder:
    """Read a halt, whatever content type it was sent with.

    Raises:
        DecisionRefused: ``validation_error``; names the field.
    """
    try:
        return HaltOrder.model_validate(read_object(body, "a field 'reason'"))
    except ValidationError as error:
        raise wrong_fields(error) from None


def _chosen(application: Application, account_id: str | None) -> list[ExecutionService]:
    return list(application.trading().values()) if account_id is None else [application.service(account_id)]


async def _on_each(
    services: Sequence[ExecutionService], close: Callable[[ExecutionService], Awaitable[Iterable[AssetResult]]]
) -> tuple[ClosedPosition, ...]:
    """Close on several accounts side by side; one that can't be asked keeps no other from being closed.

    Raises:
        TesError: an account's close failed as a whole; the others have been closed by then.
    """
    done = await asyncio.gather(*(close(service) for service in services), return_exceptions=True)
    told: list[ClosedPosition] = []
    for service, results in zip(services, done, strict=True):
        if isinstance(results, BaseException):
            raise results
        told += [ClosedPosition(account_id=service.account_id, **dict(result)) for result in results]
    return tuple(told)


def _state(name: str, readiness: Readiness, halted: Halt | None) -> AccountState:
    return AccountState(
        account_id=name,
        is_ready=readiness.is_ready,
        reasons=readiness.reasons,
        halt=HaltDocument.model_validate(halted.as_dict()) if halted else None,
        is_halt_recorded=halted is None or halted.is_recorded,
    )


def _states(services: Iterable[ExecutionService]) -> tuple[AccountState, ...]:
    return tuple(_state(service.account_id, service.readiness(), service.halted) for service in services)


@router.get(
    "/status",
    dependencies=needs(Scope.READ),
    responses=may_refuse({503: "not_ready: the database can't be read now"}),
)
async def status(request: Request) -> StatusDocument:
    """Mode, readiness, halts and the event log's head."""
    application = application_of(request)
    head = await application.events.head()
    accounts = tuple(
        _state(name, readiness, service.halted if (service := application.services.get(name)) else None)
        for name, readiness in application.readiness().items()
    )
    return StatusDocument(
        version=program_version(),
        venue=application.settings.venue.value,
        is_paper=application.is_paper,
        is_ready=all(account.is_ready for account in accounts),
        is_halted=any(account.halt for account in accounts),
        last_seq=head.last_seq,
        generation=head.generation,
        accounts=accounts,
    )
