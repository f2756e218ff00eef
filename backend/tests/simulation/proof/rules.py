"""What must hold after every run: each rule reads the venue's ledger, the wire and our record, and tells violations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ledger import ON_THE_BOOK, Ledger

from app.domain.events import EventType
from app.domain.ids import ClientOrderId, OrderRole, parse_client_order_id
from app.domain.parts import opening
from app.domain.trades import AdjustmentKind, Trade
from app.schemas.decision import Action
from app.schemas.result import AssetStatus, ExecutionResult
from app.services.execution.reconciliation import DifferenceKind
from proof import conduct
from proof.entries import in_turn, one_entry
from proof.fates import FATES
from proof.keeper import downtimes
from proof.seams import EPOCH_US
from proof.stage import LIMIT_S, Run

_STOPS = (OrderRole.STOP_LOSS, OrderRole.TRAILING_STOP)
_EXPECTED_EXTERNAL = (DifferenceKind.POSITION_EXTERNAL, DifferenceKind.POSITION_LARGER)
_ROUGH = ("weather", "frames", "disk", "host_clock", "key_dies", "human_modes", "thin", "cut", "outage", "ban",
          "firewall")  # fmt: skip
_ROUGH_FOR_GOOD = ("host_clock", "key_dies")
"""The deadline is measured by the host's clock, and a dead key is noticed by what it does not tell."""
_CLEAR_FATES = frozenset(fate.name for family in ("refused", "stuck") for fate in FATES[family])
"""What leaves no doubt once something was executed: the stream tells of a stuck order as of any other."""
_EXPECTED_IN_THE_LOG = ("desk.not_recorded", "halt.not_recorded", "trading.alert")
_EXPECTED_OF_TWO = (
    "store.ownership_lost",
    "ownership.lost",
    "trading.given_up error=trading could not begin: no way to the database",
)
_FIREWALL_S = 10.0
_KNOWING_S = 2.0
_KNOWING_IN_ROUGH_WEATHER_S = 25.0
"""Between a fill and the service's knowing of it: answers and frames get lost, and a lost read takes ten seconds."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule, in words."""

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def check(run: Run) -> list[Violation]:
    """Every violation that the run left behind."""
    found: list[Violation] = [Violation("comes to rest", text) for text in run.troubles]
    if not run.ledger:
        return found
    for name, rule in RULES.items():
        found += [Violation(name, text) for text in rule(run)]
    return found


def _ledger(run: Run, account: str) -> Ledger:
    whole = Ledger.read(run.ledger, account)
    return Ledger(whole.orders, whole.fills, [row for row in whole.requests if row["account"] == account])


def never_bare(run: Run) -> Iterator[str]:
    """No exposure without a stop beyond the deadline, unless it is being closed."""
    if any(happening.what == "venue_clock" for happening in run.world.happenings):
        return  # the ledger's times jump with the venue's clock
    patience_s = float(run.world.settings["TES_PROTECTION_DEADLINE_SECONDS"]) + 10 * run.world.latency_s
    if run.world.settings.get("TES_PROTECTION_ON_FAILURE") == "alert":
        patience_s += 60.0
    excuses = list(run.excuses) + downtimes(run.lives, run.virtual_s)
    items = [item for ordered in run.ordered for item in ordered.decision.decisions]
    # which exits are wished changes with an adjustment, and only the record knows when
    adjusted = {item.asset for item in items if item.action in (Action.ADJUST_POSITION, Action.ADJUST_ORDERS)}
    for account, trades in run.trades.items():
        ledger = _ledger(run, account)
        for trade in trades:
            is_added_to = any(one.kind is AdjustmentKind.ADD for one in trade.adjustments)
            if trade.asset not in adjusted and not is_added_to and any(leg.role in _STOPS for leg in trade.legs):
                for start, end in _bare_spans(ledger, trade, run):
                    length = (end - start) - _overlap(start, end, excuses)
                    if length > patience_s + _knowing_s(start, end, run):
                        yield f"{trade.asset} trade {trade.id} from {start:.3f} s on for {length:.1f} s"


def _knowing_s(start: float, end: float, run: Run) -> float:
    """How long the service may take to know what happened in a span: longer where frames or answers got lost."""
    for happening in run.world.happenings:
        details = happening.details
        is_rough = happening.what in _ROUGH or (happening.what == "befall" and details["fate"] not in _CLEAR_FATES)
        lasts = float(details.get("lasts", details.get("seconds", 0.0)))
        if happening.what in _ROUGH_FOR_GOOD:
            lasts = LIMIT_S
        if is_rough and happening.at < end and start < happening.at + lasts + _KNOWING_IN_ROUGH_WEATHER_S:
            return _KNOWING_IN_ROUGH_WEATHER_S
    return _KNOWING_S


def _overlap(start: float, end: float, spans: list[tuple[float, float]]) -> float:
    total, reached = 0.0, start
    for first, last in sorted(spans):
        first, last = max(first, reached), min(last, end)
        if last > first:
            total += last - first
            reached = last
    return total


def _bare_spans(ledger: Ledger, trade: Trade, run: Run) -> Iterator[tuple[float, float]]:
    """Spans, in seconds of the run, in which the trade's stops on the book cover less than what is held of it."""
    sign = trade.side.sign
    ours = {row["orderId"]: parse_client_order_id(row["clientOrderId"]) for row in ledger.orders}
    arrivals = conduct.arrivals_of(run)
    moves: list[tuple[int, int, str, Decimal]] = []
    net = Decimal(0)
    for fill in ledger.fills:
        if fill["symbol"] != trade.asset or fill["positionSide"] != trade.position_side.value:
            continue
        key = ours.get(fill["orderId"])
        if key is not None and key.trade_id == trade.id:
            net += Decimal(fill["qty"]) * (-1 if key.role.is_exit else 1)
        held = max(Decimal(0), Decimal(fill["positionAfter"]) * (1 if trade.position_side.value == "SHORT" else sign))
        if trade.position_side.value == "SHORT":
            held = abs(Decimal(fill["positionAfter"]))
        net = min(net, held)  # what somebody else took off is gone
        moves.append((fill["time"], 0, "net", net))
    for row in ledger.orders:
        key = ours[row["orderId"]]
        if key is not None and key.trade_id == trade.id and key.role in _STOPS:
            quantity = conduct.ordered_quantity(arrivals, row) or Decimal("Infinity")
            moves.append((row["time"], 1, "stop", quantity))
            if row["status"] not in ON_THE_BOOK or row["type"] != row["origType"]:  # a limit that rests stops nothing
                moves.append((row["updateTime"], 2, "stop", -quantity))
    closes = [
        row.at for row in run.sent
        if row.method == "POST" and _key_of(row.client_order_id, trade) is OrderRole.CLOSE
    ]  # fmt: skip
    held, stops, since = Decimal(0), Decimal(0), None
    times = sorted({move[0] for move in moves})
    for time in times:
        for _, _, what, value in sorted((move for move in moves if move[0] == time), key=lambda move: move[1]):
            if what == "net":
                held = value
            elif not (stops + value).is_nan():
                stops += value
        at = time / 1000 - EPOCH_US / 1_000_000
        if held > stops and since is None:
            since = at
        elif held <= stops and since is not None:
            yield since, _closing_from(since, at, closes)
            since = None
    if since is not None:
        yield since, _closing_from(since, run.virtual_s, closes)


def _closing_from(start: float, end: float, closes: list[float]) -> float:
    return min([end, *(at for at in closes if start - 0.5 <= at <= end)])


def _key_of(name: str, trade: Trade) -> OrderRole | None:
    key = parse_client_order_id(name)
    return key.role if key is not None and key.trade_id == trade.id else None


def within_limits(run: Run) -> Iterator[str]:
    """Leverage, notional and cooldown, as the venue saw them."""
    most = int(run.world.settings.get("TES_RISK_MAX_LEVERAGE", "25"))
    for row in run.sent:
        if row.path.endswith("/leverage") and row.method == "POST" and int(row.params["leverage"]) > most:
            yield f"asked for leverage {row.params['leverage']}, allowed is {most}"
    cap = run.world.settings.get("TES_RISK_MAX_NOTIONAL_PER_ASSET")
    wishes = {
        (ordered.decision_id, item.asset): item
        for ordered in run.ordered if not ordered.conflicts
        for item in ordered.decision.decisions
    }  # fmt: skip
    stuck = {row.client_order_id for row in run.sent if row.fate == "stuck"}
    for account, trades in run.trades.items():
        orders = {row["clientOrderId"]: row for row in _ledger(run, account).orders}
        entries: dict[str, list[tuple[float, bool]]] = {}
        for trade in trades:
            order = orders.get(trade.entry.client_order_id)
            if order is None:
                continue
            sent = [orders[part.client_order_id] for part in opening(trade) if part.client_order_id in orders]
            notional = sum((Decimal(part["origQty"]) for part in sent), start=Decimal(0)) * trade.reference_price
            item = wishes.get((trade.decision_id, trade.asset))
            if cap is not None and notional > Decimal(cap):
                yield f"entry {trade.id} is worth {notional:.2f}, allowed is {cap}"
            if item is not None and item.allocation_usd is not None:
                factor = most if run.world.settings["TES_RISK_ALLOCATION_BASIS"] == "margin" else 1
                if notional > item.allocation_usd * factor:
                    yield f"entry {trade.id} is worth {notional:.2f}, allocated were {item.allocation_usd}"
            added = [
                orders.get(str(one.client_order_id)) for one in trade.adjustments if one.kind is AdjustmentKind.ADD
            ]
            for entry in (order, *added):
                # what the exchange takes beyond its own window nobody can count with: it was given up, and is revived
                if entry is not None and entry["clientOrderId"] not in stuck:
                    seen = (entry["time"] / 1000, bool(Decimal(entry["executedQty"])))
                    entries.setdefault(trade.asset, []).append(seen)
        yield from _too_soon(run, account, entries)


def _too_soon(run: Run, account: str, entries: Mapping[str, list[tuple[float, bool]]]) -> Iterator[str]:
    if any(happening.what in ("host_clock", "venue_clock") for happening in run.world.happenings):
        return  # the cooldown is measured by a clock that jumps
    # the intent is made before the order leaves, and the first may have been slower to arrive than the second
    cooldown_s = float(run.world.settings["TES_RISK_COOLDOWN_SECONDS"]) - 4.0
    for asset, found in entries.items():
        found.sort()
        for (first, was_filled), (second, _) in pairwise(found):
            if was_filled and second - first < cooldown_s:
                yield f"{account} {asset}: two entries within {second - first:.1f} s"


def nothing_foreign(run: Run) -> Iterator[str]:
    """Only orders of ours are placed, canceled or amended by us; with the operator's leave, what covers ours goes."""
    known = {trade.id for trades in run.trades.values() for trade in trades}
    may_cancel = run.world.settings.get("TES_PROTECTION_FOREIGN_ORDERS") == "cancel"
    by_the_human: set[int] = set()
    for row in run.ledger["requests"]:
        if row["origin"] == "human":
            by_the_human.update(row["order_ids"] if row["method"] == "DELETE" else ())
        if row["origin"] == "human" or row["method"] == "GET" or (may_cancel and row["method"] == "DELETE"):
            continue
        key = parse_client_order_id(row["client_order_id"])
        if row["path"].rpartition("/")[2] in ("order", "batchOrders") and (key is None or key.trade_id not in known):
            yield f"{row['method']} {row['path']} {row['client_order_id']!r} is no order of a trade on record"
        if row["path"].endswith("allOpenOrders"):
            yield "everything was canceled at once"
    for account in run.trades:
        for row in _ledger(run, account).orders:
            is_theirs = parse_client_order_id(row["clientOrderId"]) is None and row["status"] == "CANCELED"
            if is_theirs and not may_cancel and row["orderId"] not in by_the_human:
                yield f"the human's order {row['orderId']} was canceled"


def record_is_true(run: Run) -> Iterator[str]:
    """After quiet, executions, positions and resting orders are on record exactly as at the venue."""
    for account, trades in run.trades.items():
        ledger = _ledger(run, account)
        yield from _executions(ledger, trades, _meddled(run, account))
        yield from _positions(run, account, trades)
        live = {order.client_order_id for trade in trades for order in trade.orders if order.is_live}
        resting = {
            row["clientOrderId"] for row in ledger.orders
            if row["status"] in ON_THE_BOOK and parse_client_order_id(row["clientOrderId"])
        }  # fmt: skip
        for name in sorted(resting - live):
            yield f"{name} rests at the venue, and is not live on record"
        for name in sorted(live - resting):
            yield f"{name} is live on record, and does not rest at the venue"


def _meddled(run: Run, account: str) -> set[str]:
    """Assets of an account on which the human opened something."""
    return {
        happening.details["asset"] for happening in run.world.happenings
        if happening.what in ("human_trade", "human_flip", "human_cover") and happening.details["account"] == account
    }  # fmt: skip


def _executions(ledger: Ledger, trades: list[Trade], meddled: set[str]) -> Iterator[str]:
    keys: dict[int, ClientOrderId | None] = {
        row["orderId"]: parse_client_order_id(row["clientOrderId"]) for row in ledger.orders
    }
    seen = {(trade.asset, fill.exchange_trade_id): (trade, fill) for trade in trades for fill in trade.fills}
    counted = Counter((trade.asset, fill.exchange_trade_id) for trade in trades for fill in trade.fills)
    yield from (f"execution {name} is in {count} trades" for name, count in counted.items() if count > 1)
    still_open = {trade.id for trade in trades if not trade.is_ended}
    booked = {(row["symbol"], row["id"]): row for row in ledger.fills}
    yield from (f"execution {name} is on record and not at the venue" for name in seen if name not in booked)
    for name, row in booked.items():
        key = keys.get(row["orderId"])
        if name not in seen:
            # an open trade knows how much was executed; what it cost is read from the exchange at its end (H5)
            if key is not None and key.trade_id not in still_open:
                yield f"execution {name} of {key} is in no trade"
            continue
        trade, fill = seen[name]
        if key is not None and key.trade_id != trade.id:
            yield f"execution {name} of {key} is in trade {trade.id}"
        ours = (fill.quantity, fill.price, fill.commission, fill.realised_pnl)
        theirs = tuple(Decimal(row[field]) for field in ("qty", "price", "commission", "realizedPnl"))
        if trade.is_ended and ours != theirs:
            yield f"execution {name}: recorded {ours}, booked {theirs}"
    for trade in trades:
        is_alone = trade.asset not in meddled and not any(_are_opposed(trade, other) for other in trades)
        yield from _quantities(ledger, trade, is_alone=is_alone)


def _are_opposed(one: Trade, other: Trade) -> bool:
    """Whether two trades were on the same asset in opposite directions at once: one's entry takes off the other."""
    if one.asset != other.asset or one.side is other.side or not (one.entered_quantity and other.entered_quantity):
        return False
    began = max(one.created_at, other.created_at)
    return all(trade.closed_at is None or _last_news(trade) >= began for trade in (one, other))


def _last_news(trade: Trade) -> datetime:
    """When it ended, or was executed at last: an entry that was given up may come in after that (U10)."""
    return max(filter(None, (trade.closed_at, *(fill.time for fill in trade.fills))))


def _quantities(ledger: Ledger, trade: Trade, *, is_alone: bool) -> Iterator[str]:
    """An open trade knows how much each of its orders executed; an ended one has each execution that took it off.

    What is held in the other direction takes off by itself: somebody else's, or another trade's late entry (U10).
    """
    for row in ledger.orders if not trade.is_ended else ():
        key = parse_client_order_id(row["clientOrderId"])
        order = trade.order(row["clientOrderId"])
        executed = trade.executed(order) if order is not None else Decimal(0)
        if key is not None and key.trade_id == trade.id and executed != Decimal(row["executedQty"]):
            yield f"{row['clientOrderId']} executed {row['executedQty']}, on record of its open trade {executed}"
    if trade.is_ended and is_alone:
        came = sum((fill.quantity for fill in trade.fills if fill.side is trade.side.entry_side), start=Decimal(0))
        went = sum((fill.quantity for fill in trade.fills if fill.side is trade.side.exit_side), start=Decimal(0))
        if came > went:
            yield f"trade {trade.id} has ended, and executions of {went} explain how its {came} were taken off"


def _positions(run: Run, account: str, trades: list[Trade]) -> Iterator[str]:
    meddled = _meddled(run, account)
    for asset in run.world.assets:
        held = run.positions[account, asset]
        open_here = [trade for trade in trades if trade.asset == asset and not trade.is_ended]
        ours = sum((trade.exposure * trade.side.sign for trade in open_here), start=Decimal(0))
        if asset not in meddled and held != ours:
            yield f"{account} {asset}: {ours} on record, {held} at the venue"
        if asset in meddled and account not in run.world.hedged and abs(ours) > abs(held):
            yield f"{account} {asset}: {ours} on record, only {held} at the venue"
        if run.world.ending == "close" and ours:
            yield f"{account} {asset}: {ours} still open after everything was closed"
    for trade in trades:
        # two exits, or one and a close, may execute at once in a gap or while no process runs: what somebody added
        # lets both do so, and nobody was there to take the second one off the book
        fires_twice = trade.asset in meddled and len(trade.legs) + len(trade.orders_of(OrderRole.CLOSE)) > 1
        surplus = trade.exited_quantity - trade.entered_quantity
        if trade.is_ended and (surplus < 0 or (surplus and not fires_twice)):
            yield f"trade {trade.id} ended with {trade.entered_quantity} in and {trade.exited_quantity} out"


def told_the_truth(run: Run) -> Iterator[str]:
    """Every decision has a final result that says what the venue did, and it was told no other."""
    stored = {row.decision_id: row for row in run.decisions}
    executed: dict[str, Decimal] = {}
    for account in run.trades:
        executed |= {row["clientOrderId"]: Decimal(row["executedQty"]) for row in _ledger(run, account).orders}
    entries = conduct.entries_of(run)
    for row in run.decisions:
        if row.completed_at is None or row.result is None:
            yield f"decision {row.decision_id} has no final result"
            continue
        yield from _untrue(row.result, entries, executed)
    twins = {ordered.decision_id for ordered in run.ordered if ordered.conflicts}
    for ordered in run.ordered:
        if "decision_conflict" in ordered.refused and ordered.decision_id not in twins:
            yield f"decision {ordered.decision_id} was taken for another one"
        if ordered.final is None and not ordered.refused:
            yield f"decision {ordered.decision_id} was never answered"
        if ordered.final is None:
            continue
        record = stored.get(ordered.decision_id)
        if record is None:
            yield f"decision {ordered.decision_id} was answered and is not on record"
        elif record.body_hash != ordered.decision.fingerprint():
            yield f"decision {ordered.decision_id} was answered with another one's result"
        elif record.result is not None:
            yield from _retold(ordered.final, record.result)


def _untrue(
    result: ExecutionResult, entries: Mapping[tuple[str, str], list[str]], executed: Mapping[str, Decimal]
) -> Iterator[str]:
    nothing = (AssetStatus.FAILED, AssetStatus.REJECTED)
    something = (AssetStatus.PROTECTED, AssetStatus.FILLED, AssetStatus.EMERGENCY_CLOSED, AssetStatus.UNPROTECTED)
    for row in result.results:
        if not row.action.is_entry:
            continue
        names = entries.get((result.decision_id, row.asset), [])
        filled = sum((executed.get(name, Decimal(0)) for name in names), start=Decimal(0))
        where = f"decision {result.decision_id} {row.asset}"
        if row.status is AssetStatus.PENDING:
            yield f"{where} is pending for ever"
        elif (filled and row.status in nothing) or (not filled and row.status in something):
            yield f"{where} is told {row.status.value}, and {filled} was executed"
        elif filled and row.filled_quantity != filled:
            yield f"{where} tells {row.filled_quantity} filled, and {filled} was"


def _retold(told: ExecutionResult, stored: ExecutionResult) -> Iterator[str]:
    if told.completed_at is None:
        return
    open_to_correction = (AssetStatus.FAILED, AssetStatus.UNPROTECTED, AssetStatus.PARTIALLY_PROTECTED)
    for before, after in zip(told.results, stored.results, strict=True):
        if before.status is not after.status and before.status not in open_to_correction:
            where = f"decision {told.decision_id} {after.asset}"
            yield f"{where} was told {before.status.value}, now it is {after.status.value}"


def gapless(run: Run) -> Iterator[str]:
    """Events are numbered without a gap."""
    numbers = [row.seq for row in run.events]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"{len(numbers)} events are numbered {numbers[:3]} to {numbers[-3:]}"


def patient(run: Run) -> Iterator[str]:
    """After a 429 or a ban nothing is sent until its time is over; after a page of the firewall, for ten seconds."""
    until: dict[int, float] = {}
    moments = sorted(
        [(row.at, 1, row) for row in run.sent]
        + [(row.answered, 0, row) for row in run.sent if row.answered is not None and row.status in (403, 418, 429)],
        key=lambda moment: moment[:2],
    )
    rate = 1 + run.world.drift
    for at, is_sending, row in moments:
        asked_s = _FIREWALL_S if row.status == 403 and row.code is None else row.retry_after_s
        if not is_sending and asked_s and row.code != -1015:
            until[row.process] = max(until.get(row.process, 0.0), at + asked_s / rate)
        elif is_sending and at < until.get(row.process, 0.0) - 0.01:
            yield f"{row.method} {row.path} was sent {until[row.process] - at:.2f} s before the silence was over"


def sound(run: Run) -> Iterator[str]:
    """Nothing broke inside, and nothing contradicted itself."""
    for row in run.events:
        if row.event.type is EventType.ALERT_RAISED and row.event.data.get("code") in (
            "internal_error",
            "contradiction",
        ):
            yield f"alert: {row.event.data.get('message')}"
    expected = (*_EXPECTED_IN_THE_LOG, *_EXPECTED_OF_TWO) if run.world.stands_by else _EXPECTED_IN_THE_LOG
    for at, kind, text in run.trace.lines:
        if kind in ("log exception", "log critical") and not text.startswith(expected):
            yield f"at {at:.3f} s: {text}"
    for account, report in run.reports.items():
        for difference in report.differences:
            if difference.kind not in _EXPECTED_EXTERNAL:
                yield f"{account}: still different at the end: {difference}"


Rule = Callable[[Run], Iterator[Any]]
RULES: Mapping[str, Rule] = {
    "one entry": one_entry,
    "never bare": never_bare,
    "within limits": within_limits,
    "nothing foreign": nothing_foreign,
    "record is true": record_is_true,
    "told the truth": told_the_truth,
    "gapless": gapless,
    "patient": patient,
    "sound": sound,
    "in turn": in_turn,
    "claims nothing untold": conduct.claims_nothing_untold,
    "no twins": conduct.no_twins,
    "hit stops close": conduct.hit_stops_close,
    "asks the time": conduct.asks_the_time,
    "retries with patience": conduct.retries_with_patience,
    "successor first": conduct.successor_first,
    "covers exactly": conduct.covers_exactly,
    "keeps what is protected": conduct.keeps_what_is_protected,
    "one hand": conduct.one_hand,
    "hears": conduct.hears,
}

__all__ = ["RULES", "Violation", "check"]
