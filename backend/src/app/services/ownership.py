"""One process trades an account (scenario C4): it takes a lease, keeps it, and stops when it can't know that it has it.

A process that finds the lease taken stands by: it answers, is not ready, sends nothing, and takes over when the lease
runs out or is given back. Four things keep two processes apart:

- every commit looks at the lease's epoch in its own transaction, so that who lost the lease writes nothing;
- every request to the exchange asks :meth:`Ownership.may_send` right before it leaves, and that ends some time before
  the lease does, so that who could not renew it, or was frozen, sends nothing;
- an event loop that is held up sends nothing, and the writer's thread renews the lease until it goes on: a live owner
  does not lose its accounts to work of its own;
- an outage of the database, which keeps everybody from renewing and from taking over, ends neither exits (C2) nor the
  lease: who stands by gives the owner time to renew it when the database is back. The owner can't know by its failed
  commits when that is, so it reads meanwhile whether the lease is still its own, and who takes over a lease that ran
  out leaves it the time for that before anything is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from app.db.port import Health
from app.domain.errors import OwnershipLost, StoreConflict, StoreUnavailable
from app.domain.events import Event
from app.domain.ports import Clock
from app.repositories.leases import LEASE_S, Lease, LeaseRepository, Owner

log = structlog.get_logger(__name__)

RENEW_S = 0.75
"""Between two renewals."""
MARGIN_S = 0.5
"""So long before the lease ends nothing is sent any more."""
LOOK_S = 0.1
"""How often who stands by looks at the lease."""
ABANDONED_S = LEASE_S + 2 * LOOK_S
"""A lease that did not change while it was watched for so long is free, wherever the clock puts its end: that clock may
have been set back since its owner died."""
PATIENCE_S = 2.0
"""How long after an outage who stands by leaves the lease to its owner; longer than the longest pause between tries."""
SETTLE_S = 0.3
"""Between taking over a lease that ran out and the first request: who had it may be in an outage, and looks by then."""
_FRESH_S = 0.25
"""How long in an outage what the owner has read of its lease is believed; shorter than :data:`SETTLE_S`."""
_RETRY_S = 0.25
_RELEASE_S = 2.0
HELD_UP_S = 10.0
"""So long the event loop may be held up by work of its own before another process should take over. Until then the
database's writer renews the lease in its place; a process that died or was frozen renews nothing."""


class Ownership:
    """The leases of a process on all its accounts, which it takes together.

    Args:
        describe_takeover: the event that tells of a lease that ran out and was taken over, for an account.
        health: the database's.
    """

    def __init__(
        self,
        leases: LeaseRepository,
        owner: Owner,
        clock: Clock,
        health: Callable[[], Health],
        describe_takeover: Callable[[Lease], Event],
    ) -> None:
        self._leases = leases
        self._owner = owner
        self._clock = clock
        self._health = health
        self._describe_takeover = describe_takeover
        self._epochs: Mapping[str, int] | None = None
        self._confirmed: tuple[float, datetime] = (0.0, clock.now())
        self._ticked = 0.0
        self._was_frozen = False
        self._lost: str | None = None
        self._given_up = asyncio.Event()
        self._gave_up: str | None = None
        self._holder: str | None = None
        self._troubled_at: float | None = None
        self._watched: dict[str, tuple[Lease, float]] = {}
        self._looked = -_FRESH_S
        self._looking: asyncio.Task[None] | None = None

    # --- what others ask --------------------------------------------------------------------------------------------

    @property
    def obstacle(self) -> str | None:
        """Why this process does not trade now, in words for the operator; None when it does."""
        if self._lost is not None:
            return f"{self._lost}; start it again to stand by"
        if self._gave_up is not None:
            return self._gave_up
        if self._epochs is None:
            return self._holder or "the lease on the account is being taken"
        if not self.may_send():
            return "the lease on the account could not be renewed in time: nothing is sent until it is"
        return None

    @property
    def is_lost(self) -> bool:
        """Whether this process has stopped trading for good: another one has taken over, or it could not begin."""
        return self._lost is not None or self._gave_up is not None

    def may_send(self) -> bool:
        """Whether this process can be sure that nobody else trades its accounts. Cheap; asked before each request."""
        if self._epochs is None or self.is_lost:
            return False
        if self._unconfirmed_s() < LEASE_S - MARGIN_S:
            return True
        now = self._clock.monotonic()
        is_awake = not self._was_frozen and now - self._ticked < LEASE_S - MARGIN_S
        return is_awake and self._health().is_everyones and now - self._looked < _FRESH_S

    def _is_alive(self) -> bool:
        """Whether the event loop was at work lately, and may renew the lease again; asked by the writer's thread."""
        return self._epochs is not None and self._clock.monotonic() - self._ticked < HELD_UP_S

    def _unconfirmed_s(self) -> float:
        """Seconds since the lease was last known to be ours, by the clock that says more: one may stand still."""
        monotonic, moment = self._confirmed
        return max(self._clock.monotonic() - monotonic, (self._clock.now() - moment).total_seconds())

    # --- taking it --------------------------------------------------------------------------------------------------

    async def _take(self) -> bool:
        """Take the leases if they are free. Afterwards every commit is guarded.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        asked = self._now()
        seen = self._judged(await self._leases.look())
        held = next((lease for lease in seen.values() if not lease.is_free), None)
        if held is not None:
            self._holder = _standing_by(held)
            return False
        ran_out = [lease for lease in seen.values() if lease.is_free and not lease.was_released]
        try:
            epochs = await self._leases.take(self._owner, seen, [self._describe_takeover(lease) for lease in ran_out])
        except StoreConflict:
            self._holder = "another process was faster and takes the account"
            return False
        self._leases.guard(epochs, self._lose)
        self._leases.keep_alive(epochs, self._is_alive)
        self._confirmed, self._ticked = asked, asked[0]
        self._epochs = epochs
        log.info("ownership.taken", accounts=sorted(epochs), epochs=dict(epochs))
        if ran_out:
            await self._clock.sleep(SETTLE_S)
        return True

    def _judged(self, seen: Mapping[str, Lease]) -> dict[str, Lease]:
        """The leases, those free as well that nobody has renewed for longer than a lease lasts."""
        now = self._clock.monotonic()
        for name, lease in seen.items():
            if name not in self._watched or self._watched[name][0] != lease:
                self._watched[name] = lease, now
        return {
            name: replace(lease, is_free=lease.is_free or now - since >= ABANDONED_S)
            for name, (lease, since) in ((name, self._watched[name]) for name in seen)
        }

    async def stand_by(self) -> None:
        """Look until the leases could be taken."""
        while not await self.try_to_take():
            await self._clock.sleep(LOOK_S)

    async def try_to_take(self) -> bool:
        """Take the leases if they are free, and the database is not just back from an outage."""
        if not self._health().is_healthy:
            self._troubled_at = self._clock.monotonic()
        if self._troubled_at is not None:
            self._watched.clear()  # in an outage nobody can renew
            if self._clock.monotonic() - self._troubled_at < PATIENCE_S:
                return False
            self._troubled_at = None
        try:
            return await self._take()
        except StoreUnavailable as error:
            self._troubled_at = self._clock.monotonic()
            self._holder = str(error)
            log.warning("ownership.not_looked", error=str(error))
            return False

    # --- keeping it -------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Renew the leases; returns when they are lost."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                is_renewed = await self._renew()
                if self._lost is not None:
                    return
                await self._clock.sleep(RENEW_S if is_renewed else _RETRY_S)
        finally:
            watching.cancel()
            if self._looking is not None:
                self._looking.cancel()

    async def _watch(self) -> None:
        """Notice when this process did not run for a while: an outage told before says nothing about now."""
        while True:
            now = self._clock.monotonic()
            if now - self._ticked > LEASE_S - MARGIN_S:
                self._was_frozen = True
            self._ticked = now
            if self._health().is_everyones and (self._looking is None or self._looking.done()):
                self._looking = asyncio.create_task(self._look_while_nobody_writes())
            await self._clock.sleep(_RETRY_S)

    async def _look_while_nobody_writes(self) -> None:
        """Read again and again whether the lease is still ours, until the outage is over by our own commits' word."""
        while self._lost is None and self._epochs is not None and self._health().is_everyones:
            asked = self._clock.monotonic()
            try:
                seen = await self._leases.look()
            except StoreUnavailable:
                self._looked = self._clock.monotonic()  # who can't read it either has not taken it
            else:
                if any(account not in seen or seen[account].epoch != mine for account, mine in self._epochs.items()):
                    self._lose(f"another process has taken over {', '.join(self._epochs)} after an outage")
                    return
                self._looked = asked
            await self._clock.sleep(LOOK_S)

    async def _renew(self) -> bool:
        asked = self._now()
        if self._epochs is None:
            return False
        try:
            await self._leases.renew(self._epochs)
        except (OwnershipLost, StoreConflict) as error:
            self._lose(str(error))
            return False
        except StoreUnavailable as error:
            log.warning("ownership.not_renewed", error=str(error))
            return False
        # counted from before it was asked for: the lease lasts at least as long as we believe
        self._confirmed = asked
        self._was_frozen = False
        return True

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            log.critical("ownership.lost", reason=reason)

    def give_up(self, reason: str) -> None:
        """Stop trading for good for a reason of our own; :meth:`release` lets the next one begin."""
        if self._gave_up is None:
            self._gave_up = reason
            self._given_up.set()

    async def until_given_up(self) -> str:
        """Wait until trading has stopped for a reason of our own; returns it. The process should end then."""
        await self._given_up.wait()
        return self._gave_up or ""

    async def release(self) -> None:
        """Give the leases back, so that the next process can begin at once."""
        epochs, self._epochs = self._epochs, None
        if epochs is None or self._lost is not None:
            return
        try:
            async with asyncio.timeout(_RELEASE_S):
                await self._leases.release(epochs)
        except TimeoutError:
            log.warning("ownership.not_released", error="the database does not answer: the lease runs out by itself")
        except (StoreUnavailable, StoreConflict) as error:
            log.warning("ownership.not_released", error=str(error))

    def _now(self) -> tuple[float, datetime]:
        return self._clock.monotonic(), self._clock.now()


def _standing_by(held: Lease) -> str:
    since = held.since.isoformat(timespec="seconds")
    return (
        f"standing by: account {held.account_id} is traded by process {held.owner.pid} on {held.owner.host} "
        f"since {since}; this one takes over when that one ends"
    )
