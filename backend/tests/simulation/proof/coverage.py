"""What the seeds reached, and what they never did.

State × event pairs are seen by listening at the two tables of the domain; error codes, fates and crash points are noted
where they happen; scenario ids are what those together mean.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import structlog

from app.domain import orders, trades
from app.domain.ids import OrderRole
from app.domain.orders import ORDER_TABLE
from app.domain.trades import ENDED, TRADE_TABLE, TradeStatus
from proof.fates import FATES, ORDERS_ONLY
from proof.trace import Trace

_watched: list[Trace] = []

SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "U1": ("fate:mutation:*503*", "fate:mutation:-100*", "fate:mutation:html*", "fate:mutation:silence*"),
    "U2": ("code:POST order * -4116", "order:resubmitting+accepted", "order:unknown+all_filled"),
    "U3": ("order:unknown+absent",),
    "U4": ("fate:read:silence*", "fate:read:reset*", "fate:read:html*"),
    "U7": ("order:canceled+*_filled", "order:expired+*_filled"),
    "U9": ("crash:close unknown", "order:*+all_filled"),
    "U10": ("trade:failed+exposed", "trade:rejected+exposed", "trade:closed+exposed"),
    "Z2": ("order:partially_filled+expired", "order:expired+part_filled", "order:submitting+expired"),
    "P1": ("code:POST order * -2021",),
    "P2": ("code:POST order * -2022", "code:POST order * -4045"),
    "P5": ("trade:open+laid_bare",),
    "P8": ("order:new+expired",),
    "P9": ("code:POST order * -4999",),
    "P14": ("world:algo orders",),
    "Z8": ("world:slow_leverage",),
    "O3": ("code:DELETE order * -2011",),
    "O5": ("code:POST order * -4131",),
    "O7": ("trade:entered in parts",),
    "O8": ("world:human_cover",),
    "W1": ("log:aster.user_stream_down",),
    "L1": ("code:* 429 *", "code:* 418 *"),
    "L2": ("code:* -1021", "code:* -4225"),
    "L6": ("code:* 401 *",),
    "L8": ("world:firewall",),
    "H1": ("world:human_close", "world:human_flip"),
    "H2": ("world:human_trade",),
    "H4": ("world:outage",),
    "C1": ("crash:trade *",),
    "C2": ("world:disk",),
    "C3": ("crash:recovering",),
    "C4": ("ownership:takeover",),
    "C5": ("result:*",),
    "C7": ("result:rejected:decision_expired", "result:rejected:*age*", "result:rejected:*stale*"),
    "C8": ("world:stop",),
}  # fmt: skip
"""Patterns over what was reached; any of them means that the scenario came up."""


def install() -> None:
    """Listen, from now on: at the tables, and at the log, of which nothing is printed."""
    _listen(orders, "next_order_state", "order")
    _listen(trades, "next_trade_status", "trade")
    structlog.configure(
        processors=[_hear],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )


def watch(trace: Trace | None) -> None:
    """Note what is heard in this trace."""
    _watched[:] = [] if trace is None else [trace]


def _listen(module: Any, name: str, kind: str) -> None:
    original: Callable[[Any, Any], Any] = getattr(module, name)
    if hasattr(original, "is_listening"):
        return

    def listening(state: Any, trigger: Any) -> Any:
        if _watched:
            _watched[0].reach(f"{kind}:{state.value}+{trigger.value}".lower())
        return original(state, trigger)

    listening.is_listening = True  # type: ignore[attr-defined]
    setattr(module, name, listening)


def _hear(_logger: Any, method: str, fields: Any) -> Any:
    if _watched:
        trace = _watched[0]
        trace.reach(f"log:{fields.get('event')}")
        if method in ("error", "exception", "critical"):
            error = fields.pop("exc_info", None)
            told = " ".join(f"{name}={value}" for name, value in fields.items() if name != "event")
            trace.note(f"log {method}", f"{fields.get('event')} {told}" + (f" {_cause()}" if error else ""))
    raise structlog.DropEvent


def _cause() -> str:
    import sys
    import traceback

    error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
    return "".join(traceback.format_exception(error)).strip().replace("\n", " | ")[-900:] if error else ""


def universe() -> list[str]:
    """Everything that could be reached and has a name."""
    names = [f"order:{state.value}+{trigger.value}".lower() for state, row in ORDER_TABLE.items() for trigger in row]
    names += [f"trade:{state.value}+{trigger.value}" for state, row in TRADE_TABLE.items() for trigger in row]
    names += [f"fate:mutation:{fate.name}" for family in FATES.values() for fate in family]
    of_reads = (fates for family, fates in FATES.items() if family not in ORDERS_ONLY)
    names += [f"fate:read:{fate.name}" for fates in of_reads for fate in fates]
    names += [f"crash:trade {status.value}" for status in TradeStatus if status not in ENDED]
    names += [f"crash:{role.value} {state}" for role in OrderRole for state in _in_flight(role)]
    return [
        *names,
        "crash:recovering",
        "crash:fuse step",
        *(f"ownership:{what}" for what in ("takeover", "owner frozen", "owner without database", "lost")),
        *(f"crash:fuse {what}" for what in ("mutation", "commit", "entry", "exit")),
    ]


def _in_flight(role: OrderRole) -> tuple[str, ...]:
    """States of a trade's order of that role in which a process may die."""
    if role is OrderRole.EXTERNAL_STOP:
        return ()  # it belongs to no trade
    states = ("submitting", "unknown", "new", "filled")
    return (*states, "canceling") if role.is_exit else states  # nobody cancels an entry: it is at market


def never_reached(reached: Counter[str]) -> list[str]:
    """Names of the universe that no seed reached, and scenarios that never came up."""
    missing = [name for name in universe() if not reached[name]]
    return missing + [
        f"scenario {name}" for name, patterns in SCENARIOS.items() if not scenario_count(reached, patterns)
    ]


def scenario_count(reached: Counter[str], patterns: tuple[str, ...]) -> int:
    """How often a scenario came up."""
    return sum(count for name, count in reached.items() if any(fnmatchcase(name, pattern) for pattern in patterns))
