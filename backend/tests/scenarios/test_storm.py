"""The proof by storm: from the venue's own ledger, with a fifth of all requests faulty, the three "nevers" hold.

``TES_STORM_TRADES`` and ``TES_STORM_SEED`` make it longer or repeat it: ``make soak`` runs a thousand trades.
"""

from __future__ import annotations

import os
import random
import statistics
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from ledger import Ledger, bare_spans, entries_twice, orders_without_position, record_differs
from storm import DEADLINE_S, Storm, storming

from app.schemas.result import AssetStatus

TRADES = int(os.environ.get("TES_STORM_TRADES", "60"))
SLACK_S = 1.5
"""Between a fill and our knowing of it, when its answer and its frame are both lost."""


@pytest.mark.long
@pytest.mark.timeout(3600 if TRADES > 100 else 900)
async def test_storm_leaves_nothing_twice_nothing_naked_and_the_record_true(tmp_path: Path) -> None:
    """U1-U10, P1-P10, O1-O6, H5, C5, W4 at once."""
    seed = int(os.environ.get("TES_STORM_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"storm: seed {seed}, {TRADES} trades; again with TES_STORM_SEED={seed}")
    async with storming(tmp_path, seed, TRADES) as run:
        body = await run.levers.ledger()
        ledger = Ledger.read(body)
        trades = await run.trades()
        positions = {asset: await run.levers.position(asset) for asset in run.prices}
        tell(run, ledger)
        assert not entries_twice(ledger, trades)
        assert not [span for span in bare_spans(ledger) if span.seconds > DEADLINE_S + SLACK_S]
        assert not orders_without_position(ledger, positions)
        assert not record_differs(ledger, trades)
        assert all(quantity == 0 for quantity in positions.values())
        assert not untrue_results(run, ledger)


def tell(run: Storm, ledger: Ledger) -> None:
    """What the storm did, so that a green run can be judged too."""
    faulty = sum(1 for row in ledger.requests if row["fault"])
    bare = sorted(span.seconds for span in bare_spans(ledger))
    print(f"order requests {len(ledger.requests)}, faulty {faulty / max(len(ledger.requests), 1):.0%}")
    print(f"results {dict(Counter(result.status.value for result in run.results.values()))}")
    print(f"errors {dict(Counter(result.error.code for result in run.results.values() if result.error))}")
    print(f"changes {dict(Counter(f'{one.action} {one.status}' for one in run.changes.values()))}")
    print(f"their errors {dict(Counter(one.error.code for one in run.changes.values() if one.error))}")
    print(f"ways out {dict(run.ways_out)}")
    if bare:
        print(f"without full stop: {len(bare)} spans, median {statistics.median(bare):.3f} s, longest {bare[-1]:.3f} s")


def untrue_results(run: Storm, ledger: Ledger) -> list[str]:
    """Every decision has a final result, and it says what the venue did."""
    executed = {row["clientOrderId"]: Decimal(row["executedQty"]) for row in ledger.orders}
    found: list[str] = []
    for decision_id, result in (*run.results.items(), *run.changes.items()):
        if result.status is AssetStatus.PENDING:
            found.append(f"{decision_id} is still pending")
        order = result.orders.entry or result.orders.reduce
        if order is None and decision_id in run.changes:
            continue  # exits that moved, or a refusal
        filled = executed.get(order.client_order_id if order else f"tes.{result.trade_id}.e1", Decimal(0))
        if bool(filled) is (result.status in (AssetStatus.FAILED, AssetStatus.REJECTED)):
            found.append(f"{decision_id} is told {result.status.value}, and {filled} was executed")
        elif filled and result.filled_quantity != filled:
            found.append(f"{decision_id} tells {result.filled_quantity} filled, and {filled} was")
    return found
