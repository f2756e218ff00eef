"""The writer's side of PostgreSQL: one group of jobs, one transaction, two round trips.

A group is first tried as a whole, in one pipeline without savepoints, its events numbered from where the last commit
ended. When any of it turns out otherwise (a conflict, or another process numbered events meanwhile), all of it is
rolled back and written again one job after another, each in its savepoint. Conflicts are rare, so nearly every group
takes the short way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg import pq

from app.db.commit_queue import Job, Operation, Outcome
from app.db.event_log import ADVANCE_COUNTER, INSERT_EVENT, LOCK_COUNTER, WRITE_COUNTER
from app.db.grouped import GroupNotCommitted
from app.db.postgres_server import explain
from app.db.postgres_session import ConnectionLost, Failed, PostgresSession
from app.db.statements import POSTGRESQL
from app.domain.errors import InvariantBroken, StoreConflict, StoreUnavailable
from app.domain.events import RecordedEvent

_INSERT_EVENT = INSERT_EVENT.compiled(POSTGRESQL)
_LOCK_COUNTER = LOCK_COUNTER.compiled(POSTGRESQL)
_ADVANCE_COUNTER = ADVANCE_COUNTER.compiled(POSTGRESQL)
_WRITE_COUNTER = WRITE_COUNTER.compiled(POSTGRESQL)

_BEGIN = Operation("BEGIN", (), None)
_COMMIT = Operation("COMMIT", (), None)
_ROLLBACK = Operation("ROLLBACK", (), None)
_SAVEPOINT = Operation("SAVEPOINT unit", (), None)
_RELEASE = Operation("RELEASE SAVEPOINT unit", (), None)
_ROLLBACK_TO = Operation("ROLLBACK TO SAVEPOINT unit", (), None)
_TRANSACTION_ID = Operation("SELECT pg_current_xact_id()::text", (), None)
_TRANSACTION_STATUS = "SELECT pg_xact_status($1::xid8)"
_LOCK = Operation(_LOCK_COUNTER.text, _LOCK_COUNTER.bind({}), None)

_T = TypeVar("_T")

_CONFLICT = "23"
_MISUNDERSTOOD = ("0A", "22", "42")
_NO_RIGHT = "42501"


class _Refused(Exception):
    """A job can't be written as it is: why is the outcome."""

    def __init__(self, outcome: StoreConflict | InvariantBroken) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A commit whose answer got lost."""

    transaction_id: str
    jobs: tuple[Job, ...]
    outcomes: tuple[Outcome, ...]
    last_seq: int


class PostgresWriter:
    """Owns the writing connection, and makes a new one when it is lost."""

    def __init__(self, connect: Callable[[], psycopg.Connection], shown: str) -> None:
        self._connect = connect
        self._shown = shown
        self._session: PostgresSession | None = None
        self._last_seq = 0
        self._doubt: _Doubt | None = None

    def commit(self, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Write a group; see ``GroupedDatabase``. A group in doubt is asked after first, then given again as it was.

        Raises:
            GroupNotCommitted: the database did not take it.
        """
        return self._guarded(lambda session: self._commit(session, jobs))

    def probe(self) -> None:
        """Find out whether the database takes writes, by one that changes nothing.

        Raises:
            GroupNotCommitted: it does not.
        """
        self._guarded(self._probe)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _guarded(self, act: Callable[[PostgresSession], _T]) -> _T:
        """Connect when needed, and turn what goes wrong into words; a session with trouble is not used again."""
        is_in_doubt = self._doubt is not None
        try:
            if self._session is None:
                self._session = PostgresSession(self._connect())
            return act(self._session)
        except StoreUnavailable as error:
            raise GroupNotCommitted(str(error), is_in_doubt=is_in_doubt) from error
        except ConnectionLost as error:
            self.close()
            reason = explain(self._shown, None, str(error))
            raise GroupNotCommitted(reason, is_in_doubt=self._doubt is not None) from error
        except Failed as error:
            self.close()
            reason = explain(self._shown, error.sqlstate, str(error))
            raise GroupNotCommitted(reason, is_in_doubt=self._doubt is not None) from error
        except BaseException:
            self.close()
            raise

    def _commit(self, session: PostgresSession, jobs: Sequence[Job]) -> Sequence[Outcome]:
        doubt = self._doubt
        if doubt is not None:
            if self._was_committed(session, doubt):
                self._doubt = None
                self._last_seq = doubt.last_seq
                return doubt.outcomes
            self._doubt = None
        try:
            return self._together(session, jobs)
        except _Refused:
            session.run((_ROLLBACK,))
            return self._one_by_one(session, jobs)

    def _was_committed(self, session: PostgresSession, doubt: _Doubt) -> bool:
        """Ask the server what became of a transaction.

        Raises:
            GroupNotCommitted: it is still at work on it.
        """
        (answer,) = session.run((Operation(_TRANSACTION_STATUS, (doubt.transaction_id,), None),))
        status = _text(answer)
        if status == "in progress":
            text = f"database {self._shown}: it is not known yet whether the last commit was carried out"
            raise GroupNotCommitted(text, is_in_doubt=True)
        return status == "committed"

    def _together(self, session: PostgresSession, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """All jobs in one pipeline.

        Raises:
            _Refused: one of them can't be written as it is, or the counter stands elsewhere.
        """
        seq = self._last_seq
        outcomes = []
        operations = [_BEGIN, _TRANSACTION_ID]
        count = sum(len(job.event_rows) for job in jobs)
        if count:
            values = _ADVANCE_COUNTER.bind({"before": seq, "after": seq + count})
            operations.append(Operation(_ADVANCE_COUNTER.text, values, 1))
        for job in jobs:
            operations += _operations(job, seq)
            outcomes.append(_recorded(job, seq))
            seq += len(job.event_rows)
        answers = self._run(session, operations)
        self._finish(session, _text(answers[1]), jobs, outcomes, seq)
        return outcomes

    def _one_by_one(self, session: PostgresSession, jobs: Sequence[Job]) -> Sequence[Outcome]:
        """Each job in its savepoint; one that is refused leaves no trace, and uses no number."""
        outcomes: list[Outcome] = []
        answers = session.run((_BEGIN, _TRANSACTION_ID, _LOCK))
        transaction_id = _text(answers[1])
        first_seq = seq = self._counted(answers[2])
        for job in jobs:
            try:
                session.run((_SAVEPOINT,))
                self._run(session, _operations(job, seq))
            except _Refused as refused:
                session.run((_ROLLBACK_TO,))
                outcomes.append(refused.outcome)
            else:
                outcomes.append(_recorded(job, seq))
                seq += len(job.event_rows)
            session.run((_RELEASE,))
        if seq != first_seq:
            session.run((Operation(_WRITE_COUNTER.text, _WRITE_COUNTER.bind({"value": seq}), None),))
        self._finish(session, transaction_id, jobs, outcomes, seq)
        return outcomes

    def _run(self, session: PostgresSession, operations: Sequence[Operation]) -> list[pq.abc.PGresult]:
        """Run, and hold every operation to the rows that it expects.

        Raises:
            _Refused: the fault is the operations' own; the database is fine.
        """
        try:
            answers = session.run(operations)
        except Failed as error:
            if error.sqlstate.startswith(_CONFLICT):
                raise _Refused(StoreConflict(f"the database holds something else already: {error}")) from error
            if error.sqlstate.startswith(_MISUNDERSTOOD) and error.sqlstate != _NO_RIGHT:
                raise _Refused(InvariantBroken(f"the database does not understand a write: {error}")) from error
            raise
        except ValueError as error:
            raise _Refused(InvariantBroken(f"the database does not understand a write: {error}")) from error
        for operation, answer in zip(operations, answers, strict=True):
            if operation.expect_rows is not None and (answer.command_tuples or 0) != operation.expect_rows:
                text = f"a write touched {answer.command_tuples} rows, not {operation.expect_rows} as expected"
                raise _Refused(StoreConflict(text))
        return answers

    def _finish(
        self,
        session: PostgresSession,
        transaction_id: str,
        jobs: Sequence[Job],
        outcomes: Sequence[Outcome],
        last_seq: int,
    ) -> None:
        """Commit. From the moment that it is sent until its answer is here, the group is in doubt."""
        self._doubt = _Doubt(transaction_id, tuple(jobs), tuple(outcomes), last_seq)
        try:
            session.run((_COMMIT,))
        except Failed:
            self._doubt = None  # an answer, and a clear one: the transaction was rolled back
            raise
        self._doubt = None
        self._last_seq = last_seq

    def _probe(self, session: PostgresSession) -> None:
        answers = session.run((_BEGIN, _LOCK))
        value = self._counted(answers[1])
        session.run((Operation(_WRITE_COUNTER.text, _WRITE_COUNTER.bind({"value": value}), None), _COMMIT))

    def _counted(self, answer: pq.abc.PGresult) -> int:
        if answer.ntuples != 1:
            raise GroupNotCommitted(f"database {self._shown}: the event counter is missing: restore a backup")
        return int(_text(answer))


def _operations(job: Job, seq: int) -> list[Operation]:
    events = [
        Operation(_INSERT_EVENT.text, (number, *row.values), None)
        for number, row in enumerate(job.event_rows, start=seq + 1)
    ]
    return [*job.operations, *events]


def _recorded(job: Job, seq: int) -> tuple[RecordedEvent, ...]:
    return tuple(RecordedEvent(seq + i, row.event) for i, row in enumerate(job.event_rows, start=1))


def _text(answer: pq.abc.PGresult) -> str:
    return (answer.get_value(0, 0) or b"").decode()
