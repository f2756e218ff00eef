"""Tokens open what their scope says, are kept as hashes, and never lock anybody out (contract, sections 6 and 9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from app.api.access import WRONG_TOKEN_DELAY_S
from app.core.configuration import load_settings
from app.core.tokens import Scope, TokenBook, read_records, record_of
from app.domain.errors import ConfigurationError
from support.faces import Face, decision, paper_face
from support.patience import PATIENCE_S

READER, TRADER, OPERATOR = "reader-token-1", "trader-token-1", "operator-token"
LINES = "\n".join(
    record_of(scope.value, scope, token).line()
    for scope, token in ((Scope.READ, READER), (Scope.TRADE, TRADER), (Scope.ADMIN, OPERATOR))
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def face() -> AsyncIterator[Face]:
    async with paper_face(TES_RISK_COOLDOWN_SECONDS="0", TES_API_TOKENS=LINES) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "opens"),
    [
        ("GET", "/v1/status", (True, True, True)),
        ("GET", "/v1/trades", (True, True, True)),
        ("POST", "/v1/positions/close", (False, True, True)),
        ("POST", "/v1/decisions", (False, True, True)),
        ("POST", "/v1/resume", (False, False, True)),
    ],
)
async def test_each_scope_opens_its_calls_alone(face: Face, method: str, path: str, opens: tuple[bool, ...]) -> None:
    for token, is_open in zip((READER, TRADER, OPERATOR), opens, strict=True):
        body = decision(action="hold") if path == "/v1/decisions" else None
        answer = await face.ask(method, path, headers=bearer(token), data=body)
        assert answer.status == (200 if is_open else 403), (token, answer.body)
        if not is_open:
            assert answer.json["code"] == "forbidden"
            assert token.encode() not in answer.body


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_takes_a_reading_token(face: Face) -> None:
    async with face.http.ws_connect(f"{face.url}/v1/stream?after=0", headers=bearer(READER)) as stream:
        assert (await stream.receive_json(timeout=PATIENCE_S))["seq"] == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_tokens_are_slowed_within_the_contracts_bound_while_the_right_one_passes(face: Face) -> None:
    assert WRONG_TOKEN_DELAY_S <= 0.25, "the contract: slowed by at most 250 ms"
    assert (await face.ask("GET", "/v1/status", headers=bearer("nope"))).status == 401
    assert (await face.ask("GET", "/v1/status", headers=bearer(READER))).status == 200


def test_a_book_finds_the_owner_and_nobody_else() -> None:
    book = TokenBook(read_records(LINES))
    found = book.find(TRADER)
    assert found is not None
    assert (found.name, found.scope) == ("trade", Scope.TRADE)
    assert book.find(TRADER + "x") is None
    assert book.find("\udcff") is None
    assert TRADER not in repr(found) + found.line()


def test_tokens_come_from_toml_or_a_file_and_are_shown_masked(tmp_path: Path) -> None:
    line = record_of("grafana", Scope.READ, READER).line()
    (tmp_path / "tokens").write_text(f"# the dashboard\n{line}\n", encoding="utf-8")
    (tmp_path / "tes.toml").write_text(f'[api.tokens]\ngrafana = "{line.split(" ", 1)[1]}"\n', encoding="utf-8")
    by_file = load_settings({"TES_API_TOKENS_FILE": str(tmp_path / "tokens")})
    by_toml = load_settings({}, config=tmp_path / "tes.toml")
    assert by_file.api_tokens == by_toml.api_tokens == read_records(line)
    assert by_file.masked()["api_tokens"] == ["grafana read ********"]


@pytest.mark.parametrize("text", ["grafana read", "grafana root sha256:" + "0" * 64, f"{LINES}\n{LINES}", "a b c"])
def test_a_wrong_line_stops_the_start_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"TES_API_TOKENS": text})
    assert "TES_API_TOKENS" in str(caught.value)
    assert text not in str(caught.value)


def test_a_secret_that_others_can_read_is_a_warning_and_with_real_money_a_refusal(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-long-secret-token-0123456789-012345", encoding="utf-8")
    secret.chmod(0o644)
    loose = load_settings({"TES_API_TOKEN_FILE": str(secret)})
    assert "chmod 600" in loose.warnings[0]
    live = {"TES_VENUE": "live", "TES_ASTER_AUTH": "v1", "TES_ASTER_API_KEY": "k", "TES_ASTER_API_SECRET": "s"}
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_settings({"TES_API_TOKEN_FILE": str(secret), **live})
    secret.chmod(0o600)
    assert load_settings({"TES_API_TOKEN_FILE": str(secret), **live}).warnings == ()


# --- what needs none, and for whom ------------------------------------------------------------------------------------


MONEY = {"tes_wallet_balance", "tes_available_balance", "tes_position_notional", "tes_position_unrealised_pnl"}


def families(body: bytes) -> set[str]:
    """The names of the metrics in Prometheus text."""
    return {family.name for family in text_string_to_metric_families(body.decode())}


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_read_without_a_token_shows_no_money(face: Face) -> None:
    """A proxy that hides can't be told from a program on this machine: strangers must see no balance through it."""
    await face.post("/v1/decisions", decision("SOLUSDT"))
    whole = families((await face.get("/metrics")).body)
    assert whole >= MONEY
    assert families((await face.ask("GET", "/metrics", headers={})).body) == whole - MONEY


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/asyncapi.json"])
async def test_what_came_through_a_proxy_or_shows_a_wrong_token_needs_the_right_one(face: Face, path: str) -> None:
    """Whatever a proxy adds gives it away, and so does HTTP/1.0, which is all that nginx does unless told otherwise."""
    for name, value in (
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.1"),
        ("Via", "1.1 proxy"),
        ("Host", "tes.example.org"),
        ("Authorization", "Bearer wrong"),
    ):
        assert (await face.ask("GET", path, headers={name: value})).status == 401, name
    assert (await face.ask("GET", path, headers={"X-Forwarded-For": "192.0.2.1", **bearer(READER)})).status == 200
    target = urlsplit(face.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: {target.netloc}\r\nConnection: close\r\n\r\n".encode())
    assert b" 401 " in (await asyncio.wait_for(reader.read(), PATIENCE_S)).partition(b"\r\n")[0]
    writer.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_public_metrics_need_no_token_from_anywhere() -> None:
    async with paper_face(TES_METRICS_PUBLIC="true") as face:
        answer = await face.ask("GET", "/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
        assert (answer.status, "tes_wallet_balance" in families(answer.body)) == (200, True)
        assert (await face.ask("GET", "/docs", headers={"X-Forwarded-For": "192.0.2.1"})).status == 401
