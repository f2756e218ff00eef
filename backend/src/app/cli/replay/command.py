"""``tes replay``: play recorded candles through the venue, trade them through the service, compare both records."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import common
from app.cli.exits import ServiceRefused, UsageFailed

if TYPE_CHECKING:
    from app.cli.replay.processes import VenueWish
    from app.cli.replay.report import Report
    from app.cli.replay.rule import Size
    from app.cli.replay.session import Outcome, Plan
    from app.client.connection import Connection

app = typer.Typer()
_DAY_MS = 24 * 60 * 60 * 1000
_BALANCE = Decimal(1_000_000)
_PATIENCE = 100
_TOKEN_BITS = 192
_SEED_BITS = 31
_PAGE = 500


@app.command(rich_help_panel="Housekeeping")
def replay(
    candles: Annotated[
        list[str],
        typer.Option("--candles", metavar="FILE", help="CSV of candles, FILE or SYMBOL=FILE; once for each asset."),
    ],
    exchange_info: Annotated[
        Path | None,
        typer.Option("--exchange-info", help="A recorded exchangeInfo answer.", exists=True, dir_okay=False),
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", help="Play so many days; all when left out.", min=0.01)
    ] = None,
    decisions: Annotated[int, typer.Option("--decisions", help="Decisions to send, evenly spread.", min=1)] = 400,
    allocation: Annotated[str, typer.Option("--allocation", help="Notional of each entry in USD.")] = "100000",
    leverage: Annotated[int, typer.Option("--leverage", help="Leverage of each entry.", min=1, max=25)] = 10,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same replay.", min=0)] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep database and logs in this directory.", file_okay=False)
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Trade recorded candles: venue and service as own processes, a simple rule, two records that must be equal.

    Exit code 1 when the venue's ledger and our record differ, or anything is left unprotected or behind.
    """
    from app.cli.replay.processes import VenueWish
    from app.cli.replay.rule import Size
    from app.cli.replay.session import Plan
    from app.core.randomness import SystemRandomness

    files, times = _read(candles)
    size = Size(_amount(allocation), leverage)
    seed = SystemRandomness().token(_SEED_BITS) if seed is None else seed
    if days is not None:
        end = min(times) + round(days * _DAY_MS)
        times = {time for time in times if time < end}
    plan = Plan(bars=len(times), decisions=decisions, seed=seed)
    wish = VenueWish(candles=files, exchange_info=exchange_info, seed=seed, balance=_BALANCE, patience=_PATIENCE)
    with _directory(keep) as directory, _progress(plan, is_quiet=as_json) as on_progress:
        report = asyncio.run(_replay(plan, wish, size, directory, on_progress))
    if as_json:
        common.print_json(report.as_dict())
    else:
        from app.cli import render

        render.console().print(report.shown())
    if not report.is_good:
        raise ServiceRefused(f"{len(report.audit.findings)} findings; --keep DIRECTORY keeps database and logs")


async def _replay(
    plan: Plan, wish: VenueWish, size: Size, directory: Path, on_progress: Callable[[Outcome], None]
) -> Report:
    from app.cli.replay import processes
    from app.cli.replay.audit import audit
    from app.cli.replay.report import Report
    from app.cli.replay.rule import TrendRule
    from app.cli.replay.session import Replay
    from app.client.errors import Unreachable
    from app.core.clock import SystemClock
    from app.core.randomness import SystemRandomness

    clock = SystemClock()
    started_at = clock.monotonic()
    token = f"{SystemRandomness().token(_TOKEN_BITS):048x}"
    async with (
        processes.venue(wish, directory) as place,
        processes.service(place, token, directory) as address,
        common.service(common.Place(place["control_url"], None)) as venue,
        common.service(common.Place(address.url, address.token)) as service,
    ):
        try:
            outcome = await Replay(plan, TrendRule(size), service, venue, on_progress).run()
        except Unreachable:
            raise processes.fell_silent(directory) from None
        trades = await _all_trades(service)
        (account,) = (await service.get("/v1/accounts"))["items"]
        ledger = (await venue.get("/ledger"))["accounts"][account["account_id"]]
        return Report(
            seed=plan.seed,
            seconds=clock.monotonic() - started_at,
            outcome=outcome,
            trades=trades,
            audit=audit(ledger, trades, account["wallet_balance"]),
        )


async def _all_trades(service: Connection) -> list[dict[str, Any]]:
    trades: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await service.get("/v1/trades", limit=_PAGE, cursor=cursor)
        trades += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return trades


def _read(candles: list[str]) -> tuple[dict[str, Path], set[int]]:
    """Files by symbol, and the opening times in milliseconds of all their candles: each is one step.

    Raises:
        UsageFailed: a file can't be used.
    """
    from aster_sim.feeds.candles import CandleFileError, read_candles, symbol_of

    try:
        files = dict(symbol_of(text) for text in candles)
        times = {bar.open_ms for path in files.values() for bar in read_candles(path)}
    except CandleFileError as error:
        raise UsageFailed(str(error)) from None
    if len(files) < len(candles):
        raise UsageFailed("--candles: two files have the same symbol; give one file for each asset")
    return files, times


def _amount(text: str) -> Decimal:
    from app.domain.money import decimal_from_text

    try:
        amount = decimal_from_text(text)
    except ValueError:
        amount = Decimal(0)
    if amount <= 0:
        raise UsageFailed(f"--allocation {text!r} is no amount above 0: give a number such as 100000")
    return amount


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """An empty place for database and logs: kept where wanted, otherwise gone afterwards.

    Raises:
        UsageFailed: the wanted directory is not empty.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tes-replay-") as name:
            yield Path(name)
        return
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise UsageFailed(f"--keep {keep}: the directory is not empty; give a new one")
    yield keep.resolve()


@contextmanager
def _progress(plan: Plan, *, is_quiet: bool) -> Iterator[Callable[[Outcome], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from app.cli import render

    console = render.console(is_error=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task("starting", total=plan.bars)

        def show(outcome: Outcome) -> None:
            progress.update(task, completed=outcome.bars, description=f"candles, {outcome.decisions} decisions")

        yield show
