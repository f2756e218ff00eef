"""Market: what planning and submission need to know of instruments, prices and leverage, kept fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from app.domain.errors import ErrorCode, ExchangeError
from app.domain.instruments import Instrument
from app.domain.policy import RiskPolicy
from app.domain.ports import Clock
from app.domain.reports import (
    AccountConfigUpdate,
    LeverageBracket,
    LeverageSetting,
    MarginType,
    MarkPrice,
    PositionReport,
    PositionSide,
)
from app.domain.trades import TradeError
from app.integrations.aster.client import AsterClient
from app.services.execution.planning import EntryPlan, MarketView
from app.services.execution.risk import Means, beyond_means, too_far
from app.services.execution.slices import ExitRoom

_MARK_FRESH_S = 3.0
_INSTRUMENTS_FRESH_S = 3600.0
_TERMS_FRESH_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Terms:
    """On what terms the exchange lets us trade an asset."""

    taker_fee: Decimal
    brackets: tuple[LeverageBracket, ...]
    read_at: float


class Market:
    """The market as one account sees it.

    Mark prices come from the market stream; when it has been silent for three seconds they are read.
    """

    def __init__(self, client: AsterClient, clock: Clock, policy: RiskPolicy) -> None:
        self._client = client
        self._clock = clock
        self._policy = policy
        self._instruments: dict[str, Instrument] = {}
        self._instruments_read_at: float | None = None
        self._marks: dict[str, tuple[MarkPrice, float]] = {}
        self._leverage: dict[str, LeverageSetting] = {}
        self._margin_types: dict[str, MarginType] = {}
        self._terms: dict[str, _Terms] = {}
        self.is_hedge_mode = False
        self.config_changes = 0
        """How often the stream told of a changed setting; what was read before the last time may be old."""

    async def start(self) -> str | None:
        """Read instruments and modes; returns what stands in the way of trading, with the fix, or None (scenario L4).

        Raises:
            ExchangeError: the exchange can't be read.
        """
        await self._read_instruments()
        self.is_hedge_mode = await self._client.is_hedge_mode()
        if self._policy.margin_type is MarginType.ISOLATED and await self._client.is_multi_asset_mode():
            return (
                "the account is in multi-assets mode, which has no isolated margin: "
                "unset TES_MARGIN_TYPE, or switch multi-assets mode off at the exchange"
            )
        return None

    async def refresh(self) -> None:
        """Read the instruments again when they are an hour old: ticks change (fact sheet, section 5)."""
        read_at = self._instruments_read_at
        if read_at is None or self._clock.monotonic() - read_at > _INSTRUMENTS_FRESH_S:
            await self._read_instruments()

    def doubt_instruments(self) -> None:
        """Have them read again soon: the exchange has just refused an order for its symbol (scenario H3)."""
        self._instruments_read_at = None

    def not_trading(self, assets: Iterable[str]) -> dict[str, str]:
        """Those of ``assets`` in which no position can be opened any more, with the exchange's word for why."""
        found = {asset: self._instruments.get(asset) for asset in assets}
        return {
            asset: instrument.status if instrument else "not listed"
            for asset, instrument in found.items()
            if instrument is None or not instrument.is_trading
        }

    async def _read_instruments(self) -> None:
        self._instruments = dict(await self._client.instruments())
        self._instruments_read_at = self._clock.monotonic()

    def on_mark(self, mark: MarkPrice) -> None:
        """Take a price from the market stream."""
        self._marks[mark.symbol] = (mark, self._clock.monotonic())

    def last_mark(self, asset: str) -> MarkPrice | None:
        """The newest known mark price, however old."""
        known = self._marks.get(asset)
        return known[0] if known else None

    async def view(self, asset: str) -> MarketView | None:
        """Instrument and fresh mark price, or None when the exchange lists no such asset.

        Raises:
            ExchangeError: the price could not be read.
        """
        instrument = self._instruments.get(asset)
        if instrument is None:
            return None
        known = self._marks.get(asset)
        if known is None or self._clock.monotonic() - known[1] > _MARK_FRESH_S:
            self.on_mark(await self._client.mark_price(asset))
        return MarketView(instrument=instrument, mark=self._marks[asset][0])

    async def exit_room(self, asset: str) -> ExitRoom | None:
        """What an exit finds now, or None when the exchange lists no such asset (any more).

        Raises:
            ExchangeError: the book or the price could not be read.
        """
        view = await self.view(asset)
        if view is None:
            return None
        book = await self._client.depth(asset)
        return ExitRoom(instrument=view.instrument, mark=view.mark.mark_price, book=book, at=self._clock.now())

    def learn_positions(self, positions: list[PositionReport], changes_before: int) -> None:
        """Take leverage and margin type of each symbol from the exchange's position rows, and the position mode.

        Hedge mode shows rows for LONG and SHORT only (fact sheet, section 4): should the event that told of a change
        have been lost, this is where it is made up for. ``changes_before`` is :attr:`config_changes` before the read.
        """
        if changes_before != self.config_changes:
            return
        if positions:
            self.is_hedge_mode = any(row.position_side is not PositionSide.BOTH for row in positions)
        for row in positions:
            self._margin_types[row.symbol] = row.margin_type
            self._leverage[row.symbol] = LeverageSetting(
                symbol=row.symbol, leverage=row.leverage, maximum_notional=row.maximum_notional
            )

    def on_config(self, update: AccountConfigUpdate) -> None:
        """Somebody changed a setting: what we knew of it is void (scenario Z6)."""
        self.config_changes += 1
        if update.symbol is not None:
            self._leverage.pop(update.symbol, None)
        if update.is_hedge_mode is not None:
            self.is_hedge_mode = update.is_hedge_mode

    async def prepare(self, plan: EntryPlan) -> TradeError | None:
        """Get the exchange ready for an entry, and look at the price once more; both at the same time.

        Returns why the entry must not be sent, or None.
        """
        by_settings, by_price, by_means = await asyncio.gather(
            self._apply_settings(plan), self._look_at_price(plan), self._look_at_means(plan)
        )
        return by_price or by_means or by_settings

    async def _look_at_means(self, plan: EntryPlan) -> TradeError | None:
        """The stream tells of no available balance, so it is read for each entry (scenario Z4)."""
        asset = plan.wish.item.asset
        try:
            account, terms = await asyncio.gather(self._client.account(), self._terms_of(asset))
        except ExchangeError as error:
            text = f"balance, fees or leverage brackets of {asset} could not be read: {error}"
            return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text, exchange_code=error.code)
        margin_type = self._policy.margin_type or self._margin_types.get(asset)
        means = Means(
            account=account,
            is_isolated=margin_type is MarginType.ISOLATED,
            taker_fee=terms.taker_fee,
            brackets=terms.brackets,
        )
        refusal = beyond_means(plan, means)
        return TradeError(code=refusal.code, message=refusal.message) if refusal else None

    async def _terms_of(self, asset: str) -> _Terms:
        """Fees and brackets, read again when they are an hour old."""
        known = self._terms.get(asset)
        if known is not None and self._clock.monotonic() - known.read_at <= _TERMS_FRESH_S:
            return known
        brackets, fees = await asyncio.gather(
            self._client.leverage_brackets(asset), self._client.commission_rate(asset)
        )
        terms = _Terms(fees.taker, brackets.get(asset, ()), self._clock.monotonic())
        self._terms[asset] = terms
        return terms

    async def _look_at_price(self, plan: EntryPlan) -> TradeError | None:
        """The market may have moved away since the plan was made (scenario C7)."""
        asset = plan.wish.item.asset
        try:
            quote = await self._client.book_ticker(asset)
        except ExchangeError as error:
            text = f"the best prices of {asset} could not be read: {error}"
            return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text, exchange_code=error.code)
        mark = self.last_mark(asset)
        refusal = too_far(plan, quote, mark.mark_price if mark else plan.reference_price, self._policy)
        return TradeError(code=refusal.code, message=refusal.message) if refusal else None

    async def _apply_settings(self, plan: EntryPlan) -> TradeError | None:
        """Set margin type and leverage, and check what the exchange made of it (scenario Z6)."""
        asset = plan.wish.item.asset
        try:
            await self._set_margin_type(asset)
            setting = self._leverage.get(asset)
            if setting is None or setting.leverage != plan.leverage:
                self._leverage.pop(asset, None)
                setting = await self._client.set_leverage(asset, plan.leverage)
                self._leverage[asset] = setting
        except ExchangeError as error:
            text = f"leverage or margin type of {asset} could not be set: {error}"
            return TradeError(code=ErrorCode.EXCHANGE_REJECTED, message=text, exchange_code=error.code)
        if setting.leverage != plan.leverage:
            text = f"{asset} is at {setting.leverage}x on the exchange although {plan.leverage}x was set"
            return TradeError(code=ErrorCode.LEVERAGE_EXCEEDED, message=text)
        if setting.maximum_notional and plan.notional > setting.maximum_notional:
            text = (
                f"at {plan.leverage}x the exchange allows {setting.maximum_notional} on {asset}, "
                f"less than the {plan.notional} planned; lower the leverage or the allocation"
            )
            return TradeError(code=ErrorCode.EXPOSURE_LIMIT, message=text)
        return None

    async def _set_margin_type(self, asset: str) -> None:
        wanted = self._policy.margin_type
        if wanted is not None and self._margin_types.get(asset) is not wanted:
            await self._client.set_margin_type(asset, wanted)
            self._margin_types[asset] = wanted
