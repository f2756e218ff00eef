"""``countdownCancelAll``: a dead man's switch that cancels a symbol's orders unless it is wound up again."""

from __future__ import annotations

from aster_sim.core.account import Account
from aster_sim.core.state import State


class Countdowns:
    """The armed countdowns of all accounts; they are kept in the accounts, so that a restart forgets none."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def armed(self) -> bool:
        """Whether any countdown runs."""
        return any(account.countdowns for account in self._state.accounts.values())

    def wind(self, account: Account, symbol: str, countdown_ms: int) -> None:
        """Start a symbol's countdown anew (milliseconds), or stop it with zero."""
        if countdown_ms:
            account.countdowns[symbol] = self._state.now_ms() + countdown_ms
        else:
            account.countdowns.pop(symbol, None)
        self._state.changes.accounts[account.name] = account

    def take_due(self) -> list[tuple[Account, str]]:
        """The countdowns that have run out, each told once."""
        now = self._state.now_ms()
        due = [
            (account, symbol)
            for account in self._state.accounts.values()
            for symbol, due_ms in account.countdowns.items()
            if due_ms <= now
        ]
        for account, symbol in due:
            self.wind(account, symbol, 0)
        return due
