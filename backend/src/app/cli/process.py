"""How a long-running command starts and stops: its event loop, its signals, its socket."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.cli.exits import CommandFailed

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2048


@contextmanager
def on_stop_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at each Ctrl-C and SIGTERM, instead of what they would do."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def until_told_to_stop() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    told = asyncio.Event()
    with on_stop_signal(told.set):
        await told.wait()


def run_in_fast_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything else starts.

    Raises:
        CommandFailed: the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.settimeout(0)  # the event loop waits, not the socket
    except OSError as error:
        listening.close()
        raise CommandFailed(
            f"can't listen on {host} port {port} ({error.strerror or error}): "
            "stop what uses it, or choose another with --port or TES_PORT (0 takes any free one)"
        ) from None
    return listening
