"""Persistence: an append-only file of entity upserts, one JSON line per commit, restored and compacted at start.

A commit is one line written with one ``os.write`` before anybody is told of it, so that a process that is
killed at any instant forgets nothing that it said. A torn last line is a commit that nobody heard of.
Credentials are never written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec

from aster_sim.auth import NONCES_KEPT
from aster_sim.core.account import Account, Position
from aster_sim.core.funding_terms import Funding
from aster_sim.core.numbers import ZERO
from aster_sim.core.orders import EXPIRE_TAKER, Income, MarginChange, Order, Trade
from aster_sim.core.state import Changes, Counters, InsuranceFund, State
from aster_sim.core.strategies import Strategy
from aster_sim.core.venue import Venue


class JournalError(OSError):
    """A state file that cannot be used: locked by another venue, damaged, or made for other symbols."""


class AccountRecord(msgspec.Struct):
    """An account without its orders and history, which are entities of their own."""

    name: str
    wallet: Decimal
    deposited: Decimal
    dual_side: bool
    multi_assets: bool
    updated_ms: int
    leverage: dict[str, int]
    isolated: list[str]
    positions: list[Position]
    stp_mode: str = EXPIRE_TAKER
    countdowns: dict[str, int] = {}
    margin_called: list[tuple[str, str]] = []
    auto_add_margin: list[str] = []
    fee_asset: str = ""
    fee_balance: Decimal = ZERO


class TermsRecord(msgspec.Struct):
    """The terms of a symbol's running funding interval."""

    rate: Decimal
    interval_ms: int
    next_ms: int


class Commit(msgspec.Struct, omit_defaults=True):
    """What one line holds: the newest version of each entity that changed."""

    accounts: list[AccountRecord] = []
    orders: list[Order] = []
    trades: list[Trade] = []
    incomes: list[Income] = []
    margin_changes: list[MarginChange] = []
    fundings: list[Funding] = []
    strategies: list[Strategy] = []
    prices: dict[str, tuple[Decimal, Decimal]] = {}
    terms: dict[str, TermsRecord] = {}
    nonces: dict[str, list[int]] = {}
    counters: Counters | None = None
    fund: InsuranceFund | None = None


_DECODER = msgspec.json.Decoder(Commit)
_ENCODER = msgspec.json.Encoder()


class Journal:
    """The open state file of one running venue."""

    def __init__(self, path: Path, lock: int, handle: int, nonces: dict[str, list[int]]) -> None:
        self.nonces = nonces
        self._path = path
        self._lock = lock
        self._handle = handle

    @classmethod
    def open(cls, path: Path, venue: Venue) -> Journal:
        """Lock the file, restore the venue from it, compact it.  Raises JournalError.

        ``nonces`` of the journal are those used before, by signer.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise JournalError(f"state file {path.name}: another venue is using it") from error
            nonces: dict[str, list[int]] = {}
            if path.exists():
                for commit in _read(path):
                    _apply(venue, commit, path)
                    for signer, used in commit.nonces.items():
                        nonces[signer] = (nonces.get(signer, []) + used)[-NONCES_KEPT:]
                _index(venue)
            _compact(path, venue, nonces)
            venue.take_changes()  # compaction has just written them
            handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock, handle, nonces)

    def commit(
        self, venue: Venue, changes: Changes, *, with_prices: bool, nonces: dict[str, list[int]] | None = None
    ) -> None:
        """Append what changed.  Raises JournalError when the file cannot take the whole line."""
        line = _ENCODER.encode(_commit_of(venue, changes, with_prices=with_prices, nonces=nonces)) + b"\n"
        written = os.write(self._handle, line)
        if written != len(line):
            os.ftruncate(self._handle, os.fstat(self._handle).st_size - written)
            raise JournalError(f"state file {self._path.name}: disk full, {written} of {len(line)} bytes written")

    def close(self) -> None:
        """Flush to the disk and let go of the file."""
        os.fsync(self._handle)
        os.close(self._handle)
        os.close(self._lock)


def _read(path: Path) -> Iterator[Commit]:
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise JournalError(f"state file {path.name}: line {number} is damaged: {error}") from error
    if torn:
        try:
            yield _DECODER.decode(torn)
        except msgspec.DecodeError:
            return


def _apply(venue: Venue, commit: Commit, path: Path) -> None:
    state = venue.state
    for record in commit.accounts:
        _restore_account(state, record)
    for order in commit.orders:
        state.accounts[order.account].orders[order.order_id] = order
    for trade in commit.trades:
        state.accounts[trade.account].trades.setdefault(trade.symbol, []).append(trade)
    for income in commit.incomes:
        state.accounts[income.account].incomes.append(income)
    for change in commit.margin_changes:
        state.accounts[change.account].margin_changes.append(change)
    for strategy in commit.strategies:
        state.accounts[strategy.account].strategies[strategy.strategy_id] = strategy
    _restore_markets(state, commit, path)
    if commit.counters is not None:
        state.counters = commit.counters
    if commit.fund is not None:
        state.fund = commit.fund


def _restore_account(state: State, record: AccountRecord) -> None:
    account = state.accounts.get(record.name)
    if account is None:
        account = state.accounts[record.name] = Account(record.name, record.wallet, record.deposited)
    account.wallet, account.deposited = record.wallet, record.deposited
    account.dual_side, account.multi_assets = record.dual_side, record.multi_assets
    account.stp_mode, account.countdowns = record.stp_mode, record.countdowns
    account.margin_called = set(record.margin_called)
    account.updated_ms, account.leverage = record.updated_ms, record.leverage
    account.isolated = set(record.isolated)
    account.auto_add_margin = set(record.auto_add_margin)
    account.fee_asset, account.fee_balance = record.fee_asset, record.fee_balance
    account.positions = {(row.symbol, row.side): row for row in record.positions}


def _restore_markets(state: State, commit: Commit, path: Path) -> None:
    named = [*commit.prices, *commit.terms, *(funding.symbol for funding in commit.fundings)]
    unknown = next((symbol for symbol in named if symbol not in state.markets), None)
    if unknown is not None:
        raise JournalError(
            f"state file {path.name}: it knows {unknown}, which the exchange info does not; "
            "start with the same --exchange-info, or with another state file"
        )
    for funding in commit.fundings:
        state.markets[funding.symbol].funding.history.append(funding)
    for symbol, terms in commit.terms.items():
        running = state.markets[symbol].funding
        running.rate, running.interval_ms, running.next_ms = terms.rate, terms.interval_ms, terms.next_ms
    for symbol, (mark, last) in commit.prices.items():
        state.markets[symbol].prices.move(mark, last, state.now_ms())


def _index(venue: Venue) -> None:
    """Put restored open orders back into books, triggers and lookups, in their old priority."""
    state = venue.state
    resting: list[Order] = []
    for account in state.accounts.values():
        account.orders = dict(sorted(account.orders.items()))
        for order in account.orders.values():
            if order.open:
                account.opened(order)
            else:
                account.client_ids[order.symbol, order.client_order_id] = order.order_id
            if order.open and order.waiting:
                state.markets[order.symbol].triggers.add(order)
            elif order.open:
                resting.append(order)
    venue.funding.look_ahead()
    for order in sorted(resting, key=lambda row: row.book_seq):
        state.markets[order.symbol].book.add(order)
    for account in state.accounts.values():
        for position in account.positions.values():
            if position.amount:
                state.markets[position.symbol].holders.add(account.name)
        for symbol in account.open_orders:
            venue.booker.refresh_order_margin(account, state.markets[symbol])


def _record_of(account: Account) -> AccountRecord:
    return AccountRecord(
        name=account.name,
        wallet=account.wallet,
        deposited=account.deposited,
        dual_side=account.dual_side,
        multi_assets=account.multi_assets,
        updated_ms=account.updated_ms,
        leverage=account.leverage,
        isolated=sorted(account.isolated),
        positions=list(account.positions.values()),
        stp_mode=account.stp_mode,
        countdowns=account.countdowns,
        margin_called=sorted(account.margin_called),
        auto_add_margin=sorted(account.auto_add_margin),
        fee_asset=account.fee_asset,
        fee_balance=account.fee_balance,
    )


def _prices_of(venue: Venue) -> dict[str, tuple[Decimal, Decimal]]:
    return {
        symbol: (market.prices.mark, market.prices.last)
        for symbol, market in venue.state.markets.items()
        if market.priced
    }


def _commit_of(
    venue: Venue, changes: Changes, *, with_prices: bool, nonces: dict[str, list[int]] | None = None
) -> Commit:
    return Commit(
        accounts=[_record_of(account) for account in changes.accounts.values()],
        orders=list(changes.orders.values()),
        trades=changes.trades,
        incomes=changes.incomes,
        margin_changes=changes.margin_changes,
        fundings=changes.fundings,
        strategies=list(changes.strategies.values()),
        prices=_prices_of(venue) if with_prices else {},
        terms={
            symbol: TermsRecord(terms.rate, terms.interval_ms, terms.next_ms) for symbol, terms in changes.terms.items()
        },
        nonces=nonces or {},
        counters=venue.state.counters,
        fund=venue.state.fund,
    )


def _compact(path: Path, venue: Venue, nonces: dict[str, list[int]]) -> None:
    """Replace the file by one commit per account with everything in it."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as handle:
        markets = venue.state.markets
        public = Changes(
            fundings=[row for market in markets.values() for row in market.funding.history],
            terms={symbol: market.funding for symbol, market in markets.items()},
        )
        handle.write(_ENCODER.encode(_commit_of(venue, public, with_prices=False, nonces=nonces)) + b"\n")
        for account in venue.state.accounts.values():
            whole = Changes(
                orders=account.orders,
                accounts={account.name: account},
                trades=sorted((row for rows in account.trades.values() for row in rows), key=lambda row: row.trade_id),
                incomes=account.incomes,
                margin_changes=account.margin_changes,
                strategies=account.strategies,
            )
            handle.write(_ENCODER.encode(_commit_of(venue, whole, with_prices=True)) + b"\n")
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(path)
