"""What the account can't carry is refused before anything is sent."""

from __future__ import annotations

import pytest
from arena import BTC, ETH, Arena, buy, decide, sell, until

from app.domain.reports import MarginType
from app.schemas.result import AssetResult, AssetStatus


def refusal(result: AssetResult) -> tuple[AssetStatus, str | None]:
    return result.status, result.error.code.value if result.error else None


def message(result: AssetResult) -> str:
    return result.error.message if result.error else ""


async def test_an_entry_beyond_the_free_margin_is_refused_with_the_numbers(stage: Arena) -> None:
    """Z4: margin, fees and a buffer against a fresh balance."""
    async with stage.application() as application:
        service = application.service("default")
        wish = buy(allocation_usd=999_000, sl_price=95_500)
        result = (await decide(service, wish)).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "insufficient_margin")
        assert "100000.00 is available" in message(result)
        assert await stage.levers.orders(symbol=BTC) == []
        assert (await decide(service, wish | {"allocation_usd": 900_000})).results[0].filled_quantity


async def test_the_balance_is_read_for_each_entry(stage: Arena) -> None:
    """Z4: what another position binds is not available."""
    async with stage.application() as application:
        service = application.service("default")
        assert (await decide(service, buy(allocation_usd=900_000, sl_price=95_500))).results[0].filled_quantity
        result = (await decide(service, sell(ETH, allocation_usd=200_000))).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "insufficient_margin")


async def test_an_entry_above_its_leverage_bracket_is_refused(stage: Arena) -> None:
    """Z6."""
    async with stage.application(TES_RISK_ALLOCATION_BASIS="margin") as application:
        item = buy("ASTERUSDT", allocation_usd=60_000, leverage=25, tp_price=None, sl_price=None)
        await stage.levers.price("ASTERUSDT", "10")
        result = (await decide(application.service("default"), item)).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "exposure_limit")
        assert "at 25x the exchange allows" in message(result)
        assert await stage.levers.orders(symbol="ASTERUSDT") == []


@pytest.mark.parametrize(
    ("item", "side"), [(buy(leverage=25, sl_price=91_000), "above"), (sell(leverage=25, sl_price=3_600), "below")]
)
async def test_a_stop_beyond_the_liquidation_price_is_refused_with_that_price(
    stage: Arena, item: dict[str, object], side: str
) -> None:
    """P6: at 25x an isolated position is liquidated about 3.6 % away."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED") as application:
        service = application.service("default")
        result = (await decide(service, item)).results[0]
        assert refusal(result) == (AssetStatus.REJECTED, "stop_loss_invalid")
        assert "liquidation price" in message(result)
        closer = 93_000 if side == "above" else 3_500
        assert (await decide(service, item | {"sl_price": closer})).success


async def test_a_cross_position_is_backed_by_the_whole_account(stage: Arena) -> None:
    """P6: the same stop is none too late here."""
    async with stage.application() as application:
        assert (await decide(application.service("default"), buy(leverage=25, sl_price=91_000))).success


async def test_a_margin_type_that_somebody_changed_is_set_again_before_the_next_entry(stage: Arena) -> None:
    """Z6: what is known of an asset's settings is refreshed by events."""
    async with stage.application(TES_MARGIN_TYPE="ISOLATED", TES_RECONCILE_INTERVAL_SECONDS="600") as application:
        service = application.service("default")
        assert (await decide(service, buy())).success
        assert (await decide(service, {"asset": BTC, "action": "close_position"})).success
        await service._client.set_margin_type(BTC, MarginType.CROSSED)
        await until(lambda: service._market._margin_types[BTC] is MarginType.CROSSED)
        assert (await decide(service, buy())).success
        assert {row.margin_type for row in await service._client.positions(BTC)} == {MarginType.ISOLATED}
