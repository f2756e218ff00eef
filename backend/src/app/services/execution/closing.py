"""Closing on request: bind the close to what is there, ask, and wait for the end.

What is there is every trade that has not ended, whether it holds something or its entry is in flight or UNKNOWN, and
every entry that was taken on and is no trade yet (scenario O10). An entry that has not left does not leave any more;
one that has is closed as soon as it is filled. So is what turns up of an entry that was given up lately (scenario U10):
nothing is held of it as far as anybody knows, which the answer says, and more may be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.domain.errors import ErrorCode
from app.domain.money import ZERO
from app.domain.policy import RiskPolicy
from app.domain.ports import Clock
from app.domain.trades import Adjustment, AdjustmentKind, CloseReason, Trade, TradeError
from app.schemas.decision import Action, AssetDecision
from app.schemas.result import AssetResult
from app.services.execution import facts, results
from app.services.execution.desk import Desk
from app.services.execution.dust import is_dust
from app.services.execution.intake import Intake, RunningDecision
from app.services.execution.late_fills import may_turn_up
from app.services.execution.planning import EntryWish
from app.services.execution.prices import Prices
from app.services.execution.recording import Recording
from app.services.execution.risk import RiskRefused, too_old
from app.services.execution.send_time import called_off

CLOSE_PATIENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Closer:
    """Closes positions of ours; ``desks`` is by asset. ``unknown``: why it is not known whether an asset is held."""

    desks: Mapping[str, Desk]
    intake: Intake
    recording: Recording
    policy: RiskPolicy
    clock: Clock
    prices: Prices
    unknown: Callable[[str], RiskRefused | None]
    _watchers: dict[tuple[str, str], list[asyncio.Event]] = field(default_factory=dict)
    """Who waits for the end of a trade, by its asset and id."""

    def hear(self, trade: Trade) -> None:
        """Tell everybody who waits for the trade's end that it has come, or that it may never come."""
        if _is_over(trade):
            for watcher in self._watchers.pop((trade.asset, trade.id), []):
                watcher.set()

    def on_refused(self, asset: str) -> None:
        """An entry was given up, perhaps after it had become a trade, of which there is nothing any more then."""
        gone = [key for key in self._watchers if key[0] == asset and not self.desks[asset].knows(key[1])]
        for watchers in [self._watchers.pop(key) for key in gone]:
            for watcher in watchers:
                watcher.set()

    def there(self, asset: str) -> frozenset[str]:
        """Ids of the trades on an asset that have not ended, and of the decisions whose entries are on their way."""
        entering = (running.decision_id for running, item in self.intake.entering() if item.asset == asset)
        return frozenset(trade.id for trade in self._trades(asset)) | frozenset(entering)

    # --- by hand ----------------------------------------------------------------------------------------------------

    async def close(self, asset: str, reason: CloseReason, timeout_s: float | None) -> AssetResult:
        """Close whatever is there; see :meth:`~.service.ExecutionService.close_position`.

        An entry that was given up and came alive beside its successor (scenario U10) is a part of it: the result is
        that of the first which did not end in time, or of the latest that held something.
        """
        item = AssetDecision(asset=asset, action=Action.CLOSE_POSITION)
        trades = self._trades(asset)
        ended = self._call_off(asset, trades, reason)
        given_up = self._ask_given_up(asset, reason)
        if not trades and not ended:
            await self._note(given_up)
            return results.refused(item, self.unknown(asset) or _absent(asset, given_up))
        self._ask(trades, reason)
        return await self._follow(item, trades, ended, self._asked(asset, self.clock.now()), timeout_s)

    async def close_all(self, reason: CloseReason) -> list[AssetResult]:
        """Close everything, side by side, also what turns up of entries that were given up (U10)."""
        assets = {asset for asset in self.desks if self._trades(asset)}
        assets |= {item.asset for _, item in self.intake.entering()}
        given_up = [asset for asset in sorted(self.desks.keys() - assets) if self._ask_given_up(asset, reason)]
        closed = list(await asyncio.gather(*(self.close(asset, reason, CLOSE_PATIENCE_S) for asset in sorted(assets))))
        if reason is CloseReason.HALT:
            return closed  # tells what was held; whatever else turns up is closed until the halt is over
        await self._note(given_up)
        return [*closed, *map(_nothing_known, given_up)]

    # --- by decision ------------------------------------------------------------------------------------------------

    async def close_for(self, wish: EntryWish) -> AssetResult:
        """Close what a decision means. Which trades these are is on record before a close of them leaves (C9)."""
        item, now = wish.item, self.clock.now()
        refusal = too_old(wish, self.policy, now)
        if refusal is not None:
            return results.refused(item, refusal)
        trades = [trade for trade in self._trades(item.asset) if wish.means(trade)]
        asked = self._asked(item.asset, wish.received_at)
        ended = self._call_off(item.asset, trades, CloseReason.DECISION, wish)
        given_up = self._ask_given_up(item.asset, CloseReason.DECISION, wish)
        if not trades and not ended:
            await self._note(given_up)
            return results.refused(item, _absent(item.asset, given_up))
        for trade in trades:
            binding = Adjustment(
                decision_id=wish.decision_id,
                kind=AdjustmentKind.CLOSE,
                received_at=wish.received_at,
                asked_at=now,
                reference_price=asked.mark_price,
            )
            self.desks[item.asset].take(trade.id, facts.AdjustmentAsked(at=now, adjustment=binding))
        await self.recording.before_acting()
        self._ask(trades, CloseReason.DECISION)
        return await self._follow(item, trades, ended, asked)

    async def contradicted(self, wish: EntryWish, refusal: RiskRefused) -> RiskRefused:
        """The refusal of a close whose sender takes something else to be held than is; it may be about to turn up."""
        if too_old(wish, self.policy, self.clock.now()) is not None:
            return refusal
        given_up = self._ask_given_up(wish.item.asset, CloseReason.DECISION, wish)
        if not given_up:
            return refusal
        await self._note(given_up)
        return replace(refusal, message=f"{refusal.message}; {_WOULD_BE_CLOSED}")

    async def go_on(self, wish: EntryWish, bound: Sequence[Trade]) -> AssetResult:
        """Go on with a close that a dead process had bound to these trades; one not asked for yet may be too old."""
        item, now = wish.item, self.clock.now()
        unasked = [trade for trade in bound if not trade.is_ended and trade.close_reason is None]
        refusal = too_old(wish, self.policy, now) if unasked else None
        if refusal is None:
            self._ask(unasked, CloseReason.DECISION)
            return await self._follow(item, bound, [], _asked_before(wish, bound))
        error = TradeError(code=refusal.code, message=refusal.message)
        for trade in unasked:
            failed = facts.AdjustmentFailed(at=now, decision_id=wish.decision_id, error=error)
            self.desks[item.asset].learn(trade.id, failed)
        return results.refused(item, refusal)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _trades(self, asset: str) -> Sequence[Trade]:
        desk = self.desks.get(asset)
        return desk.active if desk is not None else ()

    def _call_off(
        self, asset: str, trades: Sequence[Trade], reason: CloseReason, wish: EntryWish | None = None
    ) -> list[RunningDecision]:
        """End the entries on the asset that are no trades yet; for a decision those that it means."""
        code = ErrorCode.HALTED if reason is CloseReason.HALT else ErrorCode.SUPERSEDED
        begun = {(trade.decision_id, trade.received_at) for trade in trades}
        begun |= {(one.decision_id, one.received_at) for trade in trades for one in trade.adjustments if not one.closes}
        found: list[RunningDecision] = []
        for running, item in self.intake.entering():
            is_meant = wish is None or wish.meant is None or running.decision_id in wish.meant
            if item.asset != asset or not is_meant or (running.decision_id, running.received_at) in begun:
                continue
            found.append(running)
            refusal = RiskRefused(code=code, message=called_off(asset))
            refused = results.nothing_opened if self._has_flipped(asset, running.decision_id) else results.refused
            result = refused(item, refusal)
            self.intake.report(running.decision_id, running.received_at, result)
        return found

    def _has_flipped(self, asset: str, decision_id: str) -> bool:
        """Whether a position is, or lately was, closed to make room for an entry of the decision."""
        known = self.desks[asset].known if asset in self.desks else ()
        flips = (one for trade in known for one in trade.adjustments if one.kind is AdjustmentKind.FLIP)
        return any(one.decision_id == decision_id and one.error is None for one in flips)

    def _ask(self, trades: Sequence[Trade], reason: CloseReason) -> None:
        for trade in trades:
            self.desks[trade.asset].learn(trade.id, facts.CloseAsked(at=self.clock.now(), reason=reason))

    def _ask_given_up(self, asset: str, reason: CloseReason, wish: EntryWish | None = None) -> list[Trade]:
        """Have what turns up of entries that were given up closed; for a decision of those that it can mean."""
        desk, now = self.desks.get(asset), self.clock.now()
        found = [trade for trade in desk.known if may_turn_up(trade, now)] if desk is not None else []
        if wish is not None:
            expected = wish.item.expected_position
            found = [
                trade
                for trade in found
                if trade.received_at <= wish.received_at and expected in (None, trade.side.value)
            ]
        for trade in found:
            self.desks[asset].take(trade.id, facts.CloseAsked(at=now, reason=reason))
        return found

    async def _note(self, given_up: Collection[object]) -> None:
        """Wait until it may be told that these would be closed."""
        if given_up:
            await self.recording.before_telling()

    def _asked(self, asset: str, at: datetime) -> results.CloseWish:
        mark = self.prices.last_mark(asset)
        return results.CloseWish(received_at=at, mark_price=mark.mark_price if mark is not None else ZERO)

    async def _follow(
        self,
        item: AssetDecision,
        trades: Sequence[Trade],
        ended: Sequence[RunningDecision],
        asked: results.CloseWish,
        timeout_s: float | None = None,
    ) -> AssetResult:
        """Wait for the end of the trades, and until it may be told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for trade in trades:
                    await self._until_ended(trade)
        await self.recording.before_telling(*(running.landing for running in ended))
        known = [self._as_it_stands(trade) for trade in trades]
        last = [trade for trade in known if trade is not None]
        if not last:
            return results.nothing_left(item)
        unfinished = [trade for trade in last if not trade.is_ended]
        held = [trade for trade in last if trade.entered_quantity > ZERO]
        return results.of_close((unfinished or held or last)[0 if unfinished else -1], asked)

    async def _until_ended(self, trade: Trade) -> None:
        known = self._as_it_stands(trade)
        if known is None or _is_over(known):
            return
        watcher = asyncio.Event()
        self._watchers.setdefault((trade.asset, trade.id), []).append(watcher)
        await watcher.wait()

    def _as_it_stands(self, trade: Trade) -> Trade | None:
        """The trade by now; None when it was given up before it was on record."""
        if trade.is_ended:
            return trade
        desk = self.desks.get(trade.asset)
        return desk.trade(trade.id) if desk is not None else None


def _is_over(trade: Trade) -> bool:
    """Whether there is nothing to wait for any more."""
    return trade.is_ended or is_dust(trade)


def _asked_before(wish: EntryWish, bound: Sequence[Trade]) -> results.CloseWish:
    """The wish as the process that bound it to the trades had noted it."""
    bindings = (one for trade in bound for one in trade.adjustments if one.decision_id == wish.decision_id)
    price = next((one.reference_price for one in bindings), ZERO)
    return results.CloseWish(received_at=wish.received_at, mark_price=price)


_WOULD_BE_CLOSED = "an entry there was given up lately; should it turn out to be filled, it is closed at once"


def _absent(asset: str, given_up: Sequence[Trade]) -> RiskRefused:
    text = f"the service holds no position on {asset}; positions of others are never touched"
    return RiskRefused(code=ErrorCode.POSITION_ABSENT, message=f"{text}; {_WOULD_BE_CLOSED}" if given_up else text)


def _nothing_known(asset: str) -> AssetResult:
    """Of a wish to close all: nothing is held there, as far as is known."""
    item = AssetDecision(asset=asset, action=Action.CLOSE_POSITION)
    return results.nothing_left(item).model_copy(update={"notes": (_WOULD_BE_CLOSED,)})
