"""How things are, for Prometheus: read when it asks, so that nothing is stale and nothing is kept up for nobody.

While another process trades the accounts, this one has only what concerns the process, and ``tes_ready``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.core.version import program_version

if TYPE_CHECKING:
    from decimal import Decimal

    from app.bootstrap import Application
    from app.services.execution.projection import PositionView
    from app.services.execution.service import ExecutionService
    from app.services.execution.vital_signs import VitalSigns

Number: TypeAlias = "float | Decimal | None"

_OF_SIGNS: tuple[tuple[str, str, Callable[[VitalSigns], Number]], ...] = (
    (
        "tes_unprotected_positions",
        "Positions with an exit that was asked for and does not rest on the book in full.",
        lambda signs: signs.unprotected,
    ),
    (
        "tes_positions_past_deadline",
        "Positions that could not be protected in time, or that won't close.",
        lambda signs: signs.past_deadline,
    ),
    (
        "tes_positions_without_exits",
        "Positions of ours for which no exit was asked.",
        lambda signs: signs.without_exits,
    ),
    (
        "tes_unknown_orders",
        "Orders that were sent and of which nobody knows yet what became.",
        lambda signs: len(signs.unknown_orders_s),
    ),
    (
        "tes_oldest_unknown_order_seconds",
        "For how long the oldest of them has been out; 0 when there is none.",
        lambda signs: max(signs.unknown_orders_s, default=0),
    ),
    (
        "tes_reconciliation_differences",
        "Differences between record and exchange that the last reconciliation found.",
        lambda signs: signs.differences,
    ),
    (
        "tes_reconciliation_age_seconds",
        "Time since the last reconciliation that succeeded.",
        lambda signs: signs.reconciled_s_ago,
    ),
    (
        "tes_request_weight_used",
        "Request weight of this address in the present minute; accounts at one exchange share it.",
        lambda signs: signs.weight.used,
    ),
    (
        "tes_request_weight_limit",
        "How much of it the exchange allows in a minute.",
        lambda signs: signs.weight.limit,
    ),
    (
        "tes_silence_seconds",
        "For how long the exchange wants to hear nothing from this address.",
        lambda signs: signs.silent_for_s,
    ),
    (
        "tes_clock_offset_seconds",
        "By how much the exchange's clock is ahead of this machine's.",
        lambda signs: signs.clock_offset_s,
    ),
)
_OF_POSITIONS: tuple[tuple[str, str, Callable[[PositionView], Decimal]], ...] = (
    ("tes_position_notional", "Value of the open position, in USD.", lambda row: row.quantity * row.mark_price),
    ("tes_position_unrealised_pnl", "Its profit at the mark price, in USD.", lambda row: row.unrealised_pnl),
)
OF_MONEY = frozenset({"tes_wallet_balance", "tes_available_balance", *(name for name, _, _ in _OF_POSITIONS)})
"""The gauges that only a token shows."""


class Gauges(Collector):
    """Collects from ``application``; ``readers`` tells how many follow the event stream."""

    def __init__(self, application: Application, readers: Callable[[], int]) -> None:
        self._application = application
        self._readers = readers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge as it is now."""
        services = dict(self._application.services)
        signs = {account_id: service.vital_signs() for account_id, service in services.items()}
        yield from self._of_the_process()
        for name, text, value in _OF_SIGNS:
            yield _family(name, text, ("account",), (((one,), value(seen)) for one, seen in signs.items()))
        yield from _labelled(signs)
        yield from _of_services(services)

    def _of_the_process(self) -> Iterator[GaugeMetricFamily]:
        application, database = self._application, self._application.database
        build = (program_version(), platform.python_version(), application.settings.venue.value)
        yield _family("tes_build_info", "What runs here, and where.", ("version", "python", "venue"), [(build, 1)])
        ready = [((account_id,), state.is_ready) for account_id, state in application.readiness().items()]
        yield _family("tes_ready", "Whether the account takes decisions.", ("account",), ready)
        for name, text, value in (
            ("tes_database_up", "Whether the database takes writes.", database.health.is_healthy),
            ("tes_database_queue", "Units of work that are not durable yet.", database.waiting),
            ("tes_event_readers", "Readers that follow the event stream live.", self._readers()),
            ("tes_last_seq", "seq of the newest event published.", application.dispatcher.last_seq),
        ):
            yield _family(name, text, (), [((), value)])


def _labelled(signs: Mapping[str, VitalSigns]) -> Iterator[GaugeMetricFamily]:
    streams, used, limits = [], [], []
    for account_id, seen in signs.items():
        streams += [((account_id, "user"), seen.is_user_stream_up), ((account_id, "market"), seen.is_market_stream_up)]
        for window, level in (("10s", seen.orders_10s), ("1m", seen.orders_1m)):
            used.append(((account_id, window), level.used))
            limits.append(((account_id, window), level.limit))
    yield _family("tes_stream_up", "Whether a stream of the exchange is connected.", ("account", "stream"), streams)
    yield _family("tes_orders_used", "Orders sent in the present window.", ("account", "window"), used)
    yield _family("tes_orders_limit", "How many of them the exchange allows.", ("account", "window"), limits)


def _of_services(services: Mapping[str, ExecutionService]) -> Iterator[GaugeMetricFamily]:
    rows = {account_id: service.positions().items for account_id, service in services.items()}
    views = {account_id: service.account_view() for account_id, service in services.items()}
    halted = [((account_id,), service.halted is not None) for account_id, service in services.items()]
    yield _family("tes_halted", "Whether entries wait for an operator to resume.", ("account",), halted)
    for name, text, of_account in (
        ("tes_positions", "Open positions, whoever opened them.", {one: len(held) for one, held in rows.items()}),
        (
            "tes_external_positions",
            "Open positions that this service did not open.",
            {one: sum(row.trade_id is None for row in held) for one, held in rows.items()},
        ),
        (
            "tes_wallet_balance",
            "USDT in the account; what was realised is in it.",
            {one: view.wallet_balance for one, view in views.items()},
        ),
        (
            "tes_available_balance",
            "USDT that new positions may use.",
            {one: view.available_balance for one, view in views.items()},
        ),
    ):
        yield _family(name, text, ("account",), (((one,), value) for one, value in of_account.items()))
    for name, text, of_row in _OF_POSITIONS:
        values = {
            (account_id, row.asset, row.side.value): of_row(row) for account_id, held in rows.items() for row in held
        }
        yield _family(name, text, ("account", "asset", "side"), values.items())


def _family(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], Number]]
) -> GaugeMetricFamily:
    """One gauge; what is not known has no sample."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        if value is not None:
            family.add_metric(key, float(value))
    return family
