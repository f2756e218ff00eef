"""Rules about conduct: what the service did on the way, as the wire and the venue's book saw it.

A good end does not show them: a stream heals in milliseconds what was believed too early, until the day it is down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from ledger import ON_THE_BOOK

from app.domain.ids import OrderRole, parse_client_order_id
from app.domain.parts import opening, orders_for
from app.domain.trades import CloseReason, Trade
from app.schemas.decision import AssetDecision
from app.schemas.result import AssetResult, AssetStatus
from proof.seams import EPOCH_US
from proof.stage import Run
from proof.wire import Sent

_STOPS = (OrderRole.STOP_LOSS, OrderRole.TRAILING_STOP)
_CLOSES = (OrderRole.CLOSE,)
_EXITS = (*_STOPS, OrderRole.TAKE_PROFIT)
_HIT = (-2021, -4142)
_CLOCK = (-1021, -4225)
_UNTOLD = (-1000, -1006)
"""What became of the request is open (U1): a first doubt is answered at once, under the same id."""
_REDUCE_ONLY = -2022
_HIT_MEMORY_S = 30.0
_CLOCK_REFUSALS = 10
"""In a row, of requests that were under way together at most."""
_SURE_S = 2.0
"""What was told a process is on record when it lived for that much longer."""
_MOMENT_MS = 2
_WISHED = ("quantity", "stopPrice", "price", "activationPrice", "callbackRate")
"""What an exit is wished to be: another one is not the same one tried again."""


def claims_nothing_untold(run: Run) -> Iterator[str]:
    """What is told as failed was not executed, then or later; what is told as protected has its exits on the book."""
    if _jumps(run):
        return  # the exchange's own window moved with its clock
    arrivals = arrivals_of(run)
    executed = {row["clientOrderId"]: Decimal(row["executedQty"]) for row in _orders(run)}
    entries = entries_of(run)
    items = {
        (ordered.decision_id, item.asset): item
        for ordered in run.ordered if not ordered.conflicts
        for item in ordered.decision.decisions
    }  # fmt: skip
    for ordered in run.ordered:
        for at, result in ordered.told:
            for row in result.results:
                item = items.get((ordered.decision_id, row.asset))
                if item is not None and row.action.is_entry and not ordered.conflicts and row.trade_id:
                    where = f"{at:.3f} s: decision {ordered.decision_id} {row.asset}"
                    dropped = _dropped(run, row.trade_id)
                    yield from (f"{where} {what}" for what in _false(row, item, at, arrivals, dropped))
                    if row.status in (AssetStatus.FAILED, AssetStatus.REJECTED):
                        names = entries[ordered.decision_id, row.asset]
                        yield from (f"{where} was told {row.status.value}, and {executed[name]} was executed at "
                                    f"{arrivals[name].arrived:.3f} s" for name in names
                                    # the fence is no proof (design: UNKNOWN)
                                    if executed.get(name) and arrivals[name].fate != "stuck")  # fmt: skip


def entries_of(run: Run) -> defaultdict[tuple[str, str], list[str]]:
    """By decision and asset, the order that was to open a position for it, or to change the size of one: by the record.

    More than one where a first attempt was given up, it went in parts, or something was sent twice.
    """
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for trades in run.trades.values():
        for trade in trades:
            found[trade.decision_id, trade.asset] += [order.client_order_id for order in opening(trade)]
            for one in trade.adjustments:
                found[one.decision_id, trade.asset] += [order.client_order_id for order in orders_for(trade, one)]
    return found


def _false(
    row: AssetResult, item: AssetDecision, at: float, arrivals: Mapping[str, Sent], dropped: frozenset[OrderRole]
) -> Iterator[str]:
    if row.status is AssetStatus.PROTECTED:
        wished = [("s", OrderRole.STOP_LOSS, item.sl_price), ("t", OrderRole.TAKE_PROFIT, item.tp_price)]
        for letter, role, price in wished:
            prefix = f"tes.{row.trade_id}.{letter}"
            if (
                price is not None
                and role not in dropped
                and not any(name.startswith(prefix) and (sent.arrived or at) < at for name, sent in arrivals.items())
            ):
                yield f"was told protected, and no {letter} order had arrived"


def _dropped(run: Run, trade_id: str) -> frozenset[OrderRole]:
    """Exits that another decision took back, perhaps before they could arrive: they are no longer a part of it."""
    trades = [trade for found in run.trades.values() for trade in found if trade.id == trade_id]
    return frozenset(role for trade in trades for one in trade.adjustments for role in one.drops)


def no_twins(run: Run) -> Iterator[str]:
    """No exit is on the book twice: an unresolved placement is asked about, or sent again under its own id (U1, U5)."""
    if _jumps(run):
        return
    arrivals = arrivals_of(run)
    resting: dict[tuple[Any, ...], tuple[int, str]] = {}
    for row in sorted(_orders(run), key=lambda row: row["time"]):
        name = row["clientOrderId"]
        key = parse_client_order_id(name)
        if key is None or key.role not in _EXITS:
            continue
        same = (key.trade_id, key.role, ordered_quantity(arrivals, row), row["stopPrice"], row["price"])
        ended = row["updateTime"] if row["status"] not in ON_THE_BOOK else 2**62
        until, other = resting.get(same, (0, ""))
        is_surplus = _died_unrecorded(arrivals, other, name) or _was_denied(run, arrivals, other, name)
        is_surplus = is_surplus or _are_lists_late(run, seconds(row["time"]))
        if until > row["time"] + _MOMENT_MS and not is_surplus:
            yield f"{name} was placed while {other} rested with the same size and price"
        resting[same] = (ended, name)


def _are_lists_late(run: Run, at: float) -> bool:
    """Whether the exchange said of everything that rests that it does not exist, in every query and list."""
    late = (one for one in run.world.happenings if one.what == "late_lists")
    return any(one.at <= at <= one.at + one.details["lasts"] for one in late)


def _died_unrecorded(arrivals: Mapping[str, Sent], resting: str, placed: str) -> bool:
    """Whether the sender of what rests died before its disk took it, so that its successor counts on from less.

    An exit leaves before its record, and one that the record plans is sent at a start before anything is asked: that
    is the price of never waiting with a stop for a disk or for a read. Only an earlier number under a later process
    shows it; that the surplus goes again is what ``covers exactly`` sees to.
    """
    first, second = parse_client_order_id(resting), parse_client_order_id(placed)
    if first is None or second is None or resting not in arrivals or placed not in arrivals:
        return False
    before, after = arrivals[resting], arrivals[placed]
    return before.process != after.process and before.at < after.at and second.attempt < first.attempt


def _was_denied(run: Run, arrivals: Mapping[str, Sent], resting: str, placed: str) -> bool:
    """Whether a later process sent what rests again, under the same id, and was told that it was refused.

    An exchange that looks at the size before the id says so of an order that its sender died over.
    """
    before, after = arrivals.get(resting), arrivals.get(placed)
    return before is not None and after is not None and any(
        row.method == "POST" and row.client_order_id == resting and not row.is_done and row.status == 400
        and before.process != row.process == after.process and row.at < after.at
        for row in run.sent
    )  # fmt: skip


def hit_stops_close(run: Run) -> Iterator[str]:
    """A stop that the exchange says is hit is not placed again: the position is closed (P1)."""
    hit: dict[tuple[int, str, str], float] = {}
    for at, is_answer, row in _moments(run):
        key = parse_client_order_id(row.client_order_id) if row.method == "POST" else None
        if key is None or key.role is not OrderRole.STOP_LOSS:
            continue
        same = (row.process, key.trade_id, row.params.get("stopPrice", ""))
        if is_answer and row.code in _HIT:
            hit[same] = at
        elif not is_answer and at - hit.get(same, -_HIT_MEMORY_S) < _HIT_MEMORY_S:
            yield f"{row.client_order_id} was sent at {at:.3f} s, {at - hit[same]:.2f} s after its price was told hit"
            return


def asks_the_time(run: Run) -> Iterator[str]:
    """A refused clock is not used again and again: the exchange is asked for the time (L2)."""
    most = _CLOCK_REFUSALS * len(run.world.accounts)
    in_a_row: dict[int, int] = {}
    asked: dict[int, float] = {}
    for at, is_answer, row in _moments(run):
        if not is_answer and row.path.endswith("/time"):
            in_a_row[row.process] = 0
            asked[row.process] = at
        elif is_answer and row.code in _CLOCK and not row.fate and row.at >= asked.get(row.process, 0.0):
            # what had left by then could not know better
            in_a_row[row.process] = in_a_row.get(row.process, 0) + 1
            if in_a_row[row.process] == most:
                yield f"{most} requests in a row were refused for their time, and it was not asked for"


def retries_with_patience(run: Run) -> Iterator[str]:
    """An exit that is refused again and again is tried again with pauses that double each time (P2).

    A stop that our own targets were in the way of leaves as soon as they are gone, and pauses again after that (P10).
    """
    if any(happening.what == "host_clock" for happening in run.world.happenings):
        return  # pauses end at a time of the host's clock
    base_s = float(run.world.settings["TES_PROTECTION_BASE_DELAY_SECONDS"])
    most = int(run.world.settings["TES_PROTECTION_MAX_ATTEMPTS"])
    refused: dict[tuple[int, str, OrderRole], tuple[tuple[str, ...], int, float, float]] = {}
    given_room: dict[tuple[int, str], float] = {}
    for at, is_answer, row in _moments(run):
        key = parse_client_order_id(row.client_order_id)
        if key is None or key.role not in _EXITS:
            continue
        if row.method == "DELETE" and key.role is OrderRole.TAKE_PROFIT and not is_answer and row.is_done:
            given_room[row.process, key.trade_id] = at
        if row.method != "POST":
            continue
        leg = (row.process, key.trade_id, key.role)
        wish = tuple(row.params.get(name, "") for name in _WISHED)
        before, count, refused_at, left_at = refused.get(leg, (wish, 0, at, at))
        if before != wish or row.is_done:
            refused.pop(leg, None)
        elif is_answer and row.status == 400 and row.code not in (*_CLOCK, *_UNTOLD):
            refused[leg] = (wish, count + 1, at, row.at)
        elif not is_answer and count > 1:
            # one refusal less than was seen, which may have been of a resize, and half of it for the jitter
            pause_s = base_s * 2.0 ** (min(count, most) - 2) * 0.5
            has_room = key.role in _STOPS and given_room.pop((row.process, key.trade_id), 0) >= left_at
            if at - refused_at < pause_s * 0.9 and not has_room:
                yield f"{row.client_order_id} left {at - refused_at:.2f} s after refusal {count} in a row"
                return


def keeps_what_is_protected(run: Run) -> Iterator[str]:
    """No emergency is made of a position whose exits were told to rest, and rest: failed reads are no reason (U4).

    Nor of one whose stop rests for more than is held, which could not become smaller (P14).
    """
    if _jumps(run) or any(happening.what == "disk" for happening in run.world.happenings):
        return
    for account, trades in run.trades.items():
        for trade in trades:
            closes = [
                row.at for row in run.sent
                if row.method == "POST" and _is_of(parse_client_order_id(row.client_order_id), trade, _CLOSES)
            ]  # fmt: skip
            if not closes or not trade.legs or trade.close_reason is not CloseReason.EMERGENCY:
                continue
            at = min(closes)
            told = f"{trade.asset} trade {trade.id} was closed in an emergency at {at:.3f} s"
            if not trade.adjustments and _settled_since(trade, at, run, account) < at - _SURE_S:
                yield f"{told}, all exits resting"
            elif _bounded_since(trade, at, run, account) < at - _SURE_S:
                yield f"{told}, its stop resting for what was held or more"


def _bounded_since(trade: Trade, at: float, run: Run, account: str) -> float:
    """Since when a stop as it is wished has rested for what was held by ``at``, or for more; infinite when none did."""
    role = next((role for role in _STOPS if trade.leg(role) is not None), None)
    leg = trade.leg(role) if role is not None else None
    if role is None or leg is None:
        return float("inf")
    book = run.ledger["accounts"][account]
    fills = [fill for fill in book["fills"] if fill["symbol"] == trade.asset and seconds(fill["time"]) < at]
    fills = [fill for fill in fills if fill["positionSide"] == trade.position_side.value]
    held = abs(Decimal(fills[-1]["positionAfter"])) if fills else Decimal(0)
    touched = {fill["orderId"] for fill in fills}
    told = _told_to_rest(run, at)
    arrivals = arrivals_of(run)
    since = [
        told[row["clientOrderId"]] for row in book["orders"]
        if row["clientOrderId"] in told and _is_of(parse_client_order_id(row["clientOrderId"]), trade, (role,))
        and (row["status"] in ON_THE_BOOK or seconds(row["updateTime"]) > at)
        and row["type"] == row["origType"] and row["orderId"] not in touched
        and (leg.callback_rate is not None or Decimal(row["stopPrice"]) == leg.trigger_price)
        and ordered_quantity(arrivals, row) >= held
    ]  # fmt: skip
    return max([min(since, default=float("inf")), *(seconds(fill["time"]) for fill in fills)])


def _told_to_rest(run: Run, at: float) -> dict[str, float]:
    """When a process that lived on was told that an order rests, of those that it had not canceled by ``at``."""
    lives = {life.number: life for life in run.lives}
    doubted = {row.client_order_id for row in run.sent if row.method == "DELETE" and row.at <= at}
    return {
        row.client_order_id: row.answered for row in run.sent
        if row.method == "POST" and row.status == 200 and row.answered is not None
        and lives[row.process].acts(row.answered, row.answered + _SURE_S) and row.client_order_id not in doubted
    }  # fmt: skip


def _settled_since(trade: Trade, at: float, run: Run, account: str) -> float:
    """Since when nothing had changed that the service was not told, by ``at``; infinite when an exit did not rest."""
    book = run.ledger["accounts"][account]
    told = _told_to_rest(run, at)
    resting = {
        row["clientOrderId"]
        for row in book["orders"]
        if row["status"] in ON_THE_BOOK or seconds(row["updateTime"]) > at
    }
    since = [seconds(fill["time"]) for fill in book["fills"] if fill["symbol"] == trade.asset]
    since = [time for time in since if time < at]
    for leg in trade.legs:
        known = [
            told[name]
            for name in sorted(resting & told.keys())
            if _is_of(parse_client_order_id(name), trade, (leg.role,))
        ]
        since.append(min(known, default=float("inf")))
    return max(since)


def seconds(ms: int) -> float:
    """The exchange's time in seconds of the run."""
    return ms / 1000 - EPOCH_US / 1_000_000


def successor_first(run: Run) -> Iterator[str]:
    """A stop is taken off the book by us only when another one covers, or the position is on its way out (P10)."""
    if _jumps(run):
        return
    for account, trades in run.trades.items():
        orders = list(run.ledger["accounts"][account]["orders"])
        fills = run.ledger["accounts"][account]["fills"]
        for trade in trades:
            if not _may_lose_its_stop(trade, run):
                yield from _bared(trade, run, orders, fills)


def _may_lose_its_stop(trade: Trade, run: Run) -> bool:
    """Whether a decision dropped the stop, or the exchange left no room for a second one (O4)."""
    dropped = any(role in _STOPS for one in trade.adjustments for role in one.drops)
    refused = any(
        row.code == _REDUCE_ONLY and _is_of(parse_client_order_id(row.client_order_id), trade, _STOPS)
        for row in run.sent
    )
    return dropped or refused


def _bared(trade: Trade, run: Run, orders: list[Any], fills: list[Any]) -> Iterator[str]:
    ids = {row["orderId"]: parse_client_order_id(row["clientOrderId"]) for row in orders}
    stops = [row for row in orders if _is_of(ids[row["orderId"]], trade, _STOPS)]
    by_us = {row.client_order_id: row for row in run.sent if row.method == "DELETE" and row.is_done}
    arrivals = arrivals_of(run)
    closing_ms = min(
        (row["time"] for row in orders if _is_of(ids[row["orderId"]], trade, (OrderRole.CLOSE, OrderRole.REDUCE))),
        default=2**62,
    )
    for row in stops:
        gone_ms = row["updateTime"]
        sent = by_us.get(row["clientOrderId"])
        if row["status"] != "CANCELED" or sent is None or closing_ms <= gone_ms:
            continue
        if row["type"] != row["origType"]:
            continue  # it was triggered: a limit that the market left behind is no stop (P11)
        placed = arrivals.get(row["clientOrderId"])
        if placed is None or placed.process != sent.process:
            continue  # the wish for it may have died with its process, before it was recorded
        covered = any(
            other is not row and other["time"] <= gone_ms
            and (other["status"] in ON_THE_BOOK or other["updateTime"] > gone_ms)
            for other in stops
        )  # fmt: skip
        held = Decimal(0)
        for fill in fills:
            key = ids.get(fill["orderId"])
            if fill["time"] <= gone_ms and key is not None and key.trade_id == trade.id:
                held += Decimal(fill["qty"]) * (-1 if key.role.is_exit else 1)
        if held > 0 and not covered and not trade.externally_reduced:
            yield f"{row['clientOrderId']} was canceled with {held} held and no other stop on the book"


def covers_exactly(run: Run) -> Iterator[str]:
    """After quiet, each wished exit of an open trade is one order on the book, for exactly what is held (Z2, P10).

    Beside a trailing stop one of an earlier size may rest, which has followed the price further (P15). Where the
    exchange has too few places, what is missing beside the stop may go on missing, and a stop for more than is left
    stays, since there is no place for the smaller one (P14).
    """
    resting: dict[tuple[str, OrderRole], list[Decimal]] = {}
    for row in _orders(run):
        key = parse_client_order_id(row["clientOrderId"])
        if key is not None and row["status"] in ON_THE_BOOK:
            left = Decimal(row["origQty"]) - Decimal(row["executedQty"])
            resting.setdefault((key.trade_id, key.role), []).append(left)
    for trades in run.trades.values():
        for trade in trades:
            has_no_place = bool(run.world.algo_orders_maximum) and trade.protection_failed
            for leg in trade.legs if not trade.is_ended else ():
                if has_no_place and leg.role is not OrderRole.STOP_LOSS:
                    continue
                found = resting.get((trade.id, leg.role), [])
                if has_no_place and len(found) == 1:
                    found = [min(found[0], trade.exposure)]
                if leg.role is OrderRole.TRAILING_STOP and len(found) == 2 and len(set(found)) == 2:
                    found = [left for left in found if left == trade.exposure]
                if found != [trade.exposure]:
                    on_book = ", ".join(map(str, found)) or "nothing"
                    yield f"trade {trade.id} holds {trade.exposure} {trade.asset}, its {leg.role.value}: {on_book}"


def one_hand(run: Run) -> Iterator[str]:
    """Once a process has asked the exchange for anything, those before it ask for nothing more, reads included (C4)."""
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    for row in run.sent:
        first.setdefault(row.process, row.at)
        last[row.process] = row.at
    order = sorted(first, key=lambda process: first[process])
    for before, after in pairwise(order):
        if last[before] > first[after]:
            yield f"process {before} sent something at {last[before]:.3f} s, process {after} at {first[after]:.3f} s"


def hears(run: Run) -> Iterator[str]:
    """After quiet, somebody listens to each user stream (W1); a key that died silently is found by an event."""
    if any(happening.details.get("quietly") for happening in run.world.happenings):
        return
    yield from (f"nobody listens to the user stream of {account}" for account in run.deaf)


def _moments(run: Run) -> list[tuple[float, bool, Sent]]:
    """When each request left and when its answer came, in order; answers first."""
    left = [(row.at, False, row) for row in run.sent]
    came = [(row.answered, True, row) for row in run.sent if row.answered is not None]
    return sorted([*left, *came], key=lambda moment: (moment[0], not moment[1]))


def ordered_quantity(arrivals: Mapping[str, Sent], row: Mapping[str, Any]) -> Decimal:
    """An order's size as it was sent: an exit that fires for less is cut to what it closes, and shows that later."""
    sent = arrivals.get(row["clientOrderId"])
    return Decimal(sent.params["quantity"] if sent is not None and "quantity" in sent.params else row["origQty"])


def arrivals_of(run: Run) -> dict[str, Sent]:
    """The first placement of each order that the exchange acted on."""
    found: dict[str, Sent] = {}
    for row in run.sent:
        if row.method == "POST" and row.client_order_id and row.is_done and row.arrived is not None:
            best = found.get(row.client_order_id)
            if best is None or (best.arrived or 0.0) > row.arrived:
                found[row.client_order_id] = row
    return found


def _orders(run: Run) -> Iterator[Mapping[str, Any]]:
    for account in run.trades:
        yield from run.ledger["accounts"][account]["orders"]


def _is_of(key: Any, trade: Trade, roles: tuple[OrderRole, ...]) -> bool:
    return key is not None and key.trade_id == trade.id and key.role in roles


def _jumps(run: Run) -> bool:
    return any(happening.what == "venue_clock" for happening in run.world.happenings)
