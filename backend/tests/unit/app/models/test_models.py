"""The tables hold every fact of the domain, exactly."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pytest
from sqlalchemy import Float, Numeric

from app.db.types import Flag, Json, Money, Name, UtcDateTime
from app.domain.events import Event
from app.domain.orders import Order
from app.domain.reports import FillReport, OrderRequest
from app.domain.trades import Adjustment, Leg, Trade
from app.models import metadata
from app.repositories.decisions import StoredDecision

VALUES = [
    (Trade, "trades", {"legs", "orders", "fills", "adjustments"}),
    (Leg, "legs", set()),
    (Adjustment, "adjustments", set()),
    (Order, "orders", {"key", "request", "stamp"}),
    (OrderRequest, "orders", set()),
    (FillReport, "fills", set()),
    (Event, "events", set()),
    (StoredDecision, "decisions", {"asset_results"}),
]
KINDS = {Decimal: Money, bool: Flag}


@pytest.mark.parametrize(("value", "table", "elsewhere"), VALUES, ids=lambda value: getattr(value, "__name__", None))
def test_every_fact_has_a_column_of_its_kind(value: Any, table: str, elsewhere: set[str]) -> None:
    """A field that the domain gains and the tables do not would be lost at the next restart."""
    columns = metadata.tables[table].columns
    hints = get_type_hints(value)
    for field in fields(value):
        if field.name in elsewhere:
            continue
        assert field.name in columns, f"{table} has no column for {value.__name__}.{field.name}"
        kinds = set(get_args(hints[field.name])) or {hints[field.name]}
        column = columns[field.name]
        for kind, column_type in KINDS.items():
            assert (kind in kinds) == isinstance(column.type, column_type), f"{table}.{field.name}"
        assert (type(None) in kinds) == bool(column.nullable), f"{table}.{field.name}"


def test_nothing_is_binary_floating_point() -> None:
    """Money is exact, and there is no other number with a fraction."""
    for table in metadata.tables.values():
        for column in table.columns:
            assert not isinstance(column.type, Float | Numeric), f"{table.name}.{column.name}"


def test_moments_are_moments_everywhere() -> None:
    """What is called a time is one."""
    for table in metadata.tables.values():
        for column in table.columns:
            is_moment = column.name.endswith("_at") or column.name in ("time", "stamp_dead_after")
            assert is_moment == isinstance(column.type, UtcDateTime), f"{table.name}.{column.name}"


def test_only_free_form_facts_are_json() -> None:
    """What is queried or computed with has a column."""
    found = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Json)
    }
    assert found == {
        "adjustments.drops",
        "adjustments.error",
        "adjustments.legs",
        "asset_results.result",
        "decisions.body",
        "decisions.result",
        "events.data",
        "flags.value",
        "trades.context",
        "trades.error",
    }


def test_every_state_is_a_name_of_the_domain() -> None:
    """States are enumerations, never free text."""
    for table, column in (("trades", "status"), ("orders", "state"), ("decisions", "status"), ("events", "type")):
        assert isinstance(metadata.tables[table].columns[column].type, Name)
