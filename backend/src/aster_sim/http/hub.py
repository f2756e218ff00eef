"""Streams: listen keys, subscriptions, and the sockets that frames go to.

A listen key is a stream name like any other, so it works on ``/ws/<listenKey>`` and on combined sockets.
A dead or bogus key still connects and stays silent (asterdex-facts.md section 7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aster_sim.faults import Action, FaultPlan

LISTEN_KEY_US = 60 * 60 * 1_000_000
QUEUE_FRAMES = 10_000
REORDERED_LATEST_US = 1_000_000
_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True)
class ListenKey:
    """An account's user stream until ``expires_us``."""

    key: str
    account: str
    expires_us: int


@dataclass(eq=False, slots=True)
class Subscriber:
    """One socket: its streams and the frames that wait to be written; None tells the writer to hang up."""

    combined: bool
    streams: set[str] = field(default_factory=set)
    frames: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_FRAMES))
    opened_us: int = 0
    last_pong_us: int = 0
    second: int = 0
    messages: int = 0

    def send(self, frame: bytes) -> None:
        """Queue a frame; a reader that is 10,000 frames behind is hung up."""
        try:
            self.frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.hang_up()

    def hang_up(self) -> None:
        """Drop what waits and close."""
        while not self.frames.empty():
            self.frames.get_nowait()
        self.frames.put_nowait(None)


@dataclass(slots=True)
class LateFrame:
    """A user event that a fault keeps back until ``due_us``; ``done`` when it was sent before."""

    due_us: int
    account: str
    payload: dict[str, Any]
    done: bool = False


class Hub:
    """Knows which socket listens to what."""

    def __init__(self, faults: FaultPlan, entropy: Callable[[int], str], now_us: Callable[[], int]) -> None:
        self._faults = faults
        self._entropy = entropy
        self._now_us = now_us
        self._late: list[LateFrame] = []
        self._held: dict[str, LateFrame] = {}
        self.late_frames = asyncio.Event()
        self._streams: dict[str, set[Subscriber]] = {}
        self._subscribers: set[Subscriber] = set()
        self._keys: dict[str, ListenKey] = {}

    # -- listen keys ----------------------------------------------------------------------------

    def open_key(self, account: str, now_us: int) -> str:
        """The account's listen key, made on first use; either way good for 60 minutes more."""
        entry = self._keys.get(account)
        if entry is None:
            entry = self._keys[account] = ListenKey(self._entropy(32), account, 0)
        entry.expires_us = now_us + LISTEN_KEY_US
        return entry.key

    def renew_key(self, account: str, now_us: int) -> bool:
        """Re-arm the account's key for 60 minutes; False when it has none."""
        entry = self._keys.get(account)
        if entry is None:
            return False
        entry.expires_us = now_us + LISTEN_KEY_US
        return True

    def close_key(self, account: str) -> None:
        """Kill the account's key: its sockets stay open and fall silent."""
        self._keys.pop(account, None)

    def forget_keys(self) -> None:
        """Lose all keys, as an exchange that restarts might."""
        self._keys.clear()

    def expire_keys(self, now_us: int) -> None:
        """Kill keys whose time is up, saying so on their streams."""
        for entry in [row for row in self._keys.values() if row.expires_us <= now_us]:
            self._publish(entry.key, {"e": "listenKeyExpired", "E": now_us // 1000})
            del self._keys[entry.account]

    # -- sockets --------------------------------------------------------------------------------

    def add(self, subscriber: Subscriber) -> None:
        """Take a new socket in."""
        self._subscribers.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a closed socket."""
        self.unsubscribe(subscriber, list(subscriber.streams))
        self._subscribers.discard(subscriber)

    def subscribe(self, subscriber: Subscriber, streams: Iterable[str]) -> None:
        """Let a socket listen to streams."""
        for stream in streams:
            subscriber.streams.add(stream)
            self._streams.setdefault(stream, set()).add(subscriber)

    def unsubscribe(self, subscriber: Subscriber, streams: Iterable[str]) -> None:
        """Let a socket no longer listen to streams."""
        for stream in streams:
            subscriber.streams.discard(stream)
            listeners = self._streams.get(stream)
            if listeners is not None:
                listeners.discard(subscriber)
                if not listeners:
                    del self._streams[stream]

    def subscribers(self) -> list[Subscriber]:
        """All sockets."""
        return list(self._subscribers)

    def listened(self, stream: str) -> bool:
        """Whether anybody listens to a stream."""
        return stream in self._streams

    def user_followed(self, account: str) -> bool:
        """Whether anybody listens to an account's user stream."""
        entry = self._keys.get(account)
        return entry is not None and entry.key in self._streams

    def followed(self) -> list[str]:
        """The streams that somebody listens to."""
        return list(self._streams)

    @property
    def crowded(self) -> bool:
        """Whether anybody listens to anything."""
        return bool(self._streams)

    def hang_up_all(self) -> None:
        """Close every socket."""
        for subscriber in self._subscribers:
            subscriber.hang_up()

    # -- frames ---------------------------------------------------------------------------------

    def publish_user(self, account: str, payload: dict[str, Any]) -> None:
        """Send a user event to whoever listens to the account's key, unless a fault is in the way."""
        entry = self._keys.get(account)
        if entry is None or not self.listened(entry.key):
            return
        action = self._faults.for_event(account, payload["e"])
        kind = action.type if action is not None else ""
        if kind == "drop_events":
            return
        if kind == "kill_key":
            self.close_key(account)
            return
        if kind == "disconnect":
            for subscriber in list(self._streams[entry.key]):
                subscriber.hang_up()
            return
        if action is not None and kind in {"delay_events", "reorder_events"}:
            self._keep_back(account, payload, action)
            return
        self._publish(entry.key, payload)
        if kind == "duplicate_events":
            self._publish(entry.key, payload)
        held = self._held.pop(account, None)
        if held is not None:
            held.done = True
            self._publish(entry.key, held.payload)

    def _keep_back(self, account: str, payload: dict[str, Any], action: Action) -> None:
        """Let a frame come later: after a time, or after the next one."""
        reorders = action.type == "reorder_events"
        late_us = REORDERED_LATEST_US if reorders else int(action.seconds * 1_000_000)
        frame = LateFrame(self._now_us() + late_us, account, payload)
        self._late.append(frame)
        if reorders:
            self._held[account] = frame
        self.late_frames.set()

    def send_late(self) -> bool:
        """Send the frames that were kept back until now; whether any is left."""
        now = self._now_us()
        due = sorted((frame for frame in self._late if frame.due_us <= now), key=lambda frame: frame.due_us)
        self._late = [frame for frame in self._late if frame.due_us > now and not frame.done]
        for frame in due:
            if self._held.get(frame.account) is frame:
                del self._held[frame.account]
            entry = self._keys.get(frame.account)
            if not frame.done and entry is not None:
                self._publish(entry.key, frame.payload)
        return bool(self._late)

    def publish_market(self, stream: str, payload: Any) -> None:
        """Send a market frame to whoever listens, unless a fault is in the way."""
        if not self._faults.market_is_silent():
            self._publish(stream, payload)

    def _publish(self, stream: str, payload: Any) -> None:
        listeners = self._streams.get(stream)
        if not listeners:
            return
        plain = _ENCODER.encode(payload)
        wrapped = b""
        for subscriber in listeners:
            if subscriber.combined and not wrapped:
                wrapped = b'{"stream":' + _ENCODER.encode(stream) + b',"data":' + plain + b"}"
            subscriber.send(wrapped if subscriber.combined else plain)
