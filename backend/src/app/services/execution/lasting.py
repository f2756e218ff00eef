"""Lasting: the record of a decision with exits, which is tried until the database takes it (scenario C2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.db.port import Landing
from app.domain.errors import StoreUnavailable


def accepted_in_the_end(accept: Callable[..., Landing]) -> Landing:
    """Record a decision with exits, if not now then as soon as the database takes it: exits do not wait (C2).

    Raises:
        StoreUnavailable: it can't even be kept for later.
    """
    recorded: Landing = asyncio.get_running_loop().create_future()
    recorded.add_done_callback(_look_at_error)

    def hand_on(landing: Landing) -> None:
        if landing.cancelled() or recorded.done():
            return
        error = landing.exception()
        if error is None:
            recorded.set_result(landing.result())
        else:
            recorded.set_exception(error)

    def once_more(landing: Landing) -> None:
        if landing.cancelled() or not isinstance(landing.exception(), StoreUnavailable):
            hand_on(landing)
            return
        try:
            accept(must_land=True).add_done_callback(hand_on)
        except StoreUnavailable as error:
            recorded.set_exception(error)

    try:
        accept().add_done_callback(once_more)
    except StoreUnavailable:
        accept(must_land=True).add_done_callback(hand_on)
    return recorded


def _look_at_error(landing: Landing) -> None:
    """Whoever waits for it hears of the error; when there is none, it makes no noise."""
    if not landing.cancelled():
        landing.exception()
