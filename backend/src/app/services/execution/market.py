"""Market: what planning and submission need to know of instruments, prices, leverage and margin, kept fresh.

Whatever can be known before an entry is known before it: then nothing but the durable intent stands between the
decision and the order (ADR 9).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import structlog

from app.domain.errors import ErrorCode, ExchangeError, Refusal
from app.domain.instruments import Instrument
from app.domain.money import ZERO
from app.domain.orders import Order
from app.domain.policy import RiskPolicy
from app.domain.ports import Clock
from app.domain.reports import (
    AccountConfigUpdate,
    AccountReport,
    AccountUpdate,
    BookTicker,
    LeverageSetting,
    MarginType,
    PositionReport,
    PositionSide,
)
from app.domain.symbols import symbol_named
from app.domain.trades import Trade, TradeError, TradeStatus
from app.integrations.aster.client import AsterClient
from app.integrations.aster.market_stream import Followed
from app.services.execution.exit_places import ForeignConditionals
from app.services.execution.margin import Margin
from app.services.execution.means import Means, margin_needed
from app.services.execution.planning import EntryPlan, MarketView
from app.services.execution.prices import Prices
from app.services.execution.slices import ExitRoom
from app.services.execution.terms import Terms, TradingTerms

log = structlog.get_logger(__name__)

_INSTRUMENTS_FRESH_S = 3600.0
_KEPT_WARM = 10


class Market:
    """The market as one account sees it, from its streams where they vouch for what they say, else read.

    ``held`` gives the positions that are not flat.
    """

    def __init__(
        self,
        client: AsterClient,
        clock: Clock,
        policy: RiskPolicy,
        held: Callable[[], list[PositionReport]],
        terms: Terms,
    ) -> None:
        self._client = client
        self._clock = clock
        self._policy = policy
        self.terms = terms
        self.followed = Followed()
        self.foreign_conditionals = ForeignConditionals()
        self.prices = Prices(client, clock, self.followed)
        self.margin = Margin(client, clock, held, self.prices.last_mark)
        self._instruments: dict[str, Instrument] = {}
        self._instruments_read_at: float | None = None
        self._reading_instruments = asyncio.Lock()
        self._leverage: dict[str, LeverageSetting] = {}
        self._margin_types: dict[str, MarginType] = {}
        self._in_play: dict[str, None] = {}
        self.is_hedge_mode = False
        self.config_changes = 0
        """How often the stream told of a changed setting; what was read before the last time may be old."""

    async def start(self) -> str | None:
        """Read instruments, and the asset mode where it matters; returns as :meth:`mode_obstacle`.

        The position mode follows from the rows of the first reconciliation (:meth:`learn_positions`).

        Raises:
            ExchangeError: the exchange can't be read.
        """
        await self._read_instruments()
        return await self.mode_obstacle()

    async def read_position_mode(self) -> None:
        """Ask for what no position row tells.

        Raises:
            ExchangeError: the exchange can't be read.
        """
        self.is_hedge_mode = await self._client.is_hedge_mode()

    async def mode_obstacle(self) -> str | None:
        """Which of the account's modes stands in the way of entries, with the fix; None: none does (scenario L4).

        Raises:
            ExchangeError: the exchange can't be read.
        """
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

    def instrument(self, asset: str) -> Instrument | None:
        """The asset's trading rules as last read, or None when the exchange did not list it."""
        return self._instruments.get(asset)

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Every instrument that the exchange shows, by symbol."""
        return self._instruments

    def symbol_named(self, asset: str) -> str:
        """The symbol that a sender means; as it is where the exchange lists none of that name, or several."""
        return symbol_named(asset, self._instruments)

    def doubt_instruments(self) -> None:
        """Have them read again soon: the exchange has just refused an order for its symbol (scenario H3)."""
        self._instruments_read_at = None

    def judge_refusals(self, trade: Trade) -> None:
        """Read the instruments anew where a refusal may come of old ones; refused exits have them read themselves."""
        is_unknown = any(order.refusal is Refusal.SYMBOL for order in trade.orders)
        if is_unknown or any(entry.refusal is Refusal.FILTER for entry in trade.entries):
            self.doubt_instruments()

    def not_trading(self, assets: Iterable[str]) -> dict[str, str]:
        """Those of ``assets`` in which no position can be opened any more, with the exchange's word for why."""
        found = {asset: self._instruments.get(asset) for asset in assets}
        return {
            asset: instrument.status if instrument else "not listed"
            for asset, instrument in found.items()
            if instrument is None or not instrument.is_trading
        }

    async def _read_instruments(self) -> None:
        asked_at = self._clock.monotonic()
        self._instruments = dict(await self._client.instruments())
        self._instruments_read_at = asked_at

    async def _read_instruments_since(self, asked_at: float) -> None:
        """One read serves all whose exits were refused meanwhile."""
        async with self._reading_instruments:
            if self._instruments_read_at is None or self._instruments_read_at < asked_at:
                await self._read_instruments()

    def exit_places(self, asset: str) -> int | None:
        """How many conditional orders the exchange takes on ``asset`` beside others'; None where it sets no limit."""
        instrument = self._instruments.get(asset)
        if instrument is None or not instrument.maximum_algo_orders:
            return None
        return instrument.maximum_algo_orders - self.foreign_conditionals.count(asset)

    def bring_into_play(self, asset: str) -> None:
        """An entry on this asset is likely: keep at hand what it will need."""
        if asset in self._instruments and asset not in self._in_play:
            self._in_play[asset] = None
            self.prices.follow(asset)

    def bring_latest_into_play(self, last_activity: Mapping[str, datetime]) -> None:
        """The assets that were traded last are likely to be traded next."""
        for asset in sorted(last_activity, key=lambda asset: last_activity[asset], reverse=True)[:_KEPT_WARM]:
            self.bring_into_play(asset)

    async def keep_warm(self) -> None:
        """Keep the terms of the assets in play at hand; never returns."""
        await self.terms.keep_warm(lambda: self._in_play)

    async def view(self, asset: str) -> MarketView | None:
        """Instrument and fresh mark price, or None when the exchange lists no such asset.

        Raises:
            ExchangeError: the price could not be read.
        """
        instrument = self._instruments.get(asset)
        if instrument is None:
            return None
        self.bring_into_play(asset)
        return MarketView(instrument=instrument, mark=await self.prices.mark(asset))

    async def exit_room(self, asset: str, *, anew: bool = False) -> ExitRoom | None:
        """What an exit finds now, or None when the exchange lists no such asset (any more); ``anew``: the rules too.

        Raises:
            ExchangeError: the book, the price or the rules could not be read.
        """
        asked_at = self._clock.now() if anew else None
        if anew:
            await self._read_instruments_since(self._clock.monotonic())
        view = await self.view(asset)
        if view is None:
            return None
        book = await self._client.depth(asset)
        at, mark = self._clock.now(), view.mark.mark_price
        return ExitRoom(instrument=view.instrument, mark=mark, book=book, at=at, rules_at=asked_at)

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

    def on_account(self, update: AccountUpdate) -> None:
        """Take the margin type from each position that changed (scenario Z6)."""
        for row in update.positions:
            self._margin_types[row.symbol] = row.margin_type

    def on_config(self, update: AccountConfigUpdate) -> None:
        """Somebody changed a setting: what we knew of it is void, unless it is what we set ourselves (scenario Z6)."""
        self.config_changes += 1
        if update.symbol is not None:
            known = self._leverage.get(update.symbol)
            if known is not None and known.leverage != update.leverage:
                del self._leverage[update.symbol]
        if update.is_hedge_mode is not None:
            self.is_hedge_mode = update.is_hedge_mode

    async def prepare(self, keys: Sequence[str], plan: EntryPlan) -> TradeError | None:
        """Get the exchange ready for an entry, and have at hand what it is judged by when it leaves.

        Waits for nothing when everything is at hand, else for what has to be read, all at the same time. Reserves
        margin for each part of the plan under one of the ``keys``. Returns why the entry must not be sent, or None.
        """
        steps = (self._have_prices(plan), self._have_means(keys, plan), self._apply_settings(plan))
        if self._is_warm(plan):
            by_price, by_means, by_settings = [await step for step in steps]
        else:
            by_price, by_means, by_settings = await asyncio.gather(*steps)
        return by_price or by_means or by_settings

    def _is_warm(self, plan: EntryPlan) -> bool:
        asset = plan.wish.item.asset
        setting, wanted = self._leverage.get(asset), self._policy.margin_type
        return (
            self.prices.quote_at_hand(asset) is not None
            and self.terms.at_hand(asset) is not None
            and setting is not None
            and setting.leverage == plan.leverage
            and wanted in (None, self._margin_types.get(asset))
        )

    async def present(self, asset: str) -> tuple[MarketView | None, BookTicker]:
        """The market of the moment. Waits for nothing where the stream vouches for it.

        Raises:
            ExchangeError: it could not be read.
        """
        mark, quote = await self.prices.present(asset)
        instrument = self._instruments.get(asset)
        return None if instrument is None else MarketView(instrument=instrument, mark=mark), quote

    def recent(self, asset: str) -> tuple[MarketView | None, BookTicker] | None:
        """The market of a moment ago, as far as it is known without reading."""
        known, instrument = self.prices.recent(asset), self._instruments.get(asset)
        if known is None:
            return None
        mark, quote = known
        return None if instrument is None else MarketView(instrument=instrument, mark=mark), quote

    async def means(self, plan: EntryPlan, keys: Sequence[str] = ()) -> Means:
        """What the account has for an entry: beside what others have reserved, those before it where it has ``keys``.

        Raises:
            ExchangeError: something could not be read.
        """
        asset, first = plan.wish.item.asset, next(iter(keys), None)
        known = self.terms.at_hand(asset)
        if known is None:
            terms, account = await asyncio.gather(self.terms.read(asset), self.margin.read())
            self._reserve(keys, plan, terms)
        else:
            terms = known
            self._reserve(keys, plan, terms)
            needed = margin_needed(plan, terms.taker_fee) + self.margin.reserved_before(first)
            account = self.margin.at_hand(needed) or await self.margin.read()
        # what a read has shown of others is not counted twice: so it is asked after the read what they have reserved
        return self._means(asset, account, self.margin.reserved_before(first), terms)

    def _reserve(self, keys: Sequence[str], plan: EntryPlan, terms: TradingTerms) -> None:
        """For each part by itself: what one has taken is in the account before the next one leaves."""
        for key, quantity in zip(keys, plan.parts, strict=False):
            self.margin.reserve(key, margin_needed(plan.of_size(quantity), terms.taker_fee))

    async def liquidation_price(self, trade: Trade) -> Decimal | None:
        """Where the exchange would liquidate the position of a trade, if it says so.

        Raises:
            ExchangeError: it could not be read.
        """
        rows = await self._client.positions(trade.asset)
        ours = (row for row in rows if row.position_side is trade.position_side and not row.is_flat)
        return next((row.liquidation_price for row in ours), None)

    def entries_ended(self, trade: Trade) -> None:
        """What was reserved for an entry whose fate is known is in the account, or free again."""
        for entry in trade.entries:
            if entry.is_final:
                self.margin.entry_ended(margin_key(trade, entry), took_margin=trade.executed(entry) > ZERO)
        has_its_exits = trade.is_ended or trade.status is TradeStatus.OPEN
        if has_its_exits and all(entry.is_final for entry in trade.entries):
            self._client.release_room(trade.id)

    async def _have_means(self, keys: Sequence[str], plan: EntryPlan) -> TradeError | None:
        """Reserve margin, whatever other entries are on their way (scenario Z4)."""
        try:
            await self.means(plan, keys)
        except ExchangeError as error:
            return _unread(f"balance, fees or leverage brackets of {plan.wish.item.asset}", error)
        return None

    def _means(self, asset: str, account: AccountReport, reserved: Decimal, terms: TradingTerms) -> Means:
        margin_type = self._policy.margin_type or self._margin_types.get(asset)
        return Means(
            account=account,
            reserved=reserved,
            is_isolated=margin_type is MarginType.ISOLATED,
            taker_fee=terms.taker_fee,
            brackets=terms.brackets,
        )

    async def _have_prices(self, plan: EntryPlan) -> TradeError | None:
        asset = plan.wish.item.asset
        try:
            await self.prices.quote(asset)
        except ExchangeError as error:
            return _unread(f"the best prices of {asset}", error)
        return None

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
                self.config_changes += 1  # positions that were read before show the old one
        except ExchangeError as error:
            text = f"leverage or margin type of {asset} could not be set: {error}"
            return TradeError(code=ErrorCode.EXCHANGE_REJECTED, message=text, exchange_code=error.code)
        if setting.leverage != plan.leverage:
            text = f"{asset} is at {setting.leverage}x on the exchange although {plan.leverage}x was set"
            return TradeError(code=ErrorCode.LEVERAGE_EXCEEDED, message=text)
        if setting.maximum_notional and plan.position_notional > setting.maximum_notional:
            text = (
                f"at {plan.leverage}x the exchange allows {setting.maximum_notional} on {asset}, "
                f"less than the {plan.position_notional} planned; lower the leverage or the allocation"
            )
            return TradeError(code=ErrorCode.EXPOSURE_LIMIT, message=text)
        return None

    async def _set_margin_type(self, asset: str) -> None:
        wanted = self._policy.margin_type
        if wanted is not None and self._margin_types.get(asset) is not wanted:
            await self._client.set_margin_type(asset, wanted)
            self._margin_types[asset] = wanted


def margin_key(trade: Trade, entry: Order) -> str:
    """What the margin of an entry is reserved under."""
    return trade.id if entry is trade.entry else entry.client_order_id


def _unread(what: str, error: ExchangeError) -> TradeError:
    text = f"{what} could not be read: {error}"
    return TradeError(code=ErrorCode.EXCHANGE_UNAVAILABLE, message=text, exchange_code=error.code)
