"""SQL that is written once in SQLAlchemy Core, compiled once per dialect, and run as plain text.

SQLAlchemy builds the text and the converters of the parameters and columns; it never executes anything, so what
remains on the hot path is one tuple of converted values per statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Delete, Dialect, Insert, Select, Update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from app.db.types import Converter, StoredType
from app.domain.errors import InvariantBroken, UnreadableRecord

SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")
POSTGRESQL: Dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

_UNKNOWN_VALUE = (ValueError, TypeError, ArithmeticError)
_SHOWN_CHARACTERS = 40

SqlValue: TypeAlias = Any
Row: TypeAlias = Mapping[str, Any]


class _SpoiledRow(dict[str, Any]):
    """A row without the columns whose values this program does not know."""

    problems: Mapping[str, str]

    def __missing__(self, name: str) -> Any:
        if name in self.problems:
            raise UnreadableRecord(self.problems[name])
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement in one dialect: positional text and how to fill it.

    ``pick`` takes the values in the order of the text, ``encoders`` convert those at their positions, and
    ``constants`` are values that the statement brings along, encoded already.
    """

    text: str
    names: frozenset[str]
    constants: Mapping[str, SqlValue]
    pick: Callable[[Mapping[str, Any]], Iterable[Any]]
    encoders: tuple[tuple[int, Converter], ...]

    def bind(self, values: Mapping[str, Any]) -> tuple[SqlValue, ...]:
        """The values in the order of the text, converted.

        Raises:
            InvariantBroken: a value is missing or not part of the statement.
            TypeError, ValueError: a value does not fit its column's type.
        """
        if values.keys() != self.names:
            odd = ", ".join(sorted(self.names ^ values.keys()))
            raise InvariantBroken(f"a statement was given other parameters than it has: {odd}")
        row = list(self.pick({**values, **self.constants} if self.constants else values))
        for position, encode in self.encoders:
            value = row[position]
            if value is not None:
                row[position] = encode(value)
        return tuple(row)


@dataclass(frozen=True, slots=True)
class CompiledQuery(Compiled):
    """A query in one dialect: also how to read its rows."""

    columns: tuple[tuple[str, Converter | None], ...]

    def rows(self, raw: Iterable[Sequence[SqlValue]]) -> list[Row]:
        """The rows by column name, converted.

        A value that this program does not know spoils its own row only: to ask that row for it raises
        ``UnreadableRecord``.
        """
        return [self._row(values) for values in raw]

    def _row(self, values: Sequence[SqlValue]) -> Row:
        try:
            return {
                name: value if decode is None or value is None else decode(value)
                for (name, decode), value in zip(self.columns, values, strict=True)
            }
        except _UNKNOWN_VALUE:
            return self._what_can_be_read(values)

    def _what_can_be_read(self, values: Sequence[SqlValue]) -> Row:
        row, problems = _SpoiledRow(), {}
        for (name, decode), value in zip(self.columns, values, strict=True):
            try:
                row[name] = value if decode is None or value is None else decode(value)
            except _UNKNOWN_VALUE:
                problems[name] = f"column {name} holds {str(value)[:_SHOWN_CHARACTERS]!r}"
        row.problems = problems
        return row


class Statement:
    """An INSERT, UPDATE or DELETE. Make it once, as a constant; parameters are named by ``bindparam``."""

    __slots__ = ("_compiled", "clause")

    def __init__(self, clause: Insert | Update | Delete) -> None:
        self.clause = clause
        self._compiled: dict[str, Compiled] = {}

    def compiled(self, dialect: Dialect) -> Compiled:
        """The statement for ``dialect``; compiled on first use."""
        known = self._compiled.get(dialect.name)
        if known is None:
            known = self._compiled[dialect.name] = Compiled(*_compile(self.clause, dialect))
        return known


class Query:
    """A SELECT. Make it once, as a constant; parameters are named by ``bindparam``."""

    __slots__ = ("_compiled", "clause")

    def __init__(self, clause: Select[*tuple[Any, ...]]) -> None:
        self.clause = clause
        self._compiled: dict[str, CompiledQuery] = {}

    def compiled(self, dialect: Dialect) -> CompiledQuery:
        """The query for ``dialect``; compiled on first use."""
        known = self._compiled.get(dialect.name)
        if known is None:
            columns = tuple(
                (name, column.type.decoder(dialect) if isinstance(column.type, StoredType) else None)
                for name, column in self.clause.selected_columns.items()
            )
            known = self._compiled[dialect.name] = CompiledQuery(*_compile(self.clause, dialect), columns)
        return known


_Parts: TypeAlias = tuple[
    str,
    frozenset[str],
    dict[str, SqlValue],
    Callable[[Mapping[str, Any]], Iterable[Any]],
    tuple[tuple[int, Converter], ...],
]


def _compile(clause: Any, dialect: Dialect) -> _Parts:
    """The fields of ``Compiled``. Only our own types convert: what drivers take and give is plain already."""
    compiled: SQLCompiler = clause.compile(dialect=dialect)
    order = tuple(compiled.positiontup or ())
    constants: dict[str, SqlValue] = {}
    encoders = []
    for position, name in enumerate(order):
        bind = compiled.binds[name]
        encode = bind.type.encoder(dialect) if isinstance(bind.type, StoredType) else None
        if not bind.required:
            value = bind.effective_value
            constants[name] = value if encode is None or value is None else encode(value)
        elif encode is not None:
            encoders.append((position, encode))
    return compiled.string, frozenset(order) - constants.keys(), constants, _picker(order), tuple(encoders)


def _picker(order: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Iterable[Any]]:
    if len(order) > 1:
        return itemgetter(*order)
    return lambda values: [values[name] for name in order]
