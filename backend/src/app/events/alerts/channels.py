"""Channels: the ways to reach people that ``TES_ALERT_URLS`` names, through Apprise.

An Apprise address holds tokens and passwords in any of its parts, so no address is shown, not even by Apprise itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from app.domain.errors import ConfigurationError
from app.events.alerts.letters import Letter

_MASK = "********"
_WEB_HOOKS = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Services whose host is a host; with many others it is the token."""


class Channel(Protocol):
    """A way to reach people."""

    @property
    def label(self) -> str:
        """The address, masked."""
        ...

    def notify(self, letter: Letter) -> bool:
        """Send one message; blocks. Returns whether it was taken."""
        ...


class AppriseChannel:
    """A service that Apprise knows.

    Args:
        plugin: Apprise's object for the address.
        url: the address.
    """

    def __init__(self, plugin: Any, url: str) -> None:
        self._plugin = plugin
        self._scheme = url.partition("://")[0].strip().lower()
        # what is too long for the service is split, not refused, unless the address says otherwise
        self._overflow = None if "overflow=" in url.lower() else "split"

    @property
    def label(self) -> str:
        """The service, and the host of a web hook."""
        if self._scheme not in _WEB_HOOKS:
            return f"{self._scheme}://{_MASK}"
        port = f":{self._plugin.port}" if self._plugin.port else ""
        return f"{self._scheme}://{self._plugin.host}{port}/{_MASK}"

    def notify(self, letter: Letter) -> bool:
        """Send one message; blocks. Returns whether it was taken."""
        kind = "failure" if letter.is_critical else "warning"
        return bool(
            self._plugin.notify(
                body=letter.body, title=letter.title, notify_type=kind, body_format="text", overflow=self._overflow
            )
        )


def open_channels(urls: Sequence[str]) -> tuple[Channel, ...]:
    """The channels that the Apprise URLs name.

    Raises:
        ConfigurationError: Apprise does not know one of them. The message never shows the URL: it holds secrets.
    """
    if not urls:
        return ()
    import apprise

    # Apprise logs whole URLs, which hold tokens and passwords; we log by ourselves, without them
    logging.getLogger("apprise").disabled = True
    channels = []
    for number, url in enumerate(urls, start=1):
        plugin = apprise.Apprise.instantiate(url)
        if plugin is None:
            raise ConfigurationError(
                f"TES_ALERT_URLS: entry {number} is no URL that Apprise knows: see its list of notification services"
            )
        channels.append(AppriseChannel(plugin, url))
    return tuple(channels)
