"""Faults on purpose: which requests and frames go wrong, how often, and how.

A fault is a JSON object::

    {"match": {"method": "POST", "path": "/order", "params": {"type": "STOP_MARKET"}, "account": "alice"},
     "count": 2, "skip": 1, "probability": 0.5,
     "action": {"type": "error", "status": 503, "code": -1007, "msg": "…", "executed": true}}

Actions on requests: ``delay_before`` and ``delay_after`` (``seconds``), ``drop_before`` (not executed) and
``drop_after`` (executed; no answer), ``error`` (``status``, ``code``, ``msg``, ``body``, ``content_type``,
``headers``, ``executed``), ``ban`` (418 to this IP for ``seconds``).

Actions on user-stream frames, matched by ``account`` and ``event`` (its ``e``): ``drop_events``,
``duplicate_events``, ``delay_events`` (``seconds``), ``reorder_events`` (the frame comes after the next one, or a
second late), ``disconnect``, ``silence`` (this frame and all for ``seconds`` are lost, the socket stays open),
``kill_key`` (the listen key dies without a word). ``count`` 0 means always; the default is once.

Actions on the whole venue, which match nothing and begin ``after`` so many seconds: ``clock_skew`` (the venue's
clock is ahead by ``seconds``, behind when negative, for ``lasts`` seconds or for good), ``maintenance`` (sockets are
closed, REST answers 503 or as ``status``, ``code``, ``msg``, ``body`` say, for ``seconds``), ``restart`` (sockets are
closed, listen keys forgotten, connections dropped for ``seconds``), ``silence_market`` (no market frames for
``seconds``), ``lag_lists`` (orders and executions younger than ``seconds`` are in no query and no list, while
positions and frames show them at once, for ``lasts`` seconds or for good).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from random import Random

REQUEST_ACTIONS = frozenset({"delay_before", "delay_after", "drop_before", "drop_after", "error", "ban"})
STREAM_ACTIONS = frozenset(
    {"drop_events", "duplicate_events", "delay_events", "reorder_events", "disconnect", "silence", "kill_key"}
)
OUTAGES = frozenset({"maintenance", "restart"})
LASTING = frozenset({"clock_skew", "lag_lists"})
"""Their ``seconds`` say how far, ``lasts`` for how long."""
VENUE_ACTIONS = OUTAGES | LASTING | {"silence_market"}
_ACTIONS = REQUEST_ACTIONS | STREAM_ACTIONS | VENUE_ACTIONS
_SECOND_US = 1_000_000


class FaultError(ValueError):
    """A fault that cannot be understood; the message names the field."""


class Match(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a fault applies to; everything that is named must agree."""

    method: str | None = None
    path: str | None = None
    params: dict[str, str] = {}
    account: str | None = None
    event: str | None = None


class Action(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What happens; see the module's docstring."""

    type: str
    seconds: float = 0.0
    status: int = 503
    code: int = -1001
    msg: str = "Internal error; unable to process your request. Please try again."
    body: str | None = None
    content_type: str | None = None
    headers: dict[str, str] = {}
    executed: bool = False
    after: float = 0.0
    lasts: float = 0.0


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One fault as it is written."""

    action: Action
    match: Match = msgspec.field(default_factory=Match)
    count: int = 1
    skip: int = 0
    probability: float = 1.0


_LOST = Action("drop_events")


@dataclass(slots=True)
class ActiveFault:
    """A fault in the plan with what is left of it."""

    number: int
    fault: Fault
    added_us: int = 0
    skipped: int = 0
    used: int = 0

    def blows(self, now_us: int) -> bool:
        """Whether an action on the whole venue is in force."""
        action = self.fault.action
        start = self.added_us + int(action.after * _SECOND_US)
        duration = action.lasts if action.type in LASTING else action.seconds
        endless = action.type in LASTING and not action.lasts
        return start <= now_us and (endless or now_us < start + int(duration * _SECOND_US))

    @property
    def spent(self) -> bool:
        """Whether it will never act again."""
        return bool(self.fault.count) and self.used >= self.fault.count

    def as_dict(self) -> dict[str, Any]:
        """The fault as the control API shows it."""
        shown: dict[str, Any] = msgspec.to_builtins(self.fault)
        return {"id": self.number, **shown, "used": self.used, "spent": self.spent}


@dataclass(slots=True)
class RequestFaults:
    """What is to go wrong with one request; at most one of the endings."""

    delay_before_s: float = 0.0
    delay_after_s: float = 0.0
    ending: Action | None = None
    names: list[str] = field(default_factory=list)


class FaultPlan:
    """The faults in force, in the order in which they were added."""

    def __init__(self, rng: Random, now_us: Callable[[], int]) -> None:
        """``now_us`` is the true clock, which no fault skews."""
        self._rng = rng
        self._now_us = now_us
        self._silent: list[tuple[str | None, int]] = []
        self._faults: list[ActiveFault] = []
        self._numbers = 0

    def add(self, rows: Any) -> list[dict[str, Any]]:
        """Add one fault or a list of them, as parsed JSON.  Raises FaultError; then none was added."""
        faults = [_parse(row) for row in (rows if isinstance(rows, list) else [rows])]
        added: list[ActiveFault] = []
        for fault in faults:
            self._numbers += 1
            added.append(ActiveFault(self._numbers, fault, self._now_us()))
        self._faults += added
        return [row.as_dict() for row in added]

    def load(self, path: Path) -> None:
        """Add the faults of a file.  Raises FaultError."""
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FaultError(f"faults file {path.name}: cannot be read as JSON: {error}") from error
        self.add(rows)

    def clear(self, number: int | None = None) -> None:
        """Remove one fault, or all; silence ends with its fault."""
        self._silent.clear()
        self._faults = [row for row in self._faults if number is not None and row.number != number]

    def listing(self) -> list[dict[str, Any]]:
        """All faults with their use."""
        return [row.as_dict() for row in self._faults]

    @property
    def idle(self) -> bool:
        """Whether no fault at all is planned."""
        return not self._faults

    def for_request(self, method: str, path: str, params: Mapping[str, str], account: str) -> RequestFaults | None:
        """What goes wrong with a request; None when nothing does. Each fault that acts is used once."""
        if not self._faults:
            return None
        plan = RequestFaults()
        for row in self._faults:
            action = row.fault.action
            if action.type not in REQUEST_ACTIONS or not _matches(row.fault.match, method, path, params, account):
                continue
            ends = not action.type.startswith("delay_")
            if (ends and plan.ending is not None) or not self._acts(row):
                continue
            plan.names.append(f"{row.number}:{action.type}")
            if action.type == "delay_before":
                plan.delay_before_s += action.seconds
            elif action.type == "delay_after":
                plan.delay_after_s += action.seconds
            else:
                plan.ending = action
        return plan if plan.names else None

    def skew_us(self) -> int:
        """How far the venue's clock is ahead of the true one."""
        if not self._faults:
            return 0
        return sum(int(row.fault.action.seconds * _SECOND_US) for row in self._blowing("clock_skew"))

    def lag_ms(self) -> int:
        """How far queries and lists of orders and executions are behind."""
        if not self._faults:
            return 0
        return max((int(row.fault.action.seconds * 1000) for row in self._blowing("lag_lists")), default=0)

    def outage(self) -> tuple[int, Action] | None:
        """The outage in force, with its number; None when the venue serves."""
        rows = self._blowing(*OUTAGES) if self._faults else []
        return (rows[0].number, rows[0].fault.action) if rows else None

    def market_is_silent(self) -> bool:
        """Whether market frames are lost."""
        return bool(self._faults and self._blowing("silence_market"))

    def _blowing(self, *types: str) -> list[ActiveFault]:
        rows = [row for row in self._faults if row.fault.action.type in types]
        return [row for row in rows if row.blows(self._now_us())] if rows else rows

    def for_event(self, account: str, event: str) -> Action | None:
        """The action on a user-stream frame; None when it passes."""
        if self._silent:
            now = self._now_us()
            self._silent = [row for row in self._silent if now < row[1]]
            if any(who in {None, account} for who, _ in self._silent):
                return _LOST
        for row in self._faults:
            match = row.fault.match
            if row.fault.action.type not in STREAM_ACTIONS:
                continue
            if match.account not in {None, account} or match.event not in {None, event}:
                continue
            if self._acts(row):
                action = row.fault.action
                if action.type == "silence":
                    self._silent.append((match.account, self._now_us() + int(action.seconds * _SECOND_US)))
                    return _LOST
                return action
        return None

    def _acts(self, row: ActiveFault) -> bool:
        if row.spent:
            return False
        if row.skipped < row.fault.skip:
            row.skipped += 1
            return False
        if row.fault.probability < 1.0 and self._rng.random() >= row.fault.probability:
            return False
        row.used += 1
        return True


def _matches(match: Match, method: str, path: str, params: Mapping[str, str], account: str) -> bool:
    if match.method is not None and match.method.upper() != method:
        return False
    if match.path is not None and not path.endswith("/" + match.path.strip("/")):
        return False
    if match.account is not None and match.account != account:
        return False
    return all(params.get(name) == value for name, value in match.params.items())


def _parse(row: Any) -> Fault:
    try:
        fault = msgspec.convert(row, Fault)
    except msgspec.ValidationError as error:
        raise FaultError(f"fault: {error}") from error
    if fault.action.type not in _ACTIONS:
        known: Iterable[str] = sorted(_ACTIONS)
        raise FaultError(f"fault: action.type {fault.action.type!r} is none of {', '.join(known)}")
    action = fault.action
    negative = action.seconds < 0 and action.type != "clock_skew"
    if fault.count < 0 or fault.skip < 0 or negative or action.after < 0 or action.lasts < 0:
        raise FaultError("fault: count, skip, seconds, after and lasts must not be negative")
    if not 0 <= fault.probability <= 1:
        raise FaultError("fault: probability must be within 0 and 1")
    return fault
