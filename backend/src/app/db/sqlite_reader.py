"""The readers' side of SQLite: one connection that can't write, one snapshot at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import apsw

from app.core.clock import SystemClock
from app.db.port import Read
from app.db.sqlite_files import explain, open_connection, teach_time
from app.db.statements import SQLITE, Row
from app.domain.errors import InvariantBroken, StoreUnavailable


class SqliteReader:
    """:class:`app.db.port.Reader` of the file at ``path``; ``now`` is what ``clock_timestamp()`` tells in SQL.

    Raises:
        StoreUnavailable: it can't be opened.
    """

    def __init__(self, path: Path, busy_timeout_ms: int, now: Callable[[], datetime] | None = None) -> None:
        self._path = path
        self._connection = open_connection(path, busy_timeout_ms=busy_timeout_ms, is_reader=True)
        teach_time(self._connection, SystemClock().now if now is None else now)

    def __call__(self, *reads: Read) -> list[list[Row]]:
        """The rows of several queries, all as of one moment; see the port."""
        compiled = [read.query.compiled(SQLITE) for read in reads]
        bound = [query.bind(read.parameters) for query, read in zip(compiled, reads, strict=True)]
        execute = self._connection.execute
        try:
            execute("BEGIN")
            try:
                raw = [execute(query.text, values).fetchall() for query, values in zip(compiled, bound, strict=True)]
            finally:
                if self._connection.in_transaction:
                    execute("COMMIT")
        except apsw.SQLError as error:
            raise InvariantBroken(f"the database does not understand a query: {error}") from None
        except apsw.Error as error:
            raise StoreUnavailable(explain(self._path, error)) from None
        return [query.rows(rows) for query, rows in zip(compiled, raw, strict=True)]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
