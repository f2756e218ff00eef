"""The mailbox: bounded, in order, and what protects or closes never waits behind entries."""

from __future__ import annotations

import asyncio

import pytest

from app.services.execution.mailbox import Mailbox, MailboxFull


async def test_urgent_messages_come_first_all_at_once_and_in_order() -> None:
    mailbox: Mailbox[str] = Mailbox()
    mailbox.put("enter 1")
    mailbox.put_urgent("fill 1")
    mailbox.put("enter 2")
    mailbox.put_urgent("fill 2")
    assert len(mailbox) == 4
    assert await mailbox.take() == ["fill 1", "fill 2"]
    assert await mailbox.take() == ["enter 1"]
    assert await mailbox.take() == ["enter 2"]
    assert len(mailbox) == 0


async def test_taking_waits_for_the_next_message() -> None:
    mailbox: Mailbox[str] = Mailbox()
    taker = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    assert not taker.done()
    mailbox.put("enter")
    assert await taker == ["enter"]


async def test_too_many_entries_are_refused_and_facts_still_enter() -> None:
    mailbox: Mailbox[int] = Mailbox(capacity=2)
    mailbox.put(1)
    mailbox.put(2)
    with pytest.raises(MailboxFull):
        mailbox.put(3)
    mailbox.put_urgent(4)
    assert await mailbox.take() == [4]
    assert not mailbox.has_overflowed


async def test_an_overflow_of_facts_is_never_silent() -> None:
    """Scenario W8: whoever takes the messages must read the truth from the exchange."""
    mailbox: Mailbox[int] = Mailbox(urgent_capacity=2)
    for number in range(5):
        mailbox.put_urgent(number)
    assert mailbox.has_overflowed
    assert await mailbox.take() == [0, 1]
    mailbox.has_overflowed = False
    mailbox.put_urgent(6)
    assert await mailbox.take() == [6]
    assert not mailbox.has_overflowed
