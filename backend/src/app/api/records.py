"""Lists of what we know: trades, orders, positions, accounts and events."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from app.api.access import application_of, needs
from app.api.decisions import Cursor, Limit, json_answer
from app.api.log_head import Generation, require_known
from app.api.problems import may_refuse, not_found
from app.api.shown import event_shown, list_shown, order_shown, page_shown, trade_shown
from app.core.tokens import Scope
from app.domain.orders import OrderState
from app.domain.trades import TradeStatus
from app.schemas.events import EventListDocument
from app.schemas.fields import iso
from app.schemas.json_text import invalid
from app.schemas.records import (
    AccountDocument,
    ListDocument,
    OrderDocument,
    PositionDocument,
    ProjectionDocument,
    TradeDocument,
)

router = APIRouter(prefix="/v1", dependencies=needs(Scope.READ))
_LARGEST_SEQ = 2**63 - 1
_LIST = may_refuse({503: "not_ready: the database can't be read now"})
_EVENTS = may_refuse(
    {
        409: "after_unknown: the log is another one, or ends before `after`; `generation` and `last_seq` are its own",
        503: "not_ready: the database can't be read now",
    }
)
_ITEM = {404: "not_found: no trade has this id", 503: "not_ready: the database can't be read now"}
TradeId = Annotated[str, Path(max_length=64, description="its id", examples=["1m89j1vp88r0vax282cb"])]
Asset = Annotated[str | None, Query(max_length=40, description="only this asset", examples=["BTCUSDT"])]
StatusT = TypeVar("StatusT", bound=StrEnum)


def _some_of(kind: type[StrEnum]) -> Any:
    """A filter by statuses; :func:`read_statuses` checks it, and is more lenient than its description."""
    names = "|".join(member.value for member in kind)
    return Query(
        max_length=400,
        description="only these statuses, comma separated, in any case",
        json_schema_extra={"pattern": f"^(?:(?:{names})(?:,(?:{names}))*)?$"},
    )


TradeStatuses = Annotated[str | None, _some_of(TradeStatus)]
OrderStatuses = Annotated[str | None, _some_of(OrderState)]


@router.get("/trades", tags=["records"], response_model=ListDocument[TradeDocument], responses=_LIST)
async def list_trades(
    request: Request, status: TradeStatuses = None, asset: Asset = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Trades with their orders and fills, newest first."""
    statuses = read_statuses(TradeStatus, status)
    page = await application_of(request).trades.page(trade_shown, statuses, asset, limit, cursor)
    return json_answer(page_shown(page))


@router.get("/trades/{trade_id}", tags=["records"], response_model=TradeDocument, responses=may_refuse(_ITEM))
async def get_trade(request: Request, trade_id: TradeId) -> Response:
    """One trade with its orders and fills."""
    shown = await application_of(request).trades.shown(trade_id, trade_shown)
    if shown is None:
        raise not_found(f"trade {trade_id}")
    return json_answer(shown)


@router.get("/orders", tags=["records"], response_model=ProjectionDocument[OrderDocument], responses=_LIST)
async def list_orders(
    request: Request, status: OrderStatuses = None, asset: Asset = None, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Our orders, the latest recorded first."""
    application = application_of(request)
    statuses = read_statuses(OrderState, status)
    page = await application.trades.orders_page(order_shown, statuses, asset, limit, cursor)
    known = [service.positions().as_of for service in application.services.values()]
    as_of = min((moment for moment in known if moment is not None), default=None)
    return json_answer(page_shown(page, as_of=None if as_of is None else iso(as_of)))


@router.get("/positions", tags=["records"], responses=_LIST)
async def list_positions(request: Request, asset: Asset = None) -> ProjectionDocument[PositionDocument]:
    """Open positions of all accounts. `as_of` is that of the account that was heard of least recently."""
    items: list[PositionDocument] = []
    moments = []
    for account_id, service in application_of(request).services.items():
        view = service.positions()
        moments.append(view.as_of)
        items += [
            PositionDocument(
                account_id=account_id,
                asset=position.asset,
                side=position.side,
                quantity=position.quantity,
                entry_price=position.entry_price,
                mark_price=position.mark_price,
                leverage=position.leverage,
                unrealised_pnl=position.unrealised_pnl,
                trade_id=position.trade_id,
            )
            for position in view.items
            if asset is None or position.asset == asset
        ]
    return ProjectionDocument(
        items=tuple(items), as_of=min((moment for moment in moments if moment is not None), default=None)
    )


@router.get("/accounts", tags=["records"], responses=_LIST)
async def list_accounts(request: Request) -> ListDocument[AccountDocument]:
    """Every account with its balances and whether it may trade."""
    views = [service.account_view() for service in application_of(request).services.values()]
    return ListDocument(items=tuple(AccountDocument.model_validate(view) for view in views))


@router.get("/events", tags=["events"], response_model=EventListDocument, responses=_EVENTS)
async def list_events(
    request: Request,
    after: Annotated[int, Query(ge=0, le=_LARGEST_SEQ, description="only events behind this seq")] = 0,
    limit: Limit = 100,
    generation: Generation = None,
) -> Response:
    """The event log, oldest first. Pass `next_cursor`, the seq of the last item, as `after` to read on.

    `generation` says which log it is: a restored copy begins another.
    """
    page = await application_of(request).events.shown_after(after, limit, None, event_shown)
    require_known(after, generation, page.head)
    cursor = None if page.is_last else str(page.last_seq)
    return json_answer(list_shown(page.items, cursor, generation=page.head.generation))


def read_statuses(kind: type[StatusT], text: str | None) -> frozenset[StatusT] | None:
    """Read a comma-separated filter, whatever its case; None stands for all.

    Raises:
        DecisionRefused: ``validation_error``; names the statuses that exist.
    """
    if text is None or not text.strip(", "):
        return None
    known = {member.value.lower(): member for member in kind}
    chosen = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [part for part in chosen if part not in known]
    if unknown:
        known_names = ", ".join(member.value for member in kind)
        raise invalid(f"status: one of them is unknown; there are {known_names}", field="status")
    return frozenset(known[part] for part in chosen)
