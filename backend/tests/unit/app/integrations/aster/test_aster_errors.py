"""Every code of the fact sheet means what the fact sheet says, and every doubt stays a doubt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Refusal, Verdict
from app.integrations.aster.errors import CODES, classify, classify_element, is_no_op
from support.samples import SHARED

UNKNOWN = {-1000, -1001, -1006, -1007, -1016}
RATE = {-1003, -1015}
AUTH = {-1002, -1011, -1022, -2014, -2015, -4109, -4402, -4403, -5019, -4087, -4088}
CLOCK = {-1021, -4225}
GONE = {-2011, -2013, -1125}
NO_OP = {-4046, -4059, -4052}
FORMAT = (
    {-1013, -1014, -1020, -1023, -1127, -1128, -1130, -1136}
    | {-4015, -4021, -4031, -4060, -4082, -4083, -4144, -4165}
    | set(range(-1106, -1099))
    | set(range(-1121, -1107))
)
FILTERS = (
    {-1111, -4013, -4014, -4023, -4016, -4024, -4183, -4184, -4131, -4164, -5060, -5076, -5029}
    | set(range(-4007, -4000))
)  # fmt: skip
DEFINITIVE = (
    {-2010, -2016, -2018, -2019, -2020, -2021, -2022, -2023, -2024, -2025, -2026, -2027, -2028, -4045, -4061, -4062}
    | {-4118, -4135, -4137, -4138, -4139, -4140, -4141, -4142, -4116, -5021, -5022, -5024, -5025, -5026, -4192}
)  # fmt: skip
CONFIG = {-4028, -4047, -4048, -4067, -4068, -4161, -4168, -5018, -5020} | set(range(-4209, -4201))

VERDICTS = {
    **dict.fromkeys(UNKNOWN, Verdict.UNKNOWN),
    **dict.fromkeys(FORMAT | FILTERS | DEFINITIVE | CONFIG, Verdict.REFUSED),
    **dict.fromkeys(RATE, Verdict.RATE_LIMITED),
    **dict.fromkeys(AUTH, Verdict.AUTH),
    **dict.fromkeys(CLOCK, Verdict.CLOCK),
    **dict.fromkeys(GONE, Verdict.GONE),
    **dict.fromkeys(NO_OP, Verdict.NO_OP),
}
FAMILIES = {
    -2021: Refusal.IMMEDIATE_TRIGGER,
    -4142: Refusal.IMMEDIATE_TRIGGER,
    -2022: Refusal.REDUCE_ONLY,
    -4118: Refusal.REDUCE_ONLY,
    -4116: Refusal.DUPLICATE_ID,
    -2011: Refusal.ORDER_NOT_FOUND,
    -2013: Refusal.ORDER_NOT_FOUND,
    -2018: Refusal.MARGIN,
    -2019: Refusal.MARGIN,
    -2027: Refusal.LEVERAGE,
    -4161: Refusal.LEVERAGE,
    -4203: Refusal.LEVERAGE,
    -2025: Refusal.TOO_MANY_ORDERS,
    -4045: Refusal.TOO_MANY_ORDERS,
    -1111: Refusal.FILTER,
    -4164: Refusal.FILTER,
    -4024: Refusal.FILTER,
    -1121: Refusal.SYMBOL,
    -4140: Refusal.SYMBOL,
    -4131: Refusal.LIQUIDITY,
    -1015: Refusal.RATE_LIMIT,
    -2015: Refusal.AUTH,
    -4225: Refusal.CLOCK,
    -4061: Refusal.CONFIG,
    -4168: Refusal.CONFIG,
    -1102: Refusal.FORMAT,
}


def _body(code: int, message: str = "words that vary") -> bytes:
    return f'{{"code":{code},"msg":"{message}"}}'.encode()


@pytest.mark.parametrize("code", sorted(VERDICTS))
def test_code_means_what_the_fact_sheet_says(code: int) -> None:
    """Fact sheet, section 9; on a mutation, and with HTTP 400 as with HTTP 200."""
    for status in (400, 200):
        failure = classify(status, _body(code), {}, is_mutation=True)
        assert failure is not None
        assert failure.verdict is VERDICTS[code]
        assert failure.code == code
        assert failure.family is FAMILIES.get(code, failure.family)


@pytest.mark.parametrize("code", sorted(VERDICTS))
def test_a_read_never_ends_unknown(code: int) -> None:
    """Scenario U4."""
    failure = classify(400, _body(code), {}, is_mutation=False)
    assert failure is not None
    expected = Verdict.UNAVAILABLE if code in UNKNOWN else VERDICTS[code]
    assert failure.verdict is expected


def test_every_code_of_the_table_is_judged_here() -> None:
    assert set(CODES) == set(VERDICTS)


def _lists_of_codes() -> Iterator[Any]:
    """Our copy of the fact sheet's section 9, and the section itself where the sheet lies beside the checkout."""
    yield pytest.param(frozenset(VERDICTS), id="ours")
    sheet = SHARED / "asterdex-facts.md"
    if sheet.exists():
        section = sheet.read_text(encoding="utf-8").split("## 9.")[1].split("## 10.")[0]
        ranges = re.findall(r"(-\d{4})(?:\.\.(-\d{4}))?", section)
        named = {code for first, last in ranges for code in range(int(last or first), int(first) + 1)}
        yield pytest.param(frozenset(named), id="sheet")


@pytest.mark.parametrize("named", list(_lists_of_codes()))
def test_table_holds_every_code_that_the_fact_sheet_names(named: frozenset[int]) -> None:
    assert len(named) > 100
    assert named <= set(CODES)


@pytest.mark.parametrize("words", ["No agent found", "Signature check failed", "nonce is not valid"])
def test_minus_1000_that_names_our_identity_is_an_auth_refusal(words: str) -> None:
    """Scenario U1."""
    failure = classify(400, _body(-1000, words), {}, is_mutation=True)
    assert failure is not None
    assert (failure.verdict, failure.family) == (Verdict.AUTH, Refusal.AUTH)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", _body(-2019), b"[]", b"{}"])
def test_server_error_on_a_mutation_is_unknown_whatever_the_body(status: int, body: bytes) -> None:
    """Scenario U1."""
    failure = classify(status, body, {}, is_mutation=True)
    assert failure is not None
    assert failure.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b""), (200, b"<html>"), (200, b'"text"'), (200, b"\xff\xfe"), (400, b"<html>"), (404, b"{}"), (302, b"")],
)
def test_answer_that_is_no_json_of_theirs_proves_nothing(status: int, body: bytes) -> None:
    """Scenario U1."""
    for is_mutation, verdict in ((True, Verdict.UNKNOWN), (False, Verdict.UNAVAILABLE)):
        failure = classify(status, body, {}, is_mutation=is_mutation)
        assert failure is not None
        assert failure.verdict is verdict


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("body", [b"", b"<html>", _body(-1003)])
def test_rate_limit_is_told_by_the_status_and_carries_its_time(status: int, body: bytes) -> None:
    """Scenario L1."""
    failure = classify(status, body, {"retry-after": "7"}, is_mutation=True)
    assert failure is not None
    assert (failure.verdict, failure.retry_after_s) == (Verdict.RATE_LIMITED, 7.0)


def test_ban_in_words_carries_its_end() -> None:
    failure = classify(418, _body(-1003, "banned until 1767225600000."), {}, is_mutation=False)
    assert failure is not None
    assert failure.banned_until_ms == 1_767_225_600_000


@pytest.mark.parametrize("header", ["soon", "nan", "", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_retry_after_that_is_no_number_is_ignored(header: str) -> None:
    failure = classify(429, b"", {"retry-after": header}, is_mutation=True)
    assert failure is not None
    assert failure.retry_after_s is None


@pytest.mark.parametrize(("status", "body"), [(401, b"<html>"), (401, b""), (401, _body(-9999)), (403, _body(-4088))])
def test_unauthorised_and_forbidden_are_auth_refusals(status: int, body: bytes) -> None:
    """Scenario L6."""
    failure = classify(status, body, {}, is_mutation=True)
    assert failure is not None
    assert failure.verdict is Verdict.AUTH


@pytest.mark.parametrize("is_mutation", [True, False])
@pytest.mark.parametrize(
    "body", [b"<html>403 Forbidden</html>", b"", b'{"message":"Forbidden"}', b'{"code":403}', b"[]"]
)
def test_a_403_without_a_code_is_the_firewall(body: bytes, is_mutation: bool) -> None:
    """Scenario L8: it says nothing of the key."""
    failure = classify(403, body, {"retry-after": "7"}, is_mutation=is_mutation)
    assert failure is not None
    assert (failure.verdict, failure.retry_after_s) == (Verdict.FIREWALL, 7)


def test_a_403_with_a_rate_limits_code_is_a_rate_limit() -> None:
    failure = classify(403, _body(-1003), {}, is_mutation=True)
    assert failure is not None
    assert failure.verdict is Verdict.RATE_LIMITED


@pytest.mark.parametrize(
    "body", [b'{"code":200,"msg":"success"}', b'{"code":"200","msg":"done"}', b'{"orderId":1}', b"[]", b' [{"code":1}]']
)
def test_success_is_success(body: bytes) -> None:
    assert classify(200, body, {}, is_mutation=True) is None


def test_unlisted_code_is_a_refusal_unless_it_smells_of_server_trouble() -> None:
    odd = classify(400, _body(-4999), {}, is_mutation=True)
    assert odd is not None
    assert (odd.verdict, odd.family) == (Verdict.REFUSED, Refusal.UNRECOGNISED)
    general = classify(400, _body(-1008), {}, is_mutation=True)
    assert general is not None
    assert general.verdict is Verdict.UNKNOWN


@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda code, text: json.dumps({"code": code, "msg": text}).encode(),
            st.one_of(st.integers(), st.text(), st.none(), st.floats(), st.lists(st.none())),
            st.one_of(st.text(), st.integers(), st.none()),
        ),
    ),
    st.dictionaries(st.just("retry-after"), st.text()),
)
def test_no_answer_whatever_it_is_breaks_the_rules(status: int, body: bytes, headers: dict[str, str]) -> None:
    """Scenarios U1, U4: a mutation is never just unavailable, a read never unknown, a server error no refusal."""
    mutation = classify(status, body, headers, is_mutation=True)
    read = classify(status, body, headers, is_mutation=False)
    assert (mutation is None) == (read is None)
    if mutation is not None and read is not None:
        assert mutation.verdict is not Verdict.UNAVAILABLE
        assert read.verdict is not Verdict.UNKNOWN
        assert (mutation.verdict is Verdict.UNKNOWN) == (read.verdict is Verdict.UNAVAILABLE)
    if status >= 500:
        assert mutation is not None
        assert mutation.verdict is Verdict.UNKNOWN


def test_code_as_text_counts_as_the_number() -> None:
    failure = classify_element(b'{"code":"-2011","msg":"Unknown order sent."}')
    assert failure is not None
    assert (failure.verdict, failure.code) == (Verdict.GONE, -2011)


def test_no_op_codes_are_known_as_such() -> None:
    """Scenario L5."""
    assert all(is_no_op(code) for code in NO_OP)
    assert not is_no_op(-2019)
    assert not is_no_op(None)
