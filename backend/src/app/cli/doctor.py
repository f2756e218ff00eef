"""``tes doctor``: what a user may have wrong, one line each, with the fix. It looks only, and changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.exits import CommandFailed
from app.cli.process import bind
from app.cli.session import read_session, session_path
from app.core.clock import SystemClock
from app.domain.errors import AuthRefused, ConfigurationError, ExchangeError, TesError

if TYPE_CHECKING:
    from app.core.settings import AccountSettings, Settings
    from app.db.port import Database
    from app.domain.reports import PositionReport
    from app.integrations.aster.client import AsterClient

_GIB = 2**30
_LITTLE_DISK = _GIB
_NO_DISK = _GIB // 10
_CLOCK_WARN_S = 1.0
_CLOCK_FAIL_S = 5.0
"""A decision from further ahead is refused, and an older one ages sooner."""
_AGENT_WARN = timedelta(days=14)


class Verdict(StrEnum):
    """How bad it is. FAIL: the service will not start, or will not trade."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``fix`` is None where there is nothing to do."""

    check: str
    verdict: Verdict
    message: str
    fix: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """As JSON values."""
        return {name: None if value is None else str(value) for name, value in asdict(self).items()}


def _ok(check: str, message: str) -> Finding:
    return Finding(check, Verdict.OK, message)


def _warn(check: str, message: str, fix: str) -> Finding:
    return Finding(check, Verdict.WARN, message, fix)


def _fail(check: str, message: str, fix: str) -> Finding:
    return Finding(check, Verdict.FAIL, message, fix)


async def examine(config: Path | None, venue: str | None) -> list[Finding]:
    """Look at everything that a service started now with these settings would need; ``venue`` wins over theirs."""
    from app.core.configuration import load_settings

    try:
        settings = load_settings(os.environ, config=config, overrides={"venue": venue})
    except ConfigurationError as error:
        return [_fail("settings", str(error), "correct that setting, then look again: the rest depends on it")]
    found = [_ok("settings", f"venue {settings.venue.value}, {len(settings.account_settings())} account(s)")]
    found += [_warn("secrets", text, "chmod 600, or mount it as a secret") for text in settings.warnings]
    found += _port(settings)
    found += [one async for one in _database(settings)]
    found += _disk(settings)
    found += _alerts(settings)
    if settings.is_paper:
        found.append(_ok("exchange", "the embedded simulated venue: nothing to reach"))
    else:
        for account_id, account in settings.account_settings().items():
            found += [one async for one in _exchange(account_id, account)]
    return found


def _port(settings: Settings) -> Iterator[Finding]:
    session = read_session(session_path(settings))
    if session is not None:
        yield _ok("port", f"a service with these settings answers at {session.url}")
        return
    try:
        bind(settings.host, settings.port).close()
    except CommandFailed as error:
        yield _fail("port", str(error), "stop what uses it, or set TES_PORT")
    else:
        yield _ok("port", f"{settings.host} port {settings.port} is free")


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    from app.db.migrate import schema_version
    from app.db.migrations import HEAD

    try:
        version = schema_version(settings.database_url)
    except TesError as error:
        yield _fail("database", str(error), "see the message; docs/configuration.md explains TES_DATABASE_URL")
        return
    if version is None:
        yield _ok("database", "empty: its tables are made at the first start")
    elif version < HEAD:
        yield _warn("database", f"schema {version}, this program wants {HEAD}", "tes db backup FILE, then start")
    elif version > HEAD:
        yield _fail("database", f"schema {version} is newer than this program", "start the newer program")
    else:
        yield _ok("database", f"schema {version}, up to date")
        for finding in await _record(settings):
            yield finding


async def _record(settings: Settings) -> list[Finding]:
    """What the database tells: who trades, and where what is open in it was opened."""
    from app.db.executors import ThreadExecutor
    from app.db.opening import make_database

    database = make_database(settings.database_url, ThreadExecutor())
    try:
        await database.start()
        return [await _lease(settings, database), *await _origin(settings, database)]
    except TesError as error:
        return [_fail("lease", str(error), "look at the database first")]
    finally:
        await database.close()


async def _origin(settings: Settings, database: Database) -> list[Finding]:
    """What is open at another venue: the service will not start."""
    from app.services.binding import VenueBinding

    return [_fail("record", str(one), one.ways_out) for one in await VenueBinding(settings).foreign(database)]


async def _lease(settings: Settings, database: Database) -> Finding:
    """Whether another process trades these accounts."""
    from app.repositories.leases import LeaseRepository

    leases = await LeaseRepository(database, tuple(settings.account_settings())).look()
    held = next((lease for lease in leases.values() if not lease.is_free), None)
    if held is None:
        return _ok("lease", "nobody trades these accounts now")
    where = f"process {held.owner.pid} on {held.owner.host}"
    return _warn("lease", f"{where} trades {held.account_id}", "a second service would stand by; stop that one first")


def _disk(settings: Settings) -> Iterator[Finding]:
    from app.core.database_url import SqliteLocation, parse_database_url

    location = parse_database_url(settings.database_url)
    if not isinstance(location, SqliteLocation) or location.path is None:
        return
    folder = location.path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / _GIB:.1f} GiB free at {folder}"
    if not os.access(folder, os.W_OK):
        yield _fail("disk", f"{folder} can't be written", "give this user the right to, or set TES_DATABASE_URL")
    elif free < _NO_DISK:
        yield _fail("disk", text, "free some space: without it nothing is recorded, and nothing opened")
    elif free < _LITTLE_DISK:
        yield _warn("disk", text, "free some space")
    else:
        yield _ok("disk", text)


def _alerts(settings: Settings) -> Iterator[Finding]:
    from app.events.alerts.channels import open_channels

    urls = [url.get_secret_value() for url in settings.alert_urls]
    if not urls:
        if not settings.is_paper:
            yield _warn("alerts", "no channel: nobody is told when something is wrong", "set TES_ALERT_URLS")
        return
    try:
        channels = open_channels(urls)
    except ConfigurationError as error:
        yield _fail("alerts", str(error), "correct that entry of TES_ALERT_URLS")
    else:
        yield _ok("alerts", f"{len(channels)} channel(s); 'tes alert test' sends a message")


async def _exchange(account_id: str, account: AccountSettings) -> AsyncIterator[Finding]:
    """An account at its exchange, as far as reads can tell."""
    from app.core.randomness import SystemRandomness
    from app.venues import looking_client

    check = f"exchange {account_id}"
    clock = SystemClock()
    try:
        client = looking_client(account, clock, SystemRandomness())
    except ConfigurationError as error:
        yield _fail(check, str(error), "correct the credentials")
        return
    try:
        await client.start()
        yield _ok(check, "reachable")
        yield _clock(account_id, (client.exchange_time() - clock.now()).total_seconds())
        for finding in await _account(account, client):
            yield finding
    except AuthRefused as error:
        fix = "compare user, agent and key, and the network (testnet or live); renew an agent that has expired"
        yield _fail(f"key {account_id}", f"refused: {error}", fix)
    except ExchangeError as error:
        yield _fail(check, str(error), "check the network, the address and the exchange's status page")
    finally:
        await client.close()


def _clock(account_id: str, offset_s: float) -> Finding:
    check, text = f"clock {account_id}", f"the exchange is {offset_s:+.2f} s off this machine"
    fix = "set this machine's clock by NTP: a decision's age is judged by it"
    if abs(offset_s) >= _CLOCK_FAIL_S:
        return _fail(check, text, fix)
    return _warn(check, text, fix) if abs(offset_s) >= _CLOCK_WARN_S else _ok(check, text)


async def _account(account: AccountSettings, client: AsterClient) -> list[Finding]:
    account_id, report = account.account_id, await client.account()
    found = [_ok(f"key {account_id}", f"taken; {report.available_balance} USD available")]
    if account.signer is not None:
        found += await _agent(account_id, account.signer, client)
    if not report.can_trade:
        found.append(_fail(f"permission {account_id}", "the exchange lets this account not trade", "ask the exchange"))
    mode = "hedge" if await client.is_hedge_mode() else "one-way"
    found.append(_ok(f"mode {account_id}", f"{mode} positions; it is traded as it is, never changed"))
    if await client.is_multi_asset_mode():
        text = "multi-asset margin: other assets serve as margin, and their prices move it"
        found.append(_warn(f"margin {account_id}", text, "switch to single-asset mode at the exchange"))
    open_ones = [row for row in await client.positions() if not row.is_flat]
    found.append(_ok(f"positions {account_id}", f"{len(open_ones)} open; what we did not open is never touched"))
    found += _leverage(account, open_ones)
    room_s = client.wait_for_room(1, 0.5)
    if room_s > 0:
        text = f"more than half of the request weight is used up; room in {room_s:.0f} s"
        found.append(_warn(f"rate limit {account_id}", text, "stop other programs on this address"))
    else:
        found.append(_ok(f"rate limit {account_id}", "less than half of the request weight is used"))
    return found


async def _agent(account_id: str, signer: str, client: AsterClient) -> list[Finding]:
    """What the exchange says of the agent that signs for us."""
    check = f"agent {account_id}"
    renew = "approve a new agent at the exchange, then set TES_ASTER_SIGNER and its key"
    try:
        agents = await client.agents()
    except AuthRefused:
        raise
    except ExchangeError as error:
        return [_warn(check, f"the exchange does not tell of its agents: {error}", "look at its API management page")]
    own = next((agent for agent in agents if agent.address.lower() == signer.lower()), None)
    if own is None:
        return [_warn(check, f"{signer} is not among the account's agents", renew)]
    found = [_expiry(check, own.expires_at, client.exchange_time(), renew)]
    if not own.can_trade:
        found.append(_fail(check, "this agent may not trade perpetual futures", "give it that right at the exchange"))
    if own.can_withdraw:
        found.append(_warn(check, "this agent may withdraw", "take that right from it at the exchange"))
    return found


def _expiry(check: str, expires_at: datetime, now: datetime, fix: str) -> Finding:
    text = f"{expires_at:%Y-%m-%d %H:%M} UTC"
    if expires_at <= now:
        return _fail(check, f"expired at {text}", fix)
    if expires_at - now < _AGENT_WARN:
        return _warn(check, f"expires at {text}", f"before then, {fix}")
    return _ok(check, f"taken until {text}")


def _leverage(account: AccountSettings, held: list[PositionReport]) -> list[Finding]:
    """What the exchange has set for what is held, against what we would set. The rest is set before each entry."""
    check, risk = f"leverage {account.account_id}", account.policy.risk
    found = []
    for row in held:
        if row.leverage > risk.maximum_leverage:
            text = f"{row.symbol} is held at {row.leverage}x, above TES_RISK_MAX_LEVERAGE={risk.maximum_leverage}"
            found.append(_warn(check, text, "lower it at the exchange, or close the position"))
        if risk.margin_type is not None and row.margin_type is not risk.margin_type:
            text = f"{row.symbol} is held {row.margin_type.value}, TES_MARGIN_TYPE={risk.margin_type.value}"
            found.append(
                _warn(check, text, "close the position: the exchange changes the margin type of flat ones only")
            )
    return found or [_ok(check, f"what is held is within {risk.maximum_leverage}x; before an entry it is set anew")]
