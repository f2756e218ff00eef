"""The readers' side of PostgreSQL: one connection that can't write, one snapshot at a time."""

from __future__ import annotations

import psycopg

from app.core.database_url import PostgresLocation
from app.db.port import Read
from app.db.postgres_server import connect, explain
from app.db.statements import POSTGRESQL, Row
from app.domain.errors import InvariantBroken, StoreUnavailable

_MISUNDERSTOOD = (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError)


class PostgresReader:
    """:class:`app.db.port.Reader` on a server. It connects when it is asked, and again when the connection broke."""

    def __init__(self, location: PostgresLocation) -> None:
        self._location = location
        self._connection: psycopg.Connection | None = None

    def __call__(self, *reads: Read) -> list[list[Row]]:
        """The rows of several queries, all as of one moment; see the port."""
        is_fresh = self._connection is None
        try:
            return self._read(*reads)
        except psycopg.OperationalError as error:
            self.close()
            if is_fresh:
                raise StoreUnavailable(explain(self._location.shown, error.sqlstate, str(error))) from None
        # the connection was an old one, and the server may have been restarted: a read can be made again
        return self(*reads)

    def _read(self, *reads: Read) -> list[list[Row]]:
        compiled = [read.query.compiled(POSTGRESQL) for read in reads]
        bound = [query.bind(read.parameters) for query, read in zip(compiled, reads, strict=True)]
        if self._connection is None:
            self._connection = connect(self._location)
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
        connection = self._connection
        try:
            with connection.transaction(), connection.pipeline():
                cursors = [
                    connection.execute(query.text, values) for query, values in zip(compiled, bound, strict=True)
                ]
                raw = [cursor.fetchall() for cursor in cursors]
        except _MISUNDERSTOOD as error:
            raise InvariantBroken(f"the database does not understand a query: {error}") from None
        return [query.rows(rows) for query, rows in zip(compiled, raw, strict=True)]

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
