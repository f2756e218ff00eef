"""The database port on PostgreSQL, through libpq: a writing connection and reading ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from app.core.database_url import PostgresLocation, parse_database_url
from app.db.commit_queue import CAPACITY, Job, Operation, Outcome
from app.db.executors import Executor
from app.db.generation import begin_on_postgres
from app.db.grouped import GroupedDatabase
from app.db.migrate import migrate_postgres
from app.db.port import OpenReader
from app.db.postgres_reader import PostgresReader
from app.db.postgres_server import connect
from app.db.postgres_writer import PostgresWriter
from app.db.statements import POSTGRESQL
from app.domain.errors import ConfigurationError


class PostgresDatabase(GroupedDatabase):
    """:class:`app.db.port.Database` on a server. Connections that break are made again when they are needed."""

    def __init__(self, url: str, executor: Executor, *, capacity: int = CAPACITY) -> None:
        super().__init__(POSTGRESQL, executor, capacity)
        location = parse_database_url(url)
        if not isinstance(location, PostgresLocation):
            raise ConfigurationError("TES_DATABASE_URL names no PostgreSQL database")
        self._location = location
        self._writer = PostgresWriter(lambda: connect(location), location.shown)

    @property
    def _name(self) -> str:
        return self._location.shown

    def _open(self) -> None:
        with connect(self._location) as connection:
            migrate_postgres(connection, self._location.shown)
            begin_on_postgres(connection)
        self._reader = PostgresReader(self._location)

    def _browsers_reader(self) -> OpenReader:
        return partial(PostgresReader, self._location)

    def _shut(self) -> None:
        self._writer.close()

    def _commit(self, jobs: Sequence[Job], guard: Operation | None) -> Sequence[Outcome]:
        return self._writer.commit(jobs, guard)

    def _probe(self, guard: Operation | None) -> None:
        self._writer.probe(guard)
