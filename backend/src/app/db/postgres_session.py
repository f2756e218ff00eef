"""One connection's statements: prepared once, sent in pipelines, so that a whole group costs one round trip.

This is libpq's pipeline mode, driven by hand: per statement it costs the writer a fraction of what a cursor does.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Iterable, Sequence

import psycopg
from psycopg import pq

from app.db import postgres_server
from app.db.commit_queue import Operation

PREPARED_LIMIT = 1000
"""Statements that the server keeps for us; beyond that all are forgotten and prepared again as they come."""

_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


class ConnectionLost(Exception):
    """The connection is gone; what the server did with the last pipeline is not known here."""


class Failed(Exception):
    """A statement failed, and the server skipped the rest of the pipeline."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class PostgresSession:
    """Runs operations on ``connection``, which is its own from now on."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._poll = select.poll()
        self._poll.register(self._libpq.socket, select.POLLIN)
        self._libpq.nonblocking = 1
        self._libpq.enter_pipeline_mode()

    def prepare(self, texts: Iterable[str]) -> None:
        """Prepare statements; those that are already cost nothing. Outside of transactions only.

        Raises:
            Failed: the server does not understand one of them; those before it are prepared.
            ConnectionLost: see there.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self._names]
        if not missing:
            return
        if len(self._names) + len(missing) > PREPARED_LIMIT:
            self._libpq.send_query_params(b"DEALLOCATE ALL", None)
            self._answers(1)
            self._names.clear()
        names = [b"s%d" % (len(self._names) + number) for number in range(len(missing))]
        for name, text in zip(names, missing, strict=True):
            self._libpq.send_prepare(name, text.encode())
        for name, text, answer in zip(names, missing, self._answers(len(missing)), strict=True):
            _require(answer)
            self._names[text] = name

    def run(self, operations: Sequence[Operation]) -> list[pq.abc.PGresult]:
        """Send all operations, then take all answers. After a failed one inside a transaction, roll back.

        Raises:
            Failed: the first operation that failed.
            ConnectionLost: see there.
            ValueError: a value can't be sent; nothing was.
        """
        self.prepare(operation.text for operation in operations)
        encoded = [[_encode(value) for value in operation.values] for operation in operations]
        try:
            for operation, values in zip(operations, encoded, strict=True):
                self._libpq.send_query_prepared(self._names[operation.text], values)
        except psycopg.Error as error:
            raise ConnectionLost(str(error).strip()) from error
        answers = self._answers(len(operations))
        for answer in answers:
            _require(answer)
        return answers

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _answers(self, count: int) -> list[pq.abc.PGresult]:
        """One answer for each command of the pipeline: sends and receives until the server is in step with us."""
        libpq = self._libpq
        answers: deque[pq.abc.PGresult] = deque()
        try:
            libpq.pipeline_sync()
            while True:
                is_sent = libpq.flush() == 0
                self._poll.modify(libpq.socket, select.POLLIN if is_sent else select.POLLIN | select.POLLOUT)
                ready = self._poll.poll(postgres_server.ANSWER_TIMEOUT_S * 1000)
                if not ready:
                    raise ConnectionLost(f"no answer for {postgres_server.ANSWER_TIMEOUT_S:g} s")
                if ready[0][1] & ~select.POLLOUT:
                    libpq.consume_input()
                while not libpq.is_busy():
                    answer = libpq.get_result()
                    if answer is None:  # the end of one command's answers, the next one's follow
                        if libpq.status == pq.ConnStatus.BAD:
                            raise ConnectionLost(_said(libpq))
                        continue
                    if answer.status == pq.ExecStatus.PIPELINE_SYNC:
                        return _paired(answers, count)
                    answers.append(answer)
        except psycopg.Error as error:
            raise ConnectionLost(str(error).strip()) from error


def _paired(answers: deque[pq.abc.PGresult], count: int) -> list[pq.abc.PGresult]:
    """A connection that dies reports it as one answer more or less than there were commands."""
    if len(answers) != count:
        text = answers[-1].error_message if answers else b""
        raise ConnectionLost(text.decode(errors="replace").strip() or "the answers do not match the commands")
    return list(answers)


def _require(answer: pq.abc.PGresult) -> None:
    if answer.status in _DONE:
        return
    state = (answer.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    primary = answer.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or answer.error_message
    raise Failed(state, primary.decode(errors="replace").strip())


def _said(libpq: pq.abc.PGconn) -> str:
    return libpq.error_message.decode(errors="replace").strip() or "the connection is gone"


def _encode(value: object) -> bytes | None:
    """A value as the text that the server reads. NUL is the one character that it can't hold."""
    if value is None:
        return None
    return str(value).replace("\0", "\ufffd").encode()
