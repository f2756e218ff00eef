"""The HTTP server, as the service and its tests run it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from app.api.app import create_app
from app.api.protocol import BoundedHttpProtocol, FramesProtocol, Strangers
from app.api.stream import HEARTBEAT_S

if TYPE_CHECKING:
    from app.bootstrap import Application

GRACE_S = 5
"""How long answers that are on their way may take once the server was told to stop."""
_LARGEST_MESSAGE_BYTES = 64 * 1024


class Server(uvicorn.Server):
    """Leaves signals to its caller: uvicorn would raise them again before the application has stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


def make_server(application: Application) -> Server:
    """A server of the application; its ``serve`` takes sockets that listen already."""
    strangers = Strangers()
    config = uvicorn.Config(
        create_app(application),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=cast(Any, partial(BoundedHttpProtocol, strangers=strangers)),
        ws=cast(Any, partial(FramesProtocol, strangers=strangers)),
        ws_max_size=_LARGEST_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # hundreds of readers would each cost a compression of the same event
        ws_ping_interval=HEARTBEAT_S,
        ws_ping_timeout=HEARTBEAT_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Server(config)
