"""Parameters as the text that is signed and sent. Decimals are plain, without exponent; the order is ours to choose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from urllib.parse import quote

import msgspec

from app.domain.money import plain
from app.domain.reports import OrderRequest, PositionSide

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_encode_json = msgspec.json.Encoder().encode


def escaped(text: str) -> str:
    """``text`` percent-encoded where it must be: some symbols are not ASCII."""
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def form(fields: Iterable[tuple[str, str]]) -> str:
    """``name=value`` pairs joined by ``&``."""
    return "&".join([f"{name}={escaped(value)}" for name, value in fields])


def order_fields(request: OrderRequest) -> list[tuple[str, str]]:
    """The parameters of an order (fact sheet, section 4).

    ``reduceOnly`` is left out where the exchange refuses it: in hedge mode, where the side of the position says it
    already, and beside ``closePosition``.
    """
    fields: list[tuple[str, str]] = [
        ("symbol", request.symbol),
        ("side", request.side.value),
        ("type", request.type.value),
        ("newClientOrderId", request.client_order_id),
        ("newOrderRespType", "RESULT"),
    ]
    if request.position_side is not PositionSide.BOTH:
        fields.append(("positionSide", request.position_side.value))
    elif request.reduce_only and not request.close_position:
        fields.append(("reduceOnly", "true"))
    if request.close_position:
        fields.append(("closePosition", "true"))
    for name, value in (
        ("quantity", request.quantity),
        ("price", request.price),
        ("stopPrice", request.stop_price),
        ("activationPrice", request.activation_price),
        ("callbackRate", request.callback_rate),
    ):
        if value is not None:
            fields.append((name, plain(value)))
    if request.time_in_force is not None:
        fields.append(("timeInForce", request.time_in_force.value))
    if request.working_type is not None:
        fields.append(("workingType", request.working_type.value))
    if request.price_protect is not None:
        fields.append(("priceProtect", "TRUE" if request.price_protect else "FALSE"))
    return fields


def order_form(request: OrderRequest) -> str:
    """The parameters of an order as text. Only symbol and id are free text, so only they can need escaping."""
    fields = order_fields(request)
    if _UNRESERVED.fullmatch(request.symbol) and _UNRESERVED.fullmatch(request.client_order_id):
        return "&".join([f"{name}={value}" for name, value in fields])
    return form(fields)


def batch_form(requests: Sequence[OrderRequest]) -> str:
    """``batchOrders`` as real JSON, percent-encoded (fact sheet, section 10.3)."""
    text = _encode_json([dict(order_fields(request)) for request in requests]).decode()
    return f"batchOrders={quote(text, safe='')}"


def amendment_form(symbol: str, client_order_id: str, quantity: Decimal, price: Decimal, side: str) -> str:
    """The parameters of ``PUT order``: quantity and price are both needed, whatever the table says."""
    return form(
        [
            ("symbol", symbol),
            ("side", side),
            ("origClientOrderId", client_order_id),
            ("quantity", plain(quantity)),
            ("price", plain(price)),
        ]
    )
