"""The database port on PostgreSQL, through libpq: a writing connection and a reading one."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from app.core.database_url import PostgresLocation, parse_database_url
from app.db.commit_queue import CAPACITY, Job, Operation, Outcome
from app.db.executors import Executor
from app.db.grouped import GroupedDatabase
from app.db.migrate import migrate_postgres
from app.db.postgres_server import connect, explain
from app.db.postgres_writer import PostgresWriter
from app.db.statements import POSTGRESQL, CompiledQuery, SqlValue
from app.domain.errors import ConfigurationError, InvariantBroken, StoreUnavailable

_MISUNDERSTOOD = (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError)


class PostgresDatabase(GroupedDatabase):
    """:class:`app.db.port.Database` on a server. Connections that break are made again when they are needed."""

    def __init__(self, url: str, executor: Executor, *, capacity: int = CAPACITY) -> None:
        super().__init__(POSTGRESQL, executor, capacity)
        location = parse_database_url(url)
        if not isinstance(location, PostgresLocation):
            raise ConfigurationError("TES_DATABASE_URL names no PostgreSQL database")
        self._location = location
        self._writer = PostgresWriter(lambda: connect(location), location.shown)
        self._reader: psycopg.Connection | None = None

    @property
    def _name(self) -> str:
        return self._location.shown

    def _open(self) -> None:
        with connect(self._location) as connection:
            migrate_postgres(connection, self._location.shown)

    def _shut(self) -> None:
        self._writer.close()
        self._forget_reader()

    def _commit(self, jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        return self._writer.commit(jobs, guard)

    def _probe(self, guard: Operation | None) -> None:
        self._writer.probe(guard)

    def _read(
        self, queries: Sequence[CompiledQuery], bound: Sequence[tuple[SqlValue, ...]]
    ) -> list[list[tuple[SqlValue, ...]]]:
        is_fresh = self._reader is None
        try:
            return self._read_once(queries, bound)
        except psycopg.OperationalError as error:
            self._forget_reader()
            if is_fresh:
                raise StoreUnavailable(explain(self._name, error.sqlstate, str(error))) from None
        # the connection was an old one, and the server may have been restarted: a read can be made again
        return self._read(queries, bound)

    def _read_once(
        self, queries: Sequence[CompiledQuery], bound: Sequence[tuple[SqlValue, ...]]
    ) -> list[list[tuple[SqlValue, ...]]]:
        if self._reader is None:
            self._reader = connect(self._location)
            self._reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._reader.read_only = True
        reader = self._reader
        try:
            with reader.transaction(), reader.pipeline():
                cursors = [reader.execute(query.text, values) for query, values in zip(queries, bound, strict=True)]
                return [cursor.fetchall() for cursor in cursors]
        except _MISUNDERSTOOD as error:
            raise InvariantBroken(f"the database does not understand a query: {error}") from None

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
