"""Leases on accounts: taken, renewed, given back, and guarding every commit (scenario C4).

Moments are judged by the clock that all processes on a database share: the server's, or for a file the one host's.
Either is asked in SQL, as ``clock_timestamp()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, literal_column, or_, select, type_coerce, update

from app.db.port import Database, Read, Unit, Write
from app.db.statements import Query, Row, Statement
from app.db.types import Flag, UtcDateTime
from app.domain.errors import StoreConflict
from app.domain.events import Event
from app.models.leases import leases

LEASE_S = 2.5
"""How long a lease lasts that is not renewed."""

_NOBODY = ""

_NOW = func.clock_timestamp(type_=UtcDateTime)
_END: Any = literal_column(f"clock_timestamp() + make_interval(0, 0, 0, 0, 0, 0, {LEASE_S})")
_IS_FREE = leases.c.expires_at <= _NOW

_LOOK = Query(
    select(leases, type_coerce(_IS_FREE, Flag).label("is_free")).where(leases.c.account_id == bindparam("account"))
)
_OWNER: dict[str, Any] = {name: bindparam(name) for name in ("owner", "host", "pid")}
_FIRST = Statement(
    insert(leases)
    .values({"account_id": bindparam("account"), **_OWNER, "taken_at": _NOW, "epoch": 1, "expires_at": _END})
    .inline()
)
_NEXT = Statement(
    update(leases)
    .where(
        leases.c.account_id == bindparam("account"),
        leases.c.epoch == bindparam("seen"),
        leases.c.expires_at == bindparam("end"),
    )
    .values({**_OWNER, "taken_at": _NOW, "epoch": leases.c.epoch + 1, "expires_at": _END})
)
_MINE = and_(leases.c.account_id == bindparam("account"), leases.c.epoch == bindparam("mine"))
_RENEW = Statement(update(leases).where(_MINE).values({"expires_at": _END}))
_RELEASE = Statement(update(leases).where(_MINE).values({"owner": _NOBODY, "expires_at": _NOW}))


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: ``token`` tells it from all others, the rest tells people where to look."""

    token: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds an account, or held it last."""

    account_id: str
    owner: Owner
    since: datetime
    epoch: int
    ends_at: datetime
    is_free: bool

    @property
    def was_released(self) -> bool:
        """Whether its owner gave it back, and did not just stop renewing it."""
        return self.owner.token == _NOBODY


class LeaseRepository:
    """The leases of some accounts, which one process takes, keeps and gives back together."""

    def __init__(self, database: Database, accounts: Sequence[str]) -> None:
        self._database = database
        self._accounts = tuple(accounts)

    async def look(self) -> dict[str, Lease]:
        """The leases by account; an account that nobody ever had is missing.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        found = await self._database.snapshot(*(Read(_LOOK, {"account": account}) for account in self._accounts))
        return {row["account_id"]: _lease(row) for rows in found for row in rows}

    async def take(self, owner: Owner, seen: Mapping[str, Lease], events: Sequence[Event]) -> dict[str, int]:
        """Take all accounts, or none. Returns the epoch of each.

        Args:
            owner: who takes them.
            seen: every lease, as the caller has judged it free.
            events: what the event log says of it.

        Raises:
            StoreConflict: a lease is not free, or another process has taken or renewed it since it was seen.
            StoreUnavailable: the database did not take it.
        """
        writes, epochs = [], {}
        for account in self._accounts:
            parameters: dict[str, Any] = {"account": account} | _owner_values(owner)
            last = seen.get(account)
            if last is not None and not last.is_free:
                raise StoreConflict(f"account {account} is held by process {last.owner.pid} on {last.owner.host}")
            epochs[account] = 1 if last is None else last.epoch + 1
            if last is None:
                writes.append(Write(_FIRST, parameters))
            else:
                writes.append(Write(_NEXT, parameters | {"seen": last.epoch, "end": last.ends_at}, expect_rows=1))
        await self._database.commit(Unit(tuple(writes), tuple(events)))
        return epochs

    def guard(self, epochs: Mapping[str, int], on_lost: Callable[[str], None]) -> None:
        """From now on commit nothing unless these epochs still stand; ``on_lost`` hears when they do not."""
        ours = or_(*(and_(leases.c.account_id == name, leases.c.epoch == epoch) for name, epoch in epochs.items()))
        # a lock that others share, so that a takeover waits for a commit that has begun to look
        query = Query(select(leases.c.account_id).where(ours).with_for_update(read=True))
        reason = f"another process has taken over {', '.join(epochs)}: this one writes and sends nothing more"
        self._database.guard(Read(query), len(epochs), reason, on_lost)

    def keep_alive(self, epochs: Mapping[str, int], is_alive: Callable[[], bool]) -> None:
        """Renew every lease also while the event loop is held up, as long as ``is_alive``, which threads may call."""
        self._database.keep_alive(Unit(_writes(_RENEW, epochs)), is_alive)

    async def renew(self, epochs: Mapping[str, int]) -> None:
        """Begin the time of every lease anew.

        Raises:
            StoreConflict, OwnershipLost: somebody else has one of them.
            StoreUnavailable: the database did not take it.
        """
        await self._database.commit(Unit(_writes(_RENEW, epochs)))

    async def release(self, epochs: Mapping[str, int]) -> None:
        """Let the next one have them at once. Raises as ``renew``."""
        await self._database.commit(Unit(_writes(_RELEASE, epochs)))


def _writes(statement: Statement, epochs: Mapping[str, int]) -> tuple[Write, ...]:
    return tuple(
        Write(statement, {"account": account, "mine": epoch}, expect_rows=1) for account, epoch in epochs.items()
    )


def _owner_values(owner: Owner) -> dict[str, Any]:
    return {"owner": owner.token, "host": owner.host, "pid": owner.pid}


def _lease(row: Row) -> Lease:
    return Lease(
        account_id=row["account_id"],
        owner=Owner(row["owner"], row["host"], row["pid"]),
        since=row["taken_at"],
        epoch=row["epoch"],
        ends_at=row["expires_at"],
        is_free=row["is_free"],
    )
