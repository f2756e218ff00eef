"""What the truth costs: ``python benchmarks/reconcile.py [--trades 1,10,100,1000] [--differences N] [--idle SECONDS]``.

Venue and service run in this process over real HTTP and WebSocket; weight is what the venue itself counts.

- One reconciliation of the whole account with 1, 10, 100 and 1,000 open trades: requests, weight, time; once where
  nothing differs, and once where N positions were closed by hand, until each of those trades is closed and booked.
  Its weight must grow no faster than the number of differences, plus the bulk reads. Nothing is said about time.
- Twenty accounts with five open trades each, doing nothing, for some real seconds: weight a minute, by extrapolation,
  with the rare reads (the whole account every ten minutes, listen keys, instruments) added by calculation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from time import perf_counter

import aiohttp
import structlog

from app.bootstrap import Application, running
from app.core.configuration import load_settings
from app.domain.money import plain
from app.domain.trades import TradeStatus
from app.schemas.decision import parse_decision
from aster_sim.core.catalogue import built_in_catalogue
from aster_sim.server import AccountSpec, LimitRules, RunningVenue, VenueConfig, start_venue

BULK_WEIGHT = 50
WEIGHT_OF_A_DIFFERENCE = 30
LIMIT = 2400
IDLE_ACCOUNTS, IDLE_TRADES = 20, 5
PRICE = Decimal(100)
AT_ONCE = 20
QUIET_S = 2.0


class Meter:
    """Counts at the venue's own door."""

    def __init__(self, venue: RunningVenue) -> None:
        self.requests = 0
        self.weight = 0
        limits = venue._runtime.limits  # noqa: SLF001 -- it shows its counters nowhere else
        spend = limits.spend_weight

        def counted(ip: str, weight: int, now_us: int) -> int:
            self.requests += 1
            self.weight += weight
            return spend(ip, weight, now_us)

        limits.spend_weight = counted  # type: ignore[method-assign] # the venue stays as it is, and tells


@dataclass
class Stage:
    """The application on the venue, and what the venue counts."""

    venue: RunningVenue
    application: Application
    meter: Meter
    http: aiohttp.ClientSession
    symbols: list[str]

    async def control(self, method: str, path: str, body: object) -> None:
        """The venue's levers."""
        async with self.http.request(method, f"{self.venue.control_url}{path}", json=body) as response:
            assert response.status == 200, await response.text()


def many_symbols(folder: Path, count: int) -> tuple[Path, list[str]]:
    """An exchangeInfo with so many symbols, all alike."""
    model = next(iter(built_in_catalogue().instruments.values())).raw
    symbols = [f"A{number}USDT" for number in range(count)]
    rows = [{**model, "symbol": name, "pair": name, "baseAsset": name.removesuffix("USDT")} for name in symbols]
    path = folder / "exchange-info.json"
    path.write_text(json.dumps({"symbols": rows}))
    return path, symbols


@asynccontextmanager
async def stage(accounts: Sequence[str], symbols: int, *, interval_s: int) -> AsyncIterator[Stage]:
    """A venue with many symbols and accounts, and the application trading on all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        info, names = many_symbols(folder, symbols)
        specs = [AccountSpec(account, Decimal(10_000_000)) for account in accounts]
        limits = LimitRules().times(100_000)
        venue = await start_venue(
            VenueConfig(seed=1, prices="manual", exchange_info=info, accounts=specs, limits=limits)
        )
        tables = [
            f'[accounts.{keys.name}]\naster_user = "{keys.user}"\naster_signer = "{keys.signer}"\n'
            f'aster_private_key = "{keys.private_key}"\n'
            for keys in venue.accounts
        ]
        (folder / "tes.toml").write_text("\n".join(tables))
        environment = {
            "TES_VENUE": "testnet",
            "TES_DATABASE_URL": f"sqlite:///{folder / 'tes.db'}",
            "TES_API_TOKEN": "benchmark-token",
            "TES_ASTER_REST_URL": venue.rest_url,
            "TES_ASTER_WS_URL": venue.ws_url,
            "TES_ASTER_CHAIN_ID": str(venue.chain_id),
            "TES_RECONCILE_INTERVAL_SECONDS": str(interval_s),
            "TES_SHUTDOWN_GRACE_SECONDS": "0",
        }
        try:
            async with aiohttp.ClientSession() as http:
                async with http.post(
                    f"{venue.control_url}/prices", json=dict.fromkeys(names, plain(PRICE))
                ) as response:
                    assert response.status == 200, await response.text()
                meter = Meter(venue)
                async with running(load_settings(environment, config=folder / "tes.toml")) as application:
                    yield Stage(venue, application, meter, http, names)
        finally:
            await venue.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds."""
    while True:
        if await condition():
            return
        await asyncio.sleep(0.02)


async def until_nothing_is_read(on: Stage) -> None:
    """Wait out what the opening of so many trades has left to read, a fresh balance for one."""
    before = -1
    while before != on.meter.requests:
        before = on.meter.requests
        await asyncio.sleep(QUIET_S)


async def open_trades(on: Stage, account: str, symbols: Sequence[str]) -> None:
    """One protected position on each symbol."""
    service = on.application.service(account)

    async def is_ready() -> bool:
        return service.readiness().is_ready

    await until(is_ready)
    for start in range(0, len(symbols), AT_ONCE):
        items = [
            {
                "asset": symbol,
                "action": "buy",
                "allocation_usd": 500,
                "leverage": 5,
                "tp_price": plain(PRICE * 2),
                "sl_price": plain(PRICE / Decimal("1.1")),
            }
            for symbol in symbols[start : start + AT_ONCE]
        ]
        result = await service.execute(parse_decision(json.dumps({"account_id": account, "decisions": items})))
        assert result.status.value == "executed", [row.error for row in result.results if row.error][:1]


async def measure_runs(trades: int, differences: int) -> list[str]:
    """One line for agreement, one for differences; the account has nothing else to do meanwhile."""
    lines = []
    async with stage(["one"], trades, interval_s=100_000) as on:
        await open_trades(on, "one", on.symbols)
        service = on.application.service("one")
        for count in (0, min(differences, trades)):
            closed = on.symbols[:count]
            await on.control("POST", "/faults", [{"match": {}, "action": {"type": "drop_events"}, "count": 0}])
            for symbol in closed:
                await on.control("POST", "/positions", {"account": "one", "symbol": symbol, "do": "close"})
            await until_nothing_is_read(on)
            requests, weight = on.meter.requests, on.meter.weight
            started_at = perf_counter()
            report = await service.reconcile()
            took_ms = (perf_counter() - started_at) * 1000

            async def is_settled(left: int = trades - count) -> bool:
                return len(await on.application.trades.open_trades("one")) <= left

            await until(is_settled)
            requests, weight = on.meter.requests - requests, on.meter.weight - weight
            found = len({difference.trade_id for difference in report.differences})
            bound = BULK_WEIGHT + WEIGHT_OF_A_DIFFERENCE * count
            assert found == count, report.differences[:3]
            assert weight <= bound, f"{weight} is more than the bulk reads and {count} differences explain"
            lines.append(f"{trades:>6} {count:>12} {requests:>9} {weight:>7} {bound:>6} {took_ms:>9.0f}")
    return lines


async def measure_idle(seconds: float) -> None:
    """Weight a minute of accounts that hold positions and do nothing."""
    accounts = [f"a{number}" for number in range(IDLE_ACCOUNTS)]
    async with stage(accounts, IDLE_TRADES, interval_s=30) as on:
        for account in accounts:
            await open_trades(on, account, on.symbols)
        before, requests = on.meter.weight, on.meter.requests
        await asyncio.sleep(seconds)
        per_minute = (on.meter.weight - before) * 60 / seconds
        each = (on.meter.requests - requests) * 60 / seconds
        open_ = await asyncio.gather(*(on.application.trades.open_trades(account) for account in accounts))
        assert all(trade.status is TradeStatus.OPEN for trades in open_ for trade in trades)
    rare = IDLE_ACCOUNTS * (BULK_WEIGHT / 10 + 1 / 30 + 1 / 60)
    total = per_minute + rare
    print(
        f"\n{IDLE_ACCOUNTS} idle accounts with {IDLE_TRADES} open trades each: {per_minute:.0f} weight a minute in "
        f"{each:.0f} requests, measured over {seconds:.0f} s; with the rare reads {total:.0f}, "
        f"{total / LIMIT:.0%} of one address's {LIMIT}"
    )
    assert total < LIMIT / 2


async def main(options: argparse.Namespace) -> None:
    """Measure, and print."""
    print(f"{'trades':>6} {'differences':>12} {'requests':>9} {'weight':>7} {'bound':>6} {'run (ms)':>9}")
    for trades in (int(text) for text in options.trades.split(",")):
        for line in await measure_runs(trades, options.differences):
            print(line, flush=True)
    print(
        f"bound: the bulk reads ({BULK_WEIGHT}) and {WEIGHT_OF_A_DIFFERENCE} for each difference; trades do not count"
    )
    if options.idle:
        await measure_idle(options.idle)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", default="1,10,100,1000")
    parser.add_argument("--differences", type=int, default=10)
    parser.add_argument("--idle", type=float, default=65.0)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main(parser.parse_args()))
