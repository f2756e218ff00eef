"""SQL that is written once in SQLAlchemy Core, compiled once per dialect, and run as plain text.

SQLAlchemy builds the text and the converters of the parameters and columns; it never executes anything, so what
remains on the hot path is one tuple of converted values per statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import Delete, Dialect, Insert, Select, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine

from app.domain.errors import InvariantBroken

SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")

SqlValue: TypeAlias = Any
Row: TypeAlias = Mapping[str, Any]
Converter: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One place in the text: a named value that the caller gives, or a constant that the statement brings along."""

    name: str
    encode: Converter | None
    is_constant: bool = False
    constant: SqlValue = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement in one dialect: positional text and how to fill it."""

    text: str
    parameters: tuple[Parameter, ...]
    names: frozenset[str]

    def bind(self, values: Mapping[str, Any]) -> tuple[SqlValue, ...]:
        """The values in the order of the text, converted.

        Raises:
            InvariantBroken: a value is missing or not part of the statement.
            TypeError, ValueError: a value does not fit its column's type.
        """
        if values.keys() != self.names:
            odd = ", ".join(sorted(self.names ^ values.keys()))
            raise InvariantBroken(f"a statement was given other parameters than it has: {odd}")
        return tuple(
            parameter.constant
            if parameter.is_constant
            else (values[parameter.name] if parameter.encode is None else parameter.encode(values[parameter.name]))
            for parameter in self.parameters
        )


@dataclass(frozen=True, slots=True)
class CompiledQuery(Compiled):
    """A query in one dialect: also how to read its rows."""

    columns: tuple[tuple[str, Converter | None], ...]

    def rows(self, raw: Iterable[Sequence[SqlValue]]) -> list[Row]:
        """The rows by column name, converted."""
        return [
            {
                name: value if decode is None else decode(value)
                for (name, decode), value in zip(self.columns, values, strict=True)
            }
            for values in raw
        ]


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
            text, parameters = _compile(self.clause, dialect)
            known = self._compiled[dialect.name] = Compiled(text, parameters, _names(parameters))
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
            text, parameters = _compile(self.clause, dialect)
            columns = tuple(
                (name, _decoder(column.type, dialect)) for name, column in self.clause.selected_columns.items()
            )
            known = self._compiled[dialect.name] = CompiledQuery(text, parameters, _names(parameters), columns)
        return known


def _encoder(column_type: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    """Only our own types convert: what the drivers take and give is plain already."""
    if isinstance(column_type, TypeDecorator):
        return partial(column_type.process_bind_param, dialect=dialect)
    return None


def _decoder(column_type: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    if isinstance(column_type, TypeDecorator):
        return partial(column_type.process_result_value, dialect=dialect)
    return None


def _names(parameters: Iterable[Parameter]) -> frozenset[str]:
    return frozenset(parameter.name for parameter in parameters if not parameter.is_constant)


def _compile(clause: Any, dialect: Dialect) -> tuple[str, tuple[Parameter, ...]]:
    compiled: SQLCompiler = clause.compile(dialect=dialect)
    parameters = []
    for name in compiled.positiontup or ():
        bind = compiled.binds[name]
        encode = _encoder(bind.type, dialect)
        if bind.required:
            parameters.append(Parameter(name, encode))
        else:
            constant = bind.effective_value
            parameters.append(
                Parameter(name, None, is_constant=True, constant=encode(constant) if encode else constant)
            )
    return compiled.string, tuple(parameters)
