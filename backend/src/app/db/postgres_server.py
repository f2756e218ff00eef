"""Connecting to PostgreSQL: the one place that knows settings of a session, and what errors mean to the operator."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg import conninfo
from psycopg.abc import PQGen

from app.core.database_url import PostgresLocation
from app.domain.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 10.0
"""Silence after which a connection counts as lost; a server that works gives up on a statement earlier, see below."""

_DEFAULTS = {
    "application_name": "tes",
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    # a server whose machine is gone is found out within seconds, not hours
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "8000",
}
_SESSION = """
SET synchronous_commit = on;
SET default_transaction_isolation = 'read committed';
SET timezone = 'UTC';
SET client_min_messages = error;
SET lock_timeout = '3s';
SET statement_timeout = '8s';
SET idle_in_transaction_session_timeout = '1500ms';
"""
"""The last line ends a transaction that a frozen process holds open, so that its locks keep nobody waiting."""

_FIXES = {
    "53100": "the server's disk is full: free some space",
    "53200": "the server is out of memory",
    "53300": "the server takes no more connections: end some, or raise max_connections",
    "55P03": "another program holds a lock: end it",
    "57014": "a statement took too long: look at what the server is doing",
    "57P01": "the server was shut down: start it",
    "57P02": "the server crashed: look at its log",
    "57P03": "the server is starting up or shutting down: wait, or start it",
    "25006": "the server is read-only: name the primary",
    "28000": "the server does not let this user in: check user, database and pg_hba.conf",
    "28P01": "the password is wrong",
    "3D000": "there is no such database: create it",
    "42501": "this user may not write there: grant it the rights on the schema and its tables",
}


_EVERYONES = frozenset({"25006", "53100", "57P01", "57P02", "57P03"})
_REFUSALS = ("refused", "No such file", "is starting up", "is shutting down", "recovery mode")


class ServerSaysNo(StoreUnavailable):
    """The server, or the machine that it should run on, answered that it serves nobody now."""


def is_everyones(sqlstate: str) -> bool:
    """Whether an error of that code would meet every other program as well."""
    return sqlstate in _EVERYONES


def explain(shown: str, sqlstate: str | None, message: str) -> str:
    """What the operator should know and do about an error of the database ``shown``.

    A server that does not let us in gives no code, but a sentence of its own behind the word FATAL.
    """
    text = message.strip().splitlines()[0] if message.strip() else "no reason given"
    if sqlstate:
        fix = _FIXES.get(sqlstate, "see the server's log")
    elif "FATAL:" in text:
        fix, text = "the server does not let us in", text.rpartition("FATAL:")[2].strip()
    else:
        fix = "check that the server runs and can be reached"
    return f"database {shown}: {fix} ({text})"


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that counts as lost when the server does not answer for :data:`ANSWER_TIMEOUT_S` seconds.

    Time limits of a session are the server's, and a server that hangs keeps none.
    """

    answer_timeout_s: float | None = None
    """None: :data:`ANSWER_TIMEOUT_S`."""

    def __del__(self, *_: Any) -> None:
        """Close: a stop leaves a connection behind that is in use by a call which nobody has answered."""
        self.pgconn.finish()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for one answer; everything that a connection does waits here.

        Raises:
            psycopg.OperationalError: there was none in time; the connection is closed.
        """
        limit_s = timeout or self.answer_timeout_s or ANSWER_TIMEOUT_S
        try:
            return super().wait(gen, interval, limit_s)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 — how psycopg names it
            self.pgconn.finish()  # or the ends of pipeline and transaction would each wait as long again
            raise psycopg.OperationalError(f"no answer for {limit_s:g} s") from None


def connect(location: PostgresLocation) -> BoundedConnection:
    """A connection that commits each statement by itself unless told otherwise.

    Raises:
        ConfigurationError: the URL is no connection URL; the message never repeats it.
        ServerSaysNo: it does not run, or serves nobody now.
        StoreUnavailable: it can't be reached, or does not let us in.
    """
    try:
        chosen = {name: str(value) for name, value in conninfo.conninfo_to_dict(location.url).items()}
    except psycopg.Error:
        text = "TES_DATABASE_URL is no PostgreSQL URL: use postgresql://USER:PASSWORD@HOST/DATABASE, % escaped as %25"
        raise ConfigurationError(text) from None
    try:
        connection = BoundedConnection.connect(
            conninfo.make_conninfo(**{**_DEFAULTS, **chosen}), autocommit=True, cursor_factory=psycopg.RawCursor
        )
        connection.execute(_SESSION)
    except psycopg.Error as error:
        text = str(error)
        kind = ServerSaysNo if any(word in text for word in _REFUSALS) else StoreUnavailable
        raise kind(explain(location.shown, error.sqlstate, text)) from None
    return connection
