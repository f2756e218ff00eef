"""The writer's side of SQLite: one group of jobs, one transaction, each job in its own savepoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw

from app.db.commit_queue import Job, Outcome
from app.db.event_log import INSERT_EVENT, READ_COUNTER, WRITE_COUNTER
from app.db.statements import SQLITE
from app.domain.errors import InvariantBroken, StoreConflict
from app.domain.events import RecordedEvent

_INSERT_EVENT = INSERT_EVENT.compiled(SQLITE)
_READ_COUNTER = READ_COUNTER.compiled(SQLITE)
_WRITE_COUNTER = WRITE_COUNTER.compiled(SQLITE)

_MISUNDERSTOOD = (
    apsw.SQLError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.BindingsError,
    apsw.TooBigError,
    apsw.MisuseError,
    TypeError,
    ValueError,
    OverflowError,
)
"""What a unit did wrong by itself; trying it again would not help, and the others of its group are fine."""


class SqliteWriter:
    """Owns the writing connection. Every method may raise ``apsw.Error``: then nothing of the call was committed.

    (A commit whose sync fails may still be found after a crash of the machine. That errs to the safe side: an intent
    that was never sent is settled as not placed, a record that must land is written again.)
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def commit(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Write a group in one transaction; one job's conflict rolls back only that job.

        Conflicts are rare, so the group is written without savepoints first, and again with them where one turns up.
        """
        try:
            return self._in_one_transaction(jobs, self._write_all)
        except (StoreConflict, InvariantBroken):
            return self._in_one_transaction(jobs, self._write_each)

    def _in_one_transaction(
        self, jobs: Sequence[Job], write: Callable[[Sequence[Job], int], tuple[list[Outcome], int]]
    ) -> list[Outcome]:
        execute = self._cursor.execute
        execute("BEGIN IMMEDIATE")
        try:
            seq_before = self._last_seq()
            outcomes, seq = write(jobs, seq_before)
            if seq != seq_before:
                execute(_WRITE_COUNTER.text, _WRITE_COUNTER.bind({"value": seq}))
            execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _write_all(self, jobs: Sequence[Job], seq: int) -> tuple[list[Outcome], int]:
        outcomes: list[Outcome] = []
        for job in jobs:
            self._write(job, seq)
            outcomes.append(_recorded(job, seq))
            seq += len(job.event_rows)
        return outcomes, seq

    def _write_each(self, jobs: Sequence[Job], seq: int) -> tuple[list[Outcome], int]:
        execute = self._cursor.execute
        outcomes: list[Outcome] = []
        for job in jobs:
            execute("SAVEPOINT unit")
            try:
                self._write(job, seq)
            except (StoreConflict, InvariantBroken) as error:
                execute("ROLLBACK TO unit")
                outcomes.append(error)
            else:
                outcomes.append(_recorded(job, seq))
                seq += len(job.event_rows)
            execute("RELEASE unit")
        return outcomes, seq

    def probe(self) -> None:
        """Find out whether the database takes writes, by one that changes nothing."""
        execute = self._cursor.execute
        execute("BEGIN IMMEDIATE")
        try:
            execute(_WRITE_COUNTER.text, _WRITE_COUNTER.bind({"value": self._last_seq()}))
            execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _write(self, job: Job, seq: int) -> None:
        execute = self._cursor.execute
        try:
            for operation in job.operations:
                execute(operation.text, operation.values)
                if operation.expect_rows is not None and self._connection.changes() != operation.expect_rows:
                    raise StoreConflict(
                        f"a write touched {self._connection.changes()} rows, not {operation.expect_rows} as expected"
                    )
            for number, row in enumerate(job.event_rows, start=seq + 1):
                execute(_INSERT_EVENT.text, (number, *row.values))
        except apsw.ConstraintError as error:
            raise StoreConflict(f"the database holds something else already: {error}") from None
        except _MISUNDERSTOOD as error:
            raise InvariantBroken(f"the database does not understand a write: {error}") from None

    def _last_seq(self) -> int:
        value = self._cursor.execute(_READ_COUNTER.text, _READ_COUNTER.bind({})).get
        if not isinstance(value, int):
            raise apsw.CorruptError("the event counter is missing")
        return value

    def _roll_back(self) -> None:
        """Leave the transaction, unless SQLite already did (it does so on a full disk and on I/O errors)."""
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")


def _recorded(job: Job, seq: int) -> Outcome:
    return tuple(RecordedEvent(number, row.event) for number, row in enumerate(job.event_rows, start=seq + 1))
