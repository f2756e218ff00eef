"""The life of an order: one literal table, decided for each pair, and indifferent to the order of the news."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import IllegalTransition, InvariantBroken, Refusal
from app.domain.ids import ClientOrderId, OrderRole
from app.domain.money import ZERO
from app.domain.orders import (
    FINAL,
    IN_FLIGHT,
    LIVE,
    ORDER_TABLE,
    Order,
    OrderState,
    OrderTrigger,
    next_order_state,
)
from app.domain.reports import ExchangeOrderStatus, OrderReport, OrderRequest, OrderType, PositionSide, Side

S, T, X = OrderState, OrderTrigger, ExchangeOrderStatus
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEN = Decimal(10)

SHOWN = {T.ACCEPTED, T.PART_FILLED, T.ALL_FILLED, T.CANCELED, T.EXPIRED, T.REJECTED}

ILLEGAL = {
    S.PLANNED: {T.RESUBMIT, T.REFUSED, T.CANCEL_SENT, T.CANCEL_FAILED, T.IN_POSITION},
    S.SUBMITTING: {T.SUBMIT, T.RESUBMIT, T.ABSENT, T.CANCEL_SENT, T.CANCEL_FAILED, T.IN_POSITION},
    S.RESUBMITTING: {T.SUBMIT, T.RESUBMIT, T.CANCEL_SENT, T.CANCEL_FAILED, T.IN_POSITION},
    S.UNKNOWN: {T.SUBMIT, T.REFUSED, T.NOT_SENT, T.CANCEL_SENT, T.CANCEL_FAILED},
    S.NEW: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.IN_POSITION},
    S.PARTIALLY_FILLED: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.IN_POSITION},
    S.CANCELING: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.IN_POSITION},
    S.FILLED: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.CANCEL_SENT, T.REJECTED, T.IN_POSITION},
    S.CANCELED: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.CANCEL_SENT, T.REJECTED, T.IN_POSITION},
    S.EXPIRED: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.CANCEL_SENT, T.REJECTED, T.IN_POSITION},
    S.REJECTED: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.CANCEL_SENT, T.CANCEL_FAILED, T.IN_POSITION},
    S.NOT_PLACED: {T.SUBMIT, T.RESUBMIT, T.REFUSED, T.NOT_SENT, T.CANCEL_SENT, T.CANCEL_FAILED},
}
"""Written down once more, apart from the table: both must say the same of each pair."""


def planned(role: OrderRole = OrderRole.STOP_LOSS) -> Order:
    key = ClientOrderId("06ex5tn9g0000000abcd", role, 1)
    request = OrderRequest(
        symbol="BTCUSDT",
        side=Side.SELL,
        type=OrderType.STOP_MARKET,
        client_order_id=str(key),
        quantity=TEN,
        stop_price=Decimal(94000),
        reduce_only=True,
    )
    return Order(key=key, request=request)


def report(status: X, executed: Decimal = ZERO, price: Decimal = Decimal(96000)) -> OrderReport:
    return OrderReport(
        symbol="BTCUSDT",
        order_id=7,
        client_order_id=planned().client_order_id,
        status=status,
        status_text=status.value,
        type_text="STOP_MARKET",
        original_type_text="STOP_MARKET",
        side=Side.SELL,
        position_side=PositionSide.BOTH,
        price=ZERO,
        stop_price=Decimal(94000),
        average_price=price if executed else ZERO,
        original_quantity=TEN,
        executed_quantity=executed,
        reduce_only=True,
        close_position=False,
        updated_at=NOON,
    )


@pytest.mark.parametrize("trigger", OrderTrigger)
@pytest.mark.parametrize("state", OrderState)
def test_each_pair_is_decided(state: OrderState, trigger: OrderTrigger) -> None:
    if trigger in ILLEGAL[state]:
        with pytest.raises(IllegalTransition, match=rf"{state.value}.*{trigger.value}"):
            next_order_state(state, trigger)
    else:
        assert next_order_state(state, trigger) is ORDER_TABLE[state][trigger]


def test_an_illegal_pair_is_a_broken_invariant() -> None:
    """So that a supervisor that only knows the root of the tree stops and tells a human."""
    assert issubclass(IllegalTransition, InvariantBroken)


@pytest.mark.parametrize("state", [S.FILLED, S.CANCELED, S.EXPIRED])
@pytest.mark.parametrize("trigger", OrderTrigger)
def test_what_the_exchange_ended_stays_ended(state: OrderState, trigger: OrderTrigger) -> None:
    """Scenario W4: terminal states never regress; only a whole fill can still correct a cancel or an expiry."""
    if trigger in ILLEGAL[state]:
        return
    after = next_order_state(state, trigger)
    assert after is state or (after is S.FILLED and trigger is T.ALL_FILLED)


@pytest.mark.parametrize("state", [S.REJECTED, S.NOT_PLACED])
def test_only_what_the_exchange_shows_revives_a_refused_or_absent_order(state: OrderState) -> None:
    """Scenario U10."""
    for trigger in SHOWN - {T.REJECTED}:
        assert next_order_state(state, trigger) is not state
    for trigger in set(OrderTrigger) - SHOWN - ILLEGAL[state] - {T.IN_POSITION}:
        assert next_order_state(state, trigger) is state


def test_only_evidence_leads_out_of_unknown() -> None:
    """Scenario U1. A second transmission of an exit is a doubt of its own, not a way out."""
    ways = {trigger for trigger, state in ORDER_TABLE[S.UNKNOWN].items() if state is not S.UNKNOWN}
    assert ways == SHOWN | {T.ABSENT, T.RESUBMIT}
    for trigger in (T.REFUSED, T.NOT_SENT, T.LOST):
        assert next_order_state(S.RESUBMITTING, trigger) is S.UNKNOWN


def test_an_absent_answer_never_ends_what_is_still_on_its_way() -> None:
    """Scenario U3: asked before the transmission could arrive."""
    assert next_order_state(S.RESUBMITTING, T.ABSENT) is S.RESUBMITTING
    with pytest.raises(IllegalTransition):
        next_order_state(S.SUBMITTING, T.ABSENT)


def test_the_groups_of_states_do_not_overlap_and_leave_out_only_planned_and_unknown() -> None:
    assert len(LIVE | FINAL | IN_FLIGHT) == len(LIVE) + len(FINAL) + len(IN_FLIGHT)
    assert set(OrderState) - LIVE - FINAL - IN_FLIGHT == {S.PLANNED, S.UNKNOWN}


@pytest.mark.parametrize("state", [S.CANCELED, S.EXPIRED])
def test_a_fill_after_the_end_grows_the_quantity_and_not_the_state(state: OrderState) -> None:
    """Scenario U7."""
    status = X.CANCELED if state is S.CANCELED else X.EXPIRED
    order = planned().after(T.SUBMIT, NOON).seen(report(status), NOON)
    assert (order.state, order.executed_quantity) == (state, ZERO)
    late = order.seen(report(X.PARTIALLY_FILLED, Decimal(4)), NOON)
    assert (late.state, late.executed_quantity, late.average_price) == (state, 4, 96000)


def test_a_canceling_order_that_filled_is_filled() -> None:
    """Scenario O3."""
    order = planned().after(T.SUBMIT, NOON).seen(report(X.NEW), NOON).after(T.CANCEL_SENT, NOON)
    assert order.seen(report(X.FILLED, TEN), NOON).state is S.FILLED


def test_a_failed_cancel_puts_the_order_back_where_it_was() -> None:
    order = planned().after(T.SUBMIT, NOON).seen(report(X.NEW), NOON)
    assert order.after(T.CANCEL_SENT, NOON).after(T.CANCEL_FAILED, NOON).state is S.NEW
    part = order.seen(report(X.PARTIALLY_FILLED, Decimal(3)), NOON)
    assert part.after(T.CANCEL_SENT, NOON).after(T.CANCEL_FAILED, NOON).state is S.PARTIALLY_FILLED


LIVES = {
    "filled at once": [(X.NEW, 0), (X.FILLED, 10)],
    "filled in parts": [(X.NEW, 0), (X.PARTIALLY_FILLED, 3), (X.PARTIALLY_FILLED, 6), (X.FILLED, 10)],
    "canceled untouched": [(X.NEW, 0), (X.CANCELED, 0)],
    "canceled in part": [(X.NEW, 0), (X.PARTIALLY_FILLED, 3), (X.PARTIALLY_FILLED, 7), (X.CANCELED, 7)],
    "remainder expired": [(X.NEW, 0), (X.PARTIALLY_FILLED, 4), (X.EXPIRED, 4)],
    "still resting": [(X.NEW, 0)],
    "still filling": [(X.NEW, 0), (X.PARTIALLY_FILLED, 2), (X.PARTIALLY_FILLED, 5)],
}


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES.keys())
@given(data=st.data())
def test_order_and_repetition_of_the_news_do_not_matter(life: list[tuple[X, int]], data: st.DataObject) -> None:
    """Scenario W4: any permutation, with any doubles, ends in the state and quantity of the orderly telling."""
    news = [report(status, Decimal(executed)) for status, executed in life]
    doubles = data.draw(st.lists(st.sampled_from(news), max_size=5))
    told = data.draw(st.permutations(news + doubles))
    start = data.draw(st.sampled_from([S.PLANNED, S.SUBMITTING, S.RESUBMITTING, S.UNKNOWN, S.NOT_PLACED, S.REJECTED]))
    order = replace(planned(), state=start)
    quantities = [ZERO]
    for one in told:
        order = order.seen(one, NOON)
        quantities.append(order.executed_quantity)
    assert quantities == sorted(quantities)
    assert (order.state.value, order.executed_quantity) == (life[-1][0].value, life[-1][1])


@given(st.lists(st.sampled_from(sorted(OrderTrigger)), max_size=30))
def test_no_sequence_of_triggers_loses_a_time_or_counts_a_transmission_twice(triggers: list[OrderTrigger]) -> None:
    order, sent = planned(), 0
    for number, trigger in enumerate(triggers):
        try:
            after = order.after(trigger, NOON + timedelta(seconds=number))
        except IllegalTransition:
            continue
        sent += trigger in (T.SUBMIT, T.RESUBMIT)
        assert after.transmissions == sent
        assert order.submitted_at in (None, after.submitted_at)
        assert order.acknowledged_at in (None, after.acknowledged_at)
        assert (after.acknowledged_at is not None) is (order.acknowledged_at is not None or trigger in SHOWN)
        assert not after.is_final or after.finished_at is not None
        order = after


def test_a_refusal_is_kept_until_the_exchange_shows_the_order() -> None:
    refused = planned().after(T.SUBMIT, NOON).refused(Refusal.FILTER, -4014, "price not on tick", NOON)
    assert (refused.state, refused.refusal, refused.refusal_code) == (S.REJECTED, Refusal.FILTER, -4014)
    shown = refused.seen(report(X.NEW), NOON)
    assert (shown.state, shown.refusal, shown.refusal_code, shown.refusal_message) == (S.NEW, None, None, None)


def test_a_status_that_nobody_knows_asks_for_a_query_and_changes_nothing_else() -> None:
    """Scenario W5."""
    order = planned().after(T.SUBMIT, NOON).seen(report(X.NEW), NOON)
    odd = order.seen(report(X.UNRECOGNISED), NOON)
    assert odd == replace(order, needs_query=True)


def test_a_late_smaller_report_does_not_spoil_the_average_price() -> None:
    order = planned().after(T.SUBMIT, NOON).seen(report(X.FILLED, TEN, Decimal(95000)), NOON)
    late = order.seen(report(X.PARTIALLY_FILLED, Decimal(3), Decimal(90000)), NOON)
    assert (late.executed_quantity, late.average_price, late.state) == (TEN, 95000, S.FILLED)


def test_a_twin_under_the_same_id_is_an_order_of_its_own() -> None:
    """Scenario U5: a repeated transmission that lands after the first one's end must not rest there unseen."""
    first = planned().seen(report(X.NEW), NOON).seen(report(X.CANCELED), NOON)
    twin = first.seen(replace(report(X.NEW), order_id=8), NOON)
    assert (twin.state, twin.exchange_order_id, twin.finished_at) == (S.NEW, 8, None)
    assert twin.seen(report(X.CANCELED), NOON) == twin  # late news of the first one
    assert twin.seen(replace(report(X.CANCELED), order_id=8), NOON).state is S.CANCELED


def test_remaining_is_never_negative() -> None:
    order = planned().seen(report(X.PARTIALLY_FILLED, Decimal(3)), NOON)
    assert order.remaining == 7
    assert order.seen(report(X.FILLED, Decimal(12)), NOON).remaining == ZERO
