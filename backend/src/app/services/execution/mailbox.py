"""A desk's mailbox: bounded, in order, facts and closes ahead of entries."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class MailboxFull(Exception):
    """No room for another entry; the sender should say so instead of waiting."""


class Mailbox(Generic[_T]):
    """Two lanes. What protects or closes is urgent and never waits behind entries.

    When the urgent lane overflows, messages are dropped and :attr:`has_overflowed` says so: whoever takes the messages
    must then read the truth from the exchange (scenario W8).
    """

    def __init__(self, urgent_capacity: int = 10_000, capacity: int = 1_000) -> None:
        self._urgent: deque[_T] = deque()
        self._waiting: deque[_T] = deque()
        self._urgent_capacity = urgent_capacity
        self._capacity = capacity
        self._arrived = asyncio.Event()
        self.has_overflowed = False

    def __len__(self) -> int:
        return len(self._urgent) + len(self._waiting)

    def put_urgent(self, message: _T) -> None:
        """Queue a fact, a close or a protection."""
        if len(self._urgent) >= self._urgent_capacity:
            self.has_overflowed = True
        else:
            self._urgent.append(message)
        self._arrived.set()

    def put(self, message: _T) -> None:
        """Queue an entry.

        Raises:
            MailboxFull: too many are waiting.
        """
        if len(self._waiting) >= self._capacity:
            raise MailboxFull
        self._waiting.append(message)
        self._arrived.set()

    async def take(self) -> list[_T]:
        """Wait for messages; all urgent ones, or else the oldest of the others."""
        while not self._urgent and not self._waiting and not self.has_overflowed:
            self._arrived.clear()
            await self._arrived.wait()
        if self._urgent or self.has_overflowed:
            urgent = list(self._urgent)
            self._urgent.clear()
            return urgent
        return [self._waiting.popleft()]
