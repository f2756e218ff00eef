"""While something is open in it, a database belongs to the venue where that was opened.

Another exchange shows nothing of it: reconciliation would take every trade for closed, and forget real positions whose
exits stay on the book; a decision left unfinished by a dead process would be acted upon with other money. So the flag
``venue:ACCOUNT`` names the venue that an account's record is of, and a start for another one is refused until nothing
is open. A record from before there were such flags only tells paper money from an exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from app.core.database_url import parse_database_url
from app.core.settings import DEFAULT_ACCOUNT, VENUES, AccountSettings, AuthScheme, Settings, VenueKind
from app.db.port import Database
from app.domain.errors import ConfigurationError
from app.repositories.decisions import DecisionRepository
from app.repositories.events import EventRepository
from app.repositories.flags import FlagRepository
from app.repositories.trades import TradeRepository

_DEFAULT_PORTS = {"https": 443, "http": 80}
_UNNAMED = "exchange"
"""The venue of an old record that is not of paper money."""
_SHOWN = {
    VenueKind.PAPER.value: "the paper venue",
    VenueKind.TESTNET.value: "the testnet",
    VenueKind.LIVE.value: "the live exchange",
    _UNNAMED: "an exchange",
}


@dataclass(frozen=True, slots=True)
class Venue:
    """Where an account trades: ``paper``, ``testnet``, ``live``, or the REST address of any other exchange.

    ``holder`` is the account there, where an address of one's own leads to it: several ways lead to one exchange, such
    as a proxy for each instance, and an exchange moves.
    """

    name: str
    holder: str | None = None

    def is_same(self, other: Venue) -> bool:
        """Whether what is open at the one shows at the other."""
        return self.name == other.name or (self.holder is not None and self.holder == other.holder)

    @property
    def shown(self) -> str:
        """In words."""
        return _SHOWN.get(self.name, f"the exchange at {self.name}")

    @property
    def way_back(self) -> str:
        """What starts a service on it."""
        if self.name == _UNNAMED:
            return "'tes serve --testnet' or 'tes serve --live', whichever it was,"
        return (
            f"'tes serve --{self.name}'" if self.name in _SHOWN else f"'tes serve' and TES_ASTER_REST_URL={self.name}"
        )


def venue_of(account: AccountSettings) -> Venue:
    """The venue that an account's settings lead to."""
    if account.address is None:
        return Venue(VenueKind.PAPER.value)
    address = _canonical(account.address.rest_url)
    named = next((kind.value for kind, known in VENUES.items() if known.rest_url == address), None)
    if named is not None:
        return Venue(named)
    is_known = account.auth is AuthScheme.V3 and account.user is not None
    return Venue(address, f"{account.address.chain_id}:{account.user}".lower() if is_known else None)


def _canonical(url: str) -> str:
    """An address in the one spelling that all its spellings share."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What an account has open at another venue than the one of the settings."""

    account_id: str
    origin: Venue
    present: Venue
    assets: tuple[str, ...]
    """Of its open trades, one each."""
    decisions: int
    """Those that have not ended and have no open trade."""

    def __str__(self) -> str:
        parts = [f"{len(self.assets)} open trade(s) ({', '.join(self.assets)})"] if self.assets else []
        parts += [f"{self.decisions} unfinished decision(s)"] if self.decisions else []
        return (
            f"account {self.account_id} has {' and '.join(parts)} of {self.origin.shown}; {self.present.shown} knows "
            "nothing of that, which would be taken for closed, or acted upon there"
        )

    @property
    def ways_out(self) -> str:
        """What the operator can do."""
        account = "" if self.account_id == DEFAULT_ACCOUNT else f" --account {self.account_id}"
        return (
            "give each venue a database of its own (set TES_DATABASE_URL, start in another folder, or move this "
            f"database away), or go back with {self.origin.way_back} and close what is open with "
            f"'tes close --all{account}'"
        )


class VenueBinding:
    """Keeps a database from being opened for another venue than that of what is open in it."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self._is_paper = settings.is_paper
        self._venues = {name: venue_of(account) for name, account in settings.account_settings().items()}

    async def foreign(self, database: Database) -> list[Foreign]:
        """What is open at other venues, an item for each account that has any. Only reads.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        found = [await self._foreign(database, name, venue) for name, venue in self._venues.items()]
        return [one for one in found if one is not None]

    async def check(self, database: Database) -> None:
        """Refuse what ``foreign`` finds. Only reads.

        Raises:
            ConfigurationError: something is open at another venue; names the database, what it is, and the ways out.
            StoreUnavailable: the database did not answer.
        """
        found = await self.foreign(database)
        if not found:
            return
        shown = parse_database_url(self._url).shown
        ways = dict.fromkeys(one.ways_out for one in found)
        raise ConfigurationError(
            f"database {shown}: {'; '.join(map(str, found))}. Nothing was changed: {', '.join(ways)}"
        )

    async def bind(self, database: Database) -> None:
        """Check once more, then remember the present venues; for who owns the accounts, before anything is opened.

        The flags are ahead of every trade in the queue of writes, so nobody waits for them.

        Raises:
            ConfigurationError: as ``check``.
            StoreUnavailable: the database did not answer, or takes no writes from this process.
        """
        await self.check(database)
        flags = FlagRepository(database)
        for account_id, venue in self._venues.items():
            if await self._kept(database, account_id) != venue:
                flags.raise_flag(_flag(account_id), {"name": venue.name, "holder": venue.holder})

    async def _foreign(self, database: Database, account_id: str, present: Venue) -> Foreign | None:
        kept = await self._kept(database, account_id)
        if kept is not None and kept.is_same(present):
            return None
        trades = await TradeRepository(database).open_trades(account_id)
        open_trades = [(one.asset, one.decision_id) for one in trades.items]
        open_trades += [(one.asset or "", one.decision_id or "") for one in trades.unreadable]
        held = {decision_id for _, decision_id in open_trades}
        decisions = await DecisionRepository(database).unfinished(account_id)
        waiting = [one.decision_id for one in decisions.items] + [one.id for one in decisions.unreadable]
        waiting = [one for one in waiting if one not in held]
        origin = kept
        if origin is None and await self._is_of_other_money(database, [*held, *waiting]):
            origin = Venue(_UNNAMED if self._is_paper else VenueKind.PAPER.value)
        if origin is None or not (open_trades or waiting):
            return None
        assets = tuple(asset for asset, _ in open_trades)
        return Foreign(account_id=account_id, origin=origin, present=present, assets=assets, decisions=len(waiting))

    async def _is_of_other_money(self, database: Database, decision_ids: list[str]) -> bool:
        """Whether paper money became an exchange's or the other way round since these decisions came."""
        events = EventRepository(database)
        return any([await events.is_paper(one) is (not self._is_paper) for one in decision_ids])

    async def _kept(self, database: Database, account_id: str) -> Venue | None:
        kept = await FlagRepository(database).get(_flag(account_id))
        return Venue(**kept) if kept else None


def _flag(account_id: str) -> str:
    return f"venue:{account_id}"
